package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a server whose answers a test decides: each attempt takes `takes` and then does what `answer` says.
type fake struct {
	mu     sync.Mutex
	takes  time.Duration
	answer outcome
	begun  []time.Duration // since the start of the test; guarded by the bubble
}

// bubble is a runner inside a synctest bubble, with fakes by ID.
type bubble struct {
	t      *testing.T
	start  time.Time
	r      *Runner
	cancel context.CancelFunc
	ctx    context.Context
	mu     sync.Mutex
	fakes  map[string]*fake
	log    []string // reports
	lines  strings.Builder
	inside int
	most   int
}

func newBubble(t *testing.T, inFlight int) *bubble {
	b := &bubble{t: t, start: time.Now(), fakes: map[string]*fake{}}
	b.ctx, b.cancel = context.WithCancel(t.Context())
	b.r = NewRunner(RunnerOptions{InFlight: inFlight, Report: b.report,
		Log: slog.New(slog.NewTextHandler(&b.lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
		newProber: func(cfg *Config, _ *RunnerOptions) (prober, error) {
			f := b.fake(cfg.ID)
			if f.answer.reason == "no prober" {
				return nil, errors.New("no address to connect to")
			}
			return fakeProber{b, f}, nil
		}})
	return b
}

func (b *bubble) fake(id string) *fake {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fakes[id] == nil {
		b.fakes[id] = &fake{answer: outcome{ok: true}}
	}
	return b.fakes[id]
}

func (b *bubble) report(r Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := fmt.Sprintf("%v %s up=%v", r.At.Sub(b.start), r.ID, r.Up)
	if r.First {
		s += " first"
	}
	if r.HasWeight {
		s += fmt.Sprintf(" weight=%d", r.Weight)
	}
	if r.Reason != "" {
		s += " " + r.Reason
	}
	b.log = append(b.log, s)
}

// done ends the runner and waits for its goroutines.
func (b *bubble) done() {
	b.cancel()
	b.r.Wait()
}

func (b *bubble) want(lines ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.log, lines) {
		b.t.Errorf("reports\n%s\nwant\n%s", strings.Join(b.log, "\n"), strings.Join(lines, "\n"))
	}
	b.log = nil
}

type fakeProber struct {
	b *bubble
	f *fake
}

func (p fakeProber) probe(a *attempt, _ int) outcome {
	b, f := p.b, p.f
	b.mu.Lock()
	f.begun = append(f.begun, time.Since(b.start))
	b.inside++
	b.most = max(b.most, b.inside)
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.onCancel(cancel)
	defer a.onCancel(nil)
	f.mu.Lock()
	takes, out := f.takes, f.answer
	f.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	b.mu.Lock()
	b.inside--
	b.mu.Unlock()
	return out
}

// slow makes attempts of id take so long.
func (b *bubble) slow(id string, d time.Duration) {
	f := b.fake(id)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takes = d
}

// begun are the times of the attempts of id.
func (b *bubble) begun(id string) []time.Duration {
	f := b.fake(id)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(f.begun)
}

func (f *fake) set(out outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = out
}

func tcp(id string, delay, retry int) *Config {
	return &Config{ID: id, Server: "[10.1.0.1]:tcp:80", Virtual: "[10.2.0.1]:tcp:80", Type: TypeTCP, DelayLoop: time.Duration(delay) * sec, Retry: retry, DelayBeforeRetry: sec,
		Connect: Connect{Addr: netip.MustParseAddrPort("10.1.0.1:80"), Timeout: 5 * sec}}
}

var refused = outcome{reason: "connection refused"}

func TestRunnerTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		f := b.fake("a")
		b.slow("a", 500*time.Millisecond)
		b.r.Set(b.ctx, []*Config{tcp("a", 10, 2)})
		time.Sleep(15 * sec) // attempts at 1 and 11.5
		f.set(refused)
		time.Sleep(20 * sec) // 22, 23.5, 25: down; 35.5
		f.set(outcome{ok: true})
		time.Sleep(12 * sec)
		b.want("1.5s a up=true first", "25.5s a up=false connection refused", "36s a up=true")
		want := []time.Duration{1000, 11500, 22000, 23500, 25000, 35500, 46000}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(b.begun("a"), want) {
			t.Errorf("attempts at %v\nwant        %v", b.begun("a"), want)
		}
		b.done()
		text := b.lines.String()
		for line, n := range map[string]int{
			`msg="TCP_CHECK on service [10.1.0.1]:tcp:80 failed after 2 retries." checker=a err="connection refused"`: 1,
			`msg="TCP connection to [10.1.0.1]:tcp:80 success." checker=a`:                                            2,
			"\n": 3,
		} {
			if strings.Count(text, line) != n {
				t.Errorf("log\n%swant %d times\n%s", text, n, line)
			}
		}
	})
}

func TestMiscIsCountedFromTheStartOfTheScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		cfg := tcp("m", 3, 0)
		cfg.Type, cfg.Misc = TypeMisc, &MiscConfig{}
		b.slow("m", 2*sec)
		b.r.Set(b.ctx, []*Config{cfg})
		time.Sleep(11 * sec)
		b.slow("m", 4*sec) // longer than the loop: again at once
		time.Sleep(10 * sec)
		want := []time.Duration{1 * sec, 4 * sec, 7 * sec, 10 * sec, 13 * sec, 17 * sec, 21 * sec}
		if got := b.begun("m"); !slices.Equal(got, want) {
			t.Errorf("attempts at %v, want %v", got, want)
		}
		b.done()
	})
}

func TestWarmupSpreadsTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 10000)
		var cfgs []*Config
		for i := range 1000 {
			c := tcp(fmt.Sprint(i), 60, 0)
			c.Warmup = 10 * sec
			cfgs = append(cfgs, c)
		}
		b.r.Set(b.ctx, cfgs)
		time.Sleep(11*sec + time.Millisecond)
		var per [12]int
		for i := range 1000 {
			begun := b.begun(fmt.Sprint(i))
			if len(begun) != 1 || begun[0] < sec || begun[0] > 11*sec {
				t.Fatalf("checker %d: attempts at %v, want one between 1 s and 11 s", i, begun)
			}
			per[begun[0]/sec]++
		}
		for s := 1; s < 11; s++ {
			if per[s] < 50 || per[s] > 160 { // 100 expected; 5 standard deviations and more
				t.Errorf("%d first attempts in second %d of %v", per[s], s, per)
			}
		}
		b.done()
	})
}

func TestOnlySoManyAreInFlightAndTheOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 3)
		var cfgs []*Config
		for i := range 9 {
			cfgs = append(cfgs, tcp(fmt.Sprint(i), 60, 0))
			b.slow(fmt.Sprint(i), sec)
		}
		b.r.Set(b.ctx, cfgs)
		time.Sleep(5 * sec)
		b.mu.Lock()
		if b.most != 3 {
			t.Errorf("%d at once, want 3", b.most)
		}
		b.mu.Unlock()
		for i := range 9 {
			if n := len(b.begun(fmt.Sprint(i))); n != 1 {
				t.Errorf("checker %d tried %d times", i, n)
			}
		}
		b.done()
	})
}

func TestASlowServerDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.slow("slow", 30*sec)
		b.r.Set(b.ctx, []*Config{tcp("slow", 1, 0), tcp("quick", 1, 0)})
		time.Sleep(20*sec + time.Millisecond)
		if n := len(b.begun("quick")); n != 20 {
			t.Errorf("%d attempts in 20 s, want 20", n)
		}
		b.done()
	})
}

func TestAFailureToSetUpASocketChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.fake("a").set(outcome{unsure: true, reason: "bind to 192.0.2.1 port 0: cannot assign requested address"})
		b.r.Set(b.ctx, []*Config{tcp("a", 10, 0)})
		time.Sleep(35 * sec)
		b.want()
		s := b.r.Snapshot()[0]
		if !s.Up || s.Attempts != 4 || s.Failures != 0 || !strings.Contains(s.Reason, "cannot assign") {
			t.Errorf("%+v", s)
		}
		if n := strings.Count(b.lines.String(), "Rescheduling"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, b.lines.String())
		}
		b.done()
	})
}

func TestReloadKeepsWhatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.fake("vs -> rs #1").set(refused)
		b.r.Set(b.ctx, []*Config{tcp("vs -> rs #1", 10, 0), tcp("vs -> rt #1", 10, 0), tcp("gone", 10, 0)})
		time.Sleep(5 * sec)
		b.want2("1s vs -> rs #1 up=false first connection refused", "1s vs -> rt #1 up=true first", "1s gone up=true first")

		// The failed one is number 2 of its server now, behind a new one of another kind; the second changed its target.
		other := tcp("vs -> rs #1", 10, 0)
		other.Addr = netip.MustParseAddrPort("10.1.0.1:81")
		b.fake("vs -> rs #1").set(outcome{ok: true})
		slower := tcp("vs -> rs #2", 30, 5)
		changed := tcp("vs -> rt #1", 10, 1)
		changed.Addr = netip.MustParseAddrPort("10.1.0.2:81")
		cfgs := []*Config{other, slower, changed, tcp("new", 10, 1)}
		b.fake("new").set(refused)
		b.r.Set(b.ctx, cfgs)
		synctest.Wait()
		b.want()
		s := b.r.Snapshot()
		if s[1].ID != "vs -> rs #2" || s[1].Up || s[1].Attempts != 1 || s[1].Next.Sub(b.start) != 11*sec {
			t.Errorf("the failed checker should go on as it was: %+v", s[1])
		}
		time.Sleep(7 * sec) // 12 s
		b.want2("6s vs -> rs #1 up=true first", "6s vs -> rt #1 up=true first", "7s new up=false first connection refused", "11s vs -> rs #2 up=true")
		if s := b.r.Snapshot()[1]; s.Next.Sub(b.start) != 41*sec {
			t.Errorf("next attempt at %v, want the new delay_loop to count: 41s", s.Next.Sub(b.start))
		}
		if n := len(b.begun("gone")); n != 1 {
			t.Errorf("the checker that is gone tried %d times", n)
		}
		b.done()
	})
}

// want2 compares regardless of order.
func (b *bubble) want2(lines ...string) {
	b.t.Helper()
	b.mu.Lock()
	slices.Sort(b.log)
	b.mu.Unlock()
	slices.Sort(lines)
	b.want(lines...)
}

func TestAShorterDelayLoopCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.r.Set(b.ctx, []*Config{tcp("a", 3600, 0)})
		time.Sleep(10 * sec)
		b.r.Set(b.ctx, []*Config{tcp("a", 5, 0)})
		time.Sleep(6 * sec)
		// 3,591 of 3,600 s were left, so just under 5 of 5 s are.
		if want := []time.Duration{sec, 14990 * time.Millisecond}; !slices.Equal(b.begun("a"), want) {
			t.Errorf("attempts at %v, want %v", b.begun("a"), want)
		}
		b.done()
	})
}

func TestStoppingEndsWhatIsUnderWayAndReportsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 1)
		b.slow("a", time.Hour)
		b.r.Set(b.ctx, []*Config{tcp("a", 1, 0), tcp("b", 1, 0)}) // one under way, the other waits for its turn
		time.Sleep(2 * sec)
		if got := b.r.Snapshot(); len(got) != 2 {
			t.Fatal(got)
		}
		at := time.Now()
		b.r.Set(b.ctx, nil)
		b.r.Wait()
		if d := time.Since(at); d != 0 {
			t.Errorf("stopping took %v", d)
		}
		b.mu.Lock()
		b.log = slices.DeleteFunc(b.log, func(s string) bool { return strings.HasPrefix(s, "1s b") }) // if b was the first
		b.mu.Unlock()
		b.want()
		b.done()
	})
}

func TestSuspendedCheckersKeepTheirState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.r.Set(b.ctx, []*Config{tcp("a", 10, 0)})
		time.Sleep(2 * sec)
		b.fake("a").set(refused)
		b.r.Suspend(true, "a", "unknown")
		time.Sleep(60 * sec)
		if s := b.r.Snapshot()[0]; !s.Up || !s.Suspended || s.Attempts != 1 {
			t.Errorf("%+v", s)
		}
		b.r.Suspend(false, "a")
		time.Sleep(10 * sec)
		b.want("1s a up=true first", "1m11s a up=false connection refused")
		b.done()
	})
}

func TestDynamicWeightsAreToldWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		w := func(n int) {
			b.fake("a").set(outcome{ok: true, weight: n, hasWeight: true, absolute: true})
			time.Sleep(10 * sec)
		}
		b.r.Set(b.ctx, []*Config{tcp("a", 10, 0)})
		w(5)
		w(5)
		w(7)
		b.fake("a").set(refused)
		time.Sleep(10 * sec)
		w(7)
		b.want("1s a up=true first weight=5", "21s a up=true weight=7", "31s a up=false weight=7 connection refused", "41s a up=true weight=7")
		b.done()
	})
}

func TestACheckerThatCannotWorkSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.fake("a").set(outcome{reason: "no prober"})
		b.r.Set(b.ctx, []*Config{tcp("a", 10, 0)})
		time.Sleep(2 * sec)
		if s := b.r.Snapshot()[0]; !s.Up || s.Reason != "no address to connect to" {
			t.Errorf("%+v", s)
		}
		b.want()
		b.done()
	})
}

func TestLogAllFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		c := tcp("a", 10, 1)
		c.LogAllFailures = true
		b.r.Set(b.ctx, []*Config{c})
		time.Sleep(2 * sec)
		b.fake("a").set(refused)
		time.Sleep(23 * sec) // 11 s fails, 12 s fails and is down, 22 s fails: nothing new
		b.done()
		if n := strings.Count(b.lines.String(), `msg="TCP connection to [10.1.0.1]:tcp:80 failed."`); n != 2 {
			t.Errorf("%d lines, want 2, one of them with the change:\n%s", n, b.lines.String())
		}
	})
}
