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

// wanted are the signals that mean something.
var wanted = []os.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, sigJSON, sigJSONMusl, sigStatsClear,
}

// catchSignals delivers the signals that mean something and makes the others harmless, whatever was ignored or blocked by
// whoever started us. Before a script runs, package script sees to it that the script does not inherit what is ignored.
func catchSignals() <-chan os.Signal {
	c := make(chan os.Signal, 16)
	signal.Notify(c, wanted...)
	// Nearly all others are nothing to the runtime's own handler, which is there for each of them whatever we inherited. What it would
	// end or stop the program for is ignored: that costs a system call, to catch it would be two changes of threads.
	signal.Ignore(syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGSTKFLT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU)
	for s := syscall.Signal(32); s <= 34; s++ { // the runtime keeps these for the sake of C libraries, and would die of one from outside
		ignoreSignal(s)
	}
	return c
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
