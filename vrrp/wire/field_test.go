package wire

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// fieldReason is what becomes of golden packet g when byte i has the wrong value v and the checksum is good again. The order of the checks,
// which decides what is counted, is the reference's.
func fieldReason(a *Advert, i int, v, was byte) Reason {
	size := 4
	if a.Addrs[0].Is6() {
		size = 16
	}
	switch {
	case i == 0 && a.Version == 3 && v>>4 == 2:
		return Short // of version 2, which has authentication data
	case i == 0 && v>>4 != was>>4:
		return BadVersion
	case i == 0:
		return BadType
	case i == 3 && v > was:
		return Short
	case i == 3 && a.AuthType == AuthPass:
		return AuthFailed // the password is looked for where an address is
	case i == 3:
		return Long
	case i == 4 && a.Version == 2 && v > AuthAH:
		return BadAuthType
	case i == 4 && a.Version == 2:
		return AuthMismatch
	case i == 5 && a.Version == 2:
		return BadInterval
	case i == 6, i == 7:
		return BadChecksum
	case i < HeaderLen:
		return Accepted // VRID (which the caller looks at), priority; in version 3 reserved bits and interval
	case i < HeaderLen+size*len(a.Addrs):
		return BadAddrs
	case a.AuthType == AuthPass:
		return AuthFailed
	}
	return Accepted // authentication data that nobody asked for
}

func TestEveryFieldWithEveryWrongValueAndAGoodChecksum(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			sound := unhex(t, g.hex)
			e := expectFor(&g.want)
			var a Advert
			for i, was := range sound {
				for v := range 256 {
					if byte(v) == was {
						continue
					}
					p := bytes.Clone(sound)
					p[i] = byte(v)
					if i != 6 && i != 7 {
						fix(p, g.src, g.dst)
					}
					got := e.Check(&Packet{Data: p, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{})
					if want := fieldReason(&g.want, i, byte(v), was); got != want {
						t.Fatalf("byte %d is %#x: %v, want %v", i, v, got, want)
					}
				}
			}
		})
	}
}

func TestEveryFieldOfTheIPHeader(t *testing.T) {
	for _, g := range goldens {
		p := unhex(t, g.hex)
		e := expectFor(&g.want)
		var a Advert
		check := func(what string, k Packet, want Reason) {
			t.Helper()
			k.Data = bytes.Clone(p)
			if want != BadTTL {
				fix(k.Data, k.Src, k.Dst)
			}
			if got := e.Check(&k, &a, time.Time{}); got != want {
				t.Errorf("%s, %s: %v, want %v", g.name, what, got, want)
			}
		}
		for ttl := -1; ttl < 255; ttl++ {
			check(fmt.Sprint("TTL ", ttl), Packet{Src: g.src, Dst: g.dst, TTL: ttl}, BadTTL)
		}
		other, loop, group, none := "10.9.0.7", "127.0.0.1", "224.0.0.5", "0.0.0.0"
		if g.src.Is6() {
			other, loop, group, none = "fe80::7", "::1", "ff02::5", "::"
		}
		addr := netip.MustParseAddr
		check("another sender", Packet{Src: addr(other), Dst: g.dst, TTL: 255}, Accepted)
		check("our own address as sender", Packet{Src: e.Own, Dst: g.dst, TTL: 255}, Own)
		check("a loopback sender", Packet{Src: addr(loop), Dst: g.dst, TTL: 255}, BadSource)
		check("a group as sender", Packet{Src: addr(group), Dst: g.dst, TTL: 255}, BadSource)
		check("no sender", Packet{Src: addr(none), Dst: g.dst, TTL: 255}, BadSource)
		check("to another group", Packet{Src: g.src, Dst: addr(group), TTL: 255}, BadDestination)
		check("to one router", Packet{Src: g.src, Dst: e.Own, TTL: 255}, BadDestination)
	}
}
