package ipvs

import (
	"cmp"
	"slices"
	"time"
)

// Normal returns the key as the kernel keeps it: a firewall mark has no address, port or protocol, an IPv4 address mapped into
// IPv6 is an IPv4 address, and without a mark the address decides on the family.
func (k ServiceKey) Normal() ServiceKey {
	if k.FWMark != 0 {
		if k.Family != IPv6 {
			k.Family = IPv4
		}
		return ServiceKey{Family: k.Family, FWMark: k.FWMark}
	}
	if !k.Addr.IsValid() {
		return k
	}
	k.Addr = k.Addr.Unmap().WithZone("")
	k.Family = IPv6
	if k.Addr.Is4() {
		k.Family = IPv4
	}
	return k
}

// Compare orders keys as ipvsadm lists them: addresses before marks, marks by number, IPv4 before IPv6, then by protocol, address
// and port.
func (k ServiceKey) Compare(o ServiceKey) int {
	return cmp.Or(
		cmp.Compare(k.FWMark, o.FWMark),
		cmp.Compare(k.Family, o.Family),
		cmp.Compare(k.Protocol, o.Protocol),
		k.Addr.Compare(o.Addr),
		cmp.Compare(k.Port, o.Port),
	)
}

// Compare orders keys by address, IPv4 first, and port.
func (k DestKey) Compare(o DestKey) int {
	return cmp.Or(k.Addr.Compare(o.Addr), cmp.Compare(k.Port, o.Port))
}

// Normal returns the key with an IPv4 address as such.
func (k DestKey) Normal() DestKey {
	k.Addr = k.Addr.Unmap().WithZone("")
	return k
}

// Seconds is the persistence time as the kernel counts it, rounded up to whole seconds.
func (s *Service) Seconds() uint32 {
	return uint32((s.Timeout + time.Second - 1) / time.Second)
}

// Prefix is Granularity with its default, one by one, filled in.
func (s *Service) Prefix() uint8 {
	if s.Granularity != 0 {
		return s.Granularity
	}
	if s.Family == IPv6 {
		return 128
	}
	return 32
}

// SameOptions reports whether the kernel would treat both alike; key, destinations and counters are not looked at. Persistence
// time, granularity and engine count only for a persistent service, and Hashed never does: the kernel always sets it.
func (s *Service) SameOptions(o *Service) bool {
	if s.Scheduler != o.Scheduler || s.Flags&^Hashed != o.Flags&^Hashed {
		return false
	}
	return s.Flags&Persistent == 0 || s.Seconds() == o.Seconds() && s.Prefix() == o.Prefix() && s.Engine == o.Engine
}

// SameOptions reports whether the kernel would treat both alike; key and counters are not looked at. A destination that a
// kernel before 4.3 calls Local is one of this machine, whatever method was asked for.
func (d *Dest) SameOptions(o *Dest) bool {
	if d.Weight != o.Weight || d.Upper != o.Upper || d.Lower != o.Lower {
		return false
	}
	if d.Forward == Local || o.Forward == Local {
		return true
	}
	if d.Forward != o.Forward {
		return false
	}
	return d.Forward != TUN ||
		d.TunnelType == o.TunnelType && (d.TunnelType == IPIP || d.TunnelPort == o.TunnelPort && d.TunnelFlags == o.TunnelFlags)
}

// Diff returns the writes that make want out of have, in the order in which they must be done: in the order of want what is added
// or changed (a service before its destinations), then in the same order the destinations that go, then the services that go in
// the order of have. A service goes with its destinations in one write. Changing a forwarding method, a tunnel or a scheduler is an edit.
// When want names a service, or a service a destination, more than once, the first counts. The time taken is linear.
func Diff(have, want Table) []Op { return AppendDiff(nil, have, want) }

// AppendDiff appends the writes of Diff to ops.
func AppendDiff(ops []Op, have, want Table) []Op {
	var gone []Op
	if len(have.Services) == 0 {
		n := len(want.Services)
		for i := range want.Services {
			n += len(want.Services[i].Dests)
		}
		ops = slices.Grow(ops, n)
	}
	present := make(map[ServiceKey]*Service, len(have.Services))
	for i := range have.Services {
		present[have.Services[i].Normal()] = &have.Services[i]
	}
	wanted := make(map[ServiceKey]struct{}, len(want.Services))
	var d destDiff
	for i := range want.Services {
		w := &want.Services[i]
		key := w.Normal()
		if _, again := wanted[key]; again {
			continue
		}
		wanted[key] = struct{}{}
		h := present[key]
		switch {
		case h == nil:
			ops = append(ops, serviceOp(AddService, key, w))
			h = &Service{}
		case !h.SameOptions(w):
			ops = append(ops, serviceOp(EditService, key, w))
		}
		ops, gone = d.diff(key, h.Dests, w.Dests, ops, gone)
	}
	ops = append(ops, gone...)
	for i := range have.Services {
		key := have.Services[i].Normal()
		if _, ok := wanted[key]; !ok {
			ops = append(ops, Op{Kind: DelService, Service: Service{ServiceKey: key}})
		}
	}
	return ops
}

func serviceOp(kind OpKind, key ServiceKey, s *Service) Op {
	op := Op{Kind: kind, Service: *s}
	op.Service.ServiceKey = key
	op.Service.Dests, op.Service.Stats = nil, Stats{}
	return op
}

func destOp(kind OpKind, key ServiceKey, d *Dest) Op {
	op := Op{Kind: kind, Service: Service{ServiceKey: key}, Dest: *d}
	op.Dest.DestKey = d.Normal()
	op.Dest.Active, op.Dest.Inactive, op.Dest.Persist, op.Dest.Stats = 0, 0, 0, Stats{}
	return op
}

// fewDests is up to how many destinations looking at all of them is faster than a map.
const fewDests = 16

// destDiff compares the destinations of one service after the other with the same two maps.
type destDiff struct {
	present map[DestKey]*Dest
	wanted  map[DestKey]struct{}
}

func (m *destDiff) diff(key ServiceKey, have, want []Dest, ops, gone []Op) (opsOut, goneOut []Op) {
	if aligned(have, want) {
		for i := range want {
			if !have[i].SameOptions(&want[i]) {
				ops = append(ops, destOp(EditDest, key, &want[i]))
			}
		}
		return ops, gone
	}
	if len(have) == 0 && len(want) <= fewDests {
		first := len(ops)
		for i := range want {
			op := destOp(AddDest, key, &want[i])
			if !holds(ops[first:], op.Dest.DestKey) {
				ops = append(ops, op)
			}
		}
		return ops, gone
	}
	if m.present == nil {
		m.present, m.wanted = map[DestKey]*Dest{}, map[DestKey]struct{}{}
	}
	clear(m.present)
	clear(m.wanted)
	for i := range have {
		m.present[have[i].Normal()] = &have[i]
	}
	for i := range want {
		k := want[i].Normal()
		if _, again := m.wanted[k]; again {
			continue
		}
		m.wanted[k] = struct{}{}
		switch h := m.present[k]; {
		case h == nil:
			ops = append(ops, destOp(AddDest, key, &want[i]))
		case !h.SameOptions(&want[i]):
			ops = append(ops, destOp(EditDest, key, &want[i]))
		}
	}
	for i := range have {
		if _, ok := m.wanted[have[i].Normal()]; !ok {
			gone = append(gone, destOp(DelDest, key, &have[i]))
		}
	}
	return ops, gone
}

func holds(ops []Op, k DestKey) bool {
	for i := range ops {
		if ops[i].Dest.DestKey == k {
			return true
		}
	}
	return false
}

// aligned reports whether both have the same destinations in the same order: the usual case on a reload and a repair, for which
// no map is needed. What a data plane holds has no repetition, so neither has want then.
func aligned(have, want []Dest) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		if have[i].Normal() != want[i].Normal() {
			return false
		}
	}
	return true
}
