package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/vrrp/vip"
)

// TestMain runs the tests in network and mount namespaces of their own.
func TestMain(m *testing.M) {
	if os.Getenv("RELEVE_NETNS") != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		os.Exit(m.Run())
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		os.Exit(m.Run())
	}
	if err := c.Wait(); err != nil {
		if c.ProcessState.ExitCode() > 0 {
			os.Exit(c.ProcessState.ExitCode())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// lan is a bridge in the test's own namespace with routers in namespaces around it.
type lan struct {
	t   *testing.T
	dir string
}

var privateRun sync.Once

// newLAN makes the bridge and n routers, r1 with 10.9.0.1/24 on eth0 and so on.
func newLAN(t *testing.T, n int) *lan {
	t.Helper()
	testneed.Need(t, "root", "netns", "ip")
	if os.Getenv("RELEVE_NETNS") == "" {
		t.Skip("not in a namespace of its own")
	}
	privateRun.Do(func() {
		_ = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		_ = unix.Mount("tmpfs", "/run", "tmpfs", 0, "")
		_ = os.MkdirAll("/run/netns", 0o755)
	})
	l := &lan{t: t, dir: t.TempDir()}
	l.run("ip link add br0 type bridge mcast_snooping 0")
	l.run("sysctl -qw net.ipv6.conf.br0.disable_ipv6=1")
	l.run("ip link set br0 up")
	t.Cleanup(func() { l.try("ip link del br0") })
	for i := 1; i <= n; i++ {
		l.run("ip netns add r%d", i)
		t.Cleanup(func() { l.try("ip netns del r%d", i) })
		l.run("ip -n r%d link set lo up", i)
		l.run("ip link add p%d type veth peer name eth0 netns r%d", i, i)
		t.Cleanup(func() { l.try("ip link del p%d", i) })
		l.run("ip link set p%d master br0 up", i)
		l.in(i, "sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
		l.run("ip -n r%d link set eth0 up", i)
		l.run("ip -n r%d addr add 10.9.0.%d/24 dev eth0", i, i)
	}
	return l
}

func (l *lan) try(format string, args ...any) (string, error) {
	w := strings.Fields(fmt.Sprintf(format, args...))
	out, err := exec.Command(w[0], w[1:]...).CombinedOutput()
	return string(out), err
}

func (l *lan) run(format string, args ...any) string {
	l.t.Helper()
	out, err := l.try(format, args...)
	if err != nil {
		l.t.Fatalf("%s: %v: %s", fmt.Sprintf(format, args...), err, out)
	}
	return out
}

// in runs a command in the namespace of router i.
func (l *lan) in(i int, format string, args ...any) string {
	l.t.Helper()
	return l.run("ip netns exec r%d "+format, append([]any{i}, args...)...)
}

// has reports whether router i carries an address.
func (l *lan) has(i int, addr string) bool {
	out, _ := l.try("ip -n r%d -o addr show dev eth0", i)
	return strings.Contains(out, " "+addr+"/")
}

// eventually waits for a condition: things happen in other processes and in the kernel, there is no clock to fake.
func (l *lan) eventually(what string, within time.Duration, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// logBuffer collects the lines of an engine.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBuffer) Enabled(context.Context, slog.Level) bool { return true }
func (b *logBuffer) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *logBuffer) WithGroup(string) slog.Handler            { return b }
func (b *logBuffer) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			text += " [" + a.Value.String() + "]"
		}
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, text)
	return nil
}

func (b *logBuffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if strings.Contains(l, text) {
			return true
		}
	}
	return false
}

func (b *logBuffer) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// node is one of our engines in the namespace of a router.
type node struct {
	l      *lan
	i      int
	e      *Engine
	log    *logBuffer
	mu     sync.Mutex
	events []string
	cancel context.CancelFunc
	ended  chan struct{}
}

// inNamespace runs f on a thread in the namespace of router i.
func inNamespace(t *testing.T, i int, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(fmt.Sprintf("/run/netns/r%d", i), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter namespace r%d: %v", i, err)
	}
}

// start runs an engine on router i.
func (l *lan) start(i int, cfg *Config, o Options) *node {
	l.t.Helper()
	n := &node{l: l, i: i, log: &logBuffer{}, ended: make(chan struct{})}
	o.Log = slog.New(n.log)
	o.Notify = func(ev Event) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, fmt.Sprintf("%s %s %s %d", ev.Kind, ev.Name, ev.What, ev.Priority))
	}
	var err error
	inNamespace(l.t, i, func() { n.e, err = New(cfg, o) })
	if err != nil {
		l.t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.ended)
		if err := n.e.Run(ctx); err != nil {
			l.t.Errorf("Run: %v", err)
		}
	}()
	l.t.Cleanup(func() {
		n.stop()
		if l.t.Failed() {
			l.t.Logf("log of r%d:\n%s\nevents: %q", i, n.log.all(), n.got())
		}
	})
	return n
}

func (n *node) stop() {
	n.cancel()
	<-n.ended
}

func (n *node) got() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.events...)
}

func (n *node) snapshot() *Snapshot {
	n.l.t.Helper()
	s, err := n.e.Snapshot(context.Background())
	if err != nil {
		n.l.t.Fatalf("Snapshot: %v", err)
	}
	return s
}

func (n *node) state(name string) State {
	for _, i := range n.snapshot().Instances {
		if i.Config.Name == name {
			return i.State
		}
	}
	return Init
}

// instance is a version 2 instance with one address and quick defaults.
func testInstance(name string, vrid, prio uint8, vips ...string) *InstanceConfig {
	c := &InstanceConfig{Name: name, Iface: "eth0", VRID: vrid, Version: 2, Priority: prio, AdvertInt: time.Second,
		DownTimerAdverts: 3, Accept: true,
		GARP: GARPConfig{Delay: 5 * time.Second, Repeat: 5, RefreshRepeat: 1, LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 5}}
	for _, v := range vips {
		p := netip.MustParsePrefix(v)
		c.VIPs = append(c.VIPs, vip.Address{Prefix: p, NoDAD: p.Addr().Is6()})
	}
	return c
}

// keepalived runs the reference on router i; extra is the inside of the instance block.
func (l *lan) keepalived(i int, conf string) *exec.Cmd {
	l.t.Helper()
	testneed.Need(l.t, "keepalived")
	base := filepath.Join(l.dir, fmt.Sprintf("k%d", i))
	if err := os.WriteFile(base+".conf", []byte(conf), 0o644); err != nil {
		l.t.Fatal(err)
	}
	out, err := os.Create(base + ".log")
	if err != nil {
		l.t.Fatal(err)
	}
	c := exec.Command("ip", "netns", "exec", fmt.Sprintf("r%d", i), "keepalived", "-n", "-l", "-D", "-G", "-P", "-f", base+".conf",
		"-p", base+".pid", "-r", base+".vpid", "-c", base+".cpid", "-b", base+".bpid")
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	l.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
		}
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		out.Close()
		if l.t.Failed() {
			b, _ := os.ReadFile(base + ".log")
			l.t.Logf("keepalived on r%d:\n%s", i, b)
		}
	})
	return c
}

const keepalivedConf = `
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  priority %d
  advert_int 1
  %s
  virtual_ipaddress { 10.9.0.100/24 }
}
`
