package supervisor

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// envPart tells a process what it is; see the constants. It is taken out of the environment at once, so that scripts
// don't see it.
const envPart = "RELEVE_PART"

// Again tells whether the daemon started this process from itself, so that what the command line makes one say has been said.
func Again() bool { return os.Getenv(envPart) != "" }

// envThreads is the runtime's variable for how many processors it uses. A part behind whose name stands startsAlone has got it from us.
const (
	envThreads  = "GOMAXPROCS"
	startsAlone = "+"
)

// smallConfig is the size of a configuration in bytes up to which a process starts on one processor.
const smallConfig = 64 << 10

// largeConfig is the size of a configuration in bytes, some 50,000 lines, from which on not collecting garbage is worth its memory.
const largeConfig = 1 << 20

// hurry is for reading a configuration of so many bytes. What is read then is kept, mostly, so that collecting garbage meanwhile would be
// work for little. It lasts until collect.
func hurry(config int) {
	switch {
	case config > largeConfig:
		debug.SetGCPercent(1000) // the first time at 40 MiB
	case config > smallConfig:
		debug.SetGCPercent(200) // at 8 MiB
	}
}

// spreadOut lets the process use all processors: at once where there is much to read, else when it has started.
func spreadOut(config int) {
	if config > smallConfig {
		hurry(config)
		useProcessors()
		return
	}
	time.AfterFunc(time.Second, useProcessors)
}

// maxProcessors is how many a process uses: ten thousand checkers keep two busy, and garbage collectors on many more would use up the
// quota of a control group at once.
const maxProcessors = 8

func useProcessors() {
	runtime.SetDefaultGOMAXPROCS()
	if runtime.GOMAXPROCS(0) > maxProcessors {
		runtime.GOMAXPROCS(maxProcessors)
	}
}

// collect says how much garbage a process that has started may leave until it is collected, in percent of what it keeps.
func collect(what string) {
	percent := 100
	if what == partVRRP || what == partChecker {
		percent = 50 // adverts and checks need next to no memory, so that collecting more often costs nothing
	}
	debug.SetGCPercent(percent)
}

// What a process can be, besides the one that was started.
const (
	partParent  = ""        // the parent in the foreground, or the starter
	partDaemon  = "daemon"  // the parent in the background, descriptor 3 is the pipe to the starter
	partEntered = "entered" // the parent, executed again inside its namespaces
	partVRRP    = "vrrp"
	partChecker = "checker"
	partBFD     = "bfd"
)

// Descriptors that a child inherits.
const (
	fdConfig = 3
	fdLink   = 4
	fdUp     = 3 // of the daemon: the pipe to its starter
)

// self is the program to execute again: the one that runs, even if the file has been replaced since.
const self = "/proc/self/exe"

// started are the processes that we have started and not yet waited for. Whoever starts one holds its lock until the number is in it, so
// that buryStrangers never takes an end away from the one who waits for it.
var started = struct {
	mu   sync.Mutex
	pids map[int]bool
}{pids: map[int]bool{}}

// buryStrangers waits for processes that ended as our children without having been started by us: what notify scripts leave behind where
// the daemon is the first process of a container, and what the shell that became the daemon had put into the background. Nobody else can,
// and their numbers would be used up one day. A child of our own that has ended, too, is left to its waiter, and the rest until then. An
// audition may load a module, by a program that is its own to wait for.
func (p *parent) buryStrangers() {
	if !p.auditions.TryLock() {
		return
	}
	defer p.auditions.Unlock()
	started.mu.Lock()
	defer started.mu.Unlock()
	for range 1 << 16 {
		var si struct { // siginfo_t of waitid(2)
			signo, errno, code int32
			_                  [unsafe.Sizeof(uintptr(0)) - 4]byte
			pid, uid, status   int32
			_                  [128]byte
		}
		if err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&si)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err == syscall.EINTR {
			continue
		} else if err != nil || si.pid == 0 || started.pids[int(si.pid)] {
			return
		}
		_, _ = syscall.Wait4(int(si.pid), nil, syscall.WNOHANG, nil)
	}
}

// process is one that we have started. os.Process would do the same, after another process for finding out how.
type process struct {
	pid    int
	mu     sync.Mutex
	reaped bool // its number may belong to somebody else
}

// signal does nothing to a process that has ended.
func (p *process) signal(s os.Signal) {
	n, ok := s.(syscall.Signal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok && !p.reaped {
		_ = syscall.Kill(p.pid, n)
	}
}

// wait returns how the process ended.
func (p *process) wait() (syscall.WaitStatus, error) {
	var st syscall.WaitStatus
	again := func(f func() error) (err error) {
		for range 1 << 20 { // interrupted by signals
			if err = f(); err != syscall.EINTR {
				break
			}
		}
		return err
	}
	err := again(func() error { return unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
	p.mu.Lock()
	defer p.mu.Unlock()
	started.mu.Lock()
	defer started.mu.Unlock()
	if err == nil {
		err = again(func() error { _, err := syscall.Wait4(p.pid, &st, 0, nil); return err })
	}
	p.reaped = true
	delete(started.pids, p.pid)
	return st, err
}

// ending puts a status into words.
func ending(st syscall.WaitStatus) string {
	switch {
	case st.Signaled():
		core := ""
		if st.CoreDump() {
			core = " (core dumped)"
		}
		return "signal: " + st.Signal().String() + core
	case st.Exited():
		return fmt.Sprintf("exit status %d", st.ExitStatus())
	}
	return "ended"
}

// start runs the program again as part with the same argv, in dir or where we are. There is no parent-death signal: it is bound to the
// thread that starts the process. A child knows that its parent is gone by the end of their link.
func start(argv []string, part string, files []*os.File, dir string, sys *syscall.SysProcAttr) (*process, error) {
	attr := &syscall.ProcAttr{Env: append(environ(), envPart+"="+part), Dir: dir, Sys: sys}
	if os.Getenv(envThreads) == "" {
		// One processor is enough to start on, and the runtime needs far less time for itself then.
		attr.Env = append(environ(), envPart+"="+part+startsAlone, envThreads+"=1")
	}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	started.mu.Lock()
	defer started.mu.Unlock()
	pid, err := syscall.ForkExec(self, argv, attr)
	runtime.KeepAlive(files)
	if err != nil {
		return nil, fmt.Errorf("start %s process: %w", part, err)
	}
	started.pids[pid] = true
	return &process{pid: pid}, nil
}

// environ is the environment without our own variables.
func environ() []string {
	env := make([]string, 0, len(os.Environ())+1)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, envPart+"=") {
			env = append(env, e)
		}
	}
	return env
}

// setComm sets the name that ps, pgrep and pidof see: a program executed through /proc/self/exe is called "exe" otherwise.
func setComm(name string) {
	if len(name) > 15 { // TASK_COMM_LEN
		name = name[:15]
	}
	// os.WriteFile would set up the poller for a file that needs none.
	if fd, err := unix.Open("/proc/self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_, _ = unix.Write(fd, []byte(name))
		_ = unix.Close(fd)
	}
}

// detach gives up the standard streams.
func detach(null *os.File) error {
	for fd := range 3 {
		if err := syscall.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("descriptor %d to %s: %w", fd, os.DevNull, err)
		}
	}
	return nil
}
