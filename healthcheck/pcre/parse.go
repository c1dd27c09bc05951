package pcre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxNesting bounds groups within groups, as PCRE2 does.
const maxNesting = 250

// maxRepeat is the largest number of a quantifier.
const maxRepeat = 65535

// parser makes a tree of a pattern.
type parser struct {
	flags   flags
	in      []rune
	at      int
	depth   int
	quoting bool // between \Q and \E
	newline newline
	anycrlf bool // \R is CR, LF or both

	count   int     // groups opened so far
	groups  []*node // by number; those of a branch reset share one, the first counts
	names   map[string][]int
	pending []*node // references and calls to be resolved
	looks   []*node // lookbehinds whose width is to be checked
	looked  int     // nodes seen while their widths were looked for
	verbs   bool
}

// global are the flags that hold for the whole pattern.
func (p *parser) global() flags { return p.flags }

func (p *parser) parse(pattern string) (*node, error) {
	p.names = map[string][]int{}
	if err := p.start(&pattern); err != nil {
		return nil, err
	}
	if p.flags&utf != 0 {
		p.in = []rune(pattern)
	} else {
		for i := range len(pattern) {
			p.in = append(p.in, rune(pattern[i]))
		}
	}
	p.groups = []*node{nil}
	begin := p.flags
	n, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if p.at < len(p.in) {
		return nil, errors.New("unmatched )")
	}
	p.flags = begin
	whole := &node{op: opGroup, subs: []*node{n}}
	p.groups[0] = whole
	if err := p.resolve(); err != nil {
		return nil, err
	}
	for _, l := range p.looks {
		for _, alt := range l.subs {
			if _, ok := p.width(alt, 0); !ok {
				return nil, errors.New("lookbehind assertion is not fixed length")
			}
		}
	}
	return whole, nil
}

// start takes the verbs at the start of a pattern that say how the rest is meant.
func (p *parser) start(pattern *string) error {
	for strings.HasPrefix(*pattern, "(*") {
		word, rest, ok := strings.Cut((*pattern)[2:], ")")
		if !ok {
			return nil
		}
		switch name, _, _ := strings.Cut(word, "="); name {
		case "UTF":
			if p.flags&neverUTF != 0 {
				return errors.New("(*UTF) is forbidden by never_utf")
			}
			p.flags |= utf
		case "UCP":
			if p.flags&neverUCP != 0 {
				return errors.New("(*UCP) is forbidden by never_ucp")
			}
			p.flags |= ucp
		case "LF":
			p.newline = newlineLF
		case "CR":
			p.newline = newlineCR
		case "CRLF":
			p.newline = newlineCRLF
		case "ANYCRLF":
			p.newline = newlineAnyCRLF
		case "ANY":
			p.newline = newlineAny
		case "NUL":
			p.newline = newlineNUL
		case "BSR_ANYCRLF":
			p.anycrlf = true
		case "BSR_UNICODE":
			p.anycrlf = false
		case "NO_START_OPT":
			p.flags |= noStartOptimize
		case "NO_AUTO_POSSESS", "NO_JIT", "LIMIT_MATCH", "LIMIT_DEPTH", "LIMIT_HEAP", "LIMIT_RECURSION":
		case "NO_DOTSTAR_ANCHOR":
			p.flags |= noDotstarAnchor
		default:
			return nil
		}
		*pattern = rest
	}
	return nil
}

func (p *parser) more() bool { return p.at < len(p.in) }

func (p *parser) has(s string) bool {
	i := p.at
	for _, r := range s {
		if i >= len(p.in) || p.in[i] != r {
			return false
		}
		i++
	}
	return true
}

func (p *parser) skip(s string) bool {
	if p.has(s) {
		p.at += len([]rune(s))
		return true
	}
	return false
}

// upTo takes the text before the next end and moves behind it.
func (p *parser) upTo(end rune) (string, error) {
	for i := p.at; i < len(p.in); i++ {
		if p.in[i] == end {
			s := string(p.in[p.at:i])
			p.at = i + 1
			return s, nil
		}
	}
	return "", fmt.Errorf("missing %q", end)
}

// alternatives takes branches up to a closing parenthesis or the end; flags set within hold to the end of them.
func (p *parser) alternatives() (*node, error) {
	branches, err := p.branches(false)
	if err != nil {
		return nil, err
	}
	if len(branches) == 1 {
		return branches[0], nil
	}
	return &node{op: opAlt, subs: branches}, nil
}

// branches takes them one by one; with reset each numbers its groups as the first.
func (p *parser) branches(reset bool) (out []*node, err error) {
	if p.depth++; p.depth > maxNesting {
		return nil, errors.New("parentheses are nested too deeply")
	}
	defer func() { p.depth-- }()
	first, most := p.count, p.count
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		most = max(most, p.count)
		if !p.more() || p.in[p.at] != '|' {
			break
		}
		p.at++
		if reset {
			p.count = first
		}
	}
	p.count = most
	return out, nil
}

func (p *parser) sequence() (*node, error) {
	cat := &node{op: opCat}
	for p.more() {
		if !p.quoting {
			if c := p.in[p.at]; c == '|' || c == ')' {
				break
			}
			if p.blanks() {
				continue
			}
		}
		n, err := p.atom()
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		if n, err = p.quantified(n); err != nil {
			return nil, err
		}
		cat.subs = append(cat.subs, n)
	}
	if len(cat.subs) == 1 {
		return cat.subs[0], nil
	}
	return cat, nil
}

// blanks skips what extended patterns have between their parts, and comments; it says whether there was any.
func (p *parser) blanks() bool {
	begin := p.at
	for p.more() {
		switch c := p.in[p.at]; {
		case p.has("(?#"):
			end := p.at
			for end < len(p.in) && p.in[end] != ')' {
				end++
			}
			if end == len(p.in) {
				return p.at > begin
			}
			p.at = end + 1
		case p.flags&extended != 0 && (c < 0x80 && space(byte(c)) || c == 0x85 && p.flags&utf != 0 || c == 0x200e || c == 0x200f || c == 0x2028 || c == 0x2029):
			p.at++
		case p.flags&extended != 0 && c == '#':
			for p.more() && p.in[p.at] != '\n' {
				p.at++
			}
		default:
			return p.at > begin
		}
	}
	return p.at > begin
}

// char is a literal.
func (p *parser) char(r rune) *node { return &node{op: opChar, r: r, fold: p.flags&caseless != 0} }

// atom takes one element; nil is one that stands for nothing.
func (p *parser) atom() (*node, error) {
	c := p.in[p.at]
	if p.quoting {
		if p.skip(`\E`) {
			p.quoting = false
			return nil, nil
		}
		p.at++
		return p.char(c), nil
	}
	switch c {
	case '\\':
		return p.escape()
	case '[':
		if p.has("[[:<:]]") || p.has("[[:>:]]") {
			ahead := p.in[p.at+3] == '<'
			p.at += 7
			w := &node{op: opSet, set: &set{}}
			w.set.shorthand('w', p.flags&ucp != 0)
			look := &node{op: opLook, behind: !ahead, subs: []*node{w}}
			return &node{op: opCat, subs: []*node{{op: opAssert, kind: atWord}, look}}, nil
		}
		return p.class()
	case '(':
		return p.group()
	case '^':
		p.at++
		if p.flags&multiline != 0 {
			return &node{op: opAssert, kind: atLineStart}, nil
		}
		return &node{op: opAssert, kind: atStart}, nil
	case '$':
		p.at++
		kind := atLastEnd
		if p.flags&multiline != 0 {
			kind = atLineEnd
		} else if p.flags&dollarEndOnly != 0 {
			kind = atEnd
		}
		return &node{op: opAssert, kind: kind}, nil
	case '.':
		p.at++
		if p.flags&dotall != 0 {
			return &node{op: opAll}, nil
		}
		return &node{op: opAny}, nil
	case '*', '+', '?':
		return nil, fmt.Errorf("quantifier %c does not follow a repeatable item", c)
	}
	p.at++
	return p.char(c), nil
}

// quantified takes the quantifier behind an element.
func (p *parser) quantified(n *node) (*node, error) {
	for again := false; ; again = true {
		if p.quoting {
			if !p.skip(`\E`) {
				return n, nil
			}
			p.quoting = false
		}
		for p.has(`\E`) {
			p.at += 2
		}
		mark := p.at
		p.blanks()
		low, high, ok := p.quantifier()
		if !ok {
			p.at = mark
			return n, nil
		}
		if low > maxRepeat || high > maxRepeat || high >= 0 && low > high {
			return nil, errors.New("numbers of a quantifier are out of order or too big")
		}
		if again || n.op == opVerb && n.kind != verbAccept || n.op == opAssert {
			return nil, errors.New("quantifier does not follow a repeatable item")
		}
		r := &node{op: opRepeat, subs: []*node{n}, min: low, max: high, lazy: p.flags&ungreedy != 0}
		if p.skip("?") {
			r.lazy = !r.lazy
		} else if p.skip("+") {
			r.whole, r.lazy = true, false
		}
		n = r
	}
}

// quantifier takes *, +, ?, {n}, {n,} or {n,m}; a brace that is none of these is a character.
func (p *parser) quantifier() (low, high int, ok bool) {
	switch {
	case p.skip("*"):
		return 0, -1, true
	case p.skip("+"):
		return 1, -1, true
	case p.skip("?"):
		return 0, 1, true
	case !p.has("{"):
		return 0, 0, false
	}
	i := p.at + 1
	number := func() (n, digits int) {
		for ; i < len(p.in) && p.in[i] >= '0' && p.in[i] <= '9'; i++ {
			if n <= maxRepeat {
				n = n*10 + int(p.in[i]-'0')
			}
			digits++
		}
		return n, digits
	}
	low, digits := number()
	if digits == 0 {
		return 0, 0, false
	}
	high = low
	if i < len(p.in) && p.in[i] == ',' {
		i++
		if high, digits = number(); digits == 0 {
			high = -1
		}
	}
	if i >= len(p.in) || p.in[i] != '}' {
		return 0, 0, false
	}
	p.at = i + 1
	return low, high, true
}

// resolve turns the names of references and calls into numbers and looks whether there are such groups.
func (p *parser) resolve() error {
	for _, n := range p.pending {
		if n.name != "" {
			nums := p.names[n.name]
			if len(nums) == 0 {
				return fmt.Errorf("no group named %q", n.name)
			}
			n.nums, n.n = nums, nums[0]
		}
		for _, k := range append(n.nums, n.n) {
			if k < 0 || k >= len(p.groups) {
				return errors.New("no group " + strconv.Itoa(k) + " to refer to")
			}
		}
	}
	return nil
}
