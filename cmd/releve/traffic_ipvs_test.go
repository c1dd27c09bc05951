package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/lab"
)

// service is a virtual server 10.0.1.10 of some port with real servers "number weight more", checked every second.
func serviceConf(port int, options string, servers ...string) string {
	out := fmt.Sprintf("virtual_server 10.0.1.10 %d {\n delay_loop 1\n warmup 0\n protocol TCP\n lb_kind NAT\n %s\n", port, strings.ReplaceAll(options, "; ", "\n "))
	for _, s := range servers {
		n, rest, _ := strings.Cut(s, " ")
		weight, more, _ := strings.Cut(rest, " ")
		out += fmt.Sprintf(" real_server 10.0.2.1%s 7 {\n  weight %s\n  %s\n  TCP_CHECK {\n   connect_timeout 20\n  }\n }\n", n, weight, strings.ReplaceAll(more, "; ", "\n  "))
	}
	return out + "}\n"
}

// greet tells its name to whoever connects and echoes what comes then.
func greet(ln net.Listener, name string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, name)
			_, _ = io.Copy(c, c)
		}()
	}
}

// talk is a client's connection and the server behind it.
type talk struct {
	net.Conn
	in     *bufio.Reader
	server string
}

func (k *talk) echo(line string) error {
	_ = k.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(k, line); err != nil {
		return err
	}
	got, err := k.in.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

func TestIPVSTrafficGoesAsTheConfigurationSaysAndReloadsDoNotHurtIt(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs")
	t.Setenv(beReleve, "1")
	exe, err := os.Executable()
	check(t, err)
	l, err := lab.New()
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	public, err := l.Bridge("public")
	check(t, err)
	private, err := l.Bridge("private")
	check(t, err)
	client, err := l.Host("client")
	check(t, err)
	check(t, l.Plug(client, "eth0", public, "10.0.1.2/24"))
	director, err := l.Host("director")
	check(t, err)
	check(t, director.Sysctl("net.ipv4.ip_forward", "1"))
	check(t, l.Plug(director, "eth0", public, "10.0.1.1/24", "10.0.1.10/32"))
	check(t, l.Plug(director, "eth1", private, "10.0.2.1/24"))
	for i := 1; i <= 3; i++ {
		h, err := l.Host(fmt.Sprintf("s%d", i))
		check(t, err)
		check(t, l.Plug(h, "eth0", private, fmt.Sprintf("10.0.2.1%d/24", i)))
		check(t, h.Route("default", "10.0.2.1"))
		ln, err := h.Listen("tcp", ":7")
		check(t, err)
		t.Cleanup(func() { ln.Close() })
		go greet(ln, fmt.Sprint(i))
	}
	plane, err := kernel.Open(director.NetNS())
	check(t, err)
	t.Cleanup(func() { plane.Close() })
	read := func() ipvs.Table {
		table, err := plane.Read(context.Background())
		check(t, err)
		return table
	}
	entries := func() (n int) {
		for _, s := range read().Services {
			n += 1 + len(s.Dests)
		}
		return n
	}
	dial := func(port int) *talk {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := client.Dial(ctx, "tcp", fmt.Sprintf("10.0.1.10:%d", port))
		check(t, err)
		t.Cleanup(func() { c.Close() })
		k := &talk{Conn: c, in: bufio.NewReader(c)}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		line, err := k.in.ReadString('\n')
		check(t, err)
		k.server = strings.TrimSpace(line)
		return k
	}
	spread := func(port, n int, keep bool) map[string]int {
		t.Helper()
		seen := map[string]int{}
		for range n {
			k := dial(port)
			seen[k.server]++
			if !keep {
				k.Close()
			}
		}
		return seen
	}
	want := func(what string, got, want map[string]int) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v\n%s", what, got, want, read())
		}
	}

	conf := filepath.Join(t.TempDir(), "keepalived.conf")
	write := func(text ...string) { check(t, os.WriteFile(conf, []byte(strings.Join(text, "")), 0o644)) }
	persistent := serviceConf(81, "lb_algo rr; persistence_timeout 50", "1 1", "2 1", "3 1")
	limited := serviceConf(82, "lb_algo wrr", "1 100 uthreshold 2; lthreshold 1", "2 1")
	write(serviceConf(80, "lb_algo wrr", "1 1", "2 2", "3 3"), persistent, limited, serviceConf(83, "lb_algo wrr", "1 1"))
	d, err := director.Start(exe, []string{"releve", "-n", "-l", "-D", "-f", conf}, nil)
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon said\n%s", strings.Join(d.Lines(), "\n"))
		}
	})
	until(t, "all is in place", func() bool { return entries() == 13 })

	want("by weight 1:2:3", spread(80, 12, false), map[string]int{"1": 2, "2": 4, "3": 6})
	if got := spread(81, 6, false); len(got) != 1 {
		t.Errorf("a persistent client went to %v", got)
	}
	want("an upper threshold of 2", spread(82, 5, true), map[string]int{"1": 2, "2": 3})

	open := dial(83)
	if open.server != "1" {
		t.Fatalf("the only server is %q", open.server)
	}
	still := func(when string) {
		t.Helper()
		for i := range 3 {
			if err := open.echo(fmt.Sprint(when, " ", i)); err != nil {
				t.Fatalf("an open connection %s: %v\n%s", when, err, read())
			}
		}
	}
	still("at first")
	reload := func(what string, done func() bool) {
		t.Helper()
		check(t, d.Signal(syscall.SIGHUP))
		until(t, what, done)
	}
	dests := func(port uint16) string {
		var out []string
		for _, s := range read().Services {
			if s.Port == port {
				out = append(out, s.Scheduler)
				for _, d := range s.Dests {
					out = append(out, fmt.Sprintf("%d:%d", d.Addr.As4()[3]-10, d.Weight))
				}
			}
		}
		if len(out) > 0 {
			slices.Sort(out[1:])
		}
		return strings.Join(out, " ")
	}
	write(serviceConf(80, "lb_algo wrr", "1 3", "2 1"), persistent, serviceConf(83, "lb_algo wlc", "1 0", "2 1", "3 5"))
	reload("weights, schedulers, servers and services change", func() bool {
		return dests(80) == "wrr 1:3 2:1" && dests(82) == "" && dests(83) == "wlc 1:0 2:1 3:5"
	})
	still("after a reload that drained its server")
	want("the new weights 3:1", spread(80, 8, false), map[string]int{"1": 6, "2": 2})
	if got := spread(83, 6, false); got["1"] > 0 {
		t.Errorf("a drained server got new connections: %v", got)
	}
	write(serviceConf(80, "lb_algo rr", "1 3", "2 1"), persistent, serviceConf(83, "lb_algo rr", "1 1", "2 1"))
	reload("it comes back", func() bool { return dests(83) == "rr 1:1 2:1" && strings.HasPrefix(dests(80), "rr") })
	still("after another reload")

	// The process that owns the table is killed: its successor finds everything.
	var pid int
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/run/keepalived/checkers.pid", d.Pid()))
	if err != nil {
		b, err = os.ReadFile(fmt.Sprintf("/proc/%d/root/run/checkers.pid", d.Pid()))
	}
	check(t, err)
	if _, err := fmt.Sscan(string(b), &pid); err != nil || pid < 2 {
		t.Fatalf("pid file %q", b)
	}
	check(t, syscall.Kill(pid, syscall.SIGKILL))
	until(t, "a new process has the servers", func() bool {
		return strings.Count(strings.Join(d.Lines(), "\n"), "Starting Healthcheck child process") == 2 && dests(83) == "rr 1:1 2:1"
	})
	still("after its process was killed")
	if n := read().Services; len(n) != 3 {
		t.Errorf("%d services", len(n))
	}
	for _, s := range read().Services {
		if s.Port == 83 && s.Dests[0].Active+s.Dests[1].Active == 0 {
			t.Errorf("the open connection is not counted: %+v", s.Dests)
		}
	}
	d.Stop(15 * time.Second)
	if n := entries(); n != 0 {
		t.Errorf("%d entries left", n)
	}
}
