package vrrp

import (
	"time"

	"releve/vrrp/machine"
)

// schedule is a heap of deadlines, three timers an instance. A deadline that moves away is not sifted at once: an advert received
// postpones the down timer, and that happens far more often than a timer going off. The entry stays where it is and is put right
// when it comes up.
type schedule struct{ heap []*timer }

// timer is one timer of one instance. Times are since the engine's epoch.
type timer struct {
	in    *instance
	which machine.Timer
	set   bool
	pos   int32         // index in the heap + 1; 0: not in it
	due   time.Duration // when it goes off
	key   time.Duration // where it stands in the heap, never after due
}

// arm sets t to go off at due.
func (s *schedule) arm(t *timer, due time.Duration) {
	t.set, t.due = true, due
	switch {
	case t.pos == 0:
		t.key = due
		s.heap = append(s.heap, t)
		t.pos = int32(len(s.heap))
		s.up(len(s.heap) - 1)
	case due < t.key:
		t.key = due
		s.up(int(t.pos) - 1)
	}
}

// disarm stops t. Its entry goes when it comes up.
func (s *schedule) disarm(t *timer) { t.set = false }

// drop takes t out at once, for an instance that goes away.
func (s *schedule) drop(t *timer) {
	t.set = false
	if t.pos > 0 {
		s.remove(int(t.pos) - 1)
	}
}

// next gives the time at which something may be due.
func (s *schedule) next() (time.Duration, bool) {
	for len(s.heap) > 0 {
		t := s.heap[0]
		switch {
		case !t.set:
			s.remove(0)
		case t.due > t.key:
			t.key = t.due
			s.down(0)
		default:
			return t.key, true
		}
	}
	return 0, false
}

// pop removes and returns a timer due at now, or nil.
func (s *schedule) pop(now time.Duration) *timer {
	if at, ok := s.next(); !ok || at > now {
		return nil
	}
	t := s.heap[0]
	s.remove(0)
	t.set = false
	return t
}

func (s *schedule) remove(i int) {
	last := len(s.heap) - 1
	s.heap[i].pos = 0
	if i != last {
		s.heap[i] = s.heap[last]
		s.heap[i].pos = int32(i + 1)
	}
	s.heap[last] = nil
	s.heap = s.heap[:last]
	if i < last {
		s.down(i)
		s.up(i)
	}
}

// before orders timers that are due at the same time by instance, so that those which beat together do so in the same order every time.
func (t *timer) before(o *timer) bool {
	return t.key < o.key || t.key == o.key && t.in.m.ID < o.in.m.ID
}

func (s *schedule) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !s.heap[i].before(s.heap[p]) {
			return
		}
		s.swap(i, p)
		i = p
	}
}

func (s *schedule) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.heap) {
			return
		}
		if c+1 < len(s.heap) && s.heap[c+1].before(s.heap[c]) {
			c++
		}
		if !s.heap[c].before(s.heap[i]) {
			return
		}
		s.swap(i, c)
		i = c
	}
}

func (s *schedule) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.heap[i].pos, s.heap[j].pos = int32(i+1), int32(j+1)
}
