package healthcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dnsProber is DNS_CHECK: one question over UDP; answers are not looked at, only the code.
type dnsProber struct {
	t        *target
	question []byte // with id 0
}

func newDNSProber(cfg *Config) (*dnsProber, error) {
	t, err := newTarget(cfg.Connect)
	if err != nil {
		return nil, err
	}
	name, typ := ".", uint16(6)
	if d := cfg.DNS; d != nil {
		if d.Name != "" {
			name = d.Name
		}
		if d.Type != 0 {
			typ = d.Type
		}
	}
	q, err := dnsQuestion(name, typ)
	if err != nil {
		return nil, err
	}
	return &dnsProber{t, q}, nil
}

// dnsQuestion is a query (RFC 1035 §4.1) with recursion desired for one name, class IN.
func dnsQuestion(name string, typ uint16) ([]byte, error) {
	b := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	if name = strings.TrimSuffix(name, "."); name != "" {
		for label := range strings.SplitSeq(name, ".") {
			if len(label) == 0 || len(label) > 63 {
				return nil, fmt.Errorf("DNS name %q: labels have 1 to 63 bytes", name)
			}
			b = append(b, byte(len(label)))
			b = append(b, label...)
		}
	}
	b = append(b, 0)
	if len(b)-12 > 255 {
		return nil, fmt.Errorf("DNS name %q is longer than 255 bytes", name)
	}
	b = binary.BigEndian.AppendUint16(b, typ)
	return binary.BigEndian.AppendUint16(b, 1), nil
}

func (p *dnsProber) probe(a *attempt, _ int) outcome {
	c, err := dial(p.t, unix.SOCK_DGRAM, a)
	if err != nil {
		return fail("connect: ", err, &p.t.cfg)
	}
	defer c.close()
	var buf [512]byte
	id := uint16(rand.Uint32())
	q := append(buf[:0], p.question...)
	binary.BigEndian.PutUint16(q, id)
	if _, err := c.Write(q); err != nil {
		return fail("send question: ", err, &p.t.cfg)
	}
	if r := a.steps; r != nil {
		r.step(true, "ask "+p.t.cfg.Addr.String()+" for "+dnsAsked(q), "sent"+c.from())
		r.now("wait for an answer")
	}
	if p.t.cfg.Timeout > 0 {
		c.limit = time.Now().Add(p.t.cfg.Timeout)
	}
	var passed error // why the last datagram was not taken for the answer
	for {
		n, err := c.receive(buf[:])
		if err == errTooSlow {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			out := fail("waiting for an answer: ", err, &p.t.cfg)
			if passed != nil {
				out.reason += ", though there was a " + passed.Error()
			}
			return out
		}
		err = dnsAnswer(buf[:n], id)
		if errors.Is(err, errNotAnswer) { // as the reference, which waits on: the answer may come yet
			passed = err
			if r := a.steps; r != nil {
				r.step(true, "pass over", dnsSaw(buf[:n])+": "+err.Error())
				r.now("wait for an answer")
			}
			continue
		}
		if r := a.steps; r != nil {
			r.judged("answer", dnsSaw(buf[:n]), err)
		}
		if err != nil {
			return outcome{reason: err.Error()}
		}
		return outcome{ok: true}
	}
}

// errNotAnswer is what a datagram gives that does not answer the question.
var errNotAnswer = errors.New("no answer")

type notAnswer string

func (e notAnswer) Error() string   { return string(e) }
func (e notAnswer) Is(t error) bool { return t == errNotAnswer }

var rcodes = [...]string{"", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}

// dnsAnswer judges the header of an answer.
func dnsAnswer(b []byte, id uint16) error {
	switch {
	case len(b) < 12:
		return notAnswer(fmt.Sprintf("DNS answer of %d bytes, shorter than a header", len(b)))
	case binary.BigEndian.Uint16(b) != id:
		return notAnswer("DNS answer to another question")
	case b[2]&0x80 == 0:
		return notAnswer("DNS message that is a question")
	}
	switch code := b[3] & 0x0f; {
	case code == 0:
		return nil
	case int(code) < len(rcodes):
		return fmt.Errorf("DNS answer has code %d (%s)", code, rcodes[code])
	default:
		return fmt.Errorf("DNS answer has code %d", code)
	}
}
