package pcre

import (
	"errors"
	"fmt"
	"strings"
)

// class takes a bracketed class.
func (p *parser) class() (*node, error) {
	p.at++
	s := &set{}
	if p.skip("^") {
		s.not = true
	}
	quoting, first := false, true
	for ; ; first = false {
		if !p.more() {
			return nil, errors.New("missing ] of a class")
		}
		if quoting {
			if p.skip(`\E`) {
				quoting = false
				continue
			}
		} else {
			c := p.in[p.at]
			if c == ']' && (!first || p.flags&allowEmptyClass != 0) {
				p.at++
				break
			}
			if p.skip(`\Q`) {
				quoting, first = true, false
				continue
			}
			if p.skip(`\E`) || p.flags&extendedMore != 0 && (c == ' ' || c == '\t') && p.skip(string(c)) {
				continue
			}
			done, err := p.classOf(s)
			if err != nil {
				return nil, err
			}
			if done {
				// No range begins with a class: a hyphen behind it means itself.
				if p.has("-") && !p.has("-]") {
					p.at++
					s.addByte('-')
				}
				continue
			}
		}
		lo, err := p.classChar(quoting)
		if err != nil {
			return nil, err
		}
		if quoting || !p.has("-") || p.at+1 >= len(p.in) || p.in[p.at+1] == ']' {
			s.add(lo, lo)
			continue
		}
		mark := p.at
		p.at++
		if p.skip(`\E`) || p.has(`\Q`) || p.isClass() {
			p.at = mark + 1
			s.add(lo, lo)
			s.addByte('-')
			continue
		}
		hi, err := p.classChar(false)
		if err != nil {
			return nil, err
		}
		if hi < lo {
			return nil, errors.New("range of a class is out of order")
		}
		s.add(lo, hi)
	}
	return p.setNode(s), nil
}

// isClass says whether a class within the class is next: \d, \pL, [:alpha:].
func (p *parser) isClass() bool {
	if p.has("[:") {
		return true
	}
	return p.has(`\`) && p.at+1 < len(p.in) && strings.ContainsRune("dDwWsShHvVpP", p.in[p.at+1])
}

// classOf takes a class within the class.
func (p *parser) classOf(s *set) (done bool, err error) {
	if p.has("[.") || p.has("[=") {
		for i := p.at + 2; i+1 < len(p.in); i++ {
			if p.in[i] == p.in[p.at+1] && p.in[i+1] == ']' {
				return false, errors.New("POSIX collating elements are not supported")
			}
		}
	}
	if p.has("[:") {
		i := p.at + 2
		for i < len(p.in) && (p.in[i] == '^' || p.in[i] >= 'a' && p.in[i] <= 'z') {
			i++
		}
		if i+1 >= len(p.in) || p.in[i] != ':' || p.in[i+1] != ']' {
			return false, nil
		}
		name := string(p.in[p.at+2 : i])
		p.at = i + 2
		name, not := strings.CutPrefix(name, "^")
		in := posix(name)
		if in == nil {
			return false, fmt.Errorf("unknown class [:%s:]", name)
		}
		if p.flags&ucp != 0 {
			switch name {
			case "alpha":
				return true, s.property("L", not)
			case "lower":
				return true, s.property("Ll", not)
			case "upper":
				return true, s.property("Lu", not)
			case "alnum":
				return true, s.property("Xan", not)
			case "space":
				return true, s.property("Xps", not)
			case "word":
				return true, s.property("Xwd", not)
			case "digit":
				return true, s.property("Nd", not)
			}
		}
		s.addClass(in, not)
		return true, nil
	}
	if !p.isClass() {
		return false, nil
	}
	c := p.in[p.at+1]
	if c == 'p' || c == 'P' {
		p.at++
		return true, p.property(s)
	}
	p.at += 2
	return s.shorthand(c, p.flags&ucp != 0), nil
}

// classChar takes one character of a class.
func (p *parser) classChar(quoting bool) (rune, error) {
	c := p.in[p.at]
	if c != '\\' || quoting {
		p.at++
		return c, nil
	}
	if p.at+1 >= len(p.in) {
		return 0, errors.New(`\ at the end`)
	}
	if n := p.in[p.at+1]; n == '8' || n == '9' {
		p.at += 2
		return n, nil
	}
	return p.escapedChar(true)
}
