package pcre

// several says whether there is more than a letter, in either case.
func several(first *[256]bool) bool {
	n, one := 0, 0
	for b, in := range first {
		if in && n > 0 && b^one != 0x20 {
			return true
		}
		if in {
			n, one = n+1, b
		}
	}
	return n > 2
}

func dotStar(n *node, o op) bool {
	return n.op == opRepeat && n.min == 0 && n.max < 0 && !n.whole && n.subs[0].op == o
}

// begins says whether every way through a node begins with what is wanted.
func (c *compiler) begins(n *node, want func(*node) bool) bool {
	switch {
	case want(n):
		return true
	case n.op == opCat && len(n.subs) > 0, n.op == opGroup:
		return c.begins(n.subs[0], want)
	case n.op == opAlt:
		for _, s := range n.subs {
			if !c.begins(s, want) {
				return false
			}
		}
		return true
	}
	return false
}

// least is the smallest number of bytes that a node takes; 0 if it is not known.
func (c *compiler) least(n *node) int {
	switch n.op {
	case opChar, opSet, opAny, opAll, opByte, opGrapheme:
		return 1
	case opCat:
		w := 0
		for _, s := range n.subs {
			w = min(w+c.least(s), 1<<20)
		}
		return w
	case opAlt:
		w := 1 << 20
		for _, s := range n.subs {
			w = min(w, c.least(s))
		}
		return w
	case opGroup, opAtomic:
		if c.p.verbs { // (*ACCEPT)
			return 0
		}
		return c.least(n.subs[0])
	case opRepeat:
		return min(n.min*c.least(n.subs[0]), 1<<20)
	}
	return 0
}

// first adds the bytes that a node can begin with; empty says that it can also take nothing, or is not known well enough.
func (c *compiler) first(n *node, to *[256]bool) (empty bool) {
	wide := c.p.flags&utf != 0
	switch n.op {
	case opChar, opSet:
		in := c.single(n)
		for b := range 256 {
			switch {
			case wide && b >= 0x80:
				to[b] = to[b] || in.op == iSet || in.op == iRune || in.op == iRune2
			case in.op == iSet:
				to[b] = to[b] || in.set.has(rune(b))
			case rune(b) == in.r, (in.op == iLit2 || in.op == iRune2) && int32(b) == in.x:
				to[b] = true
			}
		}
		return false
	case opAny, opAll, opByte, opGrapheme:
		for b := range to {
			to[b] = true
		}
		return false
	case opCat:
		for _, s := range n.subs {
			if !c.first(s, to) {
				return false
			}
		}
		return true
	case opAlt:
		for _, s := range n.subs {
			if c.first(s, to) {
				empty = true
			}
		}
		return empty
	case opGroup, opAtomic:
		return c.first(n.subs[0], to)
	case opRepeat:
		return n.max == 0 || c.first(n.subs[0], to) || n.min == 0
	case opAssert, opLook, opEmpty:
		return true
	case opVerb:
		if n.kind != verbAccept {
			c.verb = true
			return true // as PCRE2, where (*COMMIT)a may skip what is no a
		}
		c.any = true
	}
	for b := range to {
		to[b] = true
	}
	return true
}
