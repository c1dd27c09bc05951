package capture

import (
	"net/netip"
	"strings"
)

// TCP is a segment.
type TCP struct {
	Seq, Ack                uint32
	SYN, ACK, FIN, RST, PSH bool
	Len                     int
}

// Flags are the set flags in words.
func (t *TCP) Flags() string {
	var w []string
	for _, x := range []struct {
		set  bool
		name string
	}{{t.SYN, "SYN"}, {t.FIN, "FIN"}, {t.RST, "RST"}, {t.PSH, "PSH"}, {t.ACK, "ACK"}} {
		if x.set {
			w = append(w, x.name)
		}
	}
	return strings.Join(w, ",")
}

// Text is a line of a protocol that speaks in lines: a request or an answer of HTTP or SMTP.
type Text struct {
	Line string
	// Request tells who speaks: the client or the server.
	Request bool
}

// TLS is a record of TLS: 20 change of cipher, 21 alert, 22 handshake, 23 data.
type TLS struct {
	Content, Handshake uint8
	SNI                string
}

func (d *Decoder) tcp(f *Frame, b []byte) {
	f.Proto = "tcp"
	if len(b) < 20 || int(b[12]>>4)*4 < 20 || int(b[12]>>4)*4 > len(b) {
		f.Fault = "shorter than a TCP header"
		return
	}
	f.SrcPort, f.DstPort = be.Uint16(b), be.Uint16(b[2:])
	t := &TCP{Seq: be.Uint32(b[4:]), Ack: be.Uint32(b[8:]), FIN: b[13]&1 != 0, SYN: b[13]&2 != 0, RST: b[13]&4 != 0, PSH: b[13]&8 != 0, ACK: b[13]&16 != 0}
	f.Payload = b[int(b[12]>>4)*4:]
	t.Len = len(f.Payload) + f.missing
	f.TCP, f.Msg = t, t
	f.add("tcp.srcport", "%d", f.SrcPort)
	f.add("tcp.dstport", "%d", f.DstPort)
	f.add("tcp.seq_raw", "%d", t.Seq)
	f.add("tcp.ack_raw", "%d", t.Ack)
	f.add("tcp.flags", "0x%04x", uint16(b[12]&1)<<8|uint16(b[13]))
	f.add("tcp.len", "%d", t.Len)
	if len(f.Payload) == 0 {
		return
	}
	either := func(ports ...uint16) bool {
		for _, p := range ports {
			if f.SrcPort == p || f.DstPort == p {
				return true
			}
		}
		return false
	}
	p := f.Payload
	src, dst := f.ends()
	switch {
	case either(647, 847):
		d.failover(f, p)
	case len(p) > 5 && p[0] >= 20 && p[0] <= 23 && p[1] == 3:
		f.tls(p)
	case startsHTTP(p):
		line := firstLine(p)
		f.Proto, f.Msg = "http", &Text{line, !strings.HasPrefix(line, "HTTP/")}
		if m := f.Msg.(*Text); m.Request {
			w := strings.Fields(line)
			f.add("http.request.method", "%s", w[0])
			if len(w) > 1 {
				f.add("http.request.uri", "%s", w[1])
			}
			for _, h := range strings.Split(string(p[:min(len(p), 2048)]), "\r\n") {
				if k, v, ok := strings.Cut(h, ": "); ok && (strings.EqualFold(k, "user-agent") || strings.EqualFold(k, "host")) {
					f.add("http."+strings.ToLower(strings.ReplaceAll(k, "-", "_")), "%s", printable(v))
				}
			}
		} else if w := strings.Fields(line); len(w) > 1 {
			f.add("http.response.code", "%s", w[1])
		}
	case either(25, 587), d.smtp[src], d.smtp[dst]:
		f.Proto, f.Msg = "smtp", &Text{firstLine(p), f.DstPort == 25 || f.DstPort == 587 || d.smtp[dst]}
		if w := strings.Fields(firstLine(p)); len(w) > 0 && f.Msg.(*Text).Request {
			f.add("smtp.req.command", "%s", w[0])
		} else if len(w) > 0 {
			f.add("smtp.response.code", "%s", strings.SplitN(w[0], "-", 2)[0])
		}
	}
}

func startsHTTP(p []byte) bool {
	for _, s := range [...]string{"GET ", "HEAD ", "POST ", "PUT ", "HTTP/1."} {
		if len(p) >= len(s) && string(p[:len(s)]) == s {
			return true
		}
	}
	return false
}

// firstLine is the first line of a payload, printable and of bounded length.
func firstLine(p []byte) string {
	p = p[:min(len(p), 300)]
	line, _, _ := strings.Cut(string(p), "\n")
	return printable(strings.TrimSuffix(line, "\r"))
}

// printable leaves out what does not belong on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 {
			return '.'
		}
		return r
	}, s)
}

func (f *Frame) tls(p []byte) {
	t := &TLS{Content: p[0]}
	f.Proto, f.Msg = "tls", t
	f.add("releve.tls.record", "%d", p[0])
	if p[0] != 22 || len(p) < 6 {
		return
	}
	t.Handshake = p[5]
	f.add("tls.handshake.type", "%d", p[5])
	if p[5] == 1 {
		if t.SNI = serverName(p[5:]); t.SNI != "" {
			f.add("tls.handshake.extensions_server_name", "%s", t.SNI)
		}
	}
}

// serverName finds the name that a client asks for (RFC 6066 section 3), empty if it asks for none.
func serverName(p []byte) string {
	skip := func(n int) bool {
		if n > len(p) {
			return false
		}
		p = p[n:]
		return true
	}
	if !skip(4 + 2 + 32) { // header, version, random
		return ""
	}
	if len(p) < 1 || !skip(1+int(p[0])) { // session
		return ""
	}
	if len(p) < 2 || !skip(2+int(be.Uint16(p))) { // ciphers
		return ""
	}
	if len(p) < 1 || !skip(1+int(p[0])+2) { // compression, length of the extensions
		return ""
	}
	for len(p) >= 4 {
		kind, n := be.Uint16(p), int(be.Uint16(p[2:]))
		if 4+n > len(p) {
			return ""
		}
		if e := p[4 : 4+n]; kind == 0 && len(e) > 5 && e[2] == 0 && 5+int(be.Uint16(e[3:])) <= len(e) {
			return printable(string(e[5 : 5+int(be.Uint16(e[3:]))]))
		}
		p = p[4+n:]
	}
	return ""
}

// DNS is the head of a message and its first question.
type DNS struct {
	ID       uint16
	Response bool
	Code     uint8
	Name     string
	Type     uint16
	Answers  uint16
}

func (f *Frame) dns(b []byte) {
	f.Proto = "dns"
	if len(b) < 12 {
		f.Fault = "shorter than a DNS header"
		return
	}
	m := &DNS{ID: be.Uint16(b), Response: b[2]&0x80 != 0, Code: b[3] & 15, Answers: be.Uint16(b[6:])}
	f.Msg = m
	f.add("dns.id", "%#04x", m.ID)
	f.add("dns.flags.response", "%t", m.Response)
	if m.Response {
		f.add("dns.flags.rcode", "%d", m.Code)
	}
	if be.Uint16(b[4:]) == 0 {
		return
	}
	var labels []string
	p := b[12:]
	for {
		if len(p) == 0 || len(p) < 1+int(p[0]) || p[0] > 63 {
			f.Fault = "the name of a question is cut"
			return
		}
		n := int(p[0])
		if n == 0 {
			p = p[1:]
			break
		}
		labels = append(labels, printable(string(p[1:1+n])))
		p = p[1+n:]
	}
	if len(p) < 4 {
		f.Fault = "a question is cut"
		return
	}
	if m.Name = strings.Join(labels, "."); m.Name == "" {
		m.Name = "<Root>"
	}
	m.Type = be.Uint16(p)
	f.add("dns.qry.name", "%s", m.Name)
	f.add("dns.qry.type", "%d", m.Type)
	f.add("dns.count.answers", "%d", m.Answers)
}

// ends are the two ends of a frame with ports.
func (f *Frame) ends() (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(f.Src, f.SrcPort), netip.AddrPortFrom(f.Dst, f.DstPort)
}
