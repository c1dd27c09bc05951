package confparse

import "strings"

// Source is an expanded configuration: what remains of the files after includes, conditions, parameters and sequences. It keeps
// where each word was written.
type Source struct {
	lines   []line
	segs    []seg
	origins []origin
	files   []file
}

// file is one that was read. Its text serves the rendering of diagnostics; a source that came over a memory file has none.
type file struct {
	name string
	text string
}

// origin is a reading of a file: what it is the text of, and why it came to be read.
type origin struct {
	file int32
	kind originKind
	via  Pos    // the include, or the use of a parameter; no place for a file of the command line
	name string // the parameter
}

// originKind says how text came into the source.
type originKind uint8

const (
	originFile      originKind = iota // named on the command line
	originInclude                     // by include
	originParameter                   // as the value of a parameter
)

// line is one line without indent, comment and end. Its text counts from pos on, as far as no segment says otherwise.
type line struct {
	text   string
	pos    Pos
	segEnd int32 // segs[previous segEnd:segEnd] belong to the line
}

// seg says that the text of a line from byte at on was written at pos. A negative column is a generated text: all of it belongs to
// one place.
type seg struct {
	at  int32
	pos Pos
}

// places tells where the bytes of a line were written.
type places struct {
	pos  Pos
	segs []seg
}

// placesIn are those of line i.
func (s *Source) placesIn(i int) places {
	l := &s.lines[i]
	var from int32
	if i > 0 {
		from = s.lines[i-1].segEnd
	}
	return places{l.pos, s.segs[from:l.segEnd]}
}

// of is where byte at was written.
func (p *places) of(at int) Pos {
	if len(p.segs) == 0 {
		pos := p.pos
		pos.Col += int32(at)
		return pos
	}
	return placeIn(p.segs, at)
}

// placeIn finds the place of byte at among the segments of a text, of which the first begins at 0.
func placeIn(segs []seg, at int) Pos {
	k := len(segs) - 1
	for k > 0 && int(segs[k].at) > at {
		k--
	}
	p := segs[k].pos
	if p.Col < 0 {
		p.Col = -p.Col
		return p
	}
	p.Col += int32(at) - segs[k].at
	return p
}

// Name is the name of the file that holds p, as the command line or an include gave it; empty for no place.
func (s *Source) Name(p Pos) string {
	if s == nil || !p.IsValid() || int(p.Origin) >= len(s.origins) || p.Origin < 0 {
		return ""
	}
	return s.files[s.origins[p.Origin].file].name
}

// Line is the text of the line that holds p, without its end; false where it is not at hand, as in a source that was handed over.
func (s *Source) Line(p Pos) (string, bool) {
	if s.Name(p) == "" {
		return "", false
	}
	text := s.files[s.origins[p.Origin].file].text
	for n := int32(1); n < p.Line; n++ {
		_, rest, found := strings.Cut(text, "\n")
		if !found {
			return "", false
		}
		text = rest
	}
	if text == "" {
		return "", false
	}
	text, _, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(text, "\r"), true
}

// Link is one step of the way by which text came into the source.
type Link struct {
	Pos   Pos    // of the include or of the use of the parameter
	Param string // the parameter, empty for an include
}

// Chain is how p came into the source, the nearest step first; nil for what stands in a file of the command line.
func (s *Source) Chain(p Pos) []Link {
	var chain []Link
	for s.Name(p) != "" {
		o := &s.origins[p.Origin]
		if o.kind == originFile {
			break
		}
		chain = append(chain, Link{Pos: o.via, Param: o.name})
		p = o.via
	}
	return chain
}

// Use is where p takes effect: p itself, or where the parameter that brought it was used. It is the line the reference names.
func (s *Source) Use(p Pos) Pos {
	for s.Name(p) != "" && s.origins[p.Origin].kind == originParameter {
		p = s.origins[p.Origin].via
	}
	return p
}

// Files are the names of the files that were read, in that order.
func (s *Source) Files() []string {
	names := make([]string, len(s.files))
	for i, f := range s.files {
		names[i] = f.name
	}
	return names
}

// Text is the expanded text, a line each.
func (s *Source) Text() string {
	var b strings.Builder
	for i := range s.lines {
		b.WriteString(s.lines[i].text)
		b.WriteByte('\n')
	}
	return b.String()
}

// Begins reports whether a line begins with the word: whether a block of that name is likely to be there, before anything is parsed.
func (s *Source) Begins(word string) bool {
	for i := range s.lines {
		t := s.lines[i].text
		if len(t) >= len(word) && t[:len(word)] == word && (len(t) == len(word) || ends[t[len(word)]]) {
			return true
		}
	}
	return false
}

// Len is the number of lines.
func (s *Source) Len() int { return len(s.lines) }
