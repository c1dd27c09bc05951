package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	src4 = netip.MustParseAddr("10.9.0.1")
	src6 = netip.MustParseAddr("fe80::1")
)

// unhex reads hex digits; # begins a comment.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const v2Plain = `         # 10.9.0.1 > 224.0.0.18
21 33 64 02              # version 2 type 1, VRID 51, priority 100, 2 addresses
00 01 65ee               # no authentication, 1 s, checksum over the packet alone
0a090064 0a090065        # 10.9.0.100, 10.9.0.101
0000000000000000         # authentication data is there even without authentication
`

const v2Pass = `          # 10.9.0.1 > 224.0.0.18
21 33 64 01              # version 2 type 1, VRID 51, priority 100, 1 address
01 03 330f               # simple text password, 3 s
0a090064                 # 10.9.0.100
7365 6372 6574 0000      # "secret", padded; covered by the checksum
`

const v3Plain = `         # 10.9.0.1 > 224.0.0.18
31 33 96 01              # version 3 type 1, VRID 51, priority 150, 1 address
0064 4361                # 4 reserved bits, 100 x 10 ms; checksum with pseudo-header
0a090064                 # 10.9.0.100
`

const v3IPv6 = `          # fe80::1 > ff02::12
31 33 64 02              # version 3 type 1, VRID 51, priority 100, 2 addresses
000a 3f8f                # 100 ms, checksum with pseudo-header
fe80000000000000 0000000000000064
20010db800000000 0000000000000064
`

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

var goldens = []struct {
	name     string
	hex      string
	src, dst netip.Addr
	want     Advert
}{
	{"version 2 without authentication", v2Plain, src4, Group4, Advert{Version: 2, VRID: 51, Priority: 100, Interval: time.Second, Addrs: addrs("10.9.0.100", "10.9.0.101")}},
	{"version 2 with a password", v2Pass, src4, Group4, Advert{Version: 2, VRID: 51, Priority: 100, AuthType: AuthPass, Interval: 3 * time.Second,
		Addrs: addrs("10.9.0.100"), Auth: [8]byte{'s', 'e', 'c', 'r', 'e', 't'}}},
	{"version 3 over IPv4", v3Plain, src4, Group4, Advert{Version: 3, VRID: 51, Priority: 150, Interval: time.Second, Addrs: addrs("10.9.0.100")}},
	{"version 3 over IPv6", v3IPv6, src6, Group6, Advert{Version: 3, VRID: 51, Priority: 100, Interval: 100 * time.Millisecond, Addrs: addrs("fe80::64", "2001:db8::64")}},
}

func TestGoldenPacketsAreWrittenAndReadByteForByte(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			p := unhex(t, g.hex)
			got := g.want.Append(nil, g.src, g.dst, ChecksumDefault)
			if !bytes.Equal(got, p) {
				t.Errorf("encoded %x\nwant    %x", got, p)
			}
			var a Advert
			if err := a.Decode(p, g.src.Is6()); err != nil || !reflect.DeepEqual(a, g.want) {
				t.Errorf("decoded %+v, %v\nwant    %+v", a, err, g.want)
			}
			if e := expectFor(&g.want); e.Check(&Packet{Data: p, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}) != Accepted {
				t.Error("not accepted")
			}
		})
	}
}

func expectFor(a *Advert) Expect {
	e := Expect{Version: a.Version, AuthType: a.AuthType, Auth: a.Auth, Interval: a.Interval, Addrs: a.Addrs, MinTTL: 255, MaxTTL: 255,
		Group: Group4, Own: netip.MustParseAddr("10.9.0.9")}
	if len(a.Addrs) > 0 && a.Addrs[0].Is6() {
		e.Group, e.Own = Group6, netip.MustParseAddr("fe80::9")
	}
	return e
}

func TestIPv4HeaderOfAnAdvertIsTheReferences(t *testing.T) {
	want := unhex(t, `
45 c0 0030               # no options, precedence internetwork control, 20 + 28 bytes
0001 0000                # first identification, not fragmented
ff 70 d080               # TTL 255, protocol 112
0a090001 e0000012        # 10.9.0.1 > 224.0.0.18`)
	if got := AppendIPv4(nil, src4, Group4, TTL, 1, 28); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// fix puts the right checksum into a packet that a test has bent.
func fix(p []byte, src, dst netip.Addr) {
	p[6], p[7] = 0, 0
	s := Checksum(p, p[0]>>4 == 3, src, dst)
	p[6], p[7] = byte(s>>8), byte(s)
}

func TestEachReasonToDropIsFoundAndCounted(t *testing.T) {
	bend := func(hex string, f func(p []byte) []byte) []byte {
		p := f(unhex(t, hex))
		fix(p, src4, Group4)
		return p
	}
	plain := goldens[0].want
	pass := goldens[1].want
	v3 := goldens[2].want
	for _, c := range []struct {
		name    string
		data    []byte
		expect  Expect
		src     netip.Addr
		dst     netip.Addr
		ttl     int
		want    Reason
		counter string
	}{
		{"a sound advert", unhex(t, v2Plain), expectFor(&plain), src4, Group4, 255, Accepted, ""},
		{"shorter than the header", unhex(t, v2Plain)[:7], expectFor(&plain), src4, Group4, 255, Short, "packet_len_err"},
		{"count beyond the end", bend(v2Plain, func(p []byte) []byte { p[3] = 9; return p }), expectFor(&plain), src4, Group4, 255, Short, "packet_len_err"},
		{"TTL 254", unhex(t, v2Plain), expectFor(&plain), src4, Group4, 254, BadTTL, "ip_ttl_err"},
		{"version 3 at a version 2 instance", unhex(t, v3Plain), expectFor(&plain), src4, Group4, 255, BadVersion, ""},
		{"version 2 at a version 3 instance", unhex(t, v2Plain), expectFor(&v3), src4, Group4, 255, BadVersion, ""},
		{"authentication type 3", bend(v2Plain, func(p []byte) []byte { p[4] = 3; return p }), expectFor(&plain), src4, Group4, 255, BadAuthType, "invalid_authtype"},
		{"a password where none is configured", unhex(t, v2Pass), expectFor(&plain), src4, Group4, 255, AuthMismatch, "authtype_mismatch"},
		{"no password where one is configured", unhex(t, v2Plain), expectFor(&pass), src4, Group4, 255, AuthMismatch, "authtype_mismatch"},
		{"a wrong password", bend(v2Pass, func(p []byte) []byte { p[13] ^= 1; return p }), expectFor(&pass), src4, Group4, 255, AuthFailed, "auth_failure"},
		{"another interval in version 2", bend(v2Plain, func(p []byte) []byte { p[5] = 2; return p }), expectFor(&plain), src4, Group4, 255, BadInterval, ""},
		{"another interval in version 3 is accepted", bend(v3Plain, func(p []byte) []byte { p[5] = 10; return p }), expectFor(&v3), src4, Group4, 255, Accepted, ""},
		{"packet type 2", bend(v2Plain, func(p []byte) []byte { p[0] = 0x22; return p }), expectFor(&plain), src4, Group4, 255, BadType, "invalid_type_rcvd"},
		{"a byte too many", bend(v2Plain, func(p []byte) []byte { return append(p, 0) }), expectFor(&plain), src4, Group4, 255, Long, "packet_len_err"},
		{"a flipped bit", func() []byte { p := unhex(t, v2Plain); p[2] ^= 1; return p }(), expectFor(&plain), src4, Group4, 255, BadChecksum, ""},
		{"unicast at a multicast instance", unhex(t, v2Plain), expectFor(&plain), src4, netip.MustParseAddr("10.9.0.9"), 255, BadDestination, ""},
		{"another group", unhex(t, v2Plain), expectFor(&plain), src4, netip.MustParseAddr("224.0.0.19"), 255, BadDestination, ""},
		{"an unspecified sender", unhex(t, v2Plain), expectFor(&plain), netip.IPv4Unspecified(), Group4, 255, BadSource, ""},
		{"our own packet", unhex(t, v2Plain), func() Expect { e := expectFor(&plain); e.Own = src4; return e }(), src4, Group4, 255, Own, ""},
		{"an address less", unhex(t, v2Pass), func() Expect { e := expectFor(&pass); e.Addrs = plain.Addrs; return e }(), src4, Group4, 255, BadAddrs, "addr_list_err"},
		{"another address", unhex(t, v2Pass), func() Expect { e := expectFor(&pass); e.Addrs = addrs("10.9.0.1"); return e }(), src4, Group4, 255, BadAddrs, "addr_list_err"},
		{"addresses in another order", unhex(t, v2Plain), func() Expect { e := expectFor(&plain); e.Addrs = addrs("10.9.0.101", "10.9.0.100"); return e }(), src4, Group4, 255, Accepted, ""},
		{"other addresses, not compared", unhex(t, v2Pass), func() Expect { e := expectFor(&pass); e.Addrs, e.SkipAddrs = nil, true; return e }(), src4, Group4, 255, Accepted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a Advert
			got := c.expect.Check(&Packet{Data: c.data, Src: c.src, Dst: c.dst, TTL: c.ttl}, &a, time.Time{})
			if got != c.want || got.Counter() != c.counter {
				t.Errorf("%v, counted as %q; want %v, %q", got, got.Counter(), c.want, c.counter)
			}
		})
	}
}

func TestEveryTruncationAndEveryFlippedByteIsRefused(t *testing.T) {
	for _, g := range goldens {
		p := unhex(t, g.hex)
		e := expectFor(&g.want)
		var a Advert
		for n := range p {
			if r := e.Check(&Packet{Data: p[:n], Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r != Short {
				t.Errorf("%s cut to %d bytes: %v", g.name, n, r)
			}
		}
		for i := range p {
			q := bytes.Clone(p)
			q[i] ^= 0x25
			if r := e.Check(&Packet{Data: q, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r == Accepted || r == BadAddrs {
				t.Errorf("%s with byte %d changed: %v", g.name, i, r)
			}
		}
	}
}

func TestIPv4HeadersThatLieAreRefused(t *testing.T) {
	whole := append(AppendIPv4(nil, src4, Group4, TTL, 7, 28), unhex(t, v2Plain)[:24]...)
	whole = append(whole, 0, 0, 0, 0)
	var p Packet
	if r := p.ParseIPv4(whole); r != Accepted || p.Src != src4 || p.Dst != Group4 || p.TTL != 255 || len(p.Data) != 28 {
		t.Errorf("%v %+v", r, p)
	}
	for name, bad := range map[string][]byte{
		"empty":                   nil,
		"short":                   whole[:19],
		"version 6":               append([]byte{0x65}, whole[1:]...),
		"header length 4":         append([]byte{0x41}, whole[1:]...),
		"header longer than all":  append([]byte{0x4f}, whole[1:25]...),
		"total beyond the buffer": whole[:40],
	} {
		if r := p.ParseIPv4(bad); r != NotIPv4 {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestSetPriorityKeepsTheChecksumGood(t *testing.T) {
	for _, g := range goldens {
		for prio := range 256 {
			p := unhex(t, g.hex)
			SetPriority(p, uint8(prio))
			w := g.want
			w.Priority = uint8(prio)
			var a Advert
			e := expectFor(&w)
			if r := e.Check(&Packet{Data: p, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r != Accepted || a.Priority != uint8(prio) {
				t.Fatalf("%s, priority %d: %v", g.name, prio, r)
			}
		}
	}
}

func TestChecksumAsV2TakesBothKinds(t *testing.T) {
	g := goldens[2]
	e := expectFor(&g.want)
	old := g.want.Append(nil, g.src, g.dst, ChecksumAsV2)
	var a Advert
	if r := e.Check(&Packet{Data: old, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r != BadChecksum {
		t.Errorf("old checksum without the option: %v", r)
	}
	e.Checksum = ChecksumAsV2
	for _, p := range [][]byte{old, unhex(t, v3Plain)} {
		if r := e.Check(&Packet{Data: p, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r != Accepted {
			t.Errorf("with the option: %v", r)
		}
	}
	old[2] ^= 1
	if r := e.Check(&Packet{Data: old, Src: g.src, Dst: g.dst, TTL: 255}, &a, time.Time{}); r != BadChecksum {
		t.Errorf("a wrong checksum with the option: %v", r)
	}
}

func TestEveryReasonHasItsWords(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reasons {
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d: %q", r, r.String())
		}
		seen[r.String()] = true
	}
}

func FuzzCheck(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.hex), g.src.Is6(), uint8(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, v6 bool, ttl uint8) {
		src, dst := src4, Group4
		if v6 {
			src, dst = src6, Group6
		}
		var a Advert
		if err := a.Decode(b, v6); err != nil {
			return
		}
		e := expectFor(&a)
		e.Group = dst
		if e.Check(&Packet{Data: b, Src: src, Dst: dst, TTL: 255}, &a, time.Time{}) != Accepted {
			return
		}
		// Reserved bits of version 3 are ignored when read and zero when written (RFC 9568 §5.2.6).
		if a.Version == 3 && b[4]&0xf0 != 0 || len(b) > 0 && a.Version == 2 && v6 {
			return
		}
		got := a.Append(nil, src, dst, ChecksumDefault)
		if !bytes.Equal(got, b) && !(b[6] == 0xff && b[7] == 0xff) && !(got[6] == 0xff && got[7] == 0xff) {
			t.Errorf("Check took %x, Append gives %x", b, got)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	a, buf := goldens[0].want, make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendIPv4(buf[:0], src4, Group4, TTL, 1, a.Len())
		buf = a.Append(buf, src4, Group4, ChecksumDefault)
	}
}

func BenchmarkCheck(b *testing.B) {
	e := expectFor(&goldens[0].want)
	p := Packet{Data: unhex(b, v2Plain), Src: src4, Dst: Group4, TTL: 255}
	var a Advert
	b.ReportAllocs()
	for b.Loop() {
		if e.Check(&p, &a, time.Time{}) != Accepted {
			b.Fatal("not accepted")
		}
	}
}
