package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/ipvs"
	"releve/ipvs/kernel"
)

func key(proto ipvs.Protocol, at string) ipvs.ServiceKey {
	ap := netip.MustParseAddrPort(at)
	return ipvs.ServiceKey{Protocol: proto, Addr: ap.Addr(), Port: ap.Port()}.Normal()
}

func service(proto ipvs.Protocol, at, scheduler string, dests ...ipvs.Dest) ipvs.Service {
	return ipvs.Service{ServiceKey: key(proto, at), Scheduler: scheduler, Dests: dests}
}

func dest(at string, weight int) ipvs.Dest {
	ap := netip.MustParseAddrPort(at)
	return ipvs.Dest{DestKey: ipvs.DestKey{Addr: ap.Addr(), Port: ap.Port()}, Weight: weight}
}

func with[T any](v T, f func(*T)) T { f(&v); return v }

func table(s ...ipvs.Service) ipvs.Table { return ipvs.Table{Services: s} }

// everything is a table with every kind of entry.
func everything() ipvs.Table {
	tunnel := func(at string, typ ipvs.TunnelType, port uint16, flags ipvs.TunnelFlags) ipvs.Dest {
		return with(dest(at, 1), func(d *ipvs.Dest) {
			d.Forward, d.TunnelType, d.TunnelPort, d.TunnelFlags = ipvs.TUN, typ, port, flags
		})
	}
	flags := func(s ipvs.Service, f ipvs.Flags) ipvs.Service { s.Flags |= f; return s }
	persist := func(s ipvs.Service, seconds int, granularity uint8) ipvs.Service {
		s.Flags |= ipvs.Persistent
		s.Timeout, s.Granularity = time.Duration(seconds)*time.Second, granularity
		return s
	}
	mark := func(family ipvs.Family, n uint32, scheduler string, dests ...ipvs.Dest) ipvs.Service {
		return ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: family, FWMark: n}, Scheduler: scheduler, Dests: dests}
	}
	t := table(
		service(ipvs.TCP, "10.0.0.1:80", "rr", dest("10.1.0.1:8080", 3), with(dest("10.1.0.2:80", 0), func(d *ipvs.Dest) { d.Forward = ipvs.DR }),
			with(dest("10.1.0.3:80", 65535), func(d *ipvs.Dest) { d.Upper, d.Lower = 100, 50 }), tunnel("[fd00:1::1]:80", ipvs.IPIP, 0, 0)),
		flags(service(ipvs.UDP, "10.0.0.1:53", "wlc", tunnel("10.1.0.2:53", ipvs.GUE, 6080, ipvs.RemCsum), tunnel("10.1.0.3:53", ipvs.GRE, 0, ipvs.Csum),
			tunnel("10.1.0.4:53", ipvs.GUE, 6081, ipvs.NoCsum), tunnel("10.1.0.5:53", ipvs.GRE, 0, ipvs.NoCsum), tunnel("10.1.0.6:53", ipvs.GUE, 6082, ipvs.Csum)), ipvs.OnePacket),
		persist(flags(service(ipvs.SCTP, "10.0.0.1:99", "sh"), ipvs.SchedFlag1|ipvs.SchedFlag2), 300, 24),
		flags(service(ipvs.TCP, "10.0.0.2:81", "mh"), ipvs.SchedFlag1|ipvs.SchedFlag2),
		flags(service(ipvs.TCP, "10.0.0.2:82", "wrr"), ipvs.SchedFlag1|ipvs.SchedFlag3),
		persist(service(ipvs.TCP, "10.0.0.2:0", "wrr"), 360, 0),
		persist(flags(service(ipvs.UDP, "10.0.0.3:83", "wrr"), ipvs.OnePacket|ipvs.SchedFlag2), 20, 8),
		mark(ipvs.IPv4, 7, "rr", with(dest("10.1.0.1:0", 1), func(d *ipvs.Dest) { d.Forward = ipvs.DR })),
		persist(mark(ipvs.IPv6, 7, "rr", with(dest("[fd00::1]:0", 1), func(d *ipvs.Dest) { d.Forward = ipvs.DR })), 100, 64),
		mark(ipvs.IPv4, 2147483647, "wlc"),
		service(ipvs.TCP, "[fd00::1]:80", "rr", dest("[fd00:1::1]:80", 1), tunnel("10.1.0.1:80", ipvs.IPIP, 0, 0)),
		persist(service(ipvs.UDP, "[fd00::1]:0", "wlc"), 5, 0),
	)
	for i, s := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq"} {
		t.Services = append(t.Services, service(ipvs.TCP, fmt.Sprintf("10.0.7.%d:80", i+1), s, dest("10.1.0.1:80", 1)))
	}
	return t
}

func TestIPVSEveryKindOfEntryIsWrittenAndReadBack(t *testing.T) {
	p := open(t)
	want := everything()
	become(t, p, want)
	judged(t, want)
	if again := ipvs.Diff(read(t, p), want); len(again) > 0 {
		t.Errorf("a second difference: %v", again)
	}
	if l := ipvsadm(t, "-Ln --thresholds"); !strings.Contains(l, "10.1.0.3:80                  100        50") {
		t.Errorf("thresholds 100 and 50 are not in\n%s", l)
	}
	order := ""
	for _, d := range read(t, p).Services[0].Dests {
		order += d.DestKey.String() + " "
	}
	if want := "10.1.0.1:8080 10.1.0.2:80 10.1.0.3:80 [fd00:1::1]:80 "; order != want {
		t.Errorf("destinations are read as %s, were written as %s", order, want)
	}
	become(t, p, ipvs.Table{})
	judged(t, ipvs.Table{})
}

func TestIPVSEveryOperation(t *testing.T) {
	p := open(t)
	s := service(ipvs.TCP, "10.0.0.1:80", "rr")
	d := dest("10.1.0.1:80", 1)
	for _, c := range []struct {
		name string
		op   ipvs.Op
		want string
	}{
		{"a service is added", ipvs.Op{Kind: ipvs.AddService, Service: s}, "-A -t 10.0.0.1:80 -s rr"},
		{"a destination is added", ipvs.Op{Kind: ipvs.AddDest, Service: s, Dest: d}, "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1"},
		{"weight and method of a destination are edited", ipvs.Op{Kind: ipvs.EditDest, Service: s, Dest: with(d, func(d *ipvs.Dest) {
			d.Weight, d.Forward, d.TunnelType, d.TunnelPort = 7, ipvs.TUN, ipvs.GUE, 6080
		})}, "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -i -w 7 --tun-type gue --tun-port 6080 --tun-nocsum"},
		{"and back to NAT", ipvs.Op{Kind: ipvs.EditDest, Service: s, Dest: with(d, func(d *ipvs.Dest) { d.Weight = 0 })},
			"-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 0"},
		{"a scheduler is edited", ipvs.Op{Kind: ipvs.EditService, Service: with(s, func(s *ipvs.Service) {
			s.Scheduler, s.Flags, s.Timeout = "mh", ipvs.Persistent|ipvs.SchedFlag1, 90*time.Second
		})}, "-A -t 10.0.0.1:80 -s mh -p 90 -b mh-fallback\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 0"},
		{"flags and persistence go with an edit", ipvs.Op{Kind: ipvs.EditService, Service: s}, "-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 0"},
		{"a destination is deleted", ipvs.Op{Kind: ipvs.DelDest, Service: s, Dest: d}, "-A -t 10.0.0.1:80 -s rr"},
		{"a service is deleted", ipvs.Op{Kind: ipvs.DelService, Service: s}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			apply(t, p, []ipvs.Op{c.op})
			if got := sortedLines(ipvsadm(t, "-S -n")); got != sortedLines(c.want) {
				t.Errorf("after %s ipvsadm -S -n has\n%s\nwant\n%s", c.op, got, c.want)
			}
		})
	}
}

func TestIPVSARefusalNamesItsObjectAndTheRestGoesOn(t *testing.T) {
	p := open(t)
	s := service(ipvs.TCP, "10.0.0.1:80", "rr")
	six := service(ipvs.TCP, "[fd00::1]:80", "rr")
	none := service(ipvs.TCP, "10.0.0.9:80", "rr")
	op := func(kind ipvs.OpKind, s ipvs.Service, d ipvs.Dest) ipvs.Op {
		return ipvs.Op{Kind: kind, Service: s, Dest: d}
	}
	scheduler := func(name string) ipvs.Service { s := none; s.Scheduler = name; return s }
	ops := []ipvs.Op{
		op(ipvs.AddService, s, ipvs.Dest{}),
		op(ipvs.AddService, s, ipvs.Dest{}),
		op(ipvs.AddService, scheduler("nope"), ipvs.Dest{}),
		op(ipvs.AddService, with(scheduler("rr"), func(s *ipvs.Service) { s.Flags, s.Timeout, s.Engine = ipvs.Persistent, time.Minute, "nope" }), ipvs.Dest{}),
		op(ipvs.AddDest, s, dest("10.1.0.1:80", 1)),
		op(ipvs.AddDest, s, dest("10.1.0.1:80", 1)),
		op(ipvs.AddDest, none, dest("10.1.0.1:80", 1)),
		op(ipvs.EditService, none, ipvs.Dest{}),
		op(ipvs.DelService, none, ipvs.Dest{}),
		op(ipvs.EditDest, s, dest("10.1.0.9:80", 1)),
		op(ipvs.DelDest, s, dest("10.1.0.9:80", 1)),
		op(ipvs.DelDest, none, dest("10.1.0.9:80", 1)),
		op(ipvs.AddDest, s, dest("[fd00::2]:80", 1)),
		op(ipvs.AddDest, s, with(dest("10.1.0.2:80", 1), func(d *ipvs.Dest) { d.Forward, d.TunnelType = ipvs.TUN, ipvs.GUE })),
		op(ipvs.AddDest, s, with(dest("10.1.0.2:80", 1), func(d *ipvs.Dest) { d.Upper, d.Lower = 5, 9 })),
		op(ipvs.AddDest, s, dest("10.1.0.2:80", -1)),
		op(ipvs.AddDest, s, dest("224.0.0.5:80", 1)),
		op(ipvs.AddService, six, ipvs.Dest{}),
		op(ipvs.AddDest, six, dest("[fe80::2]:80", 1)),
		op(ipvs.AddDest, s, dest("10.1.0.3:80", 3)),
	}
	want := []string{
		"add service -t 10.0.0.1:80: service already exists",
		`add service -t 10.0.0.9:80: scheduler "nope" not found`,
		`add service -t 10.0.0.9:80: scheduler "rr" or persistence engine "nope" not found`,
		"add destination -t 10.0.0.1:80 -r 10.1.0.1:80: destination already exists",
		"add destination -t 10.0.0.9:80 -r 10.1.0.1:80: no such service",
		"edit service -t 10.0.0.9:80: no such service",
		"delete service -t 10.0.0.9:80: no such service",
		"edit destination -t 10.0.0.1:80 -r 10.1.0.9:80: no such destination",
		"delete destination -t 10.0.0.1:80 -r 10.1.0.9:80: no such destination",
		"delete destination -t 10.0.0.9:80 -r 10.1.0.9:80: no such service",
		"add destination -t 10.0.0.1:80 -r [fd00::2]:80: another address family than the service's needs a tunnel",
		"add destination -t 10.0.0.1:80 -r 10.1.0.2:80: a GUE tunnel needs a port",
		"add destination -t 10.0.0.1:80 -r 10.1.0.2:80: a weight below 0, or a lower connection threshold above the upper one",
		"add destination -t 10.0.0.1:80 -r 10.1.0.2:80: a weight below 0, or a lower connection threshold above the upper one",
		"add destination -t 10.0.0.1:80 -r 224.0.0.5:80: the address is not one of a host",
		"add destination -t [fd00::1]:80 -r [fe80::2]:80: the address is not one of a host",
	}
	var got []string
	for _, e := range p.Apply(context.Background(), ops) {
		got = append(got, e.Error())
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
	judged(t, table(service(ipvs.TCP, "10.0.0.1:80", "rr", dest("10.1.0.1:80", 1), dest("10.1.0.3:80", 3)), six))
}

func TestIPVSAThousandRefusalsAreAllReported(t *testing.T) {
	p := open(t)
	var ops []ipvs.Op
	for i := range 1500 {
		ops = append(ops, ipvs.Op{Kind: ipvs.DelService, Service: service(ipvs.TCP, fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), "rr")})
	}
	ops = append(ops, ipvs.Op{Kind: ipvs.AddService, Service: service(ipvs.TCP, "10.0.0.1:80", "rr")})
	failed := p.Apply(context.Background(), ops)
	if len(failed) != 1500 {
		t.Fatalf("%d of 1500 refusals reported", len(failed))
	}
	for i, e := range failed {
		if e.Op.Service.ServiceKey != ops[i].Service.ServiceKey || !errors.Is(e, syscall.ESRCH) {
			t.Fatalf("%d: %v, want the refusal of %s", i, e, ops[i])
		}
	}
	judged(t, table(service(ipvs.TCP, "10.0.0.1:80", "rr")))
}

func TestIPVSAnyTableBecomesAnyOtherInTheKernel(t *testing.T) {
	p := open(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	all := everything().Services
	for range 30 {
		var want ipvs.Table
		for _, i := range r.Perm(len(all))[:r.IntN(len(all))] {
			s := all[i]
			s.Scheduler = []string{"rr", "wlc", "sh"}[r.IntN(3)]
			if s.Scheduler == "sh" {
				s.Flags &^= ipvs.SchedFlag3 // ipvsadm does not show it there
			}
			if r.IntN(2) == 0 && s.Port != 0 {
				s.Flags &^= ipvs.Persistent
			}
			var dests []ipvs.Dest
			for _, j := range r.Perm(len(s.Dests))[:r.IntN(len(s.Dests)+1)] {
				d := s.Dests[j]
				d.Weight = r.IntN(3)
				if d.Forward == ipvs.NAT && r.IntN(2) == 0 {
					d.Forward = ipvs.DR
				}
				dests = append(dests, d)
			}
			s.Dests = dests
			want.Services = append(want.Services, s)
		}
		ops := become(t, p, want)
		judged(t, want)
		if again := ipvs.Diff(read(t, p), want); len(again) > 0 {
			t.Fatalf("a second difference: %v\nafter %v", again, ops)
		}
		if t.Failed() {
			t.Fatalf("after %v", ops)
		}
	}
}

func TestIPVSWhatAPredecessorLeftIsTakenOver(t *testing.T) {
	p := open(t)
	for _, l := range []string{
		"-A -t 10.0.0.1:80 -s wlc", "-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1", "-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 9",
		"-A -t 10.0.0.2:80 -s rr", "-a -t 10.0.0.2:80 -r 10.1.0.1:80 -m",
		"-A -f 3 -s rr -p 360", "-a -f 3 -r 10.1.0.1:0 -g -w 1",
	} {
		ipvsadm(t, l)
	}
	mark := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 3}, Scheduler: "rr", Flags: ipvs.Persistent, Timeout: 6 * time.Minute,
		Dests: []ipvs.Dest{with(dest("10.1.0.1:0", 1), func(d *ipvs.Dest) { d.Forward = ipvs.DR })}}
	want := table(service(ipvs.TCP, "10.0.0.1:80", "wlc", dest("10.1.0.1:80", 1), dest("10.1.0.2:80", 2), dest("10.1.0.3:80", 1)), mark)
	ops := become(t, p, want)
	got := ""
	for _, op := range ops {
		got += op.String() + "\n"
	}
	if w := "-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 2\n-a -t 10.0.0.1:80 -r 10.1.0.3:80 -m -w 1\n-D -t 10.0.0.2:80\n"; got != w {
		t.Errorf("the difference is\n%swant\n%s", got, w)
	}
	judged(t, want)
}

func TestIPVSTimeouts(t *testing.T) {
	p := open(t)
	before, err := p.SetTimeouts(context.Background(), ipvs.Timeouts{TCP: 100 * time.Second, UDP: 33 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if before != (ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second}) {
		t.Errorf("before: %v, want the kernel's defaults", before)
	}
	if l := ipvsadm(t, "-L --timeout"); !strings.Contains(l, "100 120 33") {
		t.Errorf("ipvsadm says %s", l)
	}
	if _, err := p.SetTimeouts(context.Background(), before); err != nil {
		t.Fatal(err)
	}
	if l := ipvsadm(t, "-L --timeout"); !strings.Contains(l, "900 120 300") {
		t.Errorf("ipvsadm says %s", l)
	}
}

func TestIPVSAnotherNetworkNamespace(t *testing.T) {
	here := open(t)
	namespaces(t)
	run(t, "ip", "netns", "add", "rlv-k-other")
	run(t, "ip", "-n", "rlv-k-other", "link", "set", "lo", "up")
	t.Cleanup(func() { run(t, "ip", "netns", "del", "rlv-k-other") })
	there, err := kernel.Open("/run/netns/rlv-k-other")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	apply(t, there, ipvs.Diff(ipvs.Table{}, table(service(ipvs.TCP, "10.0.0.1:80", "rr", dest("10.1.0.1:80", 1)))))
	if _, err := there.SetTimeouts(context.Background(), ipvs.Timeouts{TCP: 77 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, here); len(got.Services) != 0 {
		t.Errorf("written here instead of there:\n%s", got)
	}
	if out := run(t, "ip", "netns", "exec", "rlv-k-other", "ipvsadm", "-Ln"); !strings.Contains(out, "10.1.0.1:80") {
		t.Errorf("ipvsadm there says\n%s", out)
	}
	if out := run(t, "ip", "netns", "exec", "rlv-k-other", "ipvsadm", "-L", "--timeout"); !strings.Contains(out, "77 ") {
		t.Errorf("ipvsadm there says\n%s", out)
	}
	if err := there.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, there); len(got.Services) != 0 {
		t.Errorf("left after a flush:\n%s", got)
	}
	if _, err := kernel.Open("/run/netns/rlv-k-nowhere"); err == nil {
		t.Error("a namespace that does not exist was opened")
	}
}

func TestIPVSACancelledContextWritesNothing(t *testing.T) {
	p := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	failed := p.Apply(ctx, ipvs.Diff(ipvs.Table{}, everything()))
	if len(failed) == 0 || !errors.Is(failed[0], context.Canceled) {
		t.Errorf("failures: %v", failed)
	}
	judged(t, ipvs.Table{})
}

func TestIPVSAKernelWithoutIPVSIsNamed(t *testing.T) {
	p, err := kernel.Open("")
	if err == nil {
		p.Close()
		t.Skip("this kernel has IPVS")
	}
	if !errors.Is(err, kernel.ErrNoIPVS) {
		t.Errorf("%v, want ErrNoIPVS", err)
	}
	t.Log(err)
}
