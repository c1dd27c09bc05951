package exercise

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"releve/capture"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/nft"
	"releve/lab"
)

// Options say how a scenario is run.
type Options struct {
	// Name is what the run is registered as, for the hint how to enter its hosts; empty is the scenario's name.
	Name string
	// Binary is the program that directors run, as keepalived.
	Binary string
	// Out takes the story of the run.
	Out io.Writer
	// Colour uses the terminal's.
	Colour bool
	// Input, if not nil, is waited for before each step.
	Input io.Reader
	// Report is the folder of the report; empty is none.
	Report string
	// Patience stretches all times that things may take; 0 is 1.
	Patience float64
	// Log shows the log lines of the directors.
	Log bool
	// Explain adds what the text of a configuration tells about frames; nil adds nothing.
	Explain func(k *capture.Knowledge, host, text string)
	// Built, if not nil, is called with the hosts when they are there, by name.
	Built func(map[string]*lab.Host) error
}

// ErrMissed is the error of a run in which something was not as expected.
var ErrMissed = errors.New("not everything was as expected")

// ErrNeeds is the error if the machine lacks what the scenario needs.
var ErrNeeds = errors.New("this machine lacks what the exercise needs")

// Stage is a scenario that was put up.
type Stage struct {
	sc     *Scenario
	o      Options
	lab    *lab.Lab
	hosts  map[string]*machine
	plane  string
	noVS   error
	began  time.Time
	cap    *recorder
	view   sync.Mutex
	step   int
	since  time.Time
	res    []Outcome
	first  *client
	leased []lease
	known  map[int]netip.Addr
	all    []*client
	chaos  string // how chaos went
	ended  string // why not all steps were done; empty if they were
}

// machine is a host with what runs on it.
type machine struct {
	*lab.Host
	of      *Host
	mu      sync.Mutex
	daemon  *lab.Process
	webs    []*lab.Web
	serves  []*lab.Server
	spawned map[string]*lab.Process
	plane   ipvs.Plane
	stops   []func()
	frozen  []int
}

// client is traffic that is measured.
type client struct {
	host, addr string
	traffic    *lab.Traffic
	began      time.Time
	ended      time.Time
	long       *longClient
}

// Outcome is the verdict on a line of a step.
type Outcome struct {
	Step   int
	Line   int
	Text   string
	Expect bool
	OK     bool
	Seen   string
	At     time.Time
	Took   time.Duration
}

// Run puts a scenario up, runs its steps and takes it down.
func Run(ctx context.Context, sc *Scenario, o Options) (err error) {
	if o.Patience == 0 {
		o.Patience = 1
	}
	if err := ready(sc, o); err != nil {
		return err
	}
	if o.Input == nil { // people who read and talk between the steps have all the time they want
		limited, cancel := context.WithTimeout(ctx, time.Duration(float64(sc.Limit)*o.Patience))
		defer cancel()
		ctx = limited
	}
	lab.Sweep()
	s, err := build(ctx, sc, o)
	if s != nil {
		defer func() { err = errors.Join(err, s.close()) }()
	}
	if err != nil {
		return err
	}
	if o.Built != nil {
		if err := o.Built(s.lab.Hosts()); err != nil {
			return err
		}
	}
	enter := s.enter(ctx)
	s.tell("%s: %s", sc.Name, sc.Title)
	for _, g := range sc.Goal {
		s.tell("  %s", g)
	}
	s.tell("  data plane: %s", s.plane)
	if lab.User() != 0 && slices.ContainsFunc(sc.Configs, func(c *Config) bool { return secure().MatchString(c.Text) }) {
		s.tell("  enable_script_security is left out: it needs the real root")
	}
	for i, st := range sc.Steps {
		enter("step %d, %s (another terminal: releve lab shell %s HOST)", i+1, st.Title, cmp.Or(o.Name, sc.Name))
		if err = ctx.Err(); err == nil {
			err = s.runStep(ctx, i)
		}
		if err != nil {
			break
		}
	}
	switch {
	case err == nil:
		enter("taking the lab down")
	case errors.Is(err, context.Canceled):
		s.ended = "interrupted"
	case errors.Is(err, context.DeadlineExceeded):
		s.ended = fmt.Sprintf("the limit of %v is over", sc.Limit)
	default:
		s.ended = err.Error()
	}
	if s.ended != "" {
		s.tell("%s", s.paint("\x1b[31m", "it ends here: "+s.ended))
	}
	if ferr := s.finish(); err == nil || !errors.Is(ferr, ErrMissed) {
		err = errors.Join(err, ferr)
	}
	return err
}

// enter gives what waits for a line of the input before something is done. Without an input, or at its end, nothing waits.
func (s *Stage) enter(ctx context.Context) func(before string, a ...any) {
	if s.o.Input == nil {
		return func(string, ...any) {}
	}
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(s.o.Input); in.Scan(); {
			select {
			case lines <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(before string, a ...any) {
		s.tell("-- Enter for "+before, a...)
		select {
		case <-lines:
		case <-ctx.Done():
		}
	}
}

// finish says how it went and writes the report.
func (s *Stage) finish() error {
	for _, c := range s.all {
		c.stop()
	}
	time.Sleep(60 * time.Millisecond) // frames that are still being sorted
	events := s.cap.stop()
	seen, missed := s.score()
	for _, c := range s.all {
		s.tell("%s", c.summary())
	}
	s.tell("%d expectations: %d seen, %d missed", seen+missed, seen, missed)
	if s.o.Report != "" {
		if err := s.report(events); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		s.tell("the report is in %s", filepath.Join(s.o.Report, "report.html"))
	}
	if missed > 0 {
		return ErrMissed
	}
	return nil
}

// score counts the expectations that were met and those that were not.
func (s *Stage) score() (seen, missed int) {
	for _, r := range s.res {
		if r.Expect && r.OK {
			seen++
		} else if r.Expect {
			missed++
		}
	}
	return seen, missed
}

// ready looks whether the machine has what the scenario needs, and makes the folder of the report.
func ready(sc *Scenario, o Options) error {
	err := needs(sc)
	if err == nil && o.Report != "" {
		err = os.MkdirAll(o.Report, 0o755)
	}
	return err
}

// needs looks whether the machine has what the scenario needs.
func needs(sc *Scenario) error {
	for _, n := range sc.Needs {
		switch n {
		case "ipvs":
			if p, err := kernel.Open(""); err == nil {
				p.Close()
			} else {
				return fmt.Errorf("%w: IPVS in the kernel (%s runs in the virtual machine: releve lab run %s --vm)", ErrNeeds, sc.Name, sc.Name)
			}
		default:
			if _, err := exec.LookPath(n); err != nil && !slices.ContainsFunc([]string{"/usr/sbin/", "/sbin/"}, func(d string) bool { _, err := os.Stat(d + n); return err == nil }) {
				if n == "dhcpd" {
					n += " (apt-get install isc-dhcp-server)"
				}
				return fmt.Errorf("%w: the program %s", ErrNeeds, n)
			}
		}
	}
	return nil
}

// at says in which line of the scenario an error has its cause.
func (sc *Scenario) at(line int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s, line %d: %w", sc.Name, line, err)
}

func build(ctx context.Context, sc *Scenario, o Options) (*Stage, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	s := &Stage{sc: sc, o: o, lab: l, hosts: map[string]*machine{}, began: time.Now(), step: -1}
	bridges := map[string]*lab.Bridge{}
	for _, b := range sc.Bridges {
		if bridges[b], err = l.Bridge(b); err != nil {
			return s, err
		}
	}
	know := capture.Knowledge{Hosts: map[string]string{}}
	sc.dhcpNames(know.Hosts)
	var places []capture.Place
	for _, h := range sc.Hosts {
		host, err := l.Host(h.Name)
		if err != nil {
			return s, err
		}
		m := &machine{Host: host, of: h, spawned: map[string]*lab.Process{}}
		s.hosts[h.Name] = m
		for _, v := range [][2]string{{"net.ipv4.conf.all.send_redirects", "0"}, {"net.ipv4.conf.default.send_redirects", "0"}} {
			err = errors.Join(err, host.Sysctl(v[0], v[1]))
		}
		for _, v := range h.Sysctl {
			err = errors.Join(err, sc.at(v.Line, host.Sysctl(v.A, v.B)))
		}
		for _, p := range h.Ports {
			if err = errors.Join(err, sc.at(p.Line, l.Plug(host, p.Iface, bridges[p.Bridge], p.Addrs...))); err != nil {
				return s, err
			}
			for _, a := range p.Addrs {
				know.Hosts[netip.MustParsePrefix(a).Addr().String()] = h.Name
			}
			places = append(places, capture.Place{Name: h.Name + " " + p.Iface, Iface: p.Iface, In: host.Do})
			if mac := host.MAC(p.Iface); mac != "" {
				know.Hosts[mac] = h.Name
			}
		}
		for _, r := range h.Routes {
			err = errors.Join(err, sc.at(r.Line, host.Route(r.A, r.B)))
		}
		if err != nil {
			return s, err
		}
		for _, w := range h.Webs {
			web, err := host.Web(w.Addr, w.Text)
			if err != nil {
				return s, sc.at(w.Line, err)
			}
			m.webs = append(m.webs, web)
		}
		for _, v := range h.Serves {
			srv, err := host.Serve(v.Kind, v.Addr, v.Text)
			if err != nil {
				return s, sc.at(v.Line, err)
			}
			m.serves = append(m.serves, srv)
			m.stops = append(m.stops, srv.Stop)
		}
		for _, e := range h.Echos {
			stop, err := host.Echo(e.Addr)
			if err != nil {
				return s, sc.at(e.Line, err)
			}
			m.stops = append(m.stops, stop)
		}
	}
	for _, c := range sc.Configs {
		if err := s.write(s.hosts[c.Host], c.Path, c.Text, c.Mode); err != nil {
			return s, err
		}
		if c.Daemon() && o.Explain != nil {
			o.Explain(&know, c.Host, c.Text)
		}
	}
	if err := s.planes(); err != nil {
		return s, err
	}
	if s.cap, err = record(ctx, places, know); err != nil {
		return s, err
	}
	return s, nil
}

// planes opens the data plane on every host with a configuration.
func (s *Stage) planes() error {
	s.plane = "none is needed"
	if slices.Contains(s.sc.Needs, "ipvs") {
		s.plane = "the kernel's IPVS"
	}
	for _, c := range s.sc.Configs {
		if c.Path != confPath || !strings.Contains(c.Text, "virtual_server") {
			continue
		}
		m := s.hosts[c.Host]
		err := m.Do(func() error {
			p, err := kernel.Open("")
			if err == nil {
				m.plane, s.plane = p, "the kernel's IPVS"
				return nil
			}
			s.noVS = err
			n, nerr := nft.Open("")
			if nerr != nil {
				return errors.Join(err, nerr)
			}
			m.plane, s.plane = n, "nftables, since the kernel has no IPVS"
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// secure is a line that turns script security on.
var secure = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^(\s*)enable_script_security[ \t]*$`) })

// insecure leaves script security out: where an ordinary user plays root, the folders of the real one belong to nobody, and no path is safe.
func insecure(conf string) string {
	return secure().ReplaceAllString(conf, "${1}# enable_script_security needs the real root")
}

// write makes a file on a host; {releve} in its text is the path of this program.
func (s *Stage) write(m *machine, path, text string, mode fs.FileMode) error {
	text = strings.ReplaceAll(text, "{releve}", s.o.Binary)
	if path == confPath && lab.User() != 0 {
		text = insecure(text)
	}
	return m.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
}

func (s *Stage) close() error {
	if s.cap != nil {
		s.cap.stop()
	}
	for _, c := range s.all {
		c.stop()
	}
	for _, m := range s.hosts {
		for _, f := range m.stops {
			f()
		}
		m.thaw()
	}
	err := s.lab.Close()
	for _, m := range s.hosts {
		if m.plane != nil {
			m.plane.Close()
		}
	}
	return err
}

// tell writes a line of the story.
func (s *Stage) tell(format string, a ...any) {
	s.view.Lock()
	defer s.view.Unlock()
	fmt.Fprintf(s.o.Out, "%7.2f  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, a...))
}

func (s *Stage) paint(code, text string) string {
	if !s.o.Colour {
		return text
	}
	return code + text + "\x1b[0m"
}

// runStep does what a step says, line by line.
func (s *Stage) runStep(ctx context.Context, i int) error {
	st := s.sc.Steps[i]
	s.step, s.since = i, time.Now()
	s.tell("%s", s.paint("\x1b[1m", fmt.Sprintf("== %d. %s", i+1, st.Title)))
	for _, a := range st.Actions {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		began := time.Now()
		r := Outcome{Step: i, Line: a.Line, Text: a.Text, Expect: a.Expect, At: began}
		if a.Expect {
			r.OK, r.Seen = s.await(ctx, a)
			r.Took = time.Since(began)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			mark := s.paint("\x1b[32m", "seen  ")
			if !r.OK {
				mark = s.paint("\x1b[31m", "MISSED")
			}
			s.tell("   %s %s (%s)", mark, strings.TrimPrefix(a.Text, "expect "), r.Seen)
			if !r.OK {
				s.explainMiss()
			}
		} else {
			if a.Verb == "say" {
				s.tell("   %s", a.Args[0])
			} else {
				s.tell("   %s", s.paint("\x1b[36m", a.Text))
			}
			if err := s.do(ctx, a); err != nil {
				return s.sc.at(a.Line, fmt.Errorf("%s: %w", a.Text, err))
			}
			r.OK = true
		}
		s.res = append(s.res, r)
	}
	return nil
}

// explainMiss shows the last lines of the directors.
func (s *Stage) explainMiss() {
	for _, h := range s.sc.Hosts {
		m := s.hosts[h.Name]
		m.mu.Lock()
		p := m.daemon
		m.mu.Unlock()
		if p == nil {
			continue
		}
		lines := p.Lines()
		for _, l := range lines[max(0, len(lines)-5):] {
			s.tell("          %s: %s", h.Name, l)
		}
		select {
		case <-p.Done():
			s.tell("          %s: its director has ended: %v", h.Name, cmp.Or(p.Err(), errors.New("status 0")))
		default:
		}
	}
}
