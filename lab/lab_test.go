package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is two hosts on one bridge, a serving on port 80.
func pair(t *testing.T) (l *Lab, a, b *Host) {
	t.Helper()
	testneed.Need(t, "root", "netns")
	l, err := New()
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	br, err := l.Bridge("lan")
	must(t, err)
	a, err = l.Host("a")
	must(t, err)
	b, err = l.Host("b")
	must(t, err)
	must(t, l.Plug(a, "eth0", br, "10.9.0.1/24", "fd09::1/64"))
	must(t, l.Plug(b, "eth0", br, "10.9.0.2/24", "fd09::2/64"))
	_, err = a.Web(":80", "here is a")
	must(t, err)
	return l, a, b
}

// eventually waits for a state, not for a time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in 30 s not: %s", what)
		}
	}
}

func asks(h *Host, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var body string
	err := errors.New("no thread")
	done := make(chan struct{})
	if terr := h.Thread(func() { body, err = get(ctx, addr); close(done) }); terr != nil {
		return "", terr
	}
	<-done
	return body, err
}

func TestHostsReachEachOtherUntilACableIsCut(t *testing.T) {
	_, a, b := pair(t)
	for _, addr := range []string{"10.9.0.1:80", "[fd09::1]:80"} {
		eventually(t, addr+" answers", func() bool {
			body, err := asks(b, addr)
			if err == nil && body != "here is a" {
				t.Fatalf("%s: %q", addr, body)
			}
			return err == nil
		})
	}
	for what, fault := range map[string]func(string) error{"cut": a.Cut, "partition": a.Partition} {
		must(t, fault("eth0"))
		if body, err := asks(b, "10.9.0.1:80"); err == nil {
			t.Errorf("%s: still answers %q", what, body)
		}
		must(t, a.Heal("eth0"))
		eventually(t, "healed after "+what, func() bool { _, err := asks(b, "10.9.0.1:80"); return err == nil })
	}
	if err := a.Cut("eth7"); err == nil {
		t.Error("a cable that does not exist was cut")
	}
}

func TestAddressesAndSettingsBelongToTheHost(t *testing.T) {
	_, a, b := pair(t)
	vip := netip.MustParseAddr("10.9.0.10")
	must(t, a.AddAddr("eth0", "10.9.0.10/24"))
	if !a.Has(vip) || b.Has(vip) {
		t.Error("the address is not where it was added")
	}
	must(t, a.DelAddr("eth0", "10.9.0.10/24"))
	if a.Has(vip) {
		t.Error("the address was not taken away")
	}
	must(t, a.Sysctl("net.ipv4.ip_forward", "1"))
	must(t, b.Do(func() error {
		v, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if err == nil && strings.TrimSpace(string(v)) != "0" {
			err = fmt.Errorf("ip_forward of the other host is %s", v)
		}
		return err
	}))
}

func TestProcessesHaveARunOfTheirOwnAndDieTogether(t *testing.T) {
	_, a, b := pair(t)
	p, err := a.Start("/bin/sh", []string{"hello", "-c", "echo $0; echo x > /run/of-a; sleep 100 & sleep 100"}, nil)
	must(t, err)
	eventually(t, "the process runs with its child", func() bool { return len(a.pids()) == 3 && len(p.Lines()) > 0 })
	if got := p.Lines()[0]; got != "hello" {
		t.Errorf("called %q, want hello", got)
	}
	must(t, b.Do(func() error {
		if _, err := os.Stat("/run/of-a"); !os.IsNotExist(err) {
			return fmt.Errorf("the other host sees /run/of-a: %v", err)
		}
		return nil
	}))
	must(t, a.Kill())
	<-p.Done()
	if n := len(a.pids()); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// A parent that dies before its stopped children makes them an orphaned process group, which the kernel wakes with SIGHUP and SIGCONT.
func TestNobodyOfAKilledHostSaysGoodBye(t *testing.T) {
	_, a, _ := pair(t)
	p, err := a.Start("/bin/sh", []string{"sh", "-c", `mkfifo /run/never; for i in 1 2 3 4 5 6 7 8; do
		(trap 'echo bye >/run/bye' HUP TERM CONT; while :; do read x </run/never; done) &
	done
	echo up; wait`}, nil)
	must(t, err)
	eventually(t, "nine processes run", func() bool { return len(a.pids()) == 9 && len(p.Lines()) > 0 })
	must(t, a.Kill())
	<-p.Done()
	must(t, a.Do(func() error {
		if _, err := os.Stat("/run/bye"); !os.IsNotExist(err) {
			return fmt.Errorf("a process noticed that the host was killed: %v", err)
		}
		return nil
	}))
}

// Somebody who has a shell on a host keeps it when the host is killed, and is not what the host has left behind.
func TestGuestsOfAHostAreLeftAlone(t *testing.T) {
	_, a, _ := pair(t)
	p, err := a.Start("/usr/bin/env", []string{"env", GuestVar + "=a", "sh", "-c", "echo here; sleep 60"}, nil)
	must(t, err)
	eventually(t, "the guest is there", func() bool { return len(p.Lines()) > 0 })
	must(t, a.Kill())
	if n := len(a.pids()); n != 0 {
		t.Errorf("%d processes of the host are left", n)
	}
	select {
	case <-p.Done():
		t.Error("the guest was killed")
	case <-time.After(50 * time.Millisecond):
	}
}

// The first thread of a process never ends and stands for the process in /proc.
func TestApartIsNeverTheFirstThread(t *testing.T) {
	first := make(chan bool)
	for range 500 {
		Apart(func() { first <- unix.Gettid() == unix.Getpid() })
	}
	for range 500 {
		if <-first {
			t.Fatal("a function ran on the first thread")
		}
	}
}

func TestTrafficMeasuresTheTimeWithoutService(t *testing.T) {
	_, a, b := pair(t)
	w := a.webs[0]
	tr, err := b.Traffic("10.9.0.1:80", 50*time.Millisecond, 5*time.Second) // it is refused or reset: nobody waits for so long
	must(t, err)
	defer tr.Stop()
	for try := 1; ; try++ {
		from := time.Now()
		answered := func() int { r := tr.Since(from); return r.By["here is a"] }
		eventually(t, "5 answers", func() bool { return answered() >= 5 })
		w.Stop()
		eventually(t, "5 failures", func() bool { return tr.Since(from).Failed >= 5 })
		must(t, w.Start())
		n := answered()
		eventually(t, "answers again", func() bool { return answered() >= n+5 })
		r := tr.Since(from)
		if len(r.Gaps) == 2 && r.Gaps[0].Requests == r.Errors["connection reset by peer"] && try < 10 {
			continue // on a busy machine a request that was reset may be older than the last one that was answered
		}
		if len(r.Gaps) != 1 || r.Gaps[0].Requests != r.Failed || r.Errors["connection refused"]+r.Errors["connection reset by peer"] == 0 || r.Lost() < 80*time.Millisecond {
			t.Errorf("report %+v", r)
		}
		return
	}
}

func TestAReportCountsGapsByTime(t *testing.T) {
	base := time.Now()
	at := func(ms int) time.Time { return base.Add(time.Duration(ms) * time.Millisecond) }
	ok := func(ms int, body string) Result { return Result{Start: at(ms), Body: body, done: true} }
	bad := func(ms int) Result {
		return Result{Start: at(ms), Err: errors.New("dial: connect: connection refused"), done: true}
	}
	tr := &Traffic{results: []Result{ok(0, "1"), bad(50), bad(100), ok(150, "2"), ok(200, "1"), bad(250), ok(300, "1"), {Start: at(350)}, bad(400)}}
	r := tr.Between(base, at(500))
	if r.Asked != 8 || r.Failed != 4 || r.By["1"] != 3 || r.By["2"] != 1 || r.Errors["connection refused"] != 4 {
		t.Errorf("%+v", r)
	}
	var got []string
	for _, g := range r.Gaps {
		got = append(got, fmt.Sprint(g.Start.Sub(base), g.Length, g.Requests))
	}
	if s := strings.Join(got, " "); s != "50ms 100ms 2 250ms 50ms 1 400ms 0s 1" {
		t.Errorf("gaps %s", s)
	}
	if a := r.Availability(); a != 0.7 {
		t.Errorf("availability %v, want 0.7", a)
	}
}

// TestSweep leaves a process behind as a lab does whose process was killed, and one that a living lab owns.
func TestSweepEndsOnlyWhatDeadLabsLeft(t *testing.T) {
	testneed.Need(t, "root")
	dead := exec.Command("/bin/true")
	must(t, dead.Run())
	start := func(owner string) (*exec.Cmd, chan error) {
		c := exec.Command("/bin/sleep", "60")
		c.Env = []string{markVar + "=" + owner}
		must(t, c.Start())
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		t.Cleanup(func() { _ = c.Process.Kill() })
		return c, done
	}
	_, orphan := start(strconv.Itoa(dead.Process.Pid) + "-12345-" + numbering())
	_, reused := start(strconv.Itoa(os.Getpid()) + "-1-" + numbering())
	_, elsewhere := start("4000000-1-1") // of a container, where the numbers are others
	_, ours := start(mark(os.Getpid()))
	eventually(t, "the environment of all is readable", func() bool { return Sweep() >= 0 && len(orphan) == 1 && len(reused) == 1 })
	if len(ours)+len(elsewhere) != 0 {
		t.Error("a process of a living lab, or of another pid namespace, was ended")
	}
}
