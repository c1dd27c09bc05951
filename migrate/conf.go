package migrate

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// conf is a configuration being written: lines and blocks, each with the reason for it.
type conf struct {
	text string
	why  string
	kids []*conf
	// block has braces even if it is empty.
	block bool
}

// line adds a keyword. why is the origin of the line, or what else explains it.
func (c *conf) line(why any, format string, a ...any) {
	c.kids = append(c.kids, &conf{text: fmt.Sprintf(format, a...), why: shown(fmt.Sprint(why))})
}

// open adds a block and returns it.
func (c *conf) open(why any, format string, a ...any) *conf {
	k := &conf{text: fmt.Sprintf(format, a...), why: shown(fmt.Sprint(why)), block: true}
	c.kids = append(c.kids, k)
	return k
}

// note adds a line of comment.
func (c *conf) note(format string, a ...any) {
	c.kids = append(c.kids, &conf{text: "# " + shown(fmt.Sprintf(format, a...))})
}

// column is where comments begin, if the line before them is shorter.
const column = 44

func (c *conf) String() string {
	var b strings.Builder
	for i, k := range c.kids {
		if i > 0 && (k.block || c.kids[i-1].block) {
			b.WriteByte('\n')
		}
		k.write(&b, 0)
	}
	return b.String()
}

func (c *conf) write(b *strings.Builder, depth int) {
	line := strings.Repeat("    ", depth) + c.text
	if c.block {
		line += " {"
	}
	b.WriteString(line)
	if c.why != "" {
		b.WriteString(strings.Repeat(" ", max(2, column-utf8.RuneCountInString(line))))
		b.WriteString("# " + c.why)
	}
	b.WriteByte('\n')
	for _, k := range c.kids {
		k.write(b, depth+1)
	}
	if c.block {
		b.WriteString(strings.Repeat("    ", depth) + "}\n")
	}
}

// quoted is a value as one word of keepalived.conf.
func quoted(s string) string {
	plain := s != ""
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:@%+,=-", r)) {
			plain = false
		}
	}
	if plain && s[0] != '@' {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(s)) + `"`
}

// oneLine leaves out what would end a line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// shellQuoted is a word for a POSIX shell.
func shellQuoted(s string) string {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:@%+,=-", r)) {
			return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	if s == "" {
		return "''"
	}
	return s
}

// name is a value as the name of an instance, group or script.
func name(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, s)
}
