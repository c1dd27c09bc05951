// Command vrrp measures what many VRRP instances cost, releve beside the reference in one run: processor time per minute as master and as
// backup, memory, how evenly adverts are spaced, how long a thousand instances take to be taken over, and the time from SIGTERM to
// priority 0. Two directors of one kind face each other on four veth pairs, 250 instances on each at most; what one sends is read on the
// other's side with the kernel's time stamps.
//
//	go run ./bench/vrrp -releve bin/releve
//
// It needs root, iproute2 and, for the comparison, keepalived.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// size is one way to load a director.
type size struct {
	name     string
	n        int
	lines    string
	interval time.Duration
}

var sizes = []size{
	{"1,000 at 1 s", 1000, "advert_int 1", time.Second},
	{"100 at 0.1 s", 100, "version 3\n advert_int 0.1", 100 * time.Millisecond},
}

var (
	window  = flag.Duration("window", 12*time.Second, "how long processor time is measured")
	verbose = flag.Bool("v", false, "show every round of adverts")
	only    = flag.String("only", "", "measure only this size, or busy")
	part    = flag.String("part", "", "measure only this: evenly (the spacing of adverts) or takeover")
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vrrp:", err)
		os.Exit(1)
	}
}

func run() error {
	releve := flag.String("releve", "bin/releve", "our binary")
	reference := flag.String("reference", "keepalived", "the reference; empty: leave it out")
	flag.Parse()
	if os.Getenv("RELEVE_NETNS") == "" {
		return inNamespaces()
	}
	_ = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	_ = os.MkdirAll("/run/netns", 0o755)
	type daemon struct{ name, path string }
	var daemons []daemon
	for _, b := range []daemon{{"keepalived", *reference}, {"releve", *releve}} {
		if b.path == "" {
			continue
		}
		p, err := exec.LookPath(b.path)
		if err != nil {
			fmt.Printf("%s left out: %v\n", b.name, err)
			continue
		}
		if p, err = filepath.Abs(p); err != nil {
			return err
		}
		daemons = append(daemons, daemon{b.name, p})
	}
	if *only == "" && *part == "" || *only == "busy" {
		fmt.Printf("%-28s %-11s %10s %10s   (how even the adverts of 100 instances at 0.1 s are)\n", "", "", "p99", "max")
		for _, d := range daemons {
			if err := busy(d.path, d.name); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
	}
	if *only == "busy" {
		return nil
	}
	switch *part {
	case "evenly":
		fmt.Printf("%-14s %-11s %11s %11s %14s %s\n", "", "", "p99 jitter", "max jitter", "master s/min", "others' processor time")
	case "":
		fmt.Printf("%-14s %-11s %14s %14s %26s %26s %11s %11s\n", "", "", "master s/min", "backup s/min", "master KB anon+file, peak", "backup KB anon+file, peak", "p99 jitter", "max jitter")
	}
	var takeovers []string
	for _, s := range sizes {
		if *only != "" && *only != s.name {
			continue
		}
		for _, d := range daemons {
			lines, err := measure(d.path, d.name, s)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", d.name, s.name, err)
			}
			takeovers = append(takeovers, lines...)
		}
	}
	if *part == "evenly" {
		return nil
	}
	fmt.Printf("%-14s %-11s %-8s", "taken over", "", "")
	for _, head := range []string{"median", "p95", "max", "due within", "last advert", "beyond", "ARP each", "beyond", "ARP all", "prio 0 first", "last", "end"} {
		fmt.Printf(" %12s", head)
	}
	fmt.Println()
	for _, l := range takeovers {
		fmt.Println(l)
	}
	fmt.Print(`Taken over from a master that crashes, and from one that resigns: median, p95 and max are beyond the moment at which each instance is due, a
master down interval after the last advert or a skew time after the resignation. These moments are spread over "due within"; "beyond" is how
much longer all first adverts took, and all addresses to be announced once. Last advert, each address announced once and all announcements count from the first advert. Prio 0: from
SIGTERM to the first and the last resignation, and to the end of the daemon. Targets: processor time at most the reference's, memory at most
twice, p99 jitter 1 ms, last advert 5 ms beyond, last announcement 20 ms beyond, priority 0 below 1 ms.
`)
	return nil
}

// inNamespaces runs this program again in namespaces of its own.
func inNamespaces() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) && e.ExitCode() > 0 {
			os.Exit(e.ExitCode())
		}
		return err
	}
	return nil
}

func sh(format string, args ...any) error {
	w := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.Command(w[0], w[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(w, " "), err, out)
	}
	return nil
}

const wires = 4

// text is the configuration of one director.
func text(s size, prio int) string {
	var b strings.Builder
	for i := range s.n {
		per := (s.n + wires - 1) / wires
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n interface e%d\n virtual_router_id %d\n priority %d\n %s\n virtual_ipaddress {\n  10.%d.%d.1/32\n }\n}\n",
			i, i/per, 1+i%per, prio, s.lines, 20+i/per, i%per)
	}
	return b.String()
}

var serial int

// measure lets two directors of one kind face each other.
func measure(bin, kind string, s size) ([]string, error) {
	serial++
	ns := [2]string{fmt.Sprintf("m%d", serial), fmt.Sprintf("b%d", serial)}
	for i := range ns {
		if err := errors.Join(sh("ip netns add %s", ns[i]), sh("ip -n %s link set lo up", ns[i])); err != nil {
			return nil, err
		}
		defer func() { _ = sh("ip netns del %s", ns[i]) }()
	}
	for w := range wires {
		if err := sh("ip link add e%d netns %s type veth peer name e%d netns %s", w, ns[0], w, ns[1]); err != nil {
			return nil, err
		}
		for i := range ns {
			if err := errors.Join(sh("ip -n %s addr add 10.9.%d.%d/24 dev e%d", ns[i], w, i+1, w), sh("ip -n %s link set e%d up", ns[i], w)); err != nil {
				return nil, err
			}
		}
	}
	var nodes [2]*exec.Cmd
	var started []*exec.Cmd
	defer func() {
		for _, c := range started {
			if c.ProcessState == nil { // it still runs
				killAll(c)
				_ = c.Wait()
			}
		}
	}()
	ear, err := listen(ns[1]) // hears the master
	if err != nil {
		return nil, err
	}
	defer ear.close()
	back, err := listen(ns[0]) // hears the backup
	if err != nil {
		return nil, err
	}
	defer back.close()
	var p99, most time.Duration
	start := func(i, prio int) (*exec.Cmd, error) {
		conf := fmt.Sprintf("/run/%s-%d.conf", ns[i], prio) // with pid files of its own: nobody reaps the child of a daemon that was killed
		if err := os.WriteFile(conf, []byte(text(s, prio)), 0o644); err != nil {
			return nil, err
		}
		c := exec.Command("ip", "netns", "exec", ns[i], bin, "-n", "-G", "-P", "-f", conf, "-p", conf+".p", "-r", conf+".r", "-c", conf+".c", "-b", conf+".b")
		if err := c.Start(); err != nil {
			return nil, err
		}
		started = append(started, c)
		return c, nil
	}
	for i, prio := range []int{200, 100} {
		if nodes[i], err = start(i, prio); err != nil {
			return nil, err
		}
		if i > 0 {
			time.Sleep(3 * time.Second)
			break
		}
		// All are master, and the second bursts are over. How even the adverts are is measured while nobody else is busy with them.
		time.Sleep(4*s.interval + 7*time.Second)
		if *part == "takeover" {
			continue
		}
		ear.discard()
		// What has just been read is thousands of frames: the collector is done with them before anything counts.
		runtime.GC()
		time.Sleep(s.interval/2 + 100*time.Millisecond)
		ear.discard()
		own, all := cpu(nodes[i].Process.Pid), allBusy()
		time.Sleep(*window)
		own, all = cpu(nodes[i].Process.Pid)-own, allBusy()-all
		heard := ear.read()
		if *verbose {
			rounds(heard, s.interval)
		}
		count := 0
		if p99, most, count = jitter(heard, s.interval); count == 0 {
			return nil, errors.New("no adverts were heard")
		}
		if *part == "evenly" {
			fmt.Printf("%-14s %-11s %11s %11s %14.2f %.1f %%\n", s.name, kind, show(p99), show(most), own.Seconds()*60/window.Seconds(), 100*max(all-own, 0).Seconds()/window.Seconds())
			return nil, nil
		}
	}
	if *part == "" {
		cost(nodes, s.name, kind, p99, most)
	}

	// The master dies, the other one takes over.
	back.discard()
	ear.discard()
	time.Sleep(2 * s.interval)
	killAll(nodes[0])
	_ = nodes[0].Wait()
	time.Sleep(4*s.interval + 2*time.Second)
	due := map[int]time.Time{}
	for _, f := range ear.read() {
		if f.prio == 200 {
			due[f.id] = f.at.Add(3*s.interval + s.skew(100))
		}
	}
	crash, err := takenOver(back.read(), 100, due, s.n)
	if err != nil {
		return nil, err
	}

	// The new master ends in good order, and a third one takes over from it.
	if _, err := start(0, 50); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second)
	back.discard()
	ear.discard()
	signalled := time.Now()
	_ = nodes[1].Process.Signal(syscall.SIGTERM)
	_ = nodes[1].Wait()
	ended := time.Since(signalled)
	time.Sleep(s.skew(50) + 2*time.Second)
	var zero []time.Duration
	clear(due)
	for _, f := range back.read() {
		if f.prio == 0 {
			zero = append(zero, f.at.Sub(signalled))
			due[f.id] = f.at.Add(s.skew(50))
		}
	}
	if len(zero) < s.n {
		return nil, fmt.Errorf("%d resignations", len(zero))
	}
	resigned, err := takenOver(ear.read(), 50, due, s.n)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%-14s %-11s", s.name, kind)
	return []string{name + " crash   " + crash, name + " resigns " + resigned + columns(zero[0], zero[len(zero)-1], ended)}, nil
}

// cost prints what two directors that face each other use.
func cost(nodes [2]*exec.Cmd, name, kind string, p99, most time.Duration) {
	before := [2]time.Duration{cpu(nodes[0].Process.Pid), cpu(nodes[1].Process.Pid)}
	begin := time.Now()
	time.Sleep(*window)
	took := time.Since(begin)
	var perMinute [2]float64
	var mem [2]string
	for i := range nodes {
		perMinute[i] = (cpu(nodes[i].Process.Pid) - before[i]).Seconds() * float64(time.Minute) / float64(took)
		mem[i] = memory(nodes[i].Process.Pid)
	}
	fmt.Printf("%-14s %-11s %14.2f %14.2f %26s %26s %11s %11s\n", name, kind, perMinute[0], perMinute[1], mem[0], mem[1], show(p99), show(most))
}

// skew is how long a router of a priority waits once it knows that there is no master (RFC 3768 6.1, RFC 9568 6.1).
func (s size) skew(prio int) time.Duration {
	return min(s.interval, time.Second) * time.Duration(256-prio) / 256
}

// takenOver puts into columns what a router of a priority has sent when it took over n instances, each of which it could at due.
func takenOver(frames []frame, prio int, due map[int]time.Time, n int) (string, error) {
	var firstDue, lastDue, firstAdvert, lastAdvert, arpOnce, arpAll time.Time
	for _, t := range due {
		if firstDue.IsZero() || t.Before(firstDue) {
			firstDue = t
		}
		if t.After(lastDue) {
			lastDue = t
		}
	}
	seen, told := map[int]time.Duration{}, map[int]bool{}
	for _, f := range frames {
		switch {
		case f.prio == prio && seen[f.id] == 0:
			seen[f.id] = f.at.Sub(due[f.id])
			if lastAdvert = f.at; firstAdvert.IsZero() {
				firstAdvert = f.at
			}
		case f.arp:
			arpAll = f.at
			if !told[f.id] {
				told[f.id] = true
				arpOnce = f.at
			}
		}
	}
	late := slices.Sorted(maps.Values(seen))
	if len(seen) != n || len(told) != n {
		return "", fmt.Errorf("of %d instances %d were taken over and %d announced", n, len(seen), len(told))
	}
	within, took := lastDue.Sub(firstDue), lastAdvert.Sub(firstAdvert)
	return columns(late[len(late)/2], late[len(late)*95/100], late[len(late)-1], within, took, max(took-within, 0), arpOnce.Sub(firstAdvert),
		max(arpOnce.Sub(firstAdvert)-within, 0), arpAll.Sub(firstAdvert)), nil
}

func columns(list ...time.Duration) string {
	s := ""
	for _, d := range list {
		s += fmt.Sprintf(" %12s", show(d))
	}
	return s
}

func show(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }

// jitter is how far the spacing of adverts is from their interval.
func jitter(frames []frame, interval time.Duration) (p99, most time.Duration, n int) {
	last := map[int]time.Time{}
	var off []time.Duration
	for _, f := range frames {
		if f.prio < 0 {
			continue
		}
		if t, ok := last[f.id]; ok {
			off = append(off, (f.at.Sub(t) - interval).Abs())
		}
		last[f.id] = f.at
	}
	if len(off) == 0 {
		return 0, 0, 0
	}
	slices.Sort(off)
	return off[len(off)*99/100], off[len(off)-1], len(off)
}

// rounds prints when each round of adverts began, counted in intervals from the first one, and how long it took.
func rounds(frames []frame, interval time.Duration) {
	var first, begin, last time.Time
	n := 0
	for _, f := range append(frames, frame{at: time.Now().Add(time.Hour)}) {
		if f.at.Sub(last) > interval/4 && n > 0 {
			fmt.Printf("  round at %s: %d adverts in %s, off by %s\n", begin.Sub(first).Round(interval), n, last.Sub(begin), begin.Sub(first)-begin.Sub(first).Round(interval))
			n = 0
		}
		if f.prio < 0 {
			continue
		}
		if n == 0 {
			if begin = f.at; first.IsZero() {
				first = begin
			}
		}
		last = f.at
		n++
	}
}
