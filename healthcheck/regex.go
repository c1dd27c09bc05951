package healthcheck

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// matchTime bounds one match, whatever the pattern; a match that takes longer counts as failed.
const matchTime = 250 * time.Millisecond

// pattern is a compiled regex block.
type pattern struct {
	re        *regexp2.Regexp
	from, to  int // offsets in bytes between which a match may start; to 0: no end
	no        bool
	utf       bool
	firstLine bool
}

var (
	errNoMatch   = errors.New("regex did not match")
	errMatch     = errors.New("regex matched, and regex_no_match is set")
	errSlowMatch = fmt.Errorf("regex match took longer than %s", matchTime)
)

// Err says why the pattern cannot be used, nil if it can.
func (r *Regex) Err() error {
	_, err := compilePattern(r)
	return err
}

func compilePattern(r *Regex) (*pattern, error) {
	t, err := newTranslator(r.Options)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	text, err := t.translate(r.Pattern)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	re, err := regexp2.Compile(text, t.opts)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	re.MatchTimeout = matchTime
	return &pattern{re: re, from: max(r.MinOffset, 0), to: r.MaxOffset, no: r.NoMatch, utf: t.utf, firstLine: t.firstLine}, nil
}

// match searches the text: without utf each byte is a character, as PCRE2 has it.
func (p *pattern) match(text []byte) error {
	found, err := p.find(text)
	switch {
	case err != nil:
		return err
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
	runes, start, end := characters(text, p.from, last, p.utf)
	m, err := p.re.FindRunesMatchStartingAt(runes, start)
	if err != nil {
		return false, errSlowMatch
	}
	return m != nil && m.Index <= end, nil
}

// characters turns text into runes, and two offsets in bytes into offsets in runes.
func characters(text []byte, from, to int, utf bool) ([]rune, int, int) {
	runes := make([]rune, 0, len(text))
	if !utf {
		for _, b := range text {
			runes = append(runes, rune(b))
		}
		return runes, from, to
	}
	start, end := -1, -1
	for i := 0; i < len(text); {
		if start < 0 && i >= from {
			start = len(runes)
		}
		if i <= to {
			end = len(runes)
		}
		r, n := utf8.DecodeRune(text[i:])
		runes = append(runes, r)
		i += n
	}
	if start < 0 {
		start = len(runes)
	}
	if to >= len(text) {
		end = len(runes)
	}
	return runes, start, end
}
