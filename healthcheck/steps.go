package healthcheck

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// maxSaw bounds what a Step quotes, in bytes.
const maxSaw = 400

// recorder writes down the steps of an attempt that somebody watches. A nil one hears nothing and costs nothing: checkers of the daemon
// have none.
type recorder struct {
	steps []Step
	begin time.Time // of the present step
	doing string    // what the present step does, if it is known before its end
}

// now says what is done next.
func (r *recorder) now(did string) {
	if r != nil {
		r.doing = did
	}
}

// step ends the present step. What was seen comes from elsewhere: it is made printable and short.
func (r *recorder) step(ok bool, did, saw string) {
	r.steps = append(r.steps, Step{printable(did), printable(saw), ok, time.Since(r.begin)})
	r.begin, r.doing = time.Now(), ""
}

// judged is what came, and what is wrong with it if err is not nil.
func (r *recorder) judged(did, saw string, err error) {
	if err != nil {
		saw += ": " + err.Error()
	}
	r.step(err == nil, did, saw)
}

// failed says whether the last step tells already why the attempt failed.
func (r *recorder) failed() bool { return len(r.steps) > 0 && !r.steps[len(r.steps)-1].OK }

// connected is the end of a connect.
func (r *recorder) connected(c *conn, t *target) {
	if r != nil {
		r.step(true, "connect to "+t.cfg.Addr.String(), "accepted"+c.from())
	}
}

// said is a line sent; the step ends with the answer to it.
func (r *recorder) said(line []byte) {
	if r != nil {
		r.doing = "say " + quoted(line)
	}
}

// heard is the answer to what was said, or a line that came by itself.
func (r *recorder) heard(line []byte) {
	if r != nil {
		r.step(true, r.doing, quoted(line))
	}
}

// quoted is a line of a protocol without its end.
func quoted(line []byte) string {
	s := strings.TrimRight(string(line[:min(len(line), maxSaw)]), "\r\n")
	return strconv.QuoteToASCII(s)
}

// printable escapes what a terminal would obey and cuts what is too long for a line.
func printable(s string) string {
	var b strings.Builder
	for _, c := range s {
		if b.Len() > maxSaw {
			b.WriteString("...")
			break
		}
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			q := strconv.QuoteRuneToASCII(c)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// hexBytes is the beginning of a datagram.
func hexBytes(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > 32 {
		return ": " + hex.EncodeToString(b[:32]) + "..."
	}
	return ": " + hex.EncodeToString(b)
}

// from says which address of this machine the kernel took, with a comma before it; empty if it does not tell.
func (c *conn) from() string {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return ""
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return ", from " + netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return ", from " + netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return ""
}

var dnsTypes = map[uint16]string{1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 46: "RRSIG", 48: "DNSKEY", 65: "HTTPS", 255: "ANY"}

// dnsAsked describes a question made by dnsQuestion.
func dnsAsked(q []byte) string {
	name, i := "", 12
	for i < len(q) && q[i] != 0 {
		n := int(q[i])
		if i+1+n > len(q) {
			break
		}
		name += string(q[i+1:i+1+n]) + "."
		i += 1 + n
	}
	if name == "" {
		name = "."
	}
	typ := binary.BigEndian.Uint16(q[len(q)-4:])
	word := dnsTypes[typ]
	if word == "" {
		word = fmt.Sprintf("TYPE%d", typ) // RFC 3597 section 5
	}
	return fmt.Sprintf("%s %s, id %d, %d bytes", name, word, binary.BigEndian.Uint16(q), len(q))
}

// dnsSaw describes the header of a datagram that came as the answer (RFC 1035 section 4.1.1).
func dnsSaw(b []byte) string {
	if len(b) < 12 {
		return fmt.Sprintf("%d bytes%s", len(b), hexBytes(b))
	}
	n := func(i int) uint16 { return binary.BigEndian.Uint16(b[i:]) }
	code := "NOERROR"
	if c := int(b[3] & 0x0f); c >= len(rcodes) {
		code = fmt.Sprintf("code %d", c)
	} else if c > 0 {
		code = rcodes[c]
	}
	var flags []string
	for _, f := range []struct {
		at   int
		bit  byte
		name string
	}{{2, 0x80, "qr"}, {2, 0x04, "aa"}, {2, 0x02, "tc"}, {2, 0x01, "rd"}, {3, 0x80, "ra"}, {3, 0x20, "ad"}} {
		if b[f.at]&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	return fmt.Sprintf("%s, id %d, flags %s, %d bytes: question %d, answer %d, authority %d, additional %d", code, n(0), strings.Join(flags, " "), len(b), n(4), n(6), n(8), n(10))
}
