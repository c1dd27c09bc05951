package healthcheck

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
		cfg.ID, cfg.Timeout, cfg.DelayLoop, cfg.Warmup = strconv.Itoa(i), time.Hour, 50*time.Millisecond, 50*time.Millisecond
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
	// An idle machine makes 40 in 2 s; the hanging ones would hold them up for an hour.
	slow := func() (out []string) {
		for i, s := range r.Snapshot() {
			if i%4 == 3 && s.Attempts < 40 {
				out = append(out, fmt.Sprintf("checker %d made %d attempts", i, s.Attempts))
			}
		}
		return out
	}
	for end := time.Now().Add(time.Minute); len(slow()) > 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if l := slow(); len(l) > 0 {
		t.Errorf("of quick servers, in a minute beside %d hanging ones: %q", n*3/4, l)
	}
	cancel()
	r.Wait()
	t.Logf("longest time between two attempts: %v", worst)
}

// probeFunc is a prober that is a function.
type probeFunc func(*attempt, int) outcome

func (f probeFunc) probe(a *attempt, url int) outcome { return f(a, url) }

// The end of an attempt and the time of the next one become known together: nobody sees a next one that lies before the last.
func TestTheNextAttemptIsNeverBeforeTheLast(t *testing.T) {
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond, newProber: func(*Config, *RunnerOptions) (prober, error) {
		return probeFunc(func(*attempt, int) outcome { return outcome{ok: true} }), nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var cfgs []*Config
	for i := range 100 {
		cfgs = append(cfgs, &Config{ID: strconv.Itoa(i), Type: TypeTCP, DelayLoop: time.Millisecond})
	}
	r.Set(ctx, cfgs)
	for done := false; !done && !t.Failed(); {
		done = true
		for _, s := range r.Snapshot() {
			if s.Attempts > 0 && s.Next.Before(s.Last) {
				t.Errorf("attempt %d began at %v, and the next is due at %v", s.Attempts, s.Last, s.Next)
			}
			done = done && s.Attempts > 200
		}
	}
	cancel()
	r.Wait()
}

// stallChild is what the child process of the test below does until its input ends: checkers once a second, whose attempts it tells the times
// of, a line "attempt MILLISECONDS" each. It tells too when it stood still for a while: "stall BEGIN END".
func stallChild() {
	var mu sync.Mutex
	begin := time.Now()
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format, args...)
	}
	go func() {
		for last := time.Since(begin); ; {
			time.Sleep(5 * time.Millisecond)
			now := time.Since(begin)
			if now-last > 100*time.Millisecond {
				say("stall %d %d\n", last.Milliseconds(), now.Milliseconds())
			}
			last = now
		}
	}()
	r := NewRunner(RunnerOptions{newProber: func(*Config, *RunnerOptions) (prober, error) {
		return probeFunc(func(*attempt, int) outcome {
			say("attempt %d\n", time.Since(begin).Milliseconds())
			return outcome{ok: true}
		}), nil
	}})
	var cfgs []*Config
	for i := range stallCheckers {
		cfgs = append(cfgs, &Config{ID: strconv.Itoa(i), Type: TypeTCP, DelayLoop: time.Second, Warmup: time.Second})
	}
	r.Set(context.Background(), cfgs)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

const stallCheckers = 1000

// stalled stops a child for 2.5 s while it makes its attempts, and tells the times of these and of its stalls in ms.
func stalled(t *testing.T) (attempts []int, stalls [][2]int) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "HEALTHCHECK_TEST_SERVER=stall")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}()
	lines := bufio.NewScanner(out)
	read := func(n int) {
		for ; n > 0 && lines.Scan(); n-- {
			var a, b int
			if _, err := fmt.Sscanf(lines.Text(), "stall %d %d", &a, &b); err == nil {
				stalls = append(stalls, [2]int{a, b})
			} else if _, err := fmt.Sscanf(lines.Text(), "attempt %d", &a); err == nil {
				attempts = append(attempts, a)
			} else {
				t.Fatalf("the child says %q", lines.Text())
			}
		}
		if n > 0 {
			t.Fatalf("the child ended: %v", lines.Err())
		}
	}
	read(stallCheckers * 3 / 2)
	_ = c.Process.Signal(syscall.SIGSTOP)
	time.Sleep(2500 * time.Millisecond)
	_ = c.Process.Signal(syscall.SIGCONT)
	read(stallCheckers * 3)
	return attempts, stalls
}

// A machine that sleeps, a paused virtual machine and a stopped process are the same to the timers: nothing goes off, and then everything
// is overdue.
func TestAfterAStallTheAttemptsAreSpread(t *testing.T) {
	for try := 1; ; try++ {
		at, stalls := stalled(t)
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
		if most <= 600 {
			return
		}
		// Less than half a second is no stall: what was due then comes at once. A machine that adds such ones of its own is asked again.
		own := slices.DeleteFunc(stalls, func(s [2]int) bool { return s[1]-s[0] > 2300 })
		if text := fmt.Sprintf("%d attempts, up to %d of them within 100 ms, from %d ms on; stalls of this machine %v", len(at), most, when, own); len(own) == 0 || try == 10 {
			t.Fatal(text)
		} else {
			t.Log(text)
		}
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
	first := time.Since(begin)
	r.Set(ctx, []*Config{{ID: "a", Type: TypeTCP, DelayLoop: 500 * time.Millisecond}})
	made := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(at)
	}
	// Three more after each step: a checker that waits for the hour makes none.
	for i, by := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		if i > 0 {
			set(by)
		}
		for n, end := made()+3, time.Now().Add(time.Minute); made() < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no three attempts in a minute after a step to %v; attempts at %v", by, at)
			}
		}
	}
	cancel()
	r.Wait()
	// None comes before its time. One that was late itself shortens the next pause, so they are counted from the beginning.
	for i := range at {
		if d := at[i] - first; d < time.Duration(i)*490*time.Millisecond {
			t.Errorf("attempts at %v, the first wanted at %v: number %d came early, want 500ms between two", at, first, i)
		}
	}
}
