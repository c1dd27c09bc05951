package confparse

import (
	"strings"
)

// quoteWord writes a word so that it is read again as the same word. Between double quotes everything stands for itself; a double
// quote cannot be written, and no word that was read holds one.
func quoteWord(s string) string {
	if s == "" || s[0] == '@' || s[0] == '~' || s[0] == '$' || strings.ContainsAny(s, " \t\v\f\r{}#!") || strings.HasPrefix(s, "//") {
		return `"` + s + `"`
	}
	return s
}

// quoteShell does the same for the words of commands and patterns, where a backslash escapes.
func quoteShell(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\v\f\r\n{}#!\"'\\") && s[0] != '@' && s[0] != '~' && s[0] != '$' {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
