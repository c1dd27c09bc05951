package confparse

import (
	"fmt"
	"path/filepath"
	"strings"
)

// includeCheck says what about an include is a failure.
type includeCheck uint8

const (
	checkReadable includeCheck = 1 << iota
	checkMatch
	checkWildcard
	checkBrace

	checkAll = checkReadable | checkMatch | checkWildcard | checkBrace
)

// includes are the keywords of an include and what each adds to the checks.
var includes = map[string]includeCheck{
	"include":  0,
	"includer": checkReadable,
	"includem": checkMatch,
	"includew": checkWildcard,
	"includeb": checkBrace,
	"includea": checkAll,
}

// expandNames are the files that pattern, a glob, names.
func expandNames(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[{") {
		return []string{pattern}, nil
	}
	return filepath.Glob(pattern)
}

// include takes an include line; false if t is none.
func (l *loader) include(t text) bool {
	end := strings.IndexFunc(t.s, func(r rune) bool { return r == ' ' || r == '\t' })
	if end < 0 {
		return false
	}
	_, ok := includes[t.s[:end]]
	if !ok {
		return false
	}
	rest := t.sub(end, len(t.s)).trim()
	name, _, _, _ := scanWord(rest.s, 0)
	pattern := name
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(l.dir, pattern)
	}
	names, err := expandNames(pattern)
	if err != nil {
		l.report(rest.pos(0), "bad-file-name", fmt.Sprintf("include %s: %v", name, err))
	}
	for _, n := range names {
		l.readFile(n, n, originInclude, rest.pos(0), "include-not-found")
	}
	return true
}
