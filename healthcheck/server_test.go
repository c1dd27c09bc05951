package healthcheck

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A play is what a test server does with each connection. It gets the connection and a channel that is closed when the test is over.
type play func(c net.Conn, over <-chan struct{})

// serve starts a TCP server that plays the play to everybody.
func serve(t testing.TB, p play) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); p(c, over) }()
		}
	}()
	t.Cleanup(func() { close(over); l.Close(); <-idle })
	return netip.MustParseAddrPort(l.Addr().String())
}

// closedPort is an address that refuses. It is of its own: a port of 127.0.0.1 could be given to the next server that a test starts.
func closedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.9.9.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// say answers the request with text and closes.
func say(text string) play {
	return func(c net.Conn, _ <-chan struct{}) {
		readRequest(c)
		_, _ = io.WriteString(c, text)
	}
}

// pieces answers with each piece in a segment of its own, pausing between them.
func pieces(pause time.Duration, parts ...string) play {
	return func(c net.Conn, over <-chan struct{}) {
		readRequest(c)
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
			select {
			case <-over:
				return
			case <-time.After(pause):
			}
		}
	}
}

// apart answers with each piece in a segment of its own, which the client has read before the next one is sent.
func apart(parts ...string) play {
	return func(c net.Conn, over <-chan struct{}) {
		readRequest(c)
		for _, p := range parts {
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
			for unread(c) {
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}
	}
}

// unread reports whether something that was sent has not been read at the other end, which is of this machine.
func unread(c net.Conn) bool {
	us, them := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	hex := func(a *net.TCPAddr) string { // as the kernel prints it
		ip := a.IP.To4()
		return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip), a.Port)
	}
	b, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		sent, received, _ := strings.Cut(f[4], ":")
		if f[1] == hex(us) && f[2] == hex(them) && sent != "00000000" || f[1] == hex(them) && f[2] == hex(us) && received != "00000000" {
			return true
		}
	}
	return false
}

// hang does nothing and keeps the connection.
func hang(c net.Conn, over <-chan struct{}) { <-over }

// flood writes text for ever.
func flood(head, text string) play {
	return func(c net.Conn, _ <-chan struct{}) {
		if _, err := io.WriteString(c, head); err != nil {
			return
		}
		chunk := []byte(strings.Repeat(text, max(1, 65536/len(text))))
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}
}

func readRequest(c net.Conn) string {
	var all []byte
	buf := make([]byte, 1024)
	for !strings.Contains(string(all), "\r\n\r\n") {
		n, err := c.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			break
		}
	}
	return string(all)
}

// reset closes with RST.
func reset(c net.Conn, _ <-chan struct{}) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// leakCheck fails the test if goroutines or descriptors are left at its end; call it before servers are started.
func leakCheck(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openDescriptors(t)
	t.Cleanup(func() {
		var g, f int
		for range 3000 {
			if g, f = runtime.NumGoroutine(), openDescriptors(t); g <= goroutines && f <= files {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines (before: %d), %d descriptors (before: %d) are left\n%s", g, goroutines, f, files, buf[:runtime.Stack(buf, true)])
	})
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// Time limits of the attempts in these tests. A machine that is busy makes any server slow: where the verdict is about what a server says, the
// limit is ample; brief is for verdicts that come of the limit itself.
const (
	ample = 30 * time.Second
	brief = 300 * time.Millisecond
)

// check makes one attempt with a fresh prober; without a time limit of its own it has an ample one.
func check(t testing.TB, cfg *Config) outcome {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = ample
	}
	p, err := newProber(cfg, &RunnerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var a attempt
	return p.probe(&a, 0)
}

// expect makes an attempt, with a time limit of its own choice, and compares the verdict. A wanted time-out is written as one after
// 300ms. It is had with that limit, and if the limit struck elsewhere, as it does when this machine stands still for longer, with ten and a hundred
// times that; and so are verdicts about datagrams, of which silence is one.
func expect(t testing.TB, cfg *Config, want string) {
	t.Helper()
	limits := []time.Duration{ample}
	if datagrams := cfg.Type == TypeUDP || cfg.Type == TypeDNS || cfg.Type == TypePing; datagrams || strings.Contains(want, brief.String()) {
		limits = []time.Duration{brief, 10 * brief, 100 * brief}
	}
	for i, limit := range limits {
		c := *cfg
		c.Timeout = limit
		out, w := check(t, &c), strings.ReplaceAll(want, brief.String(), limit.String())
		_, ok := judge(out, w)
		struck := out.ok || strings.Contains(out.reason, "timeout after "+limit.String()) || strings.Contains(out.reason, errTooSlow.Error())
		if !ok && struck && i < len(limits)-1 {
			t.Logf("with a limit of %v: %+v", limit, out)
			continue
		}
		verdict(t, out, w)
		return
	}
}

// judge says what an outcome is in words, and whether that is what is wanted.
func judge(out outcome, want string) (got string, ok bool) {
	got = out.reason
	switch {
	case out.unsure:
		got = "unsure: " + out.reason
	case out.ok:
		got = strings.TrimSpace("good " + out.reason)
	}
	return got, strings.Contains(got, want) && (want != "good" || got == want)
}

// verdict compares an outcome with "good", "unsure: part of the reason", or part of the reason of a failure.
func verdict(t testing.TB, out outcome, want string) {
	t.Helper()
	got, ok := judge(out, want)
	if !ok {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Contains(got, "\n") {
		t.Errorf("the reason is not one line: %q", got)
	}
}

func httpAnswer(status, body string, headers ...string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%s\r\n%s", status, strings.Join(append(headers, ""), "\r\n"), body)
}
