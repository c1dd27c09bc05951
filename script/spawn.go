package script

import (
	"math"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A parent-death signal comes when the thread that forked ends, not the process. Threads of Go come and go, so all scripts are started by
// one goroutine that keeps its thread for good. (Forking is serialised in the runtime anyway.)
var (
	spawnOnce sync.Once
	spawnCh   chan func()
)

func onSpawner(f func()) {
	spawnOnce.Do(func() {
		spawnCh = make(chan func())
		go func() {
			runtime.LockOSThread()
			// Scripts start with nothing blocked; the mask of this thread is what they inherit.
			var none unix.Sigset_t
			_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
			// What this process opened closes on exec by itself; what it inherited from its starter shall too.
			_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
			for f := range spawnCh {
				f()
			}
		}()
	})
	done := make(chan struct{})
	spawnCh <- func() { defer close(done); f() }
	<-done
}

var prioritised atomic.Bool

// Prioritised says that this process has given itself a priority (vrrp_priority, vrrp_rt_priority, max_auto_priority and their kin),
// which is not meant for its scripts: they get the usual one. Without it they have what the daemon was started with, as the reference.
func Prioritised() { prioritised.Store(true) }

// unignore makes signals that the daemon ignores (by itself or from its starter: nohup) caught and dropped instead: an ignored
// signal stays ignored over exec, a caught one is back to its default in the script.
func unignore() {
	for s := syscall.Signal(1); s < 32; s++ {
		if s != syscall.SIGKILL && s != syscall.SIGSTOP && signal.Ignored(s) {
			signal.Notify(dropped, s)
		}
	}
}

var dropped = make(chan os.Signal, 1)

// start forks and executes, through /bin/sh if the kernel does not know the format of the file (as execvp).
func start(path string, argv []string, a Account, files [3]uintptr) (*process, error) {
	var (
		p   *process
		err error
	)
	onSpawner(func() {
		unignore()
		if prioritised.Load() {
			_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		}
		if p, err = fork(path, argv, a, files); err == unix.ENOEXEC {
			p, err = fork("/bin/sh", append([]string{"/bin/sh", path}, argv[1:]...), a, files)
		}
	})
	return p, err
}

// groupsFixed tells that nobody here may change supplementary groups: the root of a user namespace that an unprivileged user has made
// (user_namespaces(7)), or of a container without CAP_SETGID.
var groupsFixed = sync.OnceValue(func() bool {
	if !capable(unix.CAP_SETGID) {
		return true
	}
	b, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "deny"
})

func fork(path string, argv []string, a Account, files [3]uintptr) (*process, error) {
	fd := -1
	attr := &syscall.ProcAttr{
		Env:   Environ(),
		Files: files[:],
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM, PidFD: &fd},
	}
	if os.Geteuid() == 0 || !a.Own {
		attr.Sys.Credential = &syscall.Credential{Uid: a.UID, Gid: a.GID, Groups: a.Groups, NoSetGroups: a.Own && groupsFixed()}
	}
	pid, _, err := syscall.StartProcess(path, argv, attr)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid}
	if fd >= 0 {
		// Only a descriptor that does not block is waited for by the poller.
		if unix.SetNonblock(fd, true) == nil {
			p.fd = os.NewFile(uintptr(fd), "pidfd")
		} else {
			unix.Close(fd)
		}
	}
	return p, nil
}
