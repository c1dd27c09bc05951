package healthcheck

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultHelo is the name SMTP_CHECK introduces itself with, as the reference.
const DefaultHelo = "smtpchecker.keepalived.org"

// maxLine bounds a line of an SMTP server (RFC 5321 §4.5.3.1.5 allows 512 bytes).
const maxLine = 4096

// smtpProber is SMTP_CHECK: a greeting, HELO, QUIT, and a line to each.
type smtpProber struct {
	hosts []*target
	helo  []byte
}

func newSMTPProber(cfg *Config) (*smtpProber, error) {
	p := &smtpProber{}
	name := DefaultHelo
	connects := []Connect{cfg.Connect}
	if s := cfg.SMTP; s != nil {
		if s.HeloName != "" {
			name = s.HeloName
		}
		if len(s.Hosts) > 0 {
			connects = s.Hosts
		}
	}
	p.helo = []byte("HELO " + name + "\r\n")
	for _, c := range connects {
		if c.Timeout <= 0 {
			c.Timeout = cfg.Timeout
		}
		t, err := newTarget(c)
		if err != nil {
			return nil, err
		}
		p.hosts = append(p.hosts, t)
	}
	return p, nil
}

func (p *smtpProber) probe(a *attempt, _ int) outcome {
	for _, t := range p.hosts {
		if out := p.talk(t, a); !out.ok {
			out.said += fmt.Sprintf(" server [%s]:%d", t.cfg.Addr.Addr(), t.cfg.Addr.Port())
			if len(p.hosts) > 1 {
				out.reason = t.cfg.Addr.String() + ": " + out.reason
			}
			return out
		}
	}
	return outcome{ok: true}
}

func (p *smtpProber) talk(t *target, a *attempt) outcome {
	c, err := dial(t, unix.SOCK_STREAM, a)
	if err != nil {
		return failSaid(&stageError{"connect", err}, &t.cfg, "Connection timeout to", "Could not connect to")
	}
	defer c.close()
	a.steps.connected(c, t)
	a.steps.now("wait for the greeting")
	if t.cfg.Timeout > 0 {
		c.limit = time.Now().Add(patience * t.cfg.Timeout)
	}
	l := lineReader{}
	for _, s := range []struct {
		stage, want, bad string
		say              []byte // nil: the server speaks first
	}{{"greeting", "220 ", "Bad greeting banner from", nil}, {"HELO", "250 ", "Bad HELO response from", p.helo}, {"QUIT", "", "", []byte("QUIT\r\n")}} {
		if s.say != nil {
			a.steps.said(s.say)
			l.rest = l.rest[:0] // what came before it was asked for is no answer
			if _, err := c.Write(s.say); err != nil {
				return failSaid(&stageError{s.stage, err}, &t.cfg, "Write timeout to", "Write failure to")
			}
		}
		line, err := l.next(c)
		if err != nil {
			return failSaid(&stageError{s.stage, err}, &t.cfg, "Read timeout from", "Read failure from")
		}
		if err := smtpReply(line, s.want); err != nil {
			return failSaid(&stageError{s.stage, err}, &t.cfg, "", s.bad)
		}
		a.steps.heard(line)
	}
	return outcome{ok: true}
}

// smtpReply compares a line with the code wanted; the reference wants a space after it, so replies of several lines fail.
func smtpReply(line []byte, want string) error {
	if bytes.HasPrefix(line, []byte(want)) {
		return nil
	}
	return fmt.Errorf("answer %s, wanted %q", strconv.QuoteToASCII(string(line[:min(len(line), 80)])), want)
}

// lineReader cuts what is read into lines.
type lineReader struct {
	buf  [512]byte
	rest []byte
}

var errLongLine = errors.New("line longer than " + strconv.Itoa(maxLine) + " bytes")

// next returns the next line without its end; the bytes are valid until the next call.
func (l *lineReader) next(r interface{ Read([]byte) (int, error) }) ([]byte, error) {
	for {
		if i := bytes.IndexByte(l.rest, '\n'); i >= 0 {
			line := l.rest[:i]
			l.rest = l.rest[i+1:]
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		if len(l.rest) > maxLine {
			return nil, errLongLine
		}
		n, err := r.Read(l.buf[:])
		if err != nil {
			return nil, err
		}
		l.rest = append(l.rest, l.buf[:n]...)
	}
}
