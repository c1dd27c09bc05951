package confparse

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Report is what was found in one source.
type Report struct {
	Source      *Source
	Diagnostics Diagnostics // as Sorted leaves them
}

// maxAlike is how many complaints of one kind about one place are written: a sequence can make thousands of them.
const maxAlike = 3

// WriteText writes each diagnostic as `file:line:column: severity: message [code]`, with the source line, a caret, where the
// enclosing block was opened, and how the text came in.
func WriteText(w io.Writer, reports ...Report) error {
	b := bufio.NewWriter(w)
	for _, r := range reports {
		p := printer{src: r.Source, lines: map[int32][]string{}}
		for i := 0; i < len(r.Diagnostics); {
			d := r.Diagnostics[i]
			alike := 1
			for i+alike < len(r.Diagnostics) && d.Pos.IsValid() && r.Diagnostics[i+alike].Pos == d.Pos && r.Diagnostics[i+alike].Code == d.Code {
				alike++
			}
			for k := range min(alike, maxAlike) {
				p.head(b, r.Diagnostics[i+k])
			}
			if alike > maxAlike {
				fmt.Fprintf(b, "    ... and %d more of this kind about this place\n", alike-maxAlike)
			}
			p.context(b, d)
			i += alike
		}
	}
	return b.Flush()
}

// printer writes the diagnostics of one source.
type printer struct {
	src   *Source
	lines map[int32][]string // of the files that were asked for
}

// at is a place as people click on it.
func (p *printer) at(pos Pos) string {
	return fmt.Sprintf("%s:%d:%d", printable(p.src.Name(pos)), pos.Line, pos.Col)
}

func (p *printer) head(b *bufio.Writer, d Diagnostic) {
	if p.src.Name(d.Pos) != "" {
		b.WriteString(p.at(d.Pos) + ": ")
	}
	fmt.Fprintf(b, "%s: %s [%s]\n", d.Severity, printable(d.Message), d.Code)
}

func (p *printer) context(b *bufio.Writer, d Diagnostic) {
	if s, ok := p.line(d.Pos); ok {
		p.excerpt(b, d, s)
	}
	if d.Suggest != "" {
		fmt.Fprintf(b, "    did you mean %q?\n", printable(d.Suggest))
	}
	if p.src.Name(d.Opened) != "" {
		s, _ := p.line(d.Opened)
		fmt.Fprintf(b, "    the block was opened at %s: %s\n", p.at(d.Opened), clip(printable(masked(strings.TrimSpace(s), -1)), 60))
	}
	if p.src.Name(d.Other) != "" {
		s, _ := p.line(d.Other)
		fmt.Fprintf(b, "    the other line is %s: %s\n", p.at(d.Other), clip(printable(masked(strings.TrimSpace(s), -1)), 60))
	}
	for _, l := range p.src.Chain(d.Pos) {
		if l.Param != "" {
			fmt.Fprintf(b, "    in $%s, used at %s\n", l.Param, p.at(l.Pos))
		} else {
			fmt.Fprintf(b, "    included from %s\n", p.at(l.Pos))
		}
	}
}

// line is the text of a line; the lines of a file are split once.
func (p *printer) line(pos Pos) (string, bool) {
	if p.src.Name(pos) == "" {
		return "", false
	}
	f := p.src.origins[pos.Origin].file
	lines, ok := p.lines[f]
	if !ok {
		if text := p.src.files[f].text; text != "" {
			lines = strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
		}
		p.lines[f] = lines
	}
	if int(pos.Line) > len(lines) {
		return "", false
	}
	return strings.TrimSuffix(lines[pos.Line-1], "\r"), true
}

// excerpt shows the line and a caret below the word; of a long line the part around it.
func (p *printer) excerpt(b *bufio.Writer, d Diagnostic, s string) {
	const before, width = 60, 150
	col := min(max(int(d.Pos.Col)-1, 0), len(s))
	end := wordEnd(s, col)
	secret := -1
	if d.Secret {
		secret = col
	}
	s = masked(s, secret)
	end = min(end, len(s))
	col = min(col, len(s))
	end = max(end, col)
	front := ""
	if col > width {
		cut := col - before
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		front, s, col, end = "...", s[cut:], col-cut, end-cut
	}
	left := front + printable(s[:col])
	fmt.Fprintf(b, "%7d | %s\n", d.Pos.Line, strings.TrimRight(left+clip(printable(s[col:]), width), " \t"))
	b.WriteString("        | ")
	for _, r := range left {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	b.WriteByte('^')
	for range min(utf8.RuneCountInString(printable(s[col:end])), width) - 1 {
		b.WriteByte('~')
	}
	b.WriteByte('\n')
}

// wordEnd is the end of the word of s that begins at byte i.
func wordEnd(s string, i int) int {
	if i >= len(s) {
		return i
	}
	if s[i] == '"' {
		if n := strings.IndexByte(s[i+1:], '"'); n >= 0 {
			return i + n + 2
		}
		return len(s)
	}
	end := i + 1
	for end < len(s) && !isSpace(s[end]) && (s[end] != '{' || s[end-1] == '$') {
		end++
	}
	return end
}

// clip is s, cut to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "..."
}
