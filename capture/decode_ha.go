package capture

import (
	"fmt"
	"net/netip"
	"time"

	"releve/bfd"
	"releve/vrrp/wire"
)

// VRRP is an advertisement (RFC 3768, RFC 5798, RFC 9568).
type VRRP struct {
	Version, VRID, Priority uint8
	// Interval is the time between two adverts.
	Interval time.Duration
	Addrs    []netip.Addr
	AuthType uint8
	// Password is set if the advert carries one; its text is never kept.
	Password bool
	// Signed is set if the trailer of auth_hmac follows, KeyID is its key, Stamp its time.
	Signed bool
	KeyID  uint8
	Stamp  time.Time
	// ChecksumGood tells whether the checksum is right; the trailer is not part of it.
	ChecksumGood bool
	V6           bool
	// Sealed is set if it came inside an IPsec authentication header (auth_type AH).
	Sealed bool
}

// Skew is how much earlier a backup of this priority takes over: the less, the sooner (RFC 3768 section 6.1, RFC 9568 section 6.1).
func (v *VRRP) Skew(priority uint8) time.Duration {
	if v.Version == 2 {
		return time.Duration(256-int(priority)) * time.Second / 256
	}
	return time.Duration(256-int(priority)) * v.Interval / 256
}

// Down is how long a backup of this priority waits for a silent master, with so many adverts.
func (v *VRRP) Down(priority uint8, adverts int) time.Duration {
	return time.Duration(adverts)*v.Interval + v.Skew(priority)
}

func (f *Frame) vrrp(b []byte) {
	f.Proto = "vrrp"
	if len(b) < wire.HeaderLen {
		f.Fault = "shorter than a VRRP header"
		return
	}
	v := &VRRP{Version: b[0] >> 4, VRID: b[1], Priority: b[2], V6: f.Src.Is6(), Sealed: f.Sealed}
	f.add("vrrp.version", "%d", v.Version)
	f.add("vrrp.type", "%d", b[0]&15)
	f.add("vrrp.virt_rtr_id", "%d", v.VRID)
	f.add("vrrp.prio", "%d", v.Priority)
	f.add("vrrp.addr_count", "%d", b[3])
	if b[0]&15 != 1 || v.Version != 2 && v.Version != 3 {
		f.Fault = fmt.Sprintf("VRRP version %d type %d is not an advertisement that anybody knows", v.Version, b[0]&15)
		return
	}
	size := 4
	if v.V6 {
		size = 16
	}
	body := wire.HeaderLen + size*int(b[3])
	if v.Version == 2 {
		v.AuthType, v.Interval = b[4], time.Duration(b[5])*time.Second
		f.add("vrrp.auth_type", "%d", v.AuthType)
		f.add("vrrp.adver_int", "%d", b[5])
		body += 8
	} else {
		v.Interval = time.Duration(be.Uint16(b[4:])&0xfff) * 10 * time.Millisecond
		f.add("vrrp.short_adver_int", "%d", be.Uint16(b[4:])&0xfff)
	}
	if body > len(b) {
		f.Fault = fmt.Sprintf("%d addresses need %d bytes, there are %d", b[3], body, len(b))
		return
	}
	for i := range int(b[3]) {
		at := wire.HeaderLen + i*size
		a, _ := netip.AddrFromSlice(b[at : at+size])
		v.Addrs = append(v.Addrs, a)
		if v.V6 {
			f.add("vrrp.ipv6_addr", "%s", a)
		} else {
			f.add("vrrp.ip_addr", "%s", a)
		}
	}
	v.Password = v.Version == 2 && v.AuthType == 1
	if rest := b[body:]; len(rest) == wire.TrailerLen && rest[0] == 1 {
		v.Signed, v.KeyID = true, rest[1]
		v.Stamp = time.Unix(int64(be.Uint32(rest[4:])), int64(be.Uint16(rest[8:]))*1e9>>16)
		f.add("releve.hmac.key", "%d", v.KeyID)
		f.add("releve.hmac.time", "%s", v.Stamp.UTC().Format("2006-01-02T15:04:05.000"))
		f.add("releve.hmac.counter", "%d", be.Uint16(rest[10:]))
	}
	// Version 2 has no pseudo header, version 3 has one, though a configuration may leave it out (v3_checksum_as_v2).
	sum := b[:body]
	have := be.Uint16(b[6:])
	v.ChecksumGood = wire.Checksum(zeroed(sum), v.Version == 3, f.Src, f.Dst) == have || v.Version == 3 && !v.V6 && wire.Checksum(zeroed(sum), false, f.Src, f.Dst) == have
	if v.V6 && v.Signed && !v.ChecksumGood { // over IPv6 the kernel's checksum covers the trailer
		v.ChecksumGood = wire.Checksum(zeroed(b), true, f.Src, f.Dst) == have
	}
	f.add("vrrp.checksum", "%#04x", have)
	f.Msg = v
}

// zeroed is a copy without its checksum.
func zeroed(b []byte) []byte {
	c := append([]byte(nil), b...)
	c[6], c[7] = 0, 0
	return c
}

// ARP is an ARP message for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Op                 uint16
	SenderMAC          MAC
	SenderIP, TargetIP netip.Addr
}

// Gratuitous announces the sender's own address (RFC 5227 section 1.2 and 3).
func (a *ARP) Gratuitous() bool { return a.SenderIP == a.TargetIP }

// Probe asks whether an address is free.
func (a *ARP) Probe() bool { return a.SenderIP.IsUnspecified() && a.Op == 1 }

func (f *Frame) arp(b []byte) {
	f.Proto = "arp"
	if len(b) < 28 {
		f.Fault = "shorter than an ARP message"
		return
	}
	if be.Uint16(b) != 1 || be.Uint16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		f.Fault = "ARP for something else than IPv4 over Ethernet"
		return
	}
	a := &ARP{Op: be.Uint16(b[6:]), SenderMAC: MAC(b[8:14]), SenderIP: netip.AddrFrom4([4]byte(b[14:18])), TargetIP: netip.AddrFrom4([4]byte(b[24:28]))}
	f.add("arp.opcode", "%d", a.Op)
	f.add("arp.src.hw_mac", "%s", a.SenderMAC)
	f.add("arp.src.proto_ipv4", "%s", a.SenderIP)
	f.add("arp.dst.hw_mac", "%s", MAC(b[18:24]))
	f.add("arp.dst.proto_ipv4", "%s", a.TargetIP)
	f.Msg = a
}

// ND is a neighbour solicitation or advertisement (RFC 4861).
type ND struct {
	Advert              bool
	Target              netip.Addr
	MAC                 MAC // zero without a link-layer option
	Solicited, Override bool
}

func (f *Frame) nd(b []byte) {
	f.Proto = "nd"
	if len(b) < 24 {
		f.Fault = "a neighbour message is cut"
		return
	}
	n := &ND{Advert: b[0] == 136, Target: netip.AddrFrom16([16]byte(b[8:24])), Solicited: b[4]&0x40 != 0, Override: b[4]&0x20 != 0}
	if n.Advert {
		f.add("icmpv6.nd.na.target_address", "%s", n.Target)
		f.add("icmpv6.nd.na.flag.s", "%t", n.Solicited)
		f.add("icmpv6.nd.na.flag.o", "%t", n.Override)
	} else {
		f.add("icmpv6.nd.ns.target_address", "%s", n.Target)
	}
	for o := b[24:]; len(o) >= 8 && o[1] > 0 && len(o) >= int(o[1])*8; o = o[int(o[1])*8:] {
		if o[0] == 1 || o[0] == 2 {
			n.MAC = MAC(o[2:8])
			f.add("icmpv6.opt.linkaddr", "%s", n.MAC)
		}
	}
	f.Msg = n
}

// Membership is a report or query of IGMP or MLD.
type Membership struct {
	Query bool
	// Join and Leave are the groups that the sender begins or ends to listen to.
	Join, Leave []netip.Addr
}

func (f *Frame) igmp(b []byte) {
	f.Proto = "igmp"
	if len(b) < 8 {
		f.Fault = "shorter than an IGMP message"
		return
	}
	m := &Membership{}
	f.Msg = m
	f.add("igmp.type", "%#02x", b[0])
	group := netip.AddrFrom4([4]byte(b[4:8]))
	switch b[0] {
	case 0x11:
		m.Query = true
		f.add("igmp.maddr", "%s", group)
	case 0x12, 0x16:
		m.Join = append(m.Join, group)
		f.add("igmp.maddr", "%s", group)
	case 0x17:
		m.Leave = append(m.Leave, group)
		f.add("igmp.maddr", "%s", group)
	case 0x22:
		f.records(m, b[8:], int(be.Uint16(b[6:])), 4, "igmp.record_type", "igmp.maddr")
	default:
		f.Fault = "an unknown kind of IGMP message"
	}
}

func (f *Frame) mld(b []byte) {
	f.Proto = "mld"
	m := &Membership{}
	f.Msg = m
	if b[0] == 143 {
		f.records(m, b[8:], int(be.Uint16(b[6:])), 16, "icmpv6.mldr.mar.record_type", "icmpv6.mldr.mar.multicast_address")
		return
	}
	if len(b) < 24 {
		f.Fault = "an MLD message is cut"
		return
	}
	group := netip.AddrFrom16([16]byte(b[8:24]))
	f.add("icmpv6.mld.multicast_address", "%s", group)
	switch b[0] {
	case 130:
		m.Query = true
	case 131:
		m.Join = append(m.Join, group)
	case 132:
		m.Leave = append(m.Leave, group)
	}
}

// records reads the group records of IGMPv3 (RFC 3376) and MLDv2 (RFC 3810).
func (f *Frame) records(m *Membership, b []byte, n, size int, kindName, groupName string) {
	for range n {
		if len(b) < 4+size {
			f.Fault = "a group record is cut"
			return
		}
		kind, aux, sources := b[0], int(b[1]), int(be.Uint16(b[2:]))
		group, _ := netip.AddrFromSlice(b[4 : 4+size])
		f.add(kindName, "%d", kind)
		f.add(groupName, "%s", group)
		switch {
		case kind == 4 || kind == 2, (kind == 1 || kind == 5) && sources > 0:
			m.Join = append(m.Join, group)
		case kind == 3 && sources == 0:
			m.Leave = append(m.Leave, group)
		}
		skip := 4 + size + sources*size + aux*4
		if skip > len(b) {
			f.Fault = "the sources of a group record are cut"
			return
		}
		b = b[skip:]
	}
}

// BFD is a control packet (RFC 5880).
type BFD struct{ bfd.Packet }

func (f *Frame) bfd(b []byte) {
	f.Proto = "bfd"
	p, err := bfd.Decode(b)
	if err != nil {
		f.Fault = err.Error()
		return
	}
	f.add("bfd.version", "%d", b[0]>>5)
	f.add("bfd.diag", "%#02x", uint8(p.Diag))
	f.add("bfd.sta", "%#x", b[1]>>6)
	f.add("bfd.flags.p", "%t", p.Poll)
	f.add("bfd.flags.f", "%t", p.Final)
	f.add("bfd.detect_time_multiplier", "%d", p.DetectMult)
	f.add("bfd.my_discriminator", "%#08x", p.MyDiscr)
	f.add("bfd.your_discriminator", "%#08x", p.YourDiscr)
	f.add("bfd.desired_min_tx_interval", "%d", p.DesiredTx.Microseconds())
	f.add("bfd.required_min_rx_interval", "%d", p.RequiredRx.Microseconds())
	f.add("bfd.required_min_echo_interval", "%d", p.RequiredEchoRx.Microseconds())
	f.Msg = &BFD{p}
}
