package confparse

import (
	"fmt"
	"os"
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
	"includem": checkReadable | checkMatch,
	"includew": checkReadable | checkMatch | checkWildcard,
	"includeb": checkReadable | checkBrace,
	"includea": checkAll,
}

// checkNames are the options of include_check.
var checkNames = map[string]includeCheck{
	"readable":       checkReadable,
	"match":          checkReadable | checkMatch,
	"wildcard_match": checkReadable | checkMatch | checkWildcard,
	"brace_match":    checkReadable | checkBrace,
}

// adjusted is c after the options of an include_check: all without any; `+` adds, `-` takes away, a bare name starts anew.
func (c includeCheck) adjusted(options []string) includeCheck {
	if len(options) == 0 {
		return checkAll
	}
	for i, opt := range options {
		name := strings.TrimLeft(opt, "+-")
		bits, ok := checkNames[name]
		switch {
		case !ok:
		case opt[0] == '-':
			if bits &^= checkReadable; bits == 0 {
				bits = checkReadable
			}
			if name == "wildcard_match" {
				bits &^= checkMatch
			}
			c &^= bits
		case opt[0] == '+' || i > 0:
			c |= bits
		default:
			c = bits
		}
	}
	return c
}

// include takes an include line; false if t is none. The name is the rest of the line.
func (l *loader) include(t text) bool {
	if !strings.HasPrefix(t.s, "include") {
		return false
	}
	end := strings.IndexAny(t.s, " \t")
	if end < 0 {
		return false
	}
	check, ok := includes[t.s[:end]]
	if !ok {
		return false
	}
	check |= l.check
	rest := t.sub(end, len(t.s)).trim()
	if strings.Contains(rest.s, "$") {
		if u, ok := nextUse(rest.s, 0); ok && l.lookup(u, rest.pos(0)) != nil {
			return false // once it is replaced
		}
	}
	name, pos := rest.s, rest.pos(0)
	paths, missing, err := expandNames(l.dir, name)
	if err == nil && len(paths) == 0 && len(name) > 2 && (name[0] == '"' || name[0] == '\'') && name[len(name)-1] == name[0] {
		paths, missing, err = expandNames(l.dir, name[1:len(name)-1])
	}
	wild := strings.ContainsAny(name, "*?[")
	switch {
	case err != nil:
		l.report(pos, "bad-file-name", fmt.Sprintf("%s %s: %v", t.s[:end], name, err))
	case len(paths) == 0 && wild:
		if check&checkWildcard != 0 {
			l.includeProblem(pos, true, "no file matches "+name)
		}
	case len(paths) == 0:
		l.includeProblem(pos, check&checkMatch != 0, name+" does not exist")
	case len(missing) > 0:
		l.includeProblem(pos, check&checkBrace != 0, "no file matches "+strings.Join(missing, ", "))
	}
	for _, p := range paths {
		l.readInclude(p, pos, check&checkReadable != 0)
	}
	return true
}

// includeProblem reports an include that brings nothing: a failure where a check asks for it, else only worth a word.
func (l *loader) includeProblem(pos Pos, failure bool, message string) {
	d := Diagnostic{Pos: pos, Severity: Warning, Code: "include-not-found", Message: "include: " + message}
	if failure {
		d.Severity, d.Exit, d.FatalAtStart = Error, ExitSecurity, true
	}
	l.diags = append(l.diags, d)
}

// expandNames are the files that pattern names, seen from the folder dir: braces as the C shell has them, then a glob. missing are
// the alternatives of the braces that name no file.
func expandNames(dir, pattern string) (paths, missing []string, err error) {
	alternatives := []string{pattern}
	if strings.Contains(pattern, "{") {
		if alternatives = braces(pattern, nil); len(alternatives) > maxFiles {
			return nil, nil, fmt.Errorf("braces stand for more than %d names", maxFiles)
		}
	}
	for _, alt := range alternatives {
		full := alt
		if !filepath.IsAbs(full) && dir != "" {
			full = filepath.Join(dir, full)
		}
		var found []string
		if !strings.ContainsAny(alt, "*?[") {
			if _, err := os.Lstat(full); err == nil {
				found = []string{full}
			}
		} else if found, err = filepath.Glob(full); err != nil {
			return nil, nil, err
		} else {
			found = visible(found, full)
		}
		if len(found) == 0 {
			missing = append(missing, alt)
		}
		paths = append(paths, found...)
	}
	return paths, missing, nil
}

// visible leaves out the matches of a glob where a wildcard stands for the dot of a hidden name.
func visible(found []string, pattern string) []string {
	want := strings.Split(pattern, "/")
	out := found[:0]
next:
	for _, path := range found {
		for i, name := range strings.Split(path, "/") {
			if strings.HasPrefix(name, ".") && i < len(want) && !strings.HasPrefix(want[i], ".") {
				continue next
			}
		}
		out = append(out, path)
	}
	return out
}

// braces expands `a{b,c{d,e}}f` and appends what it stands for to out. Braces without a match stand for themselves.
func braces(s string, out []string) []string {
	if len(out) > maxFiles {
		return out
	}
	open := strings.IndexByte(s, '{')
	if open < 0 {
		return append(out, s)
	}
	depth, start := 0, open+1
	var parts []string
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		case '}':
			depth--
			if depth > 0 {
				continue
			}
			for _, p := range append(parts, s[start:i]) {
				out = braces(s[:open]+p+s[i+1:], out)
			}
			return out
		}
	}
	return append(out, s)
}
