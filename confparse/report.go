package confparse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	}
	return "error"
}

// Sorted returns the diagnostics in the order in which the text was read, each once for a place in a file. Complaints about the text
// as a whole come last.
func (d Diagnostics) Sorted(src *Source) Diagnostics {
	type keyed struct {
		path []Pos
		d    Diagnostic
	}
	list := make([]keyed, len(d))
	for i := range d {
		list[i] = keyed{src.path(d[i].Pos), d[i]}
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		if c := cmp.Compare(btoi(len(a.path) == 0), btoi(len(b.path) == 0)); c != 0 {
			return c
		}
		for i := range min(len(a.path), len(b.path)) {
			p, q := a.path[i], b.path[i]
			c := cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col))
			if i == 0 {
				c = cmp.Or(cmp.Compare(p.Origin, q.Origin), c)
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(len(a.path), len(b.path))
	})
	// A place in a parameter that is used twice is one place.
	type place struct {
		file      int32
		line, col int32
		code      Code
		message   string
	}
	seen := make(map[place]bool, len(list))
	out := make(Diagnostics, 0, len(list))
	for _, k := range list {
		key := place{file: -1, line: k.d.Pos.Line, col: k.d.Pos.Col, code: k.d.Code, message: k.d.Message}
		if len(k.path) > 0 {
			key.file = src.origins[k.d.Pos.Origin].file
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, k.d)
		}
	}
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// path is the way to p from the file of the command line: where it was included or used, and p itself.
func (s *Source) path(p Pos) []Pos {
	if s.Name(p) == "" {
		return nil
	}
	path := []Pos{p}
	for _, l := range s.Chain(p) {
		path = append(path, l.Pos)
	}
	slices.Reverse(path)
	return path
}

// Without returns the diagnostics whose code is not among codes.
func (d Diagnostics) Without(codes ...Code) Diagnostics {
	return slices.DeleteFunc(slices.Clone(d), func(x Diagnostic) bool { return slices.Contains(codes, x.Code) })
}

// FatalAtStart is the first complaint with which a start ends and a reload is refused; nil if there is none.
func (d Diagnostics) FatalAtStart() *Diagnostic {
	for i := range d {
		if d[i].FatalAtStart {
			return &d[i]
		}
	}
	return nil
}

// Brief is a diagnostic in one line, in the form in which the reference logs it: `(keepalived.conf: Line 7) text`.
func (s *Source) Brief(d Diagnostic) string {
	if name := s.Name(d.Pos); name != "" {
		use := s.Use(d.Pos)
		return fmt.Sprintf("(%s: Line %d) %s", printable(s.Name(use)), use.Line, printable(d.text()))
	}
	return printable(d.text())
}

// At is the diagnostic as "file:line:column: text", with the place where the text is used.
func (s *Source) At(d Diagnostic) string {
	name := s.Name(d.Pos)
	if name == "" {
		return printable(d.text())
	}
	use := s.Use(d.Pos)
	return fmt.Sprintf("%s:%d:%d: %s", printable(s.Name(use)), use.Line, use.Col, printable(d.text()))
}

// text is the message with the suggestion.
func (d Diagnostic) text() string {
	if d.Suggest == "" {
		return d.Message
	}
	return fmt.Sprintf("%s (did you mean %q?)", d.Message, d.Suggest)
}

// printable is s with control characters and what is not UTF-8 shown as escapes, so that a file cannot speak to the terminal.
func printable(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u200e' || r == '\u200f' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069':
			fmt.Fprintf(&b, "\\x%02x", r)
		case r == '\ufffd' && !strings.HasPrefix(s[i:], "\ufffd"):
			fmt.Fprintf(&b, "\\x%02x", s[i])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// secretive reports whether the words behind word, which may be misspelt, are not for other eyes.
func secretive(word string) bool {
	w := strings.ToLower(word)
	for _, part := range []string{"pas", "secret", "hmac", "key", "token"} {
		if strings.Contains(w, part) {
			return true
		}
	}
	return false
}

// masked is a source line without its secrets: what stands behind a word that announces one, or from byte col on.
func masked(s string, col int) string {
	const stars = "********"
	if col >= 0 && col < len(s) {
		return s[:col] + stars
	}
	for i := 0; i < len(s); {
		if isSpace(s[i]) || strings.IndexByte(`{}"'=(,`, s[i]) >= 0 {
			i++
			continue
		}
		end := i
		for end < len(s) && !isSpace(s[end]) && strings.IndexByte(`{}"'=(,`, s[end]) < 0 {
			end++
		}
		if end < len(s) && secretive(s[i:end]) {
			return s[:end+1] + stars
		}
		i = end
	}
	return s
}
