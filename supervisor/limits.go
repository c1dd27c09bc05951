package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"releve/confparse"
	"releve/script"
)

// setLimits allows core dumps if asked for (-m, -M). Children inherit it.
func setLimits(o *Options) error {
	if !o.CoreDump {
		return nil
	}
	var errs []error
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unlimited); err != nil {
		errs = append(errs, fmt.Errorf("core dumps: %w", err))
	}
	if o.CorePattern != "" {
		if err := os.WriteFile("/proc/sys/kernel/core_pattern", []byte(o.CorePattern), 0); err != nil {
			errs = append(errs, fmt.Errorf("core pattern: %w", err))
		}
	}
	return errors.Join(errs...)
}

// umaskOf is the one of all processes.
func umaskOf(o *Options, g *confparse.Global) int {
	switch {
	case o.HasUmask:
		return o.Umask
	case g.HasUmask:
		return g.Umask
	}
	return defaultUmask
}

// applyProcess asks the kernel to treat this process as the configuration says. What the kernel refuses is said and left.
func applyProcess(g *confparse.Process, log *slog.Logger) {
	tell := func(what string, err error) {
		if err != nil {
			log.Warn(fmt.Sprintf("%s: %v", what, err))
		}
	}
	if len(g.CPUAffinity) > 0 {
		var set unix.CPUSet
		for _, cpu := range g.CPUAffinity {
			set.Set(cpu)
		}
		tell("CPU affinity", forThreads(func(tid int) error { return unix.SchedSetaffinity(tid, &set) }))
	}
	if g.Priority != 0 || g.RTPriority > 0 {
		script.Prioritised()
	}
	if g.Priority != 0 {
		tell("process priority", forThreads(func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, g.Priority) }))
	}
	if g.RTPriority > 0 {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(g.RTPriority)}
		tell("real-time priority", forThreads(func(tid int) error { return unix.SchedSetAttr(tid, &attr, 0) }))
	}
	if g.RLimitRTTime > 0 {
		usec := uint64(g.RLimitRTTime.Microseconds())
		tell("real-time limit", unix.Setrlimit(unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: usec, Max: usec}))
	}
	if g.NoSwap {
		tell("no swapping", unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE))
	}
}

// autoPriority raises the real-time priority of the process when it runs late (max_auto_priority): first to the lowest, then by one each time.
type autoPriority struct {
	log *slog.Logger
	set func(prio int, limit time.Duration) error

	mu      sync.Mutex
	highest int           // 0: never
	prio    int           // now; 0: not real time
	limit   time.Duration // RLIMIT_RTTIME once the process is real time
	by      time.Duration // min_auto_priority_delay: how late is late
	changed chan struct{} // configure was called
}

func newAutoPriority(log *slog.Logger) *autoPriority {
	return &autoPriority{log: log, set: setRealTime, changed: make(chan struct{}, 1)}
}

// configure follows the configuration in force; what was raised stays.
func (a *autoPriority) configure(g *confparse.Global, p *confparse.Process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.highest = g.MaxAutoPriority
	a.prio = max(a.prio, p.RTPriority)
	a.limit = p.RLimitRTTime
	a.by = g.MinAutoPriorityDelay
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// lateCheck is how often watch looks whether the process runs late.
const lateCheck = time.Second

// watch is for processes whose timers belong to many goroutines: one timer more stands for all of them. It goes off once a second where
// max_auto_priority is set, else never. It ends with ctx.
func (a *autoPriority) watch(ctx context.Context) {
	for {
		a.mu.Lock()
		by, on := a.by, a.highest > 0
		a.mu.Unlock()
		if !on {
			select {
			case <-ctx.Done():
				return
			case <-a.changed:
			}
			continue
		}
		due := time.Now().Add(lateCheck)
		t := time.NewTimer(lateCheck)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-a.changed:
			t.Stop()
		case <-t.C:
			if late := time.Since(due); late > by {
				a.late(late)
			}
		}
	}
}

// late is called when a timer went off too late.
func (a *autoPriority) late(by time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.prio >= a.highest {
		return
	}
	a.prio++
	if err := a.set(a.prio, a.limit); err != nil {
		a.log.Warn(fmt.Sprintf("real-time priority %d: %v", a.prio, err))
		a.highest = 0
		return
	}
	a.log.Info(fmt.Sprintf("A thread timer expired %.6f seconds ago", by.Seconds()))
	a.log.Info(fmt.Sprintf("Set realtime priority %d", a.prio))
}

func setRealTime(prio int, limit time.Duration) error {
	script.Prioritised()
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(prio)}
	if err := forThreads(func(tid int) error { return unix.SchedSetAttr(tid, &attr, 0) }); err != nil {
		return err
	}
	if limit <= 0 {
		return nil
	}
	usec := uint64(limit.Microseconds())
	return unix.Setrlimit(unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: usec, Max: usec})
}

// forThreads calls f for every thread of the process: the scheduler knows threads only. Threads that start later inherit
// from those that exist.
func forThreads(f func(tid int) error) error {
	done := map[int]bool{}
	for more := true; more; { // one that had not had its turn may have started another
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		more = false
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || done[tid] {
				continue
			}
			done[tid], more = true, true
			if err := f(tid); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}
