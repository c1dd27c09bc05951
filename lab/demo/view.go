package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// view draws: a timeline that grows and, on a terminal, a panel below it that is drawn anew.
type view struct {
	mu    sync.Mutex
	out   io.Writer
	tty   bool
	width int
	start time.Time
	panel func() []string
	drawn int // lines of the panel on the screen
}

func newView(out io.Writer, tty bool, width int, start time.Time) *view {
	if width < 40 {
		width = 100
	}
	return &view{out: out, tty: tty, width: width, start: start}
}

const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	cyan   = "\x1b[36m"
)

func (v *view) paint(colour, s string) string {
	if !v.tty || s == "" {
		return s
	}
	return colour + s + reset
}

// colours of the hosts in the timeline.
func (v *view) who(name string) string {
	colour := dim
	switch {
	case name == "lb1":
		colour = cyan
	case name == "lb2":
		colour = blue
	case strings.HasPrefix(name, "web"):
		colour = yellow
	case name == "client":
		colour = bold
	}
	return v.paint(colour, fmt.Sprintf("%-7s", name))
}

// line adds a line to the timeline.
func (v *view) line(s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.erase()
	fmt.Fprintln(v.out, s)
	v.redraw()
}

func (v *view) event(who, text string) {
	v.line(fmt.Sprintf("%7.2f s  %s %s", time.Since(v.start).Seconds(), v.who(who), text))
}

// step announces what the script does next.
func (v *view) step(text string) {
	v.line("")
	v.line(fmt.Sprintf("%7.2f s  %s", time.Since(v.start).Seconds(), v.paint(bold, "▶ "+text)))
}

func (v *view) check(c check) {
	v.line("           " + v.verdict(c))
}

func (v *view) verdict(c check) string {
	sign, colour := "✓", green
	if c.verdict() != "seen" {
		sign, colour = "✗", red
	}
	s := fmt.Sprintf("%s %-8s  %s", sign, c.verdict(), c.what)
	if c.limit > 0 && c.seen {
		s += fmt.Sprintf(": %.2f s (limit %.1f s)", c.took.Seconds(), c.limit.Seconds())
	} else if c.limit > 0 {
		s += fmt.Sprintf(" (limit %.1f s)", c.limit.Seconds())
	}
	if c.note != "" {
		s += ": " + c.note
	}
	return v.paint(colour, s)
}

func (v *view) intro(plane string) {
	v.line(v.paint(bold, "Relève: two directors, three web servers, one client"))
	v.line(`
   client ──┬── lb1 ──┬── web1 (weight 3)
  .56.1     │  .56.11 │   .200.11       the client asks       192.168.56.10:80
            │         ├── web2 (1)      the servers answer by 192.168.200.250
            │         │   .200.12       both addresses belong to the master
            └── lb2 ──┴── web3 (1)
               .56.12     .200.13
`)
	v.line("data plane: " + plane)
}

// live draws the panel several times a second until stop is called.
func (v *view) live(panel func() []string) (stop func()) {
	if !v.tty {
		return func() {}
	}
	v.mu.Lock()
	v.panel = panel
	v.mu.Unlock()
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			v.mu.Lock()
			v.erase()
			v.redraw()
			v.mu.Unlock()
		}
	}()
	return func() {
		close(done)
		<-ended
		v.mu.Lock()
		v.erase()
		v.panel = nil
		v.mu.Unlock()
	}
}

func (v *view) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

func (v *view) redraw() {
	if v.panel == nil {
		return
	}
	lines := v.panel()
	fmt.Fprintln(v.out, v.paint(dim, strings.Repeat("─", min(v.width-1, 100))))
	for _, l := range lines {
		fmt.Fprintln(v.out, v.cut(l))
	}
	v.drawn = len(lines) + 1
}

// cut shortens a line to the width of the terminal, so that the panel keeps its height; colours take no room.
func (v *view) cut(s string) string {
	n, escape := 0, false
	for i, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if n++; n >= v.width {
				return s[:i] + reset
			}
		}
	}
	return s
}
