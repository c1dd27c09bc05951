package healthcheck

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestTCPCheck(t *testing.T) {
	leakCheck(t)
	here := netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		addr netip.AddrPort
		set  func(*Connect)
		want string
	}{
		"a server that accepts":              {addr: serve(t, hang), want: "good"},
		"a server that talks first":          {addr: serve(t, func(c net.Conn, _ <-chan struct{}) { _, _ = c.Write([]byte("hello")) }), want: "good"},
		"a server that resets":               {addr: serve(t, reset), want: ""},
		"nobody there":                       {addr: closedPort(t), want: "connect: connection refused"},
		"an address that answers nothing":    {addr: netip.MustParseAddrPort("127.0.0.1:1"), set: func(c *Connect) { c.Addr = blackhole(t) }, want: "connect: timeout after 300ms"},
		"a source address":                   {addr: serve(t, hang), set: func(c *Connect) { c.BindAddr = here }, want: "good"},
		"a source address of somebody else":  {addr: serve(t, hang), set: func(c *Connect) { c.BindAddr = netip.MustParseAddr("192.0.2.1") }, want: "unsure: connect: bind to 192.0.2.1"},
		"an interface that does not exist":   {addr: serve(t, hang), set: func(c *Connect) { c.BindIf = "nosuch0" }, want: "unsure: connect: bind to interface nosuch0"},
		"an unreachable network":             {addr: netip.MustParseAddrPort("[100::1]:80"), set: func(c *Connect) { c.BindIf = "lo" }, want: "connect: "},
		"a port of one's own":                {addr: serve(t, hang), set: func(c *Connect) { c.BindPort = freePort(t) }, want: "good"},
		"a broadcast address is no server's": {addr: netip.MustParseAddrPort("255.255.255.255:80"), want: "connect: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Type: TypeTCP, Connect: Connect{Addr: c.addr}}
			if c.set != nil {
				c.set(&cfg.Connect)
			}
			expect(t, cfg, c.want)
		})
	}
}

// freePort is a port on which nobody listens, at whatever address.
func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// blackhole is a listener whose queue is full: the kernel drops further connects.
func blackhole(t testing.TB) netip.AddrPort {
	t.Helper()
	return fullListener(t)
}

func get(addr netip.AddrPort, u URL) *Config {
	return &Config{Type: TypeHTTP, Connect: Connect{Addr: addr}, HTTP: &HTTPConfig{URLs: []URL{u}}}
}

func TestHTTPVerdicts(t *testing.T) {
	leakCheck(t)
	ok := Hash([]byte("hello\n"))
	for name, c := range map[string]struct {
		answer play
		url    URL
		want   string
	}{
		"a good page":                             {say(httpAnswer("200 OK", "hello\n")), URL{}, "good"},
		"a good digest":                           {say(httpAnswer("200 OK", "hello\n")), URL{Digest: ok}, "good"},
		"a digest in capitals":                    {say(httpAnswer("200 OK", "hello\n")), URL{Digest: strings.ToUpper(ok)}, "good"},
		"a wrong digest":                          {say(httpAnswer("200 OK", "hullo\n")), URL{Digest: ok}, "MD5 digest " + Hash([]byte("hullo\n")) + ", wanted " + ok},
		"a good digest of an error page":          {say(httpAnswer("404 Not Found", "hello\n")), URL{Digest: ok}, "HTTP status code 404, wanted 200-299"},
		"the wanted error":                        {say(httpAnswer("404 Not Found", "")), URL{Status: []StatusRange{{301, 302}, {404, 404}}}, "good"},
		"an unwanted success":                     {say(httpAnswer("200 OK", "")), URL{Status: []StatusRange{{301, 302}, {404, 404}}}, "HTTP status code 200, wanted 301-302 404"},
		"the first word does not matter":          {say("XYZ 200 OK\r\n\r\n"), URL{}, "good"},
		"no reason phrase, but its space":         {say("HTTP/1.1 200 \r\n\r\n"), URL{}, "good"},
		"no space after the code":                 {say("HTTP/1.1 200\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"two spaces before the code":              {say("HTTP/1.1  200 OK\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"a code of four digits":                   {say("HTTP/1.1 2000 OK\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"a code above 599":                        {say("HTTP/1.1 600 OK\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"a code below 100":                        {say("HTTP/1.1 099 OK\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"a header that ends in bare newlines":     {say("HTTP/1.1 200 OK\n\nhello"), URL{}, "no complete HTTP header"},
		"nothing but a close":                     {say(""), URL{}, "no data received"},
		"garbage":                                 {say("\x00\x01\x02\xff\r\n\r\n"), URL{}, "no valid HTTP status line"},
		"a body shorter than promised":            {say(httpAnswer("200 OK", "hello\n", "Content-Length: 100")), URL{Digest: ok}, "good"},
		"a body longer than promised is cut":      {say(httpAnswer("200 OK", "hello\nworld", "Content-Length: 6")), URL{Digest: ok}, "good"},
		"a length in lower case does not count":   {say(httpAnswer("200 OK", "hello\n", "content-length: 3")), URL{Digest: ok}, "good"},
		"a length with something behind it, too":  {say(httpAnswer("200 OK", "hello\n", "Content-Length: 3 ")), URL{Digest: ok}, "good"},
		"a length within another header counts":   {say(httpAnswer("200 OK", "hello\nworld", "X-Content-Length: 6")), URL{Digest: ok}, "good"},
		"a length behind something counts":        {say(httpAnswer("200 OK", "hello\nworld", "X: y Content-Length: +6")), URL{Digest: ok}, "good"},
		"a length of zero":                        {say(httpAnswer("200 OK", "hello\n", "Content-Length: 0")), URL{Digest: Hash(nil)}, "good"},
		"an absurd length does not count":         {say(httpAnswer("200 OK", "hello\n", "Content-Length: 99999999999999999999")), URL{Digest: ok}, "good"},
		"a negative length does not count":        {say(httpAnswer("200 OK", "hello\n", "Content-Length: -1")), URL{Digest: ok}, "good"},
		"chunks are hashed as they came":          {say(httpAnswer("200 OK", "6\r\nhello\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked")), URL{Digest: Hash([]byte("6\r\nhello\n\r\n0\r\n\r\n"))}, "good"},
		"header and body in many pieces":          {pieces(2*time.Millisecond, "HT", "TP/1.1 20", "0 OK\r", "\n", "Content-Length: 6\r\n\r", "\nhel", "lo", "\n"), URL{Digest: ok}, "good"},
		"a redirect is not followed":              {say(httpAnswer("302 Found", "", "Location: /other")), URL{}, "HTTP status code 302"},
		"a server that never answers":             {hang, URL{}, "waiting for an answer: timeout after 300ms"},
		"a server that stops in the header":       {then("HTTP/1.1 200 OK\r\n", hang), URL{}, "after 17 bytes of the header: timeout after 300ms"},
		"a complete answer on an open connection": {then(httpAnswer("200 OK", "hello\n", "Content-Length: 6"), hang), URL{}, "after 6 bytes of the body: timeout after 300ms"},
		"an endless header":                       {flood("HTTP/1.1 200 OK\r\n", "X: y\r\n"), URL{}, "HTTP header longer than 65536 bytes"},
		"an endless line":                         {flood("", "x"), URL{}, "HTTP header longer than 65536 bytes"},
		"an endless body":                         {flood("HTTP/1.1 200 OK\r\n\r\n", "x"), URL{}, "HTTP body longer than 67108864 bytes"},
		"a reset in the body":                     {then("HTTP/1.1 200 OK\r\n\r\nhel", reset), URL{}, "connection reset by peer"},
		"a server that closes without reading":    {func(net.Conn, <-chan struct{}) {}, URL{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, get(serve(t, c.answer), c.url), c.want)
		})
	}
}

// The time limit bounds each pause of an answer, and ten times the limit all of it. A machine that stands still makes pauses of its own: what is cut
// short at one is tried again with a longer limit.
func TestTheTimeLimitIsForEachPauseAndTenfoldForTheWholeAnswer(t *testing.T) {
	leakCheck(t)
	for name, c := range map[string]struct {
		answer func(limit time.Duration) play
		want   string
	}{
		"one byte at a time, longer than a limit": {func(limit time.Duration) play {
			return pieces(limit/8, strings.Split("HTTP/1.0 200 OK\r\n\r\n", "")...)
		}, "good"},
		"a server that drips for ever": {func(time.Duration) play { return dripper }, errTooSlow.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second} {
				cfg := get(serve(t, c.answer(limit)), URL{})
				cfg.Timeout = limit
				out := check(t, cfg)
				if strings.Contains(out.reason, "timeout after "+limit.String()) && limit < 3*time.Second {
					t.Logf("with a limit of %v: %+v", limit, out)
					continue
				}
				verdict(t, out, c.want)
				return
			}
		})
	}
}

// then says something and goes on with next.
func then(text string, next play) play {
	return func(c net.Conn, over <-chan struct{}) {
		readRequest(c)
		_, _ = c.Write([]byte(text))
		time.Sleep(5 * time.Millisecond)
		next(c, over)
	}
}

func dripper(c net.Conn, over <-chan struct{}) {
	readRequest(c)
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		select {
		case <-over:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestHTTPRequestBytes(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("10.1.0.1:80"), netip.MustParseAddrPort("[fd00::1]:8080")
	for name, c := range map[string]struct {
		path, protocol, vhost string
		addr                  netip.AddrPort
		want                  string
	}{
		"1.0":                      {"/a?b", "1.0", "", v4, "GET /a?b HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.1.0.1:80\r\n\r\n"},
		"no version and no path":   {"", "", "", v6, "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: [fd00::1]:8080\r\n\r\n"},
		"1.0C":                     {"/", "1.0C", "", v4, "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: 10.1.0.1:80\r\n\r\n"},
		"1.1 with a virtual host":  {"/", "1.1", "www.example.org", v4, "GET / HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www.example.org\r\n\r\n"},
		"1.1K":                     {"/", "1.1K", "", v4, "GET / HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: keep-alive\r\nHost: 10.1.0.1:80\r\n\r\n"},
		"a path as it was written": {"a b", "1.0", "", v4, "GET a b HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 10.1.0.1:80\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(httpRequest(c.path, c.protocol, c.vhost, c.addr)); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestVirtualHostOfTheURLWins(t *testing.T) {
	got := make(chan string, 2)
	addr := serve(t, func(c net.Conn, _ <-chan struct{}) {
		got <- readRequest(c)
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	})
	cfg := get(addr, URL{VirtualHost: "url.example"})
	cfg.HTTP.VirtualHost = "checker.example"
	verdict(t, check(t, cfg), "good")
	cfg.HTTP.URLs[0].VirtualHost = ""
	verdict(t, check(t, cfg), "good")
	for _, want := range []string{"url.example", "checker.example"} {
		if r := <-got; !strings.Contains(r, "\r\nHost: "+want+"\r\n") {
			t.Errorf("request %q, want host %s", r, want)
		}
	}
}

// FuzzResponse feeds an answer cut into reads at arbitrary places: nothing depends on the cuts but what the text of a regex holds, and the
// bounds hold.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "X 404 \r\n\r\n", "\r\n\r\n\r\n", "", "HTTP/1.0 200 OK\r\n\r", "\r\nContent-Length:7\r\n\r\n"} {
		f.Add([]byte(s), uint8(3), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, i, j uint8) {
		whole, cut := feedAll(t, b), feedAll(t, cuts(b, int(i), int(j))...)
		if whole != cut {
			t.Errorf("in one read %+v, in three %+v", whole, cut)
		}
	})
}

func cuts(b []byte, i, j int) [][]byte {
	i = min(i, len(b))
	j = min(i+j, len(b))
	return [][]byte{b[:i], b[i:j], b[j:]}
}

type seen struct {
	status       int
	length, body int64
	digest, end  string
}

func feedAll(t *testing.T, parts ...[]byte) seen {
	var r response
	r.reset()
	r.wantHash, r.wantText = true, true
	var s seen
	for _, p := range parts {
		if err := r.feed(p); err != nil {
			s.end = err.Error()
		}
	}
	if err := r.end(); err != nil {
		s.end = err.Error()
	}
	d := r.digest()
	s.status, s.length, s.body, s.digest = r.status, r.length, r.body, string(d[:])
	if r.status != 0 && (r.status < 100 || r.status > 599) {
		t.Errorf("status %d", r.status)
	}
	return s
}
