package healthcheck

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTime bounds one match, whatever the pattern; a match that takes longer counts as failed.
const matchTime = 250 * time.Millisecond

// pattern is a compiled regex block.
type pattern struct {
	re       *regexp2.Regexp
	from, to int // offsets in bytes between which a match may start; to 0: no end
	no       bool
}

var (
	errNoMatch  = errors.New("regex did not match")
	errMatch    = errors.New("regex matched, and regex_no_match is set")
	errSlowness = fmt.Errorf("regex match took longer than %s", matchTime)
)

func compilePattern(r *Regex) (*pattern, error) {
	text, opts, err := translate(r.Pattern, r.Options)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	re, err := regexp2.Compile(text, opts)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", r.Pattern, err)
	}
	re.MatchTimeout = matchTime
	return &pattern{re: re, from: r.MinOffset, to: r.MaxOffset, no: r.NoMatch}, nil
}

// match searches the text, each byte a character as PCRE does without utf.
func (p *pattern) match(text []byte) error {
	runes := make([]rune, len(text))
	for i, b := range text {
		runes[i] = rune(b)
	}
	found := false
	if p.from <= len(runes) {
		m, err := p.re.FindRunesMatchStartingAt(runes, p.from)
		if err != nil {
			return errSlowness
		}
		found = m != nil && (p.to == 0 || m.Index <= p.to)
	}
	switch {
	case found && p.no:
		return errMatch
	case !found && !p.no:
		return errNoMatch
	}
	return nil
}

func translate(pat string, options []string) (string, regexp2.RegexOptions, error) {
	o := regexp2.None
	for name, bit := range map[string]regexp2.RegexOptions{"caseless": regexp2.IgnoreCase, "multiline": regexp2.Multiline, "dotall": regexp2.Singleline,
		"extended": regexp2.IgnorePatternWhitespace, "no_auto_capture": regexp2.ExplicitCapture} {
		if slices.Contains(options, name) {
			o |= bit
		}
	}
	return pat, o, nil
}
