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

// change writes what leads from have to want; nil is none. References are made before they are used and taken away before
// what they refer to.
func (p *Plane) change(t *batch, have, want *service) {
	if want == nil {
		p.remove(t, have)
		return
	}
	k, name := want.ServiceKey, serviceName(want.ServiceKey)
	if have == nil {
		p.addCounter(t, name)
		t.chain(name)
		p.account(t, "services", k, nil, true)
		have = &service{Service: ipvs.Service{ServiceKey: k}}
	}
	clients, had := persistent(&want.Service), persistent(&have.Service)
	if clients && !had {
		t.clients(name, k.Family)
	}
	renew := clients != had || clients && (want.Timeout != have.Timeout || want.Granularity != have.Granularity)
	for i := range want.Dests {
		d := &want.Dests[i]
		chain, j := destName(name, d.DestKey), have.dest(d.DestKey)
		if j < 0 {
			p.addCounter(t, chain)
			t.chain(chain)
			p.account(t, "servers", k, &d.DestKey, true)
		}
		if j < 0 || renew || !same(*d, have.Dests[j]) || have.ids[d.DestKey] != want.ids[d.DestKey] {
			t.clear(chain)
			t.destRules(name, &want.Service, d, want.ids[d.DestKey])
		}
	}
	t.clear(name)
	t.serviceRules(name, want)
	for i := range have.Dests {
		if d := &have.Dests[i]; want.dest(d.DestKey) < 0 {
			p.removeDest(t, name, k, d.DestKey)
		}
	}
	if had && !clients {
		t.delSet(clientsName(name))
	}
	if have.Scheduler == "" { // it was not there
		set, keys := entries(k)
		list := make([]element, len(keys))
		for i, key := range keys {
			list[i] = element{key, name}
		}
		t.elements(unix.NFT_MSG_NEWSETELEM, "lead to "+name, set, 0, list)
	}
}

func same(a, b ipvs.Dest) bool {
	return a.Weight == b.Weight && a.Upper == b.Upper && a.Lower == b.Lower
}

func (t *batch) clients(name string, f ipvs.Family) {
	key := typeIPv4
	if f == ipvs.IPv6 {
		key = typeIPv6
	}
	const flags = unix.NFT_SET_MAP | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	t.newSet(clientsName(name), flags, []keyType{key}, func(e *enc) {
		e.u32(unix.NFTA_SET_DATA_TYPE, typeMark.magic)
		e.u32(unix.NFTA_SET_DATA_LEN, typeMark.size)
		e.nest(unix.NFTA_SET_DESC, func() { e.u32(unix.NFTA_SET_DESC_SIZE, clientsSize) })
	})
}

func (p *Plane) remove(t *batch, have *service) {
	if have == nil {
		return
	}
	k, name := have.ServiceKey, serviceName(have.ServiceKey)
	set, keys := entries(k)
	list := make([]element, len(keys))
	for i, key := range keys {
		list[i] = element{key: key}
	}
	t.elements(unix.NFT_MSG_DELSETELEM, "do not lead to "+name, set, 0, list)
	t.clear(name)
	for i := range have.Dests {
		p.removeDest(t, name, k, have.Dests[i].DestKey)
	}
	t.delChain(name)
	p.account(t, "services", k, nil, false)
	t.counter(unix.NFT_MSG_DELOBJ, name)
	delete(p.counts, name)
	if persistent(&have.Service) {
		t.delSet(clientsName(name))
	}
}

func (p *Plane) removeDest(t *batch, name string, k ipvs.ServiceKey, d ipvs.DestKey) {
	chain := destName(name, d)
	t.clear(chain)
	t.delChain(chain)
	p.account(t, "servers", k, &d, false)
	t.counter(unix.NFT_MSG_DELOBJ, chain)
	delete(p.counts, chain)
}

func (p *Plane) addCounter(t *batch, name string) {
	if _, ok := p.counts[name]; !ok {
		t.counter(unix.NFT_MSG_NEWOBJ, name)
		p.counts[name] = counts{}
	}
}

// account adds or deletes the elements that count the packets of a service or destination.
func (p *Plane) account(t *batch, what string, k ipvs.ServiceKey, d *ipvs.DestKey, add bool) {
	if !accounted(k) {
		return
	}
	key := accountKey(k, d)
	for _, set := range setNames(what, k.Family) {
		_, there := p.elems[set][string(key)]
		switch {
		case add && !there:
			t.elements(unix.NFT_MSG_NEWSETELEM, "count in "+set, set, 0, []element{{key: key}})
			if p.elems[set] == nil {
				p.elems[set] = map[string]counts{}
			}
			p.elems[set][string(key)] = counts{}
		case !add && there:
			t.elements(unix.NFT_MSG_DELSETELEM, "do not count in "+set, set, 0, []element{{key: key}})
			delete(p.elems[set], string(key))
		}
	}
}

// settle is what follows a change: clients and flows that were bound to something gone are let loose.
func (p *Plane) settle(have, want model, touched []ipvs.ServiceKey) {
	var gone []flow
	for _, k := range touched {
		old, now := have[k], want[k]
		if old == nil {
			gone = append(gone, flow{service: k, direct: true})
			continue
		}
		var ids []uint32
		for _, d := range old.Dests {
			if now == nil || now.dest(d.DestKey) < 0 {
				gone = append(gone, flow{service: k, dest: d.DestKey})
			}
			if id := old.ids[d.DestKey]; now == nil || now.ids[d.DestKey] != id {
				ids = append(ids, id)
			}
		}
		if now != nil && len(ids) > 0 && persistent(&now.Service) && persistent(&old.Service) {
			p.forgetClients(serviceName(k), ids)
		}
	}
	p.dropFlows(gone)
}

// forgetClients deletes the memory of clients of destinations that are gone. New ones cannot come: no rule gives those numbers.
// What could not be deleted is harmless but for stickiness: the number leads nowhere and the scheduler decides.
func (p *Plane) forgetClients(name string, ids []uint32) {
	var list []element
	collect := func(el elem) {
		if len(el.data) == 4 && slices.Contains(ids, uint32FromNative(el.data)) {
			list = append(list, element{key: slices.Clone(el.key)})
		}
	}
	if err := p.listSet(clientsName(name), func() { list = nil }, collect); err != nil || len(list) == 0 {
		return
	}
	for len(list) > 0 { // in small transactions: one client whose time ran out meanwhile fails its transaction only
		n := min(len(list), 256)
		t := &batch{}
		t.elements(unix.NFT_MSG_DELSETELEM, "forget clients", clientsName(name), 0, list[:n])
		if p.send(t) != nil && n > 1 {
			for _, el := range list[:n] {
				one := &batch{}
				one.elements(unix.NFT_MSG_DELSETELEM, "forget a client", clientsName(name), 0, []element{el})
				_ = p.send(one)
			}
		}
		list = list[n:]
	}
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
