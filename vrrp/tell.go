package vrrp

import (
	"context"
	"time"
)

// Who is still to get an address and to announce it comes before the log lines and events of those who have: for a thousand instances these
// take as long as their addresses.

// tellWithin is how long log lines and events give way.
const tellWithin = 50 * time.Millisecond

// tellSize is how many of them are told before the queue is looked at.
const tellSize = 64

// queueToTell tells what jobs that have been done have to say, or puts it off if there are others to be done. The order stays. logged: the
// lines have been told before.
func (a *actuator) queueToTell(jobs []job, logged bool) {
	for i := range jobs {
		j := job{ev: jobs[i].ev}
		if !logged {
			j.level, j.text, j.attrs = jobs[i].level, jobs[i].text, jobs[i].attrs
		}
		if j.text != "" || j.ev != nil {
			a.untold = append(a.untold, j)
		}
	}
	if len(a.untold) == 0 {
		return
	}
	if a.untoldSince.IsZero() {
		a.untoldSince = time.Now()
	}
	a.tell(time.Since(a.untoldSince) < tellWithin)
}

// tell logs and notifies, with patience only until there is something else to do.
func (a *actuator) tell(patient bool) {
	for i := range a.untold {
		if patient && i%tellSize == 0 && a.busy() {
			n := copy(a.untold, a.untold[i:])
			clear(a.untold[n:])
			a.untold = a.untold[:n]
			return
		}
		a.sent() // the addresses are announced before others hear of them
		j := &a.untold[i]
		if j.text != "" {
			a.log.LogAttrs(context.Background(), j.level, j.text, j.attrs...)
		}
		if j.ev != nil {
			a.o.Notify(*j.ev)
		}
		*j = job{}
	}
	a.untold, a.untoldSince = a.untold[:0], time.Time{}
	if cap(a.untold) > spareRoom {
		a.untold = nil
	}
}
