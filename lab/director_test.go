package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/nft"
	"releve/lab"
)

// The program itself on one director with two of three servers behind it, a client that asks all the time, and things that
// should not be noticed.

const conf = `
global_defs {
    router_id one
}
vrrp_instance public {
    state BACKUP
    interface eth0
    virtual_router_id 7
    priority 120
    advert_int 1
    virtual_ipaddress {
        10.0.1.10/24
    }
}
virtual_server 10.0.1.10 80 {
    delay_loop 1
    lvs_sched rr
    lvs_method NAT
    protocol TCP
%s}
`

const server = `    real_server 10.0.2.1%d 80 {
        weight 1
        TCP_CHECK {
            connect_timeout 1
            retry 1
            delay_before_retry 1
        }
    }
`

func config(servers ...int) string {
	s := ""
	for _, n := range servers {
		s += fmt.Sprintf(server, n)
	}
	return fmt.Sprintf(conf, s)
}

type site struct {
	*testing.T
	client, director *lab.Host
	webs             []*lab.Web
	proc             *lab.Process
	traffic          *lab.Traffic
	plane            *nft.Plane
}

const dir = "/run/test"

func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "releve")
	c := exec.Command("go", "build", "-o", exe, "releve/cmd/releve")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newSite(t *testing.T) *site {
	t.Helper()
	testneed.Need(t, "root", "netns", "nft")
	l, err := lab.New()
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	s := &site{T: t}
	public, err := l.Bridge("public")
	check(t, err)
	private, err := l.Bridge("private")
	check(t, err)
	s.client, err = l.Host("client")
	check(t, err)
	check(t, l.Plug(s.client, "eth0", public, "10.0.1.2/24"))
	s.director, err = l.Host("director")
	check(t, err)
	check(t, s.director.Sysctl("net.ipv4.ip_forward", "1"))
	check(t, l.Plug(s.director, "eth0", public, "10.0.1.1/24"))
	check(t, l.Plug(s.director, "eth1", private, "10.0.2.1/24"))
	for i := 1; i <= 3; i++ {
		h, err := l.Host(fmt.Sprintf("web%d", i))
		check(t, err)
		check(t, l.Plug(h, "eth0", private, fmt.Sprintf("10.0.2.1%d/24", i)))
		check(t, h.Route("default", "10.0.2.1"))
		w, err := h.Web(":80", fmt.Sprint("web", i))
		check(t, err)
		s.webs = append(s.webs, w)
	}
	check(t, s.director.Do(func() (err error) { s.plane, err = nft.Open(""); return }))
	t.Cleanup(func() { s.plane.Close() })
	s.write(config(1, 2))
	exe := build(t)
	s.proc, err = s.director.Start(exe, []string{"keepalived", "-n", "-l", "-D", "-f", dir + "/keepalived.conf",
		"-p", dir + "/pid", "-r", dir + "/vrrp.pid", "-c", dir + "/checkers.pid", "-b", dir + "/bfd.pid"}, nil)
	check(t, err)
	s.eventually("the address and both servers are there", func() bool {
		return s.director.Has(netip.MustParseAddr("10.0.1.10")) && s.table() == "10.0.2.11 10.0.2.12"
	})
	s.traffic, err = s.client.Traffic("10.0.1.10:80", 20*time.Millisecond, time.Second)
	check(t, err)
	t.Cleanup(s.traffic.Stop)
	s.eventually("the client is answered", func() bool { return len(s.traffic.Since(time.Time{}).By) == 2 })
	return s
}

func (s *site) write(conf string) {
	s.Helper()
	check(s, s.director.Do(func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(dir+"/keepalived.conf", []byte(conf), 0o644)
	}))
}

// table is the addresses of the servers of weight above 0, in order.
func (s *site) table() string {
	var t ipvs.Table
	check(s, s.director.Do(func() (err error) { t, err = s.plane.Read(s.Context()); return }))
	var out []string
	for _, v := range t.Services {
		for _, d := range v.Dests {
			if d.Weight > 0 {
				out = append(out, d.Addr.String())
			}
		}
	}
	return strings.Join(out, " ")
}

func (s *site) eventually(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			lines := []string{}
			if s.proc != nil {
				lines = s.proc.Lines()
			}
			s.Fatalf("in 60 s not: %s\ntable: %s\n%s", what, s.table(), strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}

// pid reads a pid file of the director.
func (s *site) pid(file string) (pid int) {
	_ = s.director.Do(func() error {
		b, err := os.ReadFile(dir + "/" + file)
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		return err
	})
	return pid
}

// unnoticed fails if the client missed an answer since.
func (s *site) unnoticed(from time.Time, what string) {
	s.Helper()
	s.eventually("a few requests since", func() bool { return s.traffic.Since(from).Asked >= 5 })
	if r := s.traffic.Since(from); r.Failed > 0 {
		s.Errorf("%s: of %d requests %d failed: %v", what, r.Asked, r.Failed, r.Errors)
	}
}

func TestAClientDoesNotNotice(t *testing.T) {
	s := newSite(t)
	vip := netip.MustParseAddr("10.0.1.10")

	t.Run("that the checker process is killed", func(t *testing.T) {
		s.T = t
		from, old := time.Now(), s.pid("checkers.pid")
		check(t, syscall.Kill(old, syscall.SIGKILL))
		s.eventually("a new one runs", func() bool { n := s.pid("checkers.pid"); return n != 0 && n != old })
		s.unnoticed(from, "checker killed")
		s.webs[0].Stop()
		s.eventually("the new one takes a dead server out", func() bool { return s.table() == "10.0.2.12" })
		check(t, s.webs[0].Start())
		s.eventually("and in again", func() bool { return len(s.table()) == len("10.0.2.12 10.0.2.11") })
	})
	t.Run("that the VRRP process is killed", func(t *testing.T) {
		s.T = t
		from, old := time.Now(), s.pid("vrrp.pid")
		check(t, syscall.Kill(old, syscall.SIGKILL))
		s.eventually("a new one is master", func() bool {
			n := s.pid("vrrp.pid")
			lines := s.proc.Lines()
			masters := 0
			for _, l := range lines {
				if strings.Contains(l, "(public) Entering MASTER STATE") {
					masters++
				}
			}
			return n != 0 && n != old && masters >= 2
		})
		s.eventually("the address is there", func() bool { return s.director.Has(vip) })
		s.unnoticed(from, "VRRP process killed")
	})
	t.Run("that a server is added by a reload", func(t *testing.T) {
		s.T = t
		from := time.Now()
		s.write(config(1, 2, 3))
		check(t, s.proc.Signal(syscall.SIGHUP))
		s.eventually("the third serves", func() bool { return s.traffic.Since(from).By["web3"] > 0 })
		s.unnoticed(from, "reload")
	})
	t.Run("that a reload is refused for its mistakes", func(t *testing.T) {
		s.T = t
		from := time.Now()
		s.write(strings.Replace(config(1), "virtual_router_id 7", "virtual_router_id 700", 1))
		check(t, s.proc.Signal(syscall.SIGHUP))
		s.eventually("20 answers", func() bool { return s.traffic.Since(from).Asked >= 20 })
		s.unnoticed(from, "reload refused")
		s.eventually("the address is there", func() bool { return s.director.Has(vip) })
		s.write(config(1, 2, 3))
		check(t, s.proc.Signal(syscall.SIGHUP))
	})
}

func TestATableThatSomebodyDeletedComesBack(t *testing.T) {
	s := newSite(t)
	check(t, s.director.Do(func() error { return s.plane.Flush(t.Context()) }))
	s.eventually("both servers are there again", func() bool { return len(s.table()) == len("10.0.2.11 10.0.2.12") })
	from := time.Now()
	s.eventually("both answer", func() bool { return len(s.traffic.Since(from).By) == 2 })
}
