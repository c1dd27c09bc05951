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
func (p *Process) Count(proc string) int {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue // it ended meanwhile
		}
		var argv []string
		if p.Full || len(p.Params) > 0 || p.Match != "" {
			line, err := os.ReadFile(dir + "/cmdline")
			if err != nil || len(line) == 0 {
				continue
			}
			argv = strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
		}
		if p.Matches(strings.TrimSuffix(string(comm), "\n"), argv) {
			n++
		}
	}
	return n
}

// enough judges a count.
func (p *Process) enough(n int) bool {
	least := p.Min
	if least == 0 && !p.HasMax {
		least = 1
	}
	return n >= least && (!p.HasMax || n <= p.Max)
}

// processEvery is how often /proc is read. The kernel's process connector would tell at once, but only in the initial network
// namespace, where daemons of namespaces never are.
const processEvery = 500 * time.Millisecond

// Run reports the count at once and whenever it changes, with what it means, until ctx is done.
func (p Process) Run(ctx context.Context, report func(n int, up bool)) {
	tick := time.NewTicker(processEvery)
	defer tick.Stop()
	last := p.Count("/proc")
	up := p.enough(last)
	report(last, up)
	var since time.Time // when the count first spoke against up
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, was := p.Count("/proc"), up
		switch good := p.enough(n); {
		case good == up:
			since = time.Time{}
		default:
			delay := p.TerminateDelay
			if good {
				delay = p.ForkDelay
			}
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) >= delay {
				up, since = good, time.Time{}
			}
		}
		if n != last || up != was {
			last = n
			report(n, up)
		}
	}
}
