package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
)

// Fifo is a notify_fifo, vrrp_notify_fifo or lvs_notify_fifo.
type Fifo struct {
	Path string
	// Classes are the events that it gets.
	Classes Class
	// Script is kept running, with the path as its last word; nil: none. Where several processes write to one fifo only one of them
	// should have the script.
	Script *script.Command
	// UID and GID own a fifo that is made, if Chown.
	UID, GID int
	Chown    bool
}

func (c Fifo) same(o Fifo) bool { return reflect.DeepEqual(c, o) }

// fifoBacklog bounds the lines kept for a fifo that is full because nobody reads it.
const fifoBacklog = 4096

// fifo is an open fifo.
type fifo struct {
	cfg  Fifo
	log  *slog.Logger
	fd   int
	made bool // by this process
	dev  uint64
	ino  uint64
	stop context.CancelFunc

	backlog [][]byte
	lost    uint64
}

// openFifo makes the fifo if it is not there. It is opened for reading too, so that it neither blocks without a reader nor loses what was
// written when the reader is away, as with the reference.
func openFifo(c Fifo, log *slog.Logger) (*fifo, error) {
	f := &fifo{cfg: c, log: log, stop: func() {}}
	fd, err := -1, error(unix.ENOENT)
	for try := 0; errors.Is(err, unix.ENOENT) && try < 10; try++ { // who made it, the other part perhaps, may remove it in between
		err = unix.Mkfifo(c.Path, 0o600)
		if f.made = err == nil; !f.made && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("Unable to create notify fifo %s: %w", c.Path, err)
		}
		fd, err = unix.Open(c.Path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("Unable to open notify fifo %s: %w", c.Path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return nil, fmt.Errorf("notify fifo %s exists and is no fifo - left alone", c.Path)
	}
	if f.made {
		// The mode does not depend on the umask.
		err := unix.Fchmod(fd, 0o600)
		if c.Chown {
			err = errors.Join(err, unix.Fchown(fd, c.UID, c.GID))
		}
		if err != nil {
			log.Warn("Unable to set the owner of notify fifo "+c.Path, "fifo", c.Path, "err", err)
		}
	}
	f.fd, f.dev, f.ino = fd, st.Dev, st.Ino
	return f, nil
}

// write queues a line; flush brings it out.
func (f *fifo) write(c Class, line string) {
	if f.cfg.Classes&c == 0 {
		return
	}
	b := make([]byte, 0, len(line)+2)
	b = append(append(b, line...), '\n')
	if c == LVS {
		b = append(b, 0) // the reference writes its string's end too, and readers have learnt to live with it
	}
	if len(f.backlog) >= fifoBacklog {
		if f.lost == 0 {
			f.log.Warn("notify fifo "+f.cfg.Path+" is full and nobody reads it - lines are lost", "fifo", f.cfg.Path)
		}
		f.lost++
		return
	}
	f.backlog = append(f.backlog, b)
}

// flush writes what the pipe takes and reports whether some is left. Lines up to PIPE_BUF are written whole or not at all.
func (f *fifo) flush() (left bool) {
	for len(f.backlog) > 0 {
		_, err := unix.Write(f.fd, f.backlog[0])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return true
		case err != nil:
			f.log.Warn("notify fifo "+f.cfg.Path+" cannot be written", "fifo", f.cfg.Path, "err", err)
		}
		f.backlog = f.backlog[1:]
	}
	f.backlog = nil
	if f.lost > 0 {
		f.log.Warn(fmt.Sprintf("notify fifo %s is read again, %d lines were lost", f.cfg.Path, f.lost), "fifo", f.cfg.Path)
		f.lost = 0
	}
	return false
}

// start keeps the fifo's script running: an end is followed by a new start after 1 s, 2 s, 4 s, up to a minute.
func (f *fifo) start(ctx context.Context, run RunFunc, wg *sync.WaitGroup) {
	if f.cfg.Script.IsZero() || run == nil {
		return
	}
	ctx, f.stop = context.WithCancel(ctx)
	wg.Add(1)
	go func() {
		defer wg.Done()
		pause := time.Second
		for {
			begin := time.Now()
			exit, _, err := run(ctx, *f.cfg.Script, 0, f.cfg.Path)
			if ctx.Err() != nil {
				return
			}
			if time.Since(begin) > time.Minute {
				pause = time.Second
			}
			if err != nil {
				f.log.Error("notify fifo script not run: "+err.Error(), "fifo", f.cfg.Path, "err", err)
			} else {
				f.log.Warn("notify fifo script "+exit.String()+" - started again in "+pause.String(), "fifo", f.cfg.Path)
			}
			t := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
			pause = min(2*pause, time.Minute)
		}
	}()
}

// keep closes without removing.
func (f *fifo) keep() {
	f.stop()
	unix.Close(f.fd)
}

// current reports whether the path still leads to this fifo: somebody may have put another one in its place.
func (f *fifo) current() bool {
	var st unix.Stat_t
	return unix.Lstat(f.cfg.Path, &st) == nil && st.Dev == f.dev && st.Ino == f.ino
}

// close ends the script and removes the fifo if it was made here and nothing else has taken its place.
func (f *fifo) close() {
	f.flush()
	f.stop()
	mine := f.made && f.current() // the number belongs to this one as long as it is open
	unix.Close(f.fd)
	if mine {
		if err := os.Remove(f.cfg.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			f.log.Warn("Unable to remove notify fifo "+f.cfg.Path, "err", err)
		}
	}
}
