package lab

import "time"

// Stopwatch counts the time in which this process ran, for what has to happen within a time. If the machine stands still, because its host runs
// others, everything in the lab does, and nothing can be expected to have happened meanwhile. It is to be looked at several times a second.
type Stopwatch struct {
	last time.Time
	ran  time.Duration
}

// standstill is from when on the time between two looks is taken for a standstill; no more of it counts.
const standstill = time.Second

// NewStopwatch begins to count at from, which may have been a moment ago.
func NewStopwatch(from time.Time) *Stopwatch {
	return &Stopwatch{last: time.Now(), ran: time.Since(from)}
}

// Ran is how long the process has run since.
func (w *Stopwatch) Ran() time.Duration {
	now := time.Now()
	w.ran += min(now.Sub(w.last), standstill)
	w.last = now
	return w.ran
}
