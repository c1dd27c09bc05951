package director

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/ipvs/memory"
)

// fault is an error that comes and goes.
type fault struct{ p atomic.Pointer[error] }

func (f *fault) set(err error) { f.p.Store(&err) }
func (f *fault) get() error {
	if p := f.p.Load(); p != nil {
		return *p
	}
	return nil
}

// flaky is a plane whose answers get lost for a while.
type flaky struct {
	*memory.Plane
	broken fault
}

func (p *flaky) Read(ctx context.Context) (ipvs.Table, error) {
	if err := p.broken.get(); err != nil {
		return ipvs.Table{}, err
	}
	return p.Plane.Read(ctx)
}

// Apply writes the first half and loses the verdicts of all.
func (p *flaky) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	err := p.broken.get()
	if err == nil {
		return p.Plane.Apply(ctx, ops)
	}
	p.Plane.Apply(ctx, ops[:(len(ops)+1)/2])
	var errs []ipvs.OpError
	for _, op := range ops {
		errs = append(errs, ipvs.OpError{Op: op, Err: err})
	}
	return errs
}

func TestAKernelWhoseAnswersAreLostIsReportedAndAllComesRightAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &flaky{Plane: new(memory.Plane)}
		vs := virtual(1, 0, server(1, 1, false), server(2, 1, false), server(3, 1, false))
		other := virtual(1, 0, server(4, 1, false))
		other.Name, other.Key.Port = "[10.2.0.1]:tcp:81", 81
		other.RealServers[0].Checkers[0].ID = "other"
		d, log, stop := live(t, &Config{VirtualServers: []*VirtualServer{vs, other}}, plane)
		ctx := t.Context()
		synctest.Wait()
		lost := errors.New("no answer from the kernel in time")
		plane.broken.set(lost)
		for i := range 3 {
			d.Report(healthcheck.Result{ID: vs.RealServers[i].Checkers[0].ID})
		}
		d.Report(healthcheck.Result{ID: "other"})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		s, err := d.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if h := s.Health(); len(h.Missing) != 4 || h.Missing[0].Reason != lost.Error() || h.Missing[3].Service.Port != 81 || len(h.Trouble) != 1 ||
			h.Trouble[0] != "the table cannot be read: no answer from the kernel in time" {
			t.Errorf("health %+v, not in place %q", h, s.NotInPlace)
		}
		if text := log.String(); strings.Count(text, "cannot delete destination -t 10.2.0.1:80 -r 10.1.0.3:80: no answer") != 1 || strings.Count(text, "IPVS: cannot read the table") != 1 {
			t.Errorf("the log:\n%s", text)
		}
		plane.broken.set(nil)
		time.Sleep(retryMax + time.Second)
		synctest.Wait()
		if s, _ = d.Snapshot(ctx); len(s.NotInPlace) > 0 || s.Repairs > 0 {
			t.Errorf("afterwards not in place %q, %d repairs", s.NotInPlace, s.Repairs)
		}
		if got := lines(t, plane.Plane); !slices.Equal(got, []string{"-A -t 10.2.0.1:80 -s rr", "-A -t 10.2.0.1:81 -s rr"}) {
			t.Errorf("the table is %q", got)
		}
		stop()
	})
}

// live runs a Director over any plane until the test stops it.
func live(t *testing.T, cfg *Config, plane ipvs.Plane) (d *Director, log *lockedBuffer, stop func()) {
	t.Helper()
	log = new(lockedBuffer)
	d, err := New(cfg, Options{Plane: plane, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return d, log, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// stubborn refuses sync daemons and timeouts at first.
type stubborn struct {
	*memory.Plane
	no fault
}

func (p *stubborn) StartSync(ctx context.Context, d ipvs.SyncDaemon) error {
	if err := p.no.get(); err != nil {
		return err
	}
	return p.Plane.StartSync(ctx, d)
}

func (p *stubborn) SetTimeouts(ctx context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	if err := p.no.get(); err != nil && t != (ipvs.Timeouts{}) {
		return ipvs.Timeouts{}, err
	}
	return p.Plane.SetTimeouts(ctx, t)
}

func TestSettingsBesideTheTableAreTriedAgainAndWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &stubborn{Plane: new(memory.Plane)}
		plane.no.set(errors.New("no such interface"))
		d, log, stop := live(t, &Config{VirtualServers: []*VirtualServer{virtual(1, 0, server(1, 1))}, SyncDaemon: &ipvs.SyncDaemon{Iface: "eth1", ID: 7},
			Timeouts: ipvs.Timeouts{TCP: 100 * time.Second}}, plane)
		ctx := t.Context()
		synctest.Wait()
		trouble := func() []string { s, _ := d.Snapshot(ctx); return s.Trouble }
		want := []string{"the IPVS sync daemon, backup on eth1: no such interface", "the IPVS sync daemon, master on eth1: no such interface", "the IPVS timeouts: no such interface"}
		if got := trouble(); !slices.Equal(got, want) {
			t.Errorf("trouble %q", got)
		}
		time.Sleep(time.Minute)
		if n := strings.Count(log.String(), "Cannot set the IPVS timeouts"); n != 1 {
			t.Errorf("said %d times", n)
		}
		plane.no.set(nil)
		right := func(when string) {
			t.Helper()
			time.Sleep(retryMax + time.Second)
			synctest.Wait()
			running, _ := plane.SyncState(ctx)
			now, _ := plane.SetTimeouts(ctx, ipvs.Timeouts{})
			if got := trouble(); len(got) > 0 || len(running) != 2 || now.TCP != 100*time.Second {
				t.Errorf("%s: trouble %q, daemons %v, timeouts %v", when, got, running, now)
			}
		}
		right("once they can be set")
		if err := plane.StopSync(ctx, ipvs.SyncBackup); err != nil {
			t.Fatal(err)
		}
		if _, err := plane.SetTimeouts(ctx, ipvs.Timeouts{TCP: time.Hour}); err != nil {
			t.Fatal(err)
		}
		right("after somebody changed them")
		if !strings.Contains(log.String(), "the backup sync daemon had been stopped from outside") || !strings.Contains(log.String(), "the timeouts had been changed from outside") {
			t.Errorf("the log:\n%s", log.String())
		}
		stop()
		if running, _ := plane.SyncState(context.Background()); len(running) > 0 {
			t.Errorf("left running: %v", running)
		}
	})
}
