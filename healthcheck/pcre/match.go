package pcre

import (
	"bytes"
	"sync"
	"unicode"
	"unicode/utf8"
)

// What an entry of the stack is: something to try, or something to put back.
const (
	kChoice = iota // go on at pc, position a
	kReg           // register pc was a
	kFrame         // the frame was a; b: frames from there on are no longer needed, -1: they are
	kRun           // a greedy run reaches to a, and may be cut down to b; go on at pc
	kLazy          // runs[b&mask] of which the last took all up to a; go on at pc
	kCommit        // no match at all
	kPrune         // no match that begins here
	kSkip          // nor before a
	kBack          // down to height a
)

type entry struct {
	kind  uint8
	pc    int32
	a, b  int32
	count int32 // of a kLazy: how many more it may take; -1: any number
}

const entrySize = 20

// frame is a call of a group.
type frame struct {
	group  int32
	ret    int32
	parent int32
	pos    int32
	height int32 // of the stack before it
	saved  []int32
}

// machine is one match.
type machine struct {
	p      *Pattern
	text   []byte
	from   int
	wide   bool
	steps  int
	room   int // bytes left for the stack and frames
	regs   []int32
	stack  []entry
	frames []frame
	frame  int32
	skip   int // where (*SKIP) wants the next attempt to begin
}

var machines = sync.Pool{New: func() any { return new(machine) }}

// keep is how large a stack may be that is kept for the next match.
const keep = 1 << 14

// Match says whether there is a match that begins at byte from or behind, and not behind byte last. What is before from can be looked at.
func (p *Pattern) Match(text []byte, from, last int) (bool, error) {
	m := machines.Get().(*machine)
	defer func() {
		m.text = nil
		if cap(m.stack) <= keep && cap(m.frames) <= keep {
			clear(m.frames[:cap(m.frames)])
			machines.Put(m)
		}
	}()
	m.p, m.text, m.wide = p, text, p.opts&utf != 0
	m.steps, m.room = p.MaxSteps, p.MaxMemory
	if m.steps <= 0 {
		m.steps = DefaultSteps
	}
	if m.room <= 0 {
		m.room = DefaultMemory
	}
	for m.wide && from < len(text) && !utf8.RuneStart(text[from]) {
		from++
	}
	m.from = from
	return m.search(from, min(last, len(text)))
}

func (m *machine) search(from, last int) (bool, error) {
	p := &m.p.prog
	for at := from; at <= last; {
		if p.first != nil {
			for at <= last && at < len(m.text) && !p.first[m.text[at]] {
				at++
			}
			if at > last || at == len(m.text) {
				return false, nil
			}
			for m.wide && at > from && !utf8.RuneStart(m.text[at]) { // a byte within a character
				at++
				if at > last || at == len(m.text) {
					return false, nil
				}
			}
		}
		m.skip = -1
		ok, stop, err := m.try(at)
		if ok || stop || err != nil {
			return ok, err
		}
		switch {
		case p.anchored:
			return false, nil
		case m.skip > at:
			at = m.skip
		case p.lines:
			i := bytes.IndexByte(m.text[at:], '\n')
			if i < 0 {
				return false, nil
			}
			at += i + 1
		case at == len(m.text):
			return false, nil
		default:
			at += m.width(at)
		}
	}
	return false, nil
}

// width is how many bytes the character at a position has; there is one.
func (m *machine) width(at int) int {
	if !m.wide || m.text[at] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRune(m.text[at:])
	return n
}

func (m *machine) char(at int) (rune, int) {
	if c := m.text[at]; !m.wide || c < utf8.RuneSelf {
		return rune(c), 1
	}
	return utf8.DecodeRune(m.text[at:])
}

// one is the width of the character at a position if it is what an instruction wants, else -1.
func (m *machine) one(in *inst, at int) int {
	if at >= len(m.text) {
		return -1
	}
	switch in.op {
	case iLit:
		if rune(m.text[at]) == in.r {
			return 1
		}
		return -1
	case iLit2:
		if c := rune(m.text[at]); c == in.r || c == in.x {
			return 1
		}
		return -1
	case iByte:
		return 1
	case iAll:
		return m.width(at)
	case iAny:
		if m.newline(at) > 0 {
			return -1
		}
		return m.width(at)
	}
	r, n := m.char(at)
	switch in.op {
	case iRune:
		if r == in.r {
			return n
		}
	case iRune2:
		if r == in.r || r == in.x {
			return n
		}
	case iSet:
		if r < utf8.RuneSelf && in.set.bit(int(r)) { // the usual case
			if in.set.not {
				return -1
			}
			return n
		}
		if in.set.has(r) {
			return n
		}
	}
	return -1
}

// newline is the length of the newline at a position, 0 without one.
func (m *machine) newline(at int) int {
	if at >= len(m.text) {
		return 0
	}
	c := m.text[at]
	switch m.p.newline {
	case newlineLF:
		if c == '\n' {
			return 1
		}
		return 0
	case newlineCR:
		if c == '\r' {
			return 1
		}
		return 0
	case newlineNUL:
		if c == 0 {
			return 1
		}
		return 0
	}
	if c == '\r' && at+1 < len(m.text) && m.text[at+1] == '\n' {
		return 2
	}
	switch {
	case m.p.newline == newlineCRLF:
		return 0
	case c == '\n' || c == '\r':
		return 1
	case m.p.newline == newlineAnyCRLF:
		return 0
	}
	r, n := m.char(at)
	if r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029 {
		return n
	}
	return 0
}

// afterNewline says whether a newline ends at a position.
func (m *machine) afterNewline(at int) bool {
	for n := 1; n <= 3 && n <= at; n++ {
		if m.newline(at-n) == n {
			return !(n == 1 && m.text[at-1] == '\r' && m.newline(at-1) == 2)
		}
	}
	return false
}

func (m *machine) holds(kind int32, at int) bool {
	switch int(kind) {
	case atStart:
		return at == 0
	case atFrom:
		return at == m.from
	case atLineStart:
		return at == 0 || m.afterNewline(at) && (at < len(m.text) || m.p.opts&altCircumflex != 0)
	case atEnd:
		return at == len(m.text)
	case atLastEnd:
		if at == len(m.text) {
			return true
		}
		n := m.newline(at)
		return n > 0 && at+n == len(m.text)
	case atLineEnd:
		return at == len(m.text) || m.newline(at) > 0
	}
	before, behind := false, false
	if at > 0 {
		r := rune(m.text[at-1])
		if m.wide {
			r, _ = utf8.DecodeLastRune(m.text[:at])
		}
		before = m.isWord(r)
	}
	if at < len(m.text) {
		r, _ := m.char(at)
		behind = m.isWord(r)
	}
	return (before != behind) == (kind == atWord)
}

func (m *machine) isWord(r rune) bool {
	if m.p.opts&ucp != 0 {
		return unicode.In(r, wordTables()...)
	}
	return r < 0x80 && word(byte(r))
}

// grapheme is the end of what is seen as one character: with the marks behind it, or a CR LF.
func (m *machine) grapheme(at int) int {
	r, n := m.char(at)
	at += n
	if r == '\r' && at < len(m.text) && m.text[at] == '\n' {
		return at + 1
	}
	if !m.wide || r == '\r' || r == '\n' {
		return at
	}
	const joiner = 0x200d
	flag := func(r rune) bool { return r >= 0x1f1e6 && r <= 0x1f1ff }
	for last := r; at < len(m.text); {
		c, w := m.char(at)
		switch {
		case unicode.Is(unicode.M, c), c == joiner, c >= 0x1f3fb && c <= 0x1f3ff:
		case last == joiner && unicode.Is(unicode.So, c):
		case flag(r) && flag(c) && last == r:
			at, r = at+w, 0
			last = c
			continue
		default:
			return at
		}
		at, last = at+w, c
	}
	return at
}

// back is the position n characters before another, or -1.
func (m *machine) back(at, n int) int {
	if !m.wide {
		return max(at-n, -1)
	}
	for ; n > 0; n-- {
		if at == 0 {
			return -1
		}
		_, w := utf8.DecodeLastRune(m.text[:at])
		at -= w
	}
	return at
}
