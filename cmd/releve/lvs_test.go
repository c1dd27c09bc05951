package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/ipvs"
	"releve/ipvs/memory"
)

func TestLVSShowsATable(t *testing.T) {
	var p memory.Plane
	p.Apply(context.Background(), ipvs.Diff(ipvs.Table{}, ipvs.Table{Services: []ipvs.Service{
		{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "sh", Flags: ipvs.SchedFlag2 | ipvs.Persistent, Timeout: time.Minute, Granularity: 24},
		{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}, Scheduler: "wlc", Dests: []ipvs.Dest{
			{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("10.1.0.2"), Port: 80}, Forward: ipvs.DR, Weight: 0, Upper: 9},
			{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080}, Weight: 5},
		}},
	}}))
	// What only the kernel fills is added by hand.
	table, _ := p.Read(context.Background())
	d := &table.Services[1].Dests[1]
	d.Active, d.Stats = 2, ipvs.Stats{Conns: 123456789, InBytes: 99999999, OutBytes: 1e15, CPS: 4}
	for _, c := range []struct{ args, want string }{
		{"", `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 wlc
  -> 10.1.0.1:8080                Masq    5      2          0@
  -> 10.1.0.2:80                  Route   0      0          0@
FWM  7 sh (sh-port) persistent 60 mask 255.255.255.0
`},
		{"--stats", `Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                         0        0        0        0        0
  -> 10.1.0.1:8080                 123456K        0        0 99999999 1000000G
  -> 10.1.0.2:80                         0        0        0        0        0
FWM  7                                   0        0        0        0        0
`},
		{"--rate", `Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  10.0.0.1:80                         0        0        0        0        0
  -> 10.1.0.1:8080                       4        0        0        0        0
  -> 10.1.0.2:80                         0        0        0        0        0
FWM  7                                   0        0        0        0        0
`},
		{"-S", `-A -t 10.0.0.1:80 -s wlc
-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 5
-a -t 10.0.0.1:80 -r 10.1.0.2:80 -g -w 0 -x 9
-A -f 7 -s sh -p 60 -M 255.255.255.0 -b sh-port
`},
	} {
		o, _, _, err := parseLVS(strings.Fields(c.args))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := showLVS(context.Background(), &b, fixed{&p, table}, o); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.ReplaceAll(b.String(), "0         \n", "0@\n"), c.want; got != want {
			t.Errorf("releve lvs %s\ngot\n%s\nwant\n%s", c.args, got, want)
		}
	}
	var b strings.Builder
	o, _, _, _ := parseLVS([]string{"--json"})
	if err := showLVS(context.Background(), &b, fixed{&p, table}, o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"plane": "memory"`, `"fwmark": 7`, `"address": "10.1.0.1"`, `"persistence_seconds": 60`, `"scheduler_flags": "sh-port"`, `"connections": 123456789`, `"forward": "dr"`, `"destinations": []`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("JSON lacks %s:\n%s", want, b.String())
		}
	}
}

// fixed is a plane whose content is given.
type fixed struct {
	*memory.Plane
	table ipvs.Table
}

func (f fixed) Read(context.Context) (ipvs.Table, error) { return f.table, nil }

func TestLVSRefusesWrongOptions(t *testing.T) {
	for _, args := range []string{"--stats --rate", "--json -S", "--plane x", "word", "--nope"} {
		var out, errs strings.Builder
		if status := runLVS(strings.Fields(args), &out, &errs); status != 2 || !strings.HasPrefix(errs.String(), "releve lvs: ") || out.Len() > 0 {
			t.Errorf("releve lvs %s: status %d, stdout %q, stderr %q", args, status, out.String(), errs.String())
		}
	}
}
