// Command failover measures from the wire how much longer than the theoretical master down interval a backup takes after its
// master was killed: two routers of one kind on a bridge, the better one is killed with -9 (all its processes at once), and the time
// from its last advert to the first advert of the other one is read off kernel time stamps. It runs releve beside the reference.
//
//	go run ./bench/failover -releve bin/releve -trials 20
//
// It needs root, iproute2 and, for the comparison, keepalived.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

// speed is one way to configure the routers.
type speed struct {
	name     string
	lines    string
	interval time.Duration
	skew     time.Duration // of the backup, priority 100
}

var speeds = []speed{
	{"version 2, advert_int 1", "advert_int 1", time.Second, 156 * time.Second / 256},
	{"version 3, advert_int 0.1", "version 3\n advert_int 0.1", 100 * time.Millisecond, 156 * 100 * time.Millisecond / 256},
	{"version 3, advert_int 0.01", "version 3\n advert_int 0.01", 10 * time.Millisecond, 156 * 10 * time.Millisecond / 256},
}

func run() error {
	releve := flag.String("releve", "bin/releve", "our binary")
	reference := flag.String("reference", "keepalived", "the reference; empty: leave it out")
	trials := flag.Int("trials", 10, "kills per kind and speed (half of them at advert_int 1)")
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
	bins := map[string]string{}
	var kinds []string
	for _, b := range []struct{ name, path string }{{"keepalived", *reference}, {"releve", *releve}} {
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
		bins[b.name], kinds = p, append(kinds, b.name)
	}
	fmt.Printf("%-28s %-11s %7s %10s %10s %10s %10s   %s\n", "", "", "trials", "median", "p95", "max", "ARP", "(beyond the master down interval; ARP: first one after the advert, median)")
	for _, s := range speeds {
		n := *trials
		if s.interval == time.Second {
			n = max(n/2, 1)
		}
		got := map[string][]sample{}
		// Side by side: the kinds take turns, so that both meet the same machine.
		for range n {
			for _, k := range kinds {
				r, err := trial(bins[k], s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", k, s.name, err)
				}
				got[k] = append(got[k], r)
			}
		}
		for _, k := range kinds {
			report(s.name, k, got[k])
		}
	}
	return nil
}

// sample is what one kill showed.
type sample struct{ over, arp time.Duration }

func report(speed, kind string, list []sample) {
	var over, arp []time.Duration
	for _, s := range list {
		over, arp = append(over, s.over), append(arp, s.arp)
	}
	slices.Sort(over)
	slices.Sort(arp)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }
	at := func(l []time.Duration, q float64) time.Duration { return l[min(int(float64(len(l))*q), len(l)-1)] }
	fmt.Printf("%-28s %-11s %7d %10s %10s %10s %10s\n", speed, kind, len(list), ms(at(over, .5)), ms(at(over, .95)), ms(over[len(over)-1]), ms(at(arp, .5)))
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

// killAll kills a daemon as a crash of its machine would: neither may the main process start its child again, nor the child stop in
// good order because it sees the main process die.
func killAll(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGSTOP)
	// A child belongs to the thread that started it.
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.Process.Pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for _, w := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(w); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	_ = c.Process.Kill()
}

var serial int

// trial builds the bridge and two routers, kills the master and reads the wire.
func trial(bin string, s speed) (sample, error) {
	serial++
	br := fmt.Sprintf("br%d", serial)
	if err := errors.Join(sh("ip link add %s type bridge mcast_snooping 0", br), sh("ip link set %s up", br)); err != nil {
		return sample{}, err
	}
	defer func() { _ = sh("ip link del %s", br) }()
	var nodes [2]*exec.Cmd
	for i, prio := range []int{150, 100} {
		ns, port := fmt.Sprintf("n%d-%d", serial, i), fmt.Sprintf("p%d-%d", serial, i)
		err := errors.Join(sh("ip netns add %s", ns), sh("ip link add %s type veth peer name eth0 netns %s", port, ns),
			sh("ip link set %s master %s up", port, br), sh("ip -n %s link set eth0 up", ns), sh("ip -n %s addr add 10.9.0.%d/24 dev eth0", ns, i+1))
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = sh("ip link del %s", port); _ = sh("ip netns del %s", ns) }()
		conf := fmt.Sprintf("/run/%s.conf", ns)
		text := fmt.Sprintf("vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n priority %d\n %s\n virtual_ipaddress { 10.9.0.100/24 }\n}\n", prio, s.lines)
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			return sample{}, err
		}
		c := exec.Command("ip", "netns", "exec", ns, bin, "-n", "-G", "-P", "-f", conf, "-p", conf+".p", "-r", conf+".r", "-c", conf+".c", "-b", conf+".b")
		nodes[i] = c
	}
	w, err := listen(br)
	if err != nil {
		return sample{}, err
	}
	defer w.close()
	for _, c := range nodes {
		if err := c.Start(); err != nil {
			return sample{}, err
		}
		defer func() { killAll(c); _ = c.Wait() }()
	}
	limit := 6*s.interval + 5*time.Second
	if err := w.until(limit, func(f frame) bool { return f.prio == 150 }); err != nil {
		return sample{}, fmt.Errorf("the better router never became master: %w", err)
	}
	// Some beats later, in the middle between two of them.
	beats := 0
	_ = w.until(limit, func(f frame) bool { beats++; return beats > 3 })
	time.Sleep(s.interval / 2)
	killAll(nodes[0])
	var last, first, arp time.Time
	err = w.until(limit, func(f frame) bool {
		switch {
		case f.prio == 150:
			last = f.at
		case f.prio == 100 && first.IsZero():
			first = f.at
		case f.arp && !first.IsZero():
			arp = f.at
		}
		return !arp.IsZero()
	})
	if err != nil {
		return sample{}, fmt.Errorf("the backup did not take over: %w", err)
	}
	if last.IsZero() {
		last = w.last
	}
	return sample{first.Sub(last) - 3*s.interval - s.skew, arp.Sub(first)}, nil
}

// frame is an advert or a gratuitous ARP.
type frame struct {
	at   time.Time
	prio int // -1: no advert
	arp  bool
}

// wire reads adverts off the bridge with the kernel's time stamps.
type wire struct {
	fd   int
	last time.Time // of the last advert with priority 150
	once sync.Once
}

func listen(dev string) (*wire, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // nothing before it is bound
	if err != nil {
		return nil, err
	}
	i, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, err
	}
	tv := unix.Timeval{Usec: 50_000}
	return &wire{fd: fd}, errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: i.Index}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
}

func (w *wire) close() { w.once.Do(func() { unix.Close(w.fd) }) }

// until reads frames until done says so.
func (w *wire) until(limit time.Duration, done func(frame) bool) error {
	var buf, oob [2048]byte
	for end := time.Now().Add(limit); time.Now().Before(end); {
		n, on, _, _, err := unix.Recvmsg(w.fd, buf[:], oob[:], 0)
		if err != nil {
			continue
		}
		f := frame{at: time.Now(), prio: -1}
		if msgs, err := unix.ParseSocketControlMessage(oob[:on]); err == nil {
			for _, m := range msgs {
				if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
					ts := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
					f.at = time.Unix(ts.Unix())
				}
			}
		}
		switch b := buf[:n]; {
		case n >= 42 && b[12] == 8 && b[13] == 0 && b[23] == 112:
			f.prio = int(b[36])
			if f.prio == 150 {
				w.last = f.at
			}
		case n >= 42 && b[12] == 8 && b[13] == 6 && string(b[28:32]) == string([]byte{10, 9, 0, 100}):
			f.arp = true
		default:
			continue
		}
		if done(f) {
			return nil
		}
	}
	return fmt.Errorf("not within %s", limit)
}
