package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
)

func TestRemovedRoutesAndRulesCostTheMastershipUnlessNotTracked(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Version, c.AdvertInt = 3, 100*time.Millisecond
	route := func(dst, text string, noTrack bool) vip.Route {
		return vip.Route{Text: text, Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr("10.9.0.9"), NoTrack: noTrack}
	}
	c.Routes = []vip.Route{route("10.77.0.0/24", "a", false), route("10.78.0.0/24", "b", true),
		{Text: "c", IPv6: true, Dst: netip.MustParsePrefix("fd77::/64"), Dev: "eth0"}, {Text: "d", Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.9.0.9"), HasTable: true, Table: 1000}}
	c.Rules = []vip.Rule{{Text: "e", From: netip.MustParsePrefix("10.5.0.0/16"), Priority: 500, Table: 55}, {Text: "f", From: netip.MustParsePrefix("10.6.0.0/16"), Priority: 501, Table: 55, NoTrack: true}}
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	there := func(show, text string) func() bool {
		return func() bool {
			out, _ := l.try("ip -n %s "+show, l.ns(1))
			return strings.Contains(out, text)
		}
	}
	lost := func() (n int) {
		for _, h := range a.snapshot().Instances[0].History {
			if h.From == Master && h.Cause == "virtual address, route or rule was removed by somebody else" {
				n++
			}
		}
		return n
	}
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && there("rule", "500:")() })
	time.Sleep(200 * time.Millisecond) // reports of what we did ourselves have passed
	for i, c := range []struct{ del, show, text string }{
		{"route del 10.77.0.0/24", "route", "10.77.0.0/24"},
		{"-6 route del fd77::/64", "-6 route", "fd77::/64"},
		{"route del default table 1000", "route show table 1000", "default"},
		{"rule del priority 500", "rule", "500:"},
	} {
		l.run("ip -n %s "+c.del, l.ns(1))
		l.eventually("the mastership is lost with "+c.del, 4*time.Second, func() bool { return lost() == i+1 })
		l.eventually("it comes back with "+c.text, 6*time.Second, func() bool { return a.state("VI_1") == Master && there(c.show, c.text)() })
	}
	a.patient() // or it would come back by a standstill of the machine
	for _, c := range []struct{ del, show, text string }{{"route del 10.78.0.0/24", "route", "10.78.0.0/24"}, {"rule del priority 501", "rule", "501:"}} {
		l.run("ip -n %s "+c.del, l.ns(1))
		time.Sleep(300 * time.Millisecond)
		if lost() != 4 || there(c.show, c.text)() {
			t.Errorf("%s: mastership lost %d times, there %v", c.del, lost(), there(c.show, c.text)())
		}
	}
	a.stop()
	if out := l.in(1, "ip route show proto 18") + l.in(1, "ip rule"); strings.Contains(out, "10.7") || strings.Contains(out, "500:") {
		t.Errorf("left behind: %s", out)
	}
}

func TestStaticThingsArePutBackAndTheirTrackGroupKnows(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.plug(1, "eth1", "")
	cfg := &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 100, "10.9.0.101/24")},
		TrackGroups:  []TrackGroup{{Name: "G", Instances: []string{"VI_1"}}},
		StaticAddrs:  []vip.Address{{Prefix: netip.MustParsePrefix("10.8.0.1/24"), Dev: "eth1", TrackGroup: "G"}},
		StaticRoutes: []vip.Route{{Text: "10.66.0.0/24 via 10.9.0.9", Dst: netip.MustParsePrefix("10.66.0.0/24"), Via: netip.MustParseAddr("10.9.0.9"), Dev: "eth0", TrackGroup: "G"}},
		StaticRules:  []vip.Rule{{Text: "from 10.5.0.0/16", From: netip.MustParsePrefix("10.5.0.0/16"), Priority: 500, Table: 55}}}
	a := l.start(1, cfg, Options{})
	l.eventually("masters", 6*time.Second, func() bool { return a.state("VI_1") == Master && a.state("VI_2") == Master && l.has(1, "10.8.0.1") })
	for _, c := range []struct{ del, show, text string }{
		{"addr del 10.8.0.1/24 dev eth1", "addr", "10.8.0.1/24"}, {"route del 10.66.0.0/24", "route", "10.66.0.0/24"}, {"rule del priority 500", "rule", "500:"},
	} {
		l.run("ip -n %s "+c.del, l.ns(1))
		l.eventually(c.text+" is put back", 4*time.Second, func() bool {
			out, _ := l.try("ip -n %s "+c.show, l.ns(1))
			return strings.Contains(out, c.text)
		})
	}
	if why := a.left("VI_1"); why != nil || a.went("VI_1", Fault) > 0 {
		t.Errorf("what can be put back is no fault: %q", why)
	}
	l.run("ip link del %sn", l.port(1))
	l.eventually("the group's instance is in fault when it cannot", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	if why := a.left("VI_2"); why != nil {
		t.Errorf("an instance outside the group is disturbed: %q", why)
	}
	l.plug(1, "eth1", "")
	l.eventually("and recovers", 10*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.8.0.1") })
}
