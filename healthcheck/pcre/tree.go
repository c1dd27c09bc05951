package pcre

// op is what a node is.
type op uint8

const (
	opEmpty    op = iota
	opChar        // r; fold
	opSet         // set
	opAny         // a dot that leaves newlines out
	opAll         // a dot that does not
	opByte        // \C
	opGrapheme    // \X
	opAssert      // kind
	opCat         // subs one after the other
	opAlt         // one of subs
	opGroup       // subs[0]; n is its number, 0 for one that captures nothing
	opAtomic      // subs[0]
	opLook        // subs are the alternatives; behind, not
	opCond        // subs are the condition (or nil), yes and no; kind, nums
	opRef         // nums, or names until they are resolved; fold
	opCall        // n
	opRepeat      // subs[0], min, max (-1: no end), lazy, possessive
	opVerb        // kind
)

// What an opAssert looks for.
const (
	atStart     = iota // \A and ^
	atLineStart        // ^ with multiline
	atEnd              // \z and $ with dollar_endonly
	atLastEnd          // \Z and $
	atLineEnd          // $ with multiline
	atWord             // \b
	atNoWord           // \B
	atFrom             // \G
)

// What an opCond asks.
const (
	condGroup     = iota // one of nums is set
	condRecursion        // within a call of n, -1: any
	condNever            // DEFINE
	condAlways
	condLook // subs[0]
)

// What an opVerb does.
const (
	verbFail = iota
	verbAccept
	verbCommit
	verbPrune
	verbSkip
	verbThen
)

type node struct {
	op       op
	r        rune
	fold     bool
	set      *set
	kind     int
	subs     []*node
	n        int
	nums     []int
	name     string // of a reference or call, until it is resolved
	relative bool   // n of a call is to be taken as it is
	min, max int
	lazy     bool
	whole    bool // possessive
	behind   bool
	not      bool
}

// single says whether a node always takes exactly one character.
func (n *node) single() bool {
	switch n.op {
	case opChar, opSet, opAny, opAll, opByte:
		return true
	}
	return false
}

// maxLooks bounds the work of finding the widths of lookbehinds, which may call groups that call groups.
const maxLooks = 1 << 20

// width is how many characters a node takes, if that is always the same. depth bounds calls within calls.
func (p *parser) width(n *node, depth int) (w int, ok bool) {
	if p.looked++; depth > maxNesting || p.looked > maxLooks {
		return 0, false
	}
	switch n.op {
	case opEmpty, opAssert, opLook, opVerb:
		return 0, true
	case opChar, opSet, opAny, opAll:
		return 1, true
	case opByte:
		return 1, p.flags&utf == 0
	case opCat:
		for _, s := range n.subs {
			sw, ok := p.width(s, depth+1)
			if !ok {
				return 0, false
			}
			w += sw
		}
		return w, w <= 65535
	case opAlt:
		for i, s := range n.subs {
			sw, ok := p.width(s, depth+1)
			if !ok || i > 0 && sw != w {
				return 0, false
			}
			w = sw
		}
		return w, true
	case opGroup, opAtomic:
		return p.width(n.subs[0], depth+1)
	case opCond:
		if n.kind == condNever {
			return 0, true
		}
		yes, ok1 := p.width(n.subs[1], depth+1)
		no, ok2 := p.width(n.subs[2], depth+1)
		return yes, ok1 && ok2 && yes == no
	case opCall:
		if n.n < len(p.groups) && p.groups[n.n] != nil {
			return p.width(p.groups[n.n], depth+10)
		}
		return 0, false
	case opRepeat:
		if w, ok = p.width(n.subs[0], depth+1); ok && w == 0 {
			return 0, true
		}
		if n.min != n.max {
			return 0, false
		}
		return w * n.min, ok && w*n.min <= 65535
	}
	return 0, false
}
