package ipvs

import (
	"context"
	"net/netip"
)

// OpKind says what an Op does.
type OpKind uint8

// Operations, as ipvsadm has them: -A -E -D -a -e -d.
const (
	AddService OpKind = iota + 1
	EditService
	DelService
	AddDest
	EditDest
	DelDest
)

// Op is one write to a data plane. Service always carries the key and, for AddService and EditService, the options (Dests is
// ignored there); Dest is set for the three destination operations.
type Op struct {
	Kind    OpKind
	Service Service
	Dest    Dest
}

// OpError is a write that a data plane refused. The other writes of the same Apply were tried all the same.
type OpError struct {
	Op  Op
	Err error
}

// Feature is something a data plane may or may not be able to do.
type Feature string

// Plane is a data plane: something in the kernel that sends packets to real servers. A Plane is used by one goroutine.
type Plane interface {
	// Name is "ipvs" or "nftables".
	Name() string
	// Check returns what this plane cannot do of a service, in words for a warning; refuse means that the service (or the
	// destination named) cannot be served at all, otherwise it works degraded.
	Check(s *Service) []Limit
	// Read gives the present content with counters. Services that the plane knows not to be ours are included where the
	// plane is shared (the kernel's IPVS) and absent where it is not (our own nftables table).
	Read(ctx context.Context) (Table, error)
	// Apply writes in the order given, goes on after a failure and returns the failures. established connections keep
	// their destination unless it is removed.
	Apply(ctx context.Context, ops []Op) []OpError
	// Flush empties the whole table, foreign services too.
	Flush(ctx context.Context) error
	// SetTimeouts sets and returns the previous timeouts.
	SetTimeouts(ctx context.Context, t Timeouts) (Timeouts, error)
	Close() error
}

// Piecewise is a data plane to which many writes may as well be given in pieces: it needs no more time for them. Others make one
// transaction of all that they are given at once.
type Piecewise interface {
	// Piece is how many writes a piece should have.
	Piece() int
}

// Glancer is a data plane of which a part can be read for a part of the time.
type Glancer interface {
	// Services is Read without destinations.
	Services(ctx context.Context) ([]Service, error)
	// Dests are the destinations of one service, in the order of Read; none if there is no such service.
	Dests(ctx context.Context, k ServiceKey) ([]Dest, error)
}

// Limit is one thing that a data plane cannot do for a service.
type Limit struct {
	Feature Feature
	Text    string   // e.g. "nftables cannot forward by DR: real server 10.1.0.1:80 left out"
	Refuse  bool     // the service, or the destination if Dest is set, is left out
	Dest    *DestKey // nil: the whole service
}

// Syncer is a data plane that can run connection sync daemons; only the kernel's IPVS can.
type Syncer interface {
	StartSync(ctx context.Context, d SyncDaemon) error
	StopSync(ctx context.Context, role SyncRole) error
	SyncState(ctx context.Context) ([]SyncDaemon, error)
}

// MarkTarget is a range of addresses with a port, 0 for all, whose packets are to carry a firewall mark.
type MarkTarget struct {
	Protocol    Protocol
	First, Last netip.Addr
	Port        uint16
	Mark        uint32
}

// MarkTable says which nftables table sets marks.
type MarkTable struct {
	Name string
	// Priority of the chain at the input hook.
	Priority int
	Counters bool
}
