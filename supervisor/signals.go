package supervisor

import (
	"os"
	"os/signal"
	"slices"
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
// whoever started us. They are caught, not ignored: a caught signal is back at its default in a script that we run.
func catchSignals() <-chan os.Signal {
	c := make(chan os.Signal, 16)
	rest := make(chan os.Signal, 1)
	// First those that mean something: caught together with the rest even for a moment, one of them could be lost there.
	signal.Notify(c, wanted...)
	for s := syscall.Signal(1); s <= 64; s++ {
		if slices.Contains(wanted, os.Signal(s)) {
			continue
		}
		switch s {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGCONT: // not ours, or used by the runtime
		case syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGSYS: // fatal
		case 32, 33, 34: // the runtime keeps these from os/signal, for the sake of C libraries
			ignoreSignal(s)
		default:
			signal.Notify(rest, s)
		}
	}
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
