package vrrp

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/vrrp/vip"
)

// TestMain runs the tests in network, mount and process namespaces of their own: whatever a test starts ends with it.
func TestMain(m *testing.M) {
	if prio := os.Getenv(routerVar); prio != "" {
		os.Exit(runRouter(prio))
	}
	if os.Getenv("RELEVE_NETNS") != "" || os.Geteuid() != 0 {
		flag.Parse()
		_ = flag.Set("test.parallel", "8") // they wait more than they work
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		os.Exit(m.Run())
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
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
	id  int32 // tells the names of tests that run side by side apart
}

var (
	privateRun sync.Once
	lans       atomic.Int32
)

// ns names the namespace of router i.
func (l *lan) ns(i int) string { return fmt.Sprintf("n%dr%d", l.id, i) }

// port names the end of router i's cable at the bridge.
func (l *lan) port(i int) string { return fmt.Sprintf("p%dr%d", l.id, i) }

func (l *lan) bridge() string { return fmt.Sprintf("br%d", l.id) }

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
		_ = unix.Mount("proc", "/proc", "proc", 0, "")
		go watchPauses()
	})
	l := &lan{t: t, dir: t.TempDir(), id: lans.Add(1)}
	br := l.bridge()
	l.run("ip link add %s type bridge mcast_snooping 0", br)
	l.run("sysctl -qw net.ipv6.conf.%s.disable_ipv6=1", br)
	l.run("ip link set %s up", br)
	t.Cleanup(func() { l.try("ip link del %s", br) })
	for i := 1; i <= n; i++ {
		ns, port := l.ns(i), l.port(i)
		l.run("ip netns add %s", ns)
		t.Cleanup(func() { l.try("ip netns del %s", ns) })
		l.run("ip -n %s link set lo up", ns)
		l.run("ip link add %s type veth peer name eth0 netns %s", port, ns)
		t.Cleanup(func() { l.try("ip link del %s", port) })
		l.run("ip link set %s master %s up", port, br)
		l.in(i, "sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
		l.run("ip -n %s link set eth0 up", ns)
		l.run("ip -n %s addr add 10.9.0.%d/24 dev eth0", ns, i)
	}
	for i := 1; i <= n; i++ {
		l.linkIs(i, "eth0", true)
	}
	return l
}

// linkIs waits until the kernel has noticed that the link of an interface is up or down. It tells of links at most once a second, all namespaces
// together: an engine that starts before the link is up begins in FAULT.
func (l *lan) linkIs(i int, name string, up bool) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("the link of %s is up: %v", name, up), 4*time.Second, func() bool {
		out, err := l.try("ip -n %s -o link show %s", l.ns(i), name)
		return err == nil && strings.Contains(out, " state UP ") == up
	})
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
	return l.run("ip netns exec %s "+format, append([]any{l.ns(i)}, args...)...)
}

// has reports whether router i carries an address.
func (l *lan) has(i int, addr string) bool {
	out, _ := l.try("ip -n %s -o addr show", l.ns(i))
	return strings.Contains(out, " "+addr+"/")
}

// eventually waits for a condition: things happen in other processes and in the kernel, there is no clock to fake.
func (l *lan) eventually(what string, within time.Duration, ok func() bool) {
	l.t.Helper()
	within = max(4*within, 30*time.Second) // the machine may be busy, or not be run for seconds; how long things take is measured elsewhere
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			addrs := ""
			for i := 1; i <= 2; i++ {
				out, _ := l.try("ip -n %s -o addr show dev eth0", l.ns(i))
				addrs += fmt.Sprintf("router %d:\n%s", i, out)
			}
			l.t.Fatalf("not within %s: %s\n%s", within, what, addrs)
		}
	}
}

// capture records what router i sends and receives into a pcap file; the result of stop is its path.
func (l *lan) capture(i int) (stop func() string) {
	l.t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // nothing before it is bound: there are the ports of other tests
	if err != nil {
		l.t.Fatalf("capture: %v", err)
	}
	dev, err := net.InterfaceByName(l.port(i))
	if err != nil {
		l.t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: dev.Index}); err != nil {
		l.t.Fatal(err)
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	path := filepath.Join(l.dir, fmt.Sprintf("capture%d.pcap", i))
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	w := pcapgo.NewWriter(f)
	_ = w.WriteFileHeader(65536, layers.LinkTypeEthernet)
	ended, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 65536)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err == nil {
				_ = w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Now(), CaptureLength: n, Length: n}, buf[:n])
				continue
			}
			// Nothing waits in the socket any more.
			select {
			case <-quit:
				return
			default:
			}
		}
	}()
	var once sync.Once
	stop = func() string {
		once.Do(func() {
			close(quit)
			<-ended
			unix.Close(fd)
			f.Close()
		})
		return path
	}
	l.t.Cleanup(func() { stop() })
	return stop
}

// tshark gives the fields of the frames that match, a line each, separated by bars.
func (l *lan) tshark(path, filter string, fields ...string) []string {
	l.t.Helper()
	testneed.Need(l.t, "tshark")
	args := []string{"-r", path, "-Y", filter, "-T", "fields", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		l.t.Fatalf("tshark: %v", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
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
	cfg    *Config // that it began with
}

// inNamespace runs f on a thread in the namespace of router i.
func (l *lan) inNamespace(i int, f func()) {
	l.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+l.ns(i), unix.O_RDONLY|unix.O_CLOEXEC, 0)
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
		l.t.Fatalf("enter namespace of router %d: %v", i, err)
	}
}

// start runs an engine on router i.
func (l *lan) start(i int, cfg *Config, o Options) *node {
	l.t.Helper()
	n := &node{l: l, i: i, log: &logBuffer{}, ended: make(chan struct{}), cfg: cfg}
	o.Log = slog.New(n.log)
	o.Notify = func(ev Event) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, fmt.Sprintf("%s %s %s %d", ev.Kind, ev.Name, ev.What, ev.Priority))
	}
	var err error
	l.inNamespace(i, func() { n.e, err = New(cfg, o) })
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

// patient makes the instances wait for a hundred adverts from now on: that the machine stands still for some seconds is no reason then for
// a change of state.
func (n *node) patient() {
	n.l.t.Helper()
	cfg := *n.cfg
	cfg.Instances = nil
	for _, c := range n.cfg.Instances {
		d := *c
		d.DownTimerAdverts = 100
		cfg.Instances = append(cfg.Instances, &d)
	}
	if err := n.e.Reload(context.Background(), &cfg); err != nil {
		n.l.t.Fatalf("Reload: %v", err)
	}
}

// went counts how often an instance has entered a state. A state may be over before anybody looks, the machine being busy; that it was entered
// stays.
func (n *node) went(name string, to State) (times int) {
	for _, i := range n.snapshot().Instances {
		for _, h := range i.History {
			if i.Config.Name == name && h.To == to {
				times++
			}
		}
	}
	return times
}

// left gives the causes for which an instance has left MASTER, but for the one that nobody is to blame for: that the machine did not run this
// process for longer than the down interval, which it is right to answer by stepping down. That is believed only where the test noticed it, too.
func (n *node) left(name string) (causes []string) {
	for _, i := range n.snapshot().Instances {
		for _, h := range i.History {
			if i.Config.Name == name && h.From == Master && !(h.Cause == suspended && stoodStill()) {
				causes = append(causes, h.Cause)
			}
		}
	}
	return causes
}

const suspended = "process was stopped for longer than the master down interval"

// suspensions counts how often an instance of the node has stepped down for that.
func (n *node) suspensions() (times int) {
	for _, i := range n.snapshot().Instances {
		for _, h := range i.History {
			if h.Cause == suspended && stoodStill() {
				times++
			}
		}
	}
	return times
}

// wasSuspended reports whether there was one.
func (n *node) wasSuspended() bool { return n.suspensions() > 0 }

// longestPause is the longest time for which this process, which begins to look with the first LAN, did not run, beyond the pause that it makes.
var longestPause atomic.Int64

// watchPauses keeps longestPause.
func watchPauses() {
	const pause = 20 * time.Millisecond
	for last := time.Now(); ; {
		time.Sleep(pause)
		now := time.Now()
		if d := int64(now.Sub(last) - pause); d > longestPause.Load() {
			longestPause.Store(d)
		}
		last = now
	}
}

// stoodStill reports whether this process has ever not run for longer than a quarter of a second.
func stoodStill() bool { return time.Duration(longestPause.Load()) > 250*time.Millisecond }

// attempts runs a scenario whose course depends on who is the first to speak after a standstill of the machine: again, with a LAN of its own, as
// long as it says that there was one, a dozen times at most. The scenario then asserts nothing.
func attempts(t *testing.T, scenario func(t *testing.T) (disturbed bool)) {
	t.Helper()
	for i := range 12 {
		if !scenario(t) {
			return
		}
		t.Logf("attempt %d: the machine stood still for up to %s", i+1, time.Duration(longestPause.Load()))
	}
	t.Error("no attempt without a standstill of the machine")
}

// instance is a version 2 instance with one address and quick defaults.
func testInstance(name string, vrid, prio uint8, vips ...string) *InstanceConfig {
	c := &InstanceConfig{Name: name, Iface: "eth0", VRID: vrid, Version: 2, Priority: prio, AdvertInt: time.Second,
		DownTimerAdverts: 3, Accept: true,
		GARP: &GARPConfig{Delay: 5 * time.Second, Repeat: 5, RefreshRepeat: 1, LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 5}}
	for _, v := range vips {
		p := netip.MustParsePrefix(v)
		c.VIPs = append(c.VIPs, vip.Address{Prefix: p, NoDAD: p.Addr().Is6()})
	}
	return c
}

// keepalived runs the reference on router i.
func (l *lan) keepalived(i int, conf string) *reference {
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
	c := exec.Command("ip", "netns", "exec", l.ns(i), "keepalived", "-n", "-l", "-D", "-G", "-P", "-f", base+".conf",
		"-p", base+".pid", "-r", base+".vpid", "-c", base+".cpid", "-b", base+".bpid")
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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
	return &reference{l, c, ended, base + ".vpid"}
}

// reference is a running keepalived.
type reference struct {
	l     *lan
	c     *exec.Cmd
	ended chan struct{}
	child string // pid file of the VRRP process
}

// term ends it in good order, kill at once with all its processes: the main process must not see its child die, nor the other
// way round.
func (r *reference) term() { _ = r.c.Process.Signal(syscall.SIGTERM) }

func (r *reference) kill() {
	_ = r.c.Process.Signal(syscall.SIGSTOP)
	if b, err := os.ReadFile(r.child); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = r.c.Process.Kill()
	<-r.ended
}

// conf is a keepalived.conf with one instance; block is what stands in it besides interface, VRID and priority.
func conf(prio int, block string) string {
	return fmt.Sprintf("vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n priority %d\n %s\n}\n", prio, block)
}
