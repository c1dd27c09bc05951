// Command lvs times what a director does with a large IPVS table, for several daemons in turn: the start until the table is
// complete, a reload that changes one weight, the stop until the table is empty and until the process has gone, and the start after
// that: the kernel remembers the servers that were taken out for a while and looks each new one up among them. Every run has a network
// namespace of its own, so that none pays for what another one left in the kernel. The first daemon is compared with the last. It needs
// root and a kernel with IPVS; bench/lvs.sh runs it in the virtual machine of the tests.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

func main() {
	services := flag.Int("services", 1000, "virtual servers")
	dests := flag.Int("dests", 10, "real servers of each")
	rounds := flag.Int("rounds", 3, "how often each daemon is run")
	flag.Parse()
	if err := run(*services, *dests, *rounds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/lvs:", err)
		os.Exit(1)
	}
}

func run(services, dests, rounds int, daemons []string) error {
	dir, err := os.MkdirTemp("", "bench-lvs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, services: services, dests: dests}
	fmt.Printf("%d virtual servers x %d real servers; milliseconds, best and median of %d\n", services, dests, rounds)
	for round := range rounds + 1 { // in turn, so that a slow moment of the machine meets all
		for _, d := range daemons {
			if err := inNamespace(func() error { return b.one(d) }); err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
		}
		if round == 0 { // the programs came from the disk
			b.times = nil
		}
	}
	fmt.Printf("%-40s", "")
	for _, d := range daemons {
		fmt.Printf(" %20s", filepath.Base(d))
	}
	fmt.Printf(" %16s %8s\n", "ratio of both", "target")
	for _, f := range figures {
		fmt.Printf("%-40s", f.what)
		best, medians := make([]float64, len(daemons)), make([]float64, len(daemons))
		for i, d := range daemons {
			t := b.times[d+f.what]
			slices.Sort(t)
			best[i], medians[i] = ms(t[0]), ms(t[len(t)/2])
			fmt.Printf(" %9.1f %10.1f", best[i], medians[i])
		}
		if len(daemons) > 1 {
			last := len(daemons) - 1
			fmt.Printf(" %8.2f %7.2f %8s", best[0]/best[last], medians[0]/medians[last], f.target)
		}
		fmt.Println()
	}
	return nil
}

const (
	start   = "start until the table is complete"
	reload  = "reload until one weight has changed"
	empty   = "stop until the table is empty"
	stop    = "stop until the process has gone"
	restart = "start after that, until it is complete"
)

// figures are what is measured, and what of the last daemon's time it is to take.
var figures = []struct{ what, target string }{{start, "0.6"}, {reload, "1"}, {empty, "0.2"}, {stop, ""}, {restart, ""}}

// inNamespace calls f on a thread in a new network namespace; the daemons that it starts are in there too.
func inNamespace(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here, and the namespace with it
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace: %w", err)
			}
			if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("ip link set lo up: %w: %s", err, out)
			}
			return f()
		}()
	}()
	err := <-done
	time.Sleep(time.Second) // the kernel clears up what is left of it
	return err
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

type bench struct {
	h               *moby.Handle
	dir             string
	services, dests int
	times           map[string][]time.Duration
}

func (b *bench) add(daemon, what string, d time.Duration) {
	if b.times == nil {
		b.times = map[string][]time.Duration{}
	}
	b.times[daemon+what] = append(b.times[daemon+what], d)
}

// config writes the configuration, with this weight for the last real server.
func (b *bench) config(path string, weight int) error {
	var c bytes.Buffer
	for i := range b.services {
		fmt.Fprintf(&c, "virtual_server 10.%d.%d.1 80 {\n  delay_loop 60\n  lb_algo wlc\n  lb_kind NAT\n  protocol TCP\n", i>>8, i&255)
		for j := range b.dests {
			w := 1
			if i == b.services-1 && j == b.dests-1 {
				w = weight
			}
			fmt.Fprintf(&c, "  real_server 10.%d.%d.%d 80 {\n    weight %d\n  }\n", 100+i>>8, i&255, j+2, w)
		}
		c.WriteString("}\n")
	}
	return os.WriteFile(path, c.Bytes(), 0o644)
}

// last is the weight of the last real server of the last virtual server; 0 where it is not there.
func (b *bench) last() int {
	i := b.services - 1
	ds, err := b.h.GetDestinations(&moby.Service{AddressFamily: syscall.AF_INET, Protocol: syscall.IPPROTO_TCP, Port: 80,
		Address: net.IPv4(10, byte(i>>8), byte(i), 1)})
	if err != nil || len(ds) < b.dests {
		return 0
	}
	addr := net.IPv4(10, byte(100+i>>8), byte(i), byte(b.dests+1))
	for _, d := range ds {
		if d.Address.Equal(addr) {
			return d.Weight
		}
	}
	return 0
}

var errSlow = errors.New("took more than a minute")

// until waits for f, which it asks often, but not so often that it takes the processor from the daemon.
func until(f func() bool) (time.Duration, error) {
	began := time.Now()
	for !f() {
		if time.Since(began) > time.Minute {
			return 0, errSlow
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(began), nil
}

func (b *bench) one(daemon string) (err error) {
	if b.h, err = moby.New(""); err != nil {
		return err
	}
	defer b.h.Close()
	if err := b.run(daemon, start, true); err != nil {
		return err
	}
	return b.run(daemon, restart, false)
}

// run starts the daemon and stops it; full measures all that lies between, too.
func (b *bench) run(daemon, what string, full bool) error {
	conf := filepath.Join(b.dir, "conf")
	if err := b.config(conf, 1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, daemon, "-n", "-G", "-C", "-f", conf, "-p", filepath.Join(b.dir, "pid"), "-c", filepath.Join(b.dir, "pidc"))
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	began := time.Now()
	if err := c.Start(); err != nil {
		return err
	}
	took, err := until(func() bool { return b.last() == 1 })
	if err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		return fmt.Errorf("start: %w: %s", err, said.Bytes())
	}
	b.add(daemon, what, took)
	if err := b.complete(); err != nil {
		return err
	}
	// The reference takes signals only when it is all up.
	time.Sleep(max(2*time.Second-time.Since(began), time.Second))
	if full {
		if err := b.config(conf, 7); err != nil {
			return err
		}
		if err := c.Process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
		if took, err = until(func() bool { return b.last() == 7 }); err != nil {
			return fmt.Errorf("reload: %w: %s", err, said.Bytes())
		}
		b.add(daemon, reload, took)
		if err := b.complete(); err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	gone := make(chan time.Duration, 1)
	began = time.Now()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	go func() {
		_ = c.Wait()
		gone <- time.Since(began)
	}()
	took, err = until(func() bool { return b.last() == 0 && b.count() == 0 })
	if err != nil {
		return fmt.Errorf("stop: %w: %d left: %s", err, b.count(), said.Bytes())
	}
	ended := <-gone
	if full {
		b.add(daemon, empty, took)
		b.add(daemon, stop, ended)
	}
	return nil
}

func (b *bench) count() int {
	s, err := b.h.GetServices()
	if err != nil {
		return -1
	}
	return len(s)
}

func (b *bench) complete() error {
	if n := b.count(); n != b.services {
		return fmt.Errorf("%d services in the table, want %d", n, b.services)
	}
	return nil
}
