package vrrp

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a network namespace that things can be done in later, from any goroutine. The zero value is wherever the caller is.
type place struct {
	fd  int
	ino uint64
}

// openPlace remembers the namespace of the calling thread.
func openPlace() (place, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}, fmt.Errorf("open the network namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return place{}, fmt.Errorf("open the network namespace: %w", err)
	}
	return place{fd, st.Ino}, nil
}

func (p *place) close() {
	if p.ino != 0 {
		unix.Close(p.fd)
		*p = place{}
	}
}

// do runs f in the namespace. A daemon is there already; only where several namespaces share a process the thread has to move.
func (p *place) do(f func() error) error {
	if p.ino == 0 {
		return f()
	}
	runtime.LockOSThread()
	var here unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil || here.Ino == p.ino {
		defer runtime.UnlockOSThread()
		return f()
	}
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer unix.Close(back)
	if err := unix.Setns(p.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(back, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with its goroutine
		}
	}()
	return f()
}

// settings are kernel settings that were changed for somebody and are put back when nobody needs them any more. They are the
// actuator's. A kernel without a setting, or a read-only /proc/sys, is no obstacle.
type settings struct {
	where *place
	held  map[string]*setting // by path below /proc/sys/net
}

type setting struct {
	was, is string
	users   map[string]bool
}

// hold sets a setting for user, whose later calls change nothing.
func (s *settings) hold(user, path, value string) {
	if h := s.held[path]; h != nil {
		h.users[user] = true
		return
	}
	_ = s.where.do(func() error {
		b, err := os.ReadFile("/proc/sys/net/" + path)
		if err != nil {
			return err
		}
		h := &setting{was: strings.TrimSpace(string(b)), is: value, users: map[string]bool{user: true}}
		if h.was != value {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil {
				return err
			}
		}
		if s.held == nil {
			s.held = map[string]*setting{}
		}
		s.held[path] = h
		return nil
	})
}

// want holds exactly these settings for user, by path.
func (s *settings) want(user string, values map[string]string) {
	for path, value := range values {
		s.hold(user, path, value)
	}
	for path, h := range s.held {
		if _, wanted := values[path]; !wanted && h.users[user] {
			s.drop(user, path)
		}
	}
}

// drop puts a setting back if nobody but user needs it, unless somebody else has changed it meanwhile.
func (s *settings) drop(user, path string) {
	h := s.held[path]
	if delete(h.users, user); len(h.users) > 0 {
		return
	}
	delete(s.held, path)
	if h.was == h.is {
		return
	}
	_ = s.where.do(func() error {
		b, err := os.ReadFile("/proc/sys/net/" + path)
		if err != nil || strings.TrimSpace(string(b)) != h.is {
			return err
		}
		return os.WriteFile("/proc/sys/net/"+path, []byte(h.was), 0)
	})
}
