package healthcheck

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds a whole exchange to this many connect_timeouts. The reference has no such bound: a server that sends a byte now and
// then holds its checker for ever.
const patience = 10

// httpRequest is the request the reference sends, byte for byte.
func httpRequest(path, protocol, virtualhost string, addr netip.AddrPort) []byte {
	if path == "" {
		path = "/"
	}
	if virtualhost == "" {
		virtualhost = addr.String()
	}
	minor, connection := "0", ""
	if strings.HasPrefix(protocol, "1.1") {
		minor, connection = "1", "Connection: close\r\n"
	}
	switch strings.ToLower(protocol) {
	case "1.0c":
		connection = "Connection: close\r\n"
	case "1.0k", "1.1k":
		connection = "Connection: keep-alive\r\n"
	}
	return []byte("GET " + path + " HTTP/1." + minor + "\r\nUser-Agent: KeepAliveClient\r\n" + connection + "Host: " + virtualhost + "\r\n\r\n")
}

// stream is a connection to a web server, plain or TLS.
type stream interface {
	io.ReadWriter
	close()
}

// page is one url made ready.
type page struct {
	URL
	request []byte
	digest  string
	regex   *pattern
	sni     string
}

// httpProber is HTTP_GET and SSL_GET.
type httpProber struct {
	t     *target
	pages []page
	ssl   *tlsClient // nil: plain
}

func newHTTPProber(cfg *Config) (*httpProber, error) {
	if cfg.HTTP == nil || len(cfg.HTTP.URLs) == 0 {
		return nil, fmt.Errorf("HTTP_GET or SSL_GET without a url")
	}
	t, err := newTarget(cfg.Connect)
	if err != nil {
		return nil, err
	}
	p := &httpProber{t: t, pages: make([]page, len(cfg.HTTP.URLs))}
	for i, u := range cfg.HTTP.URLs {
		host := u.VirtualHost
		if host == "" {
			host = cfg.HTTP.VirtualHost
		}
		pg := page{URL: u, digest: strings.ToLower(u.Digest)}
		pg.request = httpRequest(u.Path, cfg.HTTP.Protocol, host, cfg.Addr)
		if u.Regex != nil {
			if pg.regex, err = compilePattern(u.Regex); err != nil {
				return nil, err
			}
		}
		pg.sni = serverName(cfg.HTTP, host)
		p.pages[i] = pg
	}
	if cfg.Type == TypeSSL {
		if p.ssl, err = newTLSClient(cfg.HTTP); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *httpProber) probe(a *attempt, url int) outcome {
	pg := &p.pages[url]
	s, err := p.open(a, pg.sni)
	if err != nil {
		return failSaid(err, &p.t.cfg, "Timeout connecting", openSaid(err))
	}
	defer s.close()
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	x.reset()
	x.wantHash, x.wantText = pg.digest != "", pg.regex != nil
	if err := x.run(s, pg.request); err != nil {
		said := "Read error with"
		if errors.Is(err, errNoData) || errors.Is(err, errNoHeader) {
			said = noData
		}
		return failSaid(err, &p.t.cfg, "Timeout WEB read", said)
	}
	return pg.judge(&x.response)
}

// noData has a space at its end in the reference, too.
const noData = "Read, no data received from "

// failSaid is fail with what the reference says if the time was up, and else.
func failSaid(err error, c *Connect, late, other string) outcome {
	out := fail("", err, c)
	if out.said = other; out.late {
		out.said = late
	}
	return out
}

// openSaid is what the reference says of a connection, or a handshake on it, that failed before its time was up.
func openSaid(err error) string {
	var shake *stageError
	if errors.As(err, &shake) {
		return "SSL handshake/communication error connecting to"
	}
	return "Connection failed"
}

func (p *httpProber) open(a *attempt, sni string) (stream, error) {
	c, err := dial(p.t, unix.SOCK_STREAM, a)
	if err != nil {
		return nil, err
	}
	if p.t.cfg.Timeout > 0 {
		c.limit = time.Now().Add(patience * p.t.cfg.Timeout)
	}
	if p.ssl == nil {
		return c, nil
	}
	return p.ssl.handshake(c, sni)
}

// exchange is a response with its read buffer.
type exchange struct {
	response
	buf [4096]byte
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// run sends the request and reads until the server closes.
func (x *exchange) run(s stream, request []byte) error {
	if _, err := s.Write(request); err != nil {
		return &stageError{"send request", err}
	}
	for {
		n, err := s.Read(x.buf[:])
		if n > 0 {
			if err := x.feed(x.buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return x.end()
		case err != nil && x.headerDone:
			return &stageError{fmt.Sprintf("after %d bytes of the body", x.body), err}
		case err != nil && len(x.head) > 0:
			return &stageError{fmt.Sprintf("after %d bytes of the header", len(x.head)), err}
		case err != nil:
			return &stageError{"waiting for an answer", err}
		}
	}
}

// judge compares the answer with what the url wants: status, digest and pattern must all be right.
func (pg *page) judge(r *response) outcome {
	switch {
	case r.status == 0:
		return outcome{reason: "no valid HTTP status line", said: noData}
	case !goodStatus(pg.Status, r.status):
		return outcome{reason: fmt.Sprintf("HTTP status code %d, wanted %s", r.status, statusWords(pg.Status)), said: "HTTP status code error to"}
	}
	if pg.digest != "" {
		d := r.digest()
		var h [32]byte
		hex.Encode(h[:], d[:])
		if string(h[:]) != pg.digest {
			return outcome{reason: fmt.Sprintf("MD5 digest %s, wanted %s (%d bytes)", h, pg.digest, r.body), said: "MD5 digest error to"}
		}
	}
	if pg.regex != nil {
		err := errNoMatch
		if r.body > 0 { // nothing matches nothing: as the reference, which searches what comes behind the header
			err = pg.regex.match(r.text)
		} else if pg.regex.no {
			err = nil
		}
		if err != nil {
			return outcome{reason: err.Error(), said: "Regex match failed"}
		}
	}
	return outcome{ok: true}
}

func goodStatus(want []StatusRange, code int) bool {
	if len(want) == 0 {
		return code >= 200 && code <= 299
	}
	for _, w := range want {
		if code >= int(w.From) && code <= int(w.To) {
			return true
		}
	}
	return false
}

func statusWords(want []StatusRange) string {
	if len(want) == 0 {
		return "200-299"
	}
	var b strings.Builder
	for i, w := range want {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, w.From)
		if w.To != w.From {
			fmt.Fprint(&b, "-", w.To)
		}
	}
	return b.String()
}
