package pcre

import (
	"fmt"
	"strings"
	"unicode"
)

// set is a set of characters: those below 256 as bits, others by ranges and tables.
type set struct {
	bits   [4]uint64
	ranges []rune // pairs of a first and a last one
	in     []*unicode.RangeTable
	out    [][]*unicode.RangeTable // those that are in no table of one of these groups
	high   bool                    // all from 256 on
	fold   bool                    // case does not matter, beyond ASCII too
	not    bool
}

func (s *set) addByte(b int) { s.bits[b>>6] |= 1 << (b & 63) }

func (s *set) add(lo, hi rune) {
	for r := lo; r <= hi && r < 256; r++ {
		s.addByte(int(r))
	}
	if hi >= 256 {
		s.ranges = append(s.ranges, max(lo, 256), hi)
	}
}

// foldASCII adds the other case of each ASCII letter.
func (s *set) foldASCII() {
	for c := 'a'; c <= 'z'; c++ {
		lower, upper := int(c), int(c-'a'+'A')
		if s.bit(lower) {
			s.addByte(upper)
		} else if s.bit(upper) {
			s.addByte(lower)
		}
	}
}

func (s *set) bit(b int) bool { return s.bits[b>>6]&(1<<(b&63)) != 0 }

func (s *set) raw(r rune) bool {
	if r < 256 {
		if s.bit(int(r)) {
			return true
		}
	} else {
		if s.high {
			return true
		}
		for i := 0; i < len(s.ranges); i += 2 {
			if r >= s.ranges[i] && r <= s.ranges[i+1] {
				return true
			}
		}
	}
	for _, t := range s.in {
		if unicode.Is(t, r) {
			return true
		}
	}
	for _, group := range s.out {
		if !unicode.In(r, group...) {
			return true
		}
	}
	return false
}

func (s *set) has(r rune) bool {
	if s.raw(r) {
		return !s.not
	}
	if s.fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if s.raw(f) {
				return !s.not
			}
		}
	}
	return s.not
}

// addClass adds a class of ASCII characters, or its complement.
func (s *set) addClass(in func(byte) bool, not bool) {
	for b := range 256 {
		if in(byte(b)) != not {
			s.addByte(b)
		}
	}
	s.high = s.high || not
}

func lower(b byte) bool { return b >= 'a' && b <= 'z' }
func upper(b byte) bool { return b >= 'A' && b <= 'Z' }
func alpha(b byte) bool { return lower(b) || upper(b) }
func digit(b byte) bool { return b >= '0' && b <= '9' }
func alnum(b byte) bool { return alpha(b) || digit(b) }
func word(b byte) bool  { return alnum(b) || b == '_' }
func space(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }
func blank(b byte) bool { return b == ' ' || b == '\t' }
func horiz(b byte) bool { return blank(b) || b == 0xa0 }
func vert(b byte) bool  { return b >= '\n' && b <= '\r' || b == 0x85 }
func graph(b byte) bool { return b > ' ' && b < 0x7f }

// posix is the class written [:name:], nil if there is none.
func posix(name string) func(byte) bool {
	switch name {
	case "lower":
		return lower
	case "upper":
		return upper
	case "alpha":
		return alpha
	case "digit":
		return digit
	case "alnum":
		return alnum
	case "word":
		return word
	case "space":
		return space
	case "blank":
		return blank
	case "graph":
		return graph
	case "print":
		return func(b byte) bool { return b == ' ' || graph(b) }
	case "punct":
		return func(b byte) bool { return graph(b) && !alnum(b) }
	case "cntrl":
		return func(b byte) bool { return b < ' ' || b == 0x7f }
	case "xdigit":
		return func(b byte) bool { return digit(b) || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F' }
	case "ascii":
		return func(b byte) bool { return b < 0x80 }
	}
	return nil
}

// horizontal and vertical blanks from 256 on.
var (
	highHoriz = []rune{0x1680, 0x1680, 0x180e, 0x180e, 0x2000, 0x200a, 0x202f, 0x202f, 0x205f, 0x205f, 0x3000, 0x3000}
	highVert  = []rune{0x2028, 0x2029}
)

// shorthand adds \d, \W and their like; ok is false for another letter.
func (s *set) shorthand(c rune, props bool) (ok bool) {
	not := c < 'a'
	switch c | 0x20 {
	case 'd', 'w', 's':
		if props {
			tables := map[rune][]*unicode.RangeTable{'d': {unicode.Nd}, 'w': wordTables(), 's': {unicode.White_Space}}[c|0x20]
			if not {
				s.out = append(s.out, tables)
			} else {
				s.in = append(s.in, tables...)
			}
			return true
		}
		s.addClass(map[rune]func(byte) bool{'d': digit, 'w': word, 's': space}[c|0x20], not)
	case 'h', 'v':
		in, high := horiz, highHoriz
		if c|0x20 == 'v' {
			in, high = vert, highVert
		}
		for b := range 256 {
			if in(byte(b)) != not {
				s.addByte(b)
			}
		}
		if !not {
			s.ranges = append(s.ranges, high...)
			break
		}
		at := rune(256)
		for i := 0; i < len(high); i += 2 {
			s.ranges = append(s.ranges, at, high[i]-1)
			at = high[i+1] + 1
		}
		s.ranges = append(s.ranges, at, unicode.MaxRune)
	default:
		return false
	}
	return true
}

func wordTables() []*unicode.RangeTable {
	return []*unicode.RangeTable{unicode.L, unicode.N, unicode.Mn, unicode.Pc}
}

// property adds the characters of \p{name}, or with not the others.
func (s *set) property(name string, not bool) error {
	if n, ok := strings.CutPrefix(name, "^"); ok {
		name, not = n, !not
	}
	clean := strings.NewReplacer(" ", "", "_", "", "-", "").Replace(name)
	var tables []*unicode.RangeTable
	switch strings.ToLower(clean) {
	case "any":
		if !not {
			s.add(0, 255)
			s.high = true
		}
		return nil
	case "l&", "lc":
		tables = []*unicode.RangeTable{unicode.Lu, unicode.Ll, unicode.Lt}
	case "xan":
		tables = []*unicode.RangeTable{unicode.L, unicode.N}
	case "xwd":
		tables = wordTables()
	case "xsp", "xps":
		tables = []*unicode.RangeTable{unicode.White_Space}
	default:
		t := table(clean)
		if t == nil {
			return fmt.Errorf("property %q is not known", name)
		}
		tables = []*unicode.RangeTable{t}
	}
	if not {
		s.out = append(s.out, tables)
	} else {
		s.in = append(s.in, tables...)
	}
	return nil
}

// table is a general category or a script by name.
func table(name string) *unicode.RangeTable {
	for _, all := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Scripts} {
		if t := all[name]; t != nil {
			return t
		}
		for k, t := range all {
			if strings.EqualFold(strings.ReplaceAll(k, "_", ""), name) {
				return t
			}
		}
	}
	return nil
}
