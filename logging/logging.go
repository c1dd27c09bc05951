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
	queue   chan entry
	done    chan struct{}
	closed  atomic.Bool
	dropped atomic.Uint64
	min     slog.Level
	opts    Options
	mu      sync.RWMutex // held for reading around a send, for writing to close the queue
}

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
	l := &Logger{queue: make(chan entry, queueLen), done: make(chan struct{}), opts: o, min: slog.LevelInfo}
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
	if l.closed.Swap(true) {
		l.mu.Unlock()
		return
	}
	close(l.queue)
	l.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

func (l *Logger) put(e entry) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed.Load() {
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
	}
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
	buf := make([]byte, 0, 512)
	for e := range l.queue {
		buf = l.emit(buf, sys, e)
		if n := l.dropped.Load(); n != reported && len(l.queue) == 0 {
			buf = l.emit(buf, sys, entry{e.at, fmt.Sprintf("%d log messages lost: the receiver was too slow", n-reported)})
			reported = n
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
