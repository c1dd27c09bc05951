package healthcheck

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
)

// certificate makes a self-signed one for a name, valid until then.
func certificate(t testing.TB, name string, until time.Time, useRSA bool) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	var pub, key any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		pub, key = &k.PublicKey, k
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pub, key = &k.PublicKey, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func tlsWith(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }

// overTLS wraps a server's play.
func overTLS(cfg *tls.Config, inner play) play {
	return func(c net.Conn, over <-chan struct{}) {
		s := tls.Server(c, cfg)
		if s.Handshake() != nil {
			return
		}
		inner(s, over)
		_ = s.CloseWrite()
	}
}

func ssl(t testing.TB, p play, h HTTPConfig) *Config {
	t.Helper()
	if h.URLs == nil {
		h.URLs = []URL{{Digest: Hash([]byte("hello\n"))}}
	}
	return &Config{Type: TypeSSL, Connect: Connect{Addr: serve(t, p)}, HTTP: &h}
}

func TestSSLVerdicts(t *testing.T) {
	leakCheck(t)
	good := certificate(t, "www.example.org", time.Now().Add(time.Hour), false)
	page := say(httpAnswer("200 OK", "hello\n"))
	with := func(f func(*tls.Config)) play {
		cfg := &tls.Config{Certificates: []tls.Certificate{good}}
		f(cfg)
		return overTLS(cfg, page)
	}
	for name, c := range map[string]struct {
		server play
		want   string
	}{
		"a self-signed certificate": {with(func(*tls.Config) {}), "good"},
		"an expired certificate": {with(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{certificate(t, "x", time.Now().Add(-time.Hour), false)}
		}), "good"},
		"TLS 1.2": {with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "good"},
		"TLS 1.2 with RSA key exchange": {with(func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
			c.Certificates = []tls.Certificate{certificate(t, "x", time.Now().Add(time.Hour), true)}
		}), "good"},
		"no TLS": {blurt, "TLS handshake: "},
		"garbage": {func(c net.Conn, _ <-chan struct{}) {
			_, _ = io.WriteString(c, "\x16\x03\x01\xff\xffgarbage and more of it")
		}, "TLS handshake: "},
		"a close in the handshake":           {func(c net.Conn, _ <-chan struct{}) { _, _ = c.Read(make([]byte, 100)) }, "TLS handshake: "},
		"a server that hangs":                {hang, "TLS handshake: timeout after 300ms"},
		"a server that hangs later":          {overTLS(&tls.Config{Certificates: []tls.Certificate{good}}, hang), "waiting for an answer: timeout after 300ms"},
		"a certificate wanted, none to show": {with(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), "certificate required"},
		"no close_notify": {func(c net.Conn, over <-chan struct{}) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{good}})
			if s.Handshake() == nil {
				page(s, over)
			}
		}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, ssl(t, c.server, HTTPConfig{}), c.want)
		})
	}
}

func TestSSLShowsItsCertificate(t *testing.T) {
	dir := t.TempDir()
	mine := certificate(t, "director", time.Now().Add(time.Hour), true)
	der := x509.MarshalPKCS1PrivateKey(mine.PrivateKey.(*rsa.PrivateKey))
	//nolint:staticcheck // the format that a password in the configuration is for
	locked, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", der, []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Certificate[0]}),
		"key": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}), "locked": pem.EncodeToMemory(locked)}
	files["text"] = []byte("nothing of that kind\n")
	files["both"] = append(append([]byte{}, files["cert"]...), files["key"]...)
	for n, b := range files {
		if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := overTLS(&tls.Config{Certificates: []tls.Certificate{mine}, ClientAuth: tls.RequireAnyClientCert}, say(httpAnswer("200 OK", "hello\n")))
	for name, c := range map[string]struct {
		ssl  SSLConfig
		want string // of the configuration; empty: good
	}{
		"certificate and key":                        {SSLConfig{CertFile: "cert", KeyFile: "key"}, ""},
		"both in one file":                           {SSLConfig{CertFile: "both"}, ""},
		"a key with a password":                      {SSLConfig{CertFile: "cert", KeyFile: "locked", Password: "secret"}, ""},
		"a key with a wrong one":                     {SSLConfig{CertFile: "cert", KeyFile: "locked", Password: "wrong"}, "SSL key"},
		"a password without need":                    {SSLConfig{CertFile: "cert", KeyFile: "key", Password: "secret"}, ""},
		"and a CA, which verifies nobody":            {SSLConfig{CAFile: "cert", CertFile: "cert", KeyFile: "key"}, ""},
		"a file that does not exist":                 {SSLConfig{CertFile: "no"}, "SSL key"},
		"a certificate that does not exist":          {SSLConfig{CertFile: "no", KeyFile: "key"}, "SSL certificate"},
		"a key that is a certificate":                {SSLConfig{CertFile: "cert", KeyFile: "cert"}, "no key in it"},
		"a CA that does not exist":                   {SSLConfig{CAFile: "no"}, "SSL ca"},
		"a CA that is none":                          {SSLConfig{CAFile: "text"}, "no certificate in it"},
		"a certificate without its key is not shown": {SSLConfig{CertFile: "cert"}, "shown: certificate required"},
		"nor a key without its certificate":          {SSLConfig{KeyFile: "key"}, "shown: certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range []*string{&c.ssl.CAFile, &c.ssl.CertFile, &c.ssl.KeyFile} {
				if *f != "" {
					*f = filepath.Join(dir, *f)
				}
			}
			cfg := ssl(t, server, HTTPConfig{SSL: &c.ssl})
			_, err := newProber(cfg, &RunnerOptions{})
			if why, shown := strings.CutPrefix(c.want, "shown: "); shown {
				verdict(t, check(t, cfg), why)
				return
			}
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || c.ssl.Err() == nil {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			verdict(t, check(t, cfg), "good")
		})
	}
}

func TestSNI(t *testing.T) {
	cert := certificate(t, "x", time.Now().Add(time.Hour), false)
	for name, c := range map[string]struct {
		h    HTTPConfig
		want string
	}{
		"none by default":                    {HTTPConfig{VirtualHost: "host.example"}, ""},
		"enable_sni: the virtualhost":        {HTTPConfig{EnableSNI: true, VirtualHost: "host.example"}, "host.example"},
		"enable_sni: the url's goes first":   {HTTPConfig{EnableSNI: true, VirtualHost: "host.example", URLs: []URL{{VirtualHost: "url.example:443"}}}, "url.example"},
		"sni_name switches it on":            {HTTPConfig{SNIName: "sni.example", VirtualHost: "host.example"}, "sni.example"},
		"enable_sni with no name to be sent": {HTTPConfig{EnableSNI: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			server := overTLS(&tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				got <- h.ServerName
				return &cert, nil
			}}, say(httpAnswer("200 OK", "hello\n")))
			verdict(t, check(t, ssl(t, server, c.h)), "good")
			if s := <-got; s != c.want {
				t.Errorf("server name %q, want %q", s, c.want)
			}
		})
	}
}

// TestTLSCompliantEndsTheSession looks at what the server reads last.
func TestTLSCompliantEndsTheSession(t *testing.T) {
	cert := certificate(t, "x", time.Now().Add(time.Hour), false)
	for compliant, want := range map[bool]bool{true: true, false: false} {
		last := make(chan int, 1)
		server := func(c net.Conn, _ <-chan struct{}) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			if s.Handshake() != nil {
				return
			}
			readRequest(s)
			_, _ = io.WriteString(s, httpAnswer("200 OK", "hello\n"))
			_ = s.CloseWrite()
			n, _ := c.Read(make([]byte, 100)) // below TLS: an alert, or the end of the connection
			last <- n
		}
		verdict(t, check(t, ssl(t, server, HTTPConfig{TLSCompliant: compliant})), "good")
		if n := <-last; (n > 0) != want {
			t.Errorf("tls_compliant %v: the server read %d bytes at the end", compliant, n)
		}
	}
}

func TestTLSSessionsAreResumed(t *testing.T) {
	cert := certificate(t, "x", time.Now().Add(time.Hour), false)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			resumed := make(chan bool, 2)
			server := overTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: version}, func(c net.Conn, over <-chan struct{}) {
				resumed <- c.(*tls.Conn).ConnectionState().DidResume
				say(httpAnswer("200 OK", "hello\n"))(c, over)
			})
			cfg := ssl(t, server, HTTPConfig{})
			cfg.Timeout = ample
			p, err := newProber(cfg, &RunnerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var a attempt
			verdict(t, p.probe(&a, 0), "good")
			verdict(t, p.probe(&a, 0), "good")
			if first, second := <-resumed, <-resumed; first || !second {
				t.Errorf("resumed: %v, %v; want the second only", first, second)
			}
		})
	}
}

// TestLockedKeysOfOpenSSL opens what openssl writes, in every encryption it offers for a key file.
func TestLockedKeysOfOpenSSL(t *testing.T) {
	testneed.Need(t, "openssl")
	dir := t.TempDir()
	plainKey := filepath.Join(dir, "key")
	der, err := x509.MarshalPKCS8PrivateKey(certificate(t, "x", time.Now(), false).PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plainKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		want string // of the error; empty: it opens
	}{
		"as it does today":    {"", ""},
		"AES-128":             {"-v2 aes-128-cbc", ""},
		"AES-192, SHA-1":      {"-v2 aes-192-cbc -v2prf hmacWithSHA1", ""},
		"AES-256, SHA-512":    {"-v2 aes-256-cbc -v2prf hmacWithSHA512", ""},
		"triple DES, SHA-384": {"-v2 des3 -v2prf hmacWithSHA384", ""},
		"one iteration only":  {"-iter 1", ""},
		"a cipher of its own": {"-v2 camellia-128-cbc", "cipher 1.2.392.200011.61.1.1.1.2 is not known"},
		"scrypt":              {"-scrypt", "only PBKDF2"},
		"PKCS #5 version 1":   {"-v1 PBE-SHA1-3DES", "too old"},
	} {
		t.Run(name, func(t *testing.T) {
			locked := filepath.Join(t.TempDir(), "locked")
			args := append([]string{"pkcs8", "-topk8", "-in", plainKey, "-out", locked, "-passout", "pass:se cret"}, strings.Fields(c.args)...)
			if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
				t.Fatalf("openssl: %v: %s", err, out)
			}
			b, err := os.ReadFile(locked)
			if err != nil {
				t.Fatal(err)
			}
			open, err := decrypt(b, "se cret")
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p, _ := pem.Decode(open); p == nil || !bytes.Equal(p.Bytes, der) {
				t.Errorf("another key:\n%s", open)
			}
			if _, err := decrypt(b, "wrong"); err != errWrongPassword {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

func FuzzLockedKey(f *testing.F) {
	for _, s := range []string{
		// openssl pkcs8 -topk8 -iter 1 -v2 aes-128-cbc -passout pass:x
		"30819a305606092a864886f70d01050d3049302806092a864886f70d01050c301b040813d962b10617612f020101300c06082a864886f70d02090500301d0609" +
			"6086480165030401020410d8656194a238b6a07bc0880b88db21a20440fb0e4e5020b48446990a01bfecb1f47fdef250e92333558d83e3b4da52455ec3e93b" +
			"3f400f9d9ca93b6847490bd1108c0a8057b148ba913e10e4ebece665655d",
		"3000", "",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2000 || bytes.Contains(b, []byte{0x02, 0x03}) { // hundreds of thousands of iterations take their time
			return
		}
		if key, err := decryptPKCS8(b, []byte("x")); err == nil && !isPrivateKey(key) {
			t.Errorf("%x is no key", key)
		}
	})
}
