package healthcheck

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
)

// openssl runs a TLS server of OpenSSL with a new certificate. what it prints comes line by line; closing say ends its connection.
func openssl(t *testing.T, certificate, server []string) (to netip.AddrPort, printed <-chan string, say io.WriteCloser) {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key"), filepath.Join(dir, "cert")
	args := append([]string{"req", "-x509", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=x"}, certificate...)
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	c := exec.Command("openssl", append([]string{"s_server", "-accept", at, "-key", key, "-cert", cert, "-crlf", "-naccept", "1"}, server...)...)
	say, err = c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		for range lines {
		}
		_ = c.Wait()
	})
	awaitLine(t, lines, "ACCEPT")
	return netip.MustParseAddrPort(at), lines, say
}

// awaitLine reads lines until one holds the words.
func awaitLine(t *testing.T, lines <-chan string, words string) {
	t.Helper()
	end := time.After(time.Minute)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatalf("ended before it said %q", words)
			}
			if strings.Contains(l, words) {
				return
			}
		case <-end:
			t.Fatalf("did not say %q", words)
		}
	}
}

// The reference speaks with OpenSSL: servers that OpenSSL can talk to are checked, not their age.
func TestSSLChecksOfServersThatOpenSSLTalksTo(t *testing.T) {
	testneed.Need(t, "openssl")
	for name, c := range map[string]struct {
		certificate, server []string
		renegotiate         bool
	}{
		"a certificate with a negative number": {certificate: []string{"-newkey", "rsa:2048", "-set_serial", "-5"}},
		"a key of 768 bits":                    {[]string{"-newkey", "rsa:768"}, []string{"-cipher", "ALL:@SECLEVEL=0"}, false},
		"CBC with SHA-256":                     {[]string{"-newkey", "rsa:2048"}, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"}, false},
		"RSA and CBC with SHA-256":             {[]string{"-newkey", "rsa:2048"}, []string{"-tls1_2", "-cipher", "AES128-SHA256"}, false},
		"a second handshake before the answer": {[]string{"-newkey", "rsa:2048"}, []string{"-tls1_2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			to, lines, say := openssl(t, c.certificate, c.server)
			go func() {
				defer say.Close()
				for l := range lines {
					if strings.HasPrefix(l, "Host:") && c.renegotiate {
						_, _ = io.WriteString(say, "r\n")
					} else if strings.HasPrefix(l, "Host:") || strings.Contains(l, "SSL_do_handshake") {
						_, _ = io.WriteString(say, "HTTP/1.0 200 OK\n\nhello\n")
						return
					}
				}
			}()
			verdict(t, check(t, &Config{Type: TypeSSL, Connect: Connect{Addr: to}, HTTP: &HTTPConfig{URLs: []URL{{Path: "/"}}}}), "good")
		})
	}
}
