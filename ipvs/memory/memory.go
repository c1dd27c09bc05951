// Package memory is a data plane that only remembers: the kernel's rules about what may be written without a kernel. Tests of
// whoever drives a data plane read what was written as the lines an administrator would have typed.
package memory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"

	"releve/ipvs"
)

// Plane is a table in memory. The zero value is an empty one, ready for use, also by several goroutines.
type Plane struct {
	mu       sync.Mutex
	table    ipvs.Table
	log      []string
	timeouts ipvs.Timeouts
	refuse   func(ipvs.Op) error
	sync     []ipvs.SyncDaemon
}

var (
	_ ipvs.Plane  = (*Plane)(nil)
	_ ipvs.Syncer = (*Plane)(nil)
)

// Name is "memory".
func (p *Plane) Name() string { return "memory" }

// Check finds nothing wrong.
func (p *Plane) Check(*ipvs.Service) []ipvs.Limit { return nil }

// Refuse sets what decides before each write whether it fails, and how; nil lets all pass.
func (p *Plane) Refuse(f func(ipvs.Op) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = f
}

// Log returns the writes since the last call, in order and as ipvsadm's arguments; a failed one is followed by its error.
func (p *Plane) Log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.log
	p.log = nil
	return l
}

// Read returns a copy of the table.
func (p *Plane) Read(context.Context) (ipvs.Table, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := ipvs.Table{Services: slices.Clone(p.table.Services)}
	for i := range t.Services {
		t.Services[i].Dests = slices.Clone(t.Services[i].Dests)
	}
	return t, nil
}

// Apply writes, logs, and fails where the kernel would.
func (p *Plane) Apply(_ context.Context, ops []ipvs.Op) []ipvs.OpError {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed []ipvs.OpError
	for _, op := range ops {
		err := p.apply(op)
		line := op.String()
		if err != nil {
			line += ": " + err.Error()
			failed = append(failed, ipvs.OpError{Op: op, Err: err})
		}
		p.log = append(p.log, line)
	}
	return failed
}

// The reasons as package ipvs/kernel words them.
var (
	errNoService = errors.New("no such service")
	errExists    = errors.New("service already exists")
	errNoDest    = errors.New("no such destination")
	errDestHere  = errors.New("destination already exists")
)

func (p *Plane) apply(op ipvs.Op) error {
	if p.refuse != nil {
		if err := p.refuse(op); err != nil {
			return err
		}
	}
	key := op.Service.Normal()
	at := slices.IndexFunc(p.table.Services, func(s ipvs.Service) bool { return s.ServiceKey == key })
	if op.Kind == ipvs.AddService {
		if at >= 0 {
			return errExists
		}
		s := op.Service
		s.ServiceKey, s.Dests = key, nil
		p.table.Services = append(p.table.Services, s)
		return nil
	}
	if at < 0 {
		return errNoService
	}
	s := &p.table.Services[at]
	switch op.Kind {
	case ipvs.EditService:
		dests := s.Dests
		*s = op.Service
		s.ServiceKey, s.Dests = key, dests
		return nil
	case ipvs.DelService:
		p.table.Services = slices.Delete(p.table.Services, at, at+1)
		return nil
	}
	d := op.Dest
	d.DestKey = d.Normal()
	i := slices.IndexFunc(s.Dests, func(have ipvs.Dest) bool { return have.DestKey == d.DestKey })
	switch {
	case op.Kind == ipvs.AddDest && i >= 0:
		return errDestHere
	case op.Kind == ipvs.AddDest:
		s.Dests = append(s.Dests, d)
	case i < 0:
		return errNoDest
	case op.Kind == ipvs.EditDest:
		s.Dests[i] = d
	case op.Kind == ipvs.DelDest:
		s.Dests = slices.Delete(s.Dests, i, i+1)
	}
	return nil
}

// Flush empties the table.
func (p *Plane) Flush(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table = ipvs.Table{}
	p.log = append(p.log, "-C")
	return nil
}

// SetTimeouts keeps what is not zero.
func (p *Plane) SetTimeouts(_ context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.timeouts
	if t.TCP != 0 {
		p.timeouts.TCP = t.TCP
	}
	if t.TCPFin != 0 {
		p.timeouts.TCPFin = t.TCPFin
	}
	if t.UDP != 0 {
		p.timeouts.UDP = t.UDP
	}
	return old, nil
}

// StartSync remembers the daemon; one of each role can run.
func (p *Plane) StartSync(_ context.Context, d ipvs.SyncDaemon) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.sync, func(h ipvs.SyncDaemon) bool { return h.Role == d.Role }) {
		return syscall.EEXIST
	}
	p.sync = append(p.sync, d)
	return nil
}

// StopSync forgets the daemon.
func (p *Plane) StopSync(_ context.Context, role ipvs.SyncRole) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.sync)
	p.sync = slices.DeleteFunc(p.sync, func(h ipvs.SyncDaemon) bool { return h.Role == role })
	if len(p.sync) == n {
		return syscall.ESRCH
	}
	return nil
}

// SyncState returns the daemons that run.
func (p *Plane) SyncState(context.Context) ([]ipvs.SyncDaemon, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sync), nil
}

// Close does nothing: the table stays.
func (p *Plane) Close() error { return nil }
