package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/director"
	"releve/ipvs"
	"releve/ipvs/memory"
)

// sick is a table and what a daemon says of it: a service with a server that is down, one below its quorum, one that the kernel refused,
// and somebody else's.
func sick() (ipvs.Table, *director.Health) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key := func(at string) ipvs.ServiceKey {
		ap := netip.MustParseAddrPort(at)
		return ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: ap.Addr(), Port: ap.Port()}
	}
	dest := func(at string, w int) ipvs.Dest {
		ap := netip.MustParseAddrPort(at)
		return ipvs.Dest{DestKey: ipvs.DestKey{Addr: ap.Addr(), Port: ap.Port()}, Weight: w}
	}
	real := func(at string, up bool, weight int, c ...director.CheckHealth) director.RealHealth {
		return director.RealHealth{Name: at, Addr: netip.MustParseAddrPort(at), Up: up, InTable: up, Since: now.Add(-90 * time.Second), Weight: weight, Configured: 1,
			Checkers: c}
	}
	good := director.CheckHealth{Type: "TCP_CHECK", Up: true, Tried: true}
	bad := director.CheckHealth{Type: "TCP_CHECK", Target: "10.1.0.2:81", Tried: true, Since: now.Add(-12 * time.Second), Reason: "connect: connection refused", Changes: 3}
	sorry := real("10.1.0.99:80", true, 1)
	refused := dest("10.1.0.3:80", 0).DestKey
	t := ipvs.Table{Services: []ipvs.Service{
		{ServiceKey: key("10.2.0.1:80"), Scheduler: "rr", Dests: []ipvs.Dest{dest("10.1.0.1:80", 1), dest("10.1.0.9:80", 1), dest("10.1.0.4:80", 7)}},
		{ServiceKey: key("10.2.0.2:80"), Scheduler: "wlc", Dests: []ipvs.Dest{dest("10.1.0.99:80", 1)}},
		{ServiceKey: key("10.2.0.9:80"), Scheduler: "rr"},
	}}
	h := &director.Health{At: now, Started: now.Add(-time.Hour), Plane: "memory", Repairs: 2,
		Missing: []director.Missing{
			{Service: key("10.2.0.1:80"), Dest: &refused, Reason: "the kernel is out of memory", Since: now.Add(-5 * time.Second), Tries: 3},
			{Service: key("10.2.0.3:80"), Reason: `scheduler "twos" not found`, Since: now.Add(-time.Minute), Tries: 6},
		},
		Trouble: []string{"the IPVS timeouts: not permitted"},
		Limits:  []string{"nftables cannot forward by DR: real server 10.1.0.1:80 left out"},
		Virtual: []director.VirtualHealth{
			{Name: "[10.2.0.1]:tcp:80", Services: []ipvs.ServiceKey{key("10.2.0.1:80")}, QuorumUp: true, Since: now.Add(-time.Hour), LiveWeight: 2, Quorum: 1,
				Real: []director.RealHealth{real("10.1.0.1:80", true, 1, good), real("10.1.0.2:80", false, 1, good, bad), real("10.1.0.3:80", true, 1), real("10.1.0.4:80", true, 5, good)}},
			{Name: "[10.2.0.2]:tcp:80", Services: []ipvs.ServiceKey{key("10.2.0.2:80")}, Since: now.Add(-12 * time.Second), LiveWeight: 1, Quorum: 3, Hysteresis: 1, Sorry: &sorry,
				Real: []director.RealHealth{real("10.1.0.1:80", true, 1, director.CheckHealth{Type: "TCP_CHECK", Up: true})}},
			{Name: "[10.2.0.3]:tcp:80", Services: []ipvs.ServiceKey{key("10.2.0.3:80")}, QuorumUp: true, Since: now, LiveWeight: 1, Quorum: 1},
		}}
	return t, h
}

func TestLVSJoinsHealthAndReasonsIn(t *testing.T) {
	table, h := sick()
	show := func(args ...string) string {
		o, _, _, err := parseLVS(args)
		if err != nil {
			t.Fatal(err)
		}
		o.health = h
		var b strings.Builder
		if err := showLVS(t.Context(), &b, fixed{new(memory.Plane), table}, o); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const tail = `
Not in place:
  -t 10.2.0.3:80 (VS [10.2.0.3]:tcp:80): refused 1m0s, 6 times: scheduler "twos" not found
  -t 10.2.0.1:80 -r 10.1.0.3:80: refused 5s, 3 times: the kernel is out of memory
  the IPVS timeouts: not permitted

Limits:
  nftables cannot forward by DR: real server 10.1.0.1:80 left out

Restored after changes from outside: 2 services
`
	const out = `  -x 10.1.0.2:80                  out     down 1m30s: TCP_CHECK 10.1.0.2:81: connect: connection refused
  -x 10.1.0.3:80                  out     not checked; refused 5s, 3 times: the kernel is out of memory
`
	want := `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.2.0.1:80 rr  quorum up 1h0m0s: weight 2, quorum 1
  -> 10.1.0.1:80                  Masq    1      0          0           up 1m30s
  -> 10.1.0.4:80                  Masq    7      0          0           up 1m30s, weight 5 by its checks; the weight should be 5
  -> 10.1.0.9:80                  Masq    1      0          0           not of this configuration
` + out + `TCP  10.2.0.2:80 wlc  quorum lost 12s: weight 1, quorum 3, hysteresis 1
  -> 10.1.0.99:80                 Masq    1      0          0           sorry server, serving 1m30s
  -x 10.1.0.1:80                  out     up, not checked yet, makes room for the sorry server
TCP  10.2.0.9:80 rr  not of this configuration
` + tail
	if got := show(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, view := range []string{"--stats", "--rate"} {
		got := show(view)
		for _, want := range []string{out, tail, "quorum lost 12s", "  -> 10.1.0.1:80                         0        0        0        0        0  up 1m30s\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", view, want, got)
			}
		}
	}
	var j struct {
		Services []struct {
			Address string
			Health  *jsonVirtual
			Dests   []struct{ Health *jsonReal } `json:"destinations"`
		}
		Health jsonHealth
	}
	if err := json.Unmarshal([]byte(show("--json")), &j); err != nil {
		t.Fatal(err)
	}
	first, second := j.Services[0].Health, j.Services[1].Health
	switch {
	case !first.QuorumUp || len(first.Out) != 2 || first.Out[0].Up || first.Out[0].Checkers[1].Reason != "connect: connection refused" || first.Out[0].Checkers[1].Changes != 3:
		t.Errorf("first service: %+v", first)
	case second.QuorumUp || !second.SorryUp || !j.Services[1].Dests[0].Health.Sorry || second.Out[0].Why != "up, not checked yet, makes room for the sorry server":
		t.Errorf("second service: %+v", second)
	case j.Services[2].Health != nil || j.Services[0].Dests[2].Health != nil || j.Services[0].Dests[1].Health.Weight != 5:
		t.Errorf("strangers: %+v", j.Services)
	case len(j.Health.Missing) != 2 || j.Health.Missing[1].Reason != `scheduler "twos" not found` || len(j.Health.Absent) != 1 || j.Health.Absent[0] != "-t 10.2.0.3:80" || j.Health.Repairs != 2:
		t.Errorf("health: %+v", j.Health)
	}
}
