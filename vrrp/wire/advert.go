// Package wire reads and writes VRRP advertisements: version 2 (RFC 3768, with the authentication field of RFC 2338 that
// keepalived still fills), version 3 (RFC 5798, RFC 9568) for IPv4 and IPv6. The engine's half works on buffers of the caller and
// does not allocate; the layers for gopacket are for captures and tests.
package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Numbers of the protocol.
const (
	Protocol  = 112 // IP protocol number
	TypeAd    = 1   // the only packet type, ADVERTISEMENT (RFC 9568 §5.2.2)
	HeaderLen = 8
	AuthLen   = 8   // authentication data that follows the addresses in version 2
	TTL       = 255 // RFC 9568 §5.1.1.3
	TOS       = 0xc0
	MaxAddrs  = 255
	// MaxLen is the longest VRRP packet: 255 IPv6 addresses and an authentication trailer.
	MaxLen = HeaderLen + 16*MaxAddrs + AuthLen + TrailerLen
	// MaxLen4 is the longest one over IPv4, with its IP header and an authentication header.
	MaxLen4 = 60 + 24 + HeaderLen + 4*MaxAddrs + AuthLen + TrailerLen
)

// Authentication types of version 2 (RFC 2338 §5.3.6).
const (
	AuthNone uint8 = 0
	AuthPass uint8 = 1
	AuthAH   uint8 = 2
)

// Multicast groups of VRRP.
var (
	Group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	Group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

// Advert is one advertisement. Its slices may be reused from packet to packet.
type Advert struct {
	Version  uint8 // 2 or 3
	VRID     uint8
	Priority uint8 // 0: the master resigns
	AuthType uint8 // version 2 only
	// Interval is 1 to 255 s in version 2 and 10 ms to 40.95 s in version 3 (RFC 9568 §5.2.7).
	Interval time.Duration
	Addrs    []netip.Addr // at most 255, all of the family of the packet
	Auth     [AuthLen]byte
	// OldChecksum says, of an advert received, that its checksum is that of ChecksumOldUnicast.
	OldChecksum bool
}

// ChecksumKind says what the checksum of a packet covers.
type ChecksumKind uint8

// Kinds of checksum.
const (
	// ChecksumDefault is version 2: the packet; version 3: pseudo-header and packet (RFC 9568 §5.2.8).
	ChecksumDefault ChecksumKind = iota
	// ChecksumAsV2 leaves the pseudo-header out in version 3 over IPv4, as old implementations do (v3_checksum_as_v2).
	ChecksumAsV2
	// ChecksumOldUnicast is version 3 over IPv4 as keepalived had it up to 1.3.6: unicast adverts with the multicast group as
	// destination in the pseudo-header (old_unicast_checksum).
	ChecksumOldUnicast
)

// Len is the number of bytes that Append will write.
func (a *Advert) Len() int {
	n := HeaderLen
	for _, ad := range a.Addrs {
		n += ad.BitLen() / 8
	}
	if a.Version == 2 {
		n += AuthLen
	}
	return n
}

// Append encodes a behind b and fills in the checksum for a packet from src to dst. It does not allocate if b has room.
func (a *Advert) Append(b []byte, src, dst netip.Addr, kind ChecksumKind) []byte {
	at := len(b)
	b = append(b, a.Version<<4|TypeAd, a.VRID, a.Priority, uint8(len(a.Addrs)))
	if a.Version == 2 {
		b = append(b, a.AuthType, uint8(a.Interval/time.Second))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Interval/(10*time.Millisecond))&0x0fff)
	}
	b = append(b, 0, 0)
	for _, ad := range a.Addrs {
		if ad.Is4() {
			v := ad.As4()
			b = append(b, v[:]...)
		} else {
			v := ad.As16()
			b = append(b, v[:]...)
		}
	}
	if a.Version == 2 {
		b = append(b, a.Auth[:]...)
	}
	p := b[at:]
	if kind == ChecksumOldUnicast && a.Version == 3 && dst.Is4() {
		kind, dst = ChecksumDefault, Group4
	}
	binary.BigEndian.PutUint16(p[6:], Checksum(p, pseudo(a.Version, src, dst, kind), src, dst))
	return b
}

// SetPriority changes the priority of an encoded packet and updates its checksum (RFC 1624), so that a resignation needs no
// encoding of its own.
func SetPriority(p []byte, prio uint8) {
	old := uint16(p[2])<<8 | uint16(p[3])
	p[2] = prio
	now := uint16(p[2])<<8 | uint16(p[3])
	s := uint32(^binary.BigEndian.Uint16(p[6:])) + uint32(^old) + uint32(now)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(p[6:], ^uint16(s))
}

// Rechecksum fills in the checksum of a whole IPv6 packet, trailer included, as the kernel of the reference does.
func Rechecksum(p []byte, src, dst netip.Addr) {
	p[6], p[7] = 0, 0
	binary.BigEndian.PutUint16(p[6:], Checksum(p, true, src, dst))
}

func pseudo(version uint8, src, dst netip.Addr, kind ChecksumKind) bool {
	if src.Is6() && dst.Is6() {
		return true // RFC 9568 §5.2.8 and RFC 8200 §8.1: always
	}
	return version == 3 && kind == ChecksumDefault
}

// Checksum is the Internet checksum over p with its checksum field taken as it stands (zero while encoding), with or without the
// pseudo-header of src, dst and the length of p. Over a whole and sound packet it is zero.
func Checksum(p []byte, withPseudo bool, src, dst netip.Addr) uint16 {
	var s uint32
	if withPseudo {
		if src.Is4() {
			v, w := src.As4(), dst.As4()
			s = sum(s, v[:])
			s = sum(s, w[:])
		} else {
			v, w := src.As16(), dst.As16()
			s = sum(s, v[:])
			s = sum(s, w[:])
		}
		s += Protocol + uint32(len(p))
	}
	s = sum(s, p)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func sum(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// IPv4HeaderLen is the length of the header that AppendIPv4 writes: no options.
const IPv4HeaderLen = 20

// AppendIPv4 writes the IPv4 header of an advert of n bytes: precedence "internetwork control", not fragmented, the identification
// counted by the caller. The header checksum is filled in, though a Linux raw socket does that again.
func AppendIPv4(b []byte, src, dst netip.Addr, ttl uint8, id uint16, n int) []byte {
	at := len(b)
	s, d := src.As4(), dst.As4()
	b = append(b, 0x45, TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(IPv4HeaderLen+n))
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0, 0, ttl, Protocol, 0, 0)
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	h := b[at:]
	binary.BigEndian.PutUint16(h[10:], Checksum(h, false, src, dst))
	return b
}

// SetIPv4ID changes the identification of a header written by AppendIPv4. The header checksum is left to the kernel.
func SetIPv4ID(h []byte, id uint16) { binary.BigEndian.PutUint16(h[4:], id) }

// Peek gives version, type and VRID of a packet without looking further; ok is false for a packet too short to have them.
func Peek(p []byte) (version, typ, vrid uint8, ok bool) {
	if len(p) < HeaderLen {
		return 0, 0, 0, false
	}
	return p[0] >> 4, p[0] & 0x0f, p[1], true
}

// fill reads the fields of p into a; the length has been checked.
func (a *Advert) fill(p []byte, v6 bool) {
	a.Version, a.VRID, a.Priority = p[0]>>4, p[1], p[2]
	a.AuthType, a.Auth = 0, [AuthLen]byte{}
	n := int(p[3])
	if a.Version == 2 {
		a.AuthType = p[4]
		a.Interval = time.Duration(p[5]) * time.Second
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(p[4:])&0x0fff) * 10 * time.Millisecond
	}
	p = p[HeaderLen:]
	a.Addrs = a.Addrs[:0]
	for range n {
		if v6 {
			a.Addrs = append(a.Addrs, netip.AddrFrom16([16]byte(p[:16])))
			p = p[16:]
		} else {
			a.Addrs = append(a.Addrs, netip.AddrFrom4([4]byte(p[:4])))
			p = p[4:]
		}
	}
	if a.Version == 2 {
		a.Auth = [AuthLen]byte(p[:AuthLen])
	}
}

// bodyLen is what a packet with this header has to measure, without a trailer.
func bodyLen(p []byte, v6 bool) int {
	size := 4
	if v6 {
		size = 16
	}
	n := HeaderLen + size*int(p[3])
	if p[0]>>4 == 2 {
		n += AuthLen
	}
	return n
}

// Decode reads a packet without judging it, for captures and tests: only what keeps it from being read is an error.
func (a *Advert) Decode(p []byte, v6 bool) error {
	if len(p) < HeaderLen || len(p) < bodyLen(p, v6) {
		return Short
	}
	if v := p[0] >> 4; v != 2 && v != 3 {
		return BadVersion
	}
	a.fill(p, v6)
	return nil
}
