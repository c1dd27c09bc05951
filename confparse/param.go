package confparse

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// param is a parameter. Its value is what was written: it is expanded where it is used.
type param struct {
	lines []text
	made  bool // a number of a sequence: it has no place of its own
}

// definition is a parameter that is being defined over several lines.
type definition struct {
	name  string
	lines []text
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// nameEnd is the end of the name of a parameter that begins at s[i].
func nameEnd(s string, i int) int {
	for i < len(s) && isNameByte(s[i]) {
		i++
	}
	return i
}

// definitionStart reports whether s, which begins with `$`, defines a parameter.
func definitionStart(s string) bool {
	end := nameEnd(s, 1)
	return end > 1 && end < len(s) && s[end] == '=' && (s[1] < '0' || s[1] > '9')
}

// define takes `$NAME=value`; false if t is none.
func (l *loader) define(t text) bool {
	if !definitionStart(t.s) {
		return false
	}
	end := nameEnd(t.s, 1)
	l.def = &definition{name: t.s[1:end]}
	l.continueDefinition(t.sub(end+1, len(t.s)))
	return true
}

// continueDefinition adds a line without its comment to the definition; one without a backslash at its end is the last.
func (l *loader) continueDefinition(t text) {
	t = t.trim()
	more := strings.HasSuffix(t.s, "\\")
	if more {
		t = t.sub(0, len(t.s)-1).trim()
	}
	l.def.lines = append(l.def.lines, t)
	if !more {
		l.endDefinition()
	}
}

// endDefinition makes the parameter of the definition known, if there is one.
func (l *loader) endDefinition() {
	d := l.def
	if d == nil {
		return
	}
	l.def = nil
	if len(d.lines) > 1 && d.lines[0].s == "" {
		d.lines = d.lines[1:]
	}
	l.params[d.name] = &param{lines: d.lines}
}

// use is a parameter found in a line.
type use struct {
	at, end int
	name    string
	args    string // behind the name of a pre-defined one: `${_RANDOM 1 6}`
}

// nextUse finds the next parameter of s from byte i on: `${NAME}`, or `$NAME` with space or nothing behind it. It need not be
// defined.
func nextUse(s string, i int) (use, bool) {
	for ; i < len(s); i++ {
		k := strings.IndexByte(s[i:], '$')
		if k < 0 {
			break
		}
		i += k
		if i+1 < len(s) && s[i+1] == '{' {
			end := nameEnd(s, i+2)
			if end == i+2 || end == len(s) {
				continue
			}
			if s[end] == '}' {
				return use{at: i, end: end + 1, name: s[i+2 : end]}, true
			}
			if s[i+2] == '_' && isSpace(s[end]) {
				if n := strings.IndexByte(s[end:], '}'); n >= 0 {
					return use{at: i, end: end + n + 1, name: s[i+2 : end], args: strings.TrimSpace(s[end : end+n])}, true
				}
			}
			continue
		}
		end := nameEnd(s, i+1)
		if end > i+1 && (end == len(s) || isSpace(s[end])) {
			return use{at: i, end: end, name: s[i+1 : end]}, true
		}
	}
	return use{}, false
}

// substitute replaces the parameters of t. What they expand to is looked at again, with the name it may have completed. again says
// that the line now begins with what came out of a parameter, which can be a condition, a definition or a sequence. A value of
// several lines is taken at once, and nothing is left of t.
func (l *loader) substitute(t text) (out text, again bool) {
	for from := 0; ; {
		u, ok := nextUse(t.s, from)
		if !ok {
			return t, again
		}
		pos := t.pos(u.at)
		p := l.lookup(u, pos)
		if p == nil {
			from = u.at + 1
			continue
		}
		if l.within(pos, u.name) {
			l.report(pos, "parameter-loop", fmt.Sprintf("parameter $%s is part of its own value", u.name))
			from = u.end
			continue
		}
		if len(p.lines) > 1 && u.end < len(t.s) {
			l.report(pos, "multi-line-parameter", fmt.Sprintf("$%s has several lines: it must be the last word of its line", u.name))
			from = u.end
			continue
		}
		if !l.spend(len(t.s)+len(p.lines[0].s)+32*len(t.segs)+128, pos) {
			return text{"", t.segs}, false
		}
		again = again || u.at == 0
		if len(p.lines) > 1 {
			l.take(t.splice(u.at, u.end, l.placed(p, 0, u.name, pos)))
			for i := range p.lines[1:] {
				v := l.placed(p, i+1, u.name, pos)
				v.segs = slices.Clone(v.segs)
				l.takeNext(v)
			}
			return text{"", t.segs}, false
		}
		t = t.splice(u.at, u.end, l.placed(p, 0, u.name, pos))
		if len(t.s) > maxExpanded {
			l.report(pos, "expansion-limit", fmt.Sprintf("line longer than %d bytes after substitution: ignored", maxExpanded))
			return text{"", t.segs}, false
		}
		from = u.at
		for from > 0 && isNameByte(t.s[from-1]) { // the end of the name of another?
			from--
		}
		if from > 0 && t.s[from-1] == '{' {
			from--
		}
		if from > 0 && t.s[from-1] == '$' {
			from--
		}
	}
}

// takeNext takes a further line of a value.
func (l *loader) takeNext(t text) {
	if l.def != nil {
		l.continueDefinition(t)
		return
	}
	l.take(t)
}

// within reports whether pos stands in the value of the parameter name.
func (l *loader) within(pos Pos, name string) bool {
	for {
		o := &l.src.origins[pos.Origin]
		if o.kind != originParameter {
			return false
		}
		if o.name == name {
			return true
		}
		pos = o.via
	}
}

// placed is a line of the value of p, as used at pos. Its segments are good until the next call.
func (l *loader) placed(p *param, line int, name string, pos Pos) text {
	if p.made {
		pos.Col = -pos.Col
		l.segs = append(l.segs[:0], seg{0, pos})
		return text{p.lines[0].s, l.segs}
	}
	l.segs = l.segs[:0]
	from, to := int32(-1), int32(-1) // of the last origin: mostly there is only one
	for _, sg := range p.lines[line].segs {
		if sg.pos.Origin != from {
			from = sg.pos.Origin
			to = l.originOf(origin{file: l.src.origins[from].file, kind: originParameter, via: pos, name: name})
		}
		sg.pos.Origin = to
		l.segs = append(l.segs, sg)
	}
	return text{p.lines[line].s, l.segs}
}

// lookup finds a parameter, nil if it is not defined.
func (l *loader) lookup(u use, pos Pos) *param {
	if p, ok := l.params[u.name]; ok {
		return p
	}
	if u.name[0] != '_' {
		return nil
	}
	var v string
	switch u.name {
	case "_PWD":
		v = l.dir
		if abs, err := filepath.Abs(v); err == nil {
			v = abs
		}
	case "_INSTANCE":
		v = l.id
	case "_HASH":
		v = string(signHash)
	case "_BANG":
		v = string(signBang)
	case "_ENV":
		if u.args == "" {
			l.report(pos, "parameter-arguments", "${_ENV NAME} lacks the name")
			return nil
		}
		v = os.Getenv(u.args)
		if strings.ContainsAny(v, "\x00\n\r") || len(v) > maxLine {
			l.report(pos, "parameter-arguments", fmt.Sprintf("environment variable %s holds line ends or is longer than %d bytes: empty value used",
				u.args, maxLine))
			v = ""
		}
	case "_RANDOM":
		n, ok := l.randomNumber(u.args)
		if !ok {
			l.report(pos, "parameter-arguments", fmt.Sprintf("${_RANDOM %s}: want at most two numbers, the smaller first", u.args))
			return nil
		}
		v = strconv.FormatUint(n, 10)
	default:
		return nil
	}
	return &param{lines: []text{{v, []seg{{0, pos}}}}}
}

// randomNumber is the value of ${_RANDOM MIN MAX}: 0 to 32767 without numbers.
func (l *loader) randomNumber(args string) (uint64, bool) {
	lo, hi := uint64(0), uint64(32767)
	f := strings.Fields(args)
	if len(f) > 2 {
		return 0, false
	}
	for i, s := range f {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return 0, false
		}
		if i == 0 {
			lo = n
			continue
		}
		hi = n
	}
	if hi < lo {
		return 0, false
	}
	return lo + l.random.Uint64N(hi-lo+1), true
}

// seed makes ${_RANDOM} repeatable, as random_seed asks for.
func (l *loader) seed(s string) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		l.random = rand.New(rand.NewPCG(n, 0))
	}
}
