package healthcheck

import (
	"bufio"
	"context"
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
func benchServer() {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
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

func startServer(b testing.TB) netip.AddrPort {
	b.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "HEALTHCHECK_TEST_SERVER=1")
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
	if os.Getenv("HEALTHCHECK_TEST_SERVER") != "" {
		benchServer()
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
