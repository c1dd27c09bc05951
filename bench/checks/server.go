package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	body   = "hello\n"
	answer = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\n" + body
)

var digest = func() string { d := md5.Sum([]byte(body)); return hex.EncodeToString(d[:]) }()

// report is what the servers have seen since the last reset.
type report struct {
	checks, targets            int
	lateP99, lateMax, earlyMax time.Duration
}

// server is the process with the servers, as the measuring one has it.
type server struct {
	port int
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func startServer(kind string) (*server, error) {
	c := exec.Command(os.Args[0], "serve", kind)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: c, in: in, out: bufio.NewReader(out)}
	if _, err := fmt.Fscanln(s.out, &s.port); err != nil {
		s.stop()
		return nil, fmt.Errorf("server: %w", err)
	}
	return s, nil
}

func (s *server) ask(what string) (r report, err error) {
	if _, err := fmt.Fprintln(s.in, what); err != nil {
		return r, err
	}
	_, err = fmt.Fscanln(s.out, &r.checks, &r.targets, &r.lateP99, &r.lateMax, &r.earlyMax)
	return r, err
}

func (s *server) stop() {
	s.in.Close()
	_ = s.cmd.Wait()
}

// counter notes when each target was asked.
type counter struct {
	mu     sync.Mutex
	last   map[[4]byte]time.Time
	checks int
	off    []time.Duration // from the second after the one before
}

func (c *counter) saw(target [4]byte, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks++
	if was, ok := c.last[target]; ok {
		c.off = append(c.off, at.Sub(was)-time.Second)
	}
	c.last[target] = at
}

// answer serves the measuring process until it goes away.
func (c *counter) answer() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		c.mu.Lock()
		if in.Text() == "reset" {
			c.checks, c.off = 0, c.off[:0]
		}
		slices.Sort(c.off)
		var p99, most, least time.Duration
		if n := len(c.off); n > 0 {
			p99, most, least = c.off[n*99/100], c.off[n-1], -c.off[0]
		}
		fmt.Println(c.checks, len(c.last), int64(p99), int64(most), int64(least))
		c.mu.Unlock()
	}
	os.Exit(0)
}

// serve is the server process: what it is to be stands in the arguments, its port goes to standard output, then it answers questions.
func serve() error {
	kind := strings.Join(os.Args[2:], "")
	c := &counter{last: map[[4]byte]time.Time{}}
	if kind == "ssl" {
		return serveTLS(c)
	}
	return servePlain(c)
}

// servePlain answers whatever comes and closes, from one thread with one epoll.
func servePlain(c *counter) error {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{}); err != nil {
		return err
	}
	if err := unix.Listen(l, 4096); err != nil {
		return err
	}
	sa, err := unix.Getsockname(l)
	if err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, l, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l)}); err != nil {
		return err
	}
	fmt.Println(sa.(*unix.SockaddrInet4).Port)
	go c.answer()
	events, buf, reply := make([]unix.EpollEvent, 256), make([]byte, 4096), []byte(answer)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for _, ev := range events[:n] {
			fd := int(ev.Fd)
			if fd != l {
				if n, err := unix.Read(fd, buf); err == nil && n > 0 {
					_, _ = unix.Write(fd, reply)
				}
				_ = unix.Close(fd)
				continue
			}
			for {
				fd, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				if err != nil {
					break
				}
				if sa, err := unix.Getsockname(fd); err == nil {
					c.saw(sa.(*unix.SockaddrInet4).Addr, time.Now())
				}
				if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
					unix.Close(fd)
				}
			}
		}
	}
}

func serveTLS(c *counter) error {
	cert, err := certificate()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go c.answer()
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		c.saw(conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().As4(), time.Now())
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			t, buf := tls.Server(conn, cfg), make([]byte, 1024)
			if n, err := t.Read(buf); err == nil && bytes.HasPrefix(buf[:n], []byte("GET ")) {
				_, _ = io.WriteString(t, answer)
				_ = t.Close()
			}
		}()
	}
}

func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"bench.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
