package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Packet is a received packet with what the socket said about it.
type Packet struct {
	Data     []byte // from the VRRP header on
	Src, Dst netip.Addr
	TTL      int    // TTL or hop limit; -1 if the socket did not tell
	ID       uint16 // of the IPv4 header: the first advert of an instance has 1; zero over IPv6

	head, ah []byte // IPv4 header and authentication header
}

// ParseIPv4 takes a packet of a raw IPv4 socket apart. Data aliases b.
func (p *Packet) ParseIPv4(b []byte) Reason {
	if len(b) < IPv4HeaderLen || b[0]>>4 != 4 {
		return NotIPv4
	}
	hl := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if hl < IPv4HeaderLen || total < hl || total > len(b) {
		return NotIPv4
	}
	p.Src = netip.AddrFrom4([4]byte(b[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.TTL = int(b[8])
	p.ID = binary.BigEndian.Uint16(b[4:])
	p.Data, p.head, p.ah = b[hl:total], b[:hl], nil
	return Accepted
}

// Expect is what an instance accepts.
type Expect struct {
	Version  uint8
	AuthType uint8 // version 2
	Auth     [AuthLen]byte
	Checksum ChecksumKind
	// NeverOld refuses the old checksum of unicast adverts (old_unicast_checksum never).
	NeverOld bool
	// SkipAddrs: Addrs are not compared.
	SkipAddrs bool
	// Unicast instances take nothing that was sent to a group, the others only what was sent to Group.
	Unicast bool
	// CheckSource refuses what does not come from one of Peers.
	CheckSource bool
	// MinTTL and MaxTTL bound the TTL; zero both: any.
	MinTTL, MaxTTL uint8
	Interval       time.Duration // version 2
	Addrs          []netip.Addr  // the virtual addresses in any order
	Group          netip.Addr
	Peers          []Peer // the unicast peers
	HMAC           *Verifier
	AH             *AH // with AuthType AuthAH
	Own            netip.Addr
}

// Peer is a unicast peer. The bounds of the TTL are not looked at if both are zero.
type Peer struct {
	Addr           netip.Addr
	MinTTL, MaxTTL int
}

// ttlGood and known look at the sender.
func (e *Expect) ttlGood(p *Packet) bool {
	low, high := int(e.MinTTL), int(e.MaxTTL)
	for i := range e.Peers {
		if e.Peers[i].Addr == p.Src {
			low, high = e.Peers[i].MinTTL, e.Peers[i].MaxTTL
		}
	}
	if high == 0 {
		high = TTL
	}
	return p.TTL >= low && p.TTL <= high || low == 0 && high == TTL
}

func (e *Expect) known(src netip.Addr) bool {
	for i := range e.Peers {
		if e.Peers[i].Addr == src {
			return true
		}
	}
	return false
}

// Check judges p and reads it into a. The order of the checks decides which counter moves and is the reference's. The result
// BadAddrs means accepted, with a remark. It does not allocate once a.Addrs has grown.
func (e *Expect) Check(p *Packet, a *Advert, now time.Time) Reason {
	b := p.Data
	v6 := p.Src.Is6()
	if len(b) < HeaderLen || len(b) < bodyLen(b, v6) {
		return Short
	}
	if !e.ttlGood(p) {
		return BadTTL
	}
	if b[0]>>4 != e.Version {
		return BadVersion
	}
	n := bodyLen(b, v6)
	trailer := b[n:]
	if e.HMAC != nil {
		if r := e.HMAC.check(b[:n], trailer, p.Src, now); r != Accepted {
			return r
		}
		if len(trailer) == TrailerLen {
			trailer = nil
		}
	}
	a.fill(b, v6)
	if e.Version == 2 {
		switch {
		case a.AuthType > AuthAH:
			return BadAuthType
		case a.AuthType != e.AuthType:
			return AuthMismatch
		case a.AuthType == AuthPass && a.Auth != e.Auth:
			return AuthFailed
		}
		if e.AuthType == AuthAH && e.AH != nil {
			if r := e.AH.check(p); r != Accepted {
				return r
			}
		}
		if a.Interval != e.Interval {
			return BadInterval
		}
	}
	if b[0]&0x0f != TypeAd {
		return BadType
	}
	if len(trailer) > 0 {
		return Long
	}
	a.OldChecksum = false
	if !e.checksumGood(b, n, p) {
		if !e.oldChecksum(b[:n], p) {
			return BadChecksum
		}
		a.OldChecksum = true
	}
	if p.Dst.IsMulticast() == e.Unicast || !e.Unicast && e.Group.IsValid() && p.Dst != e.Group {
		return BadDestination
	}
	if p.Src.IsMulticast() || p.Src.IsUnspecified() || p.Src.IsLoopback() {
		return BadSource
	}
	if e.CheckSource && !e.known(p.Src) {
		return BadSource
	}
	if p.Src == e.Own {
		return Own
	}
	if !e.SkipAddrs && !sameAddrs(e.Addrs, a.Addrs) {
		return BadAddrs
	}
	return Accepted
}

// checksumGood: the trailer of auth_hmac is covered over IPv6, where the kernel sums up everything behind the IPv6 header, and
// not over IPv4.
func (e *Expect) checksumGood(b []byte, n int, p *Packet) bool {
	if p.Src.Is6() {
		return Checksum(b, true, p.Src, p.Dst) == 0
	}
	if e.Version == 3 && e.Checksum == ChecksumAsV2 {
		// Either kind is right here: peers with and without the option live together.
		return Checksum(b[:n], false, p.Src, p.Dst) == 0 || Checksum(b[:n], true, p.Src, p.Dst) == 0
	}
	return Checksum(b[:n], e.Version == 3, p.Src, p.Dst) == 0
}

// oldChecksum: keepalived up to 1.3.6 took the multicast group for the destination in the pseudo-header of unicast adverts.
func (e *Expect) oldChecksum(b []byte, p *Packet) bool {
	return e.Unicast && e.Version == 3 && !e.NeverOld && p.Src.Is4() && Checksum(b, true, p.Src, Group4) == 0
}

// sameAddrs compares as sets; lists are short and usually in the same order, which costs one pass.
func sameAddrs(x, y []netip.Addr) bool {
	if len(x) != len(y) {
		return false
	}
	for i, a := range x {
		if y[i] == a {
			continue
		}
		found := false
		for _, b := range y {
			if a == b {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
