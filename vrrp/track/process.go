package track

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is a vrrp_track_process: which processes count, and how many there have to be.
type Process struct {
	Name string
	// Path is the name of the process (cut to 15 letters as the kernel does), or the first word of its command line if Full is set
	// or there are parameters.
	Path   string
	Params []string
	// Match is how parameters are compared: exact (also empty), initial (the first ones), partial (as initial, the last one by its
	// beginning).
	Match string
	Full  bool

	Min    int // zero counts as 1 unless HasMax
	Max    int // counts with HasMax
	HasMax bool
	// ForkDelay is how long there must be enough before that counts, TerminateDelay the same for too few or too many.
	ForkDelay, TerminateDelay time.Duration
	// Buffer is the receive buffer of the process connector in bytes, zero: 1 MiB; Force lets it exceed the system's limit.
	Buffer int
	Force  bool
}

// Matches judges one process by its name and its command line.
func (p *Process) Matches(comm string, argv []string) bool {
	if !p.Full && len(p.Params) == 0 && p.Match == "" {
		name := filepath.Base(p.Path)
		return comm == name[:min(len(name), 15)]
	}
	if len(argv) == 0 || argv[0] != p.Path && (strings.Contains(p.Path, "/") || filepath.Base(argv[0]) != p.Path) {
		return false
	}
	have := argv[1:]
	n := len(p.Params)
	switch p.Match {
	case "initial":
		return len(have) >= n && slices.Equal(have[:n], p.Params)
	case "partial":
		return len(have) >= n && (n == 0 || slices.Equal(have[:n-1], p.Params[:n-1]) && strings.HasPrefix(have[n-1], p.Params[n-1]))
	}
	return n == 0 && p.Match == "" || slices.Equal(have, p.Params)
}

// Count counts the processes under proc (normally /proc) that match.
func (p *Process) Count(proc string) int { return len(p.find(proc)) }

// find lists them.
func (p *Process) find(proc string) map[int]bool {
	found := map[int]bool{}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return found
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && p.is(proc, pid) {
			found[pid] = true
		}
	}
	return found
}

// is looks at one process, which may have ended meanwhile.
func (p *Process) is(proc string, pid int) bool {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return false
	}
	var argv []string
	if p.Full || len(p.Params) > 0 || p.Match != "" {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(line) == 0 {
			return false
		}
		argv = strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
	}
	return p.Matches(strings.TrimSuffix(string(comm), "\n"), argv)
}

// enough judges a count.
func (p *Process) enough(n int) bool {
	least := p.Min
	if least == 0 && !p.HasMax {
		least = 1
	}
	return n >= least && (!p.HasMax || n <= p.Max)
}

// processEvery is how often /proc is read where the kernel does not tell.
const processEvery = 500 * time.Millisecond

// Run reports the count at once and whenever it changes, with what it means, until ctx is done. The kernel's process connector tells of
// changes as they happen, but in the initial namespaces only; elsewhere /proc is read every so often.
func (p Process) Run(ctx context.Context, report func(n int, up bool)) {
	counts := make(chan int)
	tell := func(n int) {
		select {
		case counts <- n:
		case <-ctx.Done():
		}
	}
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		tell(p.Count("/proc")) // now: a connector that keeps silent is known as such only after listenTimeout
		if e, err := openProcEvents(p.Buffer, p.Force); err == nil {
			p.follow(ctx, e, tell)
		}
		p.poll(ctx, tell)
	}()
	p.judge(ctx, counts, report)
}

// poll counts every so often and reports changes.
func (p *Process) poll(ctx context.Context, report func(int)) {
	tick := time.NewTicker(processEvery)
	defer tick.Stop()
	for last := -1; ctx.Err() == nil; {
		if n := p.Count("/proc"); n != last {
			last = n
			report(n)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// judge turns counts into up and down. The first one counts at once, later changes when they have lasted for the delay.
func (p *Process) judge(ctx context.Context, counts <-chan int, report func(n int, up bool)) {
	var n int
	select {
	case n = <-counts:
	case <-ctx.Done():
		return
	}
	up := p.enough(n)
	report(n, up)
	wait := time.NewTimer(time.Hour)
	wait.Stop()
	defer wait.Stop()
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return
		case n = <-counts:
			switch good := p.enough(n); {
			case good == up:
				wait.Stop()
				waiting = false
			case !waiting:
				delay := p.TerminateDelay
				if good {
					delay = p.ForkDelay
				}
				if delay > 0 {
					wait.Reset(delay)
					waiting = true
				} else {
					up = good
				}
			}
		case <-wait.C:
			waiting = false
			up = p.enough(n)
		}
		report(n, up)
	}
}
