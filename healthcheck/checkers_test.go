package healthcheck

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/script"
)

// dialogue is a server that says the first line and answers each line it gets with the next; "" hangs up.
func dialogue(lines ...string) play {
	return func(c net.Conn, over <-chan struct{}) {
		buf := make([]byte, 512)
		for i, l := range lines {
			if i > 0 {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
			if l == "" {
				return
			}
			if l == "hang" {
				hang(c, over)
				return
			}
			_, _ = c.Write([]byte(l))
		}
	}
}

func TestSMTPCheck(t *testing.T) {
	leakCheck(t)
	for name, c := range map[string]struct {
		server play
		want   string
	}{
		"a good server":                      {dialogue("220 mail ESMTP\r\n", "250 mail\r\n", "221 bye\r\n"), "good"},
		"whatever it says at the end":        {dialogue("220 x\n", "250 x\n", "nonsense\n"), "good"},
		"an answer that comes too early":     {dialogue("220 x\r\n250 y\r\n221 z\r\n", "hang"), "HELO: timeout after 300ms"},
		"a line too many":                    {dialogue("220 x\r\nand more\r\n", "250 y\r\n", "221 z\r\n"), "good"},
		"a greeting without a space":         {dialogue("220\r\n"), `greeting: answer "220", wanted "220 "`},
		"a greeting of several lines":        {dialogue("220-a\r\n220 b\r\n"), `greeting: answer "220-a", wanted "220 "`},
		"a server that refuses":              {dialogue("554 go away\r\n"), `greeting: answer "554 go away"`},
		"an answer of several lines to HELO": {dialogue("220 x\r\n", "250-a\r\n250 b\r\n"), `HELO: answer "250-a", wanted "250 "`},
		"HELO refused":                       {dialogue("220 x\r\n", "501 \x1b[2J\r\n"), `HELO: answer "501 \x1b[2J", wanted`},
		"no answer to QUIT":                  {dialogue("220 x\r\n", "250 x\r\n", ""), "QUIT: connection closed by the server"},
		"a server that never greets":         {hang, "greeting: timeout after 300ms"},
		"a server that hangs after HELO":     {dialogue("220 x\r\n", "hang"), "HELO: timeout after 300ms"},
		"a server that closes":               {func(net.Conn, <-chan struct{}) {}, "greeting: connection closed"},
		"an endless line":                    {flood("220", "0"), "greeting: line longer than 4096 bytes"},
		"a server that drips":                {dripper, "greeting: timeout after 300ms"},
		"a line in pieces": {func(c net.Conn, o <-chan struct{}) {
			_, _ = c.Write([]byte("22"))
			time.Sleep(20 * time.Millisecond)
			dialogue("0 x\r\n", "250 x\r\n", "221\r\n")(c, o)
		}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, &Config{Type: TypeSMTP, Connect: Connect{Addr: serve(t, c.server)}}, c.want)
		})
	}
}

func TestSMTPCheckIntroducesItself(t *testing.T) {
	for name, want := range map[string]string{"": "HELO smtpchecker.keepalived.org\r\n", "me.example": "HELO me.example\r\n"} {
		got := make(chan string, 1)
		addr := serve(t, func(c net.Conn, _ <-chan struct{}) {
			_, _ = c.Write([]byte("220 x\r\n"))
			buf := make([]byte, 512)
			n, _ := c.Read(buf)
			got <- string(buf[:n])
		})
		_ = check(t, &Config{Type: TypeSMTP, Connect: Connect{Addr: addr}, SMTP: &SMTPConfig{HeloName: name}})
		if s := <-got; s != want {
			t.Errorf("said %q, want %q", s, want)
		}
	}
}

func TestSMTPHostsMustAllBeGood(t *testing.T) {
	good := Connect{Addr: serve(t, dialogue("220 x\r\n", "250 x\r\n", "221\r\n"))}
	bad := Connect{Addr: serve(t, dialogue("421 later\r\n"))}
	verdict(t, check(t, &Config{Type: TypeSMTP, SMTP: &SMTPConfig{Hosts: []Connect{good, good}}}), "good")
	verdict(t, check(t, &Config{Type: TypeSMTP, SMTP: &SMTPConfig{Hosts: []Connect{good, bad}}}), bad.Addr.String()+": greeting: answer")
}

// answerUDP is a UDP server that answers each datagram; a nil answer stays silent.
func answerUDP(t testing.TB, answer func([]byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := answer(buf[:n]); a != nil {
				_, _ = c.WriteTo(a, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func closedUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.9.9.9:0") // see closedPort
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func TestDNSCheck(t *testing.T) {
	leakCheck(t)
	flip := func(change func(b []byte) []byte) func([]byte) []byte {
		return func(q []byte) []byte { return change(append([]byte{}, q...)) }
	}
	for name, c := range map[string]struct {
		answer func([]byte) []byte
		want   string
	}{
		"an empty good answer":        {flip(func(b []byte) []byte { b[2] |= 0x80; return b }), "good"},
		"a long good answer":          {flip(func(b []byte) []byte { b[2] |= 0x80; return append(b, make([]byte, 4000)...) }), "good"},
		"NXDOMAIN":                    {flip(func(b []byte) []byte { b[2] |= 0x80; b[3] |= 3; return b }), "DNS answer has code 3 (NXDOMAIN)"},
		"an unheard-of code":          {flip(func(b []byte) []byte { b[2] |= 0x80; b[3] |= 15; return b }), "DNS answer has code 15"},
		"an answer to something else": {flip(func(b []byte) []byte { b[2] |= 0x80; b[0]++; return b }), "timeout after 300ms, though there was a DNS answer to another question"},
		"the question back":           {flip(func(b []byte) []byte { return b }), "timeout after 300ms, though there was a DNS message that is a question"},
		"garbage":                     {flip(func([]byte) []byte { return []byte("garbage") }), "timeout after 300ms, though there was a DNS answer of 7 bytes"},
		"an empty datagram":           {flip(func([]byte) []byte { return []byte{} }), "timeout after 300ms, though there was a DNS answer of 0 bytes"},
		"silence":                     {func([]byte) []byte { return nil }, "waiting for an answer: timeout after 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, &Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, c.answer)}}, c.want)
		})
	}
	expect(t, &Config{Type: TypeDNS, Connect: Connect{Addr: closedUDP(t)}}, "connection refused")
}

// What answers another question, or nothing at all, is passed over: the answer may come behind it.
func TestDNSCheckWaitsForItsAnswer(t *testing.T) {
	leakCheck(t)
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		good := append([]byte{}, buf[:n]...)
		good[2] |= 0x80
		other := append([]byte{}, good...)
		other[0]++
		for _, b := range [][]byte{{}, []byte("short"), buf[:n], other, good} {
			_, _ = c.WriteTo(b, from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	verdict(t, check(t, &Config{Type: TypeDNS, Connect: Connect{Addr: netip.MustParseAddrPort(c.LocalAddr().String())}}), "good")
}

// TestDNSQuestion lets another implementation read what we ask.
func TestDNSQuestion(t *testing.T) {
	for name, typ := range map[string]dnsmessage.Type{".": dnsmessage.TypeSOA, "www.example.org.": dnsmessage.TypeAAAA, "Example.org": dnsmessage.TypeMX} {
		b, err := dnsQuestion(name, uint16(typ))
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q := m.Questions[0]
		if want := strings.TrimSuffix(name, ".") + "."; len(m.Questions) != 1 || q.Name.String() != want || q.Type != typ || q.Class != dnsmessage.ClassINET ||
			!m.RecursionDesired || m.Response {
			t.Errorf("%s: %+v", name, m)
		}
	}
	for _, name := range []string{"a..b", strings.Repeat("x", 64) + ".org", strings.Repeat("abcdefgh.", 30), ".."} {
		if _, err := dnsQuestion(name, 1); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func FuzzDNSAnswer(f *testing.F) {
	f.Add([]byte{1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, uint16(0x102))
	f.Fuzz(func(t *testing.T, b []byte, id uint16) {
		err := dnsAnswer(b, id)
		if good := len(b) >= 12 && binary.BigEndian.Uint16(b) == id && b[2] >= 0x80 && b[3]&15 == 0; good != (err == nil) {
			t.Errorf("%x: %v", b, err)
		}
	})
}

type chopped struct {
	b []byte
	n int
}

func (c *chopped) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, c.b[:min(len(c.b), c.n)])
	c.b = c.b[n:]
	return n, nil
}

func FuzzSMTPLines(f *testing.F) {
	f.Add([]byte("220 x\r\n250 y\n"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		want := slices.Collect(strings.SplitSeq(string(b), "\n"))
		l := lineReader{}
		r := &chopped{slices.Clone(b), int(n) + 1}
		for i := 0; ; i++ {
			line, err := l.next(r)
			if err == errLongLine && len(want[i]) > maxLine {
				return
			}
			if err != nil {
				if i != len(want)-1 {
					t.Errorf("%d lines, want %d", i, len(want)-1)
				}
				return
			}
			if string(line) != strings.TrimSuffix(want[i], "\r") {
				t.Errorf("line %d is %q, want %q", i, line, want[i])
			}
			_ = smtpReply(line, "220 ")
		}
	})
}

func TestUDPCheck(t *testing.T) {
	leakCheck(t)
	echo := func(b []byte) []byte { return append([]byte{}, b...) }
	silent := func([]byte) []byte { return nil }
	say := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	for name, c := range map[string]struct {
		server func([]byte) []byte
		cfg    UDPConfig
		want   string
	}{
		"silence is good":                            {silent, UDPConfig{}, "good"},
		"silence where a reply is needed":            {silent, UDPConfig{RequireReply: true}, "waiting for a reply: timeout after 300ms"},
		"any reply":                                  {echo, UDPConfig{RequireReply: true}, "good"},
		"an empty reply":                             {say(""), UDPConfig{RequireReply: true}, "good"},
		"the payload as configured":                  {echo, UDPConfig{RequireReply: true, Payload: []byte{0, 1, 255}, Reply: []byte{0, 1, 255}}, "good"},
		"the reference's payload":                    {echo, UDPConfig{RequireReply: true, Reply: []byte("keepalived check - keepalived ch"), MinLen: 32, MaxLen: 32}, "good"},
		"another reply":                              {say("pung"), UDPConfig{RequireReply: true, Reply: []byte("pong")}, "reply differs at byte 1: 0x75, wanted 0x6f"},
		"another reply without need of one":          {say("pung"), UDPConfig{Reply: []byte("pong")}, "reply differs at byte 1"},
		"where the mask is clear it does not matter": {say("pung"), UDPConfig{RequireReply: true, Reply: []byte("pong"), Mask: []byte{0xff, 0, 0xff, 0xff}}, "good"},
		"compared over the shorter: reply":           {say("po"), UDPConfig{RequireReply: true, Reply: []byte("pong")}, "good"},
		"compared over the shorter: configured":      {say("pong and more"), UDPConfig{RequireReply: true, Reply: []byte("pong")}, "good"},
		"too short":                                  {say("po"), UDPConfig{RequireReply: true, Reply: []byte("pong"), MinLen: 3}, "reply of 2 bytes, wanted 3 to 255"},
		"too long":                                   {say(strings.Repeat("p", 300)), UDPConfig{RequireReply: true, Reply: []byte("p")}, "reply of 300 bytes, wanted 0 to 255"},
		"lengths do not count without reply data":    {say("po"), UDPConfig{RequireReply: true, MinLen: 3}, "good"},
		"a huge reply":                               {say(strings.Repeat("p", 60000)), UDPConfig{RequireReply: true}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, &Config{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, c.server)}, UDP: &c.cfg}, c.want)
		})
	}
	expect(t, &Config{Type: TypeUDP, Connect: Connect{Addr: closedUDP(t)}}, "connection refused")
}

func TestPingCheck(t *testing.T) {
	leakCheck(t)
	for addr, want := range map[string]string{"127.0.0.1": "good", "::1": "good", "192.0.2.1": "unsure"} {
		t.Run(addr, func(t *testing.T) {
			if a := netip.MustParseAddr(addr); a.Is6() {
				if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
					t.Skip("no IPv6 in this kernel")
				}
			}
			testneed.Need(t, "root")
			cfg := &Config{Type: TypePing, Connect: Connect{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 80), Timeout: ample}}
			if want == "unsure" {
				cfg.BindIf = "nosuch0"
			}
			p, err := newPingProber(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			var a attempt
			for i := range 3 {
				verdict(t, p.probe(&a, 0), want)
				if p.seq != uint16(i+1) && want == "good" {
					t.Errorf("sequence %d in attempt %d", p.seq, i+1)
				}
			}
		})
	}
}

func TestPingRepliesOfOthersDoNotCount(t *testing.T) {
	v4, v6 := &target{family: unix.AF_INET}, &target{family: unix.AF_INET6}
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		p    pingProber
		b    []byte
		want bool
	}{
		"ours":                       {pingProber{t: v4, id: 7, seq: 258}, []byte{0, 0, 9, 9, 1, 1, 1, 2}, true},
		"an older one":               {pingProber{t: v4, id: 7, seq: 258}, []byte{0, 0, 9, 9, 0, 7, 1, 1}, false},
		"a request":                  {pingProber{t: v4, id: 7, seq: 258}, []byte{8, 0, 9, 9, 0, 7, 1, 2}, false},
		"raw, ours":                  {pingProber{t: v4, raw: true, id: 7, seq: 258}, append(slices.Clone(ip), 0, 0, 9, 9, 0, 7, 1, 2), true},
		"raw, another process's":     {pingProber{t: v4, raw: true, id: 7, seq: 258}, append(slices.Clone(ip), 0, 0, 9, 9, 0, 8, 1, 2), false},
		"raw, cut in the header":     {pingProber{t: v4, raw: true, id: 7, seq: 258}, ip[:10], false},
		"raw, a header that is long": {pingProber{t: v4, raw: true}, append([]byte{0x4f}, ip[1:]...), false},
		"IPv6":                       {pingProber{t: v6, seq: 1}, []byte{129, 0, 9, 9, 0, 8, 0, 1}, true},
		"nothing":                    {pingProber{t: v6, seq: 1}, nil, false},
	} {
		if got := c.p.isReply(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	p := pingProber{t: v4, id: 0x1234, seq: 1}
	if b := p.echo(nil); checksum(b) != 0 || len(b) != 136 || string(b[8:]) != strings.Repeat("keepalived check - ", 7)[:128] {
		t.Errorf("%x: checksum %x", b, checksum(b))
	}
}

// collector gathers reports.
type collector struct {
	mu sync.Mutex
	r  []Result
}

func (c *collector) report(r Result) { c.mu.Lock(); defer c.mu.Unlock(); c.r = append(c.r, r) }

// wait returns the n-th report once it is there.
func (c *collector) wait(t *testing.T, n int) Result {
	t.Helper()
	for range 6000 {
		c.mu.Lock()
		if len(c.r) > n {
			r := c.r[n]
			c.mu.Unlock()
			return r
		}
		c.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("report %d does not come", n)
	return Result{}
}

func TestFileCheckFollowsTheFile(t *testing.T) {
	leakCheck(t)
	path := filepath.Join(t.TempDir(), "weight")
	write := func(v string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("5\n")
	var c collector
	r := NewRunner(RunnerOptions{Report: c.report})
	ctx, cancel := context.WithCancel(t.Context())
	r.Set(ctx, []*Config{{ID: "f", Type: TypeFile, File: &FileConfig{Path: path, Weight: 2}, DelayLoop: time.Hour}})
	for i, step := range []struct {
		write string
		want  int
	}{{"", 10}, {"-3 \n", -6}, {"+1", 2}, {"99999999", maxValue * 2}} {
		if step.write != "" {
			write(step.write)
		}
		if got := c.wait(t, i); !got.Up || !got.HasWeight || got.Absolute || got.Weight != step.want {
			t.Errorf("after %q: %+v, want weight %d", step.write, got, step.want)
		}
	}
	write("rubbish") // changes nothing
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := c.wait(t, 4); got.Weight != 0 {
		t.Errorf("after the removal: %+v", got)
	}
	cancel()
	r.Wait()
}

func TestFileCheckWithoutWeightIsUpAtZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for text, want := range map[string]string{"": "good", "0": "good", " 0\nrest": "good", "1": "value of " + path + " is 1", "-1\n": "is -1", "x": "unsure", "1x": "unsure"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		verdict(t, check(t, &Config{Type: TypeFile, File: &FileConfig{Path: path}}), want)
	}
	out := check(t, &Config{Type: TypeFile, File: &FileConfig{Path: path + "x", Weight: 3, Reverse: true}})
	if !out.ok || out.weight != 0 || !out.hasWeight {
		t.Errorf("a missing file: %+v", out)
	}
	if out := (&FileConfig{Path: "f", Weight: 3, Reverse: true}).judge(4); out.weight != -12 {
		t.Errorf("reversed: %+v", out)
	}
}

func TestBFDCheckFollowsItsSession(t *testing.T) {
	leakCheck(t)
	var c collector
	r := NewRunner(RunnerOptions{Report: c.report})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &Config{ID: "alpha", Type: TypeBFD, BFD: "B1", Alpha: true, Retry: 3}
	b := &Config{ID: "plain", Type: TypeBFD, BFD: "B2"}
	r.Set(ctx, []*Config{a, b})
	if s := r.Snapshot(); s[0].Up || !s[1].Up {
		t.Fatalf("%+v", s)
	}
	r.BFD("B1", true)
	r.BFD("B1", false)
	r.BFD("B2", false)
	r.BFD("other", false)
	if got := c.wait(t, 0); got.ID != "alpha" || !got.Up {
		t.Errorf("%+v", got)
	}
	if got := c.wait(t, 1); got.ID != "alpha" || got.Up || got.Reason != "BFD session B1 is down" {
		t.Errorf("%+v", got)
	}
	if got := c.wait(t, 2); got.ID != "plain" || got.Up {
		t.Errorf("%+v", got)
	}
	// A checker that a reload adds learns what its session is already.
	late := &Config{ID: "late", Type: TypeBFD, BFD: "B1"}
	r.Set(ctx, []*Config{a, b, late})
	if got := c.wait(t, 3); got.ID != "late" || got.Up {
		t.Errorf("%+v", got)
	}
}

func shellScript(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMiscCheck(t *testing.T) {
	leakCheck(t)
	for name, c := range map[string]struct {
		text    string
		dynamic bool
		want    string
		weight  string // "none", or the difference or =weight
	}{
		"a good script":                            {"exit 0", false, "good", "none"},
		"a bad script":                             {"exit 1", false, "script exited with status 1", "none"},
		"a status that is no weight":               {"exit 7", false, "script exited with status 7", "none"},
		"a signal":                                 {"kill -SEGV $$", false, "script killed by signal 11 (segmentation fault)", "none"},
		"dynamic: the configured weight":           {"exit 0", true, "good", "0"},
		"dynamic: down":                            {"exit 1", true, "script exited with status 1", "none"},
		"dynamic: weight 0":                        {"exit 2", true, "good script set weight 0", "=0"},
		"dynamic: the highest weight":              {"exit 255", true, "good script set weight 253", "=253"},
		"a script that takes too long":             {"exec sleep 60", false, "script timed out, killed by signal 15", "none"},
		"one that ends well when told to":          {"trap 'exit 0' TERM; sleep 60 & wait", false, "good", "none"},
		"dynamic: no weight is believed when late": {"trap 'exit 9' TERM; sleep 60 & wait", true, "script timed out, exited with status 9", "none"},
		"its arguments":                            {`[ "$1" = "a b" ] && [ $# = 1 ]`, false, "good", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try := func(limit time.Duration) outcome {
				return check(t, &Config{Type: TypeMisc, Misc: &MiscConfig{Dynamic: c.dynamic,
					Command: script.Command{Args: []string{shellScript(t, c.text+"\n"), "a b"}, Timeout: limit}}})
			}
			var out outcome
			if strings.Contains(c.text, "sleep") {
				// The limit may strike before the shell has come to its trap: again with more time, then.
				for limit := 200 * time.Millisecond; limit <= 20*time.Second; limit *= 10 {
					out = try(limit)
					if _, ok := judge(out, c.want); ok {
						break
					}
					t.Logf("with a limit of %v: %+v", limit, out)
				}
			} else {
				out = try(ample)
			}
			verdict(t, out, c.want)
			got := "none"
			if out.hasWeight {
				got = strconv.Itoa(out.weight)
				if out.absolute {
					got = "=" + got
				}
			}
			if got != c.weight {
				t.Errorf("weight %s, want %s", got, c.weight)
			}
		})
	}
	verdict(t, check(t, &Config{Type: TypeMisc, Misc: &MiscConfig{Command: script.Command{Args: []string{"/no/such"}}}}), "not found")
}

// TestDynamicWeightIsTheLastVerdicts holds for any sequence of exits: 0 <= weight <= 253, equal to what the last good script said.
func TestDynamicWeightIsTheLastVerdicts(t *testing.T) {
	for code := range 256 {
		for _, late := range []bool{false, true} {
			out := miscVerdict(script.Exit{Code: code, TimedOut: late}, true)
			switch {
			case code == 0 && (!out.ok || out.weight != 0 || out.absolute),
				code == 1 && out.ok,
				code >= 2 && !late && (!out.ok || !out.absolute || out.weight != code-2),
				code >= 2 && late && (out.ok || out.hasWeight),
				out.weight < 0 || out.weight > 253:
				t.Errorf("exit %d late %v: %+v", code, late, out)
			}
		}
	}
}

func TestStoppingTheRunnerKillsScripts(t *testing.T) {
	leakCheck(t)
	mark := filepath.Join(t.TempDir(), "started")
	p := shellScript(t, "touch "+mark+"\nexec sleep 60\n")
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	r.Set(ctx, []*Config{{ID: "m", Type: TypeMisc, DelayLoop: time.Second, Misc: &MiscConfig{Command: script.Command{Args: []string{p}}}}})
	for range 6000 {
		if _, err := os.Stat(mark); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	begin := time.Now()
	cancel()
	r.Wait()
	if d := time.Since(begin); d > 30*time.Second { // of the 60 that the script takes
		t.Errorf("stopping took %v", d)
	}
}

func TestStoppingTheRunnerEndsConnects(t *testing.T) {
	leakCheck(t)
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var cfgs []*Config
	full, silent := fullListener(t), serve(t, hang)
	for i := range 20 {
		c := get(silent, URL{})
		c.Type = []Type{TypeTCP, TypeHTTP}[i%2]
		if c.Type == TypeTCP {
			c.Addr = full
		}
		c.ID, c.Timeout, c.DelayLoop = fmt.Sprint(i), time.Hour, time.Hour
		cfgs = append(cfgs, c)
	}
	r.Set(ctx, cfgs)
	time.Sleep(50 * time.Millisecond)
	begin := time.Now()
	cancel()
	r.Wait()
	if d := time.Since(begin); d > 60*time.Second { // of the hour that the connects are given
		t.Errorf("stopping took %v", d)
	}
}
