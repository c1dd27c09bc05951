package supervisor

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals of the reference. 36 is libc's SIGRTMIN+2 and built into its clients; 37 is the same counted by musl.
const (
	sigJSON       = syscall.Signal(36)
	sigJSONMusl   = syscall.Signal(37)
	sigStatsClear = syscall.Signal(63)
)

// wanted are the signals that mean something, besides those that stop the daemon.
var wanted = []os.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, sigJSON, sigJSONMusl, sigStatsClear}

// signals are those that mean something. Who is busy takes them later, and of many that come meanwhile not all: a stop has a place of its own,
// which no flood of others takes.
type signals struct {
	stop   <-chan os.Signal // SIGTERM, and SIGINT unless that is to be ignored
	others <-chan os.Signal
}

// catchSignals delivers the signals that mean something and makes the others harmless, whatever was ignored or blocked by
// whoever started us. Before a script runs, package script sees to it that the script does not inherit what is ignored.
func catchSignals(o *Options) signals {
	stop, others := make(chan os.Signal, 1), make(chan os.Signal, 16)
	signal.Notify(others, wanted...)
	signal.Notify(stop, syscall.SIGTERM)
	if o.IgnoreSigint {
		signal.Notify(others, syscall.SIGINT)
	} else {
		signal.Notify(stop, syscall.SIGINT)
	}
	// Nearly all others are nothing to the runtime's own handler, which is there for each of them whatever we inherited. What it would
	// end or stop the program for is ignored: that costs a system call, to catch it would be two changes of threads.
	signal.Ignore(syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGSTKFLT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	for s := syscall.Signal(32); s <= 34; s++ { // the runtime keeps these for the sake of C libraries, and would die of one from outside
		ignoreSignal(s)
	}
	return signals{stop, others}
}

// catchEnds tells that a child process has ended, was stopped or goes on.
func catchEnds() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCHLD)
	return c
}

// ignoreSignal sets SIG_IGN by the system call itself (rt_sigaction(2), struct kernel_sigaction).
func ignoreSignal(s syscall.Signal) {
	type sigaction struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	act := sigaction{handler: 1} // SIG_IGN
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
}
