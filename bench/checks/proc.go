package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// checkerProcess waits for the one child of a daemon that is to stay: its checker process.
func checkerProcess(parent int) (int, error) {
	last := 0
	for range 200 {
		time.Sleep(50 * time.Millisecond)
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent)) // each has the children that it started
		if err != nil || len(threads) == 0 {
			return 0, fmt.Errorf("daemon %d has ended", parent)
		}
		var b []byte
		for _, t := range threads {
			more, _ := os.ReadFile(t)
			b = append(b, more...)
		}
		for _, w := range bytes.Fields(b) {
			pid, _ := strconv.Atoi(string(w))
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if pid == last && pid > 0 && len(name) > 0 && !strings.HasPrefix(string(comm), "modprobe") {
				return pid, nil
			}
			last = pid
		}
	}
	return 0, fmt.Errorf("no checker process")
}

// cpuOf is the processor time of a process: user and system, of all its threads.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("stat of process %d has %d fields", pid, len(f))
	}
	var ticks int
	for _, v := range f[11:13] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ
}

// residentMiB is the resident memory of a process.
func residentMiB(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", pid)
}
