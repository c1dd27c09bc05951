package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// family is a process and its children.
func family(pid int) []int {
	list := []int{pid}
	// A child belongs to the thread that started it.
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, w := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(w); err == nil && child > 1 {
				list = append(list, child)
			}
		}
	}
	return list
}

// cpu is the processor time of a daemon so far, to the nanosecond as the scheduler counts it.
func cpu(pid int) time.Duration {
	var sum time.Duration
	for _, p := range family(pid) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p))
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			var ns int64
			_, _ = fmt.Sscan(string(b), &ns)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// allBusy is the processor time that everybody on the machine has used so far, to 10 ms.
func allBusy() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	var sum int64
	for i, w := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest guest_nice (proc_stat(5)): guests are in user already.
		if n, err := strconv.ParseInt(w, 10, 64); err == nil && i > 0 && i != 4 && i != 5 && i < 9 {
			sum += n
		}
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

// vrrpProcess is the process that does the work: the last child.
func vrrpProcess(pid int) int {
	list := family(pid)
	return list[len(list)-1]
}

// memory is what the VRRP process holds: anonymous memory, and what it has mapped of files, which is shared with all that run the program.
func memory(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", vrrpProcess(pid)))
	get := func(key string) string {
		_, rest, _ := strings.Cut(string(b), key+":")
		if f := strings.Fields(rest); len(f) > 0 {
			return f[0]
		}
		return "?"
	}
	return get("RssAnon") + "+" + get("RssFile") + ", " + get("VmHWM")
}

// killAll kills a daemon as a crash of its machine would: neither may the main process start its child again, nor the child stop in
// good order because it sees the main process die.
func killAll(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGSTOP)
	for _, p := range family(c.Process.Pid)[1:] {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	_ = c.Process.Kill()
}
