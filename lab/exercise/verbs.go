package exercise

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"releve/lab"
)

// do runs a deed.
func (s *Stage) do(ctx context.Context, a Action) error {
	arg := func(i int) string {
		if i < len(a.Args) {
			return a.Args[i]
		}
		return ""
	}
	m := s.hosts[arg(0)]
	switch a.Verb {
	case "say":
		return nil
	case "wait":
		d, _ := time.ParseDuration(arg(0))
		return sleep(ctx, d)
	case "start":
		return s.start(m)
	case "term":
		return m.signal(syscall.SIGTERM)
	case "reload":
		return m.signal(syscall.SIGHUP)
	case "kill":
		return m.Kill()
	case "freeze":
		m.frozen = m.Pids()
		for _, pid := range m.frozen {
			_ = unix.Kill(pid, unix.SIGSTOP)
		}
		return nil
	case "thaw":
		m.thaw()
		return nil
	case "cut":
		return m.Cut(arg(1))
	case "heal":
		return m.Heal(arg(1))
	case "partition":
		return m.Partition(arg(1))
	case "oneway":
		return s.oneway(m, arg(1), true)
	case "bothways":
		return s.oneway(m, arg(1), false)
	case "stopweb", "startweb", "slowweb", "text":
		return s.web(m, a)
	case "stopserve", "startserve":
		for _, v := range m.serves {
			if v.Kind() != arg(1) {
				continue
			}
			if a.Verb == "stopserve" {
				v.Stop()
				return nil
			}
			return v.Start()
		}
		return fmt.Errorf("%s serves no %s", m.Name, arg(1))
	case "write":
		return s.write(m, arg(1), arg(2), 0o644)
	case "config":
		return s.write(m, confPath, arg(1), 0o600)
	case "remove":
		return m.Do(func() error {
			if err := os.Remove(arg(1)); err != nil && !os.IsNotExist(err) {
				return err
			}
			return nil
		})
	case "run":
		return s.command(ctx, m, a.Args[1:])
	case "spawn":
		return s.spawn(m, a.Args[1], a.Args[2:])
	case "killspawned":
		return m.killSpawned(arg(1))
	case "client":
		return s.client(m, a.Args[1:])
	case "stopclient":
		if s.first != nil {
			s.first.stop()
		}
		return nil
	case "connect":
		return s.connect(m, a.Args[1:])
	case "dhcp":
		return s.dhcp(ctx, m, a.Args[1:])
	}
	return fmt.Errorf("nobody knows how to %s", a.Verb)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs the daemon with the host's configuration.
func (s *Stage) start(m *machine) error {
	m.mu.Lock()
	p := m.daemon
	m.mu.Unlock()
	if p != nil {
		select {
		case <-p.Done():
		default:
			return fmt.Errorf("%s runs already", m.Name)
		}
	}
	argv := []string{"keepalived", "-n", "-l", "-D", "-f", confPath, "-p", "/run/lab/keepalived.pid", "-r", "/run/lab/vrrp.pid", "-c", "/run/lab/checkers.pid", "-b", "/run/lab/bfd.pid"}
	p, err := m.Start(s.o.Binary, argv, func(line string) {
		if s.o.Log {
			s.tell("            %s: %s", m.Name, line)
		}
	})
	m.mu.Lock()
	m.daemon = p
	m.mu.Unlock()
	return err
}

// signal reaches the daemon.
func (m *machine) signal(sig syscall.Signal) error {
	m.mu.Lock()
	p := m.daemon
	m.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s runs no director", m.Name)
	}
	return p.Signal(sig)
}

func (m *machine) thaw() {
	for _, pid := range m.frozen {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	m.frozen = nil
}

// oneway lets an interface send but not receive.
func (s *Stage) oneway(m *machine, iface string, on bool) error {
	rules := "delete table netdev lab_" + iface
	if on {
		rules = fmt.Sprintf("add table netdev lab_%s\nadd chain netdev lab_%s in { type filter hook ingress device \"%s\" priority -500; policy drop; }", iface, iface, iface)
	}
	return m.Do(func() error {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(rules + "\n")
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
}

func (s *Stage) web(m *machine, a Action) error {
	if len(m.webs) == 0 {
		return fmt.Errorf("%s has no web server", m.Name)
	}
	for _, w := range m.webs {
		switch a.Verb {
		case "stopweb":
			w.Stop()
		case "startweb":
			if err := w.Start(); err != nil {
				return err
			}
		case "slowweb":
			d, _ := time.ParseDuration(a.Args[1])
			w.Slow(d)
		case "text":
			w.Say(a.Args[1])
		}
	}
	return nil
}

// command runs a program on a host and waits for it; what it writes goes into the story.
func (s *Stage) command(ctx context.Context, m *machine, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	path, err := s.find(argv[0])
	if err != nil {
		return err
	}
	p, err := m.Start(path, argv, func(line string) { s.tell("            %s", line) })
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		_ = unix.Kill(-p.Pid(), unix.SIGKILL)
		return fmt.Errorf("%s did not end within a minute", argv[0])
	}
}

// find looks for a program; releve is this one.
func (s *Stage) find(name string) (string, error) {
	if name == "releve" {
		return os.Executable()
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, d := range []string{"/usr/sbin/", "/sbin/"} {
		if info, err := os.Stat(d + name); err == nil && info.Mode().Perm()&fs.FileMode(0o111) != 0 {
			return d + name, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// spawn starts a program that goes on; name is how killspawned calls it, the words are its command line.
func (s *Stage) spawn(m *machine, name string, argv []string) error {
	if len(argv) == 0 {
		argv = []string{name}
	}
	path, err := s.find(argv[0])
	if err != nil {
		return err
	}
	p, err := m.Start(path, argv, func(line string) {
		if s.o.Log {
			s.tell("            %s %s: %s", m.Name, name, line)
		}
	})
	m.mu.Lock()
	m.spawned[name] = p
	m.mu.Unlock()
	return err
}

func (m *machine) killSpawned(name string) error {
	m.mu.Lock()
	p := m.spawned[name]
	delete(m.spawned, name)
	m.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s runs no %s", m.Name, name)
	}
	_ = unix.Kill(p.Pid(), unix.SIGKILL)
	select {
	case <-p.Done():
		return nil
	case <-time.After(5 * time.Second):
		return fmt.Errorf("%s survives SIGKILL", name)
	}
}

// client starts the traffic that is measured: client HOST ADDR:PORT [every D] [timeout D].
func (s *Stage) client(m *machine, words []string) error {
	every, timeout := 50*time.Millisecond, 500*time.Millisecond
	for i := 1; i+1 < len(words); i += 2 {
		d, err := time.ParseDuration(words[i+1])
		switch {
		case err != nil:
			return err
		case words[i] == "every":
			every = d
		case words[i] == "timeout":
			timeout = d
		default:
			return fmt.Errorf("%q is not every or timeout", words[i])
		}
	}
	t, err := m.Traffic(words[0], every, timeout)
	if err != nil {
		return err
	}
	c := &client{host: m.Name, addr: words[0], traffic: t, began: time.Now()}
	s.first = c
	s.all = append(s.all, c)
	return nil
}

// stop ends the traffic; what was measured stays.
func (c *client) stop() {
	if c.ended.IsZero() {
		if c.traffic != nil {
			c.traffic.Stop()
		}
		if c.long != nil {
			c.long.stop()
		}
		c.ended = time.Now()
	}
}

func (c *client) until() time.Time {
	if c.ended.IsZero() {
		return time.Now()
	}
	return c.ended
}

// summary is what the client saw, in a line.
func (c *client) summary() string {
	if c.long != nil {
		return c.long.summary()
	}
	r := c.traffic.Between(c.began, c.until())
	if len(r.Gaps) == 0 {
		return fmt.Sprintf("the client on %s asked %s %d times: all were answered, %s", c.host, c.addr, r.Asked, nines(r))
	}
	gaps := fmt.Sprintf("in %d gaps, the longest %.2f s", len(r.Gaps), r.Longest().Seconds())
	if len(r.Gaps) == 1 {
		gaps = "in one gap"
	}
	return fmt.Sprintf("the client on %s asked %s %d times: %d unanswered, %.2f s without service %s; availability %.3f %% of the time, %s",
		c.host, c.addr, r.Asked, r.Failed, r.Lost().Seconds(), gaps, 100*r.Availability(), nines(r))
}

// nines says what an availability would mean over a year.
func nines(r lab.Report) string {
	a := r.Availability()
	if a >= 1 {
		return "without an interruption"
	}
	year := time.Duration((1 - a) * 365.25 * 24 * float64(time.Hour))
	n := 0
	for x := 1 - a; x <= 0.1000001 && n < 9; x *= 10 {
		n++
	}
	names := []string{"no nine", "one nine", "two nines", "three nines", "four nines", "five nines", "six nines", "seven nines", "eight nines", "nine nines"}
	return fmt.Sprintf("%s (%s a year, if it went on like this)", names[n], perYear(year))
}

// perYear is a time in the largest unit that suits it.
func perYear(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.1f minutes", d.Minutes())
	}
	return fmt.Sprintf("%.1f seconds", d.Seconds())
}
