package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"releve/vrrp/vip"
)

func TestAGroupOfInterfacesSharesItsPauseBetweenAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		make := func(name string, vrid uint8, vips ...string) *InstanceConfig {
			c := testInstance(name, vrid, 100, vips...)
			c.Version, c.AdvertInt = 3, 10*time.Second
			c.GARP = &GARPConfig{Repeat: 2, GARPInterval: time.Hour} // the group's interval beats the instance's
			return c
		}
		cfg := &Config{Instances: []*InstanceConfig{make("a", 51, "10.9.0.100/24"), make("b", 52, "10.9.0.101/24")},
			GARPGroups: []GARPGroup{{Ifaces: []string{"eth0"}, GARPInterval: 50 * time.Millisecond, HasGARP: true}}}
		e, d := fakeEngine(t, cfg, Options{})
		stop := run(t, e)
		time.Sleep(37 * time.Second)
		var got []string
		for _, l := range d.take() {
			if strings.Contains(l, "announcements") && !strings.HasSuffix(l, " 0 announcements") {
				got = append(got, l)
			}
		}
		expect(t, got, "36.094s 1 announcements", "36.144s 1 announcements", "36.194s 1 announcements", "36.244s 1 announcements")
		stop()
	})
}

func TestAddressesElsewhereAreAnnouncedAgainAndAgain(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.plug(1, "eth1", "10.9.1.1/24")
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.VIPs = append(c.VIPs, vip.Address{Prefix: netip.MustParsePrefix("10.9.1.100/24"), Dev: "eth1", UseVMAC: true}, vip.Address{Prefix: netip.MustParsePrefix("10.9.1.101/24"), Dev: "eth1"})
	c.GARP = &GARPConfig{Repeat: 1, ExtraIfInterval: 300 * time.Millisecond}
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	said := func(text string) int { return strings.Count(a.log.all(), text) }
	once := func() int { return a.went("VI_1", Master) } // more often only after a standstill of the machine
	l.eventually("the address with a virtual MAC elsewhere is announced again", 10*time.Second, func() bool { return said("Sending gratuitous ARP on vrrp.51 for 10.9.1.100") > 3 })
	for _, text := range []string{"Sending gratuitous ARP on eth0 for 10.9.0.100", "Sending gratuitous ARP on eth1 for 10.9.1.101"} {
		if n := said(text); n != once() { // long before the fourth of the others
			t.Errorf("%d times: %s", n, text)
		}
	}
	all, g := *c, *c.GARP
	all.GARP, g.ExtraIfAll = &g, true
	if err := a.e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{&all}}); err != nil {
		t.Fatal(err)
	}
	l.eventually("with all, the one without, too", 4*time.Second, func() bool { return said("Sending gratuitous ARP on eth1 for 10.9.1.101") > 3 })
	if n := said("Sending gratuitous ARP on eth0 for 10.9.0.100"); n != once() {
		t.Errorf("the own interface %d times", n)
	}
}

// The master of a router that was cut off has lost its address from the ARP cache, and would have to ask before it can send an advert.
func TestAUnicastRouterThatComesBackAnnouncesTheAddressItListensAt(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	for _, v6 := range []bool{false, true} {
		c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
		self, from := "10.9.0.1", netip.MustParseAddr("10.9.0.1")
		peer := netip.MustParseAddr("10.9.0.77")
		if v6 {
			self, from, peer = "fe80::77", netip.MustParseAddr("fe80::77"), netip.MustParseAddr("fe80::78")
			c.IPv6, c.Version = true, 3
			c.VIPs = []vip.Address{{Prefix: netip.MustParsePrefix("fe80::100/64")}}
			l.in(1, "ip addr add fe80::77/64 dev eth0 nodad")
		}
		c.Src, c.Peers = from, []Peer{{Addr: peer}}
		c.Track = &TrackConfig{Ifaces: []TrackRef{{Name: "eth1"}}}
		if !v6 {
			l.plug(1, "eth1", "")
		}
		n := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
		l.eventually("it has begun", 4*time.Second, func() bool { return n.went("VI_1", Backup) == 1 })
		line := map[bool]string{false: "gratuitous ARP for ", true: "unsolicited Neighbour Advert for "}[v6] + self
		if strings.Contains(n.log.all(), "VI_1: sending "+line) {
			t.Error("announced at the start, when nobody has known it before")
		}
		l.run("ip link set %sn down", l.port(1))
		l.eventually("fault", 4*time.Second, func() bool { return n.state("VI_1") == Fault })
		capture := l.capture(1)
		l.run("ip link set %sn up", l.port(1))
		l.eventually("it is back", 4*time.Second, func() bool { return n.went("VI_1", Backup) == 2 })
		l.eventually("the announcement", 4*time.Second, func() bool { return strings.Contains(n.log.all(), "VI_1: sending "+line) })
		filter := "arp.isgratuitous && arp.src.proto_ipv4 == 10.9.0.1"
		if v6 {
			filter = "icmpv6.nd.na.target_address == fe80::77"
		}
		time.Sleep(200 * time.Millisecond)
		if got := l.tshark(capture(), filter, "frame.number"); len(got) != 1 {
			t.Errorf("IPv6 %v: %d frames that match %s", v6, len(got), filter)
		}
		n.stop()
	}
}
