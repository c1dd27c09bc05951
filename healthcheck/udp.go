package healthcheck

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// defaultPayload is what UDP_CHECK sends if nothing is configured.
var defaultPayload = []byte("keepalived check - keepalived ch")

// udpProber is UDP_CHECK.
type udpProber struct {
	t   *target
	cfg UDPConfig
}

func newUDPProber(cfg *Config) (*udpProber, error) {
	t, err := newTarget(cfg.Connect)
	if err != nil {
		return nil, err
	}
	p := &udpProber{t: t}
	if cfg.UDP != nil {
		p.cfg = *cfg.UDP
	}
	if p.cfg.Payload == nil {
		p.cfg.Payload = defaultPayload
	}
	if p.cfg.MaxLen == 0 {
		p.cfg.MaxLen = 255
	}
	return p, nil
}

var datagrams = sync.Pool{New: func() any { return new([65536]byte) }}

func (p *udpProber) probe(a *attempt, _ int) outcome {
	c, err := dial(p.t, unix.SOCK_DGRAM, a)
	if err != nil {
		out := fail("connect: ", err, &p.t.cfg)
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) { // a route that lets nothing through: as the reference, other than TCP_CHECK
			out.unsure = false
		}
		return out
	}
	defer c.close()
	// Every ICMP error counts, not only that of a closed port.
	if p.t.family == unix.AF_INET6 {
		err = unix.SetsockoptInt(c.fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	} else {
		err = unix.SetsockoptInt(c.fd, unix.SOL_IP, unix.IP_RECVERR, 1)
	}
	if err != nil {
		return fail("", &setupError{"ask for ICMP errors", err}, &p.t.cfg)
	}
	if _, err := c.Write(p.cfg.Payload); err != nil {
		return fail("send: ", err, &p.t.cfg)
	}
	if r := a.steps; r != nil {
		r.step(true, fmt.Sprintf("send %d bytes to %s%s", len(p.cfg.Payload), p.t.cfg.Addr, hexBytes(p.cfg.Payload)), "sent"+c.from())
		r.now("wait for a reply")
	}
	// Wait for it without a buffer in hand: most checks end in silence.
	if err := c.readable(); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && !p.cfg.RequireReply {
			if r := a.steps; r != nil {
				r.step(true, r.doing, fmt.Sprintf("nothing for %s, no ICMP error: good, as no reply is required", p.t.cfg.Timeout))
			}
			return outcome{ok: true}
		}
		return fail("waiting for a reply: ", err, &p.t.cfg)
	}
	buf := datagrams.Get().(*[65536]byte)
	defer datagrams.Put(buf)
	n, err := c.receive(buf[:])
	if err != nil {
		return fail("waiting for a reply: ", err, &p.t.cfg)
	}
	err = p.cfg.judge(buf[:n])
	if r := a.steps; r != nil {
		r.judged("reply", fmt.Sprintf("%d bytes%s", n, hexBytes(buf[:n])), err)
	}
	if err != nil {
		return outcome{reason: err.Error()}
	}
	return outcome{ok: true}
}

// judge compares a reply with the configured one, over the shorter of both and where the mask is set; lengths count only then.
func (u *UDPConfig) judge(reply []byte) error {
	if u.Reply == nil {
		return nil
	}
	if len(reply) < u.MinLen || len(reply) > u.MaxLen {
		return fmt.Errorf("reply of %d bytes, wanted %d to %d", len(reply), u.MinLen, u.MaxLen)
	}
	for i := range min(len(reply), len(u.Reply)) {
		mask := byte(0xff)
		if i < len(u.Mask) {
			mask = u.Mask[i]
		}
		if (reply[i]^u.Reply[i])&mask != 0 {
			return fmt.Errorf("reply differs at byte %d: 0x%02x, wanted 0x%02x", i, reply[i], u.Reply[i])
		}
	}
	return nil
}
