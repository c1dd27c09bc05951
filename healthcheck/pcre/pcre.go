// Package pcre matches the regular expressions of url blocks: the language of PCRE2 (pcre2pattern(3)), by backtracking as that library
// does, but in bounded time and memory whatever the pattern and the text. It works on bytes, takes nothing from the text but what it
// compares, and says only whether a text matches.
//
// What is left out: callouts are taken and do nothing, \K changes nothing, and where (*ACCEPT) stands within a group that is still open the
// group stays unset.
package pcre

import (
	"errors"
	"fmt"
	"strings"
)

// flags are the options of a pattern, or of a part of it.
type flags uint32

const (
	caseless flags = 1 << iota
	multiline
	dotall
	extended
	extendedMore
	noAutoCapture
	dupNames
	ungreedy
	// The following hold for the whole pattern.
	dollarEndOnly
	firstLine
	utf
	ucp
	neverUTF
	neverUCP
	neverBackslashC
	allowEmptyClass
	altBSUX
	altCircumflex
	matchUnsetBackref
	noDotstarAnchor
	noStartOptimize
)

// option is the flag of a name of regex_options; known says whether there is such an option.
func option(name string) (f flags, known bool) {
	switch name {
	case "caseless":
		return caseless, true
	case "multiline":
		return multiline, true
	case "dotall":
		return dotall, true
	case "extended":
		return extended, true
	case "no_auto_capture":
		return noAutoCapture, true
	case "dupnames":
		return dupNames, true
	case "ungreedy":
		return ungreedy, true
	case "dollar_endonly":
		return dollarEndOnly, true
	case "firstline":
		return firstLine, true
	case "utf":
		return utf, true
	case "ucp":
		return ucp, true
	case "never_utf":
		return neverUTF, true
	case "never_ucp":
		return neverUCP, true
	case "never_backslash_c":
		return neverBackslashC, true
	case "allow_empty_class":
		return allowEmptyClass, true
	case "alt_bsux":
		return altBSUX, true
	case "alt_circumflex":
		return altCircumflex, true
	case "match_unset_backref":
		return matchUnsetBackref, true
	case "no_dotstar_anchor":
		return noDotstarAnchor, true
	case "no_start_optimize":
		return noStartOptimize, true
	case "auto_callout", "no_auto_possess", "use_offset_limit", "alt_verbnames":
		return 0, true // nothing that matters to whether a text matches
	}
	return 0, false
}

// What a match can end with, beside an answer.
var (
	ErrSteps     = errors.New("match takes too many steps")
	ErrMemory    = errors.New("match takes too much memory")
	ErrRecursion = errors.New("endless recursion")
)

// The bounds of a match, unless a Pattern says otherwise.
const (
	DefaultSteps  = 5_000_000
	DefaultMemory = 16 << 20 // bytes
)

// Pattern is a compiled pattern. Several goroutines may match it at once.
type Pattern struct {
	// MaxSteps and MaxMemory (bytes) bound a match; zero: the defaults.
	MaxSteps, MaxMemory int

	prog    program
	opts    flags
	newline newline
}

// Compile compiles a pattern with options by the names of keepalived.conf(5), of which case does not matter.
func Compile(pattern string, options []string) (*Pattern, error) {
	var f flags
	for _, name := range options {
		o, ok := option(strings.ToLower(name))
		if !ok {
			return nil, fmt.Errorf("option %q is not known", name)
		}
		f |= o
	}
	p := &parser{flags: f}
	tree, err := p.parse(pattern)
	if err != nil {
		return nil, err
	}
	c := compiler{p: p}
	prog, err := c.compile(tree)
	if err != nil {
		return nil, err
	}
	return &Pattern{prog: *prog, opts: p.global(), newline: p.newline}, nil
}

// newline is what ends a line.
type newline uint8

const (
	newlineLF newline = iota
	newlineCR
	newlineCRLF
	newlineAnyCRLF
	newlineAny
	newlineNUL
)
