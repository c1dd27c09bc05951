package exercise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"releve/capture"
	"releve/lab"
)

// ErrInvariant is the error of a chaos run in which something was true that must never be.
var ErrInvariant = fmt.Errorf("%w: an invariant was violated", ErrMissed)

// fault is one that chaos deals out.
type fault struct {
	name   string
	do, un func(s *Stage, ctx context.Context, m *machine) error
	// alone says that the host cannot be reached, or does not run, while the fault lasts.
	alone bool
}

func onEach(f func(m *machine, iface string) error) func(*Stage, context.Context, *machine) error {
	return func(_ *Stage, _ context.Context, m *machine) error {
		var errs error
		for _, p := range m.of.Ports {
			errs = errors.Join(errs, f(m, p.Iface))
		}
		return errs
	}
}

var faults = []fault{
	{"cut", onEach(func(m *machine, i string) error { return m.Cut(i) }), onEach(func(m *machine, i string) error { return m.Heal(i) }), true},
	{"partition", onEach(func(m *machine, i string) error { return m.Partition(i) }), onEach(func(m *machine, i string) error { return m.Heal(i) }), true},
	{"term", func(_ *Stage, _ context.Context, m *machine) error { return m.terminate() }, func(s *Stage, _ context.Context, m *machine) error { return s.start(m) }, true},
	{"kill", func(_ *Stage, _ context.Context, m *machine) error { return m.Kill() }, func(s *Stage, _ context.Context, m *machine) error { return s.start(m) }, true},
	{"freeze", func(s *Stage, ctx context.Context, m *machine) error {
		return s.do(ctx, Action{Verb: "freeze", Args: []string{m.Name}})
	},
		func(_ *Stage, _ context.Context, m *machine) error { m.thaw(); return nil }, true},
	{"reload", func(_ *Stage, _ context.Context, m *machine) error { return m.signal(1) }, func(*Stage, context.Context, *machine) error { return nil }, false},
}

func (m *machine) terminate() error {
	m.mu.Lock()
	p := m.daemon
	m.mu.Unlock()
	p.Stop(10 * time.Second)
	<-p.Done()
	return nil
}

// Chaos puts up a scenario's topology, starts all its directors, and deals out faults to one after the other, drawn from a seed,
// while it looks at what must always be true: in what is connected at most one director holds a floating address, those of a sync group are
// on one director, and after each healing all are held within five seconds and clients are served; after the end nothing is left behind.
func Chaos(ctx context.Context, sc *Scenario, o Options, seed uint64, duration time.Duration) error {
	if o.Patience == 0 {
		o.Patience = 1
	}
	if duration <= 0 {
		duration = time.Minute
	}
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if err := ready(sc, o); err != nil {
		return err
	}
	s, err := build(ctx, sc, o)
	if s != nil {
		defer s.close()
	}
	if err != nil {
		return err
	}
	if o.Built != nil {
		if err := o.Built(s.lab.Hosts()); err != nil {
			return err
		}
	}
	s.tell("chaos on %s, seed %d, %v", sc.Title, seed, duration)
	s.sc.Steps, s.step = []*Step{{Title: fmt.Sprintf("Chaos, seed %d, %v", seed, duration)}}, 0
	sc.Goal, sc.Questions = []string{"Faults in turn, drawn from the seed, while this is watched: among directors that hear each other one holds an address, addresses of a sync group are together, after each healing they are held within 5 s and the client is served, after the end nothing is left behind."}, nil
	c := &chaos{Stage: s, rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	err = c.storm(ctx, duration)
	if err == nil {
		err = c.calm(ctx)
	}
	for _, x := range s.all {
		x.stop()
		s.tell("%s", x.summary())
	}
	last := s.cap.stop()
	verdict := Outcome{Text: "no invariant is violated", Expect: true, OK: err == nil, Seen: fmt.Sprintf("%d faults", c.faults), At: time.Now()}
	switch {
	case errors.Is(err, ErrInvariant):
		s.chaos = fmt.Sprintf("VIOLATED with seed %d: %v", seed, err)
		verdict.Seen, verdict.At = err.Error(), c.violation
		s.res = append(s.res, verdict)
	case errors.Is(err, context.Canceled):
		s.ended = "interrupted"
	case err != nil:
		s.ended = err.Error()
	default:
		s.chaos = fmt.Sprintf("%d faults, no invariant violated, seed %d", c.faults, seed)
		s.res = append(s.res, verdict)
	}
	if s.chaos == "" {
		s.chaos = fmt.Sprintf("%d faults, seed %d.", c.faults, seed)
	}
	s.tell("%s", s.chaos)
	if errors.Is(err, ErrInvariant) {
		s.tell("the frames around it:")
		c.around(last)
	}
	if o.Report != "" {
		if rerr := s.report(last); rerr != nil {
			err = errors.Join(err, rerr)
		}
		s.tell("the report is in %s", filepath.Join(o.Report, "report.html"))
	}
	return err
}

type chaos struct {
	*Stage
	rng       *rand.Rand
	directors []*machine
	vips      []netip.Addr    // the floating addresses; clients ask for the first
	together  bool            // a sync group keeps them on one director
	away      map[string]bool // hosts that a fault has taken out
	faults    int
	violation time.Time
}

func (c *chaos) prepare(ctx context.Context) error {
	c.away = map[string]bool{}
	for _, h := range c.sc.Hosts {
		conf := c.sc.Config(h.Name)
		if conf == nil {
			continue
		}
		m := c.hosts[h.Name]
		c.directors = append(c.directors, m)
		if err := c.start(m); err != nil {
			return err
		}
		c.together = c.together || strings.Contains(conf.Text, "vrrp_sync_group")
		for rest, more := conf.Text, true; more; {
			if _, rest, more = strings.Cut(rest, "virtual_ipaddress {"); !more {
				break
			}
			word := strings.TrimSpace(rest)
			word = word[:strings.IndexFunc(word+" ", unicode.IsSpace)]
			p, err := netip.ParsePrefix(word)
			if err != nil {
				return fmt.Errorf("%q in the configuration of %s is not an address with its length", word, h.Name)
			}
			if !slices.Contains(c.vips, p.Addr()) {
				c.vips = append(c.vips, p.Addr())
			}
		}
	}
	if len(c.directors) < 2 || len(c.vips) == 0 {
		return errors.New("chaos wants two directors and a floating address")
	}
	if err := c.settled(ctx, 10*time.Second); err != nil {
		return err
	}
	for _, h := range c.sc.Hosts {
		if c.sc.Config(h.Name) == nil && len(h.Webs) == 0 {
			return c.client(c.hosts[h.Name], []string{netip.AddrPortFrom(c.vips[0], 80).String(), "every", "50ms", "timeout", "500ms"})
		}
	}
	return errors.New("chaos wants a host that is a client")
}

// storm deals out faults until the time is over.
func (c *chaos) storm(ctx context.Context, duration time.Duration) error {
	for end := time.Now().Add(duration); time.Now().Before(end); {
		m := c.directors[c.rng.IntN(len(c.directors))]
		f := faults[c.rng.IntN(len(faults))]
		hold := time.Duration(500+c.rng.IntN(5500)) * time.Millisecond
		what := fmt.Sprintf("%s %s for %.1f s", f.name, m.Name, hold.Seconds())
		c.tell("   %s", what)
		c.res = append(c.res, Outcome{Text: what, OK: true, At: time.Now()})
		c.faults++
		if f.alone {
			c.away[m.Name] = true
		}
		if err := f.do(c.Stage, ctx, m); err != nil {
			return err
		}
		if err := c.watch(ctx, hold); err != nil {
			return err
		}
		if err := f.un(c.Stage, ctx, m); err != nil {
			return err
		}
		delete(c.away, m.Name)
		if err := c.settled(ctx, 5*time.Second); err != nil {
			return err
		}
		if err := c.watch(ctx, time.Duration(300+c.rng.IntN(1200))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// reachable are the holders of an address that no fault has taken out.
func (c *chaos) reachable(vip netip.Addr) (out []string) {
	for _, m := range c.directors {
		if !c.away[m.Name] && m.Has(vip) {
			out = append(out, m.Name)
		}
	}
	return out
}

// wrong says what must not last: that two which hear each other hold an address, or that addresses which belong together are apart.
func (c *chaos) wrong() string {
	first := []string(nil)
	for i, vip := range c.vips {
		h := c.reachable(vip)
		if len(h) > 1 {
			return fmt.Sprintf("%s both hold %s", strings.Join(h, " and "), vip)
		}
		if i == 0 {
			first = h
		} else if c.together && len(h) == 1 && len(first) == 1 && h[0] != first[0] {
			return fmt.Sprintf("%s holds %s, but %s holds %s", first[0], c.vips[0], h[0], vip)
		}
	}
	return ""
}

// watch looks for a time whether something is wrong for longer than it takes to sort out who is master.
func (c *chaos) watch(ctx context.Context, d time.Duration) error {
	var since *lab.Stopwatch
	for end := time.Now().Add(d); time.Now().Before(end); {
		if what := c.wrong(); what == "" {
			since = nil
		} else if since == nil {
			since = lab.NewStopwatch(time.Now())
		} else if ran := since.Ran(); ran > time.Duration(1500*c.o.Patience)*time.Millisecond {
			c.violation = time.Now()
			return fmt.Errorf("%w: for %.1f s %s", ErrInvariant, ran.Seconds(), what)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until exactly one director holds each address, all of them the same one where they belong together, and, if there is
// a client, that it is answered.
func (c *chaos) settled(ctx context.Context, within time.Duration) error {
	began := time.Now()
	watch := lab.NewStopwatch(began)
	limit := time.Duration(float64(within) * c.o.Patience)
	for {
		held, ran := "", watch.Ran()
		ok := c.wrong() == ""
		for _, vip := range c.vips {
			h := c.reachable(vip)
			ok = ok && len(h) == 1
			held += fmt.Sprintf("%s by %s, ", vip, listOr(h, "nobody"))
		}
		served := c.first == nil
		if !served {
			_, at := c.first.last()
			served = at.After(began)
		}
		if ok && served {
			return nil
		}
		if ran > limit {
			c.violation = time.Now()
			return fmt.Errorf("%w: %.0f s after the healing: %sserved %v", ErrInvariant, limit.Seconds(), held, served)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// calm stops all directors and looks that nothing is left.
func (c *chaos) calm(ctx context.Context) error {
	for _, m := range c.directors {
		if err := m.terminate(); err != nil {
			return err
		}
	}
	for watch := lab.NewStopwatch(time.Now()); ; {
		dirty, ran := "", watch.Ran()
		for _, m := range c.directors {
			if ok, seen, _ := c.clean(m); !ok {
				dirty = m.Name + ": " + seen
			}
		}
		if dirty == "" {
			return nil
		}
		if ran > time.Duration(5*c.o.Patience*float64(time.Second)) {
			c.violation = time.Now()
			return fmt.Errorf("%w: %s", ErrInvariant, dirty)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// around prints the frames of the last seconds before a violation.
func (c *chaos) around(last []capture.Event) {
	c.cap.mu.Lock()
	frames, points := c.cap.frames, c.cap.points
	c.cap.mu.Unlock()
	t := &capture.Timeline{W: c.o.Out, Brief: true}
	for i := range frames {
		if c.violation.Sub(frames[i].f.At) < 12*time.Second {
			_ = t.Frame(frames[i].f, &frames[i].n, points)
		}
	}
	_ = t.Close(last)
}
