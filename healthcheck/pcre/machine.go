package pcre

import (
	"bytes"
	"unicode"
)

// push puts an entry on the stack; false: there is no room.
func (m *machine) push(e entry) bool {
	if len(m.stack)*entrySize >= m.room {
		return false
	}
	m.stack = append(m.stack, e)
	return true
}

// set changes a register, and what it was is put back on the way back.
func (m *machine) set(reg, v int32) bool {
	if m.regs[reg] == v {
		return true
	}
	ok := m.push(entry{kind: kReg, pc: reg, a: m.regs[reg]})
	m.regs[reg] = v
	return ok
}

// mark sets a register to the height of the stack.
func (m *machine) mark(reg int32) bool {
	ok := m.push(entry{kind: kReg, pc: reg, a: m.regs[reg]})
	m.regs[reg] = int32(len(m.stack))
	return ok
}

// cut forgets what could be tried above a height, and keeps what is to be put back.
func (m *machine) cut(height int32) {
	j := int(height)
	for i := j; i < len(m.stack); i++ {
		if k := m.stack[i].kind; k == kReg || k == kFrame {
			m.stack[j] = m.stack[i]
			j++
		}
	}
	m.stack = m.stack[:j]
}

// unwind goes down to a height and puts everything back.
func (m *machine) unwind(height int32) {
	for len(m.stack) > int(height) {
		e := m.stack[len(m.stack)-1]
		m.stack = m.stack[:len(m.stack)-1]
		m.restore(&e)
	}
}

func (m *machine) restore(e *entry) {
	switch e.kind {
	case kReg:
		m.regs[e.pc] = e.a
	case kFrame:
		m.frame = e.a
		if e.b >= 0 {
			m.frames = m.frames[:e.b]
		}
	}
}

// call enters a group.
func (m *machine) call(group, ret int32, pos int) error {
	for f := m.frame; f != 0 && m.frames[f].pos == int32(pos); f = m.frames[f].parent {
		if m.frames[f].group == group {
			return ErrRecursion
		}
	}
	m.room -= 4*len(m.regs) + 40
	saved, height := append([]int32(nil), m.regs...), int32(len(m.stack))
	if m.room < 0 || !m.push(entry{kind: kFrame, a: m.frame, b: int32(len(m.frames))}) {
		return ErrMemory
	}
	m.frames = append(m.frames, frame{group: group, ret: ret, parent: m.frame, pos: int32(pos), height: height, saved: saved})
	m.frame = int32(len(m.frames) - 1)
	return nil
}

// leave returns from a call: groups are again as they were before it.
func (m *machine) leave() (pc int32, ok bool) {
	f := &m.frames[m.frame]
	ok = m.push(entry{kind: kFrame, a: m.frame, b: -1})
	m.frame = f.parent
	for i, v := range f.saved {
		ok = ok && m.set(int32(i), v)
	}
	return f.ret, ok
}

// try looks for a match that begins at a position. stop says that none shall be looked for elsewhere either.
func (m *machine) try(at int) (ok, stop bool, err error) {
	p := &m.p.prog
	if cap(m.regs) < p.regs {
		m.regs = make([]int32, p.regs)
	}
	m.regs = m.regs[:p.regs]
	for i := range m.regs {
		m.regs[i] = -1
	}
	m.stack = m.stack[:0]
	m.frames = append(m.frames[:0], frame{group: -1})
	m.frame = 0
	pos, pc, full := at, int32(0), true
	for {
		if m.steps--; m.steps < 0 {
			return false, true, ErrSteps
		}
		in := &p.code[pc]
		pc++
		good := true
		switch in.op {
		case iLit, iLit2, iRune, iRune2, iSet, iAny, iAll, iByte:
			n := m.one(in, pos)
			if good = n >= 0; good {
				pos += n
			}
		case iGrapheme:
			if good = pos < len(m.text); good {
				pos = m.grapheme(pos)
			}
		case iRun:
			pos, good = m.run(&p.runs[in.x], in.x, pos, pc, &full)
		case iSplit:
			full = m.push(entry{kind: kChoice, pc: in.y, a: int32(pos)})
			pc = in.x
		case iJump:
			pc = in.x
		case iOpen:
			full = m.set(in.x, int32(pos))
		case iClose:
			if m.frame != 0 && m.frames[m.frame].group == in.x {
				pc, full = m.leave()
				break
			}
			full = m.set(startReg(int(in.x)), m.regs[openReg(int(in.x))]) && m.set(endReg(int(in.x)), int32(pos))
		case iMark:
			full = m.mark(in.x)
		case iCut:
			m.cut(m.regs[in.x])
		case iLook:
			full = m.set(in.y, int32(pos)) && m.mark(in.x)
		case iLookEnd:
			m.cut(m.regs[in.x])
			pos = int(m.regs[in.y])
		case iNot:
			full = m.mark(in.x) && m.push(entry{kind: kChoice, pc: in.y, a: int32(pos)})
		case iNotEnd:
			m.unwind(m.regs[in.x])
			good = false
		case iCondLook:
			full = m.set(int32(in.r), int32(pos)) && m.mark(in.x) && m.push(entry{kind: kChoice, pc: in.y, a: int32(pos)})
		case iCondNot:
			pos, pc = int(m.regs[in.r]), in.y
			m.unwind(m.regs[in.x])
		case iBack:
			if n := m.back(pos, int(in.x)); n >= 0 {
				pos = n
			} else {
				good = false
			}
		case iInit:
			full = m.set(in.x, 0)
		case iLoop:
			l := &p.loops[in.x]
			switch n := m.regs[l.count]; {
			case n < l.min:
				full = m.round(l, pos)
				pc = l.body
			case l.max >= 0 && n >= l.max:
				pc = l.exit
			case l.lazy:
				full = m.push(entry{kind: kChoice, pc: l.again, a: int32(pos)})
				pc = l.exit
			default:
				full = m.push(entry{kind: kChoice, pc: l.exit, a: int32(pos)}) && m.round(l, pos)
				pc = l.body
			}
		case iLoopMore:
			full = m.round(&p.loops[in.x], pos)
			pc = p.loops[in.x].body
		case iLoopEnd:
			l := &p.loops[in.x]
			if pc = in.y; int32(pos) == m.regs[l.at] && m.regs[l.count] >= l.min { // a round that took nothing is the last
				pc = l.exit
			}
		case iRef:
			pos, good = m.reference(p.refs[in.x], in.y != 0, pos)
		case iCall:
			if err := m.call(in.x, pc, pos); err != nil {
				return false, true, err
			}
			pc = p.entry[in.x]
		case iIfSet:
			if !m.anySet(p.refs[in.x]) {
				pc = in.y
			}
		case iIfCall:
			if in.x == -2 || m.frame == 0 || in.x >= 0 && m.frames[m.frame].group != in.x {
				pc = in.y
			}
		case iAssert:
			good = m.holds(in.x, pos)
		case iVerb:
			switch in.x {
			case verbFail:
				good = false
			case verbAccept:
				if m.frame == 0 {
					return true, true, nil
				}
				pc, full = m.leave()
			default:
				full = m.push(m.verb(in, pos))
			}
		case iMatch:
			if m.frame == 0 {
				return true, true, nil
			}
			pc, full = m.leave()
		}
		if !full {
			return false, true, ErrMemory
		}
		if good {
			continue
		}
		var what uint8
		if pc, pos, what = m.retreat(); pc < 0 {
			return false, what == kCommit, nil
		}
	}
}

// verb is what stands on the stack for a verb: within a look-around or a call it is the end of that, elsewhere of more.
func (m *machine) verb(in *inst, pos int) entry {
	switch {
	case in.y >= 0:
		return entry{kind: kBack, a: m.regs[in.y] + int32(in.r)}
	case m.frame != 0:
		return entry{kind: kBack, a: m.frames[m.frame].height}
	case in.x == verbCommit:
		return entry{kind: kCommit}
	case in.x == verbSkip:
		return entry{kind: kSkip, a: int32(pos)}
	}
	return entry{kind: kPrune}
}

// round begins another round of a loop.
func (m *machine) round(l *loop, pos int) bool {
	return m.set(l.count, m.regs[l.count]+1) && m.set(l.at, int32(pos))
}

// retreat goes back to the last thing that can be tried in another way; pc is -1 if there is none left at this start.
func (m *machine) retreat() (pc int32, pos int, what uint8) {
	for len(m.stack) > 0 {
		top := len(m.stack) - 1
		e := &m.stack[top]
		switch e.kind {
		case kChoice:
			m.stack = m.stack[:top]
			return e.pc, int(e.a), 0
		case kRun:
			m.steps--
			if at, ok := m.shorten(e); ok {
				return e.pc, at, 0
			}
			m.stack = m.stack[:top]
		case kLazy:
			n := m.one(&m.p.prog.runs[e.b].one, int(e.a))
			if n < 0 || e.count == 0 {
				m.stack = m.stack[:top]
				continue
			}
			m.steps--
			e.a += int32(n)
			if e.count > 0 {
				e.count--
			}
			return e.pc, int(e.a), 0
		case kBack:
			m.unwind(e.a)
		case kCommit, kPrune, kSkip:
			if e.kind == kSkip {
				m.skip = int(e.a)
			}
			return -1, 0, e.kind
		default:
			m.restore(e)
			m.stack = m.stack[:top]
		}
	}
	return -1, 0, 0
}

// shorten gives back a character of a greedy run; those behind which the next literal does not stand are passed over.
func (m *machine) shorten(e *entry) (at int, ok bool) {
	next := &m.p.prog.code[e.pc]
	for e.a > e.b {
		e.a--
		for m.wide && e.a > e.b && m.text[e.a]&0xc0 == 0x80 {
			e.a--
		}
		if next.op != iLit || rune(m.text[e.a]) == next.r {
			return int(e.a), true
		}
	}
	return 0, false
}

// run takes a repeated character.
func (m *machine) run(r *run, index int32, pos int, pc int32, full *bool) (int, bool) {
	begin := pos
	count, least := int32(0), pos
	most := r.max
	if r.lazy {
		most = r.min
	}
	if most < 0 && r.one.op == iAll { // to the end
		if count = int32(len(m.text) - pos); m.wide {
			count = 0
			for at := pos; at < len(m.text) && count < r.min; count++ {
				at += m.width(at)
			}
		}
		if count < r.min {
			return pos, false
		}
		for range r.min {
			least += m.width(least)
		}
		pos = len(m.text)
	} else {
		for most < 0 || count < most {
			n := m.one(&r.one, pos)
			if n < 0 {
				break
			}
			pos += n
			if count++; count == r.min {
				least = pos
			}
		}
		if count < r.min {
			return pos, false
		}
	}
	m.steps -= (pos - begin) / 8
	switch {
	case r.whole:
	case r.lazy:
		if r.max != r.min {
			more := int32(-1)
			if r.max >= 0 {
				more = r.max - r.min
			}
			*full = m.push(entry{kind: kLazy, pc: pc, a: int32(pos), b: index, count: more})
		}
	case pos > least:
		*full = m.push(entry{kind: kRun, pc: pc, a: int32(pos), b: int32(least)})
	}
	return pos, true
}

func (m *machine) anySet(groups []int) bool {
	for _, g := range groups {
		if m.regs[endReg(g)] >= 0 {
			return true
		}
	}
	return false
}

// reference takes what a group took: the first of several with one name that is set.
func (m *machine) reference(groups []int, fold bool, pos int) (int, bool) {
	for _, g := range groups {
		from, to := m.regs[startReg(g)], m.regs[endReg(g)]
		if to < 0 {
			continue
		}
		if from > to {
			return pos, false
		}
		text := m.text[from:to]
		m.steps -= len(text) / 8
		if !fold {
			if !bytes.HasPrefix(m.text[pos:], text) {
				return pos, false
			}
			return pos + len(text), true
		}
		for len(text) > 0 {
			if pos >= len(m.text) {
				return pos, false
			}
			a, n := m.charOf(text)
			b, k := m.char(pos)
			if !m.sameFold(a, b) {
				return pos, false
			}
			text, pos = text[n:], pos+k
		}
		return pos, true
	}
	return pos, m.p.opts&matchUnsetBackref != 0
}

func (m *machine) charOf(b []byte) (rune, int) {
	was := m.text
	m.text = b
	r, n := m.char(0)
	m.text = was
	return r, n
}

func (m *machine) sameFold(a, b rune) bool {
	if a == b {
		return true
	}
	if !m.wide {
		return a < 0x80 && b < 0x80 && a^b == 0x20 && alpha(byte(a))
	}
	for f := unicode.SimpleFold(a); f != a; f = unicode.SimpleFold(f) {
		if f == b {
			return true
		}
	}
	return false
}
