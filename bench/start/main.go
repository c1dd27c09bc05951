// Command start measures what a daemon with one address owner costs: the time from exec to the first advert on the wire and its processor
// time, memory and processor time while it idles, and the time from SIGTERM to its end. It runs releve beside the reference, both in the
// same namespace in turns, and prints each figure beside its target.
//
//	go run ./bench/start -releve bin/releve -runs 20 -idle 20s
//
// It needs root, iproute2 and, for the comparison, keepalived.
package main

import (
	"bufio"
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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

const owner = `vrrp_instance VI_1 {
  interface v0
  virtual_router_id 51
  priority 255
  virtual_ipaddress {
    10.9.0.1/24
  }
}
`

// figures of one run; idle is measured in the last one only.
type figures struct{ advert, cpu, stop time.Duration }

func run() error {
	releve := flag.String("releve", "bin/releve", "our binary")
	reference := flag.String("reference", "keepalived", "the reference; empty: leave it out")
	runs := flag.Int("runs", 20, "starts of each")
	idle := flag.Duration("idle", 20*time.Second, "how long to look at the idle daemon")
	flag.Parse()
	if os.Getenv("RELEVE_NETNS") == "" {
		return inNamespaces()
	}
	if err := prepare(); err != nil {
		return err
	}
	kinds := []string{"keepalived", "releve"}
	bins := map[string]string{}
	for kind, path := range map[string]string{"keepalived": *reference, "releve": *releve} {
		if path == "" {
			continue
		}
		p, err := exec.LookPath(path)
		if err == nil {
			p, err = filepath.Abs(p)
		}
		if err != nil {
			fmt.Printf("%s left out: %v\n", kind, err)
			continue
		}
		bins[kind] = p
	}
	if p := bins["releve"]; p != "" {
		// As make install does. What a linker has written lies in the page cache in single pages, a copy in large pieces, which are mapped
		// with fewer faults.
		dir, err := os.MkdirTemp("", "bench-start")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		bins["releve"] = filepath.Join(dir, "releve")
		if err := install(p, bins["releve"]); err != nil {
			return err
		}
	}
	got := map[string][]figures{}
	for range *runs {
		for _, k := range kinds {
			if bins[k] == "" {
				continue
			}
			f, err := trial(bins[k])
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			got[k] = append(got[k], f)
		}
	}
	fmt.Printf("%-12s %12s %12s %12s %12s %12s %12s\n", "", "advert", "(p90)", "CPU start", "(p90)", "to the end", "(p90)")
	for _, k := range kinds {
		if bins[k] == "" {
			continue
		}
		fmt.Printf("%-12s", k)
		for _, pick := range []func(figures) time.Duration{func(f figures) time.Duration { return f.advert }, func(f figures) time.Duration { return f.cpu }, func(f figures) time.Duration { return f.stop }} {
			list := make([]time.Duration, len(got[k]))
			for i, f := range got[k] {
				list[i] = pick(f)
			}
			slices.Sort(list)
			fmt.Printf(" %12s %12s", ms(list[len(list)/2]), ms(list[len(list)*9/10]))
		}
		fmt.Println()
	}
	fmt.Printf("%-12s %12s %12s %12s %12s %12s\n", "target", "reference's", "", "6 ms", "", "50 ms")
	for _, k := range kinds {
		if bins[k] == "" {
			continue
		}
		cpu, anonymous, wakeups, err := look(bins[k], *idle)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		fmt.Printf("%-12s idle: %.3f s CPU and %.0f waits a minute, %.1f MiB anonymous in all processes\n", k, cpu.Seconds()*60/idle.Seconds(), float64(wakeups)*60/idle.Seconds(), float64(anonymous)/1024)
	}
	fmt.Printf("%-12s idle: 0.030 s CPU a minute, 30.0 MiB\n", "target")
	return nil
}

func install(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

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

const conf = "/run/keepalived.conf"

func prepare() error {
	_ = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, line := range []string{"link set lo up", "link add v0 type veth peer name v1", "addr add 10.9.0.2/24 dev v0", "link set v0 up", "link set v1 up"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	time.Sleep(2 * time.Second) // duplicate address detection of the link-local addresses
	return os.WriteFile(conf, []byte(owner), 0o600)
}

// listen opens a socket that sees the adverts on v1.
func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // nothing before it is bound
	if err != nil {
		return -1, err
	}
	i, err := net.InterfaceByName("v1")
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i.Index})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

func trial(bin string) (figures, error) {
	var f figures
	fd, err := listen()
	if err != nil {
		return f, err
	}
	defer unix.Close(fd)
	c := exec.Command(bin, "-n", "-G", "-f", conf)
	start := time.Now()
	if err := c.Start(); err != nil {
		return f, err
	}
	buf := make([]byte, 256)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return f, fmt.Errorf("no advert: %w", err)
		}
		if n > 20 && buf[9] == 112 {
			break
		}
	}
	f.advert = time.Since(start)
	time.Sleep(150 * time.Millisecond)
	f.cpu, _ = used(c.Process.Pid)
	start = time.Now()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return f, err
	}
	err = c.Wait()
	f.stop = time.Since(start)
	if out, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output(); strings.Contains(string(out), "10.9.0.1/") {
		return f, errors.New("the address is still there")
	}
	return f, err
}

// family lists a process and its children.
func family(pid int) []int {
	list := []int{pid}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	words := strings.Fields(string(b))
	if len(words) == 0 { // a kernel without that file, or a child of another thread
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, s := range stats {
			b, _ := os.ReadFile(s)
			if i := strings.LastIndexByte(string(b), ')'); i > 0 {
				if f := strings.Fields(string(b[i+1:])); len(f) > 1 && f[1] == strconv.Itoa(pid) {
					words = append(words, filepath.Base(filepath.Dir(s)))
				}
			}
		}
	}
	for _, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// used adds up the processor time and the voluntary waits of all threads of a daemon.
func used(pid int) (cpu time.Duration, waits int) {
	for _, p := range family(pid) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p))
		for _, t := range tasks {
			b, _ := os.ReadFile(t + "/schedstat")
			if f := strings.Fields(string(b)); len(f) > 0 {
				n, _ := strconv.ParseInt(f[0], 10, 64)
				cpu += time.Duration(n)
			}
			waits += field(t+"/status", "voluntary_ctxt_switches:")
		}
	}
	return cpu, waits
}

// field reads a number out of a file of /proc.
func field(path, name string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}

// settled is how long after the exec a daemon does nothing any more that belongs to the start: the second announcements of an address go
// out 5 s after the first ones, and memory that the start needed is given back before.
const settled = 8 * time.Second

// look watches an idle daemon; anonymous is in KiB.
func look(bin string, idle time.Duration) (cpu time.Duration, anonymous, waits int, err error) {
	c := exec.Command(bin, "-n", "-G", "-f", conf)
	if err := c.Start(); err != nil {
		return 0, 0, 0, err
	}
	time.Sleep(settled)
	cpu0, waits0 := used(c.Process.Pid)
	time.Sleep(idle)
	cpu, waits = used(c.Process.Pid)
	for _, p := range family(c.Process.Pid) {
		anonymous += field(fmt.Sprintf("/proc/%d/smaps_rollup", p), "Anonymous:")
	}
	_ = c.Process.Signal(syscall.SIGTERM)
	return cpu - cpu0, anonymous, waits - waits0, c.Wait()
}
