package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Two adverts of keepalived 2.2.7 with auth_type AH and the password secret12.
const (
	ahFirst = `45c00040000100 00ff33d0ad0a090001e0000012
		70 04 0000 0a090001 00000001 fbf7e7e2661d5d92dd11f8bd   # next header, length, index, sequence, HMAC-MD5-96
		2133c80102010a5d 0a090064 0000000000000000              # the password is not in the packet`
	ahSecond = `45c00040000200 00ff33d0ac0a090001e0000012
		70 04 0000 0a090001 00000002 5031e25452d19e475722d386
		2133c80102010a5d 0a090064 0000000000000000`
)

func plain(t *testing.T, text string) []byte {
	t.Helper()
	digits := ""
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		digits += strings.Join(strings.Fields(line), "")
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ahExpect() *Expect {
	var key [AuthLen]byte
	copy(key[:], "secret12")
	return &Expect{Version: 2, AuthType: AuthAH, Interval: time.Second, Group: Group4, MinTTL: TTL, MaxTTL: TTL,
		Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.100")}, AH: NewAH(key)}
}

func judgeAH(e *Expect, b []byte) Reason {
	var p Packet
	var a Advert
	if r := p.ParseIPv4(b); r != Accepted {
		return r
	}
	if r := p.SplitAH(); r != Accepted {
		return r
	}
	return e.Check(&p, &a, time.Now())
}

func TestAuthenticationHeadersAreTheReferences(t *testing.T) {
	e := ahExpect()
	first, second := plain(t, ahFirst), plain(t, ahSecond)
	for i, c := range []struct {
		b    []byte
		want Reason
	}{{first, Accepted}, {first, AHReplay}, {second, Accepted}, {first, AHReplay}} {
		if got := judgeAH(e, c.b); got != c.want {
			t.Errorf("packet %d: %s, want %s", i, got, c.want)
		}
	}
	src := netip.MustParseAddr("10.9.0.1")
	a := Advert{Version: 2, VRID: 51, Priority: 200, AuthType: AuthAH, Interval: time.Second, Addrs: e.Addrs}
	h := ahExpect().AH
	for i, want := range [][]byte{first, second} {
		p := AppendIPv4AH(nil, AppendIPv4(nil, src, Group4, TTL, uint16(i+1), a.Len()))
		p = a.Append(p, src, Group4, ChecksumDefault)
		h.Next()
		h.Sign(p)
		copy(p[10:12], want[10:12]) // the kernel's
		if !bytes.Equal(p, want) {
			t.Errorf("packet %d\n%x\nwant\n%x", i, p, want)
		}
	}
}

func TestEveryFlippedBitOfASignedPacketIsRefused(t *testing.T) {
	sound := plain(t, ahFirst)
	for at := range sound {
		if at == 1 || at == 10 || at == 11 {
			continue // routers may change these
		}
		for bit := range 8 {
			b := bytes.Clone(sound)
			b[at] ^= 1 << bit
			if got := judgeAH(ahExpect(), b); got == Accepted || got == BadAddrs {
				t.Errorf("byte %d bit %d: %s", at, bit, got)
			}
		}
	}
	for n := range sound {
		if got := judgeAH(ahExpect(), sound[:n]); got == Accepted || got == BadAddrs {
			t.Errorf("cut at %d: %s", n, got)
		}
	}
}

func TestTheOldChecksumOfUnicastAdvertsIsToldFromTheNew(t *testing.T) {
	// An advert of keepalived 2.2.7 with old_unicast_checksum to 10.9.0.2.
	b := plain(t, "45c000240001000 0ff70a6940a0900010a090002 3133c802006406ee0a0900640a090065")
	vips := []netip.Addr{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("10.9.0.101")}
	for _, c := range []struct {
		name string
		e    Expect
		want Reason
	}{
		{"it is recognised", Expect{Unicast: true}, Accepted},
		{"but not with never", Expect{Unicast: true, NeverOld: true}, BadChecksum},
		{"and not where adverts are multicast", Expect{Group: Group4}, BadChecksum},
	} {
		c.e.Version, c.e.Addrs = 3, vips
		var p Packet
		var a Advert
		if r := p.ParseIPv4(b); r != Accepted {
			t.Fatal(r)
		}
		if got := c.e.Check(&p, &a, time.Now()); got != c.want || a.OldChecksum != (c.want == Accepted) {
			t.Errorf("%s: %s, old %v", c.name, got, a.OldChecksum)
		}
	}
	a := Advert{Version: 3, VRID: 51, Priority: 200, Interval: time.Second, Addrs: vips}
	if got := a.Append(nil, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), ChecksumOldUnicast); !bytes.Equal(got, b[20:]) {
		t.Errorf("we write %x, want %x", got, b[20:])
	}
}

func BenchmarkAuthenticationHeader(b *testing.B) {
	h := ahExpect().AH
	a := Advert{Version: 2, VRID: 51, Priority: 200, AuthType: AuthAH, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.100")}}
	src := netip.MustParseAddr("10.9.0.1")
	p := a.Append(AppendIPv4AH(nil, AppendIPv4(nil, src, Group4, TTL, 1, a.Len())), src, Group4, ChecksumDefault)
	b.ReportAllocs()
	for b.Loop() {
		h.Next()
		h.Sign(p)
	}
}
