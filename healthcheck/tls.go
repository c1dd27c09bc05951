package healthcheck

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tlsClient makes TLS connections for SSL_GET. Certificates of servers are not verified, as the reference: a health check asks whether
// the server works, and the backends' certificates rarely name the address checked.
type tlsClient struct {
	base      *tls.Config
	compliant bool
	sessions  oneSession
}

// serverName is the name sent to the server: none without SNI; else sni_name, else the url's or the checker's virtualhost.
func serverName(h *HTTPConfig, host string) string {
	switch {
	case h.SNIName != "":
		return h.SNIName
	case h.EnableSNI:
		if name, _, err := net.SplitHostPort(host); err == nil {
			return name
		}
		return host
	}
	return ""
}

func newTLSClient(h *HTTPConfig) (*tlsClient, error) {
	c := &tlsClient{compliant: h.TLSCompliant}
	c.base = &tls.Config{
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS12,
		CipherSuites:       cipherSuites(),
		// A check carries nothing that must stay secret for decades: no post-quantum exchange, which costs more than all the rest.
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		ClientSessionCache: &c.sessions,
		// A server may ask for a certificate once it knows the page; the time limit of the exchange bounds it.
		Renegotiation: tls.RenegotiateFreelyAsClient,
	}
	s := h.SSL
	if s == nil {
		return c, nil
	}
	cert, err := s.load()
	if err != nil {
		return nil, err
	}
	if cert != nil {
		c.base.Certificates = []tls.Certificate{*cert}
	}
	return c, nil
}

// cipherSuites are Go's own, and what OpenSSL offers besides and old backends may know only: the plain RSA key exchange, CBC with SHA-256.
func cipherSuites() []uint16 {
	ids := []uint16{}
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return append(ids, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256)
}

// load reads the files of an SSL block: all that are named must be good. The certificate is nil if there is none to show, or no key for
// it: a server that insists on one will say so. The CA verifies nobody, as in the reference.
func (s *SSLConfig) load() (*tls.Certificate, error) {
	if s.CAFile != "" {
		b, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("SSL ca: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("SSL ca %s: no certificate in it", s.CAFile)
		}
	}
	keyFile := s.KeyFile
	if keyFile == "" {
		keyFile = s.CertFile
	}
	if keyFile == "" {
		return nil, nil
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("SSL key: %w", err)
	}
	if s.Password != "" {
		if keyPEM, err = decrypt(keyPEM, s.Password); err != nil {
			return nil, fmt.Errorf("SSL key %s: %w", keyFile, err)
		}
	}
	if !bytes.Contains(keyPEM, []byte("PRIVATE KEY-----")) {
		if s.KeyFile == "" { // a certificate alone
			return nil, nil
		}
		return nil, fmt.Errorf("SSL key %s: no key in it", keyFile)
	}
	if s.CertFile == "" {
		return nil, nil
	}
	certPEM, err := os.ReadFile(s.CertFile)
	if err != nil {
		return nil, fmt.Errorf("SSL certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("SSL certificate %s with key %s: %w", s.CertFile, keyFile, err)
	}
	return &cert, nil
}

// Err says why the files of the block cannot be used, nil if they can.
func (s *SSLConfig) Err() error {
	_, err := s.load()
	return err
}

// decrypt opens a private key with a password: in PKCS #8 or in the old PEM encryption (RFC 1423).
func decrypt(b []byte, password string) ([]byte, error) {
	for rest := b; ; {
		var p *pem.Block
		if p, rest = pem.Decode(rest); p == nil {
			return b, nil // nothing to open
		}
		//nolint:staticcheck // an operator's file has the format it has
		if x509.IsEncryptedPEMBlock(p) {
			der, err := x509.DecryptPEMBlock(p, []byte(password))
			if err != nil {
				return nil, err
			}
			return pem.EncodeToMemory(&pem.Block{Type: p.Type, Bytes: der}), nil
		}
		if p.Type == "ENCRYPTED PRIVATE KEY" {
			der, err := decryptPKCS8(p.Bytes, []byte(password))
			if err != nil {
				return nil, err
			}
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
		}
	}
}

// oneSession remembers the last session of a checker's server: it talks to no other.
type oneSession struct {
	s atomic.Pointer[tls.ClientSessionState]
}

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) {
	s := o.s.Load()
	return s, s != nil
}

func (o *oneSession) Put(_ string, s *tls.ClientSessionState) { o.s.Store(s) }

// tlsStream is a TLS connection over a conn.
type tlsStream struct {
	*tls.Conn
	c         *conn
	compliant bool
}

func (t *tlsClient) handshake(c *conn, name string) (stream, error) {
	// The request follows the handshake's last message: do not wait for its acknowledgement.
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	cfg := t.base
	if name != "" {
		cfg = cfg.Clone()
		cfg.ServerName = name
	}
	s := &tlsStream{tls.Client(netConn{c}, cfg), c, t.compliant}
	if err := s.Handshake(); err != nil {
		c.close()
		return nil, &stageError{"TLS handshake", err}
	}
	return s, nil
}

func (s *tlsStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == io.ErrUnexpectedEOF { // closed without close_notify: common
		err = io.EOF
	}
	return n, err
}

// close ends TLS only if told to be compliant; the reference just closes the connection.
func (s *tlsStream) close() {
	if s.compliant {
		_ = s.CloseWrite()
	}
	s.c.close()
}

// netConn lets crypto/tls read and write a conn; deadlines are the conn's own.
type netConn struct{ *conn }

func (netConn) Close() error                     { return nil }
func (netConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (netConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (netConn) SetDeadline(time.Time) error      { return nil }
func (netConn) SetReadDeadline(time.Time) error  { return nil }
func (netConn) SetWriteDeadline(time.Time) error { return nil }
