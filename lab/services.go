package lab

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// Server is a small server of one of the kinds that health checks talk to.
type Server struct {
	host       *Host
	kind, addr string
	text       string
	cert       *tls.Certificate

	mu sync.Mutex
	c  io.Closer
}

// Serve starts a server on the host: smtp and tls (a page over TLS) on TCP, dns and udp (which sends back what it gets) on UDP.
func (h *Host) Serve(kind, addr, text string) (*Server, error) {
	s := &Server{host: h, kind: kind, addr: addr, text: text}
	return s, s.Start()
}

// Kind is what the server speaks.
func (s *Server) Kind() string { return s.kind }

// Start lets a stopped server serve again.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		return nil
	}
	switch s.kind {
	case "udp", "dns":
		c, err := s.host.ListenPacket("udp", s.addr)
		if err != nil {
			return err
		}
		s.c = c
		go s.datagrams(c)
		return nil
	case "smtp", "tls":
		l, err := s.host.Listen("tcp", s.addr)
		if err != nil {
			return err
		}
		if s.kind == "tls" {
			if s.cert == nil {
				if s.cert, err = selfSigned(); err != nil {
					return errors.Join(err, l.Close())
				}
			}
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
		}
		s.c = l
		go s.accept(l)
		return nil
	}
	return fmt.Errorf("lab: no server of kind %q: smtp, tls, dns or udp", s.kind)
}

// Stop closes the server's port.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		s.c.Close()
		s.c = nil
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if s.kind == "smtp" {
				s.smtp(c)
			} else {
				s.page(c)
			}
		}()
	}
}

func (s *Server) smtp(c net.Conn) {
	fmt.Fprintf(c, "220 %s ESMTP\r\n", s.text)
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch word {
		case "QUIT":
			fmt.Fprint(c, "221 Bye\r\n")
			return
		case "HELO", "EHLO", "NOOP", "RSET":
			fmt.Fprintf(c, "250 %s\r\n", s.text)
		default:
			fmt.Fprint(c, "500 What?\r\n")
		}
	}
}

func (s *Server) page(c net.Conn) {
	r := bufio.NewReader(c)
	for range 64 {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s\n", len(s.text)+1, s.text)
}

func (s *Server) datagrams(c net.PacketConn) {
	b := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if s.kind == "dns" {
			if n < 12 || b[2]&0x80 != 0 {
				continue
			}
			b[2] |= 0x84 // an authoritative answer without records
			b[3] = 0x80
		}
		_, _ = c.WriteTo(b[:n], from)
	}
}

// selfSigned makes a certificate that nobody vouches for.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
