// Package track watches what VRRP instances depend on besides their own interface: scripts, files and processes. Each watcher is a
// goroutine that reports changes; what a change means for an instance is decided elsewhere.
package track

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"releve/script"
)

// Counter turns single results into up and down (rise and fall of vrrp_script). The zero value knows nothing yet: then the first
// result decides, whatever Rise and Fall say.
type Counter struct {
	Rise, Fall int // zero counts as 1

	known, up bool
	row       int // results in a row against the present state
}

// Known reports whether there is a state.
func (c *Counter) Known() bool { return c.known }

// Up is the state.
func (c *Counter) Up() bool { return c.known && c.up }

// Set gives a state without a result (init_fail).
func (c *Counter) Set(up bool) { c.known, c.up, c.row = true, up, 0 }

// Add takes a result and reports whether the state changed or became known.
func (c *Counter) Add(good bool) bool {
	if !c.known {
		c.Set(good)
		return true
	}
	if good == c.up {
		c.row = 0
		return false
	}
	c.row++
	limit := c.Fall
	if good {
		limit = c.Rise
	}
	if c.row < max(limit, 1) {
		return false
	}
	c.Set(good)
	return true
}

// Script is a vrrp_script.
type Script struct {
	Name       string
	Command    script.Command
	Interval   time.Duration // zero: 1 s
	Timeout    time.Duration // zero: Interval
	Rise, Fall int
	InitFail   bool
	Watch      *Watch // nil: nobody looks
}

// Watch is how a script stands, for others to look at while it runs. A nil one stands still.
type Watch struct {
	running atomic.Bool
	row     atomic.Int32
}

// Running says that the script runs just now.
func (w *Watch) Running() bool { return w != nil && w.running.Load() }

// Row is the number of results in a row as the reference counts it: below Rise while the script is down, from there on up to
// Rise+Fall-1 while it is up.
func (w *Watch) Row() int {
	if w == nil {
		return 0
	}
	return int(w.row.Load())
}

func (w *Watch) set(c *Counter) {
	if w == nil {
		return
	}
	rise, fall := max(c.Rise, 1), max(c.Fall, 1)
	switch {
	case !c.known:
		w.row.Store(int32(rise + fall - 1))
	case c.up:
		w.row.Store(int32(rise + fall - 1 - c.row))
	default:
		w.row.Store(int32(c.row))
	}
}

func (w *Watch) run(on bool) {
	if w != nil {
		w.running.Store(on)
	}
}

// Report is a change that a watcher saw.
type Report struct {
	Name string
	Up   bool
	// Text is the line for the log: why. Status is what a script returned, -1 if it did not exit by itself.
	Text   string
	Status int
	// Changed is false for a report that is only worth its text.
	Changed bool
}

// Run runs the script every Interval until ctx is done. A run that takes longer is ended at Timeout and counts as failed; no run
// starts while one is under way.
func (s Script) Run(ctx context.Context, r *script.Runner, report func(Report)) {
	every := s.Interval
	if every <= 0 {
		every = time.Second
	}
	cmd := s.Command
	if cmd.Timeout = s.Timeout; cmd.Timeout <= 0 {
		cmd.Timeout = every
	}
	count := Counter{Rise: s.Rise, Fall: s.Fall}
	if s.InitFail {
		count.Set(false)
		report(Report{Name: s.Name, Changed: true, Text: "VRRP_Script(" + s.Name + ") considered failed until it succeeds", Status: -1})
	}
	s.Watch.set(&count)
	last := 0
	// Scripts that begin together, as all do at the start, do not go on together: the second run of each comes a little early.
	tick := time.NewTicker(every - rand.N(max(every/2, 1)))
	defer tick.Stop()
	spread := false
	for {
		s.Watch.run(true)
		exit, err := r.Run(ctx, cmd)
		s.Watch.run(false)
		if ctx.Err() != nil {
			return
		}
		status, why := verdict(exit, err)
		if status != last && status >= 0 {
			report(Report{Name: s.Name, Up: count.Up(), Status: status, Text: fmt.Sprintf("Script `%s` now returning %d", s.Name, status)})
		}
		last = status
		good := err == nil && exit.OK() && !exit.TimedOut
		changed := count.Add(good)
		s.Watch.set(&count)
		if changed {
			text := "VRRP_Script(" + s.Name + ") succeeded"
			if !good {
				text = "VRRP_Script(" + s.Name + ") " + why
			}
			report(Report{Name: s.Name, Up: good, Changed: true, Status: status, Text: text})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !spread {
			spread = true
			tick.Reset(every)
		}
	}
}

// verdict puts the end of a run into words.
func verdict(exit script.Exit, err error) (status int, why string) {
	switch {
	case err != nil:
		return -1, fmt.Sprintf("failed (%v)", err)
	case exit.TimedOut:
		return -1, "timed_out"
	case exit.Signal != 0:
		return -1, fmt.Sprintf("failed (due to signal %d)", int(exit.Signal))
	}
	return exit.Code, fmt.Sprintf("failed (exited with status %d)", exit.Code)
}
