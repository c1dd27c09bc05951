package confparse

import (
	"strings"
)

// There are two ways to split a line into words. Nearly everywhere only double quotes count: they begin and end a word wherever
// they stand, and backslashes and single quotes are letters like others. The arguments of the keywords that name a script, or a
// pattern, follow the rules of the shell: both kinds of quotes can be part of a word, and backslashes escape.

// shellWords reports whether the arguments of a keyword are split as the shell does.
func shellWords(keyword string) bool {
	switch keyword {
	case "script", "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted",
		"notify_master_rx_lower_pri", "notify_up", "notify_down", "quorum_up", "quorum_down", "misc_path", "startup_script",
		"shutdown_script", "notify_fifo_script", "vrrp_notify_fifo_script", "lvs_notify_fifo_script", "regex":
		return true
	}
	return false
}

// ends says which bytes end a plain word; shellEnds which ones end the part of a word that needs no work.
var (
	ends      = [256]bool{' ': true, '\t': true, '\v': true, '\f': true, '\r': true, '{': true, '}': true, '"': true}
	shellEnds = [256]bool{' ': true, '\t': true, '\v': true, '\f': true, '\r': true, '{': true, '}': true, '"': true, '\'': true, '\\': true}
)

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r' }

// scannedWord is a word that was split off.
type scannedWord struct {
	text   string
	quoted bool
	end    int  // the byte behind it
	open   int  // the quote without a match, -1 without
	brace  int  // a brace within single quotes, -1 without
	undef  bool // it holds a `${NAME}`, which no parameter replaced
}

// scanWord splits off the word of s that begins at byte i, which is neither space nor brace.
func scanWord(s string, i int) scannedWord {
	w := scannedWord{end: i, open: -1, brace: -1}
	if s[i] == '"' {
		n := strings.IndexByte(s[i+1:], '"')
		if n < 0 {
			return scannedWord{end: len(s), open: i, brace: -1}
		}
		return scannedWord{text: s[i+1 : i+1+n], quoted: true, end: i + n + 2, open: -1, brace: -1}
	}
	for w.end < len(s) && !ends[s[w.end]] {
		w.end++
		if n := reference(s, w.end); n > 0 {
			w.end += n
			w.undef = true
		}
	}
	w.text = s[i:w.end]
	return w
}

// reference is the length of the rest of a `${NAME}` whose brace is s[i], 0 if there is none.
func reference(s string, i int) int {
	if i == 0 || i >= len(s) || s[i] != '{' || s[i-1] != '$' {
		return 0
	}
	if u, ok := nextUse(s[:min(len(s), i+maxLine)], i-1); ok && u.at == i-1 {
		return u.end - i
	}
	return 0
}

// scanShellWord does what scanWord does, by the rules of the shell.
func scanShellWord(s string, i int) scannedWord {
	start := i
	for i < len(s) && !shellEnds[s[i]] {
		i++
	}
	if i == len(s) || isSpace(s[i]) || s[i] == '}' || s[i] == '{' && reference(s, i) == 0 {
		return scannedWord{text: s[start:i], end: i, open: -1, brace: -1} // the common word: no copy
	}
	w := scannedWord{open: -1, brace: -1}
	b := append(make([]byte, 0, len(s)-start), s[start:i]...)
	var quote byte
	for i < len(s) {
		c := s[i]
		switch {
		case quote == 0 && reference(s, i) > 0:
			n := reference(s, i)
			b = append(b, s[i:i+n]...)
			i += n
			w.undef = true
		case quote == '\'' && (c == '{' || c == '}') && w.brace < 0:
			w.brace = i
		case quote == 0 && (c == '{' || c == '}'):
			w.text, w.end = string(b), i
			return w
		case quote == 0 && isSpace(c):
			w.text, w.end = string(b), i
			return w
		case c == quote && quote != 0:
			quote, w.open = 0, -1
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote, w.open, w.quoted = c, i, true
			i++
		case c == '\\' && i+1 < len(s):
			i, b = unescape(s, i+1, b)
		default:
			b = append(b, c)
			i++
		}
	}
	w.text, w.end = string(b), i
	return w
}

// unescape reads the escape whose letter is s[i] and appends what it stands for.
func unescape(s string, i int, b []byte) (int, []byte) {
	c := s[i]
	i++
	if k := strings.IndexByte("abEfnrtv", c); k >= 0 {
		return i, append(b, "\a\b\x1b\f\n\r\t\v"[k])
	}
	switch {
	case c == 'x':
		v, n := byte(0), i
		for n < len(s) {
			d := strings.IndexByte("0123456789abcdef", lower(s[n]))
			if d < 0 {
				break
			}
			v = v<<4 | byte(d)
			n++
		}
		if n > i {
			return n, append(b, v)
		}
	case c == 'c' && i < len(s):
		return i + 1, append(b, s[i]&0x1f)
	case c >= '0' && c <= '7':
		v, n := c-'0', i
		for n < len(s) && n < i+2 && s[n] >= '0' && s[n] <= '7' {
			v = v<<3 | (s[n] - '0')
			n++
		}
		return n, append(b, v)
	}
	return i, append(b, c)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}
