package director

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"releve/ipvs"
)

// maxExpand bounds how many services one virtual server may become by ranges of its group.
const maxExpand = 65536

// tableau holds, for every service that is ours, what should be there and what is believed to be there.
type tableau struct {
	log   *slog.Logger
	plane ipvs.Plane

	order []*service // in the order of the file
	byKey map[ipvs.ServiceKey]*service
	of    map[*pool][]*share
	// have is the believed content, ours only. The services are shared with want and never changed in place.
	have map[ipvs.ServiceKey]*ipvs.Service
	// unsure are services of which a write failed since the last read: a difference there is not somebody else's doing.
	unsure map[ipvs.ServiceKey]bool
	// known is the belief at the time of the last read, to tell a stranger's change from ours.
	known map[ipvs.ServiceKey]*ipvs.Service

	next int // index into order of the service whose destinations the next glance begins with

	scratch  []ipvs.Dest     // of allowed
	said     map[string]bool // warnings about the present services
	saidOnce map[string]bool // warnings about those before them: not given again
	failures map[failKey]failure
	readErr  string
}

// failure is a write that the plane refuses.
type failure struct {
	text  string
	since time.Time
	tries int
}

type failKey struct {
	service ipvs.ServiceKey
	dest    ipvs.DestKey
}

// service is one entry of the table. Several virtual servers may share it, by a mark of two groups for instance: the first one's settings
// count, and it holds the destinations of all.
type service struct {
	base   ipvs.Service // without destinations
	shares []*share
	want   *ipvs.Service
}

// share is what one pool has in a service.
type share struct {
	*service
	pool    *pool
	refused map[ipvs.DestKey]bool
	dests   []ipvs.Dest // as placed
}

func newTableau(log *slog.Logger, plane ipvs.Plane) *tableau {
	return &tableau{log: log, plane: plane, have: map[ipvs.ServiceKey]*ipvs.Service{}, unsure: map[ipvs.ServiceKey]bool{},
		said: map[string]bool{}, failures: map[failKey]failure{}}
}

// setServices replaces the list of services; what is believed to be there stays.
func (t *tableau) setServices(pools []*pool) {
	t.order = nil
	t.saidOnce, t.said = t.said, map[string]bool{}
	t.byKey = make(map[ipvs.ServiceKey]*service, len(pools))
	t.of = make(map[*pool][]*share, len(pools))
	for _, p := range pools {
		for _, base := range t.expand(p.vs, p.mark) {
			s := t.byKey[base.ServiceKey]
			if s == nil {
				s = &service{base: base}
			}
			part := &share{service: s, pool: p}
			if !t.allowed(part) {
				continue
			}
			if len(s.shares) == 0 {
				t.byKey[base.ServiceKey] = s
				t.order = append(t.order, s)
			} else if first := s.shares[0].pool; first != p {
				if base.FWMark == 0 || !s.base.SameOptions(&base) {
					t.once(fmt.Sprintf("VS %s: %s belongs to VS %s already: the real servers of both are in it, with the settings of the first", p.vs.Name,
						keyString(base.ServiceKey), first.vs.Name), p.vs.Name)
				}
			} else {
				continue // the same address twice in one group
			}
			s.shares = append(s.shares, part)
			t.of[p] = append(t.of[p], part)
		}
	}
}

// allowed asks the plane what it can do of a service and says each limit once.
func (t *tableau) allowed(s *share) bool {
	vs := s.pool.vs
	t.scratch = t.scratch[:0]
	for _, r := range vs.RealServers {
		t.scratch = append(t.scratch, r.dest(r.Weight))
	}
	if vs.Sorry != nil {
		t.scratch = append(t.scratch, vs.Sorry.dest(1))
	}
	full := s.base
	full.Dests = s.place(t.scratch[:0], t.scratch)
	ok := true
	for _, l := range t.plane.Check(&full) {
		t.once(l.Text, s.pool.vs.Name)
		switch {
		case l.Refuse && l.Dest == nil:
			ok = false
		case l.Refuse:
			if s.refused == nil {
				s.refused = map[ipvs.DestKey]bool{}
			}
			s.refused[*l.Dest] = true
		}
	}
	return ok
}

func (t *tableau) once(text, vs string) {
	if !t.said[text] && !t.saidOnce[text] {
		t.log.Warn(text, "vs", vs)
	}
	t.said[text] = true
}

// expand gives the services of a virtual server: one, or one for each address and mark of its group. A mark, if not zero, stands for all
// addresses of a family.
func (t *tableau) expand(vs *VirtualServer, mark uint32) []ipvs.Service {
	base := ipvs.Service{ServiceKey: vs.Key, Scheduler: vs.Scheduler, Flags: vs.Flags, Timeout: vs.Persistence,
		Granularity: vs.Granularity, Engine: vs.Engine}
	if vs.Persistence > 0 {
		base.Flags |= ipvs.Persistent
	}
	if vs.Hashed {
		base.Flags |= ipvs.Hashed
	}
	if vs.OPS {
		base.Flags |= ipvs.OnePacket
	}
	if vs.Group == nil {
		return []ipvs.Service{withFamily(base)}
	}
	var out []ipvs.Service
	add := func(s ipvs.Service) {
		if familyOf(s.ServiceKey) != familyOf(vs.Key) { // the virtual server's granularity is meant for addresses of the other length
			s.Granularity = 0
		}
		out = append(out, withFamily(s))
	}
	for _, m := range vs.Group.Members {
		s := base
		if mark > 0 {
			s.ServiceKey = ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: mark}
			if m.First.Unmap().Is6() {
				s.Family = ipvs.IPv6
			}
			if !slices.ContainsFunc(out, func(o ipvs.Service) bool { return o.Family == s.Family }) {
				add(s)
			}
			continue
		}
		if m.FWMark > 0 {
			s.ServiceKey = ipvs.ServiceKey{Family: cmp.Or(m.Family, vs.Key.Family), FWMark: m.FWMark}
			add(s)
			continue
		}
		for a := m.First; a.IsValid(); a = a.Next() {
			if len(out) == maxExpand {
				t.once(fmt.Sprintf("VS %s: group %s has more than %d addresses - the rest is left out", vs.Name, vs.Group.Name, maxExpand), vs.Name)
				return out
			}
			s.ServiceKey = ipvs.ServiceKey{Protocol: vs.Key.Protocol, Addr: a, Port: m.Port}
			add(s)
			if !a.Less(m.Last) {
				break
			}
		}
	}
	return out
}

// familyOf is the family of a service: that of its address, if it has one.
func familyOf(k ipvs.ServiceKey) ipvs.Family {
	switch {
	case !k.Addr.IsValid():
		return cmp.Or(k.Family, ipvs.IPv4)
	case k.Addr.Unmap().Is6():
		return ipvs.IPv6
	}
	return ipvs.IPv4
}

// withFamily fills in what follows from the address: family, and a granularity of single clients.
func withFamily(s ipvs.Service) ipvs.Service {
	if s.Addr.IsValid() {
		s.Addr = s.Addr.Unmap()
	}
	s.Family = familyOf(s.ServiceKey)
	if s.Granularity == 0 {
		s.Granularity = 32
		if s.Family == ipvs.IPv6 {
			s.Granularity = 128
		}
	}
	return s
}

// place gives destinations the ports that they have in this service, leaves out what the plane refused, and keeps the first of two
// that become the same. They are appended to out, which may be the empty beginning of dests.
func (s *share) place(out, dests []ipvs.Dest) []ipvs.Dest {
	var seen map[ipvs.DestKey]struct{}
	if len(dests) > 16 {
		seen = make(map[ipvs.DestKey]struct{}, len(dests))
	}
	for i := range dests {
		d := dests[i]
		d.Addr = d.Addr.Unmap()
		d.Port = portIn(s.base.ServiceKey, d.Forward, d.Port)
		if s.refused[d.DestKey] {
			continue
		}
		if seen != nil {
			if _, again := seen[d.DestKey]; again {
				continue
			}
			seen[d.DestKey] = struct{}{}
		} else if holds(out, d.DestKey) {
			continue
		}
		out = append(out, d)
	}
	return out
}

func holds(list []ipvs.Dest, k ipvs.DestKey) bool {
	for i := range list {
		if list[i].DestKey == k {
			return true
		}
	}
	return false
}

// portIn is a real server's port: with DR and TUN the service's, 0 under a mark; with NAT its own, by default the service's.
func portIn(k ipvs.ServiceKey, f ipvs.Forward, port uint16) uint16 {
	if f == ipvs.NAT && port != 0 {
		return port
	}
	return k.Port
}

func destKeyIn(k ipvs.ServiceKey, r *RealServer) ipvs.DestKey {
	return ipvs.DestKey{Addr: r.Addr.Addr().Unmap(), Port: portIn(k, r.Forward, r.Addr.Port())}
}

// want sets what the services of a pool should hold; dests is given away.
func (t *tableau) want(p *pool, dests []ipvs.Dest) {
	of := t.of[p]
	for i, s := range of {
		w := s.base
		if i == len(of)-1 {
			s.dests = s.place(dests[:0], dests)
		} else {
			s.dests = s.place(make([]ipvs.Dest, 0, len(dests)), dests)
		}
		w.Dests = s.dests
		if len(s.shares) > 1 {
			w.Dests = s.union()
		}
		s.want = &w
	}
}

// union is what all pools that share a service have in it; of a destination that two have the first one's counts.
func (s *service) union() []ipvs.Dest {
	var out []ipvs.Dest
	seen := map[ipvs.DestKey]struct{}{}
	for _, part := range s.shares {
		for _, d := range part.dests {
			if _, again := seen[d.DestKey]; !again {
				seen[d.DestKey] = struct{}{}
				out = append(out, d)
			}
		}
	}
	return out
}

// step appends the writes that lead from the believed content of a pool's services to dests.
func (t *tableau) step(ops []ipvs.Op, p *pool, dests []ipvs.Dest) []ipvs.Op {
	t.want(p, dests)
	for _, s := range t.of[p] {
		var have ipvs.Table
		if h := t.have[s.base.ServiceKey]; h != nil {
			have.Services = []ipvs.Service{*h}
		}
		begin := len(ops)
		ops = ipvs.AppendDiff(ops, have, ipvs.Table{Services: []ipvs.Service{*s.want}})
		s.inFileOrder(ops[begin:])
		t.have[s.base.ServiceKey] = s.want
	}
	return ops
}

// inFileOrder brings writes by which servers leave, some inhibited and some removed, into the order of the file, the reference's. Where a
// server comes, nothing is moved: what is added must come first.
func (s *share) inFileOrder(ops []ipvs.Op) {
	edits, removals := false, false
	for i := range ops {
		switch ops[i].Kind {
		case ipvs.EditDest:
			edits = true
		case ipvs.DelDest:
			removals = true
		default:
			return
		}
	}
	if !edits || !removals {
		return
	}
	rank := make(map[ipvs.DestKey]int, len(s.pool.rs))
	for i, m := range s.pool.rs {
		rank[destKeyIn(s.base.ServiceKey, m.cfg)] = i + 1
	}
	slices.SortStableFunc(ops, func(a, b ipvs.Op) int { return cmp.Compare(rank[a.Dest.DestKey], rank[b.Dest.DestKey]) })
}

// removal gives the writes after which nothing of ours is left, and wants nothing any more. The last service goes first: the kernel keeps what is
// removed for two minutes, in case that it comes back, and looks through all of it for each server that is added, the latest first. So the next
// start finds each at once.
func (t *tableau) removal() []ipvs.Op {
	var have ipvs.Table
	for _, s := range slices.Backward(t.order) {
		if t.have[s.base.ServiceKey] != nil {
			have.Services = append(have.Services, ipvs.Service{ServiceKey: s.base.ServiceKey})
		}
	}
	for _, k := range t.strays() {
		have.Services = append(have.Services, ipvs.Service{ServiceKey: k})
	}
	t.order, t.byKey, t.of = nil, map[ipvs.ServiceKey]*service{}, map[*pool][]*share{}
	t.have = map[ipvs.ServiceKey]*ipvs.Service{}
	return ipvs.Diff(have, ipvs.Table{})
}

// difference gives the writes from all that is believed to be there to all that is wanted, and believes in them.
func (t *tableau) difference() []ipvs.Op {
	var have, want ipvs.Table
	for _, s := range t.order {
		if h := t.have[s.base.ServiceKey]; h != nil {
			have.Services = append(have.Services, *h)
		}
		if s.want != nil {
			want.Services = append(want.Services, *s.want)
		}
	}
	for _, k := range t.strays() {
		have.Services = append(have.Services, *t.have[k])
	}
	ops := ipvs.Diff(have, want)
	next := make(map[ipvs.ServiceKey]*ipvs.Service, len(t.order))
	for _, s := range t.order {
		if s.want != nil {
			next[s.base.ServiceKey] = s.want
		}
	}
	t.have = next
	return ops
}

// strays are services that were ours and are not wanted any more, in a fixed order.
func (t *tableau) strays() []ipvs.ServiceKey {
	var out []ipvs.ServiceKey
	for k := range t.have {
		if t.byKey[k] == nil {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, compareKeys)
	return out
}

func compareKeys(a, b ipvs.ServiceKey) int {
	if c := a.Addr.Compare(b.Addr); c != 0 {
		return c
	}
	for _, d := range [...]int{int(a.Port) - int(b.Port), int(a.Protocol) - int(b.Protocol), int(a.FWMark) - int(b.FWMark), int(a.Family) - int(b.Family)} {
		if d != 0 {
			return d
		}
	}
	return 0
}

// read takes what is there of our services as the belief.
func (t *tableau) read(ctx context.Context) error {
	now, err := t.plane.Read(ctx)
	if err != nil {
		return err
	}
	t.known = t.have
	t.have = make(map[ipvs.ServiceKey]*ipvs.Service, len(t.order))
	var emptied []ipvs.ServiceKey
	for i := range now.Services {
		s := &now.Services[i]
		h, was := t.known[s.ServiceKey]
		if was || t.byKey[s.ServiceKey] != nil {
			t.have[s.ServiceKey] = s
		}
		if was && len(h.Dests) > 0 && len(s.Dests) == 0 {
			emptied = append(emptied, s.ServiceKey)
		}
	}
	if in, ok := t.plane.(ipvs.Glancer); ok {
		return t.forgetVanished(ctx, in, emptied)
	}
	return nil
}

// found is the first service of a pool that was there at the start.
func (t *tableau) found(p *pool) *ipvs.Service {
	for _, s := range t.of[p] {
		if h := t.have[s.base.ServiceKey]; h != nil {
			return h
		}
	}
	return nil
}

// apply writes, reports each refusal with its object once, and says whether there was one.
func (t *tableau) apply(ctx context.Context, ops []ipvs.Op) (failed bool) {
	return t.judge(ops, t.plane.Apply(ctx, ops))
}

// judge is apply behind the writing.
func (t *tableau) judge(ops []ipvs.Op, errs []ipvs.OpError) (failed bool) {
	bad := make(map[failKey]bool, len(errs))
	for _, e := range errs {
		if (e.Op.Kind == ipvs.DelDest || e.Op.Kind == ipvs.DelService) && (errors.Is(e.Err, syscall.ESRCH) || errors.Is(e.Err, syscall.ENOENT)) {
			continue // it is gone, which was the aim
		}
		failed = true
		k := failKey{e.Op.Service.ServiceKey, e.Op.Dest.DestKey}
		bad[k] = true
		t.unsure[k.service] = true
		t.disbelieve(e.Op)
		f := t.failures[k]
		if f.tries == 0 {
			f.since = time.Now()
		}
		f.tries++
		if text := e.Err.Error(); f.text != text {
			f.text = text
			t.log.Error("IPVS: cannot "+e.Error(), "err", e.Err)
		}
		t.failures[k] = f
	}
	if len(t.failures) == 0 {
		return failed
	}
	for _, op := range ops {
		k := failKey{op.Service.ServiceKey, op.Dest.DestKey}
		if _, failed := t.failures[k]; failed && !bad[k] {
			delete(t.failures, k)
			t.log.Info("IPVS: done at last: " + op.String())
		}
	}
	return failed
}

// inPlace drops the failures of what turned out to be as wanted when the table was read: all but what ops are about. The verdict of a write may
// get lost while the write is done.
func (t *tableau) inPlace(ops []ipvs.Op) {
	if len(t.failures) == 0 {
		return
	}
	wrong := make(map[failKey]bool, len(ops))
	for i := range ops {
		wrong[failKey{ops[i].Service.ServiceKey, ops[i].Dest.DestKey}] = true
	}
	for k := range t.failures {
		if !wrong[k] {
			delete(t.failures, k)
			object := ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: k.service}, Dest: ipvs.Dest{DestKey: k.dest}}
			if k.dest.Addr.IsValid() {
				object.Kind = ipvs.AddDest
			}
			t.log.Info("IPVS: as wanted at last: " + object.Object())
		}
	}
}

// disbelieve takes a refused write out of the belief, so that the next step tries it again.
func (t *tableau) disbelieve(op ipvs.Op) {
	k := op.Service.ServiceKey
	h := t.have[k]
	if op.Kind == ipvs.DelService {
		if h == nil {
			t.have[k] = &ipvs.Service{ServiceKey: k}
		}
		return
	}
	if h == nil {
		return
	}
	c := *h
	c.Dests = slices.Clone(h.Dests)
	t.have[k] = &c
	i := slices.IndexFunc(c.Dests, func(d ipvs.Dest) bool { return d.DestKey == op.Dest.DestKey })
	switch {
	case op.Kind == ipvs.AddService:
		delete(t.have, k)
	case op.Kind == ipvs.EditService:
		c.Scheduler = ""
	case op.Kind == ipvs.AddDest && i >= 0:
		c.Dests = slices.Delete(c.Dests, i, i+1)
	case op.Kind == ipvs.EditDest && i >= 0:
		c.Dests[i].Weight = -1 // no weight at all: another edit
	case op.Kind == ipvs.DelDest && i < 0:
		c.Dests = append(c.Dests, op.Dest)
	}
}

// forget drops the failures of objects that are not wanted any more.
func (t *tableau) forget() {
	for k := range t.failures {
		if t.byKey[k.service] == nil {
			delete(t.failures, k)
		}
	}
}

// readAgain notes that reading works.
func (t *tableau) readAgain() {
	if t.readErr != "" {
		t.readErr = ""
		t.log.Info("IPVS: the table can be read again")
	}
}

func (t *tableau) failedRead(err error) {
	if t.readErr != err.Error() {
		t.readErr = err.Error()
		t.log.Error("IPVS: cannot read the table: "+t.readErr, "err", err)
	}
}

// reportForeign logs each service that differs although nothing of ours had failed, and counts them.
func (t *tableau) reportForeign(ops []ipvs.Op) (n uint64) {
	count := map[ipvs.ServiceKey]int{}
	var order []ipvs.ServiceKey
	for _, op := range ops {
		k := op.Service.ServiceKey
		if t.unsure[k] {
			continue
		}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
	}
	for i, k := range order {
		if i == 10 {
			t.log.Warn(fmt.Sprintf("IPVS: %d more services had been changed from outside - restored", len(order)-i))
			break
		}
		t.log.Warn(fmt.Sprintf("IPVS: %s had been changed from outside - restoring %d entries", keyString(k), count[k]), "vs", keyString(k))
	}
	return uint64(len(order))
}

// keyString names a service as the reference's log lines do.
func keyString(k ipvs.ServiceKey) string {
	if k.FWMark > 0 {
		return fmt.Sprintf("FWM %d", k.FWMark)
	}
	return fmt.Sprintf("[%s]:%s:%d", k.Addr, protoString(k.Protocol), k.Port)
}

func protoString(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "tcp"
	case ipvs.UDP:
		return "udp"
	case ipvs.SCTP:
		return "sctp"
	}
	return "none"
}
