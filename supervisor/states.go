package supervisor

import (
	"context"
	"sync"
)

// stateReports tells the parent the states of instances, many in one message: what changes while a message is under way goes with the next
// one, and only the newest state of an instance counts.
type stateReports struct {
	send func(states map[string]string)

	mu      sync.Mutex
	waiting map[string]string
	wake    chan struct{}
}

func newStateReports(send func(map[string]string)) *stateReports {
	return &stateReports{send: send, waiting: map[string]string{}, wake: make(chan struct{}, 1)}
}

// add never blocks.
func (r *stateReports) add(name, state string) {
	r.mu.Lock()
	r.waiting[name] = state
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// maxStates is how many instances one message tells of.
const maxStates = 256

// flush sends what is waiting.
func (r *stateReports) flush() {
	r.mu.Lock()
	all := r.waiting
	r.waiting = map[string]string{}
	r.mu.Unlock()
	part := map[string]string{}
	for name, state := range all {
		if part[name] = state; len(part) == maxStates {
			r.send(part)
			part = map[string]string{}
		}
	}
	if len(part) > 0 {
		r.send(part)
	}
}

// run sends until ctx is done.
func (r *stateReports) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			r.flush()
		}
	}
}
