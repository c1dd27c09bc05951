package confparse

import (
	"fmt"
	"strings"
)

// Bounds of one line.
const (
	maxLine     = 1022     // bytes of a line of a file; the reference skips longer ones too
	maxExpanded = 64 << 10 // bytes of a line after substitution
)

// expandFile takes the lines of one file.
func (l *loader) expandFile(o int32, s string) {
	if strings.HasPrefix(s, "\ufeff") {
		l.diags = append(l.diags, Diagnostic{Pos: Pos{o, 1, 1}, Severity: Warning, Code: "byte-order-mark", Exit: ExitConfig,
			Message: "byte order mark at the start of the file: skipped"})
		s = s[len("\ufeff"):]
	}
	f := finder{s: s}
	for n, at := int32(1), 0; at < len(s) && !l.full; n++ {
		end := strings.IndexByte(s[at:], '\n')
		if end < 0 {
			end = len(s) - at
		}
		l.physical(strings.TrimSuffix(s[at:at+end], "\r"), Pos{o, n, 1}, f.special(at) >= at+end)
		at += end + 1
	}
	l.endDefinition()
}

// specials are the bytes that a line which needs no work does not hold: parameters, comments, quotes, escapes, and what is an error.
const specials = "$#!\"\\\x00"

// finder looks for the next special byte of a text. Most lines of a large file have none, and it is faster to learn that for many lines at a
// time.
type finder struct {
	s    string
	next [len(specials)]int // where each of them comes next, from the last place asked for; before that: not known
}

// special is where the first of them stands from at on, len(s) without one. Places may only grow.
func (f *finder) special(at int) int {
	first := len(f.s)
	for i := range f.next {
		if f.next[i] < at || at == 0 {
			n := strings.IndexByte(f.s[at:], specials[i])
			if n < 0 {
				n = len(f.s)
			}
			f.next[i] = at + n
		}
		first = min(first, f.next[i])
	}
	return first
}

// physical takes a line as it stands in a file. plain says that it holds no special byte.
func (l *loader) physical(raw string, pos Pos, plain bool) {
	if !plain {
		if i := strings.IndexByte(raw, 0); i >= 0 {
			pos.Col = int32(i) + 1
			l.report(pos, "nul-byte", "NUL byte: line ignored")
			return
		}
	}
	if len(raw) > maxLine {
		l.report(pos, "line-too-long", fmt.Sprintf("line of %d bytes, at most %d are read: line ignored", len(raw), maxLine))
		return
	}
	i, end := 0, len(raw)
	for i < end && isSpace(raw[i]) {
		i++
	}
	for end > i && isSpace(raw[end-1]) {
		end--
	}
	pos.Col += int32(i)
	raw = raw[i:end]
	if l.def == nil {
		if raw == "" || raw[0] == '#' || raw[0] == '!' {
			return
		}
		if plain && !l.inGlobal && !active(raw) { // nearly all lines of a large file
			l.emit(raw, pos, nil)
			return
		}
	}
	t, open := uncomment(text{raw, []seg{{0, pos}}})
	if open >= 0 {
		l.report(t.pos(open), "unmatched-quote", `" without its match on the line`)
	}
	if rest := strings.TrimLeft(raw[len(t.s):], " \t\v\f\r"); strings.HasPrefix(rest, "\\") { // what is left is a comment
		at := pos
		at.Col += int32(len(raw) - len(rest))
		l.warn(at, "escaped-comment", fmt.Sprintf("a backslash does not keep %c from beginning a comment: double quotes do, or ${_HASH} and ${_BANG} within them", rest[1]))
	}
	switch {
	case l.def != nil:
		switch {
		case strings.HasSuffix(raw, "\\") && !strings.HasSuffix(t.s, "\\"):
			l.warn(t.pos(len(t.s)), "definition-ended", fmt.Sprintf(`the comment takes the "\" along: the definition of $%s ends here`, l.def.name))
		case t.s == "" && len(l.def.lines) > 0:
			l.warn(pos, "definition-ended", fmt.Sprintf("an empty line ends the definition of $%s", l.def.name))
		}
		l.continueDefinition(t)
	case t.s != "":
		if strings.HasSuffix(t.s, "\\") && (t.s[0] != '$' || !definitionStart(t.s)) {
			t = l.glue(t)
		}
		l.take(t)
	}
}

// active reports whether a line without special bytes needs a closer look: it begins like a condition, a sequence, or one of the keywords that
// steer the reading.
func active(s string) bool {
	switch s[0] {
	case '@', '~':
		return true
	case 'i':
		return strings.HasPrefix(s, "include")
	case 'g':
		return strings.HasPrefix(s, "global_defs")
	case 'r':
		return strings.HasPrefix(s, "random_seed")
	}
	return false
}

// glue takes the space before a backslash at the end of a line, as the reference does outside definitions: the backslash ends the
// last word, which then rarely is a good one.
func (l *loader) glue(t text) text {
	end := len(t.s) - 1
	l.warn(t.pos(end), "line-continuation", `a "\" at the end continues a line only in the definition of a parameter: it becomes part of the last word`)
	k := end
	for k > 0 && isSpace(t.s[k-1]) {
		k--
	}
	if k == end || k == 0 {
		return t
	}
	return join(t.sub(0, k), t.sub(end, end+1))
}

// uncomment cuts off the comment, which begins at a `#` or `!` outside double quotes, and the space before it. A backslash before either goes
// along, as with the reference, where it does not keep it from beginning one. open is a quote without its match, -1 if there is none.
func uncomment(t text) (out text, open int) {
	open = -1
	s := t.s
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			if open < 0 && (s[i+1] == '#' || s[i+1] == '!') {
				return t.sub(0, i).trim(), -1
			}
			i++
		case c == '"':
			if open >= 0 {
				open = -1
			} else {
				open = i
			}
		case open < 0 && (c == '#' || c == '!'):
			return t.sub(0, i).trim(), -1
		}
	}
	return t, open
}

// signHash and signBang stand for what ${_HASH} and ${_BANG} have put into a line, until it is known what becomes of it.
const (
	signHash = '\x01'
	signBang = '\x02'
)

// signs settles them: in double quotes they are the signs themselves, outside they begin a comment, so that a parameter switches lines off.
func signs(t text) text {
	if strings.IndexByte(t.s, signHash) < 0 && strings.IndexByte(t.s, signBang) < 0 {
		return t
	}
	b := []byte(t.s)
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c != signHash && c != signBang:
		case !quoted:
			return text{string(b), t.segs}.sub(0, i)
		case c == signHash:
			b[i] = '#'
		default:
			b[i] = '!'
		}
	}
	return text{string(b), t.segs}
}

// take processes a line without comment: one of a file, of the value of a parameter, or one round of a sequence. It ends when no
// parameter changes the beginning of the line any more.
func (l *loader) take(t text) {
	for again := true; again && !l.full; {
		if t = t.trim(); strings.HasPrefix(t.s, "@") {
			var ok bool
			if t, ok = l.condition(t); !ok {
				return
			}
		}
		switch {
		case t.s == "":
			return
		case t.s[0] == '$' && l.define(t), t.s[0] == '~' && l.sequence(t):
			return
		}
		t, again = l.substitute(t)
	}
	if t = signs(t).trim(); t.s != "" && !l.full && !l.include(t) {
		l.steer(t.s)
		l.emit(t.s, t.segs[0].pos, t.segs)
	}
}

// steer obeys the keywords of global_defs that change the reading itself.
func (l *loader) steer(s string) {
	switch {
	case strings.HasPrefix(s, "global_defs"):
		l.inGlobal = true
	case s[0] == '}':
		l.inGlobal = false
	case l.inGlobal && strings.HasPrefix(s, "include_check"):
		l.check = l.check.adjusted(strings.Fields(s)[1:])
	case l.inGlobal && strings.HasPrefix(s, "random_seed"):
		if f := strings.Fields(s); len(f) > 1 {
			l.seed(f[1])
		}
	}
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

// emit appends a line to the source. Segments that say no more than pos are not kept.
func (l *loader) emit(s string, pos Pos, segs []seg) {
	l.size += len(s) + 1
	if l.size > l.max.output || len(l.src.lines) >= l.max.lines {
		l.stop(pos, fmt.Sprintf("the expanded configuration is larger than %d MiB or %d lines", l.max.output>>20, l.max.lines))
		return
	}
	if len(segs) > 1 || len(segs) == 1 && pos.Col < 0 {
		l.src.segs = append(l.src.segs, segs...)
	}
	l.src.lines = append(l.src.lines, line{text: s, pos: pos, segEnd: int32(len(l.src.segs))})
}

// spend counts work, so that no text, however it is made, keeps the machine busy; false when there is none left.
func (l *loader) spend(n int, pos Pos) bool {
	l.work += n
	if l.work > l.max.work && !l.full {
		l.stop(pos, "parameters and sequences expand to too much")
	}
	return !l.full
}

// stop ends the reading.
func (l *loader) stop(pos Pos, why string) {
	l.full = true
	if pos.Col < 0 {
		pos.Col = -pos.Col
	}
	l.report(pos, "expansion-limit", why+": the rest is ignored")
}
