package confparse

import (
	"strings"
)

// special says which bytes end the plain part of a word: space, braces, quotes, escapes.
var special = [256]bool{' ': true, '\t': true, '\v': true, '\f': true, '\r': true, '{': true, '}': true, '"': true, '\'': true, '\\': true}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r' }

// scanWord reads the word of text that begins at byte i, which is neither space nor brace. It returns the word after quotes and
// escapes, whether a quote was part of it, and the byte behind it. Unterminated quotes end with the text; open is then the quote.
func scanWord(text string, i int) (word string, quoted bool, end int, open byte) {
	start := i
	for i < len(text) && !special[text[i]] {
		i++
	}
	if i == len(text) || isSpace(text[i]) || text[i] == '{' || text[i] == '}' {
		return text[start:i], false, i, 0 // the common word: no copy
	}
	b := make([]byte, i-start, len(text)-start)
	copy(b, text[start:i])
	var quote byte
	for i < len(text) {
		c := text[i]
		switch {
		case quote == 0 && (isSpace(c) || c == '{' || c == '}'):
			return string(b), quoted, i, 0
		case c == quote && quote != 0:
			quote = 0
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote, quoted = c, true
			i++
		case c == '\\' && i+1 < len(text):
			i, b = unescape(text, i+1, b)
		default:
			b = append(b, c)
			i++
		}
	}
	return string(b), quoted, i, quote
}

// unescape reads the escape whose letter is text[i] and appends what it stands for.
func unescape(text string, i int, b []byte) (int, []byte) {
	c := text[i]
	i++
	switch c {
	case 'a':
		return i, append(b, '\a')
	case 'b':
		return i, append(b, '\b')
	case 'E':
		return i, append(b, 0x1b)
	case 'f':
		return i, append(b, '\f')
	case 'n':
		return i, append(b, '\n')
	case 'r':
		return i, append(b, '\r')
	case 't':
		return i, append(b, '\t')
	case 'v':
		return i, append(b, '\v')
	case 'x':
		n, v := i, byte(0)
		for n < len(text) {
			d := strings.IndexByte("0123456789abcdef", text[n]|0x20)
			if d < 0 || text[n] < '0' {
				break
			}
			v = v<<4 | byte(d)
			n++
		}
		if n == i {
			return i, append(b, 'x')
		}
		return n, append(b, v)
	case 'c':
		if i == len(text) {
			return i, append(b, 'c')
		}
		return i + 1, append(b, text[i]&0x1f)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		v, n := c-'0', i
		for n < len(text) && n < i+2 && text[n] >= '0' && text[n] <= '7' {
			v = v<<3 | (text[n] - '0')
			n++
		}
		return n, append(b, v)
	}
	return i, append(b, c)
}
