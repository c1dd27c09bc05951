package vrrp

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
)

// needKind skips where the kernel has no such kind of interface; scripts/testvm has one that has.
func (l *lan) needKind(kind, words string) {
	l.t.Helper()
	if out, err := l.try("ip -n %s link add probe %s", l.ns(1), words); err != nil {
		if os.Getenv("RELEVE_VM") != "" {
			l.t.Fatalf("no %s in the virtual machine's kernel: %s", kind, out)
		}
		l.t.Skipf("no %s in this kernel (scripts/testvm has it): %s", kind, out)
	}
	l.run("ip -n %s link del probe", l.ns(1))
}

func TestIPVLANCarriesTheAddressesAndTheAdverts(t *testing.T) {
	l := newLAN(t, 2)
	l.needKind("ipvlan", "link eth0 type ipvlan mode l2")
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.VMAC = &VMACConfig{IPVlan: true, IPVlanMode: "bridge", IPVlanAddr: netip.MustParsePrefix("10.9.0.77/24")}
	six := testInstance("VI_6", 52, 100, "fe80::100/64", "fd09::100/64")
	six.IPv6, six.Version, six.VMAC = true, 3, &VMACConfig{IPVlan: true, IPVlanMode: "bridge"}
	stop := l.capture(1)
	a := l.start(1, &Config{Instances: []*InstanceConfig{c, six}}, Options{})
	l.eventually("masters", 8*time.Second, func() bool {
		return a.state("VI_1") == Master && a.state("VI_6") == Master && l.has(1, "10.9.0.100") && l.has(1, "fd09::100")
	})
	contains(t, strings.Join(strings.Fields(l.in(1, "ip -o -d link show vrrp.51")), " "), "ipvlan mode l2 bridge")
	contains(t, l.in(1, "ip -o addr show dev vrrp.51"), " 10.9.0.77/24 ", " 10.9.0.100/24 ")
	contains(t, l.in(1, "ip -o addr show dev vrrp.52"), " fd09::100/64 ")
	l.eventually("it answers", 6*time.Second, func() bool {
		_, err := l.try("ip netns exec %s ping -c 1 -W 1 10.9.0.100", l.ns(2))
		return err == nil
	})
	l.eventually("adverts", 6*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertSent > 3 })
	for _, src := range l.tshark(stop(), "vrrp && ip && !icmp", "ip.src") {
		if src != "10.9.0.77" {
			t.Errorf("advert from %s", src)
		}
	}
	b := l.start(2, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 150, "10.9.0.100/24")}}, Options{})
	l.eventually("it gives way to a better router", 10*time.Second, func() bool { return b.state("VI_1") == Master && a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
	a.stop()
	if out := l.in(1, "ip -o link show"); strings.Contains(out, "vrrp.5") {
		t.Errorf("left behind: %s", out)
	}
}

func TestVRFInstancesStayInTheirRoutingDomain(t *testing.T) {
	l := newLAN(t, 2)
	l.needKind("VRF", "type vrf table 77")
	for i := 1; i <= 2; i++ {
		l.run("ip -n %s link add red type vrf table 10", l.ns(i))
		l.run("ip -n %s link set red up", l.ns(i))
		l.run("ip -n %s link set eth0 master red", l.ns(i))
	}
	cfg := func(prio uint8, peer string) *Config {
		m := testInstance("multicast", 51, prio, "10.9.0.100/24")
		m.Routes = []vip.Route{{Text: "r", Dst: netip.MustParsePrefix("10.77.0.0/24"), Via: netip.MustParseAddr("10.9.0.9"), VRF: "red"}}
		u := testInstance("unicast", 52, prio)
		u.Iface, u.VRF, u.Version, u.AdvertInt, u.Unicast = "", "red", 3, 300*time.Millisecond, true
		u.Peers = []Peer{{Addr: netip.MustParseAddr(peer)}}
		u.VIPs = []vip.Address{{Prefix: netip.MustParsePrefix("10.9.0.101/24"), Dev: "eth0"}}
		return &Config{Instances: []*InstanceConfig{m, u}}
	}
	a, b := l.start(1, cfg(100, "10.9.0.2"), Options{}), l.start(2, cfg(150, "10.9.0.1"), Options{})
	l.eventually("the better one is master of both", 10*time.Second, func() bool {
		return b.state("multicast") == Master && b.state("unicast") == Master && a.state("multicast") == Backup && a.state("unicast") == Backup && l.has(2, "10.9.0.101")
	})
	contains(t, l.in(2, "ip route show vrf red"), "10.77.0.0/24")
	if s := a.snapshot().Instances[1]; s.Source != netip.MustParseAddr("10.9.0.1") || s.Stats.AdvertRcvd == 0 {
		t.Errorf("source %s, %d adverts", s.Source, s.Stats.AdvertRcvd)
	}
	b.stop()
	l.eventually("the other one takes over", 8*time.Second, func() bool {
		return a.state("multicast") == Master && a.state("unicast") == Master && l.has(1, "10.9.0.100") && l.has(1, "10.9.0.101")
	})
	l.run("ip -n %s link del red", l.ns(1))
	l.eventually("without its routing domain the instance is in fault", 6*time.Second, func() bool { return a.state("unicast") == Fault })
}
