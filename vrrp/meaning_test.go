package vrrp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
)

// TestAReloadComparesByMeaning: what is written in other words stays, what means something else is replaced.
func TestAReloadComparesByMeaning(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	config := func(change func(*InstanceConfig)) *Config {
		c := testInstance("VI_1", 51, 100, "10.9.0.100/24", "10.9.0.101/24")
		c.Version, c.AdvertInt, c.DownTimerAdverts = 3, 100*time.Millisecond, 100 // which does not care whether the machine stands still
		c.Routes = []vip.Route{
			{Text: "10.77.0.0/24 via 10.9.0.2", Dst: netip.MustParsePrefix("10.77.0.0/24"), Via: netip.MustParseAddr("10.9.0.2")},
			{Text: "10.78.0.0/24 dev eth0", Dst: netip.MustParsePrefix("10.78.0.0/24"), Dev: "eth0"},
		}
		c.Rules = []vip.Rule{{Text: "from 10.9.0.100 table 77", From: netip.MustParsePrefix("10.9.0.100/32"), Priority: 777, Action: 1, Table: 77}}
		change(c)
		return &Config{Instances: []*InstanceConfig{c}}
	}
	a := l.start(1, config(func(*InstanceConfig) {}), Options{Resume: map[string]bool{"VI_1": true}})
	l.eventually("master", 6*time.Second, func() bool {
		return a.state("VI_1") == Master && strings.Contains(l.run("ip -n %s route show 10.77.0.0/24", l.ns(1)), "via 10.9.0.2")
	})
	for _, c := range []struct {
		name   string
		change func(*InstanceConfig)
		writes string // of the plan
		show   string
		want   string
	}{
		{"other words, other tracking", func(c *InstanceConfig) {
			c.Routes[0].Text, c.Routes[1].Text, c.Rules[0].Text = "to 10.77.0.0/24 via inet 10.9.0.2", "10.78.0.0/24", "from 10.9.0.100/32 lookup 77"
			c.Routes[1].Dev, c.Routes[1].NoTrack, c.VIPs[1].NoTrack = "", true, true // the instance's interface is the one that was named
		}, "", "route show 10.77.0.0/24", "via 10.9.0.2"},
		{"another next hop", func(c *InstanceConfig) {
			c.Routes[0].Text, c.Routes[0].Via = "10.77.0.0/24 via 10.9.0.3", netip.MustParseAddr("10.9.0.3")
		}, "remove route 10.77.0.0/24 via 10.9.0.2; add route 10.77.0.0/24 via 10.9.0.3", "route show 10.77.0.0/24", "via 10.9.0.3"},
		{"another label", func(c *InstanceConfig) { c.VIPs[1].Label = "eth0:1" }, "remove address 10.9.0.101/24; add address 10.9.0.101/24", "addr show label eth0:1", "10.9.0.101/24"},
		{"another table", func(c *InstanceConfig) { c.Rules[0].Table = 78 }, "remove rule from 10.9.0.100 table 77; add rule from 10.9.0.100 table 77", "rule show", "lookup 78"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := config(c.change)
			p, err := a.e.Plan(t.Context(), next)
			if err != nil {
				t.Fatal(err)
			}
			var writes []string
			for _, w := range p.Writes {
				if w.Verb == "add" || w.Verb == "remove" {
					writes = append(writes, w.Verb+" "+w.What)
				}
			}
			for _, w := range strings.Split(c.writes, "; ") {
				if !strings.Contains(strings.Join(writes, "; "), w) {
					t.Errorf("plan %q lacks %q", writes, w)
				}
			}
			if c.writes == "" && len(writes) > 0 {
				t.Errorf("plan %q", writes)
			}
			if err := a.e.Reload(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			l.eventually(c.want, 4*time.Second, func() bool { return strings.Contains(l.run("ip -n %s "+c.show, l.ns(1)), c.want) })
			if n := a.snapshot().Instances[0].Stats.BecomeMaster; n != 1 || a.state("VI_1") != Master {
				t.Errorf("%s, %d times master", a.state("VI_1"), n)
			}
			if err := a.e.Reload(t.Context(), config(func(*InstanceConfig) {})); err != nil {
				t.Fatal(err)
			}
			l.eventually("all is back", 4*time.Second, func() bool {
				return strings.Contains(l.run("ip -n %s route show 10.77.0.0/24", l.ns(1)), "via 10.9.0.2") && l.has(1, "10.9.0.101") && !strings.Contains(l.run("ip -n %s rule show", l.ns(1)), "lookup 78")
			})
		})
	}
}
