package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/ipvs/memory"
)

// slow is a plane of which reading takes time, as a large table does.
type slow struct {
	*memory.Plane
	whole, busy atomic.Int64
}

func (p *slow) wait(d time.Duration) {
	p.busy.Add(int64(d))
	time.Sleep(d)
}

func (p *slow) Read(ctx context.Context) (ipvs.Table, error) {
	t, err := p.Plane.Read(ctx)
	p.whole.Add(1)
	p.wait(time.Duration(20+len(t.Services)) * time.Millisecond)
	return t, err
}

func (p *slow) Services(ctx context.Context) ([]ipvs.Service, error) {
	p.wait(20 * time.Millisecond)
	t, err := p.Plane.Read(ctx)
	for i := range t.Services {
		t.Services[i].Dests = nil
	}
	return t.Services, err
}

func (p *slow) Dests(ctx context.Context, k ipvs.ServiceKey) ([]ipvs.Dest, error) {
	p.wait(time.Millisecond)
	t, err := p.Plane.Read(ctx)
	for _, s := range t.Services {
		if s.ServiceKey == k {
			return s.Dests, err
		}
	}
	return nil, err
}

// emptied is a plane that somebody flushes between the list of services and the question for their destinations.
type emptied struct {
	slow
	flush atomic.Bool
}

func (p *emptied) between(ctx context.Context) {
	if p.flush.Swap(false) {
		_ = p.Plane.Flush(ctx)
		p.Plane.Log()
	}
}

func (p *emptied) Read(ctx context.Context) (ipvs.Table, error) {
	t, err := p.slow.Read(ctx)
	if p.flush.Load() {
		for i := range t.Services {
			t.Services[i].Dests = nil
		}
	}
	p.between(ctx)
	return t, err
}

func (p *emptied) Dests(ctx context.Context, k ipvs.ServiceKey) ([]ipvs.Dest, error) {
	p.between(ctx)
	return p.slow.Dests(ctx, k)
}

func TestAServiceThatVanishesWhileTheTableIsReadIsMissedAndNotItsServers(t *testing.T) {
	for name, refused := range map[string]bool{"in a glance": false, "while all is read": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plane := &emptied{slow: slow{Plane: new(memory.Plane)}}
				vs := virtual(1, 0, server(1, 1, false), server(2, 1, false))
				d, log, stop := live(t, &Config{VirtualServers: []*VirtualServer{vs}}, plane)
				<-d.Up()
				if refused { // all is read after a refusal only
					plane.Refuse(func(ipvs.Op) error { return errors.New("not now") })
					d.Report(healthcheck.Result{ID: vs.RealServers[1].Checkers[0].ID})
					synctest.Wait()
					plane.Refuse(nil)
					d.Report(healthcheck.Result{ID: vs.RealServers[1].Checkers[0].ID, Up: true})
					synctest.Wait()
				}
				plane.Log()
				plane.flush.Store(true)
				time.Sleep(2 * defaultRepair)
				synctest.Wait()
				if plane.flush.Load() {
					t.Error("the table was not read")
				}
				want := []string{"-A -t 10.2.0.1:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1", "-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m -w 1"}
				if got := plane.Log(); !slices.Equal(got, want) {
					t.Errorf("wrote\n\t%s\nwant\n\t%s\n%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), log.String())
				}
				stop()
			})
		})
	}
}

func TestALargeTableIsWatchedInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &Config{}
		for i := range 400 {
			vs := virtual(1, 0, server(1, 1, false), server(2, 1, false))
			vs.Name, vs.Key.Port = fmt.Sprintf("[10.2.0.1]:tcp:%d", 1000+i), uint16(1000+i)
			for j, r := range vs.RealServers {
				r.Checkers[0].ID = fmt.Sprintf("%d/%d", i, j)
			}
			cfg.VirtualServers = append(cfg.VirtualServers, vs)
		}
		plane := &slow{Plane: new(memory.Plane)}
		d, log, stop := live(t, cfg, plane)
		ctx := t.Context()
		<-d.Up()
		want := lines(t, plane.Plane)
		whole := plane.whole.Load()
		busy, begin := plane.busy.Load(), time.Now()
		time.Sleep(10 * time.Minute)
		if share := time.Duration(plane.busy.Load()-busy) * 2 * readShare; share > 3*time.Since(begin) {
			t.Errorf("reading takes one part in %d of the time", readShare*time.Since(begin)/share)
		}
		restored := func(what string, limit time.Duration, ops ...ipvs.Op) {
			t.Helper()
			if errs := plane.Plane.Apply(ctx, ops); len(errs) > 0 {
				t.Fatal(errs)
			}
			plane.Log()
			time.Sleep(limit)
			synctest.Wait()
			if got := lines(t, plane.Plane); !slices.Equal(got, want) {
				t.Errorf("%s: not restored within %v: %d entries", what, limit, len(got))
			}
			if n := len(plane.Log()); len(ops) > 0 && n != len(ops) {
				t.Errorf("%s: %d writes", what, n)
			}
		}
		table, _ := plane.Plane.Read(ctx)
		op := func(kind ipvs.OpKind, i int, weight int, sched string) ipvs.Op {
			o := ipvs.Op{Kind: kind, Service: table.Services[i], Dest: table.Services[i].Dests[0]}
			o.Dest.Weight = weight
			if sched != "" {
				o.Service.Scheduler = sched
			}
			return o
		}
		stranger := ipvs.Op{Kind: ipvs.AddDest, Service: table.Services[100], Dest: ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("10.9.9.9"), Port: 9}, Weight: 1}}
		restored("a service changed", 10*time.Second, op(ipvs.EditService, 399, 0, "wlc"))
		restored("all services changed", 10*time.Second, func() (ops []ipvs.Op) {
			for i := range 400 {
				ops = append(ops, op(ipvs.EditService, i, 0, "sh"))
			}
			return ops
		}()...)
		restored("weights changed", 2*time.Minute, op(ipvs.EditDest, 0, 7, ""), op(ipvs.EditDest, 399, 7, ""))
		restored("a server taken out", 2*time.Minute, op(ipvs.DelDest, 200, 0, ""))
		restored("a stranger", 2*time.Minute, stranger)
		if err := plane.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		restored("a flush", 20*time.Second)
		if n := plane.whole.Load(); n != whole {
			t.Errorf("the whole table was read %d times", n-whole)
		}
		if text := log.String(); !strings.Contains(text, "[10.2.0.1]:tcp:1399 had been changed from outside - restoring 1 entries") || !strings.Contains(text, "390 more services") {
			t.Errorf("the log: %s", text)
		}
		stop()
	})
}
