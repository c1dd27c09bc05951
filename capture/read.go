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

	"golang.org/x/sys/unix"
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
	linkNull     = 0
	linkEthernet = 1
	linkRaw      = 101
	linkLoop     = 108
	linkSLL      = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkSLL2     = 276
)

// ErrFormat is the cause of all errors about what a file holds.
var ErrFormat = errors.New("not a capture that can be read")

// Reader reads pcap (both byte orders, microseconds and nanoseconds) and pcapng. What comes of links that are not read, a radio or a
// USB bus, is skipped.
type Reader struct {
	r      *bufio.Reader
	order  binary.ByteOrder
	points []Point
	links  []link
	ng     bool
	base   int // the first link of the present section
	buf    []byte
	last   time.Time
	// cooked are the points of the interfaces that the packets of a link name by their number.
	cooked map[[2]int]int
	// strange is the type of a link that is not read; some tells whether any packet was.
	strange uint16
	some    bool
}

// link is how the packets of an interface of the file are to be read.
type link struct {
	kind  uint16
	unit  func(uint64) time.Time
	off   time.Duration
	snap  uint32
	point int
	// numbered is set when a packet has told the number of an interface.
	numbered bool
}

// latest is the last time that counts in nanoseconds.
const latest = 1<<63/1000000000 - 1

func units(perSecond uint64) func(uint64) time.Time {
	return func(t uint64) time.Time {
		hi, lo := bits.Mul64(t%perSecond, 1e9)
		ns, _ := bits.Div64(hi, lo, perSecond)
		return time.Unix(int64(min(t/perSecond, latest)), int64(ns))
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
	l := link{kind: uint16(order.Uint32(h[20:])), unit: units(1e6)}
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
	for {
		read := r.nextRecord
		if r.ng {
			read = r.nextBlock
		}
		p, at, err := read()
		if err == io.EOF && r.strange > 0 && !r.some {
			return Packet{}, fmt.Errorf("%w: its packets are of link type %d; Ethernet, Linux cooked, raw IP and BSD loopback are read", ErrFormat, r.strange)
		}
		if err != nil {
			return Packet{}, err
		}
		l, whole := r.links[at], len(p.Data)
		data, number, ok := ethernet(l.kind, p.Data)
		if !ok {
			r.strange = l.kind
			continue
		}
		p.Data, p.Len, p.Point, p.Cooked, r.some = data, max(p.Len+len(data)-whole, len(data)), l.point, l.kind != linkEthernet, true
		if number > 0 {
			p.Point = r.numbered(at, number)
		}
		r.last = p.At
		return p, nil
	}
}

// numbered is the point of an interface that packets name by its number: those of tcpdump -i any.
func (r *Reader) numbered(at, number int) int {
	key := [2]int{at, number}
	if p, ok := r.cooked[key]; ok {
		return p
	}
	l := &r.links[at]
	p, name := l.point, fmt.Sprintf("interface %d", number)
	switch {
	case len(r.points) >= maxPoints:
		return p
	case l.numbered:
		p, r.points = len(r.points), append(r.points, Point{name})
	case r.ng:
		r.points[p].Name += " " + name
	default: // the file itself is no place
		r.points[p].Name = name
	}
	if l.numbered = true; r.cooked == nil {
		r.cooked = map[[2]int]int{}
	}
	r.cooked[key] = p
	return p
}

func (r *Reader) nextRecord() (Packet, int, error) {
	var h [16]byte
	if n, err := io.ReadFull(r.r, h[:]); err != nil {
		if n == 0 {
			return Packet{}, 0, io.EOF
		}
		return Packet{}, 0, io.ErrUnexpectedEOF
	}
	n := r.order.Uint32(h[8:])
	if n > maxPacket {
		return Packet{}, 0, fmt.Errorf("%w: a packet of %d bytes", ErrFormat, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return Packet{}, 0, io.ErrUnexpectedEOF
	}
	perSecond := r.links[0].unit(uint64(r.order.Uint32(h[4:])))
	at := time.Unix(int64(r.order.Uint32(h[:])), perSecond.Sub(time.Unix(0, 0)).Nanoseconds())
	return Packet{At: at, Data: b, Len: int(r.order.Uint32(h[12:]))}, 0, nil
}

// The kinds of blocks that matter (draft-ietf-opsawg-pcapng, section 4).
const (
	blockInterface = 1
	blockOld       = 2
	blockSimple    = 3
	blockPacket    = 6
	blockSection   = 0x0a0d0d0a
)

// nextBlock reads blocks of pcapng until one holds a packet, of which it tells the link.
func (r *Reader) nextBlock() (Packet, int, error) {
	fail := func(err error) (Packet, int, error) { return Packet{}, 0, err }
	for {
		var h [8]byte
		if n, err := io.ReadFull(r.r, h[:]); err != nil {
			return fail(ifElse(n == 0, io.EOF, io.ErrUnexpectedEOF))
		}
		kind := binary.LittleEndian.Uint32(h[:])
		if kind == blockSection {
			if err := r.section(h[4:]); err != nil {
				return fail(err)
			}
			continue
		}
		if r.order == nil {
			return fail(fmt.Errorf("%w: it does not begin with a section", ErrFormat))
		}
		kind = r.order.Uint32(h[:])
		n := r.order.Uint32(h[4:])
		switch kind {
		case blockInterface, blockOld, blockSimple, blockPacket:
		default: // names, statistics, keys: may be long
			if err := r.skip(n, 8); err != nil {
				return fail(err)
			}
			continue
		}
		body, err := r.body(n, 8)
		if err != nil {
			return fail(err)
		}
		if kind == blockInterface {
			if err := r.iface(body); err != nil {
				return fail(err)
			}
			continue
		}
		p, at, err := r.packet(kind, body)
		if err != nil {
			return fail(err)
		}
		return p, at, nil
	}
}

// packet reads the body of a block that holds a packet.
func (r *Reader) packet(kind uint32, body []byte) (Packet, int, error) {
	head := ifElse(kind == blockSimple, 4, 20)
	if len(body) < head {
		return Packet{}, 0, fmt.Errorf("%w: a packet block is cut", ErrFormat)
	}
	number, caught, whole := uint32(0), uint32(0), uint32(0)
	switch kind {
	case blockSimple:
		whole = r.order.Uint32(body)
		caught = min(whole, uint32(len(body)-head))
	case blockOld:
		number, caught, whole = uint32(r.order.Uint16(body)), r.order.Uint32(body[12:]), r.order.Uint32(body[16:])
	default:
		number, caught, whole = r.order.Uint32(body), r.order.Uint32(body[12:]), r.order.Uint32(body[16:])
	}
	at := r.base + int(number)
	if at >= len(r.links) || at < r.base || int64(caught) > int64(len(body)-head) {
		return Packet{}, 0, fmt.Errorf("%w: a packet of interface %d with %d bytes", ErrFormat, number, caught)
	}
	l, when := r.links[at], r.last
	if kind != blockSimple { // which tells no time
		when = l.unit(uint64(r.order.Uint32(body[4:]))<<32 | uint64(r.order.Uint32(body[8:]))).Add(l.off)
	} else if l.snap > 0 {
		caught = min(caught, l.snap)
	}
	return Packet{At: when, Data: append([]byte(nil), body[head:head+int(caught)]...), Len: int(whole)}, at, nil
}

// skip leaves out the rest of a block of the given length, of which head bytes are read already.
func (r *Reader) skip(n uint32, head int) error {
	if n%4 != 0 || n < uint32(head)+4 {
		return fmt.Errorf("%w: a block of %d bytes", ErrFormat, n)
	}
	if _, err := io.CopyN(io.Discard, r.r, int64(n)-int64(head)); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// body reads the rest of a block of the given length, of which head bytes are read already.
func (r *Reader) body(n uint32, head int) ([]byte, error) {
	if n%4 != 0 || n < uint32(head)+4 || n > maxPacket+1<<16 {
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
	r.base = len(r.links)
	return nil
}

// maxPoints bounds the interfaces of a file.
const maxPoints = 4096

func (r *Reader) iface(b []byte) error {
	if len(b) < 8 || len(r.points) >= maxPoints || len(r.links) >= maxPoints {
		return fmt.Errorf("%w: an interface block is cut, or there are too many", ErrFormat)
	}
	l := link{kind: r.order.Uint16(b), unit: units(1e6), snap: r.order.Uint32(b[4:]), point: len(r.points)}
	name := fmt.Sprintf("interface %d", len(r.links)-r.base)
	for o := b[8:]; len(o) >= 4; {
		code, n := r.order.Uint16(o), int(r.order.Uint16(o[2:]))
		if code == 0 || 4+n > len(o) {
			break
		}
		v := o[4 : 4+n]
		switch {
		case code == 2:
			name = printable(strings.TrimRight(string(v), "\x00"))
		case code == 9 && n == 1 && v[0]&0x80 == 0 && v[0] <= 18:
			p := uint64(1)
			for range v[0] {
				p *= 10
			}
			l.unit = units(p)
		case code == 9 && n == 1 && v[0]&0x80 != 0 && v[0]&0x7f < 32:
			l.unit = units(1 << (v[0] & 0x7f))
		case code == 14 && n == 8:
			l.off = time.Duration(min(max(int64(r.order.Uint64(v)), -latest/2), latest/2)) * time.Second
		}
		o = o[min(len(o), 4+(n+3)&^3):]
	}
	r.points, r.links = append(r.points, Point{name}), append(r.links, l)
	return nil
}

// ethernet gives a packet of another kind of link an Ethernet header, as far as the link's own tells what is in one. number is that of the
// interface, 0 if the packet does not tell.
func ethernet(kind uint16, b []byte) (frame []byte, number int, ok bool) {
	var h [14]byte
	header := func(to byte, from []byte, proto uint16, rest []byte) []byte {
		if to == unix.PACKET_BROADCAST {
			copy(h[:], "\xff\xff\xff\xff\xff\xff")
		}
		copy(h[6:12], from)
		be.PutUint16(h[12:], proto)
		return append(h[:], rest...)
	}
	switch kind {
	case linkEthernet:
		return b, 0, true
	case linkSLL:
		if len(b) < 16 {
			return nil, 0, true
		}
		return header(b[1], b[6:12], be.Uint16(b[14:]), b[16:]), 0, true
	case linkSLL2:
		if len(b) < 20 {
			return nil, 0, true
		}
		return header(b[10], b[12:18], be.Uint16(b), b[20:]), int(be.Uint32(b[4:]) & 0x7fffffff), true
	case linkNull, linkLoop: // a family in whichever byte order, then the packet
		b = b[min(len(b), 4):]
	case linkRaw, linkIPv4, linkIPv6, 12, 14: // the last two are what raw IP was called on some systems
	default:
		return nil, 0, false
	}
	proto := uint16(etherIPv4)
	if len(b) > 0 && b[0]>>4 == 6 {
		proto = etherIPv6
	}
	return header(0, nil, proto, b), 0, true
}
