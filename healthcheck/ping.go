package healthcheck

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	icmpEcho, icmpEchoReply   = 8, 0 // RFC 792
	icmp6Echo, icmp6EchoReply = 128, 129
	pingText                  = "keepalived check - "
	pingPayload               = pingText + pingText + pingText + pingText + pingText + pingText + pingText // of which 128 bytes are sent, as the reference
	pingSize                  = 8 + 128
)

// pingProber is PING_CHECK. Its socket stays open between attempts, so that the identifier is the same and the sequence goes on.
type pingProber struct {
	t   *target
	c   *conn
	raw bool
	id  uint16
	seq uint16
}

// pingIDs tells the raw sockets of a process apart.
var pingIDs atomic.Uint32

func newPingProber(cfg *Config) (*pingProber, error) {
	t, err := newTarget(cfg.Connect)
	if err != nil {
		return nil, err
	}
	// An echo has no ports.
	p := &pingProber{t: t, id: uint16(os.Getpid()) ^ uint16(pingIDs.Add(1)*40503)}
	if p.t.to, err = sockaddr(cfg.Addr.Addr(), 0, t.family); err != nil {
		return nil, err
	}
	return p, nil
}

// open makes the socket: the kernel's ping socket where net.ipv4.ping_group_range allows it, else a raw one.
func (p *pingProber) open(a *attempt) error {
	proto := unix.IPPROTO_ICMP
	if p.t.family == unix.AF_INET6 {
		proto = unix.IPPROTO_ICMPV6
	}
	fd, err := p.t.socket(unix.SOCK_DGRAM, proto)
	p.raw = false
	if s, ok := err.(*setupError); ok && (s.err == unix.EACCES || s.err == unix.EPERM || s.err == unix.EPROTONOSUPPORT) && s.op == "socket" {
		p.raw = true
		if fd, err = p.t.socket(unix.SOCK_RAW, proto); err == nil {
			p.onlyReplies(fd)
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, p.t.to); err != nil {
		unix.Close(fd)
		return err
	}
	p.c = conns.Get().(*conn)
	p.c.fd, p.c.timeout = fd, p.t.cfg.Timeout
	return nil
}

// onlyReplies keeps other ICMP messages out of a raw socket: it would get them all, and in a flood of them the reply might find no room.
func (p *pingProber) onlyReplies(fd int) {
	if p.t.family != unix.AF_INET6 {
		const solRaw, icmpFilter = 255, 1 // linux/icmp.h
		_ = unix.SetsockoptInt(fd, solRaw, icmpFilter, ^(1 << icmpEchoReply))
		return
	}
	f := unix.ICMPv6Filter{}
	for i := range f.Data {
		f.Data[i] = ^uint32(0)
	}
	f.Data[icmp6EchoReply>>5] &^= 1 << (icmp6EchoReply & 31)
	_ = unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f)
}

// Close gives the socket back; the checker's goroutine calls it at its end.
func (p *pingProber) Close() error {
	if p.c != nil {
		p.c.close()
		p.c = nil
	}
	return nil
}

func (p *pingProber) probe(a *attempt, _ int) outcome {
	if p.c == nil {
		if err := p.open(a); err != nil {
			return fail("", err, &p.t.cfg)
		}
	}
	c := p.c
	c.att, c.limit = a, time.Time{}
	if p.t.cfg.Timeout > 0 {
		c.limit = time.Now().Add(p.t.cfg.Timeout)
	}
	p.seq++
	var buf [pingSize + 60]byte // with the longest IP header
	if _, err := c.Write(p.echo(buf[:0])); err != nil {
		p.Close()
		return fail("send echo: ", err, &p.t.cfg)
	}
	if r := a.steps; r != nil {
		how := "the kernel's ping socket"
		if p.raw {
			how = "a raw socket"
		}
		r.step(true, fmt.Sprintf("send an echo request of %d bytes to %s, sequence %d", pingSize, p.t.cfg.Addr.Addr(), p.seq), "sent by "+how)
		r.now("wait for the echo reply")
	}
	for {
		n, err := c.receive(buf[:])
		if err == errTooSlow {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			p.Close()
			return fail("waiting for an echo reply: ", err, &p.t.cfg)
		}
		if p.isReply(buf[:n]) {
			if r := a.steps; r != nil {
				r.step(true, "echo reply", fmt.Sprintf("sequence %d, %d bytes", p.seq, n))
			}
			return outcome{ok: true}
		}
	}
}

// echo is the request; for ping sockets the kernel sets identifier and checksum, for raw IPv6 ones the checksum.
func (p *pingProber) echo(b []byte) []byte {
	b = append(b, icmpEcho, 0, 0, 0)
	if p.t.family == unix.AF_INET6 {
		b[0] = icmp6Echo
	}
	b = binary.BigEndian.AppendUint16(b, p.id)
	b = binary.BigEndian.AppendUint16(b, p.seq)
	b = append(b, pingPayload[:pingSize-8]...)
	if p.t.family == unix.AF_INET {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// isReply reports whether b, a message of the server, answers the last request; others are late or not ours.
func (p *pingProber) isReply(b []byte) bool {
	want := byte(icmpEchoReply)
	if p.t.family == unix.AF_INET6 {
		want = icmp6EchoReply
	} else if p.raw { // with its IP header
		if len(b) < 20 || len(b) < int(b[0]&15)*4 {
			return false
		}
		b = b[int(b[0]&15)*4:]
	}
	return len(b) >= 8 && b[0] == want && b[1] == 0 && binary.BigEndian.Uint16(b[6:]) == p.seq &&
		(!p.raw || binary.BigEndian.Uint16(b[4:]) == p.id)
}

// checksum is RFC 1071's; len(b) is even.
func checksum(b []byte) uint16 {
	s := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
