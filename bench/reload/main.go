// Command reload measures what a plan, a reload and a dump cost a daemon with many instances and servers: the time until the answer, and
// how late adverts are meanwhile, heard at the other end of a wire. It makes its own veth pair: run it in a network namespace of its own,
// with an empty /run and /tmp.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	program   = flag.String("releve", "bin/releve", "the program")
	instances = flag.Int("instances", 1000, "VRRP instances, at most 1000")
	services  = flag.Int("services", 1500, "virtual servers, of ten real servers each")
	rounds    = flag.Int("rounds", 3, "rounds of each kind")
)

func main() {
	flag.Parse()
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// text is a configuration; other changes one priority in it, one address and one weight.
func text(other bool) []byte {
	var b bytes.Buffer
	for i := range *instances {
		prio, addr := 150, 1
		if other && i == 0 {
			prio, addr = 149, 2
		}
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n  interface v%d\n  virtual_router_id %d\n  priority %d\n  version 3\n  advert_int 1\n  virtual_ipaddress {\n    10.%d.%d.%d/32\n  }\n}\n",
			i, i/250, 1+i%250, prio, 20+i/250, i%250, addr)
	}
	for v := range *services {
		fmt.Fprintf(&b, "virtual_server 10.100.%d.%d 80 {\n  lb_algo wrr\n  lb_kind NAT\n  protocol TCP\n  delay_loop 600\n", v/250, v%250)
		for r := range 10 {
			weight := 1
			if other && v == 0 && r == 0 {
				weight = 2
			}
			fmt.Fprintf(&b, "  real_server 10.101.%d.%d 80 {\n    weight %d\n    TCP_CHECK {\n      warmup 600\n    }\n  }\n", v%250, r+1, weight)
		}
		b.WriteString("}\n")
	}
	return b.Bytes()
}

func measure() error {
	for i := range (*instances + 249) / 250 {
		for _, args := range []string{fmt.Sprintf("link add v%d type veth peer name w%d", i, i), fmt.Sprintf("addr add 10.9.%d.2/24 dev v%d", i, i),
			fmt.Sprintf("link set v%d up", i), fmt.Sprintf("link set w%d up", i)} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %s: %w: %s", args, err, out)
			}
		}
	}
	dir, err := os.MkdirTemp("", "releve-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf, same, other := filepath.Join(dir, "conf"), text(false), text(true)
	if err := os.WriteFile(conf, same, 0o600); err != nil {
		return err
	}
	fmt.Printf("%d instances, %d virtual servers of 10 real servers, %d lines\n", *instances, *services, bytes.Count(same, []byte("\n")))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	begin := time.Now()
	daemon := exec.Command(*program, "-n", "-l", "-G", "-f", conf)
	daemon.Stderr = log
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
	}()
	e := &ear{last: map[key]time.Time{}}
	if err := e.listen(); err != nil {
		return err
	}
	for !e.masters(*instances) {
		if time.Since(begin) > time.Minute {
			b, _ := os.ReadFile(log.Name())
			return fmt.Errorf("no %d masters after a minute:\n%s", *instances, b[max(0, len(b)-2000):])
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	run := func(what string, args ...string) error {
		for range *rounds {
			e.reset()
			begin := time.Now()
			out, err := exec.Command(*program, args...).CombinedOutput()
			took := time.Since(begin)
			var exit *exec.ExitError
			if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && args[0] == "plan") {
				return fmt.Errorf("%s: %w\n%s", what, err, out)
			}
			time.Sleep(1500 * time.Millisecond)
			late := e.reset()
			fmt.Printf("%-34s %6.0f ms   adverts late: median %5.2f ms, 99%% %5.2f ms, worst %5.2f ms\n", what, ms(took), ms(at(late, 50)), ms(at(late, 99)), ms(at(late, 100)))
		}
		return nil
	}
	memory := func(when string) {
		for _, name := range []string{"keepalived", "vrrp", "checkers"} {
			pid, _ := os.ReadFile("/run/" + name + ".pid")
			b, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/status")
			var words []string
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); len(f) > 1 && (f[0] == "VmHWM:" || f[0] == "RssAnon:") {
					words = append(words, f[0]+" "+f[1]+" kB")
				}
			}
			fmt.Printf("%-34s %s: %s\n", "memory "+when, name, strings.Join(words, ", "))
		}
	}
	memory("at first")
	defer memory("at the end")
	for _, d := range []struct {
		what  string
		sig   syscall.Signal
		files []string
	}{
		{"dump of JSON", 36, []string{"keepalived.json"}}, {"dump of data", syscall.SIGUSR1, []string{"keepalived.data", "keepalived_check.data", "keepalived_parent.data"}},
		{"dump of stats", syscall.SIGUSR2, []string{"keepalived.stats"}},
	} {
		for range *rounds {
			e.reset()
			took, err := dump(daemon.Process.Pid, d.sig, d.files)
			if err != nil {
				return fmt.Errorf("%s: %w", d.what, err)
			}
			time.Sleep(1500 * time.Millisecond)
			late := e.reset()
			fmt.Printf("%-34s %6.0f ms   adverts late: median %5.2f ms, 99%% %5.2f ms, worst %5.2f ms\n", d.what, ms(took), ms(at(late, 50)), ms(at(late, 99)), ms(at(late, 100)))
		}
	}
	put := func(b []byte) error { return os.WriteFile(conf, b, 0o600) }
	if err := run("nothing (releve status)", "status"); err != nil {
		return err
	}
	if err := run("plan of the same file", "plan"); err != nil {
		return err
	}
	if err := put(other); err != nil {
		return err
	}
	if err := run("plan of three changes", "plan"); err != nil {
		return err
	}
	for i := range *rounds {
		if err := put([][]byte{same, other}[i%2]); err != nil {
			return err
		}
		*rounds = 1
		if err := run("reload with three changes", "reload"); err != nil {
			return err
		}
	}
	return nil
}

// dump asks for files and waits until all of them are there.
func dump(pid int, sig syscall.Signal, files []string) (time.Duration, error) {
	for _, f := range files {
		_ = os.Remove("/tmp/" + f)
	}
	begin := time.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		return 0, err
	}
	for len(files) > 0 {
		if _, err := os.Stat("/tmp/" + files[0]); err == nil {
			files = files[1:]
			continue
		}
		if time.Since(begin) > 30*time.Second {
			return 0, fmt.Errorf("no %s after 30 s", files[0])
		}
		time.Sleep(200 * time.Microsecond)
	}
	return time.Since(begin), nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// at is a percentile of a sorted list.
func at(list []time.Duration, percent int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return list[(len(list)-1)*percent/100]
}

// key is a virtual router.
type key struct {
	ifindex int
	vrid    byte
}

// ear hears adverts and notes how much later than a second after the one before each comes.
type ear struct {
	mu   sync.Mutex
	last map[key]time.Time
	late []time.Duration
}

func (e *ear) listen() error {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0x0008) // ETH_P_IP, swapped
	if err != nil {
		return err
	}
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 16<<20)
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
	go func() {
		buf, oob := make([]byte, 2048), make([]byte, 256)
		for {
			n, oobn, _, from, err := syscall.Recvmsg(fd, buf, oob, 0)
			if err != nil {
				return
			}
			ll, ok := from.(*syscall.SockaddrLinklayer)
			if !ok || n < 28 || buf[9] != 112 || ll.Pkttype == syscall.PACKET_OUTGOING {
				continue
			}
			now := stamp(oob[:oobn])
			k := key{ll.Ifindex, buf[21]}
			e.mu.Lock()
			if last, ok := e.last[k]; ok {
				e.late = append(e.late, now.Sub(last)-time.Second)
			}
			e.last[k] = now
			e.mu.Unlock()
		}
	}()
	return nil
}

// stamp is when the kernel received a packet.
func stamp(oob []byte) time.Time {
	cmsgs, err := syscall.ParseSocketControlMessage(oob)
	if err == nil {
		for _, c := range cmsgs {
			if c.Header.Level == syscall.SOL_SOCKET && c.Header.Type == syscall.SCM_TIMESTAMPNS && len(c.Data) >= 16 {
				b := c.Data
				u := func(at int) (v int64) {
					for i := 7; i >= 0; i-- {
						v = v<<8 | int64(b[at+i])
					}
					return v
				}
				return time.Unix(u(0), u(8))
			}
		}
	}
	return time.Now()
}

// masters reports whether n virtual routers have been heard.
func (e *ear) masters(n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.last) >= n
}

// reset begins a new stretch and returns the lateness of the last one, sorted.
func (e *ear) reset() []time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.late
	e.late = nil
	slices.Sort(l)
	return l
}
