package healthcheck

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Step is a part of a check that was made by hand: what was done, what was seen, how long it took.
type Step struct {
	Did  string        `json:"did"`
	Saw  string        `json:"saw"`
	OK   bool          `json:"ok"`
	Took time.Duration `json:"nanoseconds"`
}

// Verdict is what a checker says when it is run once.
type Verdict struct {
	// OK says that the attempt was a success; Unsure that it could not be made on this host, so that a checker would change nothing.
	OK, Unsure bool
	Steps      []Step
	// Weight counts if HasWeight is set, as in Result.
	Weight              int
	HasWeight, Absolute bool
}

// ErrNoProbe is the error for a check that cannot be made once, by hand.
var ErrNoProbe = errors.New("its session belongs to the daemon: see releve status")

// Once makes one attempt of a checker, as the daemon would, and tells what it saw step by step. Nothing is retried, and nobody is
// told. Every url of HTTP_GET and SSL_GET is asked for, until one fails.
func Once(ctx context.Context, cfg *Config, o RunnerOptions) (v Verdict, err error) {
	if cfg.Type == TypeBFD {
		return v, ErrNoProbe
	}
	p, err := newProber(cfg, &o)
	if err != nil {
		return v, err
	}
	r := &recorder{begin: time.Now()}
	a := attempt{steps: r}
	defer context.AfterFunc(ctx, func() { a.stop() })()
	defer func() { v.Steps = r.steps }()
	if h, ok := p.(*httpProber); ok {
		v.OK = true
		for i := range h.pages {
			if !h.once(&a, i, &v) {
				return v, nil
			}
		}
		return v, nil
	}
	out := p.probe(&a, 0)
	if c, ok := p.(io.Closer); ok {
		_ = c.Close()
	}
	v.OK, v.Unsure, v.Weight, v.HasWeight, v.Absolute = out.ok, out.unsure, out.weight, out.hasWeight, out.absolute
	did := r.doing
	if did == "" {
		did = whatOnce(cfg)
	}
	switch {
	case !out.ok && r.failed():
	case !out.ok && out.reason == "":
		r.step(false, did, "failed")
	case !out.ok || out.reason != "":
		r.step(out.ok, did, out.reason)
	case len(r.steps) == 0:
		r.step(true, did, "as it should be")
	}
	return v, nil
}

// whatOnce is what a check does, in a few words.
func whatOnce(cfg *Config) string {
	switch cfg.Type {
	case TypeTCP:
		return fmt.Sprintf("connect to %s", cfg.Addr)
	case TypeSMTP:
		return fmt.Sprintf("connect to the mail server at %s", cfg.Addr)
	case TypeDNS:
		return fmt.Sprintf("ask %s", cfg.Addr)
	case TypeUDP:
		return fmt.Sprintf("send a datagram to %s", cfg.Addr)
	case TypePing:
		return fmt.Sprintf("ping %s", cfg.Addr.Addr())
	case TypeMisc:
		return "run " + strings.Join(cfg.Misc.Command.Args, " ")
	case TypeFile:
		return "read " + cfg.File.Path
	}
	return cfg.Type.String()
}

// once asks for one page, and tells of the connection, of the handshake and of the answer. It says whether the page is good.
func (p *httpProber) once(a *attempt, url int, v *Verdict) bool {
	pg := &p.pages[url]
	step := func(ok bool, did, saw string) bool {
		a.steps.step(ok, did, saw)
		v.OK = v.OK && ok
		return ok
	}
	broke := func(did string, err error) bool {
		out := fail("", err, &p.t.cfg)
		v.Unsure = v.Unsure || out.unsure
		return step(false, did, out.reason)
	}
	did := fmt.Sprintf("connect to %s", p.t.cfg.Addr)
	c, err := dial(p.t, unix.SOCK_STREAM, a)
	if err != nil {
		return broke(did, err)
	}
	if p.t.cfg.Timeout > 0 {
		c.limit = time.Now().Add(patience * p.t.cfg.Timeout)
	}
	a.steps.connected(c, p.t)
	var s stream = c
	if p.ssl != nil {
		did = "TLS handshake"
		if pg.sni != "" {
			did += " with " + pg.sni
		}
		if s, err = p.ssl.handshake(c, pg.sni); err != nil {
			return broke(did, err)
		}
		saw := "done"
		if t, ok := s.(*tlsStream); ok {
			st := t.ConnectionState()
			saw = tls.VersionName(st.Version) + ", " + tls.CipherSuiteName(st.CipherSuite)
			if len(st.PeerCertificates) > 0 {
				c := st.PeerCertificates[0]
				saw += fmt.Sprintf(", certificate of %q until %s", c.Subject.String(), c.NotAfter.UTC().Format("2006-01-02"))
				if time.Now().After(c.NotAfter) {
					saw += " (expired; the checker does not mind)"
				}
			}
		}
		step(true, did, saw)
	}
	defer s.close()
	x := new(exchange)
	x.reset()
	x.wantHash, x.wantText = true, pg.regex != nil
	did = "ask for " + pg.Path
	if err := x.run(s, pg.request); err != nil {
		return broke(did, err)
	}
	d := x.digest()
	saw := fmt.Sprintf("status %d, %d bytes, digest %s", x.status, x.body, hex.EncodeToString(d[:]))
	out := pg.judge(&x.response)
	if !out.ok {
		saw += ": " + out.reason
	} else if pg.digest != "" {
		saw += ", as configured"
	}
	return step(out.ok, did, saw)
}
