package capture_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"releve/capture"
)

var update = flag.Bool("update", false, "write the golden files anew")

var hosts = map[string]string{"192.168.56.1": "cli", "192.168.56.11": "web1", "192.168.56.12": "web2", "10.9.0.11": "lb1", "10.9.0.12": "lb2",
	"172.16.1.100": "dhcp1", "172.16.1.200": "dhcp2", "172.16.1.50": "cli", "192.168.200.254": "lb"}

var checks = []capture.Check{
	{Target: netip.MustParseAddrPort("192.168.200.11:80"), Kind: "TCP_CHECK"},
	{Target: netip.MustParseAddrPort("192.168.200.12:80"), Kind: "HTTP_GET", Digest: "1275e36beb12e64fbf865ef30609325f"},
	{Target: netip.MustParseAddrPort("192.168.200.13:443"), Kind: "SSL_GET"},
	{Target: netip.MustParseAddrPort("192.168.200.14:25"), Kind: "SMTP_CHECK"},
	{Target: netip.MustParseAddrPort("192.168.200.15:53"), Kind: "DNS_CHECK"},
	{Target: netip.MustParseAddrPort("192.168.200.16:7"), Kind: "UDP_CHECK"},
	{Target: netip.MustParseAddrPort("192.168.200.17:80"), Kind: "PING_CHECK"},
}

func annotate(t testing.TB, path string) *keeper {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := capture.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{}
	if _, err := capture.Run(r, capture.Options{Knowledge: capture.Knowledge{Hosts: hosts, Checks: checks}}, k); err != nil {
		t.Fatal(err)
	}
	return k
}

// The sentences of real captures, read by people and kept.
func TestTheSentencesOfRealCaptures(t *testing.T) {
	for _, path := range testdata(t) {
		var b strings.Builder
		k := annotate(t, path)
		for i, n := range k.notes {
			for _, e := range n.Events {
				if e.State == "" {
					fmt.Fprintf(&b, "      ! %s\n", e.Text)
				}
			}
			fmt.Fprintf(&b, "%5d %-8s %-7s %s\n", k.frames[i].No, n.Kind, k.frames[i].Proto, n.Text)
		}
		golden := strings.TrimSuffix(path, ".pcapng") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil || string(want) != b.String() {
			t.Errorf("%s: the sentences are others: go test ./capture -update, and read what changed (%v)", path, err)
		}
	}
}

// vrrp makes an advert of version 2.
func vrrp(at time.Duration, src string, prio uint8) capture.Packet {
	a := netip.MustParseAddr(src).As4()
	vip := [4]byte{10, 0, 0, 100}
	b := []byte{1, 0, 0x5e, 0, 0, 0x12, 2, 0, 0, 0, 0, a[3], 8, 0,
		0x45, 0xc0, 0, 40, 0, 1, 0, 0, 255, 112, 0, 0, a[0], a[1], a[2], a[3], 224, 0, 0, 18,
		0x21, 51, prio, 1, 0, 1, 0, 0, vip[0], vip[1], vip[2], vip[3], 0, 0, 0, 0, 0, 0, 0, 0}
	sum := uint32(0)
	for i := 34; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	b[40], b[41] = byte(^sum>>8), byte(^sum)
	return capture.Packet{At: time.Unix(1000, 0).Add(at), Data: b, Len: len(b)}
}

// garp announces the address of the virtual router.
func garp(at time.Duration, last byte) capture.Packet {
	b := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, last, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, last, 10, 0, 0, 100, 255, 255, 255, 255, 255, 255, 10, 0, 0, 100}
	return capture.Packet{At: time.Unix(1000, 0).Add(at), Data: b, Len: len(b)}
}

// Scripts of frames, and what must be said somewhere along them.
func TestWhatFramesMean(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	steady := func(from, to time.Duration, src string, prio uint8) (out []capture.Packet) {
		for at := from; at <= to; at += s {
			out = append(out, vrrp(at, src, prio))
		}
		return out
	}
	known := append(steady(0, 0, "10.0.0.2", 100), steady(500*ms, 2500*ms, "10.0.0.1", 150)...) // b was seen, then a preempts
	for _, c := range []struct {
		name   string
		frames []capture.Packet
		want   []string
	}{
		{"a resignation names the heir and its skew", append(known, vrrp(3*s, "10.0.0.1", 0)), []string{"a resigns VRID 51 (priority 0): b takes over after skew 0.609 s, not after 3.609 s."}},
		{"a takeover after a resignation", append(known, vrrp(3*s, "10.0.0.1", 0), vrrp(3609*ms, "10.0.0.2", 100)), []string{"b takes over VRID 51, 0.609 s after a resigned"}},
		{"a takeover after silence", append(known, vrrp(2500*ms+3610*ms, "10.0.0.2", 100)), []string{"silence: a was due to speak", "b takes over VRID 51 after 3.610 s without an advert of a: it waits 3.609 s"}},
		{"a preemption", known, []string{"a preempts b as master of VRID 51: its priority is 150, not 100"}},
		{"a late advert", append(steady(0, 3*s, "10.0.0.1", 150), vrrp(5500*ms, "10.0.0.1", 150)), []string{"a is back after 2.500 s of silence, which should have been 1.000 s"}},
		{"a falling priority", append(known, vrrp(3500*ms, "10.0.0.1", 90)), []string{"The priority of a fell from 150 to 90, below b (100)"}},
		{"two masters", append(steady(0, 2*s, "10.0.0.1", 150), vrrp(2200*ms, "10.0.0.2", 100), vrrp(3*s, "10.0.0.1", 150)), []string{"b is master of VRID 51 too, with priority 100 below the 150 of a: two masters", "a goes on as master of VRID 51 beside b"}},
		{"a healing without announcement", append(append(steady(0, 2*s, "10.0.0.1", 150), vrrp(2200*ms, "10.0.0.2", 100)), steady(3*s, 10*s, "10.0.0.1", 150)...), []string{"a is the only master of VRID 51 again", "no gratuitous ARP for 10.0.0.100 after b gave way"}},
		{"a takeover without announcement", append(known, steady(6110*ms, 12*s, "10.0.0.2", 100)...), []string{"b took over but announced 10.0.0.100 to nobody within 2 s"}},
		{"an announcement by the wrong one", append(steady(0, 2*s, "10.0.0.1", 150), garp(2500*ms, 9)), []string{"announces 10.0.0.100 at 02:00:00:00:00:09 although a is master of VRID 51"}},
		{"announcements are counted", append(steady(0, 0, "10.0.0.1", 150), garp(ms, 1), garp(2*ms, 1), garp(5*s, 1)), []string{"a announces that 10.0.0.100 is at 02:00:00:00:00:01", "a announces 10.0.0.100 for the 2nd time", "a announces 10.0.0.100 again, 5.000 s after it took over"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := capture.NewAnnotator(capture.Knowledge{Hosts: map[string]string{"10.0.0.1": "a", "10.0.0.2": "b"}})
			var d capture.Decoder
			all := ""
			for _, p := range c.frames {
				n := a.Add(d.Decode(p))
				for _, e := range n.Events {
					all += e.Text + "\n"
				}
				all += n.Text + "\n"
			}
			for _, w := range c.want {
				if !strings.Contains(all, w) {
					t.Errorf("nobody says %q:\n%s", w, all)
				}
			}
		})
	}
}

func TestAFrameSeenTwiceIsSaidOnce(t *testing.T) {
	a := capture.NewAnnotator(capture.Knowledge{})
	var d capture.Decoder
	p := vrrp(0, "10.0.0.1", 150)
	first := a.Add(d.Decode(p))
	p.Point, p.At = 1, p.At.Add(time.Millisecond)
	if again := a.Add(d.Decode(p)); !strings.Contains(again.Text, "seen here too") || len(again.Events) > 0 || !strings.Contains(first.Text, "is master") {
		t.Errorf("first %q, again %+v", first.Text, again)
	}
}

func TestThePageStandsAlone(t *testing.T) {
	for _, path := range testdata(t) {
		k := annotate(t, path)
		var b bytes.Buffer
		p := &capture.Page{W: &b, Title: "<script>alert(1)</script>"}
		shown := 0
		for i := range k.frames {
			if err := p.Frame(k.frames[i], &k.notes[i], nil); err != nil {
				t.Fatal(err)
			}
			if k.notes[i].Text != "the same frame, seen here too" {
				shown++
			}
		}
		if err := p.Close(k.last); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if n := strings.Count(page, `<g class="frame `); n != shown {
			t.Errorf("%s: %d frames in the diagram, want %d", path, n, shown)
		}
		if strings.Contains(page, "<script>alert") || regexp.MustCompile(`(?i)(src|href)="https?:|@import|url\(http`).MatchString(page) {
			t.Errorf("%s: the page runs what it must not, or asks the network", path)
		}
		_, rest, _ := strings.Cut(page, `<script id="frames" type="application/json">`)
		text, _, _ := strings.Cut(rest, "</script>")
		var details map[string]any
		if err := json.Unmarshal([]byte(text), &details); err != nil || len(details) != shown {
			t.Errorf("%s: details of %d frames, %v", path, len(details), err)
		}
	}
}

func TestJSONLinesCanBeRead(t *testing.T) {
	k := annotate(t, filepath.Join("testdata", "failover.pcapng"))
	var b bytes.Buffer
	j := capture.JSONLines{W: &b}
	for i := range k.frames {
		if err := j.Frame(k.frames[i], &k.notes[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(k.last); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(b.String()) {
		var v struct{ Proto, Text string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		n++
	}
	if n < len(k.frames) {
		t.Errorf("%d lines for %d frames", n, len(k.frames))
	}
}

// quiet is a source that has two adverts, and then nothing for a while.
type quiet struct{ left []capture.Packet }

func (q *quiet) Points() []capture.Point { return nil }

func (q *quiet) Next() (capture.Packet, error) {
	if len(q.left) == 0 {
		return capture.Packet{}, io.EOF
	}
	p := q.left[0]
	q.left = q.left[1:]
	if p.Data == nil {
		return p, capture.ErrIdle
	}
	return p, nil
}

// What the winner announces as soon as it hears the other one counts, and the loser is backup.
func TestAHealingWithAnnouncementsIsNoAlarm(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	frames := []capture.Packet{vrrp(0, "10.0.0.1", 150), vrrp(s, "10.0.0.1", 150), vrrp(1200*ms, "10.0.0.2", 100), garp(1201*ms, 2), garp(1202*ms, 2), vrrp(1203*ms, "10.0.0.1", 150), garp(1204*ms, 1)}
	for at := 2203 * ms; at < 9*s; at += s {
		frames = append(frames, vrrp(at, "10.0.0.1", 150))
	}
	a := capture.NewAnnotator(capture.Knowledge{Hosts: map[string]string{"10.0.0.1": "a", "10.0.0.2": "b"}})
	var d capture.Decoder
	state, all := "", ""
	for _, p := range frames {
		n := a.Add(d.Decode(p))
		all += n.Text + "\n"
		for _, e := range n.Events {
			all += e.Text + "\n"
			if e.Host == "b" {
				state = e.State
			}
		}
	}
	if strings.Contains(all, "no gratuitous ARP") || strings.Count(all, "although a is master") != 1 || !strings.Contains(all, "b announces 10.0.0.100 once more") || state != "BACKUP" {
		t.Errorf("b is %q:\n%s", state, all)
	}
}

// A live view must not wait for the next frame to say that one is missing.
func TestSilenceIsSaidWhileItLasts(t *testing.T) {
	old := time.Since(time.Unix(1000, 0)) - 10*time.Second
	for _, next := range [][]capture.Packet{nil, {vrrp(old+9*time.Second, "10.0.0.2", 100)}} {
		src := &quiet{append([]capture.Packet{vrrp(old, "10.0.0.1", 150), vrrp(old+time.Second, "10.0.0.1", 150), {}}, next...)}
		var live, lines strings.Builder
		k := &keeper{}
		if _, err := capture.Run(src, capture.Options{}, &capture.Timeline{W: &live}, capture.JSONLines{W: &lines}, k); err != nil {
			t.Fatal(err)
		}
		const what = "silence: 10.0.0.1 was due to speak"
		kept := 0
		for _, e := range k.last {
			kept += strings.Count(e.Text, what)
		}
		for _, n := range k.notes {
			for _, e := range n.Events {
				kept += strings.Count(e.Text, what)
			}
		}
		if strings.Count(live.String(), what) != 1 || strings.Count(lines.String(), what) != 1 || kept != 1 {
			t.Errorf("said %d and %d times, kept %d times:\n%s", strings.Count(live.String(), what), strings.Count(lines.String(), what), kept, live.String())
		}
		if at := strings.Index(live.String(), what); next != nil && at > strings.Index(live.String(), "10.0.0.2") {
			t.Errorf("it is said with the next frame:\n%s", live.String())
		}
	}
}

// Adverts with the trailer of auth_hmac, over IPv4 (version 2) and IPv6 (version 3). They lie apart from the captures that tshark judges:
// it takes the trailer for a part of the advert and finds the checksum wrong.
func TestSignedAdverts(t *testing.T) {
	k := annotate(t, filepath.Join("testdata", "signed", "hmac.pcapng"))
	signed, told := 0, 0
	for i, f := range k.frames {
		v, ok := f.Msg.(*capture.VRRP)
		if !ok || !v.Signed || v.KeyID != 1 || !v.ChecksumGood || f.Fault != "" {
			t.Errorf("frame %d: %+v, %s", f.No, f.Msg, f.Fault)
			continue
		}
		if d := f.At.Sub(v.Stamp); d < -time.Second || d > time.Second {
			t.Errorf("frame %d: signed at %v, captured at %v", f.No, v.Stamp, f.At)
		}
		signed++
		told += strings.Count(k.notes[i].Text, "It is signed with key 1 (auth_hmac).")
	}
	if signed < 8 || told != 2 {
		t.Errorf("%d signed adverts, told %d times", signed, told)
	}
}
