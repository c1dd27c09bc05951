package confparse

import (
	"fmt"
	"strings"
)

// maxLine is the length of a line, and of a line after substitution, beyond which the reference complains and skips it.
const (
	maxLine     = 1022
	maxExpanded = 64 << 10
)

// text is a piece of a line with the places it was written at. The first segment begins at 0.
type text struct {
	s    string
	segs []seg
}

// sub is t[i:j].
func (t text) sub(i, j int) text {
	first := len(t.segs) - 1
	for first > 0 && int(t.segs[first].at) > i {
		first--
	}
	last := first + 1
	for last < len(t.segs) && int(t.segs[last].at) < j {
		last++
	}
	segs := make([]seg, last-first)
	for k := range segs {
		sg := t.segs[first+k]
		sg.at -= int32(i)
		if k == 0 {
			if sg.at < 0 && sg.pos.Col > 0 {
				sg.pos.Col -= sg.at
			}
			sg.at = 0
		}
		segs[k] = sg
	}
	return text{t.s[i:j], segs}
}

func (t text) pos(i int) Pos { return placeIn(t.segs, i) }

// join puts texts one behind the other.
func join(parts ...text) text {
	var out text
	for _, p := range parts {
		if p.s == "" {
			continue
		}
		for _, sg := range p.segs {
			sg.at += int32(len(out.s))
			out.segs = append(out.segs, sg)
		}
		out.s += p.s
	}
	return out
}

// trim cuts space off both ends.
func (t text) trim() text {
	i, j := 0, len(t.s)
	for i < j && isSpace(t.s[i]) {
		i++
	}
	for j > i && isSpace(t.s[j-1]) {
		j--
	}
	if i == 0 && j == len(t.s) {
		return t
	}
	return t.sub(i, j)
}

// expandFile takes the lines of one file.
func (l *loader) expandFile(o int32, s string) {
	if strings.HasPrefix(s, "\ufeff") {
		l.diags = append(l.diags, Diagnostic{Pos: Pos{o, 1, 1}, Severity: Warning, Code: "byte-order-mark", Exit: ExitConfig,
			Message: "byte order mark at the start of the file: skipped"})
		s = s[len("\ufeff"):]
	}
	for n := int32(1); s != "" && !l.full; n++ {
		raw, rest, _ := strings.Cut(s, "\n")
		s = rest
		raw = strings.TrimSuffix(raw, "\r")
		l.physical(raw, Pos{o, n, 1})
	}
	l.endDefinition()
}

// physical takes a line as it stands in a file.
func (l *loader) physical(raw string, pos Pos) {
	switch {
	case strings.IndexByte(raw, 0) >= 0:
		pos.Col = int32(strings.IndexByte(raw, 0)) + 1
		l.report(pos, "nul-byte", "NUL byte: line ignored")
		return
	case len(raw) > maxLine:
		l.report(pos, "line-too-long", fmt.Sprintf("line of %d bytes, at most %d are read: line ignored", len(raw), maxLine))
		return
	}
	if l.def == nil && strings.IndexAny(raw, "$~@#!\"'\\") < 0 {
		i := 0
		for i < len(raw) && isSpace(raw[i]) {
			i++
		}
		pos.Col += int32(i)
		raw = strings.TrimRight(raw[i:], " \t\v\f\r")
		if raw != "" && !strings.HasPrefix(raw, "include") {
			l.emit(raw, pos, nil)
			return
		}
	}
	if raw != "" || l.def != nil {
		l.take(text{raw, []seg{{0, pos}}})
	}
}

// take processes a line: one of a file, of the value of a parameter, or one round of a sequence.
func (l *loader) take(t text) {
	if l.full {
		return
	}
	if l.def != nil {
		l.continueDefinition(t)
		return
	}
	t = t.sub(0, uncomment(t.s)).trim()
	if t.s == "" || l.define(t) || l.include(t) {
		return
	}
	if t.s[0] == '@' {
		rest, ok := l.condition(t)
		if ok {
			l.take(rest)
		}
		return
	}
	if t.s[0] == '~' && l.sequence(t) {
		return
	}
	if i := strings.IndexByte(t.s, '$'); i >= 0 && l.substitute(t) {
		return
	}
	if len(t.segs) == 1 && t.segs[0].pos.Col > 0 {
		l.emit(t.s, t.segs[0].pos, nil)
		return
	}
	l.emit(t.s, t.segs[0].pos, t.segs)
}

// emit appends a line to the source.
func (l *loader) emit(s string, pos Pos, segs []seg) {
	l.size += len(s) + 1
	if l.size > maxOutput || len(l.src.lines) >= maxLines {
		l.full = true
		l.report(pos, "expansion-limit", fmt.Sprintf("the expanded configuration is larger than %d MiB or %d lines: the rest is ignored",
			maxOutput>>20, maxLines))
		return
	}
	l.src.segs = append(l.src.segs, segs...)
	l.src.lines = append(l.src.lines, line{text: s, pos: pos, segEnd: int32(len(l.src.segs))})
}

// uncomment is the length of s without its comment, which begins at a `#` or `!` outside quotes.
func uncomment(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' || c == '!':
			return i
		}
	}
	return len(s)
}

// condition judges `@id rest` and `@^id rest`.
func (l *loader) condition(t text) (rest text, ok bool) {
	i := 1
	not := strings.HasPrefix(t.s, "@^")
	if not {
		i = 2
	}
	end := i
	for end < len(t.s) && !isSpace(t.s[end]) {
		end++
	}
	return t.sub(end, len(t.s)).trim(), (t.s[i:end] == l.id) != not
}
