package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Sink takes frames with their notes.
type Sink interface {
	// Frame is called in the order of time; points are those known so far.
	Frame(f *Frame, n *Note, points []Point) error
	// Close is called once, at the end, with what did not happen any more.
	Close(last []Event) error
}

// Watcher is a Sink that wants to hear at once, while no frame comes, of what should have happened and did not. Other sinks hear of it
// with the next frame.
type Watcher interface {
	Idle(events []Event) error
}

// Flusher is a Sink that holds back what it writes. It is called when no frame has come for a while.
type Flusher interface{ Flush() error }

// Options say how a capture runs.
type Options struct {
	Knowledge Knowledge
	// Count ends it after so many frames; 0 is no limit.
	Count int
}

// Run reads a source until its end and gives every frame to all sinks.
func Run(src Source, o Options, sinks ...Sink) (frames int, err error) {
	d := NewDecoder(o.Knowledge)
	a := NewAnnotator(o.Knowledge)
	var missed []Event // while no frame came
	for o.Count == 0 || frames < o.Count {
		var p Packet
		if p, err = src.Next(); errors.Is(err, ErrIdle) {
			events := a.Advance(time.Now().Add(-settle))
			missed = append(missed, events...)
			for _, s := range sinks {
				err = nil
				if w, ok := s.(Watcher); ok {
					err = w.Idle(events)
				}
				if w, ok := s.(Flusher); ok && err == nil {
					err = w.Flush()
				}
				if err != nil {
					return frames, err
				}
			}
			continue
		}
		if err != nil {
			break
		}
		f := d.Decode(p)
		n := a.Add(f)
		frames++
		all := n
		all.Events = append(missed, n.Events...)
		missed = nil
		for _, s := range sinks {
			note := &all
			if _, ok := s.(Watcher); ok {
				note = &n
			}
			if err := s.Frame(f, note, src.Points()); err != nil {
				return frames, err
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	last := a.Advance(a.now)
	for _, s := range sinks {
		events := last
		if _, ok := s.(Watcher); !ok {
			events = append(slices.Clone(missed), last...)
		}
		if cerr := s.Close(events); err == nil {
			err = cerr
		}
	}
	return frames, err
}

// Timeline writes a line for each frame, with the time since the one before.
type Timeline struct {
	W io.Writer
	// Colour uses the terminal's; Brief leaves out routine frames.
	Colour, Brief bool
	begin, last   time.Time
	skipped       int
}

const (
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

func (t *Timeline) paint(code, s string) string {
	if !t.Colour || code == "" {
		return s
	}
	return code + s + reset
}

// Frame writes the frame's line, after those of what happened without one.
func (t *Timeline) Frame(f *Frame, n *Note, points []Point) error {
	if t.begin.IsZero() {
		t.begin, t.last = f.At, f.At
		if _, err := fmt.Fprintf(t.W, "%s\n", t.paint(dim, "from "+f.At.UTC().Format("2006-01-02 15:04:05.000000 UTC"))); err != nil {
			return err
		}
	}
	for _, e := range n.Events {
		if e.State == "" {
			if err := t.event(e); err != nil {
				return err
			}
		}
	}
	if t.Brief && n.Kind == Routine {
		t.skipped++
		return nil
	}
	code := [...]string{dim, "", bold, bold + red}[n.Kind]
	point := ""
	if len(points) > 1 && f.Point < len(points) {
		point = " [" + points[f.Point].Name + "]"
	}
	to := n.Dst
	if to == "" {
		to = "all"
	}
	skipped := ""
	if t.skipped > 0 {
		skipped = fmt.Sprintf(" (%d routine frames before)", t.skipped)
		t.skipped = 0
	}
	_, err := fmt.Fprintf(t.W, "%10.6f %s %-6s %s → %s%s  %s%s\n", f.At.Sub(t.begin).Seconds(), t.paint(dim, fmt.Sprintf("+%-9s", span(f.At.Sub(t.last)))), f.Proto, n.Src, to,
		t.paint(dim, point), t.paint(code, n.Text), t.paint(dim, skipped))
	t.last = f.At
	return err
}

func (t *Timeline) event(e Event) error {
	_, err := fmt.Fprintf(t.W, "%10.6f %s\n", e.At.Sub(t.begin).Seconds(), t.paint(yellow, "           ! "+e.Text))
	return err
}

// Close writes what did not happen any more.
func (t *Timeline) Close(last []Event) error { return t.Idle(last) }

// Idle is Watcher's.
func (t *Timeline) Idle(events []Event) error {
	for _, e := range events {
		if e.State == "" {
			if err := t.event(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// JSONLines writes an object for each frame on a line of its own.
type JSONLines struct{ W io.Writer }

type jsonFrame struct {
	No      int       `json:"no"`
	Time    time.Time `json:"time"`
	Point   string    `json:"point,omitempty"`
	Proto   string    `json:"proto"`
	Src     string    `json:"src"`
	Dst     string    `json:"dst,omitempty"`
	Kind    string    `json:"kind"`
	Text    string    `json:"text"`
	Fault   string    `json:"fault,omitempty"`
	Fields  []Field   `json:"fields"`
	Events  []Event   `json:"events,omitempty"`
	Length  int       `json:"length"`
	Payload int       `json:"payload,omitempty"`
}

func (j JSONLines) Frame(f *Frame, n *Note, points []Point) error {
	o := jsonFrame{No: f.No, Time: f.At.UTC(), Proto: f.Proto, Src: n.Src, Dst: n.Dst, Kind: n.Kind.String(), Text: n.Text, Fault: f.Fault, Fields: f.Fields, Events: n.Events,
		Length: f.Len, Payload: len(f.Payload)}
	if f.Point < len(points) {
		o.Point = points[f.Point].Name
	}
	b, err := json.Marshal(o)
	if err == nil {
		_, err = j.W.Write(append(b, '\n'))
	}
	return err
}

// Close writes what did not happen any more, as an object with events only.
func (j JSONLines) Close(last []Event) error { return j.Idle(last) }

// Idle is Watcher's.
func (j JSONLines) Idle(events []Event) error {
	if len(events) == 0 {
		return nil
	}
	b, err := json.Marshal(struct {
		Events []Event `json:"events"`
	}{events})
	if err == nil {
		_, err = j.W.Write(append(b, '\n'))
	}
	return err
}

// File writes pcapng with the sentence as the comment of each packet.
type File struct {
	W *Writer
	// Done is called at the end, if it is set.
	Done func() error
}

func (p File) Frame(f *Frame, n *Note, points []Point) error {
	p.W.Points(points)
	text := n.Text
	for _, e := range n.Events {
		if e.State == "" {
			text = joinText("Before it: "+strings.TrimSuffix(e.Text, ".")+".", text)
		}
	}
	return p.W.Write(f.Packet, text)
}

// Flush is Flusher's.
func (p File) Flush() error { return p.W.Flush() }

// Close writes what is held back.
func (p File) Close([]Event) error {
	err := p.W.Flush()
	if p.Done != nil {
		err = errors.Join(err, p.Done())
	}
	return err
}
