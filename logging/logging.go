// Package logging prints log records as the reference daemon prints its lines: on the console with the time in front, to
// syslog with ident and pid, to a file. Whoever logs never waits: records go through a bounded queue to one writer, and what
// does not fit is counted and reported once there is room again.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Levels below Info are the reference's log detail.
const (
	// LevelDetail is printed with -D.
	LevelDetail = slog.LevelDebug
	// LevelMore is printed with -D -D.
	LevelMore = slog.LevelDebug - 4
)

// ConsoleTime is the time in front of a line on the console, as C's "%c" in the POSIX locale.
const ConsoleTime = "Mon Jan _2 15:04:05 2006"

// queueLen is how many records may wait for a slow console or syslog.
const queueLen = 4096

// Options say where lines go. The zero value prints nothing.
type Options struct {
	// Ident is the name in front of syslog lines, e.g. "Keepalived_vrrp".
	Ident string
	// Pid is the number behind Ident.
	Pid int
	// Console gets the lines with their time; nil for none.
	Console io.Writer
	// File gets the lines as the console does; nil for none. It is closed by Close.
	File io.WriteCloser
	// Syslog sends lines to the local syslog daemon at Socket, by default /dev/log.
	Syslog bool
	Socket string
	// Facility is the syslog facility, 0..23 (RFC 5424 §6.2.1); the reference's default is Daemon.
	Facility int
	// Detail is how often -D was given.
	Detail int
}

// Syslog facilities by name (RFC 5424 §6.2.1).
const (
	User   = 1
	Daemon = 3
	Local0 = 16
)

// Logger owns the writer goroutine. Its Slog is what the rest of the program logs to.
type Logger struct {
	done    chan struct{}
	dropped atomic.Uint64
	min     slog.Level
	opts    Options

	mu     sync.Mutex
	queue  []entry // at most queueLen that were not taken
	taken  int     // how many at its beginning were
	closed bool
	wake   chan struct{} // one token: there is something in the queue, or it was closed
}

// bite is how many entries the writer takes at once, and what the queue keeps room for.
const bite = 64

// entry is a record on its way: what a line needs, nothing formatted yet.
type entry struct {
	at   time.Time
	text string
}

// New starts a logger.
func New(o Options) *Logger {
	if o.Socket == "" {
		o.Socket = "/dev/log"
	}
	l := &Logger{wake: make(chan struct{}, 1), done: make(chan struct{}), opts: o, min: slog.LevelInfo}
	switch {
	case o.Detail >= 2:
		l.min = LevelMore
	case o.Detail == 1:
		l.min = LevelDetail
	}
	go l.write()
	return l
}

// Slog gives the logger for the rest of the program.
func (l *Logger) Slog() *slog.Logger { return slog.New(handler{l}) }

// Dropped is how many records found no room so far.
func (l *Logger) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is queued, waiting at most wait, and ends the writer. Later records are dropped.
func (l *Logger) Close(wait time.Duration) {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return
	}
	l.rouse()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

func (l *Logger) put(e entry) {
	l.mu.Lock()
	room := !l.closed && len(l.queue)-l.taken < queueLen
	if room {
		if len(l.queue) == cap(l.queue) && l.taken > 0 {
			l.queue, l.taken = append(l.queue[:0], l.queue[l.taken:]...), 0
		}
		l.queue = append(l.queue, e)
	}
	l.mu.Unlock()
	if !room {
		l.dropped.Add(1)
		return
	}
	l.rouse()
}

// rouse wakes the writer.
func (l *Logger) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves entries from the queue to list. more says that there are others, end that nothing will come any more.
func (l *Logger) take(list []entry) (n int, more, end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = copy(list, l.queue[l.taken:])
	clear(l.queue[l.taken:][:n])
	if l.taken += n; l.taken < len(l.queue) {
		return n, true, false
	}
	if l.queue, l.taken = l.queue[:0], 0; cap(l.queue) > bite {
		l.queue = nil
	}
	return n, false, l.closed
}

// write is the writer: it alone touches console, file and socket.
func (l *Logger) write() {
	defer close(l.done)
	var sys *syslogConn
	if l.opts.Syslog {
		sys = &syslogConn{path: l.opts.Socket}
		defer sys.close()
	}
	if l.opts.File != nil {
		defer l.opts.File.Close()
	}
	var reported uint64
	list := make([]entry, bite)
	buf := make([]byte, 0, 512)
	for end := false; !end; {
		<-l.wake
		for more := true; more; {
			var n int
			n, more, end = l.take(list)
			for _, e := range list[:n] {
				buf = l.emit(buf, sys, e)
			}
			if lost := l.dropped.Load(); lost != reported && n > 0 && !more {
				buf = l.emit(buf, sys, entry{list[n-1].at, fmt.Sprintf("%d log messages lost: the receiver was too slow", lost-reported)})
				reported = lost
			}
			clear(list[:n])
		}
	}
}

func (l *Logger) emit(buf []byte, sys *syslogConn, e entry) []byte {
	if l.opts.Console != nil || l.opts.File != nil {
		buf = append(e.at.AppendFormat(buf[:0], ConsoleTime), ": "...)
		buf = append(append(buf, e.text...), '\n')
		if l.opts.Console != nil {
			l.opts.Console.Write(buf) // a console that is gone is nobody's loss
		}
		if l.opts.File != nil {
			l.opts.File.Write(buf)
		}
	}
	if sys != nil {
		buf = fmt.Appendf(buf[:0], "<%d>%s %s[%d]: %s", l.opts.Facility<<3|severityInfo, e.at.Format(time.Stamp), l.opts.Ident, l.opts.Pid, e.text)
		if !sys.send(buf) {
			l.dropped.Add(1)
		}
	}
	return buf
}

// handler is the slog side. Attributes are not part of the reference's lines: those are complete sentences already, and people
// grep them.
type handler struct{ l *Logger }

func (h handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.l.min }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.l.put(entry{r.Time, r.Message})
	return nil
}

func (h handler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h handler) WithGroup(string) slog.Handler      { return h }
