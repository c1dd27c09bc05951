package vrrp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/vrrp/vip"
)

// rules lists an nftables table of router i, blanks squeezed.
func (l *lan) rules(i int, table string) string {
	out, _ := l.try("ip netns exec %s nft list table %s", l.ns(i), table)
	return strings.Join(strings.Fields(out), " ")
}

func contains(t *testing.T, have string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(have, w) {
			t.Errorf("%s\ndoes not have\n%s", have, w)
		}
	}
}

func TestGroupMembershipsOfVirtualMACsLeaveByTheBaseInterface(t *testing.T) {
	testneed.Need(t, "nft", "tshark")
	t.Parallel()
	l := newLAN(t, 1)
	four, six := testInstance("four", 51, 100, "10.9.0.100/24"), testInstance("six", 52, 100, "fe80::100/64", "fd09::100/64")
	four.VMAC, six.VMAC = &VMACConfig{}, &VMACConfig{}
	six.IPv6, six.Version = true, 3
	six.Accept = false
	stop := l.capture(1)
	a := l.start(1, &Config{Instances: []*InstanceConfig{four, six}, Firewall: vip.FirewallConfig{Table: "own", Counters: true}}, Options{})
	l.eventually("masters", 8*time.Second, func() bool { return a.state("four") == Master && a.state("six") == Master && l.has(1, "fd09::100") })
	// As the reference writes them.
	contains(t, l.rules(1, "ip own"), `map vmac_map { type iface_index : iface_index elements = { "vrrp.51" : `,
		`ip protocol igmp meta oifkind "macvlan" dup to ip daddr device oif map @vmac_map counter packets`)
	contains(t, l.rules(1, "ip6 own"), `elements = { "vrrp.52" : `, `icmpv6 type mld2-listener-report meta oifkind "macvlan" dup to ip6 daddr device oif map @vmac_map counter`,
		`icmpv6 type nd-router-solicit meta oifkind "macvlan" oif @vmac_set counter`, `set vips_link_local { type ipv6_addr . iface_index elements = { fe80::100 . "vrrp.52" } }`,
		"ip6 saddr . oif @vips_link_local", "ip6 daddr @vips", "elements = { fd09::100 }")
	// A membership on the VMAC itself is reported, but not with the virtual MAC.
	moved := func() (packets int) {
		_, counter, _ := strings.Cut(l.rules(1, "ip own"), "oif map @vmac_map counter packets ")
		_, _ = fmt.Sscan(counter, &packets)
		return packets
	}
	before := moved()
	l.in(1, "ip addr add 239.1.2.3/32 dev vrrp.51 autojoin")
	l.eventually("the report was moved", 4*time.Second, func() bool { return moved() > before })
	time.Sleep(300 * time.Millisecond)
	mac := strings.TrimSpace(l.in(1, "cat /sys/class/net/eth0/address"))
	path := stop()
	for _, src := range l.tshark(path, "igmp || icmpv6.type == 143", "eth.src") {
		if strings.HasPrefix(src, "00:00:5e:00:0") {
			t.Errorf("a report leaves with the virtual MAC %s", src)
		}
	}
	if len(l.tshark(path, "igmp && eth.src == "+mac, "eth.src")) == 0 {
		t.Error("no report with the MAC of the base interface")
	}
	if err := a.e.Reload(context.Background(), &Config{Instances: []*InstanceConfig{six}, Firewall: vip.FirewallConfig{Table: "own", Counters: true}}); err != nil {
		t.Fatal(err)
	}
	l.eventually("the map loses what is gone", 4*time.Second, func() bool { return !strings.Contains(l.rules(1, "ip own"), "vrrp.51") })
	a.stop()
	if out, _ := l.try("ip netns exec %s nft list tables", l.ns(1)); strings.Contains(out, "own") {
		t.Errorf("left behind: %s", out)
	}
}

func TestAVirtualMACOverIPv6(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "fe80::100/64", "fd09::100/64")
	c.IPv6, c.Version, c.VMAC = true, 3, &VMACConfig{}
	stop := l.capture(1)
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 8*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "fd09::100") })
	l.in(2, "ip addr add fd09::2/64 dev eth0 nodad")
	l.eventually("it answers", 6*time.Second, func() bool {
		_, err := l.try("ip netns exec %s ping -c 1 -W 1 fd09::100", l.ns(2))
		return err == nil
	})
	contains(t, l.run("ip -n %s neigh show fd09::100", l.ns(2)), "00:00:5e:00:02:33")
	own := ""
	for _, f := range strings.Fields(l.in(1, "ip -6 -o addr show dev eth0 scope link")) {
		if strings.HasPrefix(f, "fe80::") {
			own = strings.TrimSuffix(f, "/64")
		}
	}
	frames := l.tshark(stop(), "vrrp && !icmpv6", "eth.src", "ipv6.src", "vrrp.checksum.status")
	if len(frames) == 0 {
		t.Error("no adverts")
	}
	for _, f := range frames {
		if want := "00:00:5e:00:02:33|" + own + "|1"; f != want {
			t.Errorf("advert %s, want %s", f, want)
		}
	}
	a.stop()
	if out, err := l.try("ip -n %s link show vrrp.51", l.ns(1)); err == nil {
		t.Errorf("left behind: %s", out)
	}
}

func TestReceiveBuffersAreAsConfigured(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	one, two := testInstance("one", 51, 100, "10.9.0.100/24"), testInstance("two", 52, 100, "10.9.0.101/24")
	two.KernelRxBuf = 100000
	a := l.start(1, &Config{Instances: []*InstanceConfig{one, two}, Buffers: Buffers{Policy: "MTU", Multiplier: 4}, DisableLocalIGMP: true}, Options{})
	size := func() (n int) {
		_ = a.e.call(context.Background(), func() {
			for _, s := range a.e.sockets {
				n += s.buffer
			}
		})
		return n
	}
	if got := size(); got != 4*1500+100000 {
		t.Errorf("buffer of %d bytes", got)
	}
	l.eventually("no reports for 224.0.0.0/24", 4*time.Second, func() bool { return l.sysctl(1, "ipv4/igmp_link_local_mcast_reports") == "0" })
	if err := a.e.Reload(context.Background(), &Config{Instances: []*InstanceConfig{one}}); err != nil {
		t.Fatal(err)
	}
	if got := size(); got != recvBuffer {
		t.Errorf("buffer of %d bytes without policy", got)
	}
	l.eventually("reports again", 4*time.Second, func() bool { return l.sysctl(1, "ipv4/igmp_link_local_mcast_reports") == "1" })
}

func TestUnicastWithoutPeersIsAFaultWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.UnicastFaultNoPeer, c.Unicast = true, true
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("fault", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	d := *c
	d.Peers = []Peer{{Addr: netip.MustParseAddr("10.9.0.2")}}
	if err := a.e.Reload(context.Background(), &Config{Instances: []*InstanceConfig{&d}}); err != nil {
		t.Fatal(err)
	}
	l.eventually("master with a peer", 8*time.Second, func() bool { return a.state("VI_1") == Master })
}
