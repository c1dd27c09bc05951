package pcre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// setNode is a set with the case folding that is in force.
func (p *parser) setNode(s *set) *node {
	if p.flags&caseless != 0 {
		if p.flags&utf != 0 {
			s.fold = true
		} else {
			s.foldASCII()
		}
	}
	return &node{op: opSet, set: s}
}

// escape takes a backslash and what follows, outside of a class.
func (p *parser) escape() (*node, error) {
	if p.at+1 >= len(p.in) {
		return nil, errors.New(`\ at the end`)
	}
	c := p.in[p.at+1]
	switch c {
	case 'Q':
		p.at += 2
		p.quoting = true
		return nil, nil
	case 'E':
		p.at += 2
		return nil, nil
	case 'd', 'D', 'w', 'W', 's', 'S', 'h', 'H', 'v', 'V':
		p.at += 2
		s := &set{}
		s.shorthand(c, p.flags&ucp != 0)
		return &node{op: opSet, set: s}, nil
	case 'p', 'P':
		p.at++
		s := &set{}
		if err := p.property(s); err != nil {
			return nil, err
		}
		return p.setNode(s), nil
	case 'R':
		p.at += 2
		one := &set{}
		if p.anycrlf {
			one.addByte('\n')
			one.addByte('\r')
		} else {
			one.shorthand('v', false)
		}
		crlf := &node{op: opCat, subs: []*node{{op: opChar, r: '\r'}, {op: opChar, r: '\n'}}}
		return &node{op: opAtomic, subs: []*node{{op: opAlt, subs: []*node{crlf, {op: opSet, set: one}}}}}, nil
	case 'N':
		p.at += 2
		if p.has("{U+") {
			p.at += 3
			return p.codePoint(16)
		}
		return &node{op: opAny}, nil
	case 'X':
		p.at += 2
		return &node{op: opGrapheme}, nil
	case 'C':
		if p.flags&neverBackslashC != 0 {
			return nil, errors.New(`\C is forbidden by never_backslash_c`)
		}
		p.at += 2
		return &node{op: opByte}, nil
	case 'K':
		p.at += 2
		return &node{op: opEmpty}, nil
	case 'A', 'z', 'Z', 'b', 'B', 'G':
		p.at += 2
		kind := map[rune]int{'A': atStart, 'z': atEnd, 'Z': atLastEnd, 'b': atWord, 'B': atNoWord, 'G': atFrom}[c]
		return &node{op: opAssert, kind: kind}, nil
	case 'g', 'k':
		return p.reference(c)
	}
	if c >= '1' && c <= '9' {
		i := p.at + 1
		for i < len(p.in) && p.in[i] >= '0' && p.in[i] <= '9' {
			i++
		}
		if n, err := strconv.Atoi(string(p.in[p.at+1 : i])); err == nil && (n < 10 || n <= p.count || c >= '8') {
			p.at = i
			return p.numbered(n)
		}
	}
	r, err := p.escapedChar(false)
	if err != nil {
		return nil, err
	}
	return p.char(r), nil
}

// numbered is a reference to a group by its number.
func (p *parser) numbered(n int) (*node, error) {
	if n <= 0 {
		return nil, fmt.Errorf("no group %d to refer to", n)
	}
	r := &node{op: opRef, nums: []int{n}, n: n, fold: p.flags&caseless != 0}
	p.pending = append(p.pending, r)
	return r, nil
}

// named is a reference by name.
func (p *parser) named(name string) (*node, error) {
	if err := groupName(name); err != nil {
		return nil, err
	}
	r := &node{op: opRef, name: name, fold: p.flags&caseless != 0}
	p.pending = append(p.pending, r)
	return r, nil
}

// reference takes \g1 \g{-1} \g{name} \k{name} \k<name> \k'name', and the calls \g<...> and \g'...'.
func (p *parser) reference(c rune) (*node, error) {
	p.at += 2
	if !p.more() {
		return nil, errors.New("reference to nothing")
	}
	end := map[rune]rune{'{': '}', '<': '>', '\'': '\''}[p.in[p.at]]
	word := ""
	if end != 0 {
		p.at++
		var err error
		if word, err = p.upTo(end); err != nil {
			return nil, err
		}
		if c == 'g' && end != '}' {
			return p.call(word)
		}
		if c == 'k' {
			return p.named(word)
		}
	} else {
		if c == 'k' {
			return nil, errors.New(`\k wants a name in brackets`)
		}
		i := p.at
		if p.in[i] == '-' || p.in[i] == '+' {
			i++
		}
		for i < len(p.in) && p.in[i] >= '0' && p.in[i] <= '9' {
			i++
		}
		word = string(p.in[p.at:i])
		p.at = i
	}
	n, ok, err := p.groupNumber(word)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return p.numbered(n)
	}
	return p.named(word)
}

// groupNumber reads 3, -1 or +1; ok is false for what is no number.
func (p *parser) groupNumber(word string) (n int, ok bool, err error) {
	if word == "" || strings.TrimLeft(strings.TrimLeft(word, "+-"), "0123456789") != "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(word)
	if err != nil || n > maxRepeat {
		return 0, false, fmt.Errorf("no group %s to refer to", word)
	}
	switch word[0] {
	case '-':
		n += p.count + 1
	case '+':
		n += p.count
	default:
		return n, true, nil
	}
	if n <= 0 {
		return 0, false, fmt.Errorf("no group %s to refer to", word)
	}
	return n, true, nil
}

func groupName(name string) error {
	if name == "" || len(name) > 128 || name[0] >= '0' && name[0] <= '9' || strings.IndexFunc(name, func(r rune) bool { return r < 0x80 && !word(byte(r)) }) >= 0 {
		return fmt.Errorf("%q is no name of a group", name)
	}
	return nil
}

// property takes pL, p{Lu}, P{^L}; the backslash is behind.
func (p *parser) property(s *set) error {
	not := p.in[p.at] == 'P'
	p.at++
	if !p.more() {
		return errors.New(`\p at the end`)
	}
	name := string(p.in[p.at])
	p.at++
	if name == "{" {
		var err error
		if name, err = p.upTo('}'); err != nil {
			return err
		}
	}
	return s.property(name, not)
}

// escapedChar takes a backslash and what follows as one character, in or out of a class.
func (p *parser) escapedChar(inClass bool) (rune, error) {
	c := p.in[p.at+1]
	p.at += 2
	switch c {
	case 'a':
		return 7, nil
	case 'e':
		return 27, nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'b':
		if inClass {
			return '\b', nil
		}
	case 'c':
		if !p.more() || p.in[p.at] > 0x7e || p.in[p.at] < ' ' {
			return 0, errors.New(`\c wants a printable ASCII character`)
		}
		r := p.in[p.at]
		if lower(byte(r)) {
			r -= 'a' - 'A'
		}
		p.at++
		return r ^ 0x40, nil
	case 'o':
		if !p.skip("{") {
			return 0, errors.New(`\o wants digits in braces`)
		}
		return p.digits(8)
	case 'u', 'U':
		if p.flags&altBSUX == 0 {
			break
		}
		if r, ok := p.hex(4); c == 'u' && ok {
			return p.valid(r)
		}
		return c, nil
	case 'x':
		if p.flags&altBSUX != 0 {
			if r, ok := p.hex(2); ok {
				return r, nil
			}
			return 'x', nil
		}
		if p.skip("{") {
			return p.digits(16)
		}
		n := rune(0)
		for i := 0; i < 2 && p.more(); i++ {
			d, ok := hexDigit(p.in[p.at])
			if !ok {
				break
			}
			n = n*16 + d
			p.at++
		}
		return n, nil
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n := c - '0'
		for i := 0; i < 2 && p.more() && p.in[p.at] >= '0' && p.in[p.at] <= '7'; i++ {
			n = n*8 + p.in[p.at] - '0'
			p.at++
		}
		return p.valid(n)
	}
	if c < 0x80 && alnum(byte(c)) {
		return 0, fmt.Errorf(`\%c is not known`, c)
	}
	return c, nil
}

func hexDigit(r rune) (rune, bool) {
	switch {
	case r >= '0' && r <= '9':
		return r - '0', true
	case r >= 'a' && r <= 'f':
		return r - 'a' + 10, true
	case r >= 'A' && r <= 'F':
		return r - 'A' + 10, true
	}
	return 0, false
}

// hex takes exactly n digits, or nothing.
func (p *parser) hex(n int) (r rune, ok bool) {
	if p.at+n > len(p.in) {
		return 0, false
	}
	for _, c := range p.in[p.at : p.at+n] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		r = r*16 + d
	}
	p.at += n
	return r, true
}

// digits takes a number up to a closing brace.
func (p *parser) digits(base int) (rune, error) {
	s, err := p.upTo('}')
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(s), base, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is no character", s)
	}
	return p.valid(rune(n))
}

func (p *parser) codePoint(base int) (*node, error) {
	if p.flags&utf == 0 {
		return nil, errors.New(`\N{U+...} needs utf`)
	}
	r, err := p.digits(base)
	if err != nil {
		return nil, err
	}
	return p.char(r), nil
}

// valid says whether there is such a character.
func (p *parser) valid(r rune) (rune, error) {
	if r > 0x10ffff || p.flags&utf == 0 && r > 0xff || r >= 0xd800 && r < 0xe000 {
		return 0, fmt.Errorf("character code 0x%x is too large, or a surrogate", r)
	}
	return r, nil
}
