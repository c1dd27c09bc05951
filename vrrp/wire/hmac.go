package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"time"
)

// The trailer of auth_hmac: type, key, 2 reserved bytes, time (seconds, 1/65536 s), counter, signature.
const (
	TrailerLen  = 28
	trailerType = 1
	sigLen      = 16
	signedLen   = TrailerLen - sigLen
)

// Key is one key of auth_hmac with its prepared hash. A Key is used by one goroutine.
type Key struct {
	ID  uint8
	mac hash.Hash
	sum [sha256.Size]byte
	pre [20]byte
}

// NewKey prepares a key. The secret is not kept.
func NewKey(id uint8, secret []byte) *Key {
	return &Key{ID: id, mac: hmac.New(sha256.New, secret)}
}

// sign computes the signature of packet (its checksum taken as zero) and head, the first 12 bytes of the trailer.
func (k *Key) sign(packet, head []byte, src netip.Addr) [sigLen]byte {
	k.pre = [20]byte{1: packet[0] >> 4, 2: packet[1]}
	if src.Is4() {
		k.pre[0] = 4
		v := src.As4()
		copy(k.pre[4:], v[:])
	} else {
		k.pre[0] = 6
		v := src.As16()
		copy(k.pre[4:], v[:])
	}
	k.mac.Reset()
	k.mac.Write(k.pre[:])
	k.mac.Write(packet[:6])
	k.mac.Write(zero[:2])
	k.mac.Write(packet[8:])
	k.mac.Write(head[:signedLen])
	k.mac.Write(zero[:])
	return [sigLen]byte(k.mac.Sum(k.sum[:0])[:sigLen])
}

var zero [sigLen]byte

// Signer adds trailers. Time and counter never go back, even if the clock does.
type Signer struct {
	Key  *Key
	last uint64 // seconds<<32 | fraction<<16 | counter
}

// Append signs packet, an encoded advert, and returns b with the trailer added.
func (s *Signer) Append(b, packet []byte, src netip.Addr, now time.Time) []byte {
	stamp := uint64(uint32(now.Unix()))<<32 | uint64(now.Nanosecond())<<16/1e9<<16
	if stamp <= s.last {
		stamp = s.last + 1
	}
	s.last = stamp
	at := len(b)
	b = append(b, trailerType, s.Key.ID, 0, 0)
	b = binary.BigEndian.AppendUint64(b, stamp)
	sig := s.Key.sign(packet, b[at:], src)
	return append(b, sig[:]...)
}

// Successor is a signer with another key that goes on where s was; s may be nil.
func (s *Signer) Successor(k *Key) *Signer {
	n := &Signer{Key: k}
	if s != nil {
		n.last = s.last
	}
	return n
}

// Verifier judges trailers of an instance. The zero Window is not allowed; Monotonic drops the comparison with the clock.
type Verifier struct {
	Keys      []*Key
	Optional  bool // adverts without trailer are taken
	Window    time.Duration
	Monotonic bool

	last map[netip.Addr]uint64
}

// Inherit takes over the marks of the senders from old, which may be nil.
func (v *Verifier) Inherit(old *Verifier) {
	if old != nil {
		v.last = old.last
	}
}

// maxSenders bounds the memory of Verifier.last; only senders that hold a key get into it.
const maxSenders = 256

// check judges the trailer of packet. A sender that is refused never moves its mark.
func (v *Verifier) check(packet, trailer []byte, src netip.Addr, now time.Time) Reason {
	if len(trailer) == 0 {
		if v.Optional {
			return Accepted
		}
		return HMACMissing
	}
	if len(trailer) != TrailerLen || trailer[0] != trailerType || trailer[2] != 0 || trailer[3] != 0 {
		return HMACMalformed
	}
	stamp := binary.BigEndian.Uint64(trailer[4:])
	if !v.Monotonic {
		at := time.Unix(int64(stamp>>32), int64(stamp>>16&0xffff)*1e9>>16)
		if d := now.Sub(at); d > v.Window || d < -v.Window {
			return HMACStale
		}
	}
	var key *Key
	for _, k := range v.Keys {
		if k.ID == trailer[1] {
			key = k
		}
	}
	if key == nil {
		return HMACUnknownKey
	}
	sig := key.sign(packet, trailer, src)
	if !hmac.Equal(sig[:], trailer[signedLen:]) {
		return HMACInvalid
	}
	last, known := v.last[src]
	if known && stamp <= last {
		return HMACReplay
	}
	if !known && len(v.last) >= maxSenders {
		clear(v.last)
	}
	if v.last == nil {
		v.last = map[netip.Addr]uint64{}
	}
	v.last[src] = stamp
	return Accepted
}
