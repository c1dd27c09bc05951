package healthcheck

import (
	"math/rand/v2"
	"time"
)

// When attempts are made. A checker has a time when its next attempt is due; timers go off on a common grid at or after it, so that many
// attempts share one waking of the process. All times are of the monotonic clock: setting the clock moves nothing, and while the machine
// sleeps no time passes.

// The grids of the timers, for delays under a second and others: far finer than what a delay says.
const (
	fineGrid   = time.Millisecond
	coarseGrid = 10 * time.Millisecond
)

// stall is the lateness from which on it is the process or the machine that stood still: everything is overdue then, not one attempt.
const stall = 500 * time.Millisecond

// arm sets the timer; the mutex is held.
func (c *checker) arm(after time.Duration) {
	now := time.Now()
	c.due = now.Add(after)
	grid := fineGrid
	if after >= time.Second {
		grid = coarseGrid
	}
	if off := c.due.Sub(c.r.epoch) % grid; off > 0 && after > grid {
		after += grid - off
	}
	c.st.Next = now.Add(after)
	if c.timer == nil {
		c.timer = time.AfterFunc(after, c.attempt)
	} else {
		c.timer.Reset(after)
	}
}

// debt is what the pause to the next attempt is shortened by, so that lateness (the grid, a busy processor, the wait for a slot) does not
// add up from attempt to attempt. It is at most a twentieth of the pause: after more than that nobody catches up. The mutex is held.
func (c *checker) debt(next time.Duration) time.Duration {
	return max(0, min(c.late, next/20))
}

// afterStall spreads the attempts that became due while the process stood still (SIGSTOP, a suspended machine, a hypervisor's pause), which
// would all be made in one moment: each is put off by a random part of the time it is late, at most of its delay_loop. It reports whether
// this attempt was.
func (c *checker) afterStall() bool {
	c.att.mu.Lock()
	defer c.att.mu.Unlock()
	late := time.Since(c.st.Next)
	if late < stall || c.att.stopped || c.watched {
		return false
	}
	c.arm(rand.N(max(1, min(late, c.rule.delayLoop))))
	return true
}
