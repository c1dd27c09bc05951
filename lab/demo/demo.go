// Package demo is the first thing to see of the project: two directors with a floating address on either side, three web servers
// behind them and a client that asks all the time, in namespaces of this machine. A server dies and comes back, the master
// is killed and comes back, and the terminal shows what that does to the client.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"releve/lab"
)

// Options of Run.
type Options struct {
	// Name is what the run is registered as, for the hint how to enter its hosts; empty is demo.
	Name string
	// Binary is the program to run as the director, called by the name keepalived.
	Binary string
	// Config holds lb1.conf and lb2.conf.
	Config fs.FS
	// Out gets the timeline; with Terminal it is drawn in colour over a panel at the bottom of Width columns.
	Out      io.Writer
	Terminal bool
	Width    int
	// Input makes the demo wait for a line before each step and take commands; nil: it goes on by itself.
	Input io.Reader
	// Patience stretches the time limits, for machines that are busy with other things; zero is 1.
	Patience float64
	// Log shows the lines of the directors in the timeline.
	Log bool
	// Built, if not nil, is called with the hosts when they are there, by name.
	Built func(map[string]*lab.Host) error
}

// ErrMissed says that something that was expected did not happen, or too late.
var ErrMissed = errors.New("not everything happened as expected")

// demo is one run.
type demo struct {
	*stage
	o      Options
	view   *view
	ctx    context.Context
	lines  <-chan string
	traf   *lab.Traffic
	start  time.Time
	asking time.Time // when the client began
	asked  time.Time // and when it ended; zero: it has not
	now    string    // the present step
	checks []check
}

// check is the verdict on one expectation.
type check struct {
	step  string
	what  string
	limit time.Duration // zero: a fact, not a matter of time
	took  time.Duration
	seen  bool
	note  string
}

func (c check) verdict() string {
	switch {
	case !c.seen:
		return "not seen"
	case c.limit > 0 && c.took > c.limit:
		return "too late"
	}
	return "seen"
}

// errStopped ends the script early; the summary is given all the same.
var errStopped = errors.New("stopped")

// Run plays the demo and gives nil if all expectations were met in time, ErrMissed if not, the context's error if it was
// interrupted. It takes everything down that it put up.
func Run(ctx context.Context, o Options) (err error) {
	if n := lab.Sweep(); n > 0 {
		fmt.Fprintf(o.Out, "ended %d processes that an earlier demo had left behind\n", n)
	}
	o.Name = cmp.Or(o.Name, "demo")
	d := &demo{o: o, ctx: ctx, start: time.Now()}
	d.view = newView(o.Out, o.Terminal, o.Width, d.start)
	if o.Input != nil {
		d.lines = readLines(o.Input)
	}
	d.stage, err = setUp(d.view, o)
	if d.stage != nil {
		defer func() { err = errors.Join(err, d.takeDown()) }()
	}
	if err != nil {
		return err
	}
	if o.Built != nil {
		if err := o.Built(d.lab.Hosts()); err != nil {
			return err
		}
	}
	d.view.intro(d.planeText())
	stopPanel := d.view.live(d.panel)
	err = d.script()
	stopPanel()
	if ctx.Err() != nil {
		d.view.line("interrupted: cleaning up")
		return ctx.Err()
	}
	d.summary()
	if err != nil && !errors.Is(err, errStopped) {
		return err
	}
	for _, c := range d.checks {
		if c.verdict() != "seen" {
			return ErrMissed
		}
	}
	return nil
}

func (d *demo) takeDown() error {
	if d.traf != nil {
		d.traf.Stop()
	}
	return d.stage.close()
}

// expect waits until ok, and notes whether that was in time. It gives up some seconds after the limit: then what follows would
// have no ground, and the script ends.
func (d *demo) expect(what string, limit time.Duration, ok func() bool) error {
	return d.expectSince(time.Now(), what, limit, ok, nil)
}

func (d *demo) expectSince(from time.Time, what string, limit time.Duration, ok func() bool, note func() string) error {
	limit = d.within(limit)
	c := check{what: what, limit: limit}
	watch := lab.NewStopwatch(from)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ran := watch.Ran() // before the look: there is always one after the time is over
		c.seen = ok()
		if c.took = watch.Ran(); c.seen || ran > limit+max(limit, 5*time.Second) {
			break
		}
		if c.note = d.ended(); c.note != "" {
			break
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-tick.C:
		}
	}
	if note != nil && c.seen {
		c.note = note()
	}
	d.note(c)
	if !c.seen {
		return errStopped
	}
	return nil
}

// ended names a director that has ended by itself, with its status; empty: none has.
func (d *demo) ended() string {
	for _, x := range d.directors {
		x.mu.Lock()
		p, expected := x.proc, x.down
		x.mu.Unlock()
		if p != nil && !expected && !running(p) {
			return fmt.Sprintf("%s ended: %v", x.Name, cmp.Or(p.Err(), errors.New("status 0")))
		}
	}
	return ""
}

// fact notes something that is so or not, with what was measured.
func (d *demo) fact(what string, ok bool, note string) {
	d.note(check{what: what, seen: ok, note: note})
}

func (d *demo) note(c check) {
	c.step = d.now
	d.checks = append(d.checks, c)
	d.view.check(c)
}
