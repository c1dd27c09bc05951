package pcre

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// group takes an opening parenthesis and all that belongs to it.
func (p *parser) group() (*node, error) {
	if p.skip("(*") {
		return p.verb()
	}
	p.at++
	if !p.skip("?") {
		if p.flags&noAutoCapture != 0 {
			return p.body(&node{op: opGroup})
		}
		return p.capture("")
	}
	if !p.more() {
		return nil, errors.New("missing )")
	}
	switch {
	case p.skip(":"):
		return p.body(&node{op: opGroup})
	case p.skip(">"):
		return p.body(&node{op: opAtomic})
	case p.skip("="):
		return p.look(false, false)
	case p.skip("!"):
		return p.look(false, true)
	case p.skip("<="):
		return p.look(true, false)
	case p.skip("<!"):
		return p.look(true, true)
	case p.skip("|"):
		f := p.flags
		branches, err := p.branches(true)
		if err == nil {
			err = p.close()
		}
		p.flags = f
		return &node{op: opGroup, subs: []*node{{op: opAlt, subs: branches}}}, err
	case p.skip("("):
		return p.condition()
	case p.skip("C"):
		_, err := p.upTo(')')
		return nil, err
	case p.skip("P="):
		name, err := p.upTo(')')
		if err != nil {
			return nil, err
		}
		return p.named(name)
	case p.skip("P>"), p.skip("&"):
		name, err := p.upTo(')')
		if err != nil {
			return nil, err
		}
		if err := groupName(name); err != nil {
			return nil, err
		}
		return p.call(name)
	case p.skip("P<"), p.skip("<"):
		return p.namedGroup('>')
	case p.skip("'"):
		return p.namedGroup('\'')
	case p.skip("R"):
		if !p.skip(")") {
			return nil, errors.New("(?R wants a closing parenthesis")
		}
		return p.call("0")
	}
	c := p.in[p.at]
	if c >= '0' && c <= '9' || c == '+' || c == '-' && p.at+1 < len(p.in) && p.in[p.at+1] >= '0' && p.in[p.at+1] <= '9' {
		word, err := p.upTo(')')
		if err != nil {
			return nil, err
		}
		if strings.Trim(word, "+-0123456789") != "" {
			return nil, fmt.Errorf("(?%s) calls no group", word)
		}
		return p.call(word)
	}
	return p.inline()
}

func (p *parser) close() error {
	if !p.skip(")") {
		return errors.New("missing )")
	}
	return nil
}

// body takes the rest of a group; flags that are set within hold to its end.
func (p *parser) body(n *node) (*node, error) {
	f := p.flags
	sub, err := p.alternatives()
	if err == nil {
		err = p.close()
	}
	p.flags = f
	n.subs = []*node{sub}
	return n, err
}

func (p *parser) namedGroup(end rune) (*node, error) {
	name, err := p.upTo(end)
	if err != nil {
		return nil, err
	}
	if err := groupName(name); err != nil {
		return nil, err
	}
	return p.capture(name)
}

func (p *parser) capture(name string) (*node, error) {
	p.count++
	n := &node{op: opGroup, n: p.count}
	if n.n == len(p.groups) {
		p.groups = append(p.groups, n)
	}
	if name != "" {
		if nums := p.names[name]; !slices.Contains(nums, n.n) {
			if len(nums) > 0 && p.flags&dupNames == 0 {
				return nil, fmt.Errorf("two groups are named %q", name)
			}
			p.names[name] = append(nums, n.n)
		}
	}
	return p.body(n)
}

// look takes a look-around behind its sign.
func (p *parser) look(behind, not bool) (*node, error) {
	f := p.flags
	branches, err := p.branches(false)
	if err == nil {
		err = p.close()
	}
	p.flags = f
	n := &node{op: opLook, behind: behind, not: not, subs: branches}
	if behind {
		p.looks = append(p.looks, n)
	} else if len(branches) > 1 {
		n.subs = []*node{{op: opAlt, subs: branches}}
	}
	return n, err
}

// call is a subroutine call by number or name.
func (p *parser) call(word string) (*node, error) {
	n := &node{op: opCall}
	num, ok, err := p.groupNumber(word)
	if err != nil {
		return nil, err
	}
	if ok {
		n.n = num
	} else {
		if err := groupName(word); err != nil {
			return nil, err
		}
		n.name = word
	}
	p.pending = append(p.pending, n)
	return n, nil
}

// condition takes a conditional group behind "(?(".
func (p *parser) condition() (*node, error) {
	c := &node{op: opCond, subs: make([]*node, 3)}
	if p.has("?") || p.has("*") {
		p.at--
		look, err := p.group()
		if err != nil {
			return nil, err
		}
		if look == nil || look.op != opLook {
			return nil, errors.New("the condition of a group must be an assertion")
		}
		c.kind, c.subs[0] = condLook, look
	} else {
		word, err := p.upTo(')')
		if err != nil {
			return nil, err
		}
		if err := p.conditionWord(c, word); err != nil {
			return nil, err
		}
	}
	f := p.flags
	branches, err := p.branches(false)
	if err == nil {
		err = p.close()
	}
	p.flags = f
	if err != nil {
		return nil, err
	}
	switch {
	case len(branches) > 2, c.kind == condNever && len(branches) > 1:
		return nil, errors.New("conditional group has too many branches")
	case len(branches) == 1:
		branches = append(branches, &node{op: opEmpty})
	}
	c.subs[1], c.subs[2] = branches[0], branches[1]
	return c, nil
}

// conditionWord reads 1, -1, <name>, 'name', name, R, R1, R&name, DEFINE or VERSION>=10.4.
func (p *parser) conditionWord(c *node, word string) error {
	n, ok, err := p.groupNumber(word)
	rest, recursion := strings.CutPrefix(word, "R")
	switch {
	case err != nil:
		return err
	case ok:
		c.nums, c.n = []int{n}, n
		p.pending = append(p.pending, c)
		return nil
	case strings.HasPrefix(word, "VERSION"):
		c.kind = condAlways
		return nil
	case word == "DEFINE" && len(p.names["DEFINE"]) == 0:
		c.kind = condNever
		return nil
	case recursion && len(p.names[word]) == 0:
		c.kind, c.n = condRecursion, -1
		if rest == "" {
			return nil
		}
		if name, named := strings.CutPrefix(rest, "&"); named {
			c.name = name
			p.pending = append(p.pending, c)
			return nil
		}
		if n, ok, err := p.groupNumber(rest); err == nil && ok {
			c.n = n
			p.pending = append(p.pending, c)
			return nil
		}
		c.kind, c.n = condGroup, 0
	}
	if len(word) > 2 && (word[0] == '<' && word[len(word)-1] == '>' || word[0] == '\'' && word[len(word)-1] == '\'') {
		word = word[1 : len(word)-1]
	}
	if err := groupName(word); err != nil {
		return err
	}
	c.name = word
	p.pending = append(p.pending, c)
	return nil
}

// inline takes flags: (?i), (?i-s), (?^x) to the end of the group around, or of a group of their own behind a colon.
func (p *parser) inline() (*node, error) {
	f, on := p.flags, true
	if p.skip("^") {
		f &^= caseless | multiline | dotall | extended | extendedMore | noAutoCapture
	}
	for p.more() {
		c := p.in[p.at]
		p.at++
		bit := flags(0)
		switch c {
		case 'i':
			bit = caseless
		case 'm':
			bit = multiline
		case 's':
			bit = dotall
		case 'n':
			bit = noAutoCapture
		case 'J':
			bit = dupNames
		case 'U':
			bit = ungreedy
		case 'x':
			bit = extended
			if p.skip("x") {
				bit |= extendedMore
			} else if on {
				f &^= extendedMore
			}
			if !on {
				bit |= extendedMore
			}
		case '-':
			if !on {
				return nil, errors.New("two hyphens in flags")
			}
			on = false
			continue
		case ')':
			p.flags = f
			return nil, nil
		case ':':
			was := p.flags
			p.flags = f
			n, err := p.body(&node{op: opGroup})
			p.flags = was
			return n, err
		default:
			return nil, fmt.Errorf("(?%c is not known", c)
		}
		if on {
			f |= bit
		} else {
			f &^= bit
		}
	}
	return nil, errors.New("missing )")
}

// verb takes (*NAME) and (*NAME:mark), and the words for look-around of newer versions, behind "(*".
func (p *parser) verb() (*node, error) {
	for _, w := range []struct {
		word        string
		behind, not bool
	}{{"positive_lookahead:", false, false}, {"pla:", false, false}, {"negative_lookahead:", false, true}, {"nla:", false, true},
		{"positive_lookbehind:", true, false}, {"plb:", true, false}, {"negative_lookbehind:", true, true}, {"nlb:", true, true}} {
		if p.skip(w.word) {
			return p.look(w.behind, w.not)
		}
	}
	if p.skip("atomic:") {
		return p.body(&node{op: opAtomic})
	}
	word, err := p.upTo(')')
	if err != nil {
		return nil, err
	}
	name, mark, marked := strings.Cut(word, ":")
	n := &node{op: opVerb}
	switch name {
	case "FAIL", "F":
		n.kind = verbFail
		return n, nil
	case "MARK", "":
		if mark != "" {
			return nil, nil
		}
		return nil, errors.New("(*MARK) wants a name")
	case "ACCEPT":
		n.kind = verbAccept
	case "COMMIT":
		n.kind = verbCommit
	case "PRUNE":
		n.kind = verbPrune
	case "SKIP":
		n.kind = verbSkip
		if marked && mark != "" {
			return nil, errors.New("(*SKIP) with a name is not supported")
		}
	case "THEN":
		n.kind = verbThen
	default:
		return nil, fmt.Errorf("verb (*%s) is not known", word)
	}
	p.verbs = true
	return n, nil
}
