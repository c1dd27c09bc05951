package confparse

import "iter"

// Nearest is the candidate that word was most probably meant to be: the one with the fewest letters changed, left out, added or
// swapped with their neighbour, if these are few for the length of the word; empty if there is none. Case does not count. Of equals
// the first wins.
func Nearest(word string, candidates iter.Seq[string]) string {
	if len(word) > 64 {
		return ""
	}
	best, limit := "", 1+len(word)/4
	if len(word) < 3 {
		limit = 1
	}
	for c := range candidates {
		if d := distance(word, c, limit); d <= limit && c != word && d < len(c) {
			best, limit = c, d-1
			if limit < 0 {
				break
			}
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b without regard to case, or a number beyond limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var rows [3][80]int
	if len(b)+1 > len(rows[0]) {
		return limit + 1
	}
	two, one, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			d := min(row[j-1]+1, one[j]+1, one[j-1]+cost)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				d = min(d, two[j-2]+1)
			}
			row[j] = d
			least = min(least, d)
		}
		if least > limit {
			return limit + 1
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}
