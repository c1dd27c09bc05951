package healthcheck

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheGridOfTheTimersAddsUpToNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 100)
		b.slow("a", 3*time.Millisecond)
		b.r.Set(b.ctx, []*Config{tcp("a", 1, 0)})
		time.Sleep(102 * sec)
		begun := b.begun("a")
		// Each is a second after the end of the one before: the hundredth is 99 times 1.003 s after the first, put on the grid once.
		if len(begun) < 100 || begun[99] != 100300*time.Millisecond {
			t.Errorf("%d attempts, the hundredth at %v, want 1m40.3s", len(begun), begun[min(99, len(begun)-1)])
		}
		b.done()
	})
}

func TestTheNumberInFlightMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, 2)
		var cfgs []*Config
		for i := range 20 {
			cfgs = append(cfgs, tcp(fmt.Sprint(i), 100, 0))
			b.slow(fmt.Sprint(i), sec)
		}
		b.r.Set(b.ctx, cfgs)
		time.Sleep(50 * sec)
		b.mu.Lock()
		if b.most != 2 {
			t.Errorf("%d at once, want 2", b.most)
		}
		b.most = 0
		b.mu.Unlock()
		b.r.SetInFlight(5)
		time.Sleep(100 * sec)
		b.mu.Lock()
		if b.most < 3 || b.most > 5 {
			t.Errorf("%d at once, want up to 5", b.most)
		}
		b.mu.Unlock()
		b.done()
	})
}

func TestASlowServerInEveryStageOfItsAttemptDelaysNoOther(t *testing.T) {
	const n = 200
	var mu sync.Mutex
	last := map[string]time.Time{}
	worst := time.Duration(0)
	hung, quick := serve(t, hang), serve(t, say(httpAnswer("200 OK", "")))
	var cfgs []*Config
	for i := range n {
		cfg := get(hung, URL{})
		switch i % 4 {
		case 1:
			cfg = &Config{Type: TypeTCP, Connect: Connect{Addr: fullListener(t)}}
		case 2:
			cfg = &Config{Type: TypeSSL, Connect: Connect{Addr: hung}, HTTP: &HTTPConfig{URLs: []URL{{}}}}
		case 3:
			cfg = get(quick, URL{})
		}
		cfg.ID, cfg.Timeout, cfg.DelayLoop, cfg.Warmup = strconv.Itoa(i), 30*time.Second, 50*time.Millisecond, 50*time.Millisecond
		cfgs = append(cfgs, cfg)
	}
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond, newProber: func(cfg *Config, o *RunnerOptions) (prober, error) {
		p, err := newProber(cfg, o)
		return probeFunc(func(a *attempt, url int) outcome {
			mu.Lock()
			now := time.Now()
			if was, ok := last[cfg.ID]; ok {
				worst = max(worst, now.Sub(was))
			}
			last[cfg.ID] = now
			mu.Unlock()
			return p.probe(a, url)
		}), err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	r.Set(ctx, cfgs)
	time.Sleep(2 * time.Second)
	for i, s := range r.Snapshot() {
		if i%4 == 3 && s.Attempts < 10 { // 40 on an idle machine
			t.Errorf("checker %d of a quick server made %d attempts in 2 s beside %d hanging ones", i, s.Attempts, n*3/4)
		}
	}
	cancel()
	r.Wait()
	t.Logf("longest time between two attempts: %v", worst)
}

// probeFunc is a prober that is a function.
type probeFunc func(*attempt, int) outcome

func (f probeFunc) probe(a *attempt, url int) outcome { return f(a, url) }

// stallChild is what the child process of the test below does: checkers once a second, whose attempts it tells the times of.
func stallChild() {
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	begin := time.Now()
	r := NewRunner(RunnerOptions{newProber: func(*Config, *RunnerOptions) (prober, error) {
		return probeFunc(func(*attempt, int) outcome {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, time.Since(begin).Milliseconds())
			return outcome{ok: true}
		}), nil
	}})
	var cfgs []*Config
	for i := range stallCheckers {
		cfgs = append(cfgs, &Config{ID: strconv.Itoa(i), Type: TypeTCP, DelayLoop: time.Second, Warmup: time.Second})
	}
	r.Set(context.Background(), cfgs)
	time.Sleep(stallAll)
	mu.Lock()
	out.Flush()
	os.Exit(0)
}

const (
	stallCheckers = 1000
	stallAll      = 7 * time.Second
)

// A machine that sleeps, a paused virtual machine and a stopped process are the same to the timers: nothing goes off, and then everything
// is overdue.
func TestAfterAStallTheAttemptsAreSpread(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "HEALTHCHECK_TEST_SERVER=stall")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	_ = c.Process.Signal(syscall.SIGSTOP)
	time.Sleep(2500 * time.Millisecond)
	_ = c.Process.Signal(syscall.SIGCONT)
	var at []int
	for s := bufio.NewScanner(out); s.Scan(); {
		n, err := strconv.Atoi(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, n)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(at)
	most, when := 0, 0
	for i, j := 0, 0; i < len(at); i++ {
		for at[i]-at[j] >= 100 {
			j++
		}
		if i-j+1 > most {
			most, when = i-j+1, at[j]
		}
	}
	// 100 are made in 100 ms when nothing happens, twice as many after the stall; all 1,000 were overdue.
	if most > 600 || len(at) < stallCheckers*3/2 {
		t.Errorf("%d attempts, up to %d of them within 100 ms, from %d ms on", len(at), most, when)
	}
}

func TestSteppingTheClockMovesNoAttempt(t *testing.T) {
	if os.Getenv("RELEVE_VM") == "" {
		t.Skip("sets the clock of the machine: scripts/testvm runs it in a virtual one")
	}
	var was unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &was); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	set := func(by time.Duration) {
		ts := unix.NsecToTimespec(unix.TimespecToNsec(was) + int64(by+time.Since(begin)))
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
	}
	defer set(0)
	var mu sync.Mutex
	var at []time.Duration
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond, newProber: func(*Config, *RunnerOptions) (prober, error) {
		return probeFunc(func(*attempt, int) outcome {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(begin))
			return outcome{ok: true}
		}), nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	r.Set(ctx, []*Config{{ID: "a", Type: TypeTCP, DelayLoop: 500 * time.Millisecond}})
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		time.Sleep(1200 * time.Millisecond)
		set(by)
	}
	time.Sleep(1200 * time.Millisecond)
	cancel()
	r.Wait()
	for i := 1; i < len(at); i++ {
		if d := at[i] - at[i-1]; d < 400*time.Millisecond || d > 3*time.Second {
			t.Errorf("attempts at %v: %v between two of them, want 500ms", at, d)
		}
	}
	if len(at) < 4 {
		t.Errorf("attempts at %v, want one each 500ms", at)
	}
}
