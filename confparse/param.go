package confparse

import (
	"fmt"
	"strings"
)

// param is a parameter. Its value is what was written, unexpanded.
type param struct {
	lines []text
	made  bool // by a sequence: the value stands where it is used
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// nameAt is the name of a parameter that begins at s[i], and the byte behind it; empty if none does.
func nameAt(s string, i int) (string, int) {
	start := i
	for i < len(s) && isNameByte(s[i]) {
		i++
	}
	if i > start && s[start] >= '0' && s[start] <= '9' {
		return "", start
	}
	return s[start:i], i
}

// definition is a parameter that is being defined over several lines.
type definition struct {
	name  string
	lines []text
}

// define takes `$NAME=value`; false if t is none.
func (l *loader) define(t text) bool {
	if t.s[0] != '$' {
		return false
	}
	name, end := nameAt(t.s, 1)
	if name == "" || end == len(t.s) || t.s[end] != '=' {
		return false
	}
	l.def = &definition{name: name}
	l.continueDefinition(t.sub(end+1, len(t.s)))
	return true
}

// continueDefinition adds a line to the definition; one without a backslash at its end is the last.
func (l *loader) continueDefinition(t text) {
	t = t.sub(0, uncomment(t.s)).trim()
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

// substitute replaces the parameters of t and takes what came out. False if there are none.
func (l *loader) substitute(t text) bool {
	changed := false
	for i := 0; i < len(t.s); {
		if t.s[i] != '$' {
			i++
			continue
		}
		var name string
		end := i + 1
		if end < len(t.s) && t.s[end] == '{' {
			name, end = nameAt(t.s, end+1)
			if end == len(t.s) || t.s[end] != '}' {
				name = ""
			}
			end++
		} else if name, end = nameAt(t.s, end); end < len(t.s) && !isSpace(t.s[end]) {
			name = ""
		}
		p := l.params[name]
		if name == "" || p == nil {
			i++
			continue
		}
		use := t.pos(i)
		if l.within(use, name) {
			l.report(use, "parameter-loop", fmt.Sprintf("parameter $%s is part of its own value", name))
			i = end
			continue
		}
		value := l.value(p, name, use)
		head, tail := t.sub(0, i), t.sub(end, len(t.s))
		changed = true
		if len(value) > 1 {
			l.take(join(head, value[0]))
			for _, v := range value[1 : len(value)-1] {
				l.take(v)
			}
			l.take(join(value[len(value)-1], tail))
			return true
		}
		t = join(head, value[0], tail)
		if len(t.s) > maxExpanded {
			l.report(use, "expansion-limit", fmt.Sprintf("line longer than %d bytes after substitution: ignored", maxExpanded))
			return true
		}
	}
	if changed && t.s != "" {
		l.take(t)
	}
	return changed
}

// within reports whether use stands in the value of the parameter name.
func (l *loader) within(use Pos, name string) bool {
	for {
		o := &l.src.origins[use.Origin]
		if o.kind != originParameter {
			return false
		}
		if o.name == name {
			return true
		}
		use = o.via
	}
}

// value is the value of p, placed as used at use.
func (l *loader) value(p *param, name string, use Pos) []text {
	out := make([]text, len(p.lines))
	for i, t := range p.lines {
		segs := make([]seg, len(t.segs))
		for k, sg := range t.segs {
			if p.made {
				sg.pos = use
				sg.pos.Col = -use.Col
			} else {
				sg.pos.Origin = l.originOf(origin{file: l.src.origins[sg.pos.Origin].file, kind: originParameter, via: use, name: name})
			}
			segs[k] = sg
		}
		out[i] = text{t.s, segs}
	}
	return out
}

// sequence takes `~SEQ(...) rest` and `~LST(...) rest`; false if t is neither.
func (l *loader) sequence(t text) bool { return false }
