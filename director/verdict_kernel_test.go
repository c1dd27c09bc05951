package director_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

	"golang.org/x/sys/unix"

	"releve/director"
	"releve/internal/realserver"
	"releve/internal/testneed"
)

// theatre is a network with the trials' servers. It gathers what happens to each.
type theatre struct {
	mu   sync.Mutex
	seen map[string]*observed
	dir  string
}

// observed is what came of a trial.
type observed struct {
	Fifo []string    // what the notify fifo said of its real server
	At   []time.Time // when attempts came
	Said []time.Time // when the fifo said it
	Ends []string    // how connections ended
}

func (s *theatre) attempt(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.seen[name]
	o.At = append(o.At, time.Now())
	return len(o.At)
}

// pace is how the checkers of an act are told to go about it.
const (
	manyTimes = "delay_loop 1\n retry 2\n delay_before_retry 0.4\n connect_timeout 1\n warmup 0\n"
	once      = "delay_loop 60\n retry 2\n delay_before_retry 0.4\n connect_timeout 3\n warmup 7\n"
)

// ended waits for the checker to close the connection and notes how it does.
func (s *theatre) ended(name string, c net.Conn) {
	how := "nothing for 10 s"
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	switch _, err := io.Copy(io.Discard, c); {
	case err == nil:
		how = "close"
	case errors.Is(err, syscall.ECONNRESET):
		how = "reset"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.seen[name]
	o.Ends = append(o.Ends, how)
}

func setTheatre(t *testing.T, names []string, all map[string]trial, pace string) (s *theatre, conf string) {
	s = &theatre{seen: map[string]*observed{}, dir: t.TempDir()}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"exits": "#!/bin/sh\n# exits ADDRESS STATUS...: the next status each time, and when that was; nothing is executed\nf=" + s.dir + "/at.$1\nshift\nread up idle </proc/uptime\nn=1\n" +
			"[ ! -e $f ] || while read l; do n=$((n+1)); done <$f\necho $up >>$f\n[ $n -le $# ] || n=$#\neval \"exit \\$$n\"\n",
		"killed": "#!/bin/sh\nkill -9 $$\n",
		"whoami": "#!/bin/sh\n[ \"$(id -un)\" = \"$1\" ]\n",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(s.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for i := range names {
		addresses = append(addresses, fmt.Sprintf("addr replace 10.1.%d.%d/32 dev lo", i/200, i%200+1))
	}
	ip := exec.Command("ip", "-batch", "-")
	ip.Stdin = strings.NewReader(strings.Join(addresses, "\n") + "\n")
	if out, err := ip.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n lvs_notify_fifo FIFO\n script_user root\n}\n")
	for i, name := range names {
		c := all[name]
		s.seen[name] = &observed{}
		addr := fmt.Sprintf("10.1.%d.%d", i/200, i%200+1)
		proto := "TCP"
		if c.udp != nil || strings.Contains(c.check, "UDP_CHECK") || strings.Contains(c.check, "DNS_CHECK") {
			proto = "UDP"
		}
		fmt.Fprintf(&b, "virtual_server 10.2.%d.%d 80 {\n %s lb_algo rr\n lb_kind NAT\n protocol %s\n real_server %s 80 {\n%s }\n}\n",
			i/200+1, i%200+1, pace, proto, addr, strings.NewReplacer("ADDR", addr, "DIR", s.dir).Replace(c.check))
		if c.tcp != nil {
			l, err := net.Listen("tcp", addr+":80")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					n := s.attempt(name)
					go func() {
						defer conn.Close()
						c.tcp(conn, n)
						if c.ending {
							s.ended(name, conn)
						}
					}()
				}
			}()
		}
		if c.udp != nil {
			l, err := net.ListenPacket("udp", addr+":80")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				q := make([]byte, 2048)
				for {
					n, from, err := l.ReadFrom(q)
					if err != nil {
						return
					}
					if a := c.udp(s.attempt(name), q[:n]); a != nil {
						_, _ = l.WriteTo(a, from)
					}
				}
			}()
		}
	}
	return s, b.String()
}

// fifo takes a line of the notify fifo.
func (s *theatre) fifo(names []string, line string, at time.Time) {
	f := strings.Fields(strings.ReplaceAll(line, "\x00", ""))
	if len(f) != 4 || f[0] != "RS" {
		return
	}
	var x, y int
	if _, err := fmt.Sscanf(f[2], "[10.2.%d.%d]", &x, &y); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.seen[names[(x-1)*200+y-1]]
	o.Fifo, o.Said = append(o.Fifo, f[3]), append(o.Said, at)
}

// playTrials runs one of the two upon all trials and writes what it made of them.
func playTrials(t *testing.T, who string) {
	sh(t, "mount --make-rprivate /; mount -t tmpfs run /run; ip link set lo up")
	sh(t, `ip addr add 10.2.0.250/32 dev lo
ip rule add fwmark 77 lookup 77; ip route add blackhole default table 77
ip route add local 10.7.0.0/30 dev lo
ip route add unreachable 10.7.0.4; ip route add prohibit 10.7.0.5; ip route add blackhole 10.7.0.6
nft 'add table ip r; add chain ip r i { type filter hook input priority 0; }; add rule ip r i icmp type != { destination-unreachable } ip daddr 10.7.0.2 reject with icmp type host-unreachable; add rule ip r i ip daddr 10.7.0.2 ip protocol { tcp, udp } reject with icmp type host-unreachable; add rule ip r i ip daddr 10.7.0.3 ip protocol { tcp, udp } reject with icmp type admin-prohibited'`)
	realserver.WebServer(t)
	realserver.MailServer(t)
	realserver.NameServer(t)
	all, seen := trials(), map[string]*observed{}
	for _, long := range []bool{true, false} {
		names := []string{}
		for n, c := range all {
			if (c.long || c.attempts > 0) == long {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		t.Run(fmt.Sprintf("long %v", long), func(t *testing.T) {
			pace, d := once, 15*time.Second
			if long {
				pace, d = manyTimes, 16*time.Second
			}
			maps.Copy(seen, playAct(t, who, names, all, pace, d))
		})
	}
	b, err := json.Marshal(seen)
	if err == nil {
		err = os.WriteFile(os.Getenv("RELEVE_TRIAL_OUT"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// playAct runs one of the two upon some trials for a while.
func playAct(t *testing.T, who string, names []string, all map[string]trial, pace string, playing time.Duration) map[string]*observed {
	s, conf := setTheatre(t, names, all, pace)
	fifo, file := filepath.Join(s.dir, "fifo"), filepath.Join(s.dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(strings.Replace(conf, "FIFO", fifo, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if who == "ours" {
		cfg := load(t, strings.Replace(conf, "FIFO", fifo, 1))
		o := run(t, cfg, director.Options{Notify: func(e director.Event) { s.fifo(names, e.FifoLine(), time.Now()) }})
		time.Sleep(playing)
		o.end()
	} else {
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(fifo, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for r := bufio.NewReader(f); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				s.fifo(names, line, time.Now())
			}
		}()
		ref := exec.Command("keepalived", "-n", "-G", "-C", "-f", file)
		if err := ref.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(playing)
		_ = ref.Process.Signal(syscall.SIGTERM)
		_ = ref.Wait()
		f.Close()
		<-done
	}
	for i, n := range names {
		b, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprintf("at.10.1.%d.%d", i/200, i%200+1)))
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			if up, err := time.ParseDuration(strings.TrimSpace(l) + "s"); err == nil {
				s.seen[n].At = append(s.seen[n].At, time.Unix(0, 0).Add(up))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.seen)
}

func TestIPVSVerdictsAndTimesAreTheReferences(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "keepalived", "nginx", "smtpd", "unbound", "nft", "ip")
	if who := os.Getenv("RELEVE_TRIAL"); who != "" {
		playTrials(t, who)
		return
	}
	// A machine that stands still moves attempts and time limits, of either: what differs then is looked at again.
	for try := 1; ; try++ {
		begin, standing := time.Now(), stillness()
		differ := compareTrials(t)
		longest := standing()
		t.Logf("%v; the machine stood still for up to %v", time.Since(begin), longest)
		if t.Failed() || len(differ) == 0 {
			return
		}
		if longest < 250*time.Millisecond || try == 4 {
			t.Fatal(strings.Join(differ, "\n"))
		}
		t.Logf("once more, for\n%s", strings.Join(differ, "\n"))
	}
}

// stillness begins to measure for how long at most this process does not get to run though it wants to; the function returned ends that.
func stillness() (longest func() time.Duration) {
	stop, most := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		for last := time.Now(); ; {
			select {
			case <-stop:
				most <- worst
				return
			case <-time.After(20 * time.Millisecond):
			}
			now := time.Now()
			worst = max(worst, now.Sub(last)-20*time.Millisecond)
			last = now
		}
	}()
	return func() time.Duration { close(stop); return <-most }
}

// compareTrials plays all trials to both and gives what differs.
func compareTrials(t *testing.T) (differ []string) {
	complain := func(format string, args ...any) { differ = append(differ, fmt.Sprintf(format, args...)) }
	results := map[string]map[string]*observed{}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, who := range []string{"ours", "reference"} {
		out := filepath.Join(t.TempDir(), who)
		wg.Go(func() {
			c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
			c.Env = append(os.Environ(), "RELEVE_NETNS=1", "RELEVE_TRIAL="+who, "RELEVE_TRIAL_OUT="+out)
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
			text, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", who, err, text)
				return
			}
			b, err := os.ReadFile(out)
			seen := map[string]*observed{}
			if err == nil {
				err = json.Unmarshal(b, &seen)
			}
			if err != nil {
				t.Errorf("%s: %v\n%s", who, err, text)
			}
			mu.Lock()
			defer mu.Unlock()
			results[who] = seen
		})
	}
	wg.Wait()
	if t.Failed() {
		return nil
	}
	ours, theirs := results["ours"], results["reference"]
	compared := 0
	for name, c := range trials() {
		a, b := ours[name], theirs[name]
		// The last words of one may have come just after the other's time was over.
		n := min(len(a.Fifo), len(b.Fifo))
		if c.differs == "" && (!slices.Equal(a.Fifo[:n], b.Fifo[:n]) || len(a.Fifo)-n > 1 || len(b.Fifo)-n > 1 || n == 0 && len(a.Fifo) != len(b.Fifo)) {
			complain("%s: our verdicts %v, the reference's %v", name, a.Fifo, b.Fifo)
		}
		if c.ending && (len(a.Ends) == 0 || len(b.Ends) == 0 || a.Ends[0] != b.Ends[0]) {
			complain("%s: we end the connections with %v, the reference with %v", name, a.Ends, b.Ends)
		}
		if c.attempts == 0 {
			t.Logf("%s: ours %v, the reference %v", name, a.Fifo, b.Fifo)
			continue
		}
		x, y := gaps(a.At, c.attempts), gaps(b.At, c.attempts)
		t.Logf("%s: ours %v %.1f %.1f, the reference %v %.1f %.1f", name, a.Fifo, a.since(), x, b.Fifo, b.since(), y)
		if len(x) < c.attempts-1 || len(y) < c.attempts-1 {
			complain("%s: only %d and %d attempts of %d: %v, %v", name, len(a.At), len(b.At), c.attempts, x, y)
		}
		// An emulated processor is held up now and then; a rule that differs shows in more than one pause.
		late, n := 0, min(len(x), len(y))
		for i := range n {
			if d := x[i] - y[i]; d > 0.4 || d < -0.4 {
				late++
			}
		}
		if compared += n; late > max(1, n/4) {
			complain("%s: our attempts are apart by %.1f s, the reference's by %.1f", name, x, y)
		}
	}
	t.Logf("%d servers, %d pauses between attempts compared", len(ours), compared)
	return differ
}

// since is when the fifo spoke, in seconds from the first attempt.
func (o *observed) since() (out []float64) {
	for _, at := range o.Said {
		if len(o.At) > 0 && o.At[0].Year() > 2000 { // scripts know the time since the boot only
			out = append(out, at.Sub(o.At[0]).Seconds())
		}
	}
	return out
}

// gaps are the seconds between the first attempts.
func gaps(at []time.Time, most int) (out []float64) {
	for i := 1; i < min(len(at), most); i++ {
		out = append(out, at[i].Sub(at[i-1]).Seconds())
	}
	return out
}
