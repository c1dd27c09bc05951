package healthcheck

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"releve/healthcheck/pcre"
)

// pattern is a compiled regex block.
type pattern struct {
	re        *pcre.Pattern
	from, to  int // offsets in bytes between which a match may start; to 0: no end
	no        bool
	firstLine bool
}

var (
	errNoMatch = errors.New("regex did not match")
	errMatch   = errors.New("regex matched, and regex_no_match is set")
)

// Err says why the pattern cannot be used, nil if it can.
func (r *Regex) Err() error {
	_, err := compilePattern(r)
	return err
}

func compilePattern(r *Regex) (*pattern, error) {
	re, err := pcre.Compile(r.Pattern, r.Options)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	// The reference matches on a small stack unless it is told otherwise; ours has room for most, and more if more is asked for.
	re.MaxMemory = max(pcre.DefaultMemory, r.Stack[1])
	firstLine := slices.ContainsFunc(r.Options, func(o string) bool { return strings.EqualFold(o, "firstline") })
	return &pattern{re: re, from: max(r.MinOffset, 0), to: r.MaxOffset, no: r.NoMatch, firstLine: firstLine}, nil
}

// match searches the text.
func (p *pattern) match(text []byte) error {
	found, err := p.find(text)
	switch {
	case err != nil:
		return fmt.Errorf("regex: %w", err)
	case found && p.no:
		return errMatch
	case !found && !p.no:
		return errNoMatch
	}
	return nil
}

func (p *pattern) find(text []byte) (bool, error) {
	if p.from > len(text) {
		return false, nil
	}
	last := len(text) // the last byte a match may start at
	if p.to > 0 {
		last = min(last, p.to)
	}
	if p.firstLine {
		if i := bytes.IndexByte(text[p.from:], '\n'); i >= 0 {
			last = min(last, p.from+i)
		}
	}
	return p.re.Match(text, p.from, last)
}
