package director_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/confparse"
	"releve/director"
	"releve/healthcheck"
	"releve/internal/testneed"
	"releve/ipvs/kernel"
	"releve/ipvs/mark"
)

// inNamespace runs the named test of this binary again with networks and mounts of its own and reports whether the caller is the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	if os.Getenv("RELEVE_NETNS") != "" {
		return false
	}
	testneed.Need(t, "netns")
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

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

func saved(t *testing.T) []string {
	t.Helper()
	l := strings.Split(strings.TrimSpace(sh(t, "ipvsadm -S -n")), "\n")
	for i := range l {
		l[i] = strings.TrimSpace(l[i])
	}
	slices.Sort(l)
	if len(l) == 1 && l[0] == "" {
		return nil
	}
	return l
}

// rules is a configuration with much of what an LVS user can say; the checkers have nobody to ask for a minute.
const rules = `
virtual_server_group G1 {
  10.2.3.1 80
  10.2.3.5-7 8080
  fwmark 11
}
virtual_server_group G6 {
  fd02::1 80
  fd02::10-12 80
}
virtual_server 10.2.0.1 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  sorry_server 10.1.0.99 8080
  real_server 10.1.0.1 8080 {
    weight 3
    uthreshold 100
    lthreshold 50
  }
  real_server 10.1.0.2 80 {
  }
}
virtual_server 10.2.0.2 53 {
  protocol UDP
  lb_algo sh
  sh-port
  sh-fallback
  lb_kind DR
  sorry_server 10.1.0.99 53
  sorry_server_inhibit
  real_server 10.1.0.1 53 {
    weight 0
  }
}
virtual_server 10.2.0.3 443 {
  protocol TCP
  lb_algo mh
  mh-port
  lb_kind TUN
  persistence_timeout 50
  persistence_granularity 255.255.255.0
  real_server 10.1.0.1 443 {
  }
  real_server 10.1.0.2 443 {
    lvs_method TUN type gue port 6080 csum
  }
  real_server 10.1.0.3 443 {
    lvs_method TUN type gre csum
  }
}
virtual_server fwmark 7 {
  lb_algo wlc
  lb_kind DR
  persistence_timeout
  real_server 10.1.0.1 {
  }
}
virtual_server group G1 {
  protocol TCP
  lb_algo wrr
  lb_kind DR
  alpha
  quorum 3
  sorry_server 10.1.0.99
  real_server 10.1.0.1 80 {
    inhibit_on_failure
    TCP_CHECK {
      warmup 60
    }
  }
  real_server 10.1.0.2 80 {
    weight 2
    TCP_CHECK {
      warmup 60
    }
  }
}
virtual_server group G6 {
  protocol TCP
  lb_algo lc
  lb_kind NAT
  real_server fd01::1 80 {
  }
  real_server fd01::2 8080 {
    weight 2
  }
}
virtual_server fd02::99 80 {
  protocol TCP
  lb_algo sed
  lb_kind TUN
  real_server 10.1.0.1 80 {
  }
}
`

func load(t *testing.T, text string) *director.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	src, diag := confparse.Load(file, confparse.LoadOptions{})
	cfg, more := confparse.Check(src, confparse.CheckOptions{})
	for _, d := range append(diag, more...) {
		t.Logf("%v", d)
	}
	return &cfg.LVS
}

// ours is a Director on the kernel's IPVS with running checkers.
type ours struct {
	t    *testing.T
	d    *director.Director
	mu   sync.Mutex
	log  bytes.Buffer
	fifo []string
	end  func()
}

func (o *ours) Write(b []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.log.Write(b) }

func run(t *testing.T, cfg *director.Config, opt director.Options) *ours {
	t.Helper()
	plane, err := kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{t: t}
	log := slog.New(slog.NewTextHandler(o, nil))
	runner := healthcheck.NewRunner(healthcheck.RunnerOptions{Log: log, Report: func(r healthcheck.Result) { o.d.Report(r) }})
	opt.Log, opt.Plane, opt.SetCheckers = log, plane, runner.Set
	opt.Notify = func(e director.Event) {
		if l := e.FifoLine(); l != "" {
			o.mu.Lock()
			o.fifo = append(o.fifo, l)
			o.mu.Unlock()
		}
	}
	if o.d, err = director.New(cfg, opt); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.d.Run(ctx) }()
	if _, err := o.d.Snapshot(t.Context()); err != nil {
		t.Fatal(err, <-done)
	}
	o.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		runner.Wait()
		plane.Close()
	}
	return o
}

// marks is a configuration whose groups are marked by nftables.
const marks = `
global_defs {
  nftables_ipvs kalvs
}
virtual_server_group G4 {
  10.2.3.1 80
  10.2.3.5-7 8080
}
virtual_server_group G6 {
  fd02::1 80
  fd02::10-12 80
}
virtual_server group G4 {
  protocol TCP
  lb_algo rr
  lb_kind DR
  real_server 10.1.0.1 80 {
  }
}
virtual_server group G4 {
  protocol UDP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 8080 {
  }
}
virtual_server group G6 {
  protocol TCP
  lb_algo wlc
  lb_kind NAT
  real_server fd01::1 8080 {
  }
}
`

func TestIPVSTableIsTheReferencesEntryByEntry(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm", "keepalived")
	if inNamespace(t) {
		return
	}
	sh(t, "mount --make-rprivate /; mount -t tmpfs run /run; ip link set lo up; ip addr add 10.2.0.250/32 dev lo; ip -6 addr add fd02::250/128 dev lo")
	t.Run("everything", func(t *testing.T) { sameTable(t, rules, 30) })
	t.Run("marks by nftables", func(t *testing.T) {
		testneed.Need(t, "nft", "nft-tool")
		sameTable(t, marks, 6)
	})
}

// sameTable starts the reference and then ours with a configuration and compares what they make of it.
func sameTable(t *testing.T, text string, least int) {
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// What ipvsadm saves, the thresholds, and the marks; nft shows those as if in network order without a hint about it.
	show := func() []string {
		l := append(saved(t), strings.Split(sh(t, "ipvsadm -Ln --thresholds | tr -s ' '; nft list ruleset"), "\n")...)
		for i := range l {
			l[i] = strings.NewReplacer("0xe8030000", "0x000003e8", "0xe9030000", "0x000003e9", "0xea030000", "0x000003ea").Replace(strings.TrimSpace(l[i]))
		}
		slices.Sort(l)
		return l
	}
	ref := exec.Command("keepalived", "-n", "-l", "-C", "-f", file)
	var log bytes.Buffer
	ref.Stdout, ref.Stderr = &log, &log
	if err := ref.Start(); err != nil {
		t.Fatal(err)
	}
	var theirs []string
	for range 100 { // until nothing was added for half a second
		time.Sleep(500 * time.Millisecond)
		now := show()
		if len(saved(t)) >= least && slices.Equal(now, theirs) {
			break
		}
		theirs = now
	}
	_ = ref.Process.Signal(syscall.SIGTERM)
	_ = ref.Wait()
	if left := saved(t); left != nil {
		t.Errorf("the reference left %q", left)
	}
	o := run(t, load(t, text), director.Options{Marks: &mark.Marker{}})
	mine := show()
	if n := len(saved(t)); n < least {
		t.Errorf("only %d entries", n)
	}
	if !slices.Equal(mine, theirs) {
		for _, l := range theirs {
			if !slices.Contains(mine, l) {
				t.Errorf("only the reference: %s", l)
			}
		}
		for _, l := range mine {
			if !slices.Contains(theirs, l) {
				t.Errorf("only we: %s", l)
			}
		}
		t.Logf("log of the reference:\n%s\nours:\n%s", log.String(), o.log.String())
	}
	o.end()
	if left := saved(t); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if left := sh(t, "nft list ruleset"); strings.Contains(left, "kalvs") {
		t.Errorf("left behind: %s", left)
	}
}

func TestIPVSFollowsServersThatComeAndGo(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up; for i in 1 2 3 99; do ip addr add 10.1.0.$i/32 dev lo; done")
	listen := func(n int) net.Listener {
		l, err := net.Listen("tcp", fmt.Sprintf("10.1.0.%d:80", n))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		return l
	}
	web := map[int]net.Listener{1: listen(1), 2: listen(2), 3: listen(3)}
	server := func(n, w int) string {
		return fmt.Sprintf("real_server 10.1.0.%d 80 {\n weight %d\n TCP_CHECK {\n connect_timeout 1\n }\n }\n", n, w)
	}
	cfg := load(t, "virtual_server 10.2.0.1 80 {\n delay_loop 0.2\n delay_before_retry 0.1\n warmup 0\n protocol TCP\n lb_algo wrr\n lb_kind NAT\n quorum 2\n sorry_server 10.1.0.99 80\n"+
		server(1, 3)+server(2, 1)+server(3, 1)+"}\n")
	o := run(t, cfg, director.Options{RepairEvery: 300 * time.Millisecond})
	defer o.end()
	table := func(want ...string) {
		t.Helper()
		var got []string
		for range 200 {
			got = nil
			for _, l := range saved(t) {
				if _, rs, ok := strings.Cut(l, " -r "); ok {
					got = append(got, strings.ReplaceAll(strings.TrimPrefix(rs, "10.1.0."), ":80 -m -w", ""))
				}
			}
			if slices.Equal(got, want) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("the table has %q, want %q\n%s", got, want, o.log.String())
	}
	table("1 3", "2 1", "3 1")
	web[2].Close()
	table("1 3", "3 1")
	web[1].Close()
	table("99 1")
	web[1] = listen(1)
	table("1 3", "3 1")
	sh(t, "ipvsadm -d -t 10.2.0.1:80 -r 10.1.0.3")
	table("1 3", "3 1")
	sh(t, "ipvsadm -C")
	table("1 3", "3 1")
	web[2] = listen(2)
	table("1 3", "2 1", "3 1")
	o.mu.Lock()
	defer o.mu.Unlock()
	if !strings.Contains(o.log.String(), "changed from outside") {
		t.Errorf("no word of the repair in\n%s", o.log.String())
	}
}

// TestIPVSScale: 1,000 virtual servers of ten real servers each, next to the reference.
func TestIPVSScale(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm", "keepalived")
	if os.Getenv("RELEVE_SCALE") == "" {
		t.Skip("set RELEVE_SCALE=1 for the comparison with the reference")
	}
	if inNamespace(t) {
		return
	}
	sh(t, "mount --make-rprivate /; mount -t tmpfs run /run; ip link set lo up; ip addr add 10.2.255.250/32 dev lo")
	text := func(weight int) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "virtual_server 10.2.%d.%d 80 {\n protocol TCP\n lb_algo rr\n lb_kind NAT\n", i/250, i%250+1)
			for j := range 10 {
				w := 1
				if i == 500 && j == 5 {
					w = weight
				}
				fmt.Fprintf(&b, " real_server 10.1.%d.%d 80 {\n weight %d\n }\n", i%100, j+1, w)
			}
			b.WriteString("}\n")
		}
		return b.String()
	}
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte(text(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	plane, err := kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	entries := func() (n int) {
		tab, err := plane.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tab.Services {
			n += 1 + len(s.Dests)
		}
		return n
	}
	services := func() string { return strings.TrimSpace(sh(t, "tail -n +4 /proc/net/ip_vs | wc -l")) }
	begin := time.Now()
	ref := exec.Command("keepalived", "-n", "-G", "-C", "-f", file)
	if err := ref.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; services() != "11000" && i < 2000; i++ {
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("reference: start %v", time.Since(begin))
	begin = time.Now()
	_ = ref.Process.Signal(syscall.SIGTERM)
	_ = ref.Wait()
	t.Logf("reference: stop %v", time.Since(begin))

	begin = time.Now()
	cfg := load(t, text(1))
	parsed := time.Since(begin)
	begin = time.Now()
	o := run(t, cfg, director.Options{RepairEvery: -1})
	t.Logf("ours: parse %v, start %v, %s lines", parsed, time.Since(begin), services())
	if n := entries(); n != 11000 {
		t.Errorf("%d entries", n)
	}
	next := load(t, text(7))
	begin = time.Now()
	if err := o.d.Reload(t.Context(), next); err != nil {
		t.Error(err)
	}
	t.Logf("ours: reload with one weight changed %v", time.Since(begin))
	begin = time.Now()
	o.end()
	t.Logf("ours: stop %v", time.Since(begin))
	if n := entries(); n != 0 {
		t.Errorf("%d entries left", n)
	}
}
