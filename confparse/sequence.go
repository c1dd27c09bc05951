package confparse

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// roundSpec is what stands between the parentheses of a sequence or a list:
//
//	~SEQ(var, start, step, end)   ~LST(var, a, b)   ~LST({v, w}, {a, 1}, {b, 2})
type roundSpec struct {
	Vars   tuple   `parser:"@@"`
	Values []tuple `parser:"(',' @@)*"`
}

// tuple is a word, or several in braces.
type tuple struct {
	Words []roundWord `parser:"@@ | '{' @@ (',' @@)* '}'"`
}

// roundWord may be empty.
type roundWord struct {
	Pos  lexer.Position
	Text string `parser:"@Text"`
}

var roundGrammar = sync.OnceValue(func() *participle.Parser[roundSpec] {
	return participle.MustBuild[roundSpec](participle.Lexer(roundLexer{}))
})

// roundLexer splits a specification at commas and braces. What stands between them, without the space around it, is a Text.
type roundLexer struct{ lexer.Definition }

const (
	tokText lexer.TokenType = iota + 1
	tokPunct
)

// Symbols implements lexer.Definition.
func (roundLexer) Symbols() map[string]lexer.TokenType {
	return map[string]lexer.TokenType{"EOF": lexer.EOF, "Text": tokText, "Punct": tokPunct}
}

// LexString implements lexer.StringDefinition.
func (roundLexer) LexString(_ string, s string) (lexer.Lexer, error) {
	return &roundScanner{s: s, want: true}, nil
}

type roundScanner struct {
	s    string
	at   int
	want bool // a Text may stand here
}

// Next implements lexer.Lexer.
func (r *roundScanner) Next() (lexer.Token, error) {
	for r.at < len(r.s) && isSpace(r.s[r.at]) {
		r.at++
	}
	start := r.at
	if r.want && (start == len(r.s) || r.s[start] != '{') {
		for r.at < len(r.s) && strings.IndexByte(",{}", r.s[r.at]) < 0 {
			r.at++
			r.at += reference(r.s, r.at)
		}
		r.want = false
		word := strings.TrimRight(r.s[start:r.at], " \t\v\f\r")
		if strings.ContainsAny(word, " \t\v\f\r") {
			return lexer.Token{}, errors.New("a value holds space")
		}
		return lexer.Token{Type: tokText, Value: word, Pos: lexer.Position{Offset: start}}, nil
	}
	if start == len(r.s) {
		return lexer.EOFToken(lexer.Position{Offset: start}), nil
	}
	c := r.s[start]
	if strings.IndexByte(",{}", c) < 0 {
		return lexer.Token{}, errors.New("want a comma behind the brace")
	}
	r.at++
	r.want = c != '}'
	return lexer.Token{Type: tokPunct, Value: r.s[start:r.at], Pos: lexer.Position{Offset: start}}, nil
}

// sequence takes `~SEQ(...) rest`, `~SEQx(...) rest` and `~LST(...) rest`: the rest once for each value. False if t is none.
func (l *loader) sequence(t text) bool {
	var run func(spec *roundSpec, args, rest text) error
	open := strings.IndexByte(t.s, '(')
	if open < 0 {
		return false
	}
	kind := strings.TrimRight(t.s[1:open], " \t")
	switch kind {
	case "SEQ":
		run = func(spec *roundSpec, args, rest text) error { return l.count(spec, args, rest, 10) }
	case "SEQx":
		run = func(spec *roundSpec, args, rest text) error { return l.count(spec, args, rest, 16) }
	case "LST":
		run = l.list
	default:
		if strings.HasPrefix(kind, "SEQ") || strings.HasPrefix(kind, "LST") {
			l.report(t.pos(0), "bad-sequence", fmt.Sprintf("unknown ~%s: want ~SEQ, ~SEQx or ~LST", kind))
			return true
		}
		return false
	}
	end := strings.IndexByte(t.s, ')')
	if end < 0 {
		l.report(t.pos(0), "bad-sequence", fmt.Sprintf("~%s without its ')'", kind))
		return true
	}
	args := t.sub(open+1, end)
	spec, err := roundGrammar().ParseString("", args.s)
	if err == nil {
		err = run(spec, args, t.sub(end+1, len(t.s)).trim())
	}
	if err != nil {
		var pe participle.Error
		if errors.As(err, &pe) {
			err = errors.New("want ~SEQ(name, start, step, end), ~LST(name, value, ...) or ~LST({name, ...}, {value, ...}, ...)")
		}
		l.report(t.pos(0), "bad-sequence", fmt.Sprintf("~%s: %v", kind, err))
	}
	return true
}

// round runs the rest of the line once.
func (l *loader) round(rest text) bool {
	if rest.s == "" || !l.spend(len(rest.s)+64, rest.pos(0)) {
		return false
	}
	l.take(rest)
	return !l.full
}

// names checks the variables of a specification.
func (s *roundSpec) names() error {
	for _, w := range s.Vars.Words {
		if w.Text == "" || nameEnd(w.Text, 0) != len(w.Text) {
			return fmt.Errorf("%q is no name for a parameter", w.Text)
		}
	}
	return nil
}

// count runs the rest of a line for each number of a sequence.
func (l *loader) count(spec *roundSpec, args, rest text, base int) error {
	if err := spec.names(); err != nil {
		return err
	}
	if len(spec.Vars.Words) != 1 || len(spec.Values) < 1 || len(spec.Values) > 3 {
		return errors.New("want (name, start, step, end), of which start and step may be left out")
	}
	var n [3]int64
	for i, v := range spec.Values {
		if len(v.Words) != 1 {
			return errors.New("a value in braces")
		}
		w := v.Words[0]
		s, err := l.inline(args.sub(w.Pos.Offset, w.Pos.Offset+len(w.Text)))
		if err != nil {
			return err
		}
		if n[i], err = parseInt(s); err != nil {
			return fmt.Errorf("%q is no number", s)
		}
	}
	start, step, end := n[0], int64(0), n[2]
	switch len(spec.Values) {
	case 1:
		start, end = 1, n[0]
		if end < 0 {
			start = -1
		}
	case 2:
		end = n[1]
	case 3:
		if step = n[1]; step == 0 {
			return errors.New("a step of 0 never ends")
		}
	}
	if step == 0 {
		step = 1
		if end < start {
			step = -1
		}
	}
	if (step > 0) != (end >= start) && end != start {
		return fmt.Errorf("steps of %d do not lead from %d to %d", step, start, end)
	}
	if base == 16 && (start < 0 || end < 0) {
		return errors.New("~SEQx is for positive numbers")
	}
	span, stride := uint64(end)-uint64(start), uint64(step)
	if step < 0 {
		span, stride = -span, -stride
	}
	if span/stride >= maxSteps {
		return fmt.Errorf("more than %d rounds", maxSteps)
	}
	rounds := span/stride + 1
	name := spec.Vars.Words[0].Text
	for v := start; rounds > 0; rounds, v = rounds-1, v+step {
		l.params[name] = &param{lines: []text{{s: strconv.FormatInt(v, base)}}, made: true}
		if !l.round(rest) {
			break
		}
	}
	return nil
}

// list runs the rest of a line for each value of a list.
func (l *loader) list(spec *roundSpec, args, rest text) error {
	if err := spec.names(); err != nil {
		return err
	}
	if len(spec.Values) == 0 {
		return errors.New("no values")
	}
	for _, v := range spec.Values {
		if len(v.Words) > len(spec.Vars.Words) {
			return fmt.Errorf("%d values where there are names for %d", len(v.Words), len(spec.Vars.Words))
		}
	}
	for _, v := range spec.Values {
		for i, name := range spec.Vars.Words {
			value := args.sub(0, 0)
			if i < len(v.Words) {
				w := v.Words[i]
				value = args.sub(w.Pos.Offset, w.Pos.Offset+len(w.Text))
			}
			l.params[name.Text] = &param{lines: []text{value}}
		}
		if !l.round(rest) {
			break
		}
	}
	return nil
}

// inline expands the parameters of a word that must stay one.
func (l *loader) inline(t text) (string, error) {
	for i := 0; i <= maxIncludeDepth; i++ {
		u, ok := nextUse(t.s, 0)
		if !ok {
			return t.s, nil
		}
		pos := t.pos(u.at)
		p := l.lookup(u, pos)
		switch {
		case p == nil:
			return "", fmt.Errorf("parameter $%s is not defined", u.name)
		case len(p.lines) > 1:
			return "", fmt.Errorf("parameter $%s has several lines", u.name)
		}
		t = t.splice(u.at, u.end, l.placed(p, 0, u.name, pos))
	}
	return "", errors.New("parameters within parameters without end")
}

// parseInt reads a number as C does: decimal, 0x for hexadecimal, 0 for octal, a sign; nothing is 0.
func parseInt(s string) (int64, error) {
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || strings.Contains(s, "_") {
		return 0, strconv.ErrSyntax
	}
	if digits == "" && s == "" {
		return 0, nil
	}
	base := 10
	switch {
	case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base = 8
	}
	if s[0] == '-' {
		digits = "-" + digits
	}
	return strconv.ParseInt(digits, base, 64)
}
