package healthcheck

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"releve/internal/realserver"
	"releve/internal/testneed"
	"releve/script"
)

// inNamespace runs the named test of this binary again with networks and mounts of its own and reports whether the caller is the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	if os.Getenv("RELEVE_NETNS") != "" {
		return false
	}
	testneed.Need(t, "root", "netns", "ip")
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "RELEVE_NETNS=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return true
}

func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

func at(addr string, port int) Connect {
	return Connect{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)), Timeout: ample}
}

func TestWebChecksAgainstNginx(t *testing.T) {
	testneed.Need(t, "nginx")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up")
	dir := realserver.WebServer(t)
	page, large := Hash([]byte(realserver.Page)), Hash([]byte(strings.Repeat("0123456789abcde\n", 1<<16)))
	included := "begin\na piece\nend\n"
	t.Run("plain", func(t *testing.T) {
		for name, c := range map[string]struct {
			url  URL
			http HTTPConfig
			to   string
			want string
		}{
			"a digest":                           {url: URL{Path: "/page", Digest: page}, want: "good"},
			"over IPv6":                          {url: URL{Path: "/page", Digest: page}, to: "::1", want: "good"},
			"a wrong digest":                     {url: URL{Path: "/page", Digest: large}, want: "MD5 digest " + page + ", wanted " + large},
			"a page of a megabyte":               {url: URL{Path: "/large", Digest: large}, want: "good"},
			"an empty page":                      {url: URL{Path: "/empty", Digest: Hash(nil)}, want: "good"},
			"a status that is not wanted":        {url: URL{Path: "/missing"}, want: "HTTP status code 404, wanted 200-299"},
			"a status of a list":                 {url: URL{Path: "/teapot", Status: []StatusRange{{200, 200}, {410, 420}}}, want: "good"},
			"a redirect is an answer":            {url: URL{Path: "/moved", Status: []StatusRange{{302, 302}}}, want: "good"},
			"and is not followed":                {url: URL{Path: "/moved"}, want: "HTTP status code 302"},
			"the virtual host of the url":        {url: URL{Path: "/page", VirtualHost: "www.example.org", Digest: Hash([]byte(realserver.VirtualPage))}, want: "good"},
			"the virtual host of the checker":    {url: URL{Path: "/page", Digest: Hash([]byte(realserver.VirtualPage))}, http: HTTPConfig{VirtualHost: "www.example.org"}, want: "good"},
			"a pattern":                          {url: URL{Path: "/page", Regex: &Regex{Pattern: "(?<=from a) real\\b"}}, want: "good"},
			"a pattern that must not match":      {url: URL{Path: "/page", Regex: &Regex{Pattern: "hello", NoMatch: true}}, want: "regex matched"},
			"HTTP 1.0 never comes in chunks":     {url: URL{Path: "/included", Digest: Hash([]byte(included))}, want: "good"},
			"HTTP 1.1 does, hashed as they came": {url: URL{Path: "/included", Digest: Hash([]byte(included))}, http: HTTPConfig{Protocol: "1.1"}, want: "MD5 digest "},
			"1.0C":                               {url: URL{Path: "/page", Digest: page}, http: HTTPConfig{Protocol: "1.0c"}, want: "good"},
			"1.1":                                {url: URL{Path: "/page", Digest: page}, http: HTTPConfig{Protocol: "1.1"}, want: "good"},
			"1.1K: nginx keeps the connection":   {url: URL{Path: "/page", Digest: page}, http: HTTPConfig{Protocol: "1.1k"}, want: fmt.Sprintf("after %d bytes of the body: timeout after 300ms", len(realserver.Page))},
			"a server that closes without word":  {url: URL{Path: "/gone"}, want: "no data received"},
			"400 bytes a second":                 {url: URL{Path: "/slow", Digest: Hash([]byte(strings.Repeat("slow\n", 120)))}, want: "good"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				to := "127.0.0.1"
				if c.to != "" {
					to = c.to
				}
				c.http.URLs = []URL{c.url}
				expect(t, &Config{Type: TypeHTTP, Connect: at(to, realserver.Web), HTTP: &c.http}, c.want)
			})
		}
	})
	for name, c := range map[string]struct {
		port int
		path string
		http HTTPConfig
		want string
	}{
		"over TLS":                                        {port: realserver.TLS, want: "good"},
		"no name is sent":                                 {port: realserver.TLS, path: "/name", http: HTTPConfig{VirtualHost: "www.example.org"}, want: "name= protocol=TLSv1.3\n"},
		"enable_sni sends the virtual host":               {port: realserver.TLS, path: "/name", http: HTTPConfig{VirtualHost: "www.example.org", EnableSNI: true}, want: "name=www.example.org protocol=TLSv1.3\n"},
		"sni_name goes first":                             {port: realserver.TLS, path: "/name", http: HTTPConfig{VirtualHost: "www.example.org", SNIName: "sni.example.org"}, want: "name=sni.example.org protocol=TLSv1.3\n"},
		"tls_compliant":                                   {port: realserver.TLS, http: HTTPConfig{TLSCompliant: true}, want: "good"},
		"an expired certificate, TLS 1.2":                 {port: realserver.Expired, want: "good"},
		"TLS 1.3 only":                                    {port: realserver.Modern, want: "good"},
		"a certificate is wanted and none shown":          {port: realserver.Client, want: "HTTP status code 400"},
		"a certificate is wanted and shown":               {port: realserver.Client, http: HTTPConfig{SSL: &SSLConfig{CAFile: "ca.pem", CertFile: "client.pem", KeyFile: "client.key"}}, want: "good"},
		"a certificate with a locked key":                 {port: realserver.Client, http: HTTPConfig{SSL: &SSLConfig{CertFile: "client.pem", KeyFile: "locked.key", Password: "secret"}}, want: "good"},
		"a certificate that the server's CA did not sign": {port: realserver.Client, http: HTTPConfig{SSL: &SSLConfig{CertFile: "stranger.pem", KeyFile: "stranger.key"}}, want: "HTTP status code 400"},
		"plain HTTP where TLS is not spoken":              {port: realserver.Web, want: "TLS handshake: "},
	} {
		t.Run(name, func(t *testing.T) {
			u := URL{Path: "/page", Digest: page}
			if c.path != "" {
				u, c.want = URL{Path: c.path, Digest: Hash([]byte(c.want))}, "good"
			}
			if s := c.http.SSL; s != nil {
				for _, f := range []*string{&s.CAFile, &s.CertFile, &s.KeyFile} {
					if *f != "" {
						*f = filepath.Join(dir, *f)
					}
				}
				if strings.HasSuffix(s.KeyFile, "locked.key") {
					lock(t, filepath.Join(dir, "client.key"), s.KeyFile, s.Password)
				}
			}
			c.http.URLs = []URL{u}
			p, err := newProber(&Config{Type: TypeSSL, Connect: at("127.0.0.1", c.port), HTTP: &c.http}, &RunnerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var a attempt
			for range 3 { // the later ones resume the session
				verdict(t, p.probe(&a, 0), c.want)
			}
		})
	}
	for _, want := range []string{
		"8080|GET /page HTTP/1.0|127.0.0.1:8080|-|-|-|200\n", "8080|GET /page HTTP/1.0|[::1]:8080|-|-|-|200\n", "8080|GET /page HTTP/1.0|127.0.0.1:8080|close|-|-|200\n",
		"8080|GET /page HTTP/1.1|127.0.0.1:8080|close|-|-|200\n", "8080|GET /page HTTP/1.1|127.0.0.1:8080|keep-alive|-|-|200\n", "8080|GET /page HTTP/1.0|www.example.org|-|-|-|200\n",
		"8446|GET /page HTTP/1.0|127.0.0.1:8446|-|-|r|200\n",
	} {
		// It writes of a request when that is over for it, which may be after it is for us.
		var log []byte
		for range 3000 {
			var err error
			if log, err = os.ReadFile(filepath.Join(dir, "access.log")); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(log), want) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !strings.Contains(string(log), want) {
			t.Errorf("nginx never saw %q:\n%s", want, log)
		}
	}
}

// lock writes the key of one file with a password into another, in the encryption that openssl writes today (PKCS #8, PBES2).
func lock(t testing.TB, from, to, password string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pem.Decode(b)
	if _, err := x509.ParsePKCS8PrivateKey(p.Bytes); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("openssl", "pkcs8", "-topk8", "-in", from, "-out", to, "-passout", "pass:"+password)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestMailCheckAgainstOpenSMTPD(t *testing.T) {
	testneed.Need(t, "smtpd")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up")
	realserver.MailServer(t)
	for name, c := range map[string]struct {
		to   Connect
		smtp SMTPConfig
		want string
	}{
		"it greets":               {to: at("127.0.0.1", realserver.Mail), want: "good"},
		"over IPv6":               {to: at("::1", realserver.Mail), want: "good"},
		"a name of our own":       {to: at("127.0.0.1", realserver.Mail), smtp: SMTPConfig{HeloName: "director.example.org"}, want: "good"},
		"a name it does not buy":  {to: at("127.0.0.1", realserver.Mail), smtp: SMTPConfig{HeloName: "what?"}, want: "HELO: answer \"501 "},
		"two hosts":               {smtp: SMTPConfig{Hosts: []Connect{at("127.0.0.1", realserver.Mail), at("127.0.0.2", realserver.Mail)}}, want: "good"},
		"one of two is not there": {smtp: SMTPConfig{Hosts: []Connect{at("127.0.0.1", realserver.Mail), at("127.0.0.2", 9)}}, want: "127.0.0.2:9: connect: connection refused"},
		"one that speaks TLS":     {to: at("127.0.0.1", realserver.MailTLS), want: "greeting: timeout after 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, &Config{Type: TypeSMTP, Connect: c.to, SMTP: &c.smtp}, c.want)
		})
	}
}

func TestNameChecksAgainstUnbound(t *testing.T) {
	testneed.Need(t, "unbound")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up")
	realserver.NameServer(t)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		for name, c := range map[string]struct {
			dns  DNSConfig
			want string
		}{
			"the root's SOA":             {DNSConfig{}, "good"},
			"an address":                 {DNSConfig{Name: "www.example.org", Type: 1}, "good"},
			"an address of IPv6":         {DNSConfig{Name: "www.example.org.", Type: 28}, "good"},
			"a text":                     {DNSConfig{Name: "www.example.org", Type: 16}, "good"},
			"mail exchangers":            {DNSConfig{Name: "example.org", Type: 15}, "good"},
			"an alias":                   {DNSConfig{Name: "alias.example.org", Type: 5}, "good"},
			"name servers":               {DNSConfig{Name: ".", Type: 2}, "good"},
			"signatures there are none":  {DNSConfig{Name: "www.example.org", Type: 46}, "good"},
			"keys there are none":        {DNSConfig{Name: "www.example.org", Type: 48}, "good"},
			"a name that does not exist": {DNSConfig{Name: "no.example.net", Type: 1}, "DNS answer has code 3 (NXDOMAIN)"},
		} {
			t.Run(addr+" "+name, func(t *testing.T) {
				expect(t, &Config{Type: TypeDNS, Connect: at(addr, realserver.Name), DNS: &c.dns}, c.want)
			})
		}
	}
	from := func(source string) *Config {
		c := &Config{Type: TypeDNS, Connect: at("127.0.0.1", realserver.Name), DNS: &DNSConfig{}}
		c.BindAddr = netip.MustParseAddr(source)
		return c
	}
	expect(t, from("127.0.0.66"), "DNS answer has code 5 (REFUSED)")
	expect(t, from("127.0.0.67"), "waiting for an answer: timeout after 300ms")

	// The same server asked by hand, as an operator does who wants to see the answer itself.
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 0x1234, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("www.example.org."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	payload, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	head := []byte{0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1}
	for name, c := range map[string]struct {
		udp  UDPConfig
		want string
	}{
		"an answer comes":               {UDPConfig{RequireReply: true}, "good"},
		"its first bytes":               {UDPConfig{RequireReply: true, Reply: head, Mask: []byte{0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff}}, "good"},
		"other first bytes":             {UDPConfig{RequireReply: true, Reply: []byte{0x12, 0x35}}, "reply differs at byte 1"},
		"longer than it is":             {UDPConfig{RequireReply: true, Reply: head[:2], MinLen: 200}, "wanted 200 to 255"},
		"an answer that nobody needs":   {UDPConfig{}, "good"},
		"a payload that is no question": {UDPConfig{RequireReply: true, Payload: []byte{1}}, "timeout after 300ms"},
	} {
		t.Run("by hand: "+name, func(t *testing.T) {
			if c.udp.Payload == nil {
				c.udp.Payload = payload
			}
			expect(t, &Config{Type: TypeUDP, Connect: at("127.0.0.1", realserver.Name), UDP: &c.udp}, c.want)
		})
	}
}

// TestAScriptThatAsksAServer is MISC_CHECK as people write it.
func TestAScriptThatAsksAServer(t *testing.T) {
	testneed.Need(t, "nginx", "curl")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up")
	realserver.WebServer(t)
	for path, want := range map[string]string{"page": "good", "missing": "script exited with status 22", "gone": "script exited with status 52"} {
		verdict(t, check(t, &Config{Type: TypeMisc, Misc: &MiscConfig{Command: script.Command{Timeout: ample,
			Args: []string{"/usr/bin/curl", "-q", "--noproxy", "*", "-sf", "-o", "/dev/null", fmt.Sprintf("http://127.0.0.1:%d/%s", realserver.Web, path)}}}}), want)
	}
}
