package supervisor

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// envPart tells a process what it is; see the constants. It is taken out of the environment at once, so that scripts
// don't see it.
const envPart = "RELEVE_PART"

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

// spawner starts processes on a thread of its own. The parent-death signal of a process is bound to the thread that started it, so
// that thread has to live as long as we do.
type spawner struct{ c chan func() }

func newSpawner() *spawner {
	s := &spawner{make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.c {
			f()
		}
	}()
	return s
}

// start runs the program again as part with the same argv.
func (s *spawner) start(argv []string, part string, attr *os.ProcAttr) (*os.Process, error) {
	attr.Env = append(environ(), envPart+"="+part)
	var p *os.Process
	var err error
	done := make(chan struct{})
	s.c <- func() {
		p, err = os.StartProcess(self, argv, attr)
		close(done)
	}
	<-done
	if err != nil {
		return nil, fmt.Errorf("start %s process: %w", part, err)
	}
	return p, nil
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
	os.WriteFile("/proc/self/comm", []byte(name), 0)
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
