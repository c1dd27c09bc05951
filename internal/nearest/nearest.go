// Package nearest finds the word that somebody probably meant.
package nearest

import "strings"

// Word is the word of list that is most like w, or empty where none is near enough: at most one edit for words of up to
// four letters, two for longer ones, three from nine letters on. A swap of neighbours and a change of case count as one edit.
func Word(w string, list []string) string {
	limit := 1
	switch n := len(w); {
	case n >= 9:
		limit = 3
	case n >= 5:
		limit = 2
	}
	best, word := limit+1, ""
	lw := strings.ToLower(w)
	for _, c := range list {
		if d := len(c) - len(w); d > limit || -d > limit {
			continue
		}
		lc := strings.ToLower(c)
		d := edits(lw, lc)
		if d == 0 && c != w {
			return c
		}
		if d < best {
			best, word = d, c
		}
	}
	if word != "" {
		return word
	}
	// A word that goes on, or stops short: `device` for dev, `proto` for protocol.
	for _, c := range list {
		lc := strings.ToLower(c)
		if len(c) >= 3 && strings.HasPrefix(lw, lc) && len(c) > len(word) || len(w) >= 4 && strings.HasPrefix(lc, lw) && word == "" {
			word = c
		}
	}
	return word
}

// edits is the number of insertions, deletions, replacements and swaps of neighbours between two words.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var rows [3][65]int
	prev2, prev, cur := &rows[0], &rows[1], &rows[2]
	for j := 0; j <= len(b); j++ {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
