package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Generic netlink of IPVS (linux/ip_vs.h).
const (
	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdNewDaemon  = 9
	cmdDelDaemon  = 10
	cmdGetDaemon  = 11
	cmdSetConfig  = 12
	cmdGetConfig  = 13
	cmdFlush      = 17

	attrService = 1
	attrDest    = 2
	attrDaemon  = 3
	attrTCP     = 4
	attrTCPFin  = 5
	attrUDP     = 6

	svcAF        = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcFWMark    = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcStats     = 10
	svcPE        = 11
	svcStats64   = 12

	destAddr     = 1
	destPort     = 2
	destForward  = 3
	destWeight   = 4
	destUpper    = 5
	destLower    = 6
	destActive   = 7
	destInactive = 8
	destPersist  = 9
	destStats    = 10
	destFamily   = 11
	destStats64  = 12
	destTunType  = 13
	destTunPort  = 14
	destTunFlags = 15

	daemonState  = 1
	daemonIface  = 2
	daemonID     = 3
	daemonMaxLen = 4
	daemonGroup  = 5
	daemonGroup6 = 6
	daemonPort   = 7
	daemonTTL    = 8

	genlVersion = 1
	forwardMask = 7 // IP_VS_CONN_F_FWD_MASK
)

var native = binary.NativeEndian

// packer writes netlink messages one behind the other into one buffer.
type packer struct{ b []byte }

// message begins a request; what it returns is to be given to end.
func (p *packer) message(family uint16, cmd, version uint8, flags uint16, seq uint32) int {
	at := len(p.b)
	p.b = native.AppendUint32(p.b, 0)
	p.b = native.AppendUint16(p.b, family)
	p.b = native.AppendUint16(p.b, flags|unix.NLM_F_REQUEST)
	p.b = native.AppendUint32(p.b, seq)
	p.b = native.AppendUint32(p.b, 0)
	p.b = append(p.b, cmd, version, 0, 0)
	return at
}

func (p *packer) end(at int) { native.PutUint32(p.b[at:], uint32(len(p.b)-at)) }

// nest begins an attribute made of attributes; what it returns is to be given to endNest.
func (p *packer) nest(typ uint16) int {
	at := len(p.b)
	p.attr(typ, 0)
	return at
}

func (p *packer) endNest(at int) { native.PutUint16(p.b[at:], uint16(len(p.b)-at)) }

// attr writes the header of an attribute of n bytes.
func (p *packer) attr(typ uint16, n int) {
	p.b = native.AppendUint16(p.b, uint16(n+4))
	p.b = native.AppendUint16(p.b, typ)
}

func (p *packer) pad() {
	for len(p.b)%4 != 0 {
		p.b = append(p.b, 0)
	}
}

func (p *packer) u8(typ uint16, v uint8) {
	p.attr(typ, 1)
	p.b = append(p.b, v, 0, 0, 0)
}

func (p *packer) u16(typ, v uint16) {
	p.attr(typ, 2)
	p.b = native.AppendUint16(p.b, v)
	p.pad()
}

// be16 writes a port.
func (p *packer) be16(typ, v uint16) {
	p.attr(typ, 2)
	p.b = binary.BigEndian.AppendUint16(p.b, v)
	p.pad()
}

func (p *packer) u32(typ uint16, v uint32) {
	p.attr(typ, 4)
	p.b = native.AppendUint32(p.b, v)
}

func (p *packer) text(typ uint16, s string) {
	p.attr(typ, len(s)+1)
	p.b = append(append(p.b, s...), 0)
	p.pad()
}

func (p *packer) addr(typ uint16, a netip.Addr) {
	if a.Is4() {
		v := a.As4()
		p.attr(typ, 4)
		p.b = append(p.b, v[:]...)
		return
	}
	v := a.As16()
	p.attr(typ, 16)
	p.b = append(p.b, v[:]...)
}

var errShort = errors.New("answer from the kernel is cut short")

// eachAttr calls f for every attribute in b.
func eachAttr(b []byte, f func(typ uint16, v []byte) error) error {
	for len(b) >= 4 {
		n := int(native.Uint16(b))
		if n < 4 || n > len(b) {
			return errShort
		}
		if err := f(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// number reads an unsigned integer of the width in which the kernel sent it; a wider one is cut off, an odd one is zero.
func number(v []byte) uint64 {
	switch {
	case len(v) >= 8:
		return native.Uint64(v)
	case len(v) >= 4:
		return uint64(native.Uint32(v))
	case len(v) >= 2:
		return uint64(native.Uint16(v))
	case len(v) == 1:
		return uint64(v[0])
	}
	return 0
}

func port(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(v)
}

func text(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

// addr reads an address, which the kernel sends as 16 bytes whatever the family.
func addr(v []byte, v6 bool) (netip.Addr, error) {
	if v6 {
		if len(v) < 16 {
			return netip.Addr{}, errShort
		}
		return netip.AddrFrom16([16]byte(v[:16])), nil
	}
	if len(v) < 4 {
		return netip.Addr{}, errShort
	}
	return netip.AddrFrom4([4]byte(v[:4])), nil
}
