package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
)

func TestRoutesRulesAndVirtualMACsOfAKilledPredecessorAreRemoved(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.plug(1, "eth1", "10.9.1.1/24")
	ip := func(words string) { l.run("ip -n %s %s", l.ns(1), words) }
	ip("link add vrrp.77 link eth0 type macvlan mode private")
	ip("link set vrrp.77 address 00:00:5e:00:01:4d up")
	ip("link add vrrp.51 link eth0 type macvlan mode private")
	ip("link set vrrp.51 address 00:00:5e:00:01:33 up")
	ip("link add other link eth0 type macvlan mode private")
	ip("link add vrrp.88 link eth1 type macvlan mode private")
	ip("link set vrrp.88 address 00:00:5e:00:01:58 up")
	ip("route add 10.77.0.0/24 via 10.9.0.9 table 55 proto 18")
	ip("route add 10.78.0.0/24 via 10.9.0.9 proto 18")
	ip("route add 10.79.0.0/24 via 10.9.0.9")
	ip("route add 10.80.0.0/24 via 10.9.1.9 proto 18")
	ip("route add blackhole 10.81.0.0/24 proto 18")
	ip("-6 route add fd77::/64 dev eth0 proto 18")
	ip("rule add from 10.5.0.0/16 table 55 priority 500 protocol 18")
	ip("rule add from 10.6.0.0/16 table 55 priority 501 protocol 18")
	ip("rule add from 10.7.0.0/16 table 55 priority 502")
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.VMAC = &VMACConfig{}
	cfg := &Config{Instances: []*InstanceConfig{c},
		StaticRoutes: []vip.Route{{Text: "static", Dst: netip.MustParsePrefix("10.78.0.0/24"), Via: netip.MustParseAddr("10.9.0.9")}},
		StaticRules:  []vip.Rule{{Text: "static", From: netip.MustParsePrefix("10.6.0.0/16"), Priority: 501, Table: 55}}}
	a := l.start(1, cfg, Options{Reclaim: true})
	state := func() string {
		out := ""
		for _, show := range []string{"-o link show", "route show table all", "-6 route show table all", "rule show"} {
			s, _ := l.try("ip -n %s "+show, l.ns(1))
			out += s
		}
		return out
	}
	gone := []string{"vrrp.77", "10.77.0.0/24", "10.81.0.0/24", "fd77::", "10.5.0.0/16"}
	l.eventually("what was left behind is gone", 4*time.Second, func() bool {
		s := state()
		for _, g := range gone {
			if strings.Contains(s, g) {
				return false
			}
		}
		return true
	})
	contains(t, state(), "vrrp.51@eth0", "other@eth0", "vrrp.88@eth1", "10.78.0.0/24", "10.79.0.0/24", "10.80.0.0/24", "10.6.0.0/16", "10.7.0.0/16")
	l.eventually("master", 8*time.Second, func() bool { return a.state("VI_1") == Master })
}
