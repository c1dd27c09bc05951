package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// ErrNoNFTables says that this kernel has no nftables, or not for us.
var ErrNoNFTables = errors.New("no nftables")

// Plane is the nftables data plane of the network namespace in which it was opened. It is used by one goroutine.
type Plane struct {
	path string // of the network namespace, empty: the one the process is in
	sock *socket
	ct   *socket // for connection tracking
	have model   // what the table holds; nil: to be read
	// elems are the elements of the counter sets, and counts those of the named counters, as of the last reading.
	elems  map[string]map[string]counts
	counts map[string]counts
	// exists: the table is there; whole: it has been written by this Plane, so that its skeleton is the present one.
	exists, whole bool
	// order is that of the services in the kernel.
	order []ipvs.ServiceKey
	// gen is the generation of the ruleset that have describes, zero if that is not known.
	gen uint32
}

type counts struct{ packets, bytes uint64 }

var _ ipvs.Plane = (*Plane)(nil)

// Open connects to nftables in the network namespace at path (/run/netns/NAME), or in that of the calling thread when path is
// empty. Nothing is written before the first Apply. The error wraps ErrNoNFTables where the kernel has none or refuses it to us.
func Open(path string) (*Plane, error) {
	p := &Plane{path: path}
	if err := p.inside(p.connect); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plane) connect() error {
	s, err := openSocket()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoNFTables, err)
	}
	err = s.dump(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NFPROTO_INET, nil, func() {}, func([]byte) {})
	if err != nil {
		s.close()
		return fmt.Errorf("%w: list tables: %w", ErrNoNFTables, err)
	}
	c, err := openSocket()
	if err != nil {
		s.close()
		return err
	}
	p.sock, p.ct = s, c
	return nil
}

// inside runs f in the plane's network namespace: on a thread that is given up afterwards, if it has a path.
func (p *Plane) inside(f func() error) error {
	if p.path == "" {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		ns, err := os.Open(p.path)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err != nil {
			done <- fmt.Errorf("network namespace %s: %w", p.path, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Name is "nftables".
func (p *Plane) Name() string { return "nftables" }

// Close leaves the rules as they are: what they do goes on.
func (p *Plane) Close() error { return errors.Join(p.sock.close(), p.ct.close()) }

// Read gives the services of the table. Conns count connections; packets and bytes are those of services with an address and a
// port (all packets in both directions). Active and Inactive are counted in the connection tracking table as IPVS does
// (established TCP connections, and all others), and 0 when it holds more than 20,000 connections, and for services by mark.
func (p *Plane) Read(ctx context.Context) (ipvs.Table, error) {
	if err := p.refresh(); err != nil {
		return ipvs.Table{}, err
	}
	t := ipvs.Table{Services: make([]ipvs.Service, 0, len(p.order))}
	for _, k := range p.order {
		s := p.have[k].Service
		s.Dests = slices.Clone(s.Dests)
		name := serviceName(k)
		s.Stats = p.stats(name, "services", k, nil)
		for i := range s.Dests {
			d := &s.Dests[i]
			d.Stats = p.stats(destName(name, d.DestKey), "servers", k, &d.DestKey)
		}
		t.Services = append(t.Services, s)
	}
	_ = p.inside(func() error { p.connections(&t); return nil })
	return t, ctx.Err()
}

// ReadOnly makes Read content with a table that somebody else changes all the time: some of it may be older than the rest. It is for showing
// the table, nothing should be written on such knowledge.
func (p *Plane) ReadOnly() { p.sock.torn = true }

func (p *Plane) stats(counter, sets string, k ipvs.ServiceKey, d *ipvs.DestKey) (st ipvs.Stats) {
	st.Conns = p.counts[counter].packets
	if accounted(k) {
		n, key := setNames(sets, k.Family), string(accountKey(k, d))
		in, out := p.elems[n[0]][key], p.elems[n[1]][key]
		st.InPkts, st.InBytes, st.OutPkts, st.OutBytes = in.packets, in.bytes, out.packets, out.bytes
	}
	return st
}

// Apply writes in one transaction. What the kernel refuses is tried again service by service, then write by write.
func (p *Plane) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	if len(ops) == 0 {
		return nil
	}
	if p.have == nil {
		if err := p.load(); err != nil {
			return all(ops, err)
		}
	}
	return p.write(ctx, ops)
}

func all(ops []ipvs.Op, err error) []ipvs.OpError {
	out := make([]ipvs.OpError, len(ops))
	for i, op := range ops {
		out[i] = ipvs.OpError{Op: op, Err: err}
	}
	return out
}

func (p *Plane) write(ctx context.Context, ops []ipvs.Op) (errs []ipvs.OpError) {
	var good []ipvs.Op
	var touched []ipvs.ServiceKey
	var err error
	// Somebody else may change or flush the ruleset between our reading and our writing: then both are done again.
	for range 3 {
		if err := ctx.Err(); err != nil {
			return all(ops, err)
		}
		errs, good, touched = nil, nil, nil
		want := make(model, len(p.have))
		maps.Copy(want, p.have)
		seen := map[ipvs.ServiceKey]bool{}
		for _, op := range ops {
			if err := want.apply(op); err != nil {
				errs = append(errs, ipvs.OpError{Op: op, Err: err})
				continue
			}
			good = append(good, op)
			if k := op.Service.ServiceKey; !seen[k] {
				seen[k] = true
				touched = append(touched, k)
			}
		}
		if len(good) == 0 {
			return errs
		}
		if err = p.commit(want, touched); err == nil {
			return errs
		}
		if again := p.load(); again != nil {
			return append(errs, all(good, errors.Join(err, again))...)
		}
		if !errors.Is(err, errMoved) {
			break
		}
	}
	if len(good) == 1 {
		return append(errs, ipvs.OpError{Op: good[0], Err: err})
	}
	for _, part := range split(good, touched) {
		errs = append(errs, p.write(ctx, part)...)
	}
	return errs
}

// split divides writes by service, or those of one service one by one.
func split(ops []ipvs.Op, touched []ipvs.ServiceKey) [][]ipvs.Op {
	if len(touched) == 1 {
		out := make([][]ipvs.Op, len(ops))
		for i := range ops {
			out[i] = ops[i : i+1]
		}
		return out
	}
	by := map[ipvs.ServiceKey][]ipvs.Op{}
	for _, op := range ops {
		by[op.Service.ServiceKey] = append(by[op.Service.ServiceKey], op)
	}
	out := make([][]ipvs.Op, 0, len(touched))
	for _, k := range touched {
		out = append(out, by[k])
	}
	return out
}

// commit makes the touched services those of want.
func (p *Plane) commit(want model, touched []ipvs.ServiceKey) error {
	t := &batch{}
	last := len(want) == 0 // nothing left: nobody else's packets should pass our hooks
	switch {
	case last && !p.exists:
		p.have = want
		return nil
	case last:
		t.table(unix.NFT_MSG_DELTABLE)
	default:
		fits := p.whole || p.exists && p.renewSkeleton() == nil
		if !fits {
			p.startOver(t)
			touched = slices.Concat(p.order, slices.DeleteFunc(slices.Clone(touched), func(k ipvs.ServiceKey) bool { return p.have[k] != nil }))
		}
		for _, k := range touched {
			if fits {
				p.change(t, p.have[k], want[k])
			} else {
				p.change(t, nil, want[k])
			}
		}
	}
	if err := p.send(t); err != nil {
		return err
	}
	have := p.have
	p.have = want
	p.exists, p.whole = !last, !last
	if last {
		p.order = nil
		p.forget()
	}
	for _, k := range touched {
		switch {
		case have[k] == nil && want[k] != nil:
			p.order = append(p.order, k)
		case have[k] != nil && want[k] == nil:
			p.order = slices.DeleteFunc(p.order, func(o ipvs.ServiceKey) bool { return o == k })
		}
	}
	p.settle(have, want, touched)
	return nil
}

// renewSkeleton writes the skeleton over that of a predecessor. It fails if that one was of another shape, or if somebody has
// made the table into something else.
func (p *Plane) renewSkeleton() error {
	t := &batch{}
	t.skeleton()
	return p.send(t)
}

// startOver begins a transaction that makes the table from nothing, in place of the one that may be there. Connections go on: it
// is connection tracking that keeps them.
func (p *Plane) startOver(t *batch) {
	t.table(unix.NFT_MSG_NEWTABLE) // so that there is one to delete
	t.table(unix.NFT_MSG_DELTABLE)
	t.skeleton()
	p.forget()
}

// send commits a transaction for the generation that is known, and knows the one after it.
func (p *Plane) send(t *batch) error {
	gen := p.gen
	p.gen = 0
	if err := p.sock.commit(t, gen); err != nil {
		return err
	}
	if gen != 0 {
		p.gen = max(gen+1, 1)
	}
	return nil
}

func (p *Plane) forget() {
	p.elems, p.counts = map[string]map[string]counts{}, map[string]counts{}
}

// Flush deletes the table with all services. Other tables are not ours to flush.
func (p *Plane) Flush(ctx context.Context) error {
	var err error
	for range 3 {
		if err := p.load(); err != nil {
			return err
		}
		if err = p.commit(model{}, slices.Clone(p.order)); !errors.Is(err, errMoved) {
			break
		}
	}
	return errors.Join(err, ctx.Err())
}

// SetTimeouts sets the timeouts of connection tracking in this network namespace (established TCP connections, those in FIN_WAIT,
// UDP streams) and returns the previous ones. They are those of all tracked connections, as IPVS's are of all its services.
func (p *Plane) SetTimeouts(ctx context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	var old ipvs.Timeouts
	var errs error
	err := p.inside(func() error {
		for _, x := range []struct {
			file string
			want time.Duration
			old  *time.Duration
		}{
			{"nf_conntrack_tcp_timeout_established", t.TCP, &old.TCP},
			{"nf_conntrack_tcp_timeout_fin_wait", t.TCPFin, &old.TCPFin},
			{"nf_conntrack_udp_timeout_stream", t.UDP, &old.UDP},
		} {
			errs = errors.Join(errs, swapTimeout(x.file, x.want, x.old))
		}
		return errs
	})
	return old, errors.Join(err, ctx.Err())
}
