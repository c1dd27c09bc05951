// Command checks measures what health checks cost: many checkers once a second against fast local servers, for several daemons in turn. It
// reports the processor time of the checker process for each check, its memory, how regularly the checks arrived, and failures seen though
// the servers never failed. It makes its servers in a process of its own and needs a network namespace to itself: bench/checks.sh.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "bench/checks: server:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	kinds := flag.String("kinds", "tcp,http,ssl", "checkers to run")
	counts := flag.String("n", "500,2000,10000", "how many checkers, each once a second")
	flag.DurationVar(&o.settle, "settle", 3*time.Second, "time before the measurement: first checks, warmup")
	flag.DurationVar(&o.window, "window", 10*time.Second, "time of the measurement")
	flag.StringVar(&o.preload, "preload", "", "library to preload into daemons whose name is not releve")
	flag.StringVar(&o.table, "table", "", "daemon that writes its table and leaves it before another one is measured: its rules cost every packet")
	alone := flag.Bool("alone", false, "this process has a network namespace to itself: take one measurement")
	flag.Parse()
	if *alone {
		n, _ := strconv.Atoi(*counts)
		if err := o.alone(*kinds, n, flag.Arg(0)); err != nil {
			fmt.Fprintf(os.Stderr, "bench/checks: %s %s checkers of %s: %v\n", *counts, *kinds, flag.Arg(0), err)
			os.Exit(1)
		}
		return
	}
	if err := run(&o, strings.Split(*kinds, ","), strings.Split(*counts, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench/checks:", err)
		os.Exit(1)
	}
}

type options struct {
	settle, window time.Duration
	preload, table string
	dir            string
}

func run(o *options, kinds, counts, daemons []string) error {
	fmt.Printf("%-5s %6s %-12s %12s %12s %9s %10s %10s %10s %9s\n", "check", "N", "daemon", "cpu µs/check", "checks/s", "RSS MiB", "late p99", "late max", "early max", "failures")
	for _, kind := range kinds {
		for _, count := range counts {
			n, err := strconv.Atoi(count)
			if err != nil || n < 1 || n > 60000 {
				return fmt.Errorf("-n %s: want 1 to 60000", count)
			}
			for _, d := range daemons {
				if err := o.apart(kind, n, d); err != nil && errors.As(err, new(*exec.ExitError)) {
					continue // it has said why; others may do better
				} else if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// apart takes a measurement in namespaces of its own, so that the closed connections of one do not rest in the tables of the next.
func (o *options) apart(kind string, n int, daemon string) error {
	c := exec.Command("/proc/self/exe", "-alone", "-kinds", kind, "-n", strconv.Itoa(n), "-settle", o.settle.String(), "-window", o.window.String(),
		"-preload", o.preload, "-table", o.table, daemon)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	return c.Run()
}

func (o *options) alone(kind string, n int, daemon string) (err error) {
	if o.dir, err = os.MkdirTemp("", "bench-checks"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	return o.one(kind, n, daemon)
}

// one runs a daemon with n checkers and prints a line.
func (o *options) one(kind string, n int, daemon string) error {
	s, err := startServer(kind)
	if err != nil {
		return err
	}
	defer s.stop()
	conf := filepath.Join(o.dir, "conf")
	if err := os.WriteFile(conf, config(kind, n, s.port), 0o644); err != nil {
		return err
	}
	if o.table != "" && o.table != daemon {
		if err := o.leaveTable(conf); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, daemon, "-n", "-l", "-C", "-f", conf, "-p", filepath.Join(o.dir, "pid"), "-c", filepath.Join(o.dir, "pidc"))
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if o.preload != "" && filepath.Base(daemon) != "releve" {
		c.Env = append(os.Environ(), "LD_PRELOAD="+o.preload)
	}
	if err := c.Start(); err != nil {
		return err
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		}
	}
	defer stop()
	pid, err := checkerProcess(c.Process.Pid)
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(&said))
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // all have begun
		if r, err := s.ask("count"); err != nil {
			return err
		} else if r.targets >= n {
			break
		} else if time.Now().After(end) {
			return fmt.Errorf("%d checkers have begun after 30 s: %s", r.targets, tail(&said))
		}
	}
	time.Sleep(o.settle)
	if _, err := s.ask("reset"); err != nil {
		return err
	}
	cpu0, err := cpuOf(pid)
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(&said))
	}
	began := time.Now()
	time.Sleep(o.window)
	r, err := s.ask("count")
	if err != nil {
		return err
	}
	took := time.Since(began)
	cpu1, err := cpuOf(pid)
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(&said))
	}
	rss, err := residentMiB(pid)
	if err != nil {
		return err
	}
	stop()
	if r.checks == 0 {
		return errors.New("no checks were seen")
	}
	fmt.Printf("%-5s %6d %-12s %12.1f %12.0f %9.1f %10s %10s %10s %9d\n", kind, n, filepath.Base(daemon), float64((cpu1-cpu0).Microseconds())/float64(r.checks),
		float64(r.checks)/took.Seconds(), rss, ms(r.lateP99), ms(r.lateMax), ms(r.earlyMax), strings.Count(said.String(), " on service "))
	return nil
}

// leaveTable has the table of a configuration written.
func (o *options) leaveTable(conf string) error {
	c := exec.Command(o.table, "-n", "-l", "-C", "-I", "-f", conf, "-p", filepath.Join(o.dir, "pid"), "-c", filepath.Join(o.dir, "pidc"))
	out, err := c.StderrPipe()
	if err != nil {
		return err
	}
	c.Stdout = c.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Startup complete") {
			_ = c.Process.Signal(syscall.SIGTERM)
		}
	}
	return c.Wait()
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1e3, 'f', 1, 64) + "ms"
}

// tail is the end of what a daemon said.
func tail(b *bytes.Buffer) string {
	s := b.String()
	return s[max(0, len(s)-600):]
}

// config has ten real servers in each virtual server, each with an address of its own: the tuples of closed connections rest for a minute.
func config(kind string, n, port int) []byte {
	var c bytes.Buffer
	c.WriteString("global_defs {\n  script_user root\n}\n")
	for i := range n {
		if i%10 == 0 {
			if i > 0 {
				c.WriteString("}\n")
			}
			fmt.Fprintf(&c, "virtual_server 10.%d.%d.1 80 {\n  delay_loop 1\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n", i/10>>8, i/10&255)
		}
		fmt.Fprintf(&c, "  real_server 127.%d.%d.1 %d {\n", 1+i>>8, i&255, port)
		const common = "connect_timeout 5\n      retry 3\n      delay_before_retry 1\n"
		switch kind {
		case "tcp":
			c.WriteString("    TCP_CHECK {\n      " + common)
		case "http":
			c.WriteString("    HTTP_GET {\n      " + common + "      url {\n        path /\n        digest " + digest + "\n      }\n")
		case "ssl":
			c.WriteString("    SSL_GET {\n      " + common + "      url {\n        path /\n        digest " + digest + "\n      }\n")
		}
		c.WriteString("    }\n  }\n")
	}
	c.WriteString("}\n")
	return c.Bytes()
}
