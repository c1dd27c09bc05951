package bfd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// inNamespace runs the named test of this binary again with networks and mounts of its own and reports whether the caller is the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	if os.Getenv("RELEVE_NETNS") != "" {
		return false
	}
	testneed.Need(t, "netns", "ip")
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "RELEVE_NETNS=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return true
}

const peer = "rlv-bfd-peer"

// network is a link between this namespace (10.0.0.1, fd00::1) and the peer's (10.0.0.2, fd00::2).
func network(t *testing.T) {
	t.Helper()
	sh(t, `mount --make-rprivate /; mount -t tmpfs run /run; mkdir /run/netns
ip netns add `+peer+`
ip link set lo up
ip link add v1 type veth peer name v2 netns `+peer+`
ip addr add 10.0.0.1/24 dev v1; ip -6 addr add fd00::1/64 dev v1 nodad; ip link set v1 up
ip -n `+peer+` addr add 10.0.0.2/24 dev v2; ip -n `+peer+` -6 addr add fd00::2/64 dev v2 nodad
ip -n `+peer+` link set lo up; ip -n `+peer+` link set v2 up`)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", peer).Run() })
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// there starts a program in the peer's namespace and returns what ends it.
func there(t *testing.T, conf string, args ...string) (stop func(), out *output) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", file)
	}
	c := exec.Command("ip", append([]string{"netns", "exec", peer}, args...)...)
	out = new(output)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		})
	}
	t.Cleanup(stop)
	return stop, out
}

type here struct {
	t      *testing.T
	e      *Engine
	events chan Event
	stop   func()
	log    output
}

// output is what was written; it may be read meanwhile.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(b) }

func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

func engine(t *testing.T, cfgs ...*Config) *here {
	t.Helper()
	h := &here{t: t, events: make(chan Event, 100)}
	h.e = New(cfgs, Options{Log: slog.New(slog.NewTextHandler(&h.log, nil)), Notify: func(ev Event) { h.events <- ev }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.e.Run(ctx) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(h.stop)
	return h
}

// until waits for the report of a state.
func (h *here) until(up bool) Event {
	h.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case ev := <-h.events:
			if ev.Up == up {
				return ev
			}
		case <-limit:
			st, drops, _ := h.e.Snapshot(h.t.Context())
			h.t.Fatalf("never up=%v: %+v, drops %v\n%s", up, st, drops, h.log.String())
		}
	}
}

// session checks what both have agreed on.
func (h *here) session(detect, tx time.Duration) {
	h.t.Helper()
	for range 600 {
		st, _, err := h.e.Snapshot(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if st[0].DetectTime == detect && st[0].TxInterval == tx && !st[0].Polling {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	st, _, _ := h.e.Snapshot(h.t.Context())
	h.t.Errorf("detection %v, interval %v, polling %v; want %v, %v", st[0].DetectTime, st[0].TxInterval, st[0].Polling, detect, tx)
}

// calm checks that nothing changes for a second. A machine that stands still for longer than the detection time makes a session expire, at
// either end: then it is tried again.
func (h *here) calm() {
	h.t.Helper()
	const pause = 20 * time.Millisecond
	for range 10 {
		stood, last := time.Duration(0), time.Now()
		for end := last.Add(time.Second); time.Now().Before(end) && len(h.events) == 0; last = time.Now() {
			time.Sleep(pause)
			stood = max(stood, time.Since(last)-pause)
		}
		if len(h.events) == 0 {
			return
		}
		ev := <-h.events
		if ev.Up || stood < 500*time.Millisecond {
			h.t.Errorf("flap: %+v; the machine stood still for up to %s", ev, stood)
			return
		}
		h.until(true)
	}
	h.t.Error("never calm, so busy is the machine")
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func neighbor(addr, src string) *Config {
	return &Config{Name: "B1", Neighbor: netip.MustParseAddr(addr), Src: netip.MustParseAddr(src), MinRx: ms(50), MinTx: ms(50), IdleTx: time.Second, Multiplier: 20, TTL: 255}
}

// exercise goes through the life of a session whose other end sends every 60 ms, takes one every 70 ms and has multiplier 20: a busy machine is no reason to flap.
func exercise(t *testing.T, c *Config, start func() (stop func(), out *output)) {
	stop, out := start()
	defer func() {
		if t.Failed() {
			t.Logf("the other end: %s", out.String())
		}
	}()
	h := engine(t, c)
	h.until(true)
	h.session(20*ms(60), ms(70))
	h.calm()
	sh(t, "ip -n "+peer+" link set v2 down")
	if ev := h.until(false); ev.Diag != DiagExpired {
		t.Errorf("down for %v", ev.Diag)
	}
	sh(t, "ip -n "+peer+" link set v2 up; ip -n "+peer+" -6 addr replace fd00::2/64 dev v2 nodad")
	h.until(true)
	next := *c
	next.MinRx, next.MinTx = ms(90), ms(100)
	if err := h.e.Reload(t.Context(), []*Config{&next}); err != nil {
		t.Error(err)
	}
	h.session(20*ms(90), ms(100))
	h.calm()
	stop()
	h.until(false)
	h.stop()
}

func TestKeepalivedIsOurNeighbour(t *testing.T) {
	testneed.Need(t, "root", "netns", "keepalived")
	if inNamespace(t) {
		return
	}
	network(t)
	for _, c := range []struct{ name, ours, theirs, extra string }{
		{"over IPv4", "10.0.0.1", "10.0.0.2", ""},
		{"over IPv6", "fd00::1", "fd00::2", "hoplimit 255"},
	} {
		t.Run(c.name, func(t *testing.T) {
			exercise(t, neighbor(c.theirs, c.ours), func() (func(), *output) {
				return there(t, fmt.Sprintf("bfd_instance B1 {\n neighbor_ip %s\n source_ip %s\n min_tx 60\n min_rx 70\n multiplier 20\n %s\n}\n", c.ours, c.theirs, c.extra),
					"keepalived", "-n", "-l", "-D", "-f", "FILE")
			})
		})
	}
}

// TestPassiveSessionsAndTheTTL: either end may be the passive one, and packets that have come too far do not count until max_hops allows it.
func TestPassiveSessionsAndTheTTL(t *testing.T) {
	testneed.Need(t, "root", "netns", "keepalived")
	if inNamespace(t) {
		return
	}
	network(t)
	keepalived := func(extra string) func() {
		stop, _ := there(t, "bfd_instance B1 {\n neighbor_ip 10.0.0.1\n source_ip 10.0.0.2\n min_tx 60\n min_rx 70\n multiplier 20\n "+extra+"\n}\n",
			"keepalived", "-n", "-l", "-f", "FILE")
		return stop
	}
	for _, c := range []struct {
		name, theirs string
		passive      bool
	}{{"here", "", true}, {"there", "passive", false}} {
		t.Run("passive "+c.name, func(t *testing.T) {
			stop := keepalived(c.theirs)
			n := neighbor("10.0.0.2", "10.0.0.1")
			n.Passive = c.passive
			h := engine(t, n)
			h.until(true)
			stop()
			h.until(false)
			h.stop()
		})
	}
	t.Run("a TTL of 250", func(t *testing.T) {
		defer keepalived("ttl 250")()
		n := neighbor("10.0.0.2", "10.0.0.1")
		h := engine(t, n)
		h.until(false)
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // the other end may only just be starting
			st, drops, err := h.e.Snapshot(t.Context())
			if err != nil || st[0].Received != 0 || drops[ErrTTL] == 0 && time.Now().After(end) {
				t.Fatalf("%+v, drops %v, %v; want packets dropped for their TTL", st, drops, err)
			}
			if drops[ErrTTL] > 0 {
				break
			}
		}
		next := *n
		next.MaxHops = 5
		if err := h.e.Reload(t.Context(), []*Config{&next}); err != nil {
			t.Fatal(err)
		}
		h.until(true)
	})
}

func TestBirdIsOurNeighbour(t *testing.T) {
	testneed.Need(t, "root", "netns", "bird")
	if inNamespace(t) {
		return
	}
	network(t)
	times := "{ min tx interval 60 ms; min rx interval 70 ms; multiplier 20; };"
	for _, c := range []struct {
		name, ours, theirs, extra string
		multi                     bool
	}{
		{"single hop over IPv4", "10.0.0.1", "10.0.0.2", `dev "v2"`, false},
		{"single hop over IPv6", "fd00::1", "fd00::2", `dev "v2"`, false},
		{"multihop over IPv4", "10.0.0.1", "10.0.0.2", "local 10.0.0.2 multihop on", true},
		{"multihop over IPv6", "fd00::1", "fd00::2", "local fd00::2 multihop on", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := neighbor(c.theirs, c.ours)
			n.Multihop = c.multi
			if c.multi {
				n.MaxHops = 255 // a multihop neighbour sends what TTL it likes
			}
			exercise(t, n, func() (func(), *output) {
				return there(t, fmt.Sprintf("router id 10.0.0.2;\nlog stderr all;\nprotocol device {}\nprotocol bfd {\n interface \"*\" %s\n multihop %s\n neighbor %s %s;\n}\n", times, times, c.ours, c.extra),
					"bird", "-f", "-c", "FILE", "-s", "/run/bird.ctl")
			})
		})
	}
}

// TestAPredecessorsStateIsCorrected: whoever tracked a session under a process that died hears that it is not up.
func TestAPredecessorsStateIsCorrected(t *testing.T) {
	if inNamespace(t) {
		return
	}
	network(t)
	c := neighbor("10.0.0.2", "10.0.0.1")
	h := engine(t, c)
	if ev := h.until(false); ev.Diag != DiagNone {
		t.Errorf("got %+v", ev)
	}
}
