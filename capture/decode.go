package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// be are the numbers of the wire.
var be = binary.BigEndian

// Decoder takes packets apart. It remembers what a byte stream has not finished, so it belongs to one capture. The zero value is ready.
type Decoder struct {
	no      int
	streams map[flow][]byte
	// dns and smtp are the servers that are checked at other ports than those of their kind.
	dns, smtp map[netip.AddrPort]bool
	sync      uint16
}

// NewDecoder makes a decoder that looks where the configuration tells, too.
func NewDecoder(k Knowledge) *Decoder {
	d := &Decoder{dns: map[netip.AddrPort]bool{}, smtp: map[netip.AddrPort]bool{}, sync: k.SyncPort}
	for _, c := range k.Checks {
		switch c.Kind {
		case "DNS_CHECK":
			d.dns[c.Target] = true
		case "SMTP_CHECK":
			d.smtp[c.Target] = true
		}
	}
	return d
}

// flow is one direction of a connection.
type flow struct {
	src, dst netip.AddrPort
}

// maxStreams and maxStream bound what the decoder remembers.
const (
	maxStreams = 1024
	maxStream  = 1 << 16
)

// EtherTypes.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	etherQinQ = 0x88a8
)

// Decode takes a packet apart. It never fails: what cannot be understood is said in Fault.
func (d *Decoder) Decode(p Packet) *Frame {
	d.no++
	f := &Frame{Packet: p, No: d.no, Proto: "eth"}
	d.ethernet(f)
	if f.Fault != "" && p.Len > len(p.Data) { // what is missing was not caught: nothing tells that it is wrong
		f.Fault, f.Partial = "", true
	}
	return f
}

func (d *Decoder) ethernet(f *Frame) {
	b := f.Data
	if len(b) < 14 {
		f.Fault = "shorter than an Ethernet header"
		return
	}
	copy(f.DstMAC[:], b)
	copy(f.SrcMAC[:], b[6:])
	switch {
	case !f.Cooked:
		f.add("eth.dst", "%s", f.DstMAC)
		f.add("eth.src", "%s", f.SrcMAC)
	case f.SrcMAC != MAC{}:
		f.add("sll.src.eth", "%s", f.SrcMAC)
	}
	kind := be.Uint16(b[12:])
	b = b[14:]
	for tags := 0; (kind == etherVLAN || kind == etherQinQ) && len(b) >= 4 && tags < 2; tags++ {
		f.add(ifElse(kind == etherQinQ, "ieee8021ad.id", "vlan.id"), "%d", be.Uint16(b)&0xfff)
		kind = be.Uint16(b[2:])
		b = b[4:]
	}
	switch kind {
	case etherARP:
		f.arp(b)
	case etherIPv4:
		d.ipv4(f, b)
	case etherIPv6:
		d.ipv6(f, b)
	default:
		f.add("eth.type", "%#04x", kind)
	}
}

func (d *Decoder) ipv4(f *Frame, b []byte) {
	f.Proto = "ip"
	if len(b) < 20 || b[0]>>4 != 4 {
		f.Fault = "shorter than an IPv4 header"
		return
	}
	ihl, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if ihl < 20 || ihl > len(b) || total < ihl {
		f.Fault = "an IPv4 header of impossible length"
		return
	}
	f.Src, f.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	f.TTL, f.TOS = b[8], b[1]
	f.add("ip.src", "%s", f.Src)
	f.add("ip.dst", "%s", f.Dst)
	f.add("ip.ttl", "%d", f.TTL)
	f.add("ip.id", "%#04x", be.Uint16(b[4:]))
	f.add("ip.proto", "%d", b[9])
	total = f.within(b, total, "IPv4")
	if frag := be.Uint16(b[6:]); frag&0x1fff != 0 {
		f.add("ip.frag_offset", "%d", frag&0x1fff)
		return
	}
	d.transport(f, b[9], b[ihl:total])
}

// within bounds the length that a header tells by what there is.
func (f *Frame) within(b []byte, n int, what string) int {
	if n <= len(b) {
		return n
	}
	f.missing = n - len(b)
	if len(f.Data) >= f.Len {
		f.Fault = fmt.Sprintf("cut: %d of %d bytes of the %s packet", len(b), n, what)
	}
	return len(b)
}

func (d *Decoder) ipv6(f *Frame, b []byte) {
	f.Proto = "ip"
	if len(b) < 40 || b[0]>>4 != 6 {
		f.Fault = "shorter than an IPv6 header"
		return
	}
	f.Src, f.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	f.TTL, f.TOS = b[7], b[0]<<4|b[1]>>4
	f.add("ipv6.src", "%s", f.Src)
	f.add("ipv6.dst", "%s", f.Dst)
	f.add("ipv6.hlim", "%d", f.TTL)
	n, next := int(be.Uint16(b[4:])), b[6]
	f.add("ipv6.nxt", "%d", next)
	b = b[40:]
	b = b[:f.within(b, n, "IPv6")]
	for hops := 0; hops < 8; hops++ {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(b) < 8 || len(b) < 8+int(b[1])*8 {
				f.Fault = "an IPv6 extension header is cut"
				return
			}
			next, b = b[0], b[8+int(b[1])*8:]
			continue
		case 44:
			return
		}
		break
	}
	d.transport(f, next, b)
}

func (d *Decoder) transport(f *Frame, proto uint8, b []byte) {
	switch proto {
	case 1:
		d.icmp(f, b)
	case 2:
		f.igmp(b)
	case 6:
		d.tcp(f, b)
	case 17:
		d.udp(f, b)
	case 51:
		d.authenticated(f, b)
	case 58:
		d.icmp6(f, b)
	case 112:
		f.vrrp(b)
	default:
		f.Payload = b
	}
}

// authenticated reads an IPsec authentication header (RFC 4302), in which auth_type AH puts adverts.
func (d *Decoder) authenticated(f *Frame, b []byte) {
	f.Proto = "ah"
	if len(b) < 12 || len(b) < (int(b[1])+2)*4 {
		f.Fault = "an authentication header is cut"
		return
	}
	f.Sealed = true
	f.add("ah.length", "%d", b[1])
	f.add("ah.spi", "%#08x", be.Uint32(b[4:]))
	f.add("ah.sequence", "%d", be.Uint32(b[8:]))
	if next := b[0]; next != 51 {
		d.transport(f, next, b[max(12, (int(b[1])+2)*4):])
	}
}

func (d *Decoder) udp(f *Frame, b []byte) {
	f.Proto = "udp"
	if len(b) < 8 {
		f.Fault = "shorter than a UDP header"
		return
	}
	f.SrcPort, f.DstPort = be.Uint16(b), be.Uint16(b[2:])
	f.add("udp.srcport", "%d", f.SrcPort)
	f.add("udp.dstport", "%d", f.DstPort)
	n := int(be.Uint16(b[4:]))
	f.add("udp.length", "%d", n)
	if n < 8 || n > len(b) {
		if f.Fault == "" && (n < 8 || n > len(b)+f.missing) {
			f.Fault = "a UDP length that does not fit"
		}
		n = len(b)
	}
	f.Payload = b[8:n]
	either := func(p uint16) bool { return f.SrcPort == p || f.DstPort == p }
	src, dst := f.ends()
	switch {
	case f.DstPort == 8848 || d.sync != 0 && f.DstPort == d.sync || f.Dst.IsMulticast() && f.Dst.Is4() && f.Dst.As4() == [4]byte{224, 0, 0, 81}:
		f.sync(f.Payload)
	case f.DstPort == 3784 || f.DstPort == 4784:
		f.bfd(f.Payload)
	case either(67) || either(68):
		f.dhcp(f.Payload)
	case either(53), d.dns[src], d.dns[dst]:
		f.dns(f.Payload)
	}
}

// ICMP is an ICMP or ICMPv6 message; an error holds the head of the packet that it answers.
type ICMP struct {
	Type, Code uint8
	V6         bool
	ID, Seq    uint16
	// About is the packet that an error is about, nil if there is none.
	About *Frame
}

// Unreachable tells whether the message says that a destination cannot be reached, Port that the port is the reason.
func (m *ICMP) Unreachable() bool { return !m.V6 && m.Type == 3 || m.V6 && m.Type == 1 }
func (m *ICMP) Port() bool        { return !m.V6 && m.Code == 3 || m.V6 && m.Code == 4 }

// Request and Reply tell echo requests and replies.
func (m *ICMP) Request() bool { return !m.V6 && m.Type == 8 || m.V6 && m.Type == 128 }
func (m *ICMP) Reply() bool   { return !m.V6 && m.Type == 0 || m.V6 && m.Type == 129 }

func (d *Decoder) icmp(f *Frame, b []byte) {
	f.Proto = "icmp"
	if len(b) < 8 {
		f.Fault = "shorter than an ICMP header"
		return
	}
	m := &ICMP{Type: b[0], Code: b[1]}
	f.Msg = m
	f.add("icmp.type", "%d", b[0])
	f.add("icmp.code", "%d", b[1])
	if m.Request() || m.Reply() {
		m.ID, m.Seq = be.Uint16(b[4:]), be.Uint16(b[6:])
		f.add("icmp.ident", "%d", m.ID)
		f.add("icmp.seq", "%d", m.Seq)
		f.Payload = b[8:]
	}
	if m.Type == 3 || m.Type == 11 {
		m.About = about(b[8:], 4)
	}
}

func (d *Decoder) icmp6(f *Frame, b []byte) {
	f.Proto = "icmp6"
	if len(b) < 8 {
		f.Fault = "shorter than an ICMPv6 header"
		return
	}
	f.add("icmpv6.type", "%d", b[0])
	f.add("icmpv6.code", "%d", b[1])
	switch b[0] {
	case 130, 131, 132, 143:
		f.mld(b)
		return
	case 135, 136:
		f.nd(b)
		return
	}
	m := &ICMP{Type: b[0], Code: b[1], V6: true}
	f.Msg = m
	if m.Request() || m.Reply() {
		m.ID, m.Seq = be.Uint16(b[4:]), be.Uint16(b[6:])
		f.add("icmpv6.echo.identifier", "%d", m.ID)
		f.add("icmpv6.echo.sequence_number", "%d", m.Seq)
		f.Payload = b[8:]
	}
	if m.Type == 1 || m.Type == 3 {
		m.About = about(b[8:], 6)
	}
}

// about reads the head of a packet that an error carries.
func about(b []byte, family int) *Frame {
	in := &Frame{}
	var next uint8
	switch {
	case family == 4 && len(b) >= 20 && b[0]>>4 == 4:
		in.Src, in.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		next = b[9]
		b = b[min(len(b), int(b[0]&15)*4):]
	case family == 6 && len(b) >= 40 && b[0]>>4 == 6:
		in.Src, in.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		next = b[6]
		b = b[40:]
	default:
		return nil
	}
	switch next {
	case 6:
		in.Proto = "tcp"
	case 17:
		in.Proto = "udp"
	}
	if len(b) >= 4 && in.Proto != "" {
		in.SrcPort, in.DstPort = be.Uint16(b), be.Uint16(b[2:])
	}
	return in
}
