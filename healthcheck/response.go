package healthcheck

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
)

const (
	// maxHeader bounds the header of an answer.
	maxHeader = 64 << 10
	// maxBody bounds the body of an answer; it is hashed as it comes and not kept.
	maxBody = 64 << 20
	// maxText bounds what a regular expression is matched against.
	maxText = 256 << 10
)

// Why an answer is given up.
var (
	errNoHeader   = errors.New("no complete HTTP header received")
	errNoData     = errors.New("no data received")
	errLongHeader = fmt.Errorf("HTTP header longer than %d bytes", maxHeader)
	errLongBody   = fmt.Errorf("HTTP body longer than %d bytes", maxBody)
)

// response reads an HTTP answer as the reference does: everything up to the close of the connection, whatever the header says.
// It is fed with what each read gave and does no I/O.
type response struct {
	wantHash bool // compute the MD5 of the body
	wantText bool // keep the text for a regular expression
	// tap, if set, gets the header and then each piece of the body as they come.
	tap func(part string, b []byte)

	headerDone bool
	status     int   // 100 to 599; 0 for a status line that is none
	length     int64 // Content-Length, -1 if it does not count
	body       int64 // bytes of the body received
	head       []byte
	sum        hash.Hash
	text       []byte
	textHead   int // how much of text is the header
}

func (r *response) reset() {
	head, sum, text := r.head[:0], r.sum, r.text[:0]
	if sum == nil {
		sum = md5.New()
	} else {
		sum.Reset()
	}
	*r = response{length: -1, head: head, sum: sum, text: text}
}

var headerEnd = []byte("\r\n\r\n")

// feed takes what one read gave.
func (r *response) feed(p []byte) error {
	if r.headerDone {
		return r.feedBody(p)
	}
	var header []byte
	if len(r.head) == 0 {
		if i := bytes.Index(p, headerEnd); i >= 0 { // the usual case: no copy
			header, p = p[:i+4], p[i+4:]
		}
	}
	if header == nil {
		from := max(0, len(r.head)-3)
		r.head = append(r.head, p...)
		i := bytes.Index(r.head[from:], headerEnd)
		if i < 0 {
			if len(r.head) > maxHeader {
				return errLongHeader
			}
			return nil
		}
		i += from + 4
		header, p = r.head[:i], r.head[i:]
	}
	if len(header) > maxHeader {
		return errLongHeader
	}
	r.headerDone = true
	r.status = parseStatus(header)
	r.length = parseLength(header)
	if r.tap != nil {
		r.tap("header", header)
	}
	if len(p) == 0 {
		return nil
	}
	if r.wantText { // in one read with the body: the header is searched as well
		r.text = append(r.text, header...)
		r.textHead = len(header)
	}
	return r.feedBody(p)
}

func (r *response) feedBody(p []byte) error {
	if r.tap != nil {
		r.tap("body", p)
	}
	hashed := p
	if r.length >= 0 {
		hashed = p[:max(0, min(int64(len(p)), r.length-r.body))]
	}
	r.body += int64(len(p))
	if r.wantHash && len(hashed) > 0 {
		r.sum.Write(hashed)
	}
	if r.wantText {
		r.text = append(r.text, p[:min(len(p), max(0, maxText+r.textHead-len(r.text)))]...)
	}
	if r.body > maxBody {
		return errLongBody
	}
	return nil
}

// end is the close of the connection by the server.
func (r *response) end() error {
	switch {
	case r.headerDone:
		return nil
	case len(r.head) == 0:
		return errNoData
	}
	return errNoHeader
}

// digest is the MD5 of the body so far; the bytes are valid until the next reset.
func (r *response) digest() [md5.Size]byte {
	var d [md5.Size]byte
	r.sum.Sum(d[:0])
	return d
}

// parseStatus takes the code from the status line: a first word, whatever it is, one space, exactly three digits and another space.
// Anything else, or a code outside 100 to 599, is 0.
func parseStatus(header []byte) int {
	line, _, _ := bytes.Cut(header, []byte("\r\n"))
	i := bytes.IndexByte(line, ' ')
	if i < 0 || len(line) < i+5 || line[i+4] != ' ' {
		return 0
	}
	code := 0
	for _, c := range line[i+1 : i+4] {
		if c < '0' || c > '9' {
			return 0
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || code > 599 {
		return 0
	}
	return code
}

var contentLength = []byte("Content-Length:")

// parseLength takes the value behind the first "Content-Length:" of the header, written exactly so, wherever it stands (the reference
// does not mind "X-Content-Length:"): blanks, perhaps a plus, digits, and a line end at once. Otherwise it is -1 and does not count.
func parseLength(header []byte) int64 {
	_, v, ok := bytes.Cut(header, contentLength)
	if !ok {
		return -1
	}
	v = bytes.TrimPrefix(bytes.TrimLeft(v, " \t"), []byte("+"))
	n, digits := int64(0), 0
	for digits < len(v) && v[digits] >= '0' && v[digits] <= '9' {
		if digits >= 18 {
			return -1
		}
		n = n*10 + int64(v[digits]-'0')
		digits++
	}
	if digits == 0 || digits == len(v) || v[digits] != '\r' && v[digits] != '\n' {
		return -1
	}
	return n
}
