package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// routerVar makes the test binary a router of the chaos test: its priority, the milliseconds between adverts, and nopreempt.
const routerVar = "RELEVE_ROUTER"

// chaosConfig are two virtual routers in a sync group and one by itself.
func chaosConfig(prio uint8, every time.Duration, noPreempt bool) *Config {
	cfg := &Config{Groups: []*GroupConfig{{Name: "G", Members: []string{"a", "b"}}}}
	for i, name := range []string{"a", "b", "c"} {
		c := testInstance(name, uint8(51+i), prio, fmt.Sprintf("10.9.0.%d/24", 100+i))
		c.Version, c.AdvertInt, c.GARP.Delay, c.GARP.Repeat, c.NoPreempt = 3, every, 0, 1, noPreempt
		if name != "c" {
			c.Group = "G"
		}
		cfg.Instances = append(cfg.Instances, c)
	}
	return cfg
}

var chaosAddrs = []string{"10.9.0.100", "10.9.0.101", "10.9.0.102"}

// runRouter is a router as a process, which can be stopped and killed.
func runRouter(how string) int {
	var prio uint8
	every := 100
	_, _ = fmt.Sscan(how, &prio, &every)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	e, err := New(chaosConfig(prio, time.Duration(every)*time.Millisecond, strings.Contains(how, "nopreempt")), Options{Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), Reclaim: true})
	if err == nil {
		err = e.Run(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// chaos is three routers and what is wrong with them.
type chaos struct {
	*lan
	proc    [4]*exec.Cmd
	logs    [4]string
	stopped [4]bool
	cut     [4]bool
	deaf    [4]bool
	every   int    // milliseconds between adverts
	extra   string // for all routers
	clocks  *rand.Rand
}

func (c *chaos) begin(i int) {
	c.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.logs[i] = fmt.Sprintf("%s/router%d.log", c.dir, i)
	out, err := os.OpenFile(c.logs[i], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	args := []string{"ip", "netns", "exec", c.ns(i), exe}
	if c.clocks != nil {
		// The clocks since the boot stand elsewhere in every life of every router.
		args = append([]string{"unshare", "-T", fmt.Sprintf("--monotonic=%d", c.clocks.IntN(1e8)), fmt.Sprintf("--boottime=%d", c.clocks.IntN(1e8))}, args...)
	}
	p := exec.Command(args[0], args[1:]...)
	p.Env, p.Stdout, p.Stderr = append(os.Environ(), fmt.Sprintf("%s=%d %d%s", routerVar, 50*i, c.every, c.extra)), out, out
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.proc[i], c.stopped[i] = p, false
}

func (c *chaos) signal(i int, s syscall.Signal) { _ = c.proc[i].Process.Signal(s) } // ip executes the router in its place

// end ends all routers.
func (c *chaos) end() {
	for i := 1; i <= 3; i++ {
		if c.proc[i] != nil {
			c.signal(i, syscall.SIGCONT)
			_ = c.proc[i].Process.Kill()
			_ = c.proc[i].Wait()
		}
	}
}

// connected tells who hears router i and is heard by it.
func (c *chaos) connected(i, j int) bool { return i == j || !c.cut[i] && !c.cut[j] }

// settled reports whether each address is on exactly one router of each partition: the best one that runs. Partitions with a deaf
// router may have two masters, as nobody can help.
func (c *chaos) settled() (ok bool, why string) {
	for i := 1; i <= 3; i++ {
		if c.proc[i] == nil || c.stopped[i] {
			continue
		}
		best, deaf := i, false
		for j := 1; j <= 3; j++ {
			if c.connected(i, j) && c.proc[j] != nil && !c.stopped[j] {
				best = max(best, j)
				deaf = deaf || c.deaf[j]
			}
		}
		if deaf {
			continue
		}
		for _, a := range chaosAddrs {
			if c.has(i, a) != (i == best) {
				return false, fmt.Sprintf("router %d has %s: %v, router %d should", i, a, i != best, best)
			}
		}
	}
	return true, ""
}

func (c *chaos) settle(what string) {
	c.t.Helper()
	why := ""
	for end := time.Now().Add(max(150*time.Duration(c.every)*time.Millisecond, 40*time.Second)); ; time.Sleep(30 * time.Millisecond) {
		var ok bool
		if ok, why = c.settled(); ok {
			// And it stays so.
			time.Sleep(time.Duration(c.every) * 5 / 2 * time.Millisecond)
			if ok, why = c.settled(); ok {
				return
			}
		}
		if time.Now().After(end) {
			break
		}
	}
	for i := 1; i <= 3; i++ {
		b, _ := os.ReadFile(c.logs[i])
		lines := strings.Split(string(b), "\n")
		c.t.Logf("router %d:\n%s", i, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
	c.t.Fatalf("never settled after %s: %s (cut %v, deaf %v, stopped %v)", what, why, c.cut, c.deaf, c.stopped)
}

// TestChaos does harm to three routers at random and looks whether each address ends up on one of them. RELEVE_CHAOS is how many rounds.
// Every life of a router has clocks of its own that count from somewhere else (time namespaces move CLOCK_MONOTONIC and CLOCK_BOOTTIME); the
// time of day is stepped where that hurts nobody, in TestChaosWhileSteppingTheClock.
func TestChaos(t *testing.T) {
	c := &chaos{lan: newLAN(t, 3), every: 100}
	rounds, _ := strconv.Atoi(os.Getenv("RELEVE_CHAOS"))
	if rounds == 0 {
		rounds = 10
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d rounds", seed, rounds)
	if _, err := c.try("unshare -T --monotonic=1 true"); err == nil {
		c.clocks = rand.New(rand.NewPCG(seed, 1))
	} else {
		t.Logf("without time namespaces: %v", err)
	}
	c.play(rounds, rand.New(rand.NewPCG(seed, 0)), func(string) {})
}

// TestChaosWhileSteppingTheClock is the same while the time of day is set forth and back by hours. No decision is made by it: deadlines are
// CLOCK_MONOTONIC, and only logs, statistics and the trailers of auth_hmac carry the time of day.
func TestChaosWhileSteppingTheClock(t *testing.T) {
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
	c := &chaos{lan: newLAN(t, 3), every: 500} // the machine is emulated and slow
	seed := uint64(begin.UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c.play(2, r, func(what string) {
		before := [4]string{1: c.log(1), 2: c.log(2), 3: c.log(3)}
		for range 3 {
			set(time.Duration(r.IntN(48)-24) * time.Hour)
			time.Sleep(700 * time.Millisecond)
		}
		for i := 1; i <= 3; i++ {
			if now := c.log(i); c.proc[i] != nil && strings.Contains(now[len(before[i]):], " STATE") {
				t.Errorf("stepping the clock after %s changed the state of router %d:\n%s", what, i, now[len(before[i]):])
			}
		}
	})
}

// log is what router i has logged.
func (c *chaos) log(i int) string {
	b, _ := os.ReadFile(c.logs[i])
	return string(b)
}

// play does harm in rounds; calm is called when the routers have settled after each.
func (c *chaos) play(rounds int, r *rand.Rand, calm func(after string)) {
	t := c.t
	t.Cleanup(c.end)
	for i := 1; i <= 3; i++ {
		c.in(i, "nft add table ip chaos")
		c.in(i, "nft add chain ip chaos in { type filter hook input priority 0 ; }")
		c.begin(i)
	}
	c.settle("the start")
	for round := range rounds {
		what := c.harm(r)
		t.Logf("round %d: %s", round, what)
		c.settle(what + ", which is over")
		calm(what)
	}
	for i := 1; i <= 3; i++ {
		c.stop(i)
	}
}

// stop ends router i in good order. It leaves nothing behind.
func (c *chaos) stop(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGTERM)
	_ = c.proc[i].Wait()
	c.proc[i] = nil
	for _, a := range chaosAddrs {
		if c.has(i, a) {
			c.t.Errorf("%s left behind on %d", a, i)
		}
	}
}

// harm does something to one router, waits until the others have settled, and undoes it.
func (c *chaos) harm(r *rand.Rand) (what string) {
	i := 1 + r.IntN(3)
	if r.IntN(3) > 0 { // more often the one that it hurts
		i = 3
	}
	beat := time.Duration(c.every) * time.Millisecond
	switch kind := r.IntN(6); kind {
	case 0:
		what = fmt.Sprintf("cut the cable of %d", i)
		c.run("ip link set %s nomaster", c.port(i))
		c.cut[i] = true
		c.settle(what)
		c.run("ip link set %s master %s", c.port(i), c.bridge())
		c.cut[i] = false
	case 1:
		what = fmt.Sprintf("link of %d flaps", i)
		for range 3 {
			c.run("ip link set %s down", c.port(i))
			time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
			c.run("ip link set %s up", c.port(i))
			time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		}
	case 2:
		what = fmt.Sprintf("%d hears nobody", i)
		c.in(i, "nft add rule ip chaos in ip protocol 112 drop")
		c.deaf[i] = true
		time.Sleep(8 * beat)
		c.settle(what)
		c.in(i, "nft flush chain ip chaos in")
		c.deaf[i] = false
	case 3:
		what = fmt.Sprintf("%d is killed", i)
		_ = c.proc[i].Process.Kill()
		_ = c.proc[i].Wait()
		c.proc[i] = nil
		c.settle(what)
		c.begin(i)
	case 4:
		what = fmt.Sprintf("%d is suspended", i)
		c.signal(i, syscall.SIGSTOP)
		c.stopped[i] = true
		c.settle(what)
		c.signal(i, syscall.SIGCONT)
		c.stopped[i] = false
	case 5:
		what = fmt.Sprintf("%d ends in good order", i)
		c.stop(i)
		c.settle(what)
		c.begin(i)
	}
	return what
}
