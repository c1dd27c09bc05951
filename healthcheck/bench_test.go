package healthcheck

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
)

// The figures of a whole check count the CPU time of this process alone (cpu-µs/op), against a server in another one: that is what
// a director pays for it. The kernel's work for both ends of a loopback connection is in it.

// benchServer is what the child process started by startServer does: accept, answer each request at once, close.
func benchServer(useTLS bool) {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if useTLS {
		l = tlsListener{l, &tls.Config{Certificates: []tls.Certificate{certificate(fatal{}, "bench", time.Now().Add(time.Hour), false)}}}
	}
	fmt.Printf("127.0.0.1:%d\n", l.Addr().(*net.TCPAddr).Port)
	go func() { // ends with the parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	answer := []byte("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n")
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1024)
			if n, err := c.Read(buf); err == nil && n > 0 {
				_, _ = c.Write(answer)
			}
		}()
	}
}

// fatal stands for a test where there is none.
type fatal struct{ testing.TB }

func (fatal) Helper()           {}
func (fatal) Fatal(args ...any) { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }

// tlsListener is tls.NewListener that keeps the listener's address in reach.
type tlsListener struct {
	net.Listener
	cfg *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(c, l.cfg), nil
}

func startServer(b testing.TB) netip.AddrPort { return startServerAs(b, "plain") }

func startServerAs(b testing.TB, kind string) netip.AddrPort {
	b.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "HEALTHCHECK_TEST_SERVER="+kind)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return netip.MustParseAddrPort(strings.TrimSpace(line))
}

func TestMain(m *testing.M) {
	if kind := os.Getenv("HEALTHCHECK_TEST_SERVER"); kind == "stall" {
		stallChild()
	} else if kind != "" {
		benchServer(kind == "tls")
		return
	}
	// The goroutine that starts scripts lives for ever: it is no leak.
	_, _ = script.NewRunner(script.Settings{}).Run(context.Background(), script.Command{Args: []string{"true"}})
	os.Exit(m.Run())
}

func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchProbe(b *testing.B, cfg *Config) {
	b.Helper()
	p, err := newProber(cfg, &RunnerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var a attempt
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		if out := p.probe(&a, 0); !out.ok {
			b.Fatal(out.reason)
		}
	}
	b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/op")
}

func BenchmarkTCPCheck(b *testing.B) {
	addr := startServer(b)
	benchProbe(b, &Config{Type: TypeTCP, Connect: Connect{Addr: addr, Timeout: time.Second}})
}

func BenchmarkHTTPCheckWithDigest(b *testing.B) {
	addr := startServer(b)
	benchProbe(b, &Config{Type: TypeHTTP, Connect: Connect{Addr: addr, Timeout: time.Second},
		HTTP: &HTTPConfig{URLs: []URL{{Path: "/", Digest: Hash([]byte("hello\n"))}}}})
}

func BenchmarkSSLCheckWithDigest(b *testing.B) {
	addr := startServerAs(b, "tls")
	benchProbe(b, &Config{Type: TypeSSL, Connect: Connect{Addr: addr, Timeout: time.Second},
		HTTP: &HTTPConfig{URLs: []URL{{Path: "/", Digest: Hash([]byte("hello\n"))}}}})
}

func BenchmarkSMTPReply(b *testing.B) {
	b.ReportAllocs()
	text := []byte("220 mail.example.org ESMTP\r\n")
	for b.Loop() {
		l := lineReader{}
		line, err := l.next(&chopped{text, 512})
		if err != nil || smtpReply(line, "220 ") != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDNSAnswer(b *testing.B) {
	b.ReportAllocs()
	answer := []byte{1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}
	for b.Loop() {
		if err := dnsAnswer(answer, 0x102); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUDPReply(b *testing.B) {
	b.ReportAllocs()
	u := UDPConfig{Reply: defaultPayload, MaxLen: 255}
	for b.Loop() {
		if err := u.judge(defaultPayload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPingReply(b *testing.B) {
	b.ReportAllocs()
	p := pingProber{t: &target{family: unix.AF_INET}, seq: 1}
	reply := []byte{0, 0, 9, 9, 1, 1, 0, 1}
	for b.Loop() {
		if !p.isReply(reply) {
			b.Fatal("not taken")
		}
	}
}

func BenchmarkPattern(b *testing.B) {
	b.ReportAllocs()
	p, err := compilePattern(&Regex{Pattern: `status:\s+(?!down)\w+`})
	if err != nil {
		b.Fatal(err)
	}
	text := []byte(strings.Repeat("some text before it ", 30) + "status: fine")
	for b.Loop() {
		if err := p.match(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMiscCheck(b *testing.B) {
	benchProbe(b, &Config{Type: TypeMisc, Misc: &MiscConfig{Command: script.Command{Args: []string{"/bin/true"}, Timeout: time.Second}}})
}

func BenchmarkResponse(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 01:03:41 GMT\r\nContent-Type: text/html\r\nContent-Length: 615\r\n" +
		"Connection: close\r\n\r\n" + strings.Repeat("x", 615))
	var r response
	b.ReportAllocs()
	for b.Loop() {
		r.reset()
		r.wantHash = true
		if err := r.feed(answer); err != nil || r.end() != nil || r.status != 200 {
			b.Fatal(err)
		}
		_ = r.digest()
	}
}
