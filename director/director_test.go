package director

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/ipvs/memory"
)

// house is a Director over a table in memory, inside a synctest bubble.
type house struct {
	t        *testing.T
	d        *Director
	plane    *memory.Plane
	mu       sync.Mutex
	fifo     []string
	checkers []string
	log      bytes.Buffer
	cancel   context.CancelFunc
	done     chan error
}

type lockedWriter struct{ h *house }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	return w.h.log.Write(b)
}

func build(t *testing.T, plane *memory.Plane, cfg *Config, o Options) *house {
	t.Helper()
	h := &house{t: t, plane: plane, done: make(chan error, 1)}
	o.Plane = plane
	o.Log = slog.New(slog.NewTextHandler(lockedWriter{h}, nil))
	o.Notify = func(e Event) {
		if l := e.FifoLine(); l != "" {
			h.mu.Lock()
			h.fifo = append(h.fifo, l)
			h.mu.Unlock()
		}
	}
	o.SetCheckers = func(_ context.Context, cs []*healthcheck.Config) {
		h.checkers = nil
		for _, c := range cs {
			h.checkers = append(h.checkers, c.ID)
		}
	}
	d, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	h.d = d
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { h.done <- d.Run(ctx) }()
	synctest.Wait()
	return h
}

func (h *house) stop() {
	h.t.Helper()
	h.cancel()
	if err := <-h.done; err != nil {
		h.t.Error(err)
	}
}

func (h *house) report(vs *VirtualServer, rs, check int, r healthcheck.Result) {
	r.ID = vs.RealServers[rs].Checkers[check].ID
	h.d.Report(r)
	synctest.Wait()
}

func (h *house) writes(what string, want ...string) {
	h.t.Helper()
	if got := h.plane.Log(); !slices.Equal(got, want) {
		h.t.Errorf("%s wrote\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (h *house) told(what string, want ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.fifo, want) {
		h.t.Errorf("%s told\n\t%s\nwant\n\t%s", what, strings.Join(h.fifo, "\n\t"), strings.Join(want, "\n\t"))
	}
	h.fifo = nil
}

func (h *house) logged(want string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !strings.Contains(h.log.String(), want) {
		h.t.Errorf("no %q in the log:\n%s", want, h.log.String())
	}
	h.log.Reset()
}

func put(p *memory.Plane, lines ...ipvs.Op) { p.Apply(context.Background(), lines); p.Log() }

func TestLifeOfAVirtualServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vs := sorry(virtual(2, 0, server(1, 3, false), server(2, 1, false), server(3, 1, false)), false)
		h := build(t, new(memory.Plane), &Config{VirtualServers: []*VirtualServer{vs}}, Options{})
		h.writes("the start",
			"-A -t 10.2.0.1:80 -s rr",
			"-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 3",
			"-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1",
			"-a -t 10.2.0.1:80 -r 10.1.0.3:80 -m -w 1")
		h.told("the start", "VS [10.2.0.1]:tcp:80 UP")
		if len(h.checkers) != 3 {
			t.Errorf("checkers %q", h.checkers)
		}
		h.report(vs, 1, 0, up(false))
		h.writes("a failure", "-d -t 10.2.0.1:80 -r 10.1.0.2:80")
		h.report(vs, 0, 0, up(false))
		h.writes("the lost quorum",
			"-d -t 10.2.0.1:80 -r 10.1.0.1:80",
			"-d -t 10.2.0.1:80 -r 10.1.0.3:80",
			"-a -t 10.2.0.1:80 -r 10.1.0.99:80 -m -w 1")
		h.told("the lost quorum", "RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 DOWN", "RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN", "VS [10.2.0.1]:tcp:80 DOWN")
		h.report(vs, 0, 0, up(true))
		h.writes("the regained quorum",
			"-d -t 10.2.0.1:80 -r 10.1.0.99:80",
			"-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 3",
			"-a -t 10.2.0.1:80 -r 10.1.0.3:80 -m -w 1")
		s, err := h.d.Snapshot(t.Context())
		if err != nil || len(s.VirtualServers) != 1 || !s.VirtualServers[0].QuorumUp || s.VirtualServers[0].RealServers[1].Alive {
			t.Errorf("snapshot %+v, %v", s, err)
		}
		h.stop()
		h.writes("the stop", "-D -t 10.2.0.1:80")
		if _, err := h.d.Snapshot(t.Context()); !errors.Is(err, ErrEnded) {
			t.Errorf("snapshot after the end: %v", err)
		}
	})
}

func TestStartAdoptsWhatIsThere(t *testing.T) {
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80}
	dest := func(n, w int) ipvs.Dest {
		return ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(n)}), Port: 80}, Weight: w}
	}
	left := func() *memory.Plane {
		p := new(memory.Plane)
		foreign := key
		foreign.Port = 8080
		put(p,
			ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: foreign, Scheduler: "rr", Granularity: 32}},
			ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: key, Scheduler: "wlc", Granularity: 32}},
			ipvs.Op{Kind: ipvs.AddDest, Service: ipvs.Service{ServiceKey: key}, Dest: dest(1, 1)},
			ipvs.Op{Kind: ipvs.AddDest, Service: ipvs.Service{ServiceKey: key}, Dest: dest(7, 1)})
		return p
	}
	for _, c := range []struct {
		name string
		cfg  Config
		opt  Options
		want []string
		stop []string
	}{
		{"the difference is written, a live server stays even under alpha, strangers in our service go", Config{}, Options{},
			[]string{"-E -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1", "-d -t 10.2.0.1:80 -r 10.1.0.7:80"}, []string{"-D -t 10.2.0.1:80"}},
		{"taking over leaves out what the predecessor had taken out", Config{Flush: true}, Options{TakeOver: true},
			[]string{"-E -t 10.2.0.1:80 -s rr", "-d -t 10.2.0.1:80 -r 10.1.0.7:80"}, []string{"-D -t 10.2.0.1:80"}},
		{"lvs_flush begins with nothing", Config{Flush: true, FlushOnStop: true}, Options{},
			[]string{"-C", "-A -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1"}, []string{"-C"}},
		{"--dont-release-ipvs leaves everything", Config{}, Options{LeaveTable: true},
			[]string{"-E -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1", "-d -t 10.2.0.1:80 -r 10.1.0.7:80"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vs := virtual(1, 0, server(1, 1, true), server(2, 1, false))
				c.cfg.VirtualServers = []*VirtualServer{vs}
				h := build(t, left(), &c.cfg, c.opt)
				h.writes("the start", c.want...)
				h.stop()
				h.writes("the stop", c.stop...)
			})
		})
	}
}

func TestReloadWritesTheSmallestDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := &Group{Name: "G", Members: []GroupMember{
			{First: netip.MustParseAddr("10.2.0.254"), Last: netip.MustParseAddr("10.2.1.1"), Port: 80}, {FWMark: 7}}}
		grouped := func(g *Group) *VirtualServer {
			vs := virtual(1, 0, server(1, 1, false))
			vs.Name, vs.Group, vs.Key = "[G]:0", g, ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP}
			vs.RealServers[0].Forward = ipvs.DR
			vs.RealServers[0].Checkers[0].ID = "group"
			return vs
		}
		a := virtual(1, 0, server(1, 1, false), server(2, 1, false))
		h := build(t, new(memory.Plane), &Config{VirtualServers: []*VirtualServer{a, grouped(group)}}, Options{})
		if got := len(h.plane.Log()); got != 3+2*5 {
			t.Errorf("%d writes at the start", got)
		}
		h.report(a, 1, 0, up(false))
		h.writes("a failure", "-d -t 10.2.0.1:80 -r 10.1.0.2:80")
		h.told("so far", "VS [10.2.0.1]:tcp:80 UP", "VS [G]:0 UP", "RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 DOWN")
		h.reload(&Config{VirtualServers: []*VirtualServer{virtual(1, 0, server(1, 1, false), server(2, 1, false)), grouped(group)}})
		h.writes("a reload of the same")
		h.reload(&Config{VirtualServers: []*VirtualServer{virtual(1, 0, server(1, 9, false), server(2, 1, false)), grouped(group)}})
		h.writes("a changed weight", "-e -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 9")
		h.told("the reloads")
		smaller := *group
		smaller.Members = append(slices.Clone(group.Members[:1]), GroupMember{FWMark: 8})
		h.reload(&Config{VirtualServers: []*VirtualServer{virtual(1, 0, server(1, 9, false), server(2, 1, false)), grouped(&smaller)}})
		h.writes("a changed group", "-A -f 8 -s rr", "-a -f 8 -r 10.1.0.1:0 -g -w 1", "-D -f 7")
		h.told("the changed group")
		h.reload(&Config{VirtualServers: []*VirtualServer{grouped(&smaller)}})
		h.writes("a service that is gone", "-D -t 10.2.0.1:80")
		h.told("the service that is gone", "RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN", "VS [10.2.0.1]:tcp:80 DOWN")
		h.logged("Removing Virtual Server [10.2.0.1]:tcp:80")
		h.stop()
	})
}

func (h *house) reload(c *Config) {
	h.t.Helper()
	if err := h.d.Reload(h.t.Context(), c); err != nil {
		h.t.Error(err)
	}
	synctest.Wait()
}

func TestSomebodyElsesChangesAreRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vs := virtual(1, 0, server(1, 1, false), server(2, 1, false))
		h := build(t, new(memory.Plane), &Config{VirtualServers: []*VirtualServer{vs}}, Options{})
		h.plane.Log()
		k := vs.Key
		put(h.plane,
			ipvs.Op{Kind: ipvs.DelDest, Service: ipvs.Service{ServiceKey: k}, Dest: ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("10.1.0.1"), Port: 80}}},
			ipvs.Op{Kind: ipvs.AddDest, Service: ipvs.Service{ServiceKey: k}, Dest: ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("10.1.0.8"), Port: 80}, Weight: 1}})
		time.Sleep(defaultRepair + time.Millisecond)
		synctest.Wait()
		h.writes("the repair", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1", "-d -t 10.2.0.1:80 -r 10.1.0.8:80")
		h.logged("[10.2.0.1]:tcp:80 had been changed from outside - restoring 2 entries")
		if err := h.plane.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.plane.Log()
		time.Sleep(defaultRepair + time.Millisecond)
		synctest.Wait()
		h.writes("the repair of a flush", "-A -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1")
		h.told("the repairs", "VS [10.2.0.1]:tcp:80 UP")
		h.stop()
	})
}

func TestARefusedEntryIsNamedAndTriedAgainWhileTheRestWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := new(memory.Plane)
		broken := errors.New("no such module")
		plane.Refuse(func(op ipvs.Op) error {
			if op.Kind == ipvs.AddDest && op.Dest.Addr.As4()[3] == 1 {
				return broken
			}
			return nil
		})
		vs := virtual(1, 0, server(1, 1, false), server(2, 1, false))
		h := build(t, plane, &Config{VirtualServers: []*VirtualServer{vs}}, Options{})
		h.logged("IPVS: cannot add destination -t 10.2.0.1:80 -r 10.1.0.1:80: no such module")
		s, _ := h.d.Snapshot(t.Context())
		if len(s.NotInPlace) != 1 || !strings.Contains(s.NotInPlace[0], "no such module") {
			t.Errorf("not in place: %q", s.NotInPlace)
		}
		plane.Log()
		h.report(vs, 1, 0, up(false))
		h.writes("a failure of the other", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1: no such module", "-d -t 10.2.0.1:80 -r 10.1.0.2:80")
		begin := time.Now()
		time.Sleep(3*time.Minute - 1)
		tries := len(plane.Log())
		if tries < 3 || tries > 70 {
			t.Errorf("%d tries in three minutes", tries)
		}
		plane.Refuse(nil)
		time.Sleep(retryMax)
		synctest.Wait()
		h.logged("IPVS: done at last: -a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1")
		h.mu.Lock()
		if strings.Contains(h.log.String(), "changed from outside") {
			t.Errorf("a refused write was taken for somebody's change:\n%s", h.log.String())
		}
		h.mu.Unlock()
		if s, _ := h.d.Snapshot(t.Context()); len(s.NotInPlace) != 0 || s.Repairs != 0 {
			t.Errorf("after %v: not in place %q, %d repairs", time.Since(begin), s.NotInPlace, s.Repairs)
		}
		h.stop()
	})
}

func TestHASuspendChecksOnlyWhereTheAddressIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vs := virtual(1, 0, server(1, 1, false))
		vs.HASuspend = true
		h := build(t, new(memory.Plane), &Config{VirtualServers: []*VirtualServer{vs}}, Options{})
		for _, c := range []struct {
			addrs string
			want  int
		}{{"127.0.0.1", 0}, {"10.2.0.1", 1}, {"10.9.9.9", 0}} {
			h.d.SetLocalAddrs([]netip.Addr{netip.MustParseAddr(c.addrs)})
			synctest.Wait()
			if len(h.checkers) != c.want {
				t.Errorf("with %s: %d checkers, want %d", c.addrs, len(h.checkers), c.want)
			}
		}
		h.logged("Suspending healthchecker for service [10.1.0.1]:tcp:80 for VS [10.2.0.1]:tcp:80")
		h.stop()
	})
}

func TestVirtualServersThatShareAServiceHaveTheirServersInItTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := func(weight int) []*VirtualServer {
			a, b := virtual(1, 0, server(1, 1, false), server(2, 2, false)), virtual(1, 0, server(2, 5, false), server(3, weight, false))
			b.Scheduler = "wlc"
			for _, r := range b.RealServers {
				r.Checkers[0].ID = "second " + r.Checkers[0].ID
			}
			return []*VirtualServer{a, b}
		}
		two := conf(1)
		h := build(t, new(memory.Plane), &Config{VirtualServers: two}, Options{})
		h.writes("the start", "-A -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 2",
			"-a -t 10.2.0.1:80 -r 10.1.0.3:80 -m -w 1")
		h.logged("belongs to VS [10.2.0.1]:tcp:80 already")
		h.report(two[0], 1, 0, up(false))
		h.writes("a server of both that the first holds dead", "-e -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 5")
		h.report(two[1], 0, 0, up(false))
		h.writes("and the second too", "-d -t 10.2.0.1:80 -r 10.1.0.2:80")
		h.reload(&Config{VirtualServers: conf(4)})
		h.writes("a reload", "-e -t 10.2.0.1:80 -r 10.1.0.3:80 -m -w 4")
		s, err := h.d.Snapshot(t.Context())
		if err != nil || len(s.Limits) != 1 || s.VirtualServers[0].RealServers[1].Alive || s.VirtualServers[1].RealServers[0].Alive {
			t.Errorf("after the reload: %+v, %v", s, err)
		}
		h.reload(&Config{VirtualServers: conf(4)[:1]})
		h.writes("the second goes", "-d -t 10.2.0.1:80 -r 10.1.0.3:80")
		if s, _ := h.d.Snapshot(t.Context()); len(s.Limits) != 0 {
			t.Errorf("still said: %q", s.Limits)
		}
		h.stop()
		h.writes("the stop", "-D -t 10.2.0.1:80")
	})
}

// thousand is 1,000 virtual servers of ten real servers each; one has another weight.
func thousand(weight int) *Config {
	c := &Config{}
	for i := range 1000 {
		vs := virtual(1, 0)
		a := netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)})
		vs.Name, vs.Key.Addr = fmt.Sprintf("[%s]:tcp:80", a), a
		for j := range 10 {
			r := server(j+1, 1, false)
			r.Checkers[0].ID = fmt.Sprint(i, " ", j)
			vs.RealServers = append(vs.RealServers, r)
		}
		c.VirtualServers = append(c.VirtualServers, vs)
	}
	c.VirtualServers[500].RealServers[5].Weight = weight
	return c
}

func TestAReloadThatChangesOneWeightOfTenThousandIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, new(memory.Plane), thousand(1), Options{RepairEvery: -1})
		if n := len(h.plane.Log()); n != 11000 {
			t.Errorf("the start made %d writes", n)
		}
		if err := h.d.Reload(t.Context(), thousand(7)); err != nil {
			t.Error(err)
		}
		h.writes("the reload", "-e -t 10.3.1.244:80 -r 10.1.0.6:80 -m -w 7")
		if err := h.d.Reload(t.Context(), thousand(7)); err != nil {
			t.Error(err)
		}
		h.writes("a reload of the same")
		h.stop()
	})
}

func BenchmarkStartAndStop(b *testing.B) {
	cfg := thousand(1)
	b.ReportAllocs()
	for b.Loop() {
		d, err := New(cfg, Options{Plane: &countPlane{}, RepairEvery: -1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := d.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReloadWithOneChangedWeight(b *testing.B) {
	conf := thousand
	plane := &countPlane{}
	d, err := New(conf(1), Options{Plane: plane, RepairEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	cs := []*Config{conf(2), conf(3)}
	if _, err := d.Snapshot(b.Context()); err != nil {
		b.Fatal(err)
	}
	plane.ops = 0
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Reload(b.Context(), cs[n%2]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(plane.ops)/float64(n), "writes/op")
	cancel()
	<-done
}

// countPlane takes everything.
type countPlane struct{ ops int }

func (*countPlane) Name() string                             { return "nothing" }
func (*countPlane) Check(*ipvs.Service) []ipvs.Limit         { return nil }
func (*countPlane) Read(context.Context) (ipvs.Table, error) { return ipvs.Table{}, nil }
func (*countPlane) Flush(context.Context) error              { return nil }
func (*countPlane) Close() error                             { return nil }
func (p *countPlane) Apply(_ context.Context, ops []ipvs.Op) []ipvs.OpError {
	p.ops += len(ops)
	return nil
}
func (*countPlane) SetTimeouts(_ context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	return t, nil
}

// markBook remembers what it was asked to mark.
type markBook struct{ targets []ipvs.MarkTarget }

func (m *markBook) Intact(context.Context) (bool, error) { return true, nil }

func (m *markBook) Set(_ context.Context, _ ipvs.MarkTable, t []ipvs.MarkTarget) error {
	m.targets = t
	return nil
}

func TestAMarkStandsForAGroupWithNftablesIPVS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addr := netip.MustParseAddr
		grouped := func(name string, members ...GroupMember) *VirtualServer {
			vs := virtual(1, 0, server(1, 1))
			vs.Name, vs.Group, vs.Key = "["+name+"]:0", &Group{Name: name, Members: members}, ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP}
			return vs
		}
		plain := grouped("A", GroupMember{First: addr("10.2.3.1"), Last: addr("10.2.3.9"), Port: 80}, GroupMember{First: addr("10.2.4.1"), Last: addr("10.2.4.1"), Port: 81})
		marked := grouped("B", GroupMember{First: addr("10.2.5.1"), Last: addr("10.2.5.1"), Port: 80}, GroupMember{FWMark: 1000})
		book := &markBook{}
		h := build(t, new(memory.Plane), &Config{NFTables: "x", VirtualServers: []*VirtualServer{marked, plain}}, Options{Marks: book})
		h.writes("the start",
			"-A -t 10.2.5.1:80 -s rr", "-a -t 10.2.5.1:80 -r 10.1.0.1:80 -m -w 1", "-A -f 1000 -s rr", "-a -f 1000 -r 10.1.0.1:80 -m -w 1",
			"-A -f 1001 -s rr", "-a -f 1001 -r 10.1.0.1:80 -m -w 1")
		if len(book.targets) != 2 || book.targets[0] != (ipvs.MarkTarget{Protocol: ipvs.TCP, First: addr("10.2.3.1"), Last: addr("10.2.3.9"), Port: 80, Mark: 1001}) {
			t.Errorf("marks %+v", book.targets)
		}
		h.reload(&Config{NFTables: "x", VirtualServers: []*VirtualServer{grouped("C", GroupMember{First: addr("10.2.6.1"), Last: addr("10.2.6.1"), Port: 80}), plain}})
		// The group that stays keeps its mark; the new one gets the mark that has become free, and the service that was there.
		h.writes("a reload", "-D -t 10.2.5.1:80")
		if len(book.targets) != 3 || book.targets[0].Mark != 1000 || book.targets[1].Mark != 1001 {
			t.Errorf("marks %+v", book.targets)
		}
		h.stop()
		if len(book.targets) != 0 {
			t.Errorf("marks left: %+v", book.targets)
		}
	})
}
