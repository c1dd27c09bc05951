package confparse

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/script"
)

// value is one decoded argument.
type value struct {
	pos  Pos
	s    string
	n    int64
	d    time.Duration
	b    bool
	addr netip.Addr
}

// usage is one use of a keyword: the statement and its decoded arguments.
type usage struct {
	k  *Keyword
	st *Statement
	v  [6]value
	n  int // how many of v are there
}

func (u *usage) has(i int) bool          { return i < u.n }
func (u *usage) int(i int) int           { return int(u.v[i].n) }
func (u *usage) dur(i int) time.Duration { return u.v[i].d }
func (u *usage) str(i int) string        { return strings.Clone(u.v[i].s) }
func (u *usage) addr(i int) netip.Addr   { return u.v[i].addr }
func (u *usage) pos() Pos                { return u.st.Pos() }
func (u *usage) at(i int) Pos            { return u.v[i].pos }
func (u *usage) rest() []Word            { return u.st.Words[1:] }
func (u *usage) orTrue() bool            { return u.n == 0 || u.v[0].b }
func (u *usage) strOr(i int, d string) string {
	if i < u.n {
		return strings.Clone(u.v[i].s)
	}
	return d
}

// field is a value as written; without a place it is absent.
type field[T any] struct {
	v   T
	pos Pos
}

func (f *field[T]) put(v T, pos Pos) { f.v, f.pos = v, pos }
func (f *field[T]) set() bool        { return f.pos.IsValid() }

// or is the value, or d where nothing was written.
func (f *field[T]) or(d T) T {
	if f.set() {
		return f.v
	}
	return d
}

// errRange says that a number is one, but too small or too large.
type errRange struct{}

func (errRange) Error() string { return "out of range" }

type errSyntax struct{}

func (errSyntax) Error() string { return "not a number" }

// parseNumber reads a whole number as the reference does: spaces and a sign in front are fine, an empty word is 0.
func parseNumber(s string) (int64, error) {
	t := strings.TrimLeft(s, " \t")
	if t == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		if e, ok := err.(*strconv.NumError); ok && e.Err == strconv.ErrRange {
			return n, errRange{}
		}
		return 0, errSyntax{}
	}
	return n, nil
}

// tooFine reports decimals below a microsecond.
func tooFine(s string, unit time.Duration) bool {
	_, frac, _ := strings.Cut(s, ".")
	places := 6
	if unit == time.Millisecond {
		places = 3
	}
	return len(frac) > places
}

// parseDecimal reads a time in units of unit with decimals down to a microsecond.
func parseDecimal(s string, unit time.Duration) (time.Duration, error) {
	t := strings.TrimLeft(s, " \t")
	if t == "" {
		return 0, nil
	}
	neg := false
	switch t[0] {
	case '-':
		neg, t = true, t[1:]
	case '+':
		t = t[1:]
	}
	whole, frac, _ := strings.Cut(t, ".")
	if whole == "" && frac == "" {
		return 0, errSyntax{}
	}
	var w, f int64
	for _, c := range []byte(whole) {
		if c < '0' || c > '9' {
			return 0, errSyntax{}
		}
		w = w*10 + int64(c-'0')
		if w > math.MaxInt64/int64(unit)/2 {
			return 0, errRange{}
		}
	}
	scale := int64(unit)
	for _, c := range []byte(frac) {
		if c < '0' || c > '9' {
			return 0, errSyntax{}
		}
		scale /= 10
		f += int64(c-'0') * scale
	}
	d := (time.Duration(w*int64(unit)+f) + 500*time.Nanosecond).Truncate(time.Microsecond)
	if neg {
		d = -d
	}
	return d, nil
}

// parseBool knows the six words; they are lower case.
func parseBool(s string) (b, ok bool) {
	switch s {
	case "on", "true", "yes":
		return true, true
	case "off", "false", "no":
		return false, true
	}
	return false, false
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// want is what an argument expects, for messages: "1..255", "a time of 0.01..40.95 seconds", "MASTER or BACKUP".
func (a *Arg) want() string {
	bounds := ""
	if a.Min != 0 || a.Max != 0 {
		bounds = number(a.Min) + ".." + number(a.Max)
	}
	switch a.Kind {
	case Number:
		if bounds == "" {
			return "a whole number"
		}
		return bounds
	case Seconds, Millis:
		unit := "seconds"
		if a.Kind == Millis {
			unit = "milliseconds"
		}
		if bounds == "" {
			return unit + ", with decimals if wanted"
		}
		return bounds + " " + unit
	case Bool:
		return "on, off, true, false, yes or no"
	case Choice:
		return orList(a.Words)
	case Address:
		return "an IPv4 or IPv6 address"
	case Interface:
		return "the name of an interface"
	case File:
		return "a path"
	case Script:
		return "a command, in double quotes if it has arguments"
	}
	return a.Name
}

func orList(w []string) string {
	switch len(w) {
	case 0:
		return ""
	case 1:
		return w[0]
	}
	return strings.Join(w[:len(w)-1], ", ") + " or " + w[len(w)-1]
}

// decode reads the arguments of a use; complaints go to p. It reports whether the value can be set.
func (p *interp) decode(u *usage) bool {
	words := u.st.Words[1:]
	for i := range u.k.Args {
		a := &u.k.Args[i]
		if a.Kind == Rest {
			if len(words) <= i && !a.Optional {
				p.missing(u, a)
				return false
			}
			return true
		}
		if i >= len(words) {
			if a.Optional {
				return true
			}
			p.missing(u, a)
			return false
		}
		w := &words[i]
		v := &u.v[i]
		v.pos, v.s = w.Pos, w.Text
		if !p.value(u.k, a, v) {
			return false
		}
		u.n = i + 1
	}
	return true
}

func (p *interp) missing(u *usage, a *Arg) {
	exit := u.k.Missing
	if exit == missingNote {
		p.note(u.st.Pos(), "missing-parameter", "%s needs a value: %s", u.st.Words[0].Text, a.want())
		return
	}
	if exit == ExitNone {
		exit = ExitConfig
	}
	p.add(Diagnostic{
		Pos: u.st.Pos(), Severity: Error, Code: "missing-parameter", Exit: exit, FatalAtStart: exit == ExitStop,
		Message: fmt.Sprintf("%s needs a value: %s", u.st.Words[0].Text, a.want()),
	})
}

// value decodes one word.
func (p *interp) value(k *Keyword, a *Arg, v *value) bool {
	switch a.Kind {
	case Number:
		n, err := parseNumber(v.s)
		if err == nil && (a.Min != 0 || a.Max != 0) && (float64(n) < a.Min || float64(n) > a.Max) {
			err = errRange{}
		}
		if err != nil {
			p.badNumber(k, a, v, err)
			return false
		}
		v.n = n
	case Seconds, Millis:
		unit := time.Second
		if a.Kind == Millis {
			unit = time.Millisecond
		}
		d, err := parseDecimal(v.s, unit)
		if err == nil && (a.Min != 0 || a.Max != 0) {
			if f := float64(d) / float64(unit); f < a.Min || f > a.Max {
				err = errRange{}
			}
		}
		if err != nil {
			p.badNumber(k, a, v, err)
			return false
		}
		if tooFine(v.s, unit) {
			p.bad(v.pos, "too-many-decimals", "%s %q: finer than a microsecond, %s is used", k.Name, v.s, d)
		}
		v.d = d
	case Bool:
		b, ok := parseBool(v.s)
		if !ok {
			p.bad(v.pos, "invalid-bool", "%s %q: want %s", k.Name, v.s, a.want()).Suggest = nearest(strings.ToLower(v.s), boolWords)
			return false
		}
		v.b = b
	case Choice:
		for i, w := range a.Words {
			if w == v.s {
				v.n = int64(i)
				return true
			}
		}
		p.bad(v.pos, "invalid-value", "%s %q: want %s", k.Name, v.s, a.want()).Suggest = nearest(v.s, a.Words)
		return false
	case Address:
		host, _, masked := strings.Cut(v.s, "/")
		ad, err := netip.ParseAddr(host)
		if err == nil && masked {
			p.note(v.pos, "mask-ignored", "%s %s: a mask has no meaning here", k.Name, v.s)
		}
		if err != nil {
			p.bad(v.pos, "bad-address", "%s %q: want %s", k.Name, v.s, a.want())
			return false
		}
		v.addr = ad
	}
	return true
}

var boolWords = []string{"on", "off", "true", "false", "yes", "no"}

func (p *interp) badNumber(k *Keyword, a *Arg, v *value, err error) {
	if _, ok := err.(errRange); ok {
		p.bad(v.pos, "number-out-of-range", "%s %q: want %s", k.Name, v.s, a.want())
		return
	}
	d := p.bad(v.pos, "invalid-number", "%s %q: not a number, want %s", k.Name, v.s, a.want())
	if t := strings.TrimRight(v.s, ";,"); t != v.s && t != "" {
		d.Suggest = t
	}
	if v.s == "=" {
		d.Message += "; there is no = between a keyword and its value"
	}
}

// zeroIsOne makes one of a count that is written as 0, where at least one is wanted.
func zeroIsOne(f func(p *interp) *field[int]) func(p *interp, u *usage) {
	return func(p *interp, u *usage) {
		if u.rest()[0].Text == "0" {
			f(p).put(1, u.pos())
		}
	}
}

// splitCommand makes the words of a command line that stood in quotes: blanks separate, inner quotes of both kinds hold together, and
// backslashes escape everywhere, in single quotes too. It is a second round: the line as a whole has been unescaped when it was read.
func splitCommand(s string) []string {
	var out []string
	var b []byte
	in, quote := false, byte(0)
	for i := 0; i < len(s); {
		c := s[i]
		i++
		switch {
		case c == '\\' && i < len(s):
			i, b = unescape(s, i, b)
			in = true
		case quote == 0 && (c == '\'' || c == '"'):
			quote, in = c, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				out = append(out, string(b))
			}
			b, in = b[:0], false
		default:
			b = append(b, c)
			in = true
		}
	}
	if in {
		out = append(out, string(b))
	}
	return out
}

// command makes a command of SCRIPT [USER [GROUP]].
func (u *usage) command() *script.Command {
	c := &script.Command{Args: splitCommand(u.v[0].s)}
	if u.n > 1 {
		c.User = u.str(1)
	}
	if u.n > 2 {
		c.Group = u.str(2)
	}
	return c
}
