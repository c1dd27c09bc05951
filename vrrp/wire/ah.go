package wire

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"hash"
)

// An authentication header (RFC 2402) with HMAC-MD5-96 (RFC 2403) stands between IP and VRRP header of version 2 with auth_type AH, as RFC
// 2338 §5.3.6.3 wanted it and RFC 3768 dropped it. What it covers is the reference's: of the IP header type of service and checksum
// count as zero, and not the TTL, which is always sent as it arrives.

// Numbers of the authentication header.
const (
	ProtocolAH = 51
	AHLen      = 24
	ahPayload  = AHLen/4 - 2 // RFC 2402 §2.2: length in 32-bit words less 2
	icvLen     = 12
)

// AH signs and checks. The sequence numbers are those of the virtual router: a backup goes on where the master was when it takes over, as with the
// reference. It is used by one goroutine.
type AH struct {
	mac  hash.Hash
	seq  uint32
	head [IPv4HeaderLen + AHLen]byte
	sum  [md5.Size]byte
}

// NewAH makes one from a password.
func NewAH(password [AuthLen]byte) *AH { return &AH{mac: hmac.New(md5.New, password[:])} }

// Inherit takes over the sequence number of old, which may be nil.
func (h *AH) Inherit(old *AH) {
	if old != nil {
		h.seq = old.seq
	}
}

// AppendIPv4AH is AppendIPv4 with the protocol of AH, and room for the header behind. Sign fills it in.
func AppendIPv4AH(b []byte, head []byte) []byte {
	at := len(b)
	b = append(b, head...)
	b[at+9] = ProtocolAH
	total := binary.BigEndian.Uint16(b[at+2:])
	binary.BigEndian.PutUint16(b[at+2:], total+AHLen)
	b = append(b, Protocol, ahPayload, 0, 0)
	b = append(b, head[12:16]...) // the security parameters index is the source address
	return append(b, make([]byte, 4+icvLen)...)
}

// Next counts the sequence number, for one advert and all its copies.
func (h *AH) Next() {
	if h.seq++; h.seq == 0 {
		h.seq = 1
	}
}

// Sign fills in sequence number and signature of a whole packet.
func (h *AH) Sign(p []byte) {
	ah := p[IPv4HeaderLen:]
	binary.BigEndian.PutUint32(ah[8:], h.seq)
	copy(ah[12:AHLen], h.digest(p[:IPv4HeaderLen], ah[:AHLen], ah[AHLen:]))
}

func (h *AH) digest(ip, ah, body []byte) []byte {
	head := append(append(h.head[:0], ip...), ah...)
	head[1], head[10], head[11] = 0, 0, 0
	clear(head[IPv4HeaderLen+12:])
	h.mac.Reset()
	h.mac.Write(head)
	h.mac.Write(body)
	return h.mac.Sum(h.sum[:0])[:icvLen]
}

// SplitAH takes the authentication header off a packet that ParseIPv4 has read.
func (p *Packet) SplitAH() Reason {
	d := p.Data
	if len(d) < AHLen || d[0] != Protocol || d[1] != ahPayload || len(p.head) != IPv4HeaderLen {
		return NotIPv4
	}
	p.ah, p.Data = d[:AHLen], d[AHLen:]
	return Accepted
}

// check judges the authentication header of p. Sequence numbers that were seen already are refused.
func (h *AH) check(p *Packet) Reason {
	if p.ah == nil {
		return AuthMismatch
	}
	if !hmac.Equal(h.digest(p.head, p.ah, p.Data), p.ah[12:AHLen]) {
		return AHInvalid
	}
	seq := binary.BigEndian.Uint32(p.ah[8:])
	if seq <= h.seq && h.seq-seq < 1<<31 {
		return AHReplay
	}
	h.seq = seq
	return Accepted
}
