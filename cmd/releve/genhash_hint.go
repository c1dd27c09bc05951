package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"releve/healthcheck"
)

// secondLook is how long after the first answer a page is asked for again: a time of day in it has moved on by then.
const secondLook = 1100 * time.Millisecond

// sample is the beginning of a body.
type sample struct{ body []byte }

const sampleSize = 256 << 10

func (s *sample) take(part string, b []byte) {
	if part == "body" {
		s.body = append(s.body, b[:min(len(b), sampleSize-min(len(s.body), sampleSize))]...)
	}
}

// hint asks a second time and says in one line, on the standard error, why a digest would not hold.
func (h *hasher) hint(ctx context.Context, first *healthcheck.Page, was *sample) {
	if first.Status < 200 || first.Status > 299 {
		fmt.Fprintf(h.err, "hint: the answer has status %d; a url block with only a digest wants 200-299\n", first.Status)
	}
	select {
	case <-time.After(secondLook):
	case <-ctx.Done():
		return
	}
	is := &sample{}
	h.req.Tap = is.take
	again, err := healthcheck.Fetch(ctx, h.req)
	switch {
	case err != nil:
		fmt.Fprintf(h.err, "hint: asked a second time, the server did not answer: %v\n", err)
	case again.Digest == first.Digest:
	case again.Body != first.Body:
		fmt.Fprintf(h.err, "hint: the digest is not stable: asked a second time, the page has %d instead of %d bytes%s%s\n", again.Body, first.Body, where(was.body, is.body), header(first))
	default:
		fmt.Fprintf(h.err, "hint: the digest is not stable: asked a second time, other bytes came%s%s; status_code or regex suit such a page better\n", where(was.body, is.body), header(first))
	}
}

// timeOfDay is what a line with a date or a time of day has.
var timeOfDay = regexp.MustCompile(`\d\d?:\d\d|\d{4}-\d\d-\d\d|\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d|\b1[6-9]\d{8}`)

// where says at which byte two bodies part, and what stands there.
func where(a, b []byte) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	if i == len(a) && i == len(b) {
		return ""
	}
	one, two := line(a, i), line(b, i)
	s := fmt.Sprintf(", first at byte %d: %s, then %s", i, strconv.QuoteToASCII(one), strconv.QuoteToASCII(two))
	if timeOfDay.MatchString(one) && timeOfDay.MatchString(two) {
		s += " (a date or a time)"
	}
	return s
}

// line is what stands around byte i, within its line.
func line(b []byte, i int) string {
	i = min(i, len(b))
	from, to := max(0, i-30), min(len(b), i+10)
	if n := bytes.LastIndexByte(b[from:i], '\n'); n >= 0 {
		from += n + 1
	}
	if n := bytes.IndexByte(b[i:to], '\n'); n >= 0 {
		to = i + n
	}
	return string(b[from:to])
}

// header is what the header says about why a page may change.
func header(p *healthcheck.Page) string {
	head := strings.ToLower(string(p.Header))
	switch {
	case strings.Contains(head, "\r\ntransfer-encoding:") && strings.Contains(head, "chunked"):
		return " (chunked: the sizes of the chunks are hashed too)"
	case strings.Contains(head, "\r\nset-cookie:"):
		return " (it sets a cookie: perhaps each visitor gets a page of its own)"
	}
	return ""
}
