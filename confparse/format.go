package confparse

import (
	"bytes"
	"strings"
)

// formatIndent is one level.
const formatIndent = "    "

// Format indents a configuration anew. It changes nothing but space at the beginning and the end of lines, a missing space before a
// brace that ends a line, a byte order mark, and more than one empty line in a row; words, comments and the order of lines stay.
func Format(in []byte) []byte {
	f := formatter{}
	in = bytes.TrimPrefix(in, []byte("\ufeff"))
	f.out.Grow(len(in) + len(in)/4)
	for len(in) > 0 {
		raw, rest, _ := bytes.Cut(in, []byte("\n"))
		in = rest
		f.line(string(raw))
	}
	return f.out.Bytes()
}

// formatter walks over the lines of a file.
type formatter struct {
	out     bytes.Buffer
	depth   int
	pending string // an empty line that stands before the next one, by its end

	defining bool // within the definition of a parameter
	outer    int  // the depth around it
	choices  int  // depth that a row of conditional lines has opened: they are alternatives
}

func (f *formatter) line(raw string) {
	eol := "\n"
	if strings.HasSuffix(raw, "\r") {
		eol = "\r\n"
	}
	s := strings.Trim(raw, " \t\v\f\r")
	if s == "" {
		if f.out.Len() > 0 {
			f.pending = eol
		}
		f.endDefinition()
		return
	}
	f.out.WriteString(f.pending)
	f.pending = ""
	if strings.IndexByte(s, 0) >= 0 || len(s) > maxLine {
		f.out.WriteString(strings.TrimSuffix(raw, "\r") + eol) // not read either
		return
	}
	code := codeOf(s)
	if !f.defining && strings.HasPrefix(code, "$") && definitionStart(code) {
		f.define(s, code, eol)
		return
	}
	continued := f.defining && strings.HasSuffix(code, "\\")
	s = spaced(s, code)
	closing, change := balance(code)
	if strings.HasPrefix(code, "@") && change > 0 { // an alternative to what the line before may have opened
		f.depth -= min(change, f.choices)
		f.choices = max(change, f.choices)
		f.write(max(f.depth, 0), s, eol)
	} else {
		if code != "" && code[0] != '@' {
			f.choices = 0
		}
		f.write(max(f.depth-closing, 0), s, eol)
	}
	f.depth = max(f.depth+change, 0)
	if !continued {
		f.endDefinition()
	}
}

func (f *formatter) endDefinition() {
	if f.defining {
		f.defining, f.depth = false, f.outer
	}
}

// define writes the first line of a definition.
func (f *formatter) define(s, code, eol string) {
	f.write(f.depth, s, eol)
	if !strings.HasSuffix(code, "\\") {
		return
	}
	f.defining, f.outer = true, f.depth
	f.depth++
	if i := strings.IndexByte(code, '='); i >= 0 {
		_, change := balance(code[i+1:])
		f.depth = max(f.depth+change, 0)
	}
}

func (f *formatter) write(indent int, s, eol string) {
	if indent = min(indent, maxDepth); indent*len(formatIndent)+len(s) <= maxLine {
		for range indent {
			f.out.WriteString(formatIndent)
		}
	}
	f.out.WriteString(s)
	f.out.WriteString(eol)
}

// codeOf is a line without its comment and the space before that.
func codeOf(s string) string {
	t, _ := uncomment(text{s, []seg{{0, Pos{Col: 1}}}})
	return t.s
}

// spaced puts the space before a brace that ends the code of a line.
func spaced(s, code string) string {
	n := len(code)
	if n < 2 || code[n-1] != '{' || !strings.HasPrefix(s, code) {
		return s
	}
	// Behind other signs a space would make a difference: `$NAME {` is a parameter, `include {` an include.
	word := code[strings.LastIndexAny(code[:n-1], " \t\v\f\r")+1 : n-1]
	if _, include := includes[word]; include || word == "" || nameEnd(word, 0) != len(word) {
		return s
	}
	if _, change := balance(code); change < 1 {
		return s
	}
	return s[:n-1] + " " + s[n-1:]
}

// balance counts the braces of a line that begin and end blocks: how many it ends before anything else, and the change in all.
func balance(code string) (closing, change int) {
	quoted, leading := false, true
	for i := 0; i < len(code); i++ {
		c := code[i]
		switch {
		case c == '\\' && i+1 < len(code):
			i++
			leading = false
		case c == '"':
			quoted = !quoted
			leading = false
		case quoted || isSpace(c):
		case c == '~':
			if end := strings.IndexByte(code[i:], ')'); end > 0 && (strings.HasPrefix(code[i:], "~SEQ") || strings.HasPrefix(code[i:], "~LST")) {
				i += end
			}
			leading = false
		case c == '{':
			if i > 0 && code[i-1] == '$' {
				if end := strings.IndexByte(code[i:], '}'); end > 0 {
					i += end
					continue
				}
			}
			change++
			leading = false
		case c == '}':
			if leading {
				closing++
			}
			change--
		default:
			leading = false
		}
	}
	return closing, change
}
