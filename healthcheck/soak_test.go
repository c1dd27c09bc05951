package healthcheck

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
)

// TestSoak goes through attempts against servers of every temper, some hundred each, or RELEVE_SOAK each (10000 by hand). Nothing is left
// behind: no goroutine, no descriptor, no memory; and what was good stays good, what was bad bad.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of attempts take some seconds")
	}
	rounds := 300
	if n, err := strconv.Atoi(os.Getenv("RELEVE_SOAK")); err == nil && n > 0 {
		rounds = n
	}
	leakCheck(t)
	all := everyTemper(t)
	probers := make([]prober, len(all))
	for i, cfg := range all {
		if cfg.Timeout == 0 {
			cfg.Timeout = ample
		}
		var err error
		if probers[i], err = newProber(cfg, &RunnerOptions{}); err != nil {
			t.Fatal(err)
		}
		if c, ok := probers[i].(io.Closer); ok {
			defer c.Close()
		}
	}
	first := make([]outcome, len(all))
	play := func(rounds int) {
		var wg sync.WaitGroup
		for i, p := range probers {
			cfg := all[i]
			wg.Go(func() {
				var a attempt
				if first[i].reason == "" && !first[i].ok {
					first[i] = p.probe(&a, 0)
				}
				for range rounds {
					if out := p.probe(&a, 0); out.ok != first[i].ok || out.unsure {
						t.Errorf("%s of %s: %+v, and first %+v", cfg.Type, cfg.Addr, out, first[i])
						return
					}
				}
			})
		}
		wg.Wait()
	}
	play(rounds / 4)
	before, descriptors := heap(), openDescriptors(t)
	begin := time.Now()
	play(rounds - rounds/4)
	// The servers may still be about to notice that we are gone.
	after, now := heap(), openDescriptors(t)
	for end := time.Now().Add(ample); (after > before+1<<20 || now > descriptors+2*len(all)) && time.Now().Before(end); after, now = heap(), openDescriptors(t) {
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d attempts in %v; heap %d KiB, then %d KiB; %d descriptors, then %d", len(all)*rounds, time.Since(begin).Round(time.Millisecond), before>>10, after>>10, descriptors, now)
	if now > descriptors+2*len(all) {
		t.Errorf("%d descriptors, then %d", descriptors, now)
	}
	if after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}

// patient says nothing and waits for the checker to give up.
func patient(c net.Conn, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, c) }

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// everyTemper is a check of each kind against servers of every temper.
func everyTemper(t *testing.T) []*Config {
	t.Helper()
	limit := func(c *Config) *Config { c.Timeout = 3 * time.Millisecond; return c }
	secure := func(p play) *Config {
		return &Config{Type: TypeSSL, Connect: Connect{Addr: serve(t, p)}, HTTP: &HTTPConfig{URLs: []URL{{}}}}
	}
	cert := tlsWith(certificate(t, "x", time.Now().Add(time.Hour), false))
	page := httpAnswer("200 OK", "hello\n")
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []*Config{
		get(serve(t, say(page)), URL{Digest: Hash([]byte("hello\n"))}),
		get(serve(t, say(page)), URL{Regex: &Regex{Pattern: "^hel+o$", Options: []string{"multiline"}}}),
		get(serve(t, say("garbage")), URL{}),
		get(serve(t, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")), URL{Digest: Hash(nil)}),
		get(serve(t, flood("HTTP/1.1 200 OK\r\n", "X: y\r\n")), URL{}),
		get(serve(t, reset), URL{}),
		get(serve(t, func(net.Conn, <-chan struct{}) {}), URL{}),
		get(closedPort(t), URL{}),
		limit(get(serve(t, patient), URL{})),
		limit(get(serve(t, then("HTTP/1.1 200 OK\r\n\r\n", patient)), URL{})),
		limit(get(serve(t, dripper), URL{})),
		{Type: TypeTCP, Connect: Connect{Addr: serve(t, patient)}},
		limit(&Config{Type: TypeTCP, Connect: Connect{Addr: fullListener(t)}}),
		{Type: TypeSMTP, Connect: Connect{Addr: serve(t, dialogue("220 x\r\n", "250 x\r\n", "221\r\n"))}},
		{Type: TypeSMTP, Connect: Connect{Addr: serve(t, flood("220", "0"))}},
		limit(&Config{Type: TypeSMTP, Connect: Connect{Addr: serve(t, func(c net.Conn, o <-chan struct{}) {
			_, _ = c.Write([]byte("220 x\r\n250 y\r\n"))
			patient(c, o)
		})}}),
		{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func(b []byte) []byte { b[2] |= 0x80; return b })}},
		{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func(b []byte) []byte { b[2], b[3] = b[2]|0x80, 3; return b })}},
		limit(&Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return nil })}}),
		{Type: TypeUDP, Connect: Connect{Addr: closedUDP(t)}, UDP: &UDPConfig{RequireReply: true}},
		limit(&Config{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return nil })}}),
		{Type: TypeUDP, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return make([]byte, 60000) })}},
		secure(overTLS(cert, say(page))),
		secure(overTLS(cert, say("HTTP/1.0 503 No\r\n\r\n"))),
		secure(blurt),
		secure(func(c net.Conn, _ <-chan struct{}) { _, _ = c.Write([]byte("\x16\x03\x01\xff\xffgarbage")) }),
		limit(secure(patient)),
		{Type: TypeFile, File: &FileConfig{Path: value, Weight: 2}},
		{Type: TypeMisc, Misc: &MiscConfig{Command: script.Command{Args: []string{"/bin/true"}, Timeout: ample}}},
	}
	if os.Geteuid() == 0 {
		all = append(all, &Config{Type: TypePing, Connect: Connect{Addr: netip.MustParseAddrPort("127.0.0.1:0")}})
	}
	return all
}

// TestSoakOfTheRunner has a Runner make the same attempts, again and again: nobody's verdict changes, and nothing is left behind.
func TestSoakOfTheRunner(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of attempts take some seconds")
	}
	rounds := uint64(100)
	if n, err := strconv.ParseUint(os.Getenv("RELEVE_SOAK"), 10, 32); err == nil && n > 0 {
		rounds = n
	}
	leakCheck(t)
	all := everyTemper(t)
	for i, c := range all {
		c.ID, c.DelayLoop, c.DelayBeforeRetry = strconv.Itoa(i), time.Millisecond, time.Millisecond
		if c.Timeout == 0 {
			c.Timeout = ample
		}
	}
	var changes atomic.Int64
	r := NewRunner(RunnerOptions{FirstDelay: time.Millisecond, Report: func(r Result) {
		if !r.First {
			changes.Add(1)
			t.Logf("%+v", r)
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.Set(ctx, all)
	until := func(n uint64) {
		for range 60000 {
			if !slices.ContainsFunc(r.Snapshot(), func(s Status) bool { return s.Attempts < n && s.Type != TypeFile }) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%d attempts are not made: %+v", n, r.Snapshot())
	}
	until(rounds / 4)
	before := heap()
	until(rounds)
	after := heap()
	for end := time.Now().Add(ample); after > before+1<<20 && time.Now().Before(end); after = heap() { // see TestSoak
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("heap %d KiB, then %d KiB", before>>10, after>>10)
	if n := changes.Load(); n > 0 {
		t.Errorf("%d verdicts changed", n)
	}
	if after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	cancel()
	r.Wait()
}

// blurt answers without having been asked.
func blurt(c net.Conn, _ <-chan struct{}) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }

func TestOutOfFileDescriptors(t *testing.T) {
	addr := serve(t, hang)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	for _, typ := range []Type{TypeTCP, TypeHTTP, TypeSSL, TypeSMTP, TypeDNS, TypeUDP, TypePing} {
		cfg := get(addr, URL{})
		cfg.Type = typ
		verdict(t, check(t, cfg), "unsure: ")
	}
	out := check(t, &Config{Type: TypeTCP, Connect: Connect{Addr: addr}})
	verdict(t, out, "unsure: connect: socket: too many open files")
}

func TestIPv6Servers(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6 on lo: %v", err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			say(httpAnswer("200 OK", ""))(c, nil)
			c.Close()
		}
	}()
	addr := netip.MustParseAddrPort(l.Addr().String())
	verdict(t, check(t, &Config{Type: TypeTCP, Connect: Connect{Addr: addr}}), "good")
	verdict(t, check(t, get(addr, URL{})), "good")
	cfg := get(addr, URL{})
	cfg.BindAddr = netip.MustParseAddr("::1")
	verdict(t, check(t, cfg), "good")
	if _, err := newProber(&Config{Type: TypeTCP, Connect: Connect{Addr: addr, BindAddr: netip.MustParseAddr("127.0.0.1")}}, &RunnerOptions{}); err == nil {
		t.Error("an IPv4 source for an IPv6 server was taken")
	}
}
