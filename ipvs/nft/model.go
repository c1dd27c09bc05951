package nft

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// service is a virtual service as it stands in the table. Values are not changed once they are in a model.
type service struct {
	ipvs.Service
	ids  map[ipvs.DestKey]uint32 // number of each destination in the map of clients
	next uint32                  // last number given
}

// model is what the table holds, or is to hold.
type model map[ipvs.ServiceKey]*service

func (s *service) clone() *service {
	c := *s
	c.Dests, c.ids = slices.Clone(s.Dests), maps.Clone(s.ids)
	return &c
}

func (s *service) dest(k ipvs.DestKey) int {
	return slices.IndexFunc(s.Dests, func(d ipvs.Dest) bool { return d.DestKey == k })
}

// apply does one write to the model; the errors are those the kernel's IPVS gives.
func (m model) apply(op ipvs.Op) error {
	k := op.Service.ServiceKey
	have := m[k]
	switch {
	case op.Kind == ipvs.AddService && have != nil:
		return unix.EEXIST
	case op.Kind != ipvs.AddService && have == nil:
		return unix.ESRCH
	}
	switch op.Kind {
	case ipvs.AddService:
		if err := writable(k); err != nil {
			return err
		}
		s := &service{Service: op.Service, ids: map[ipvs.DestKey]uint32{}}
		s.Dests, s.Stats = nil, ipvs.Stats{}
		m[k] = s
	case ipvs.EditService:
		s := have.clone()
		s.Service = op.Service
		s.Dests = have.Dests
		m[k] = s
	case ipvs.DelService:
		delete(m, k)
	case ipvs.AddDest:
		if have.dest(op.Dest.DestKey) >= 0 {
			return unix.EEXIST
		}
		if err := reachable(k, &op.Dest); err != nil {
			return err
		}
		s := have.clone()
		s.next++
		s.ids[op.Dest.DestKey] = s.next
		s.Dests = append(s.Dests, op.Dest)
		m[k] = s
	case ipvs.EditDest:
		i := have.dest(op.Dest.DestKey)
		if i < 0 {
			return unix.ENOENT
		}
		if err := reachable(k, &op.Dest); err != nil {
			return err
		}
		s := have.clone()
		s.Dests[i] = op.Dest
		m[k] = s
	case ipvs.DelDest:
		i := have.dest(op.Dest.DestKey)
		if i < 0 {
			return unix.ENOENT
		}
		s := have.clone()
		s.Dests = slices.Delete(s.Dests, i, i+1)
		delete(s.ids, op.Dest.DestKey)
		m[k] = s
	default:
		return fmt.Errorf("unknown operation %d: %w", op.Kind, unix.EINVAL)
	}
	return nil
}

func writable(k ipvs.ServiceKey) error {
	switch {
	case k.Family != ipvs.IPv4 && k.Family != ipvs.IPv6:
		return fmt.Errorf("address family %d: %w", k.Family, unix.EAFNOSUPPORT)
	case k.FWMark != 0:
		return nil
	case protocols[k.Protocol] == "":
		return fmt.Errorf("protocol %d: %w", k.Protocol, unix.EPROTONOSUPPORT)
	case !k.Addr.IsValid() || familyOf(k.Addr) != k.Family:
		return fmt.Errorf("address %v: %w", k.Addr, unix.EINVAL)
	}
	return nil
}

func reachable(k ipvs.ServiceKey, d *ipvs.Dest) error {
	switch {
	case !d.Addr.IsValid() || familyOf(d.Addr) != k.Family:
		return fmt.Errorf("address %v: %w", d.Addr, unix.EINVAL)
	case d.Forward != ipvs.NAT && d.Forward != ipvs.Local:
		return fmt.Errorf("forwarding by %s: %w", forwardWord(d.Forward), unix.EOPNOTSUPP)
	case d.Weight < 0 || d.Weight > 65535:
		return fmt.Errorf("weight %d: %w", d.Weight, unix.ERANGE)
	}
	return nil
}

func forwardWord(f ipvs.Forward) string {
	switch f {
	case ipvs.NAT:
		return "NAT"
	case ipvs.Local:
		return "local"
	case ipvs.TUN:
		return "TUN"
	case ipvs.DR:
		return "DR"
	}
	return fmt.Sprintf("method %d", f)
}
