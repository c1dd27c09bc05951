package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// markVar marks processes of a lab in their environment: the process that made the lab, when that was started, and its pid namespace.
const markVar = "RELEVE_LAB"

// GuestVar marks processes of people who look around in a host: they are not the host's, and faults leave them alone.
const GuestVar = "RELEVE_LAB_HOST"

// guest tells whether a process carries the mark of one.
func guest(pid int) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && (bytes.HasPrefix(env, []byte(GuestVar+"=")) || bytes.Contains(env, []byte("\x00"+GuestVar+"=")))
}

// Process is a program that runs in a host.
type Process struct {
	Host *Host
	Argv []string
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []string
	err   error
}

// Start runs the program at path in the host, with argv[0] as the name it is called by. Each line it or its children write is
// kept, and passed to line, if that is not nil, on a goroutine of its own. The program gets SIGKILL when this process dies.
func (h *Host) Start(path string, argv []string, line func(string)) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, h.wrap(argv[0], err)
	}
	p := &Process{Host: h, Argv: argv, done: make(chan struct{})}
	p.cmd = exec.Command(path, argv[1:]...)
	p.cmd.Args[0] = argv[0]
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.Env = append(os.Environ(), markVar+"="+mark(os.Getpid()))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	err = h.Do(p.cmd.Start)
	w.Close()
	if err != nil {
		r.Close()
		return nil, h.wrap("start "+path, err)
	}
	go func() {
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, sc.Text())
			p.mu.Unlock()
			if line != nil {
				line(sc.Text())
			}
		}
		r.Close()
	}()
	go func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	h.mu.Lock()
	h.procs = append(h.procs, p)
	h.mu.Unlock()
	return p, nil
}

// Pid is the process id, as this process sees it.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process itself, not to its children.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, as exec.Cmd.Wait says it; nil while it runs.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Lines is what it wrote until now.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Stop asks the process to end (SIGTERM) and kills it if it has not ended within grace.
func (p *Process) Stop(grace time.Duration) {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.Signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		_ = p.cmd.Process.Kill() // which knows whether the number is somebody else's by now
	}
}

// mark names a process beyond the reuse of its number: pid, start time, and the namespace in which that is its number. What runs in
// a container has other numbers there.
func mark(pid int) string {
	return strconv.Itoa(pid) + "-" + startTime(pid) + "-" + numbering()
}

// numbering is the pid namespace of this process.
var numbering = sync.OnceValue(func() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return strings.Trim(strings.TrimPrefix(name, "pid:"), "[]")
})

// startTime is when a process was started, in ticks since boot, empty if there is no such process.
func startTime(pid int) string {
	if f := stat(pid); len(f) >= 20 {
		return f[19]
	}
	return ""
}

func zombie(pid int) bool {
	f := stat(pid)
	return len(f) > 0 && f[0] == "Z"
}

// stopped tells whether no thread of a process runs any more.
func stopped(pid int) bool {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		if f := statFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name())); len(f) > 0 && !strings.Contains("TtZX", f[0]) {
			return false
		}
	}
	return true
}

// stat gives the fields of /proc/PID/stat from the third, the state, on.
func stat(pid int) []string { return statFile(fmt.Sprintf("/proc/%d/stat", pid)) }

func statFile(name string) []string {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	s := string(b)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// Sweep ends what labs of dead processes left behind and says how many processes that were. It touches nothing else.
func Sweep() int {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	n := 0
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if sweep(pid) {
			n++
		}
	}
	return n
}

// sweep ends one process if a lab of a dead process left it behind.
func sweep(pid int) bool {
	p, err := os.FindProcess(pid) // a handle: the process that is looked at is the one that is ended
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range strings.SplitSeq(string(env), "\x00") {
		owner, ok := strings.CutPrefix(v, markVar+"=")
		if !ok || !strings.HasSuffix(owner, "-"+numbering()) {
			continue // of another pid namespace nobody here knows whether the owner lives
		}
		id, _, _ := strings.Cut(owner, "-")
		if opid, err := strconv.Atoi(id); err == nil && mark(opid) != owner {
			return p.Kill() == nil
		}
	}
	return false
}
