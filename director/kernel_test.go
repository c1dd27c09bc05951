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

// text is the log so far.
func (o *ours) text() string { o.mu.Lock(); defer o.mu.Unlock(); return o.log.String() }

func run(t *testing.T, cfg *director.Config, opt director.Options) *ours {
	t.Helper()
	path := ""
	if cfg.NetNamespace != "" {
		path = filepath.Join("/run/netns", cfg.NetNamespace)
	}
	plane, err := kernel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &ours{t: t}
	log := slog.New(slog.NewTextHandler(o, nil))
	runner := healthcheck.NewRunner(healthcheck.RunnerOptions{Log: log, Report: func(r healthcheck.Result) { o.d.Report(r) }})
	opt.Log, opt.Plane, opt.SetCheckers = log, plane, runner.Set
	told := opt.Notify
	opt.Notify = func(e director.Event) {
		if told != nil {
			told(e)
		}
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
		return fmt.Sprintf("real_server 10.1.0.%d 80 {\n weight %d\n TCP_CHECK {\n connect_timeout 20\n }\n }\n", n, w)
	}
	cfg := load(t, "virtual_server 10.2.0.1 80 {\n delay_loop 0.2\n delay_before_retry 0.1\n warmup 0\n protocol TCP\n lb_algo wrr\n lb_kind NAT\n quorum 2\n sorry_server 10.1.0.99 80\n"+
		server(1, 3)+server(2, 1)+server(3, 1)+"}\n")
	o := run(t, cfg, director.Options{RepairEvery: 300 * time.Millisecond})
	defer o.end()
	table := func(want ...string) {
		t.Helper()
		var got []string
		for range 1200 {
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
		t.Fatalf("the table has %q, want %q\n%s", got, want, o.text())
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
	entries := func() int { return entriesOf(t, plane) }
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

// TestIPVSALargeTableIsRepairedSoon: what somebody else does to 1,000 virtual servers of ten real servers each is noticed although reading
// all of them takes long.
func TestIPVSALargeTableIsRepairedSoon(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up; ip addr add 10.2.255.250/32 dev lo")
	n := 300
	if os.Getenv("RELEVE_SCALE") != "" {
		n = 1000
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.2.%d.%d 80 {\n protocol TCP\n lb_algo rr\n lb_kind NAT\n", i/250, i%250+1)
		for j := range 10 {
			fmt.Fprintf(&b, " real_server 10.1.%d.%d 80 {\n }\n", i%100, j+1)
		}
		b.WriteString("}\n")
	}
	o := run(t, load(t, b.String()), director.Options{})
	defer o.end()
	plane, err := kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	entries := func() int { return entriesOf(t, plane) }
	begin := time.Now()
	if got := entries(); got != 11*n {
		t.Fatalf("%d entries", got)
	}
	t.Logf("%d services: all read in %v", n, time.Since(begin))
	begin = time.Now()
	if _, err := plane.Services(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the list read in %v", time.Since(begin))
	restored := func(what string) {
		t.Helper()
		for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
			if strings.Contains(o.text(), what) {
				t.Logf("after %v: %s", time.Since(begin), what)
				return
			}
			if time.Since(begin) > 3*time.Minute {
				t.Fatalf("not noticed: %s\n%s", what, o.text())
			}
		}
	}
	before := cpuTime(t)
	sh(t, "ipvsadm -E -t 10.2.0.7:80 -s wlc")
	restored("[10.2.0.7]:tcp:80 had been changed from outside - restoring 1 ")
	// If the table is emptied while the list of services is read, the first look misses some and the next one the others.
	earlier := foreignOf(o.text())
	sh(t, "ipvsadm -C")
	begin = time.Now()
	for entries() != 11*n || foreignOf(o.text())-earlier < n {
		if time.Since(begin) > 3*time.Minute {
			t.Fatalf("%d entries, %d services were restored\n%s", entries(), foreignOf(o.text())-earlier, o.text())
		}
		time.Sleep(100 * time.Millisecond)
	}
	sh(t, "ipvsadm -e -t 10.2.0.9:80 -r 10.1.8.3:80 -m -w 5")
	restored("[10.2.0.9]:tcp:80 had been changed from outside - restoring 1 ")
	t.Logf("processor time for all this, with this test's own reading: %v", cpuTime(t)-before)
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// foreignOf is how many services the log says to have been changed from outside.
func foreignOf(log string) (n int) {
	for l := range strings.Lines(log) {
		var more int
		if _, rest, ok := strings.Cut(l, `msg="IPVS: `); ok && strings.Contains(rest, " had been changed from outside") {
			if _, err := fmt.Sscanf(rest, "%d more services ", &more); err != nil {
				more = 1
			}
			n += more
		}
	}
	return n
}

// entriesOf counts the services and destinations of a table.
func entriesOf(t *testing.T, plane *kernel.Plane) (n int) {
	t.Helper()
	tab, err := plane.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tab.Services {
		n += 1 + len(s.Dests)
	}
	return n
}
