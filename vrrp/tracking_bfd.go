package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// sessions are the states of BFD sessions as they were told last.
type sessions struct {
	mu   sync.Mutex
	up   map[string]bool
	live bool // the owner runs and is to be told
}

// BFD tells that a BFD session came up or is not up any more. Sessions never heard of count as down. It may be called before Run.
func (e *Engine) BFD(session string, up bool) {
	s := &e.sessions
	s.mu.Lock()
	if s.up == nil {
		s.up = map[string]bool{}
	}
	s.up[session] = up
	live := s.live
	s.mu.Unlock()
	if live {
		_ = e.call(context.Background(), func() { e.onSession(session) })
	}
}

// isUp is the state of a session that was told last.
func (s *sessions) isUp(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up[name]
}

// beginSessions takes over what was told before Run; later changes come to the owner.
func (e *Engine) beginSessions() {
	e.sessions.mu.Lock()
	e.sessions.live = true
	e.sessions.mu.Unlock()
	for key, o := range e.objects {
		if key.kind == trackBFD {
			o.up = e.sessions.isUp(key.name)
		}
	}
}

func (e *Engine) onSession(name string) {
	key, up := objectKey{trackBFD, name}, e.sessions.isUp(name)
	if o := e.objects[key]; o == nil || o.up == up {
		return
	}
	word := "DOWN"
	if up {
		word = "UP"
	}
	for _, in := range e.instances {
		for _, d := range e.dependencies(in) {
			if d.key == key {
				e.say(in, fmt.Sprintf("VRRP_Instance(%s) Tracked BFD instance %s is %s", in.cfg.Name, name, word), slog.String("bfd", name))
				break
			}
		}
	}
	e.onObject(key, up, 0, "BFD session is "+word)
}

// wantSessions adds the BFD sessions of cfg. Until something is told they are down, as with the reference.
func (e *Engine) wantSessions(cfg *Config, want map[objectKey]*object) {
	for _, c := range cfg.BFD {
		want[objectKey{trackBFD, c.Name}] = &object{known: true, up: e.sessions.isUp(c.Name), weight: c.Weight, revers: c.Reverse, from: *c}
	}
}
