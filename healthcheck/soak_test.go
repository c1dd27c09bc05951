package healthcheck

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSoak goes through thousands of attempts against servers of every temper; nothing is left behind: no goroutine, no descriptor.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 attempts take some seconds")
	}
	leakCheck(t)
	limit := func(c *Config) *Config { c.Timeout = 3 * time.Millisecond; return c }
	web := []*Config{
		get(serve(t, say(httpAnswer("200 OK", "hello\n"))), URL{Digest: Hash([]byte("hello\n"))}),
		get(serve(t, say("garbage")), URL{}),
		get(serve(t, reset), URL{}),
		get(serve(t, func(net.Conn, <-chan struct{}) {}), URL{}),
		get(closedPort(t), URL{}),
		limit(get(serve(t, hang), URL{})),
		limit(get(serve(t, then("HTTP/1.1 200 OK\r\n\r\n", hang)), URL{})),
		{Type: TypeTCP, Connect: Connect{Addr: serve(t, hang)}},
		limit(&Config{Type: TypeTCP, Connect: Connect{Addr: fullListener(t)}}),
		{Type: TypeSMTP, Connect: Connect{Addr: serve(t, dialogue("220 x\r\n", "250 x\r\n", "221\r\n"))}},
		limit(&Config{Type: TypeDNS, Connect: Connect{Addr: answerUDP(t, func([]byte) []byte { return nil })}}),
		{Type: TypeUDP, Connect: Connect{Addr: closedUDP(t)}, UDP: &UDPConfig{RequireReply: true}},
		limit(&Config{Type: TypeSSL, Connect: Connect{Addr: serve(t, hang)}, HTTP: &HTTPConfig{URLs: []URL{{}}}}),
		{Type: TypeSSL, Connect: Connect{Addr: serve(t, blurt)}, HTTP: &HTTPConfig{URLs: []URL{{}}}},
	}
	const rounds = 10000
	var wg sync.WaitGroup
	for _, cfg := range web {
		if cfg.Timeout == 0 {
			cfg.Timeout = 5 * time.Second
		}
		p, err := newProber(cfg, &RunnerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			var a attempt
			first := p.probe(&a, 0)
			for range rounds/len(web) - 1 {
				if out := p.probe(&a, 0); out.ok != first.ok {
					t.Errorf("%s of %s: %+v, and first %+v", cfg.Type, cfg.Addr, out, first)
					return
				}
			}
		})
	}
	wg.Wait()
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
