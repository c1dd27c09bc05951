package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Grace is how long a script has between SIGTERM and SIGKILL, as the reference.
const Grace = 2 * time.Second

// Exit is how a script ended.
type Exit struct {
	// Code is the exit status, 0 to 255; it counts only if Signal is 0.
	Code int
	// Signal is what ended it, 0 if it exited by itself.
	Signal syscall.Signal
	// TimedOut says that the time limit struck or the context ended before the script did. It may have exited with
	// any code then, 0 too.
	TimedOut bool
}

// OK reports whether the script exited with 0 (even if only after being told to end, as the reference has it).
func (e Exit) OK() bool { return e.Signal == 0 && e.Code == 0 }

func (e Exit) String() string {
	s := fmt.Sprintf("exited with status %d", e.Code)
	if e.Signal != 0 {
		s = fmt.Sprintf("killed by signal %d (%s)", int(e.Signal), e.Signal)
	}
	if e.TimedOut {
		s = "timed out, " + s
	}
	return s
}

// Runner runs commands with the defaults of the daemon. The zero value is usable; methods may be called from any goroutine.
type Runner struct {
	// Grace is the time between SIGTERM and SIGKILL; zero means 2 s.
	Grace time.Duration

	mu       sync.Mutex // guards what follows
	settings Settings
	accounts map[[2]string]Account
}

// NewRunner makes a runner.
func NewRunner(s Settings) *Runner { return &Runner{settings: s} }

// Configure goes over to other settings, and forgets what accounts were: what is started from now on runs by them.
func (r *Runner) Configure(s Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings, r.accounts = s, nil
}

// Run runs the command with extra arguments behind its own and waits for its end. Its environment is the daemon's without what
// could change what the script does (see Environ), its streams are /dev/null, it leads a process group of its own and gets SIGTERM
// if the daemon dies. At the time limit, or when ctx is done, the group gets SIGTERM and after the grace SIGKILL; what the script
// left in its group is killed with it then. A program without a `#!` line is run by /bin/sh.
//
// The error says why nothing was run (ErrNotFound, ErrNotExecutable, ErrUnsafe, ErrNoAccount, or the system's); a script that ran and
// failed is no error but an Exit.
func (r *Runner) Run(ctx context.Context, c Command, extra ...string) (Exit, error) {
	e, _, err := r.run(ctx, c, 0, extra)
	return e, err
}

// RunOutput is Run that also returns the first max bytes of what the script wrote to its standard output and error; the rest
// is read and dropped.
func (r *Runner) RunOutput(ctx context.Context, c Command, max int, extra ...string) (Exit, []byte, error) {
	return r.run(ctx, c, max, extra)
}

func (r *Runner) run(ctx context.Context, c Command, max int, extra []string) (Exit, []byte, error) {
	if err := ctx.Err(); err != nil {
		return Exit{}, nil, err
	}
	path, acct, err := r.resolve(&c)
	if err != nil {
		return Exit{}, nil, err
	}
	argv := append(slices.Clone(c.Args), extra...)
	argv[0] = path // what ps shows, as the reference
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return Exit{}, nil, fmt.Errorf("run script %s: %w", path, err)
	}
	defer null.Close()
	out, collect := null, func() []byte { return nil }
	if max > 0 {
		if out, collect, err = capture(max); err != nil {
			return Exit{}, nil, fmt.Errorf("run script %s: %w", path, err)
		}
	}
	p, err := start(path, argv, acct, [3]uintptr{null.Fd(), out.Fd(), out.Fd()})
	if out != null {
		out.Close()
	}
	if err != nil {
		collect()
		return Exit{}, nil, fmt.Errorf("run script %s as uid:gid %d:%d: %w", path, acct.UID, acct.GID, err)
	}
	grace := r.Grace
	if grace <= 0 {
		grace = Grace
	}
	e, err := p.wait(ctx, c.Timeout, grace)
	if err != nil {
		err = fmt.Errorf("wait for script %s: %w", path, err)
	}
	return e, collect(), err
}

// resolve is Settings.Check with the look-up of accounts remembered until the next Configure.
func (r *Runner) resolve(c *Command) (string, Account, error) {
	if c.IsZero() {
		return "", Account{}, fmt.Errorf("empty command: %w", ErrNotFound)
	}
	key := [2]string{c.User, c.Group}
	r.mu.Lock()
	settings := r.settings
	a, ok := r.accounts[key]
	r.mu.Unlock()
	if !ok {
		var err error
		if a, err = settings.Account(c); err != nil {
			return "", a, fmt.Errorf("script %s: %w", c.Args[0], err)
		}
		r.mu.Lock()
		if r.settings == settings {
			if r.accounts == nil {
				r.accounts = map[[2]string]Account{}
			}
			r.accounts[key] = a
		}
		r.mu.Unlock()
	}
	path, err := Find(c.Args[0])
	if err == nil && settings.Security && a.UID == 0 {
		err = CheckPath(path)
	}
	return settings.called(path), a, err
}

// unwanted are the variables that a script does not get, as the reference; RELEVE_* are the daemon's own.
var unwanted = []string{"IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "NOTIFY_SOCKET"}

// Environ is the environment scripts get: the daemon's without IFS, LD_PRELOAD, LD_LIBRARY_PATH, NOTIFY_SOCKET and the daemon's own
// variables.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		return slices.Contains(unwanted, k) || strings.HasPrefix(k, "RELEVE_")
	})
}

// capture makes a pipe: the end for the script, and a function that ends the reading and gives what was read.
func capture(max int) (*os.File, func() []byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	var (
		buf  []byte
		done = make(chan struct{})
	)
	go func() {
		defer r.Close()
		chunk := make([]byte, 4096)
		keep := func(n int) {
			if n > 0 && len(buf) < max {
				buf = append(buf, chunk[:min(n, max-len(buf))]...)
			}
		}
		n, err := 0, error(nil)
		for err == nil {
			n, err = r.Read(chunk)
			keep(n)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			close(done)
			return
		}
		// The script has ended. What it wrote is in the pipe, whether this goroutine has come to reading it or not.
		_ = r.SetReadDeadline(time.Time{})
		for left := pipeSize; left > 0 && len(buf) < max; left -= n {
			if n = readNow(r, chunk); n <= 0 {
				break
			}
			keep(n)
		}
		close(done)
		// What the script has left running must not die of a closed pipe: its output goes nowhere from now on.
		for err = nil; err == nil; {
			_, err = r.Read(chunk)
		}
	}()
	return w, func() []byte {
		// A child left behind may hold the other end open for ever: what is in the pipe now is all that counts.
		_ = r.SetReadDeadline(time.Unix(1, 0))
		<-done
		return buf
	}, nil
}

// pipeSize is how many bytes a pipe holds (pipe(7)).
const pipeSize = 64 << 10

// readNow reads what is there; 0 or less: nothing.
func readNow(r *os.File, b []byte) (n int) {
	rc, err := r.SyscallConn()
	if err != nil {
		return 0
	}
	_ = rc.Read(func(fd uintptr) bool {
		_ = ignoringEINTR(func() (err error) { n, err = unix.Read(int(fd), b); return err })
		return true
	})
	return n
}

// process is a started script, a zombie until wait has returned.
type process struct {
	pid int
	fd  *os.File // pidfd, nil where the kernel has none
}

// wait waits for the end, enforcing the limit; it reaps the process.
func (p *process) wait(ctx context.Context, limit, grace time.Duration) (Exit, error) {
	if p.fd == nil {
		return p.waitThread(ctx, limit, grace)
	}
	defer p.fd.Close()
	if limit > 0 {
		_ = p.fd.SetReadDeadline(time.Now().Add(limit))
	}
	stop := context.AfterFunc(ctx, func() { _ = p.fd.SetReadDeadline(time.Unix(1, 0)) })
	err := p.ended()
	stop()
	timedOut := false
	if errors.Is(err, os.ErrDeadlineExceeded) {
		timedOut = true
		_ = unix.Kill(-p.pid, unix.SIGTERM)
		_ = p.fd.SetReadDeadline(time.Now().Add(grace))
		if err = p.ended(); errors.Is(err, os.ErrDeadlineExceeded) {
			_ = unix.Kill(-p.pid, unix.SIGKILL)
			_ = p.fd.SetReadDeadline(time.Time{})
			err = p.ended()
		}
	}
	if timedOut {
		// The zombie keeps its process group from being used again: nobody else can be hit.
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	}
	if err != nil {
		return Exit{TimedOut: timedOut}, err
	}
	return p.reap(timedOut)
}

// ended parks the goroutine, not a thread, until the process is a zombie or the deadline of fd has passed.
func (p *process) ended() error {
	rc, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	err = rc.Read(func(fd uintptr) bool {
		var si unix.Siginfo
		werr = ignoringEINTR(func() error {
			return unix.Waitid(unix.P_PIDFD, int(fd), &si, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		})
		return werr != unix.EAGAIN && (werr != nil || si.Signo != 0)
	})
	if err == nil {
		err = werr
	}
	return err
}

func (p *process) reap(timedOut bool) (Exit, error) {
	var ws unix.WaitStatus
	err := ignoringEINTR(func() error { _, err := unix.Wait4(p.pid, &ws, 0, nil); return err })
	if err != nil {
		return Exit{TimedOut: timedOut}, err
	}
	if ws.Signaled() {
		return Exit{Signal: ws.Signal(), TimedOut: timedOut}, nil
	}
	return Exit{Code: ws.ExitStatus(), TimedOut: timedOut}, nil
}

// waitThread is wait for kernels without process descriptors (before 5.10): a thread blocks for each script.
func (p *process) waitThread(ctx context.Context, limit, grace time.Duration) (Exit, error) {
	done := make(chan error, 1)
	go func() {
		var si unix.Siginfo
		done <- ignoringEINTR(func() error {
			return unix.Waitid(unix.P_PID, p.pid, &si, unix.WEXITED|unix.WNOWAIT, nil)
		})
	}()
	var after <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		after = t.C
	}
	var err error
	timedOut := false
	select {
	case err = <-done:
	case <-after:
		timedOut = true
	case <-ctx.Done():
		timedOut = true
	}
	if timedOut {
		_ = unix.Kill(-p.pid, unix.SIGTERM)
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case err = <-done:
			_ = unix.Kill(-p.pid, unix.SIGKILL)
		case <-t.C:
			_ = unix.Kill(-p.pid, unix.SIGKILL)
			err = <-done
		}
	}
	if err != nil {
		return Exit{TimedOut: timedOut}, err
	}
	return p.reap(timedOut)
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
