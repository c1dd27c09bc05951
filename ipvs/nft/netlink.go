package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// replyTimeout bounds the wait for the kernel's answer to one transaction or one part of a dump.
const replyTimeout = 10 * time.Second

// errChanged says that the ruleset changed while it was being listed (NLM_F_DUMP_INTR).
var errChanged = errors.New("the ruleset changed while it was read")

// socket is a NETLINK_NETFILTER socket. It stays in the network namespace of the thread that opened it.
type socket struct {
	fd int
	// torn takes a listing that was changed meanwhile each time that it was tried.
	torn bool
	seq  uint32
	buf  []byte
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netfilter socket: %w", err)
	}
	// A transaction is one message to the kernel: the send buffer bounds it. Without the privilege the system's limit stays.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	tv := unix.NsecToTimeval(int64(replyTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netfilter socket timeout: %w", err)
	}
	return &socket{fd: fd, buf: make([]byte, 1<<16)}, nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// receive reads one datagram and calls each for its messages until that returns false.
func (s *socket) receive(each func(h unix.NlMsghdr, data []byte) bool) error {
	n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("no answer from the kernel within %v: %w", replyTimeout, os.ErrDeadlineExceeded)
	}
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	for b := s.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		h := unix.NlMsghdr{
			Len:   binary.NativeEndian.Uint32(b),
			Type:  binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq:   binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
			return errors.New("truncated netlink message")
		}
		if !each(h, b[unix.NLMSG_HDRLEN:h.Len]) {
			return nil
		}
		b = b[min(align4(int(h.Len)), len(b)):]
	}
	return nil
}

// errno reads the body of NLMSG_ERROR or NLMSG_DONE.
func errno(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(data)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

// dump sends a request with NLM_F_DUMP and calls each with the attributes of every message of the answer. It is repeated when the
// ruleset changed meanwhile; reset is called before each attempt.
func (s *socket) dump(typ uint16, family uint8, req []byte, reset func(), each func(attrs []byte)) error {
	var err error
	for range 10 {
		reset()
		if err = s.dumpOnce(typ, family, req, each); !errors.Is(err, errChanged) {
			return err
		}
	}
	if s.torn {
		return nil
	}
	return err
}

func (s *socket) dumpOnce(typ uint16, family uint8, req []byte, each func(attrs []byte)) error {
	s.seq++
	seq := s.seq
	m := appendHeader(nil, typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, seq, family, 0)
	m = append(m, req...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	done, changed := false, false
	var failed error
	for !done {
		err := s.receive(func(h unix.NlMsghdr, data []byte) bool {
			if h.Seq != seq {
				return true
			}
			changed = changed || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case h.Type == unix.NLMSG_DONE, h.Type == unix.NLMSG_ERROR:
				failed, done = errno(data), true
				return false
			case len(data) >= 4:
				each(data[4:])
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	if failed == nil && changed {
		return errChanged
	}
	return failed
}

// batch is a transaction: all of its messages take effect at one instant, or none does.
type batch struct {
	b     []byte
	first uint32
	seq   uint32
	start int // of the message being written
	setID uint32
	what  map[uint32]string // message → what it does, for errors
}

// msg is a message of a batch: what names it in an error.
func (t *batch) msg(typ, flags uint16, what string, body func(e *enc)) {
	if t.what == nil {
		t.what = map[uint32]string{}
	}
	t.seq++
	t.what[t.seq] = what
	t.start = len(t.b)
	t.b = appendHeader(t.b, unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_REQUEST|flags, t.seq, unix.NFPROTO_INET, 0)
	e := enc{b: t.b}
	body(&e)
	t.b = e.b
	binary.NativeEndian.PutUint32(t.b[t.start:], uint32(len(t.b)-t.start))
}

func (t *batch) empty() bool { return len(t.what) == 0 }

// generation is the number of changes that the ruleset of this namespace, all tables of it, has seen.
func (s *socket) generation() (gen uint32, err error) {
	s.seq++
	seq := s.seq
	m := appendHeader(nil, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.NLM_F_REQUEST, seq, unix.AF_UNSPEC, 0)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	if err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	var failed error
	for done := false; !done; {
		err := s.receive(func(h unix.NlMsghdr, data []byte) bool {
			if h.Seq != seq {
				return true
			}
			done = true
			if h.Type == unix.NLMSG_ERROR {
				failed = errno(data)
				return false
			}
			if len(data) >= 4 {
				walk(data[4:], func(typ uint16, v []byte) {
					if typ == nftaGenID && len(v) >= 4 {
						gen = binary.BigEndian.Uint32(v)
					}
				})
			}
			return true
		})
		if err != nil {
			return 0, err
		}
	}
	return gen, failed
}

const (
	nftaGenID      = 1 // NFTA_GEN_ID, linux/netfilter/nf_tables.h
	nfnlBatchGenID = 1 // NFNL_BATCH_GENID, linux/netfilter/nfnetlink.h
)

// errMoved says that the ruleset was changed by somebody else since the generation that a transaction was made for.
var errMoved error = unix.ERESTART

// commit sends the transaction. The error names the first message that the kernel refused. With a generation above zero the
// kernel takes it only if the ruleset is still of that generation; the error wraps errMoved if it is not.
func (s *socket) commit(t *batch, gen uint32) error {
	if t.empty() {
		return nil
	}
	// The kernel answers with errors for any message but acknowledges only what asks for it: the last one.
	flags := t.b[t.start+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)

	base := s.seq + 1 // of the opening message
	s.seq += t.seq + 2
	last := base + t.seq
	out := make([]byte, 0, len(t.b)+64)
	out = appendHeader(out, unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, base, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	if gen != 0 {
		e := enc{b: out}
		e.u32(nfnlBatchGenID, gen)
		out = e.b
	}
	binary.NativeEndian.PutUint32(out, uint32(len(out)))
	for m := t.b; len(m) > 0; {
		n := int(binary.NativeEndian.Uint32(m))
		binary.NativeEndian.PutUint32(m[8:], base+binary.NativeEndian.Uint32(m[8:]))
		out, m = append(out, m[:n]...), m[n:]
	}
	end := len(out)
	out = appendHeader(out, unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, last+1, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
	binary.NativeEndian.PutUint32(out[end:], uint32(len(out)-end))

	if err := unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send a transaction of %d bytes: %w", len(out), err)
	}
	var failed error
	for done := false; !done; {
		err := s.receive(func(h unix.NlMsghdr, data []byte) bool {
			if h.Type != unix.NLMSG_ERROR || h.Seq < base || h.Seq > last+1 {
				return true // an answer to something older
			}
			if err := errno(data); err != nil && failed == nil {
				what := t.what[h.Seq-base]
				if what == "" {
					what = "commit"
				}
				failed = fmt.Errorf("%s: %w", what, err)
			}
			done = done || h.Seq == base || h.Seq >= last
			return true
		})
		if err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

func align4(n int) int { return (n + 3) &^ 3 }

// appendHeader writes nlmsghdr and nfgenmsg; the caller fills in the length.
func appendHeader(b []byte, typ, flags uint16, seq uint32, family uint8, res uint16) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, res)
}

// enc writes netlink attributes; numbers are big-endian, as nfnetlink has them.
type enc struct{ b []byte }

func (e *enc) bytes(typ uint16, v []byte) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(len(v)+unix.SizeofNlAttr))
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = append(e.b, v...)
	for len(e.b)&3 != 0 {
		e.b = append(e.b, 0)
	}
}

func (e *enc) u8(typ uint16, v uint8) { e.bytes(typ, []byte{v}) }
func (e *enc) u32(typ uint16, v uint32) {
	e.bytes(typ, binary.BigEndian.AppendUint32(make([]byte, 0, 4), v))
}
func (e *enc) u64(typ uint16, v uint64) {
	e.bytes(typ, binary.BigEndian.AppendUint64(make([]byte, 0, 8), v))
}
func (e *enc) str(typ uint16, v string) { e.bytes(typ, append([]byte(v), 0)) }

func (e *enc) nest(typ uint16, body func()) {
	at := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	body()
	binary.NativeEndian.PutUint16(e.b[at:], uint16(len(e.b)-at))
	binary.NativeEndian.PutUint16(e.b[at+2:], typ|unix.NLA_F_NESTED)
}

// walk calls each for every attribute, with the flag bits taken off the type. Malformed input ends it.
func walk(b []byte, each func(typ uint16, v []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n])
		b = b[min(align4(n), len(b)):]
	}
}

// text is an attribute that holds a string, with or without its terminating zero.
func text(v []byte) string {
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return string(v)
}

func be64(v []byte) uint64 {
	if len(v) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}
