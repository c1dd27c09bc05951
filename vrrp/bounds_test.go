package vrrp

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
	"releve/vrrp/wire"
)

// flood sends packets from router i by device dev, rate a second for a while, and gives their number.
func (l *lan) flood(i int, dev string, rate int, d time.Duration, packets ...[]byte) (sent int) {
	l.t.Helper()
	l.inNamespace(i, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			l.t.Error(err)
			return
		}
		defer unix.Close(fd)
		ifc, err := net.InterfaceByName(dev)
		if err != nil {
			l.t.Error(err)
			return
		}
		_ = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifc.Index)})
		to := &unix.SockaddrInet4{Addr: [4]byte(packets[0][16:20])}
		begin := time.Now()
		for n := 0; time.Since(begin) < d; n++ {
			if n%500 == 0 {
				time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
			}
			if unix.Sendto(fd, packets[n%len(packets)], 0, to) == nil {
				sent++
			}
		}
	})
	return sent
}

// TestAFloodOfSoundAdvertsIsAnsweredWithinBounds: a worse router that speaks 50,000 times a second is answered, but neither the log nor
// announcements nor notifications grow with it.
func TestAFloodOfSoundAdvertsIsAnsweredWithinBounds(t *testing.T) { attempts(t, floodOfSoundAdverts) }

func floodOfSoundAdverts(t *testing.T) (disturbed bool) {
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Version, c.AdvertInt, c.GARP.Delay, c.GARP.LowerPrioDelay = 3, 300*time.Millisecond, 0, 0
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
	begin := time.Now()
	before, lines, events := a.snapshot().Instances[0].Stats, len(strings.Split(a.log.all(), "\n")), len(a.got())
	sent := l.flood(2, "eth0", 50000, 2*time.Second,
		packet("10.9.0.2", func(a *wire.Advert) { a.Version, a.Interval = 3, 300*time.Millisecond }),
		packet("10.9.0.3", func(a *wire.Advert) { a.Version, a.Interval, a.Priority = 3, 300*time.Millisecond, 0 }))
	in := a.snapshot().Instances[0]
	took := time.Since(begin)
	if a.wasSuspended() {
		a.stop()
		return true
	}
	if in.State != Master || in.Stats.BecomeMaster != 1 {
		t.Errorf("state %s, master %d times", in.State, in.Stats.BecomeMaster)
	}
	rcvd, answers := in.Stats.AdvertRcvd-before.AdvertRcvd, in.Stats.AdvertSent-before.AdvertSent
	t.Logf("%d adverts sent in %s, %d heard, %d answers", sent, took, rcvd, answers)
	if rcvd == 0 || answers > rcvd+uint64(took/(300*time.Millisecond))+1 {
		t.Errorf("%d answers to %d adverts", answers, rcvd)
	}
	l.eventually("nothing is left to be done", 4*time.Second, func() bool {
		a.e.act.mu.Lock()
		defer a.e.act.mu.Unlock()
		return len(a.e.act.queue) == 0
	})
	// Ten times a second, and the flood may have been heard a little longer than it was sent.
	bound := 10*int(time.Since(begin)/time.Second+1) + 10
	if n := int(a.snapshot().Instances[0].Stats.Announced - before.Announced); n > bound*c.GARP.LowerPrioRepeat {
		t.Errorf("%d announcements", n)
	}
	if n := len(a.got()) - events; n > bound {
		t.Errorf("%d notifications", n)
	}
	said := 0
	for _, line := range strings.Split(a.log.all(), "\n")[lines:] {
		if !strings.Contains(line, "gratuitous ARP") {
			said++
		}
	}
	if said > bound {
		t.Errorf("%d lines in the log", said)
	}
	return false
}

func TestAdvertsOnAnotherInterfaceAreNotHeard(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	l.run("ip -n %s link add eth1 type veth peer name eth1 netns %s", l.ns(1), l.ns(2))
	for i := 1; i <= 2; i++ {
		l.run("ip -n %s link set eth1 up", l.ns(i))
		l.run("ip -n %s addr add 10.9.1.%d/24 dev eth1", l.ns(i), i)
	}
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	better := packet("10.9.1.2", func(a *wire.Advert) { a.Priority = 200 })
	if l.flood(2, "eth1", 1000, 200*time.Millisecond, better) == 0 {
		t.Fatal("nothing was sent")
	}
	time.Sleep(200 * time.Millisecond)
	s := a.snapshot()
	if in, why := s.Instances[0], a.left("VI_1"); why != nil || in.Stats.AdvertRcvd != 0 || len(in.Stats.Rejected) != 0 || s.UnknownVRID != 0 {
		t.Errorf("left for %q, %+v", why, in.Stats)
	}
	a.patient()
	l.inject(2, better)
	l.eventually("on its own interface the same is believed", 4*time.Second, func() bool { return a.state("VI_1") == Backup })
}

// TestScriptsThatMisbehaveCostOnlyTheirWeight: tracked scripts that hang, flood their output, leave children behind, are missing.
func TestScriptsThatMisbehaveCostOnlyTheirWeight(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	dir := t.TempDir()
	mark := fmt.Sprintf("86399.%d", os.Getpid()) // how long the children sleep: nobody else does for as long
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cfg := &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}
	c := cfg.Instances[0]
	c.Version, c.AdvertInt, c.Track = 3, 100*time.Millisecond, &TrackConfig{}
	for i, path := range []string{
		write("hangs", "trap '' TERM\nsleep "+mark),
		write("floods", "yes | head -c 50000000\nexit 1"),
		write("forks", "for i in 1 2 3 4 5; do sleep "+mark+" & done\nwait"),
		filepath.Join(dir, "missing"),
		write("signals", "kill -SEGV $$"),
	} {
		name := filepath.Base(path)
		cfg.Scripts = append(cfg.Scripts, &ScriptConfig{Name: name, Command: script.Command{Args: []string{path}}, Interval: 300 * time.Millisecond, Weight: -1 << i, Rise: 1, Fall: 1})
		c.Track.Scripts = append(c.Track.Scripts, TrackRef{Name: name})
	}
	a := l.start(1, cfg, Options{})
	l.eventually("each costs its weight, and the address is there", 10*time.Second, func() bool {
		in := a.snapshot().Instances[0]
		return in.State == Master && in.Priority == 100-1-2-4-8-16 && l.has(1, "10.9.0.100")
	})
	before := a.snapshot().Instances[0].Stats.AdvertSent
	time.Sleep(2 * time.Second)
	l.eventually("adverts go on", 4*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertSent >= before+10 })
	for _, s := range cfg.Scripts {
		if n := strings.Count(a.log.all(), "VRRP_Script("+s.Name+")"); n == 0 || n > 2 {
			t.Errorf("%s: %d lines", s.Name, n)
		}
	}
	if why := a.left("VI_1"); why != nil {
		t.Errorf("they cost the mastership: %q", why)
	}
	a.stop()
	l.eventually("nothing of them lives on", 6*time.Second, func() bool {
		out, _ := l.try("ps -eo args")
		return !strings.Contains(out, "sleep "+mark)
	})
}

// TestASuspendedMasterStepsDownBeforeItListens: with nopreempt a router that was suspended must not take back what the other one has by now,
// although adverts of lower priority wait in its socket when it wakes up.
func TestASuspendedMasterStepsDownBeforeItListens(t *testing.T) {
	t.Parallel()
	attempts(t, suspendedMaster)
}

func suspendedMaster(t *testing.T) (disturbed bool) {
	l := newLAN(t, 2)
	c := &chaos{lan: l, every: 300, extra: " nopreempt"}
	t.Cleanup(c.end)
	c.begin(2)
	l.eventually("the first one is master", 8*time.Second, func() bool { return l.has(2, chaosAddrs[0]) && l.has(2, chaosAddrs[2]) })
	c.begin(1)
	time.Sleep(time.Second)
	c.signal(2, syscall.SIGSTOP)
	l.eventually("the other one takes over", 8*time.Second, func() bool { return l.has(1, chaosAddrs[0]) && l.has(1, chaosAddrs[1]) && l.has(1, chaosAddrs[2]) })
	time.Sleep(time.Second)
	c.signal(2, syscall.SIGCONT)
	stood := func() bool { return strings.Contains(c.log(1), suspended) && stoodStill() }
	l.eventually("it lets go", 8*time.Second, func() bool {
		return stood() || !l.has(2, chaosAddrs[0]) && !l.has(2, chaosAddrs[1]) && !l.has(2, chaosAddrs[2])
	})
	time.Sleep(1500 * time.Millisecond)
	held := l.has(1, chaosAddrs[0])
	time.Sleep(100 * time.Millisecond) // until it is in the log why not
	if stood() {
		c.end()
		return true
	}
	log := c.log(1)
	_, after, _ := strings.Cut(log, "Entering MASTER STATE")
	if strings.Contains(after, "Entering BACKUP STATE") || !held {
		t.Errorf("the other one had to give way:\n%s", log)
	}
	woke, err := os.ReadFile(c.logs[2])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(woke), suspended) {
		t.Errorf("not for that reason:\n%s", woke)
	}
	return false
}
