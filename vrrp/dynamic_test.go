package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
)

// plug gives router i an interface with a cable to the bridge.
func (l *lan) plug(i int, name, addr string) {
	l.t.Helper()
	port := l.port(i) + "n"
	l.run("ip link add %s type veth peer name %s netns %s", port, name, l.ns(i))
	l.t.Cleanup(func() { l.try("ip link del %s", port) })
	l.run("ip link set %s master %s up", port, l.bridge())
	l.in(i, "sysctl -qw net.ipv6.conf.%s.accept_dad=0", name)
	l.run("ip -n %s link set %s up", l.ns(i), name)
	if addr != "" {
		l.run("ip -n %s addr add %s dev %s", l.ns(i), addr, name)
	}
	l.linkIs(i, name, true)
}

func (l *lan) sysctl(i int, path string) string {
	return strings.TrimSpace(l.in(i, "cat /proc/sys/net/%s", path))
}

// missing gives the engine an instance on eth1, which is not there yet, beside one on eth0.
func missing() *Config {
	c := testInstance("VI_1", 51, 100, "10.9.1.100/24")
	c.Iface = "eth1"
	return &Config{DynamicInterfaces: true, Instances: []*InstanceConfig{testInstance("VI_0", 50, 100, "10.9.0.99/24"), c}}
}

func TestAnInterfaceMayAppearVanishAndComeBack(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	a := l.start(1, missing(), Options{})
	l.eventually("the other instance works", 6*time.Second, func() bool { return a.state("VI_0") == Master })
	if s := a.snapshot().Instances[1]; s.State != Fault || !slices.Equal(s.Faults, []string{"link eth1 is missing"}) {
		t.Errorf("state %s, faults %q", s.State, s.Faults)
	} else if h := s.History; len(h) != 1 || h[0].Cause != "start: link eth1 is missing" || !a.log.has("(VI_1) entering FAULT state (link eth1 is missing)") {
		t.Errorf("neither history nor log say why: %+v", h)
	}
	l.plug(1, "eth1", "10.9.1.1/24")
	l.eventually("master on the interface that appeared", 8*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.1.100") })
	stop := l.capture(1)
	l.run("ip link del %sn", l.port(1))
	l.eventually("fault without it", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	l.plug(1, "eth1", "10.9.1.1/24")
	l.eventually("master again with sockets and addresses on the new one", 8*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.1.100") })
	sent := a.snapshot().Instances[1].Stats.AdvertSent
	l.eventually("adverts go on", 4*time.Second, func() bool { return a.snapshot().Instances[1].Stats.AdvertSent > sent })
	if why := a.left("VI_0"); why != nil {
		t.Errorf("the other instance was disturbed: %q", why)
	}
	stop()
	a.stop()
	if l.has(1, "10.9.1.100") {
		t.Error("address left behind")
	}
}

func TestARenamedInterfaceIsGoneUntilOneHasItsName(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	l.run("ip -n %s link set eth0 down", l.ns(1))
	l.run("ip -n %s link set eth0 name lan0", l.ns(1))
	l.run("ip -n %s link set lan0 up", l.ns(1))
	l.eventually("fault, and the address is not left on it", 4*time.Second, func() bool { return a.state("VI_1") == Fault && !l.has(1, "10.9.0.100") })
	l.run("ip -n %s link set lan0 down", l.ns(1))
	l.run("ip -n %s link set lan0 name eth0", l.ns(1))
	l.run("ip -n %s link set eth0 up", l.ns(1))
	l.eventually("master again", 8*time.Second, func() bool { return l.has(1, "10.9.0.100") })
}

func TestAVirtualMACSurvivesItsInterfaceAndItsOwnDeletion(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.1.100/24")
	c.Iface, c.VMAC = "eth1", &VMACConfig{}
	l.plug(1, "eth1", "10.9.1.1/24")
	a := l.start(1, &Config{DynamicInterfaces: true, Instances: []*InstanceConfig{c}}, Options{})
	onVMAC := func() bool {
		out, _ := l.try("ip -n %s -o addr show dev vrrp.51", l.ns(1))
		return strings.Contains(out, " 10.9.1.100/")
	}
	l.eventually("master", 8*time.Second, func() bool { return a.state("VI_1") == Master && onVMAC() })
	if got := l.sysctl(1, "ipv4/conf/eth1/arp_ignore"); got != "1" {
		t.Errorf("arp_ignore %s on the base interface", got)
	}
	l.run("ip -n %s link del vrrp.51", l.ns(1))
	l.eventually("the virtual MAC was made again", 10*time.Second, func() bool { return a.state("VI_1") == Master && onVMAC() })
	if !slices.ContainsFunc(a.snapshot().Instances[0].History, func(h Transition) bool { return h.To == Fault }) {
		t.Error("no fault in between")
	}
	l.run("ip link del %sn", l.port(1))
	l.eventually("fault without the interface", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	l.plug(1, "eth1", "10.9.1.1/24")
	l.eventually("master on the new one", 10*time.Second, func() bool { return a.state("VI_1") == Master && onVMAC() })
	a.stop()
	for _, key := range []string{"arp_ignore", "arp_filter", "arp_announce"} {
		if got := l.sysctl(1, "ipv4/conf/eth1/"+key); got != "0" {
			t.Errorf("%s is left at %s", key, got)
		}
	}
	if out, err := l.try("ip -n %s link show vrrp.51", l.ns(1)); err == nil {
		t.Errorf("left behind: %s", out)
	}
}

func TestAddressesElsewhereCanHaveVirtualMACsOfTheirOwn(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.plug(1, "eth1", "10.9.1.1/24")
	at := func(prefix, dev string, vmac bool) vip.Address {
		p := netip.MustParsePrefix(prefix)
		return vip.Address{Prefix: p, Dev: dev, UseVMAC: vmac, NoDAD: p.Addr().Is6()}
	}
	single := testInstance("single", 51, 100)
	single.VIPs = []vip.Address{at("10.9.0.100/24", "", false), at("10.9.1.100/24", "eth1", true), at("10.9.1.101/24", "eth1", false)}
	every := testInstance("all", 52, 100)
	every.VMAC = &VMACConfig{OnlyAddr: true, AddrVMAC: true}
	every.VIPs = []vip.Address{at("10.9.0.110/24", "", false), at("10.9.1.110/24", "eth1", false)}
	every.Excluded = []vip.Address{at("fd09::110/64", "", false)}
	stop := l.capture(1)
	a := l.start(1, &Config{VMACAddrPrefix: "addr", Instances: []*InstanceConfig{single, every}}, Options{})
	l.eventually("masters", 8*time.Second, func() bool {
		for _, addr := range []string{"10.9.0.100", "10.9.1.100", "10.9.1.101", "10.9.0.110", "10.9.1.110", "fd09::110"} {
			if !l.has(1, addr) {
				return false
			}
		}
		return a.state("single") == Master && a.state("all") == Master
	})
	a.patient()
	for _, w := range [][3]string{ // as keepalived places them
		{"10.9.0.100", "eth0", ""}, {"10.9.1.100", "addr.51", "00:00:5e:00:01:33"}, {"10.9.1.101", "eth1", ""},
		{"10.9.0.110", "eth0", ""}, {"10.9.1.110", "addr.52", "00:00:5e:00:01:34"}, {"fd09::110", "addr6.52", "00:00:5e:00:02:34"},
	} {
		out := l.in(1, "ip -o addr show to %s", w[0])
		if !strings.Contains(out, ": "+w[1]+" ") {
			t.Errorf("%s is on %q, want %s", w[0], out, w[1])
		}
		if w[2] != "" && strings.TrimSpace(l.in(1, "cat /sys/class/net/%s/address", w[1])) != w[2] {
			t.Errorf("%s: address %s, want %s", w[1], l.in(1, "cat /sys/class/net/%s/address", w[1]), w[2])
		}
	}
	if got := l.tshark(stop(), "vrrp && !icmp && eth.src != "+strings.TrimSpace(l.in(1, "cat /sys/class/net/eth0/address")), "eth.src"); len(got) > 0 {
		t.Errorf("adverts from %q, want the interface's own address", got)
	}
	a.stop()
	if out := l.in(1, "ip -o link show type macvlan"); strings.Contains(out, "addr") {
		t.Errorf("left behind: %s", out)
	}
}

func TestSecondariesArePromotedWhileTheInstanceRuns(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint(on), func(t *testing.T) {
			t.Parallel()
			l := newLAN(t, 1)
			c := testInstance("VI_1", 51, 100, "10.8.0.100/24")
			c.PromoteSecondaries = on
			a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
			l.eventually("master", 6*time.Second, func() bool { return l.has(1, "10.8.0.100") })
			// Somebody's own address of the subnet is the second one there: the kernel takes it along with the first.
			l.run("ip -n %s addr add 10.8.0.7/24 dev eth0", l.ns(1))
			if got, want := l.sysctl(1, "ipv4/conf/eth0/promote_secondaries"), map[bool]string{true: "1", false: "0"}[on]; got != want {
				t.Errorf("promote_secondaries is %s, want %s", got, want)
			}
			l.run("ip link set %s down", l.port(1))
			l.eventually("fault", 4*time.Second, func() bool { return a.state("VI_1") == Fault && !l.has(1, "10.8.0.100") })
			if l.has(1, "10.8.0.7") != on {
				t.Errorf("the other address of the subnet is there: %v", !on)
			}
			other := *c
			other.PromoteSecondaries = !on
			if err := a.e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{&other}}); err != nil {
				t.Fatal(err)
			}
			l.eventually("a reload changes it", 4*time.Second, func() bool {
				return l.sysctl(1, "ipv4/conf/eth0/promote_secondaries") == map[bool]string{true: "0", false: "1"}[on]
			})
			a.stop()
			if got := l.sysctl(1, "ipv4/conf/eth0/promote_secondaries"); got != "0" {
				t.Errorf("promote_secondaries is left at %s", got)
			}
		})
	}
}

func TestAVirtualMACThatCannotBeMadeIsAFaultOfItsInstanceOnly(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c, d := testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 100, "10.9.0.101/24")
	c.VMAC = &VMACConfig{Name: "taken"}
	l.run("ip -n %s link add taken type bridge", l.ns(1))
	a := l.start(1, &Config{Instances: []*InstanceConfig{c, d}}, Options{})
	l.eventually("the other one is master", 6*time.Second, func() bool { return a.state("VI_2") == Master })
	if s := a.snapshot().Instances[0]; s.State != Fault || !slices.Equal(s.Faults, []string{"link of the virtual MAC address is missing"}) {
		t.Errorf("state %s, faults %q", s.State, s.Faults)
	}
	l.run("ip -n %s link del taken", l.ns(1))
	if err := a.e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{c, d}}); err != nil {
		t.Fatal(err)
	}
	l.eventually("with a free name it works", 8*time.Second, func() bool { return a.state("VI_1") == Master })
}

func TestAnotherHardwareAddressIsAnnounced(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.GARP.Delay = 0
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
	l.in(2, "sysctl -qw net.ipv4.neigh.eth0.locktime=0")
	l.run("ip -n %s neigh replace 10.9.0.100 lladdr %s dev eth0 nud reachable", l.ns(2), strings.TrimSpace(l.in(1, "cat /sys/class/net/eth0/address")))
	l.run("ip -n %s link set eth0 address 02:00:00:00:77:01", l.ns(1))
	l.eventually("the neighbour follows", 4*time.Second, func() bool {
		return strings.Contains(l.run("ip -n %s neigh show 10.9.0.100", l.ns(2)), "02:00:00:00:77:01")
	})
	if why := a.left("VI_1"); why != nil {
		t.Errorf("the mastership was lost: %q", why)
	}
}

func TestAVirtualMACOverIPv6OnAnInterfaceThatAppears(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "fe80::100/64", "fd09::100/64")
	c.Iface, c.IPv6, c.Version, c.VMAC = "eth1", true, 3, &VMACConfig{}
	a := l.start(1, &Config{DynamicInterfaces: true, Instances: []*InstanceConfig{c}}, Options{})
	l.plug(1, "eth1", "")
	l.eventually("master", 10*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "fd09::100") })
	// The first ones may be refused while the kernel still readies the interface; what counts is that they leave then.
	l.eventually("adverts leave from the interface's link-local address", 8*time.Second, func() bool {
		before, failed := a.snapshot().Instances[0].Stats.AdvertSent, 0
		time.Sleep(1100 * time.Millisecond)
		_ = a.e.call(t.Context(), func() {
			for _, s := range a.e.sockets {
				failed += s.failed
			}
		})
		return failed == 0 && a.snapshot().Instances[0].Stats.AdvertSent > before
	})
}
