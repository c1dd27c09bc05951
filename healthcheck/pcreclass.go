package healthcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// set says which of the first 256 characters belong to a class; PCRE2 means ASCII by them unless told ucp.
type set func(b byte) bool

func lower(b byte) bool { return b >= 'a' && b <= 'z' }
func upper(b byte) bool { return b >= 'A' && b <= 'Z' }
func digit(b byte) bool { return b >= '0' && b <= '9' }
func alnum(b byte) bool { return lower(b) || upper(b) || digit(b) }
func word(b byte) bool  { return alnum(b) || b == '_' }
func space(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }
func blank(b byte) bool { return b == ' ' || b == '\t' }
func horiz(b byte) bool { return blank(b) || b == 0xa0 }
func vert(b byte) bool  { return b >= '\n' && b <= '\r' || b == 0x85 }
func graph(b byte) bool { return b > ' ' && b < 0x7f }

// posix are the classes written [:name:].
var posix = sync.OnceValue(func() map[string]set {
	return map[string]set{"lower": lower, "upper": upper, "digit": digit, "alnum": alnum, "word": word, "space": space, "blank": blank, "graph": graph,
		"alpha":  func(b byte) bool { return lower(b) || upper(b) },
		"print":  func(b byte) bool { return b == ' ' || graph(b) },
		"punct":  func(b byte) bool { return graph(b) && !alnum(b) },
		"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
		"xdigit": func(b byte) bool { return digit(b) || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' },
		"ascii":  func(b byte) bool { return b < 0x80 },
	}
})

// shorthand are the classes written as one letter; capitals are their complements.
var shorthand = sync.OnceValue(func() map[rune]set {
	return map[rune]set{'d': digit, 'w': word, 's': space, 'h': horiz, 'v': vert}
})

// ranges writes a set, or its complement, as it stands within brackets.
func ranges(in set, not bool) string {
	var b strings.Builder
	for i := 0; i < 256; {
		if in(byte(i)) == not {
			i++
			continue
		}
		j := i
		for j+1 < 256 && in(byte(j+1)) != not {
			j++
		}
		fmt.Fprintf(&b, `\x%02X`, i)
		if j > i {
			fmt.Fprintf(&b, `-\x%02X`, j)
		}
		i = j + 1
	}
	if not {
		b.WriteString("\u0100-\uffff")
	}
	return b.String()
}

// short writes \d, \W and their like; ok is false for another letter, or one to be left to the library.
func (t *translator) short(c rune) (text string, ok bool) {
	in, known := shorthand()[c|0x20]
	if !known || t.ucp && (c|0x20) != 'h' && (c|0x20) != 'v' {
		return "", false
	}
	return ranges(in, c&0x20 == 0), true
}

// escape takes a backslash and what follows, outside of a class.
func (t *translator) escape() error {
	if t.at+1 >= len(t.in) {
		return errors.New(`\ at the end`)
	}
	c := t.in[t.at+1]
	if text, ok := t.short(c); ok {
		t.at += 2
		t.emit("[" + text + "]")
		return nil
	}
	switch c {
	case 'Q':
		t.at += 2
		for t.at < len(t.in) && !t.has(`\E`) {
			t.emit(literal(t.in[t.at]))
			t.at++
		}
		t.at = min(t.at+2, len(t.in))
		return nil
	case 'E':
		t.at += 2
		return nil
	case 'R':
		t.at += 2
		t.emit(`(?>\r\n|[\n-\r\x85])`)
		return nil
	case 'N':
		t.at += 2
		t.emit(`[^\n]`)
		return nil
	case 'K': // where the match is said to begin does not matter
		t.at += 2
		t.atom = -1
		return nil
	case 'C':
		if t.noBytes {
			return errors.New(`\C is forbidden by never_backslash_c`)
		}
		t.at += 2
		t.emit(`[\s\S]`)
		return nil
	case 'X':
		return errors.New(`\X is not supported`)
	case 'g', 'k':
		return t.reference(c)
	case 'A', 'Z', 'z', 'G', 'b', 'B':
		t.at += 2
		t.out.WriteString(`\` + string(c))
		t.atom = -1
		return nil
	case 'p', 'P':
		return t.property()
	}
	if c >= '1' && c <= '9' {
		i := t.at + 1
		for i < len(t.in) && digit(byte(t.in[i])) && t.in[i] < 0x80 {
			i++
		}
		n := string(t.in[t.at+1 : i])
		if v, err := strconv.Atoi(n); err == nil && (v < 10 || v <= t.caps) {
			t.at = i
			return t.backref(n)
		}
	}
	text, err := t.char()
	if err != nil {
		return err
	}
	t.emit(text)
	return nil
}

// property takes \pL, \p{Lu}, \P{^L}.
func (t *translator) property() error {
	i := t.at + 2
	if i >= len(t.in) {
		return errors.New(`\p at the end`)
	}
	if t.in[i] != '{' {
		t.emit(`\` + string(t.in[t.at+1]) + "{" + string(t.in[i]) + "}")
		t.at = i + 1
		return nil
	}
	c := t.in[t.at+1]
	t.at = i + 1
	name, err := t.upTo('}')
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "^") {
		name, c = name[1:], c^0x20
	}
	t.emit(`\` + string(c) + "{" + name + "}")
	return nil
}

// reference takes \g1 \g{-1} \g{name} \k{name} \k<name> \k'name'.
func (t *translator) reference(c rune) error {
	t.at += 2
	if t.at >= len(t.in) {
		return errors.New("reference to nothing")
	}
	end := map[rune]rune{'{': '}', '<': '>', '\'': '\''}[t.in[t.at]]
	if c == 'g' && end != '}' && end != 0 {
		return errRecursion
	}
	if end != 0 {
		t.at++
		name, err := t.upTo(end)
		if err != nil {
			return err
		}
		return t.backref(strings.TrimSpace(name))
	}
	i := t.at
	if t.in[i] == '-' || t.in[i] == '+' {
		i++
	}
	for i < len(t.in) && t.in[i] >= '0' && t.in[i] <= '9' {
		i++
	}
	name := string(t.in[t.at:i])
	t.at = i
	return t.backref(name)
}

// char takes an escape that stands for one character and writes it as the library knows it.
func (t *translator) char() (string, error) {
	c := t.in[t.at+1]
	t.at += 2
	switch c {
	case 'a':
		return `\x07`, nil
	case 'e':
		return `\x1B`, nil
	case 'f', 'n', 'r', 't':
		return `\` + string(c), nil
	case 'c':
		if t.at >= len(t.in) || t.in[t.at] > 0x7e || t.in[t.at] < ' ' {
			return "", errors.New(`\c wants a printable ASCII character`)
		}
		r := t.in[t.at]
		if lower(byte(r)) {
			r -= 'a' - 'A'
		}
		t.at++
		return literal(r ^ 0x40), nil
	case 'x', 'o':
		return t.number(c)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		n := c - '0'
		for i := 0; i < 2 && t.at < len(t.in) && t.in[t.at] >= '0' && t.in[t.at] <= '7'; i++ {
			n = n*8 + t.in[t.at] - '0'
			t.at++
		}
		return character(n)
	}
	if c < 0x80 && alnum(byte(c)) {
		return "", fmt.Errorf(`\%c is not known`, c)
	}
	return literal(c), nil
}

// number takes the digits behind \x and \o.
func (t *translator) number(c rune) (string, error) {
	base := 16
	if c == 'o' {
		base = 8
	}
	digits := ""
	if t.has("{") {
		t.at++
		s, err := t.upTo('}')
		if err != nil {
			return "", err
		}
		digits = s
	} else if c == 'x' {
		for len(digits) < 2 && t.at < len(t.in) && t.in[t.at] < 0x80 && posix()["xdigit"](byte(t.in[t.at])) {
			digits += string(t.in[t.at])
			t.at++
		}
		if digits == "" {
			digits = "0"
		}
	}
	n, err := strconv.ParseUint(digits, base, 21)
	if err != nil {
		return "", fmt.Errorf(`\%c{%s} is no character`, c, digits)
	}
	return character(rune(n))
}

func character(n rune) (string, error) {
	if n > 0xffff {
		return "", fmt.Errorf("character U+%04X is not supported", n)
	}
	return fmt.Sprintf(`\u%04X`, n), nil
}

// classEnd is the index of the bracket that closes the class at the start of s, or 0.
func classEnd(s []rune) int {
	i := 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == 'Q':
			for i += 2; i+1 < len(s) && !(s[i] == '\\' && s[i+1] == 'E'); i++ {
			}
			i++
		case s[i] == '\\':
			i++
		case s[i] == '[' && i+1 < len(s) && s[i+1] == ':':
			if end := strings.Index(string(s[i:]), ":]"); end > 0 {
				i += len([]rune(string(s[i:])[:end])) + 1
			}
		case s[i] == ']':
			return i
		}
	}
	return 0
}

// class takes a bracketed class.
func (t *translator) class() error {
	end := classEnd(t.in[t.at:])
	if end == 0 {
		return errors.New("missing ] of a class")
	}
	end += t.at
	var b strings.Builder
	b.WriteByte('[')
	t.at++
	if t.in[t.at] == '^' {
		b.WriteByte('^')
		t.at++
	}
	for first := true; t.at < end; first = false {
		c := t.in[t.at]
		switch {
		case c == '\\':
			text, err := t.classEscape(end)
			if err != nil {
				return err
			}
			b.WriteString(text)
		case c == '[' && t.has("[:"):
			t.at += 2
			name, err := t.upTo(':')
			if err != nil {
				return err
			}
			t.at++ // ]
			in, ok := posix()[strings.TrimPrefix(name, "^")]
			if !ok {
				return fmt.Errorf("unknown class [:%s:]", name)
			}
			b.WriteString(ranges(in, strings.HasPrefix(name, "^")))
		case c == '-' && !first && t.at+1 < end:
			t.at++
			b.WriteByte('-')
			if next := t.in[t.at]; next == '[' || next == '\\' && t.at+1 < end && shorthand()[t.in[t.at+1]|0x20] != nil {
				// No range ends in a class: the hyphen means itself.
				s := b.String()
				b.Reset()
				b.WriteString(s[:len(s)-1] + `\x2D`)
			}
		default:
			t.at++
			b.WriteString(literal(c))
		}
	}
	b.WriteByte(']')
	t.at = end + 1
	t.emit(b.String())
	return nil
}

// classEscape takes a backslash and what follows within a class.
func (t *translator) classEscape(end int) (string, error) {
	if t.at+1 >= end {
		return "", errors.New(`\ at the end of a class`)
	}
	c := t.in[t.at+1]
	if text, ok := t.short(c); ok {
		t.at += 2
		return text, nil
	}
	switch c {
	case 'Q':
		var b strings.Builder
		for t.at += 2; t.at < end && !t.has(`\E`); t.at++ {
			b.WriteString(literal(t.in[t.at]))
		}
		t.at = min(t.at+2, end)
		return b.String(), nil
	case 'E':
		t.at += 2
		return "", nil
	case 'b':
		t.at += 2
		return `\x08`, nil
	case 'd', 'D', 'w', 'W', 's', 'S':
		t.at += 2
		return `\` + string(c), nil
	case 'p', 'P':
		begin := t.at
		t.at += 2
		if t.has("{") {
			if _, err := t.upTo('}'); err != nil {
				return "", err
			}
			return string(t.in[begin:t.at]), nil
		}
		t.at++
		return `\` + string(c) + "{" + string(t.in[t.at-1]) + "}", nil
	case 'N', 'R', 'X', 'B':
		return "", fmt.Errorf(`\%c is not allowed in a class`, c)
	}
	return t.char()
}
