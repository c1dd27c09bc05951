package wire

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

// signed is the golden version 2 packet with a trailer of key 7 made at now.
func signed(t testing.TB, now time.Time) []byte {
	p := unhex(t, v2Plain)
	s := Signer{Key: NewKey(7, secret)}
	return s.Append(p, p, src4, now)
}

func TestTrailerHasTheShapeOfTheReference(t *testing.T) {
	now := time.Unix(0x65000000, 500_000_000)
	b := signed(t, now)
	want := unhex(t, `
01 07 0000               # type, key, reserved
65000000 8000 0000       # seconds, fraction in 1/65536, counter`)
	if len(b) != 24+TrailerLen || !bytes.Equal(b[24:36], want) {
		t.Errorf("%x", b[24:])
	}
}

func TestTrailersAreJudged(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	good := signed(t, now)
	change := func(i int, by byte) []byte { b := bytes.Clone(good); b[i] ^= by; return b }
	for _, c := range []struct {
		name string
		data []byte
		at   time.Time
		opt  bool
		mono bool
		want Reason
	}{
		{"a good one", good, now, false, false, Accepted},
		{"none where it is enforced", good[:24], now, false, false, HMACMissing},
		{"none where it is optional", good[:24], now, true, false, Accepted},
		{"a cut one", good[:51], now, true, false, HMACMalformed},
		{"another type", change(24, 2), now, true, false, HMACMalformed},
		{"reserved bits", change(27, 1), now, false, false, HMACMalformed},
		{"another key", change(25, 1), now, false, false, HMACUnknownKey},
		{"a wrong signature", change(40, 1), now, false, false, HMACInvalid},
		{"a changed priority", change(2, 1), now, false, false, HMACInvalid},
		{"too old", good, now.Add(6 * time.Second), false, false, HMACStale},
		{"from the future", good, now.Add(-6 * time.Second), false, false, HMACStale},
		{"too old, monotonic", good, now.Add(6 * time.Second), false, true, Accepted},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := expectFor(&goldens[0].want)
			e.HMAC = &Verifier{Keys: []*Key{NewKey(1, bytes.Repeat([]byte{1}, 32)), NewKey(7, secret)}, Window: 5 * time.Second, Optional: c.opt, Monotonic: c.mono}
			var a Advert
			if got := e.Check(&Packet{Data: c.data, Src: src4, Dst: Group4, TTL: 255}, &a, c.at); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestASecondDeliveryIsAReplay(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := Signer{Key: NewKey(7, secret)}
	p := unhex(t, v2Plain)
	one := s.Append(bytes.Clone(p), p, src4, now)
	two := s.Append(bytes.Clone(p), p, src4, now) // the clock stands still, the sequence does not
	e := expectFor(&goldens[0].want)
	e.HMAC = &Verifier{Keys: []*Key{NewKey(7, secret)}, Window: 5 * time.Second}
	var a Advert
	for i, c := range []struct {
		data []byte
		src  netip.Addr
		want Reason
	}{
		{one, src4, Accepted}, {one, src4, HMACReplay}, {two, src4, Accepted}, {one, src4, HMACReplay},
		{two, netip.MustParseAddr("10.9.0.7"), HMACInvalid}, // signed for another sender
	} {
		if got := e.Check(&Packet{Data: c.data, Src: c.src, Dst: Group4, TTL: 255}, &a, now); got != c.want {
			t.Errorf("delivery %d: %v, want %v", i, got, c.want)
		}
	}
}

func BenchmarkSignAndVerify(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	s := Signer{Key: NewKey(7, secret)}
	p := unhex(b, v2Plain)
	buf := make([]byte, 0, 256)
	e := expectFor(&goldens[0].want)
	e.HMAC = &Verifier{Keys: []*Key{NewKey(7, secret)}, Window: 5 * time.Second}
	var a Advert
	b.ReportAllocs()
	for b.Loop() {
		buf = append(buf[:0], p...)
		buf = s.Append(buf, buf, src4, now)
		if r := e.Check(&Packet{Data: buf, Src: src4, Dst: Group4, TTL: 255}, &a, now); r != Accepted {
			b.Fatal(r)
		}
		now = now.Add(time.Millisecond)
	}
}
