package kernel

import (
	"math/bits"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// packOp packs one write.
func packOp(o *packer, family uint16, seq uint32, op ipvs.Op) {
	cmd, full := uint8(0), false
	switch op.Kind {
	case ipvs.AddService:
		cmd, full = cmdNewService, true
	case ipvs.EditService:
		cmd, full = cmdSetService, true
	case ipvs.DelService:
		cmd = cmdDelService
	case ipvs.AddDest:
		cmd, full = cmdNewDest, true
	case ipvs.EditDest:
		cmd, full = cmdSetDest, true
	case ipvs.DelDest:
		cmd = cmdDelDest
	}
	at := o.message(family, cmd, genlVersion, 0, seq)
	key := op.Service.Normal()
	n := o.nest(attrService)
	packKey(o, key)
	if full && cmd <= cmdSetService {
		packService(o, &op.Service, key.Family)
	}
	o.endNest(n)
	if cmd >= cmdNewDest {
		n := o.nest(attrDest)
		packDest(o, &op.Dest, full)
		o.endNest(n)
	}
	o.end(at)
}

func packKey(o *packer, k ipvs.ServiceKey) {
	o.u16(svcAF, uint16(k.Family))
	if k.FWMark != 0 {
		o.u32(svcFWMark, k.FWMark)
		return
	}
	o.u16(svcProtocol, uint16(k.Protocol))
	o.addr(svcAddr, k.Addr)
	o.be16(svcPort, k.Port)
}

// packService packs the options. The mask of the flags says that all of them are meant.
func packService(o *packer, s *ipvs.Service, family ipvs.Family) {
	o.text(svcScheduler, s.Scheduler)
	if s.Engine != "" {
		o.text(svcPE, s.Engine)
	}
	o.attr(svcFlags, 8)
	o.b = native.AppendUint32(o.b, uint32(s.Flags|ipvs.Hashed))
	o.b = native.AppendUint32(o.b, ^uint32(0))
	o.u32(svcTimeout, s.Seconds())
	prefix := s.Prefix()
	if family == ipvs.IPv6 {
		if s.Granularity == 0 {
			prefix = 128
		}
		o.u32(svcNetmask, uint32(prefix))
		return
	}
	mask := ^uint32(0) << (32 - min(prefix, 32))
	o.addr(svcNetmask, netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}))
}

func packDest(o *packer, d *ipvs.Dest, full bool) {
	k := d.Normal()
	family := uint16(unix.AF_INET6)
	if k.Addr.Is4() {
		family = unix.AF_INET
	}
	o.u16(destFamily, family)
	o.addr(destAddr, k.Addr)
	o.be16(destPort, k.Port)
	if !full {
		return
	}
	o.u32(destForward, uint32(d.Forward))
	o.u32(destWeight, uint32(d.Weight))
	o.u32(destUpper, d.Upper)
	o.u32(destLower, d.Lower)
	if d.Forward == ipvs.TUN && d.TunnelType != ipvs.IPIP { // kernels before 5.3 know only IPIP and no such attributes
		o.u8(destTunType, uint8(d.TunnelType))
		o.be16(destTunPort, d.TunnelPort)
		o.u16(destTunFlags, uint16(d.TunnelFlags))
	}
}

// nested calls f for the attributes inside the attribute typ of a message.
func nested(b []byte, typ uint16, f func(typ uint16, v []byte) error) error {
	return eachAttr(b, func(t uint16, v []byte) error {
		if t != typ {
			return nil
		}
		return eachAttr(v, f)
	})
}

func parseService(b []byte) (ipvs.Service, error) {
	var s ipvs.Service
	var address, mask []byte
	var stats statsParser
	err := nested(b, attrService, func(typ uint16, v []byte) error {
		switch typ {
		case svcAF:
			s.Family = ipvs.Family(number(v))
		case svcProtocol:
			s.Protocol = ipvs.Protocol(number(v))
		case svcAddr:
			address = v
		case svcPort:
			s.Port = port(v)
		case svcFWMark:
			s.FWMark = uint32(number(v))
		case svcScheduler:
			s.Scheduler = text(v)
		case svcPE:
			s.Engine = text(v)
		case svcFlags:
			if len(v) >= 4 {
				s.Flags = ipvs.Flags(native.Uint32(v)) &^ ipvs.Hashed // the kernel sets it on all
			}
		case svcTimeout:
			s.Timeout = time.Duration(number(v)) * time.Second
		case svcNetmask:
			mask = v
		case svcStats:
			return stats.parse(v, false)
		case svcStats64:
			return stats.parse(v, true)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if len(mask) >= 4 {
		if s.Family == ipvs.IPv6 {
			s.Granularity = uint8(min(native.Uint32(mask), 128))
		} else {
			s.Granularity = uint8(bits.OnesCount32(native.Uint32(mask)))
		}
	}
	if s.FWMark == 0 {
		if s.Addr, err = addr(address, s.Family == ipvs.IPv6); err != nil {
			return s, err
		}
	}
	s.Stats = stats.Stats
	return s, nil
}

// parseDest reads a destination; kernels before 3.18 do not send its family, which then is the service's.
func parseDest(b []byte, family ipvs.Family) (ipvs.Dest, error) {
	var d ipvs.Dest
	var address []byte
	var stats statsParser
	err := nested(b, attrDest, func(typ uint16, v []byte) error {
		switch typ {
		case destAddr:
			address = v
		case destPort:
			d.Port = port(v)
		case destForward:
			d.Forward = ipvs.Forward(number(v) & forwardMask)
		case destWeight:
			d.Weight = int(int32(number(v)))
		case destUpper:
			d.Upper = uint32(number(v))
		case destLower:
			d.Lower = uint32(number(v))
		case destActive:
			d.Active = uint32(number(v))
		case destInactive:
			d.Inactive = uint32(number(v))
		case destPersist:
			d.Persist = uint32(number(v))
		case destFamily:
			family = ipvs.Family(number(v))
		case destTunType:
			d.TunnelType = ipvs.TunnelType(number(v))
		case destTunPort:
			d.TunnelPort = port(v)
		case destTunFlags:
			d.TunnelFlags = ipvs.TunnelFlags(number(v))
		case destStats:
			return stats.parse(v, false)
		case destStats64:
			return stats.parse(v, true)
		}
		return nil
	})
	if err != nil {
		return d, err
	}
	d.Stats = stats.Stats
	d.Addr, err = addr(address, family == ipvs.IPv6)
	return d, err
}

// statsParser fills counters; the 64-bit ones, which kernels since 4.1 send beside the old ones, win.
type statsParser struct {
	ipvs.Stats
	wide bool
}

func (s *statsParser) parse(b []byte, wide bool) error {
	if s.wide && !wide {
		return nil
	}
	s.wide = wide
	into := [...]*uint64{nil, &s.Conns, &s.InPkts, &s.OutPkts, &s.InBytes, &s.OutBytes, &s.CPS, &s.InPPS, &s.OutPPS, &s.InBPS, &s.OutBPS}
	return eachAttr(b, func(typ uint16, v []byte) error {
		if typ > 0 && int(typ) < len(into) {
			*into[typ] = number(v)
		}
		return nil
	})
}
