package pcre

import (
	"errors"
	"unicode"
)

// code is the instruction of the machine.
type code uint8

const (
	iLit      code = iota // r is a byte
	iLit2                 // r or x are bytes
	iRune                 // r, in utf
	iRune2                // r or x, in utf
	iSet                  // set
	iAny                  // no newline
	iAll                  // any character
	iByte                 // any byte
	iGrapheme             //
	iRun                  // runs[x]
	iSplit                // x, and if that fails y
	iJump                 // x
	iOpen                 // register x gets the position
	iClose                // group x is complete, or a call of it returns
	iMark                 // register x gets the height of the stack
	iCut                  // what was pushed since the mark x is not tried again
	iLook                 // mark x, register y gets the position
	iLookEnd              // cut to x, back to the position of y
	iNot                  // mark x; if what follows fails go to y
	iNotEnd               // what must not match did: forget it and fail
	iCondLook             // mark x, position to register r; if what follows fails go to y
	iCondNot              // what must not match did: forget it and go to y, to the position of register x
	iBack                 // x characters back
	iInit                 // register x is 0
	iLoop                 // loops[x]
	iLoopMore             // another round of loops[x]
	iLoopEnd              // the end of a round of loops[x]
	iRef                  // refs[x]; y: case does not matter
	iCall                 // group x
	iIfSet                // refs[x] has one that is set, else go to y
	iIfCall               // within a call of group x (-1: any), else go to y
	iAssert               // kind x
	iVerb                 // kind x; y: register with the mark to go back to, and r above it; -1: none
	iMatch                //
)

type inst struct {
	op   code
	x, y int32
	r    rune
	set  *set
}

// run is a repeated single character.
type run struct {
	one      inst
	min, max int32 // max -1: no end
	lazy     bool
	whole    bool // possessive
}

// loop is a repeated group.
type loop struct {
	count, at  int32 // registers: rounds begun, position of the last
	min, max   int32
	lazy       bool
	body, exit int32
	again      int32 // the iLoopMore
}

// program is what the machine runs.
type program struct {
	code  []inst
	runs  []run
	loops []loop
	refs  [][]int
	entry []int32 // of groups, for calls
	regs  int
	first *[256]bool // bytes that a match can begin with; nil: any, or none
	// anchored: a match begins where the search does, or nowhere; lines: there or behind a newline.
	anchored, lines bool
}

type compiler struct {
	p      *parser
	out    program
	then   int32 // register with the mark of the alternative around; -1: none
	inside int32 // register with the mark of the look-around; -1: none
	above  rune  // 1 if the look-around holds, or fails, by what is on the stack just above its mark
	any    bool  // (*ACCEPT) may stand before it
	verb   bool  // a verb stands before what a match begins with
	accept *[]int32
	refs   bool // there are references or calls
}

// maxProgram bounds the instructions.
const maxProgram = 1 << 17

func startReg(group int) int32 { return int32(3 * group) }
func endReg(group int) int32   { return int32(3*group + 1) }
func openReg(group int) int32  { return int32(3*group + 2) }

func (c *compiler) compile(tree *node) (*program, error) {
	c.then, c.inside = -1, -1
	c.out.regs = 3 * len(c.p.groups)
	c.out.entry = make([]int32, len(c.p.groups))
	for i := range c.out.entry {
		c.out.entry[i] = -1
	}
	c.out.entry[0] = 0
	if err := c.node(tree.subs[0]); err != nil {
		return nil, err
	}
	c.emit(inst{op: iMatch})
	for i := range c.out.code {
		in := &c.out.code[i]
		if in.op == iCall && c.out.entry[in.x] < 0 {
			return nil, errors.New("call of a group that is not there")
		}
	}
	var first [256]bool
	if c.p.flags&noStartOptimize == 0 && !c.first(tree, &first) && !c.any && !(c.verb && several(&first)) {
		c.out.first = &first
	}
	plain := !c.refs && !c.p.verbs && c.p.flags&noDotstarAnchor == 0
	c.out.anchored = c.begins(tree, func(n *node) bool {
		return n.op == opAssert && (n.kind == atStart || n.kind == atFrom) || plain && dotStar(n, opAll)
	})
	c.out.lines = plain && c.p.newline == newlineLF && c.begins(tree, func(n *node) bool { return dotStar(n, opAny) || dotStar(n, opAll) })
	return &c.out, nil
}

func (c *compiler) emit(in inst) int32 {
	c.out.code = append(c.out.code, in)
	return int32(len(c.out.code) - 1)
}

func (c *compiler) here() int32 { return int32(len(c.out.code)) }

func (c *compiler) reg() int32 {
	c.out.regs++
	return int32(c.out.regs - 1)
}

func (c *compiler) node(n *node) error {
	if len(c.out.code) > maxProgram {
		return errors.New("pattern is too large")
	}
	switch n.op {
	case opEmpty:
	case opChar, opSet, opAny, opAll, opByte:
		c.emit(c.single(n))
	case opGrapheme:
		c.emit(inst{op: iGrapheme})
	case opAssert:
		c.emit(inst{op: iAssert, x: int32(n.kind)})
	case opCat:
		for _, s := range n.subs {
			if err := c.node(s); err != nil {
				return err
			}
		}
	case opAlt:
		return c.alternatives(n.subs, nil)
	case opGroup:
		return c.group(n)
	case opAtomic:
		return c.atomic(n.subs[0])
	case opLook:
		return c.look(n)
	case opCond:
		return c.condition(n)
	case opRef:
		c.refs = true
		fold := int32(0)
		if n.fold {
			fold = 1
		}
		c.emit(inst{op: iRef, x: c.numbers(n.nums), y: fold})
	case opCall:
		c.refs = true
		c.emit(inst{op: iCall, x: int32(n.n)})
	case opRepeat:
		return c.repeat(n)
	case opVerb:
		in := inst{op: iVerb, x: int32(n.kind), y: c.inside, r: c.above}
		if n.kind == verbThen && c.then >= 0 {
			in.y, in.r = c.then, 0
		}
		at := c.emit(in)
		if n.kind == verbAccept && c.accept != nil { // within an assertion: it holds
			c.out.code[at] = inst{op: iJump}
			*c.accept = append(*c.accept, at)
		}
	}
	return nil
}

func (c *compiler) numbers(nums []int) int32 {
	c.out.refs = append(c.out.refs, nums)
	return int32(len(c.out.refs) - 1)
}

// single is the instruction for one character.
func (c *compiler) single(n *node) inst {
	switch n.op {
	case opSet:
		return inst{op: iSet, set: n.set}
	case opAny:
		return inst{op: iAny}
	case opAll:
		return inst{op: iAll}
	case opByte:
		return inst{op: iByte}
	}
	wide := c.p.flags&utf != 0
	if !n.fold {
		if wide && n.r >= 0x80 {
			return inst{op: iRune, r: n.r}
		}
		return inst{op: iLit, r: n.r}
	}
	if !wide {
		if n.r < 0x80 && alpha(byte(n.r)) {
			return inst{op: iLit2, r: n.r, x: n.r ^ 0x20}
		}
		return inst{op: iLit, r: n.r}
	}
	other := unicode.SimpleFold(n.r)
	switch {
	case other == n.r && n.r < 0x80:
		return inst{op: iLit, r: n.r}
	case other == n.r:
		return inst{op: iRune, r: n.r}
	case unicode.SimpleFold(other) != n.r:
		s := &set{fold: true}
		s.add(n.r, n.r)
		return inst{op: iSet, set: s}
	case n.r < 0x80 && other < 0x80:
		return inst{op: iLit2, r: n.r, x: other}
	}
	return inst{op: iRune2, r: n.r, x: other}
}

// alternatives tries one after the other; before, if set, is emitted at the start of each.
func (c *compiler) alternatives(subs []*node, before func(*node) error) error {
	was := c.then
	defer func() { c.then = was }()
	var ends []int32
	for i, s := range subs {
		split := int32(-1)
		if i < len(subs)-1 {
			split = c.emit(inst{op: iSplit, x: c.here() + 1})
		}
		if c.p.verbs && len(subs) > 1 {
			c.then = c.reg()
			c.emit(inst{op: iMark, x: c.then})
		}
		if before != nil {
			if err := before(s); err != nil {
				return err
			}
		}
		if err := c.node(s); err != nil {
			return err
		}
		if split >= 0 {
			ends = append(ends, c.emit(inst{op: iJump}))
			c.out.code[split].y = c.here()
		}
	}
	for _, e := range ends {
		c.out.code[e].x = c.here()
	}
	return nil
}

func (c *compiler) group(n *node) error {
	if n.n == 0 {
		return c.node(n.subs[0])
	}
	if c.out.entry[n.n] < 0 {
		c.out.entry[n.n] = c.here()
	}
	c.emit(inst{op: iOpen, x: openReg(n.n)})
	if err := c.node(n.subs[0]); err != nil {
		return err
	}
	c.emit(inst{op: iClose, x: int32(n.n)})
	return nil
}

func (c *compiler) atomic(sub *node) error {
	h := c.reg()
	c.emit(inst{op: iMark, x: h})
	if err := c.node(sub); err != nil {
		return err
	}
	c.emit(inst{op: iCut, x: h})
	return nil
}

// lookBody is what a look-around looks for.
func (c *compiler) lookBody(n *node, mark int32, above rune) error {
	was := *c
	var accepts []int32
	c.then, c.inside, c.above, c.accept = -1, mark, above, &accepts
	err := c.alternatives(n.subs, func(alt *node) error {
		if !n.behind {
			return nil
		}
		w, ok := c.p.width(alt, 0)
		if !ok {
			return errors.New("lookbehind assertion is not fixed length")
		}
		c.emit(inst{op: iBack, x: int32(w)})
		return nil
	})
	for _, a := range accepts {
		c.out.code[a].x = c.here()
	}
	c.then, c.inside, c.above, c.accept = was.then, was.inside, was.above, was.accept
	return err
}

func (c *compiler) look(n *node) error {
	h := c.reg()
	if n.not {
		begin := c.emit(inst{op: iNot, x: h})
		if err := c.lookBody(n, h, 1); err != nil {
			return err
		}
		c.emit(inst{op: iNotEnd, x: h})
		c.out.code[begin].y = c.here()
		return nil
	}
	at := c.reg()
	c.emit(inst{op: iLook, x: h, y: at})
	if err := c.lookBody(n, h, 0); err != nil {
		return err
	}
	c.emit(inst{op: iLookEnd, x: h, y: at})
	return nil
}

func (c *compiler) condition(n *node) error {
	var test int32
	switch n.kind {
	case condGroup:
		c.refs = true
		test = c.emit(inst{op: iIfSet, x: c.numbers(n.nums)})
	case condRecursion:
		test = c.emit(inst{op: iIfCall, x: int32(n.n)})
	case condNever:
		test = c.emit(inst{op: iIfCall, x: -2})
	case condAlways:
		return c.node(n.subs[1])
	case condLook:
		h, at := c.reg(), c.reg()
		test = c.emit(inst{op: iCondLook, x: h, r: at})
		if err := c.lookBody(n.subs[0], h, 1); err != nil {
			return err
		}
		if n.subs[0].not {
			fails := c.emit(inst{op: iCondNot, x: h, r: at})
			c.out.code[test].y = c.here()
			if err := c.node(n.subs[1]); err != nil {
				return err
			}
			end := c.emit(inst{op: iJump})
			c.out.code[fails].y = c.here()
			err := c.node(n.subs[2])
			c.out.code[end].x = c.here()
			return err
		}
		c.emit(inst{op: iLookEnd, x: h, y: at})
	}
	if err := c.node(n.subs[1]); err != nil {
		return err
	}
	end := c.emit(inst{op: iJump})
	c.out.code[test].y = c.here()
	err := c.node(n.subs[2])
	c.out.code[end].x = c.here()
	return err
}

func (c *compiler) repeat(n *node) error {
	sub := n.subs[0]
	switch {
	case n.max == 0: // nothing, but its groups can be called
		over := c.emit(inst{op: iJump})
		err := c.node(sub)
		c.out.code[over].x = c.here()
		return err
	case n.min == 1 && n.max == 1 && !n.whole:
		return c.node(sub)
	case sub.single() && (sub.op != opByte || c.p.flags&utf == 0):
		c.out.runs = append(c.out.runs, run{one: c.single(sub), min: int32(n.min), max: int32(n.max), lazy: n.lazy, whole: n.whole})
		c.emit(inst{op: iRun, x: int32(len(c.out.runs) - 1)})
		return nil
	case n.whole:
		plain := *n
		plain.whole = false
		return c.atomic(&plain)
	}
	split := func(x, y int32) inst {
		if n.lazy {
			x, y = y, x
		}
		return inst{op: iSplit, x: x, y: y}
	}
	switch solid := c.least(sub) > 0; {
	case n.min == 0 && n.max == 1:
		at := c.emit(inst{})
		if err := c.node(sub); err != nil {
			return err
		}
		c.out.code[at] = split(at+1, c.here())
		return nil
	case solid && n.min == 0 && n.max < 0:
		at := c.emit(inst{})
		if err := c.node(sub); err != nil {
			return err
		}
		c.emit(inst{op: iJump, x: at})
		c.out.code[at] = split(at+1, c.here())
		return nil
	case solid && n.min == 1 && n.max < 0:
		at := c.here()
		if err := c.node(sub); err != nil {
			return err
		}
		c.emit(split(at, c.here()+1))
		return nil
	}
	l := loop{count: c.reg(), at: c.reg(), min: int32(n.min), max: int32(n.max), lazy: n.lazy}
	i := int32(len(c.out.loops))
	c.out.loops = append(c.out.loops, l)
	c.emit(inst{op: iInit, x: l.count})
	begin := c.emit(inst{op: iLoop, x: i})
	l.again = c.emit(inst{op: iLoopMore, x: i})
	l.body = c.here()
	if err := c.node(sub); err != nil {
		return err
	}
	c.emit(inst{op: iLoopEnd, x: i, y: begin})
	l.exit = c.here()
	c.out.loops[i] = l
	return nil
}
