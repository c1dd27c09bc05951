package kernel

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// What the kernel sends for `ipvsadm -A -t 10.0.0.1:80 -s rr -p 300 -M 255.255.255.0` behind its generic netlink header.
const serviceAnswer = `9000 0100
0600 0100 0200 0000                # family: IPv4
0600 0200 0600 0000                # protocol: TCP
1400 0300 0a000001 000000000000000000000000 # address, 16 bytes whatever the family
0600 0400 0050 0000                # port, big endian
0700 0600 727200 00                # scheduler "rr"
0c00 0700 03000000 ffffffff        # flags: persistent, hashed; mask
0800 0800 2c010000                 # timeout: 300 s
0800 0900 ffffff00                 # netmask, network order
1000 0a00 0800 0100 05000000 0400 0c00 # old counters: connections 5
1c00 0c00 0c00 0100 0600000001000000   # 64-bit counters: connections 2^32+6
          0c00 0600 0700000000000000   # connections a second: 7`

// And for `-a -t 10.0.0.1:80 -r [fd00::2]:80 -i -w 3 --tun-type gue --tun-port 6080 -x 100 -y 50`.
const destAnswer = `7c00 0200
1400 0100 fd00 0000000000000000000000000002
0600 0200 0050 0000
0800 0300 82000000                 # tunnel; the kernel adds 0x80, "no output packets"
0800 0400 03000000
0800 0500 64000000
0800 0600 32000000
0800 0700 01000000                 # active
0800 0800 02000000                 # inactive
0800 0900 03000000                 # persistent
0600 0b00 0a00 0000                # family: IPv6
0500 0d00 01 000000                # gue
0600 0e00 17c0 0000                # port 6080, big endian
0600 0f00 0200 0000                # remcsum`

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for _, l := range strings.Split(s, "\n") {
		l, _, _ = strings.Cut(l, "#")
		b.WriteString(strings.Join(strings.Fields(l), ""))
	}
	out, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	// The outer length is what it is.
	native.PutUint16(out, uint16(len(out)))
	return out
}

func TestAnswersAreRead(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden bytes are those of a little-endian machine")
	}
	s, err := parseService(unhex(t, serviceAnswer))
	if err != nil {
		t.Fatal(err)
	}
	want := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80},
		Scheduler: "rr", Flags: ipvs.Persistent, Timeout: 5 * time.Minute, Granularity: 24, Stats: ipvs.Stats{Conns: 1<<32 + 6, CPS: 7}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %#v\nwant %#v", s, want)
	}
	d, err := parseDest(unhex(t, destAnswer), ipvs.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	wantDest := ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr("fd00::2"), Port: 80}, Forward: ipvs.TUN, Weight: 3, Upper: 100, Lower: 50,
		TunnelType: ipvs.GUE, TunnelPort: 6080, TunnelFlags: ipvs.RemCsum, Active: 1, Inactive: 2, Persist: 3}
	if d != wantDest {
		t.Errorf("got  %#v\nwant %#v", d, wantDest)
	}
}

func TestWhatIsPackedIsReadBack(t *testing.T) {
	for _, op := range []ipvs.Op{
		{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv6, Protocol: ipvs.UDP, Addr: netip.MustParseAddr("fd00::1"), Port: 53},
			Scheduler: "wrr", Flags: ipvs.Persistent | ipvs.OnePacket | ipvs.SchedFlag2, Timeout: 7 * time.Second, Granularity: 64, Engine: "sip"}},
		{Kind: ipvs.EditService, Service: ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 1 << 31}, Scheduler: "mh", Granularity: 8}},
	} {
		var o packer
		packOp(&o, 99, 1, op)
		got, err := parseService(o.b[unix.NLMSG_HDRLEN+unix.GENL_HDRLEN:])
		if err != nil || !reflect.DeepEqual(got, op.Service) {
			t.Errorf("got  %#v, %v\nwant %#v", got, err, op.Service)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(unhex(f, serviceAnswer))
	f.Add(unhex(f, destAnswer))
	f.Add([]byte{4, 0, 1, 0})
	f.Add([]byte{255, 255, 1, 0, 3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseService(b); err == nil {
			_ = ipvs.Table{Services: []ipvs.Service{s}}.String()
		}
		if d, err := parseDest(b, ipvs.IPv4); err == nil && !d.Addr.IsValid() {
			t.Error("a destination without an address")
		}
	})
}

// fake is a socket whose other end the test holds.
func fake(t *testing.T) (*socket, int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return &socket{fd: pair[0], in: make([]byte, 64<<10)}, pair[1]
}

func message(typ uint16, seq uint32, body []byte) []byte {
	var p packer
	p.b = native.AppendUint32(p.b, uint32(16+len(body)))
	p.b = native.AppendUint16(p.b, typ)
	p.b = native.AppendUint16(p.b, 0)
	p.b = native.AppendUint32(p.b, seq)
	p.b = native.AppendUint32(p.b, 0)
	return append(p.b, body...)
}

func TestMalformedAnswersEndTheReading(t *testing.T) {
	verdict := native.AppendUint32(nil, 0)
	refused := unix.ESRCH
	refusal := native.AppendUint32(nil, uint32(-int32(refused)))
	for _, c := range []struct {
		name  string
		reads [][]byte
		err   error
	}{
		{"an acknowledgement", [][]byte{message(unix.NLMSG_ERROR, 7, verdict)}, nil},
		{"a refusal", [][]byte{message(unix.NLMSG_ERROR, 7, refusal)}, unix.ESRCH},
		{"answers to an earlier request are passed over", [][]byte{message(unix.NLMSG_ERROR, 6, refusal), message(unix.NLMSG_ERROR, 7, verdict)}, nil},
		{"a length below that of the header", [][]byte{{8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}}, errShort},
		{"a length beyond the end", [][]byte{{80, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}}, errShort},
		{"less than a generic header", [][]byte{message(99, 7, []byte{1})}, errShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, kernel := fake(t)
			for _, r := range c.reads {
				if _, err := unix.Write(kernel, r); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.answers(context.Background(), 7, func([]byte) error { return nil }); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
		})
	}
}
