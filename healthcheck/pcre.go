package healthcheck

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// translator rewrites a PCRE2 pattern in the dialect of regexp2 (.NET's): the two agree on look-around, back references, atomic groups,
// conditions and lazy quantifiers, and differ in what is handled here.
type translator struct {
	opts                                            regexp2.RegexOptions
	utf, ucp, firstLine, endOnly, ungreedy, noBytes bool

	in    []rune
	at    int
	out   strings.Builder
	atom  int   // where in out the last thing that can be repeated begins; -1: nothing
	open  []int // where in out the open groups begin
	names map[string]int
	caps  int // capturing groups opened so far
}

// pcreOptions are the names of regex_options and what they do; nil: nothing that matters to whether a text matches.
var pcreOptions = sync.OnceValue(func() map[string]func(*translator) {
	return map[string]func(*translator){
		"caseless":          func(t *translator) { t.opts |= regexp2.IgnoreCase },
		"multiline":         func(t *translator) { t.opts |= regexp2.Multiline },
		"dotall":            func(t *translator) { t.opts |= regexp2.Singleline },
		"extended":          func(t *translator) { t.opts |= regexp2.IgnorePatternWhitespace },
		"no_auto_capture":   func(t *translator) { t.opts |= regexp2.ExplicitCapture },
		"dollar_endonly":    func(t *translator) { t.endOnly = true },
		"firstline":         func(t *translator) { t.firstLine = true },
		"ungreedy":          func(t *translator) { t.ungreedy = true },
		"utf":               func(t *translator) { t.utf = true },
		"ucp":               func(t *translator) { t.ucp = true },
		"never_backslash_c": func(t *translator) { t.noBytes = true },
		"dupnames":          nil, "auto_callout": nil, "never_ucp": nil, "never_utf": nil, "no_auto_possess": nil, "no_dotstar_anchor": nil,
		"no_start_optimize": nil, "use_offset_limit": nil, "alt_verbnames": nil, "alt_circumflex": nil,
	}
})

func newTranslator(options []string) (*translator, error) {
	t := &translator{atom: -1}
	for _, name := range options {
		set, ok := pcreOptions()[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("regex option %q is not supported", name)
		}
		if set != nil {
			set(t)
		}
	}
	return t, nil
}

func (t *translator) translate(pattern string) (string, error) {
	t.in = t.in[:0]
	if t.utf {
		t.in = []rune(pattern)
	} else {
		for i := range len(pattern) {
			t.in = append(t.in, rune(pattern[i]))
		}
	}
	if err := t.collectNames(); err != nil {
		return "", err
	}
	for t.at < len(t.in) {
		if err := t.one(); err != nil {
			return "", err
		}
	}
	return t.out.String(), nil
}

func (t *translator) rest() string { return string(t.in[t.at:]) }

func (t *translator) has(s string) bool {
	for i, r := range []rune(s) {
		if t.at+i >= len(t.in) || t.in[t.at+i] != r {
			return false
		}
	}
	return true
}

// upTo takes the text before the next end and moves behind it.
func (t *translator) upTo(end rune) (string, error) {
	for i := t.at; i < len(t.in); i++ {
		if t.in[i] == end {
			s := string(t.in[t.at:i])
			t.at = i + 1
			return s, nil
		}
	}
	return "", fmt.Errorf("missing %q", end)
}

// emit writes an atom.
func (t *translator) emit(s string) {
	t.atom = t.out.Len()
	t.out.WriteString(s)
}

// one takes the next element.
func (t *translator) one() error {
	c := t.in[t.at]
	switch {
	case c == '\\':
		return t.escape()
	case c == '[':
		return t.class()
	case c == '(':
		return t.group()
	case c == ')':
		t.at++
		t.out.WriteByte(')')
		t.atom = -1
		if n := len(t.open); n > 0 {
			t.atom, t.open = t.open[n-1], t.open[:n-1]
		}
	case c == '|', c == '^':
		t.at++
		t.out.WriteRune(c)
		t.atom = -1
	case c == '$':
		t.at++
		t.atom = -1
		if t.endOnly && t.opts&regexp2.Multiline == 0 {
			t.out.WriteString(`\z`)
		} else {
			t.out.WriteByte('$')
		}
	case t.atom >= 0 && (c == '*' || c == '+' || c == '?' || c == '{' && quantifier(t.in[t.at:]) > 0):
		t.repeat()
	case t.opts&regexp2.IgnorePatternWhitespace != 0 && c == '#':
		for t.at < len(t.in) && t.in[t.at] != '\n' {
			t.at++
		}
	case t.opts&regexp2.IgnorePatternWhitespace != 0 && strings.ContainsRune(" \t\n\v\f\r", c):
		t.at++
	default:
		t.at++
		t.emit(string(c))
	}
	return nil
}

// quantifier is the length of a {n}, {n,} or {n,m} at the start of s, else 0.
func quantifier(s []rune) int {
	digits, commas := 0, 0
	for i, c := range s[1:] {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == ',' && commas == 0 && digits > 0:
			commas++
		case c == '}' && digits > 0:
			return i + 2
		default:
			return 0
		}
	}
	return 0
}

// repeat takes a quantifier: possessive ones become atomic groups, ungreedy turns the meaning of ? around.
func (t *translator) repeat() {
	n := 1
	if t.in[t.at] == '{' {
		n = quantifier(t.in[t.at:])
	}
	q := string(t.in[t.at : t.at+n])
	t.at += n
	mark := rune(0)
	if t.at < len(t.in) && (t.in[t.at] == '?' || t.in[t.at] == '+') {
		mark = t.in[t.at]
		t.at++
	}
	lazy := (mark == '?') != (t.ungreedy && mark != '+')
	if lazy {
		q += "?"
	}
	if mark != '+' {
		t.out.WriteString(q)
		t.atom = -1
		return
	}
	text := t.out.String()
	atom := text[t.atom:]
	t.out.Reset()
	t.out.WriteString(text[:t.atom] + "(?>" + atom + q + ")")
	t.atom = -1
}

var errRecursion = errors.New("recursion is not supported")

// group takes an opening parenthesis and what follows it.
func (t *translator) group() error {
	begin := t.out.Len()
	push := func(s string) {
		t.out.WriteString(s)
		t.open = append(t.open, begin)
		t.atom = -1
	}
	switch {
	case t.has("(?#"):
		_, err := t.upTo(')')
		return err
	case t.has("(*"):
		t.at += 2
		verb, err := t.upTo(')')
		switch verb {
		case "UTF", "UTF8", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_JIT", "LF", "BSR_ANYCRLF", "BSR_UNICODE":
			return err
		case "UCP":
			t.ucp = true
			return err
		}
		return fmt.Errorf("verb (*%s) is not supported", verb)
	case t.has("(?P="):
		t.at += 4
		name, err := t.upTo(')')
		if err == nil {
			err = t.backref(name)
		}
		return err
	case t.has("(?P>"), t.has("(?R"), t.has("(?&"), t.has("(?|"), t.has("(?C"):
		return errRecursion
	case t.has("(?P<"), t.has("(?<") && !t.has("(?<=") && !t.has("(?<!"), t.has("(?'"):
		return t.named(push)
	case t.has("(?("):
		return t.condition(push)
	case t.has("(?"):
		if n := t.at + 2; n < len(t.in) && (t.in[n] >= '0' && t.in[n] <= '9' || t.in[n] == '+' || t.in[n] == '-' && n+1 < len(t.in) && t.in[n+1] >= '0' && t.in[n+1] <= '9') {
			return errRecursion
		}
		// Flags, look-around, atomic and plain groups are the same; copy up to where the group's text begins.
		i := t.at + 2
		for i < len(t.in) && strings.ContainsRune("imnsxJU-^", t.in[i]) {
			if t.in[i] == 'J' || t.in[i] == 'U' || t.in[i] == '^' {
				return fmt.Errorf("flag %q within the pattern is not supported", t.in[i])
			}
			i++
		}
		if i < len(t.in) && t.in[i] == ')' { // flags for the rest of the group
			t.out.WriteString(string(t.in[t.at : i+1]))
			t.at, t.atom = i+1, -1
			return nil
		}
		if i < len(t.in) && strings.ContainsRune(":=!><", t.in[i]) {
			i++
			if t.in[i-1] == '<' && i < len(t.in) {
				i++
			}
		}
		push(string(t.in[t.at:i]))
		t.at = i
		return nil
	}
	t.at++
	t.caps++
	push("(")
	return nil
}

// named takes a group with a name. Its number counts with the others, as in PCRE2 (.NET numbers named groups last): the name is only
// kept where other groups have no numbers.
func (t *translator) named(push func(string)) error {
	for t.in[t.at] != '<' && t.in[t.at] != '\'' {
		t.at++
	}
	end := '>'
	if t.in[t.at] == '\'' {
		end = '\''
	}
	t.at++
	name, err := t.upTo(end)
	if err != nil {
		return err
	}
	if t.opts&regexp2.ExplicitCapture != 0 {
		push("(?<" + name + ">")
		return nil
	}
	t.caps++
	push("(")
	return nil
}

// condition takes (?(1), (?(<name>), (?(name) and (?( with a look-around.
func (t *translator) condition(push func(string)) error {
	t.at += 2 // at the condition's parenthesis
	if t.has("(?") {
		push("(?")
		return nil
	}
	t.at++
	word, err := t.upTo(')')
	if err != nil {
		return err
	}
	word = strings.Trim(word, "<>'")
	if strings.HasPrefix(word, "R") || word == "DEFINE" {
		return errRecursion
	}
	if n, ok := t.names[word]; ok && t.opts&regexp2.ExplicitCapture == 0 {
		word = strconv.Itoa(n)
	}
	push("(?(" + word + ")")
	return nil
}

// collectNames numbers the capturing groups in the order they open.
func (t *translator) collectNames() error {
	t.names = map[string]int{}
	n := 0
	for i := 0; i < len(t.in); i++ {
		switch t.in[i] {
		case '\\':
			if i+1 < len(t.in) && t.in[i+1] == 'Q' {
				for i < len(t.in) && !(t.in[i] == '\\' && i+1 < len(t.in) && t.in[i+1] == 'E') {
					i++
				}
			}
			i++
		case '[':
			if end := classEnd(t.in[i:]); end > 0 {
				i += end
			}
		case '(':
			s := t.in[i+1:]
			if len(s) == 0 || s[0] == '*' {
				continue
			}
			if s[0] != '?' {
				n++
				continue
			}
			s = s[1:]
			if len(s) > 1 && s[0] == 'P' {
				s = s[1:]
			}
			if len(s) < 2 || s[0] != '<' && s[0] != '\'' || s[0] == '<' && (s[1] == '=' || s[1] == '!') {
				continue
			}
			n++
			for j, r := range s[1:] {
				if r == '>' || r == '\'' {
					name := string(s[1 : j+1])
					if _, dup := t.names[name]; !dup {
						t.names[name] = n
					}
					break
				}
			}
		}
	}
	return nil
}

func (t *translator) backref(name string) error {
	if n, err := strconv.Atoi(name); err == nil {
		if n < 0 {
			n += t.caps + 1
		}
		if n <= 0 {
			return fmt.Errorf("no group %s to refer to", name)
		}
		t.emit("(?:\\" + strconv.Itoa(n) + ")")
		return nil
	}
	n, ok := t.names[name]
	switch {
	case !ok:
		return fmt.Errorf("no group named %q", name)
	case t.opts&regexp2.ExplicitCapture != 0:
		t.emit(`\k<` + name + `>`)
	default:
		t.emit("(?:\\" + strconv.Itoa(n) + ")")
	}
	return nil
}

// literal writes a character that means itself, in or out of a class.
func literal(r rune) string {
	switch {
	case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > utf8.RuneSelf:
		return string(r)
	}
	return fmt.Sprintf(`\x%02X`, r)
}
