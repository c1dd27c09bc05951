package confparse

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// sourceMagic begins a source that is handed over; its last letter counts the versions of the format.
const sourceMagic = "RLV1"

var errTruncated = errors.New("source is cut short")

// MarshalBinary writes what another process needs to parse the source and to say where its words were written: names, origins,
// lines. The text of the files, which holds the comments, stays behind. It implements encoding.BinaryMarshaler; the error is nil.
func (s *Source) MarshalBinary() ([]byte, error) {
	size := 64 + len(s.segs)*6 + len(s.origins)*8
	for i := range s.lines {
		size += len(s.lines[i].text) + 6
	}
	b := append(make([]byte, 0, size), sourceMagic...)
	num := func(v int32) { b = binary.AppendVarint(b, int64(v)) }
	str := func(v string) {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	var last Pos
	place := func(p Pos) { // differences are mostly one byte
		num(p.Origin - last.Origin)
		num(p.Line - last.Line)
		num(p.Col)
		last = p
	}
	num(int32(len(s.files)))
	for _, f := range s.files {
		str(f.name)
	}
	num(int32(len(s.origins)))
	for _, o := range s.origins {
		num(o.file)
		b = append(b, byte(o.kind))
		place(o.via)
		str(o.name)
	}
	num(int32(len(s.lines)))
	num(int32(len(s.segs)))
	var seg int32
	for _, l := range s.lines {
		str(l.text)
		place(l.pos)
		num(l.segEnd - seg)
		for ; seg < l.segEnd; seg++ {
			num(s.segs[seg].at)
			place(s.segs[seg].pos)
		}
	}
	return b, nil
}

// UnmarshalSource reads what MarshalBinary wrote. The error says where bytes make no source.
func UnmarshalSource(b []byte) (*Source, error) {
	r := &sourceReader{b: string(b)}
	if len(r.b) < len(sourceMagic) || r.b[:len(sourceMagic)] != sourceMagic {
		return nil, errors.New("source: not one, or of another version")
	}
	r.at = len(sourceMagic)
	s := r.source()
	if r.err != nil {
		return nil, fmt.Errorf("source: byte %d: %w", r.at, r.err)
	}
	if r.at != len(r.b) {
		return nil, fmt.Errorf("source: %d bytes too many", len(r.b)-r.at)
	}
	return s, nil
}

// sourceReader reads a handed-over source. The first error stays, and everything read after it is zero.
type sourceReader struct {
	b    string
	at   int
	last Pos
	err  error
}

func (r *sourceReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *sourceReader) uvarint() uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 && r.err == nil { // nearly all of them
		r.at++
		return uint64(r.b[r.at-1])
	}
	return r.longVarint()
}

func (r *sourceReader) longVarint() uint64 {
	var v uint64
	for shift := 0; r.err == nil; shift += 7 {
		if r.at == len(r.b) {
			r.fail(errTruncated)
			break
		}
		c := r.b[r.at]
		r.at++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
		if shift > 56 {
			r.fail(errors.New("number too large"))
		}
	}
	return 0
}

func (r *sourceReader) num() int32 {
	u := r.uvarint()
	v := int64(u>>1) ^ -int64(u&1)
	if v != int64(int32(v)) {
		r.fail(errors.New("number too large"))
		return 0
	}
	return int32(v)
}

// count is a number of things of which each takes at least size bytes.
func (r *sourceReader) count(size int) int {
	n := int(r.num())
	if n < 0 || n > (len(r.b)-r.at)/size {
		r.fail(errTruncated)
		return 0
	}
	return n
}

func (r *sourceReader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.at) {
		r.fail(errTruncated)
		return ""
	}
	s := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return s
}

func (r *sourceReader) place() Pos {
	p := Pos{Origin: r.last.Origin + r.num(), Line: r.last.Line + r.num()}
	p.Col = r.num()
	r.last = p
	return p
}

// plainLine reads a line whose numbers take one byte each and that has no segments, as nearly all do; false: it is not one, and nothing was read.
func (r *sourceReader) plainLine(l *line) bool {
	if r.err != nil || r.at >= len(r.b) || r.b[r.at] >= 0x80 {
		return false
	}
	from := r.at + 1
	to := from + int(r.b[r.at])
	if to+4 > len(r.b) {
		return false
	}
	origin, num, col, segs := r.b[to], r.b[to+1], r.b[to+2], r.b[to+3]
	if (origin|num|col)&0x80 != 0 || segs != 0 {
		return false
	}
	l.text, r.at = r.b[from:to], to+4
	r.last.Origin += int32(origin>>1) ^ -int32(origin&1)
	r.last.Line += int32(num>>1) ^ -int32(num&1)
	r.last.Col = int32(col>>1) ^ -int32(col&1)
	l.pos = r.last
	return true
}

func (r *sourceReader) source() *Source {
	s := &Source{}
	s.files = make([]file, r.count(1))
	for i := range s.files {
		s.files[i].name = r.str()
	}
	s.origins = make([]origin, r.count(6))
	for i := range s.origins {
		o := &s.origins[i]
		o.file = r.num()
		if r.at < len(r.b) {
			o.kind = originKind(r.b[r.at])
			r.at++
		}
		o.via = r.place()
		o.name = r.str()
		// The chain of an origin leads to earlier ones, so that it ends.
		if o.file < 0 || int(o.file) >= len(s.files) || o.kind > originParameter ||
			o.kind != originFile && (o.via.Origin < 0 || int(o.via.Origin) >= i) {
			r.fail(errors.New("origin that leads nowhere"))
		}
	}
	s.lines = make([]line, r.count(5))
	s.segs = make([]seg, 0, r.count(4))
	for i := range s.lines {
		l := &s.lines[i]
		if r.plainLine(l) {
			l.segEnd = int32(len(s.segs))
			continue
		}
		l.text = r.str()
		l.pos = r.place()
		n := r.count(4)
		for k := range n {
			sg := seg{at: r.num()}
			sg.pos = r.place()
			if k == 0 && sg.at != 0 || int(sg.at) > len(l.text) {
				r.fail(errors.New("segment outside its line"))
			}
			s.segs = append(s.segs, sg)
		}
		l.segEnd = int32(len(s.segs))
	}
	return s
}
