package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/capture"
)

// classic writes a pcap file of a link type; form makes its packet of an Ethernet frame, nil leaves it out. keep is how much of each is kept.
func classic(t testing.TB, link uint32, frames []*capture.Frame, keep int, form func(*capture.Frame) []byte) string {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b23c4d)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint32(le.AppendUint32(b, 262144), link)
	for _, f := range frames {
		p := form(f)
		if p == nil {
			continue
		}
		kept := p[:min(len(p), keep)]
		b = le.AppendUint32(le.AppendUint32(b, uint32(f.At.Unix())), uint32(f.At.Nanosecond()))
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(kept))), uint32(len(p)))
		b = append(b, kept...)
	}
	path := filepath.Join(t.TempDir(), "links.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// isIP tells whether an Ethernet frame carries IP.
func isIP(f *capture.Frame) bool {
	return len(f.Data) > 14 && (f.Data[12] == 8 && f.Data[13] == 0 || f.Data[12] == 0x86 && f.Data[13] == 0xdd)
}

// linkForms are the links besides Ethernet that files come from, and how a frame looks there.
var linkForms = []struct {
	name string
	link uint32
	form func(*capture.Frame) []byte
}{
	{"Linux cooked", 113, func(f *capture.Frame) []byte {
		b := append([]byte{0, 0, 0, 1, 0, 6}, f.Data[6:12]...)
		return append(append(b, 0, 0), f.Data[12:]...)
	}},
	{"Linux cooked, version 2", 276, func(f *capture.Frame) []byte {
		b := append(slices.Clone(f.Data[12:14]), 0, 0, 0, 0, 0, byte(f.Point+1), 0, 1, 0, 6)
		b = append(append(b, f.Data[6:12]...), 0, 0)
		return append(b, f.Data[14:]...)
	}},
	{"raw IP", 101, func(f *capture.Frame) []byte {
		if !isIP(f) {
			return nil
		}
		return f.Data[14:]
	}},
	{"BSD loopback", 0, func(f *capture.Frame) []byte {
		if !isIP(f) {
			return nil
		}
		family := byte(2)
		if f.Data[12] == 0x86 {
			family = 24
		}
		return append([]byte{family, 0, 0, 0}, f.Data[14:]...)
	}},
	{"Ethernet with a VLAN tag", 1, func(f *capture.Frame) []byte {
		return slices.Insert(slices.Clone(f.Data), 12, 0x81, 0, 0x20, 7)
	}},
	{"Ethernet with two VLAN tags", 1, func(f *capture.Frame) []byte {
		return slices.Insert(slices.Clone(f.Data), 12, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 7)
	}},
}

// A frame means the same whatever the link was that it was captured on.
func TestFramesOfEveryLinkAreUnderstood(t *testing.T) {
	for _, l := range linkForms {
		t.Run(l.name, func(t *testing.T) {
			before, _ := read(t, "testdata/failover.pcapng")
			if l.link == 0 || l.link == 101 {
				before = slices.DeleteFunc(before, func(f *capture.Frame) bool { return !isIP(f) })
			}
			after, points := read(t, classic(t, l.link, before, 1<<16, l.form))
			if len(after) != len(before) || len(after) == 0 {
				t.Fatalf("%d frames of %d", len(after), len(before))
			}
			seen := map[int]bool{}
			for i, f := range after {
				seen[f.Point] = true
				if f.Proto != before[i].Proto || f.Src != before[i].Src || f.Dst != before[i].Dst || f.Fault != "" || f.Partial || f.Len != len(f.Data) {
					t.Errorf("frame %d: %s from %s to %s %s (%d of %d bytes), was %s from %s to %s", i+1, f.Proto, f.Src, f.Dst, f.Fault, len(f.Data), f.Len, before[i].Proto, before[i].Src, before[i].Dst)
				}
			}
			if l.link == 276 && len(points) < 2 || len(seen) != len(points) {
				t.Errorf("points %v, seen %v", points, seen)
			}
		})
	}
}

// Of what was not captured nothing is said to be damaged, and lengths are those on the wire.
func TestCutCapturesAreNoAlarm(t *testing.T) {
	whole, _ := read(t, "testdata/checks.pcapng")
	for _, keep := range []int{20, 40, 60, 68, 96} {
		path := classic(t, 1, whole, keep, func(f *capture.Frame) []byte { return f.Data })
		frames, _ := read(t, path)
		partial := 0
		for i, f := range frames {
			if f.Fault != "" {
				t.Errorf("%d bytes of frame %d: %s", keep, i+1, f.Fault)
			}
			if f.Partial {
				partial++
			}
			if f.TCP != nil && f.TCP.Len != whole[i].TCP.Len {
				t.Errorf("%d bytes of frame %d: TCP length %d, was %d", keep, i+1, f.TCP.Len, whole[i].TCP.Len)
			}
		}
		if partial == 0 && keep < 68 {
			t.Errorf("%d bytes: no frame is said to be partial", keep)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := capture.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		var notes keeper
		if _, err := capture.Run(r, capture.Options{}, &notes); err != nil {
			t.Fatal(err)
		}
		in.Close()
		for i, n := range notes.notes {
			if strings.Contains(n.Text, "damaged") || n.Text == "" {
				t.Errorf("%d bytes of frame %d: %q", keep, i+1, n.Text)
			}
		}
	}
}

// block is a block of pcapng.
func block(kind uint32, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	for len(all)%4 != 0 {
		all = append(all, 0)
	}
	le := binary.LittleEndian
	n := uint32(len(all) + 12)
	return le.AppendUint32(append(le.AppendUint32(le.AppendUint32(nil, kind), n), all...), n)
}

func words(w ...uint32) (b []byte) {
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func TestUnusualPcapngIsRead(t *testing.T) {
	section := block(0x0a0d0d0a, words(0x1a2b3c4d, 1, 0xffffffff, 0xffffffff))
	eth := block(1, words(1, 0))
	frame, err := hex.DecodeString("ffffffffffff0200000000010806" + "0001080006040001" + "020000000001c0a83801" + "000000000000c0a8380a")
	if err != nil {
		t.Fatal(err)
	}
	caught := uint32(len(frame))
	packet := block(6, words(0, 0, 1000000, caught, caught), frame)
	for _, x := range []struct {
		name string
		file [][]byte
		want []time.Time // of the frames that are read
		fail string
	}{
		{"a block that is not known is as long as it wants", [][]byte{section, eth, block(10, make([]byte, 1<<20)), packet}, []time.Time{time.Unix(1, 0)}, ""},
		{"simple and obsolete packets", [][]byte{section, eth, packet, block(3, words(caught), frame), block(2, words(0, 0, 2000000, caught, caught), frame)},
			[]time.Time{time.Unix(1, 0), time.Unix(1, 0), time.Unix(2, 0)}, ""},
		{"an offset of the times", [][]byte{section, block(1, words(1, 0), words(8<<16|14, 100, 0, 0)), packet}, []time.Time{time.Unix(101, 0)}, ""},
		{"picoseconds", [][]byte{section, block(1, words(1, 0), words(1<<16|9, 12, 0)), block(6, words(0, 232, 3567587328, caught, caught), frame)}, []time.Time{time.Unix(1, 0)}, ""},
		{"packets of a link that is not read are skipped", [][]byte{section, eth, block(1, words(220, 0)), block(6, words(1, 0, 5, caught, caught), frame), packet}, []time.Time{time.Unix(1, 0)}, ""},
		{"nothing but packets of a link that is not read", [][]byte{section, block(1, words(105, 0)), packet}, nil, "link type 105"},
		{"a second section begins with its own interfaces", [][]byte{section, eth, packet, section, eth, packet}, []time.Time{time.Unix(1, 0), time.Unix(1, 0)}, ""},
		{"a time that no clock shows", [][]byte{section, eth, block(6, words(0, 0xffffffff, 0xffffffff, caught, caught), frame)}, []time.Time{time.Unix(9223372035, 551615000)}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			r, err := capture.NewReader(bytes.NewReader(bytes.Join(x.file, nil)))
			if err != nil {
				t.Fatal(err)
			}
			var got keeper
			var lines bytes.Buffer
			_, err = capture.Run(r, capture.Options{}, &got, capture.JSONLines{W: &lines}, capture.File{W: capture.NewWriter(io.Discard)})
			if x.fail == "" && err != nil || x.fail != "" && (!errors.Is(err, capture.ErrFormat) || !strings.Contains(err.Error(), x.fail)) {
				t.Fatalf("error %v", err)
			}
			var at []time.Time
			for _, f := range got.frames {
				at = append(at, f.At)
			}
			if !slices.EqualFunc(at, x.want, time.Time.Equal) {
				t.Errorf("frames at %v, want %v", at, x.want)
			}
		})
	}
}

// ip4 makes an IPv4 packet in an Ethernet frame.
func ip4(proto byte, src, dst string, payload ...byte) capture.Packet {
	a, b := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	n := 20 + len(payload)
	data := []byte{2, 0, 0, 0, 0, b[3], 2, 0, 0, 0, 0, a[3], 8, 0, 0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, proto, 0, 0}
	data = append(append(append(data, a[:]...), b[:]...), payload...)
	return capture.Packet{At: time.Unix(1000, 0), Data: data, Len: len(data)}
}

// Checks and sync daemons of other ports than the usual are known by the configuration.
func TestUnusualPortsAreKnownByTheConfiguration(t *testing.T) {
	k := capture.Knowledge{SyncPort: 9000, Checks: []capture.Check{
		{Target: netip.MustParseAddrPort("10.0.0.2:5353"), Kind: "DNS_CHECK"}, {Target: netip.MustParseAddrPort("10.0.0.2:2525"), Kind: "SMTP_CHECK"}}}
	question := []byte{0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1}
	datagram := func(port uint16, b ...byte) []byte {
		n := len(b) + 8
		return append([]byte{0xc0, 1, byte(port >> 8), byte(port), byte(n >> 8), byte(n), 0, 0}, b...)
	}
	segment := append([]byte{0xc0, 1, 2525 >> 8, 2525 & 255, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0}, "HELO a\r\n"...)
	for want, p := range map[string]capture.Packet{
		"dns":  ip4(17, "10.0.0.1", "10.0.0.2", datagram(5353, question...)...),
		"smtp": ip4(6, "10.0.0.1", "10.0.0.2", segment...),
		"ipvs": ip4(17, "10.0.0.1", "10.0.0.2", datagram(9000, 0, 1, 0, 8, 0, 1, 0, 0)...),
	} {
		if f := capture.NewDecoder(k).Decode(p); f.Proto != want || f.Fault != "" {
			t.Errorf("%s %s, want %s", f.Proto, f.Fault, want)
		}
		if f := new(capture.Decoder).Decode(p); f.Proto == want {
			t.Errorf("%s is known without the configuration", want)
		}
	}
}

// A file of tcpdump that joins several interfaces has frames twice and does not say where; announcements, which repeat themselves, are counted.
func TestAFrameWithItsNumberTwiceIsOneFrame(t *testing.T) {
	a := capture.NewAnnotator(capture.Knowledge{})
	var d capture.Decoder
	for i, x := range []struct {
		p    capture.Packet
		same bool
	}{{vrrp(0, "10.0.0.1", 150), false}, {vrrp(time.Millisecond, "10.0.0.1", 150), true}, {garp(2*time.Millisecond, 1), false}, {garp(3*time.Millisecond, 1), false}} {
		if n := a.Add(d.Decode(x.p)); (n.Text == "the same frame, seen here too") != x.same {
			t.Errorf("frame %d: %s", i, n.Text)
		}
	}
}

// BenchmarkAnnotateConnections opens connections, half of which nobody answers, more at a time than are followed.
func BenchmarkAnnotateConnections(b *testing.B) {
	var d capture.Decoder
	a := capture.NewAnnotator(capture.Knowledge{Checks: checks})
	p := ip4(6, "10.0.0.1", "10.0.0.2", 0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0)
	for i := 0; b.Loop(); i++ {
		p.Data = slices.Clone(p.Data)
		binary.BigEndian.PutUint32(p.Data[26:], 0x0a000000+uint32(i>>15))
		binary.BigEndian.PutUint16(p.Data[34:], uint16(1024+i&0x7fff))
		p.At = p.At.Add(10 * time.Microsecond)
		a.Add(d.Decode(p))
	}
}
