package healthcheck

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Request is one page to fetch as HTTP_GET and SSL_GET would.
type Request struct {
	Addr        netip.AddrPort
	Path        string
	VirtualHost string // empty: address and port
	Protocol    string // as HTTPConfig.Protocol
	TLS         bool
	ServerName  string // sent in the TLS handshake if not empty
	FWMark      uint32
	// Timeout bounds the connect and each wait; zero: no limit.
	Timeout time.Duration
	// Tap, if set, gets the header and the pieces of the body as they come; part is "header" or "body".
	Tap func(part string, b []byte)
}

// Page is what came back.
type Page struct {
	Status  int // 0: no valid status line
	Digest  string
	Body    int64 // bytes
	Header  []byte
	Latency time.Duration
}

// What Fetch can fail with, beside the system's errors.
var (
	ErrConnect = errors.New("connection failed")
	ErrTLS     = errors.New("TLS handshake failed")
	ErrRead    = errors.New("no complete answer")
	ErrNoData  = errNoData
)

// Fetch gets a page and its digest, over exactly the bytes that a checker hashes. The error is one of ErrConnect, ErrTLS, ErrRead,
// ErrNoData with the cause behind it, or about this host.
func Fetch(ctx context.Context, q Request) (*Page, error) {
	t, err := newTarget(Connect{Addr: q.Addr, FWMark: q.FWMark, Timeout: q.Timeout})
	if err != nil {
		return nil, err
	}
	p := &httpProber{t: t}
	if q.TLS {
		if p.ssl, err = newTLSClient(&HTTPConfig{}); err != nil {
			return nil, err
		}
	}
	var a attempt
	defer context.AfterFunc(ctx, func() { a.stop() })()
	begin := time.Now()
	c, err := dial(t, unix.SOCK_STREAM, &a)
	if err != nil {
		return nil, cause(ErrConnect, err)
	}
	var s stream = c
	if p.ssl != nil {
		if s, err = p.ssl.handshake(c, q.ServerName); err != nil {
			return nil, cause(ErrTLS, err)
		}
	}
	defer s.close()
	x := new(exchange)
	x.reset()
	x.wantHash = true
	page := &Page{}
	x.tap = func(part string, b []byte) {
		if part == "header" {
			page.Header = append(page.Header, b...)
		}
		if q.Tap != nil {
			q.Tap(part, b)
		}
	}
	err = x.run(s, httpRequest(q.Path, q.Protocol, q.VirtualHost, q.Addr))
	page.Latency = time.Since(begin)
	page.Status, page.Body = x.status, x.body
	d := x.digest()
	page.Digest = hex.EncodeToString(d[:])
	switch {
	case errors.Is(err, errNoData), errors.Is(err, errNoHeader):
		return page, err
	case err != nil:
		return page, cause(ErrRead, err)
	}
	return page, nil
}

// fetchError is a sentinel with its cause, printed once.
type fetchError struct{ kind, err error }

func (e *fetchError) Error() string   { return e.kind.Error() + ": " + words(e.err, 0) }
func (e *fetchError) Unwrap() []error { return []error{e.kind, e.err} }

// Timeout reports whether time was up.
func (e *fetchError) Timeout() bool { return errors.Is(e.err, os.ErrDeadlineExceeded) }

func cause(kind, err error) error { return &fetchError{kind, err} }

// Hash is the digest of a body as genhash prints it: 32 hex digits.
func Hash(body []byte) string {
	d := md5.Sum(body)
	return hex.EncodeToString(d[:])
}
