package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// Source gives packets one after the other, io.EOF at the end.
type Source interface {
	// Points are the places that packets can come from, as known so far.
	Points() []Point
	Next() (Packet, error)
}

// maxPacket bounds a packet of a file.
const maxPacket = 1 << 18

// The link types that files may have (https://www.tcpdump.org/linktypes.html).
const (
	linkEthernet = 1
	linkRaw      = 101
	linkSLL      = 113
	linkSLL2     = 276
)

// ErrFormat is the cause of all errors about what a file holds.
var ErrFormat = errors.New("not a capture that can be read")

// Reader reads pcap (both byte orders, microseconds and nanoseconds) and pcapng.
type Reader struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	points []Point
	links  []link
	ng     bool
	base   int // the first point of the present section
	buf    []byte
}

// link is how the packets of a point are to be read.
type link struct {
	kind uint16
	unit func(uint64) time.Time
}

func units(perSecond uint64) func(uint64) time.Time {
	return func(t uint64) time.Time {
		hi, lo := bits.Mul64(t%perSecond, 1e9)
		ns, _ := bits.Div64(hi, lo, perSecond)
		return time.Unix(int64(t/perSecond), int64(ns))
	}
}

// NewReader looks at the head of a file.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{r: bufio.NewReaderSize(in, 1<<16)}
	head, err := r.r.Peek(4)
	if err == io.EOF {
		return nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(head))
	}
	if err != nil {
		return nil, err
	}
	switch binary.LittleEndian.Uint32(head) {
	case 0xa1b2c3d4, 0xa1b23c4d:
		return r, r.classic(binary.LittleEndian)
	case 0xd4c3b2a1, 0x4d3cb2a1:
		return r, r.classic(binary.BigEndian)
	case 0x0a0d0d0a:
		r.ng = true
		return r, nil
	}
	if head[0] == 0x1f && head[1] == 0x8b {
		return nil, fmt.Errorf("%w: it is compressed; zcat it into releve capture -r -", ErrFormat)
	}
	return nil, fmt.Errorf("%w: neither pcap nor pcapng", ErrFormat)
}

func (r *Reader) classic(order binary.ByteOrder) error {
	r.order = order
	var h [24]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return fmt.Errorf("%w: the file header is cut", ErrFormat)
	}
	l := link{uint16(order.Uint32(h[20:])), units(1e6)}
	if order.Uint32(h[:]) == 0xa1b23c4d {
		l.unit = units(1e9)
	}
	r.points, r.links = []Point{{"the file"}}, []link{l}
	return nil
}

// Points are the interfaces of the file.
func (r *Reader) Points() []Point { return r.points }

// Next gives the next packet. A file that ends in the middle of one gives io.ErrUnexpectedEOF.
func (r *Reader) Next() (Packet, error) {
	if r.ng {
		return r.nextBlock()
	}
	var h [16]byte
	if n, err := io.ReadFull(r.r, h[:]); err != nil {
		if n == 0 {
			return Packet{}, io.EOF
		}
		return Packet{}, io.ErrUnexpectedEOF
	}
	n := r.order.Uint32(h[8:])
	if n > maxPacket {
		return Packet{}, fmt.Errorf("%w: a packet of %d bytes", ErrFormat, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return Packet{}, io.ErrUnexpectedEOF
	}
	perSecond := r.links[0].unit(uint64(r.order.Uint32(h[4:])))
	at := time.Unix(int64(r.order.Uint32(h[:])), perSecond.Sub(time.Unix(0, 0)).Nanoseconds())
	return Packet{At: at, Data: ethernet(r.links[0].kind, b), Len: int(r.order.Uint32(h[12:]))}, nil
}

// nextBlock reads blocks of pcapng until one holds a packet.
func (r *Reader) nextBlock() (Packet, error) {
	for {
		var h [8]byte
		if n, err := io.ReadFull(r.r, h[:]); err != nil {
			if n == 0 {
				return Packet{}, io.EOF
			}
			return Packet{}, io.ErrUnexpectedEOF
		}
		kind := binary.LittleEndian.Uint32(h[:])
		if kind == 0x0a0d0d0a {
			if err := r.section(h[4:]); err != nil {
				return Packet{}, err
			}
			continue
		}
		if r.order == nil {
			return Packet{}, fmt.Errorf("%w: it does not begin with a section", ErrFormat)
		}
		kind = r.order.Uint32(h[:])
		body, err := r.body(r.order.Uint32(h[4:]), 8)
		if err != nil {
			return Packet{}, err
		}
		switch kind {
		case 1:
			if err := r.iface(body); err != nil {
				return Packet{}, err
			}
		case 6:
			if len(body) < 20 {
				return Packet{}, fmt.Errorf("%w: a packet block is cut", ErrFormat)
			}
			at, n := r.base+int(r.order.Uint32(body)), r.order.Uint32(body[12:])
			if at >= len(r.links) || at < r.base || int64(n) > int64(len(body)-20) {
				return Packet{}, fmt.Errorf("%w: a packet of interface %d with %d bytes", ErrFormat, at-r.base, n)
			}
			l := r.links[at]
			stamp := uint64(r.order.Uint32(body[4:]))<<32 | uint64(r.order.Uint32(body[8:]))
			return Packet{At: l.unit(stamp), Point: at, Data: ethernet(l.kind, append([]byte(nil), body[20:20+n]...)), Len: int(r.order.Uint32(body[16:]))}, nil
		}
	}
}

// body reads the rest of a block of the given length, of which head bytes are read already.
func (r *Reader) body(n uint32, head int) ([]byte, error) {
	if n%4 != 0 || n < uint32(head)+4 || n > maxPacket {
		return nil, fmt.Errorf("%w: a block of %d bytes", ErrFormat, n)
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	b := r.buf[:int(n)-head]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return b[:len(b)-4], nil
}

func (r *Reader) section(length []byte) error {
	var m [4]byte
	if _, err := io.ReadFull(r.r, m[:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	switch binary.LittleEndian.Uint32(m[:]) {
	case 0x1a2b3c4d:
		r.order = binary.LittleEndian
	case 0x4d3c2b1a:
		r.order = binary.BigEndian
	default:
		return fmt.Errorf("%w: a section of unknown byte order", ErrFormat)
	}
	if _, err := r.body(r.order.Uint32(length), 12); err != nil {
		return err
	}
	r.base = len(r.points)
	return nil
}

// maxPoints bounds the interfaces of a file.
const maxPoints = 4096

func (r *Reader) iface(b []byte) error {
	if len(b) < 8 || len(r.points) >= maxPoints {
		return fmt.Errorf("%w: an interface block is cut, or there are too many", ErrFormat)
	}
	l := link{r.order.Uint16(b), units(1e6)}
	name := fmt.Sprintf("interface %d", len(r.points)-r.base)
	for o := b[8:]; len(o) >= 4; {
		code, n := r.order.Uint16(o), int(r.order.Uint16(o[2:]))
		if code == 0 || 4+n > len(o) {
			break
		}
		v := o[4 : 4+n]
		switch {
		case code == 2:
			name = printable(strings.TrimRight(string(v), "\x00"))
		case code == 9 && n == 1 && v[0]&0x80 == 0 && v[0] <= 9:
			p := uint64(1)
			for range v[0] {
				p *= 10
			}
			l.unit = units(p)
		case code == 9 && n == 1 && v[0]&0x80 != 0 && v[0]&0x7f < 32:
			l.unit = units(1 << (v[0] & 0x7f))
		}
		o = o[min(len(o), 4+(n+3)&^3):]
	}
	r.points, r.links = append(r.points, Point{name}), append(r.links, l)
	return nil
}

// ethernet gives a packet of another kind of link an Ethernet header.
func ethernet(kind uint16, b []byte) []byte {
	var h [14]byte
	switch kind {
	case linkSLL:
		if len(b) < 16 {
			return nil
		}
		copy(h[6:], b[6:12])
		copy(h[12:], b[14:16])
		return append(h[:], b[16:]...)
	case linkSLL2:
		if len(b) < 20 {
			return nil
		}
		copy(h[6:], b[12:18])
		copy(h[12:], b[:2])
		return append(h[:], b[20:]...)
	case linkRaw:
		if len(b) > 0 && b[0]>>4 == 6 {
			be.PutUint16(h[12:], etherIPv6)
		} else {
			be.PutUint16(h[12:], etherIPv4)
		}
		return append(h[:], b...)
	}
	return b
}
