package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/lab"
)

// beReleve in the environment makes the test binary the program itself.
const beReleve = "RELEVE_TEST_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(beReleve) != "" {
		main()
	}
	os.Exit(m.Run())
}

const pairConf = `
global_defs {
    router_id %[1]s
    lvs_sync_daemon eth1 public id 7
}
vrrp_sync_group both {
    group {
        public
        private
    }
}
vrrp_instance public {
    state BACKUP
    interface eth0
    virtual_router_id 7
    priority %[2]d
    advert_int 1
    virtual_ipaddress {
        10.0.1.10/24
    }
}
vrrp_instance private {
    state BACKUP
    interface eth1
    virtual_router_id 8
    priority %[2]d
    advert_int 1
    virtual_ipaddress {
        10.0.2.10/24
    }
}
virtual_server 10.0.1.10 80 {
    delay_loop 2
    lvs_sched rr
    lvs_method NAT
    protocol TCP
    real_server 10.0.2.11 80 {
        TCP_CHECK {
            connect_timeout 3
        }
    }
}
`

// pair is two directors between a client and an echo server.
type pair struct {
	client    *lab.Host
	directors [2]*lab.Host
	daemons   [2]*lab.Process
	planes    [2]*kernel.Plane
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newPair starts it and waits until the first director holds the addresses and both have the table.
func newPair(t *testing.T) *pair {
	t.Helper()
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
	p := &pair{}
	p.client, err = l.Host("client")
	check(t, err)
	check(t, l.Plug(p.client, "eth0", public, "10.0.1.2/24"))
	server, err := l.Host("server")
	check(t, err)
	check(t, l.Plug(server, "eth0", private, "10.0.2.11/24"))
	check(t, server.Route("default", "10.0.2.10"))
	ln, err := server.Listen("tcp", ":80")
	check(t, err)
	t.Cleanup(func() { ln.Close() })
	go echoServer(ln)
	dir := t.TempDir()
	for i := range p.directors {
		name := fmt.Sprintf("d%d", i+1)
		h, err := l.Host(name)
		check(t, err)
		p.directors[i] = h
		check(t, h.Sysctl("net.ipv4.ip_forward", "1"))
		check(t, l.Plug(h, "eth0", public, fmt.Sprintf("10.0.1.%d/24", 100+i)))
		check(t, l.Plug(h, "eth1", private, fmt.Sprintf("10.0.2.%d/24", 100+i)))
		p.planes[i], err = kernel.Open(h.NetNS())
		check(t, err)
		t.Cleanup(func() { p.planes[i].Close() })
		conf := filepath.Join(dir, name+".conf")
		check(t, os.WriteFile(conf, fmt.Appendf(nil, pairConf, name, 150-50*i), 0o644))
		p.daemons[i], err = h.Start(exe, []string{"releve", "-n", "-l", "-D", "-f", conf}, nil)
		check(t, err)
		d := p.daemons[i]
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s said\n%s", name, strings.Join(d.Lines(), "\n"))
			}
		})
		if i == 0 {
			until(t, "d1 holds the addresses", func() bool { return h.Has(vip("10.0.1.10")) && h.Has(vip("10.0.2.10")) })
		}
	}
	until(t, "d2 has the table", func() bool { s := p.services(t, 1); return len(s) == 1 && len(s[0].Dests) == 1 })
	return p
}

func vip(s string) netip.Addr { return netip.MustParseAddr(s) }

func (p *pair) services(t *testing.T, director int) []ipvs.Service {
	t.Helper()
	table, err := p.planes[director].Read(context.Background())
	check(t, err)
	return table.Services
}

func (p *pair) daemon(t *testing.T, director int) string {
	t.Helper()
	state, err := p.planes[director].SyncState(context.Background())
	check(t, err)
	return fmt.Sprint(state)
}

// until waits, since nothing tells when a daemon in another process has done its part.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func echoServer(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// echoes sends lines and wants them back, each within the time given.
func echoes(t *testing.T, c net.Conn, n int, within time.Duration, when string) {
	t.Helper()
	r := bufio.NewReader(c)
	for i := range n {
		check(t, c.SetDeadline(time.Now().Add(within)))
		line := fmt.Sprintf("%s %d\n", when, i)
		if _, err := io.WriteString(c, line); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got, err := r.ReadString('\n'); err != nil || got != line {
			t.Fatalf("%s: got %q, %v", when, got, err)
		}
	}
}

func TestIPVSConnectionSurvivesItsDirector(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *pair) error
	}{
		{"that is stopped", func(p *pair) error { return p.daemons[0].Signal(syscall.SIGTERM) }},
		{"that dies with its links", func(p *pair) error {
			if err := p.directors[0].Kill(); err != nil {
				return err
			}
			if err := p.directors[0].Cut("eth0"); err != nil {
				return err
			}
			return p.directors[0].Cut("eth1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			until(t, "each director's sync daemon has its role", func() bool {
				return strings.Contains(p.daemon(t, 0), "master sync daemon (mcast=eth1, syncid=7") &&
					strings.Contains(p.daemon(t, 1), "backup sync daemon (mcast=eth1, syncid=7")
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			conn, err := p.client.Dial(ctx, "tcp", "10.0.1.10:80")
			check(t, err)
			defer conn.Close()
			echoes(t, conn, 20, 30*time.Second, "before")
			until(t, "d2 knows the connection", func() bool { d := p.services(t, 1)[0].Dests; return len(d) == 1 && d[0].Active+d[0].Inactive > 0 })
			check(t, c.end(p))
			echoes(t, conn, 20, 30*time.Second, "after")
			if !p.directors[1].Has(vip("10.0.1.10")) {
				t.Error("d2 does not hold the address")
			}
			until(t, "d2 runs the master sync daemon", func() bool { return strings.Contains(p.daemon(t, 1), "master sync daemon") })
			d := p.services(t, 1)[0].Dests[0]
			if d.Active != 1 {
				t.Errorf("d2 sees %d active connections, want 1", d.Active)
			}
		})
	}
}
