package capture

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"time"
)

// conn is a TCP connection, or an exchange of datagrams, that is being watched. It is found from either end.
type conn struct {
	client, server netip.AddrPort
	began          time.Time
	syn            uint32
	tries          int
	check          *Check
	// shadow is the same connection on the other side of a director that rewrites addresses.
	shadow   bool
	answered bool
	ended    bool
	spoke    bool
	tls      bool
	page     *page
	// quiet says that this is one of many alike.
	quiet bool
}

// pathKey is a client and the moving address that it talks to, path where its frames go.
type pathKey struct {
	client netip.Addr
	server netip.AddrPort
}
type path struct {
	mac MAC
	at  time.Time
}

// page sums the body of an answer as the checker does.
type page struct {
	sum    hash.Hash
	head   []byte
	inBody bool
	next   uint32
	lost   bool
	status string
}

// dnsKey is a question on its way, pingKey an echo request.
type dnsKey struct {
	client netip.AddrPort
	id     uint16
}
type pingKey struct {
	src, dst netip.Addr
	id, seq  uint16
}

// check finds the configured check of a target.
func (a *Annotator) check(target netip.AddrPort, kinds ...string) *Check {
	for _, c := range a.checks[target] {
		if len(kinds) == 0 || slices.Contains(kinds, c.Kind) {
			return c
		}
	}
	return nil
}

func (a *Annotator) end(p netip.AddrPort) string {
	return fmt.Sprintf("%s:%d", ifElse(p.Addr().Is6(), "["+a.names.addr(p.Addr())+"]", a.names.addr(p.Addr())), p.Port())
}

// isVirtual tells whether an end is a virtual server or an address that moves.
func (a *Annotator) isVirtual(p netip.AddrPort) bool {
	return a.virtuals[p] || a.names.shared[p.Addr()]
}

func (a *Annotator) tcp(f *Frame, n *Note) {
	src, dst := f.ends()
	t := f.TCP
	c, toServer := a.flows[flow{src, dst}], true
	if c == nil {
		if c = a.flows[flow{dst, src}]; c != nil {
			toServer = false
		}
	}
	if t.SYN && !t.ACK && (c == nil || c.ended || !toServer) {
		c = a.open(f, src, dst)
		if c == nil {
			n.say(Routine, "%s connects to %s.", n.Src, a.end(dst))
			return
		}
		a.opening(f, n, c)
		return
	}
	if c == nil {
		n.say(Routine, "%s to %s: %s, %d bytes of a connection that began before the capture.", a.end(src), a.end(dst), t.Flags(), t.Len)
		return
	}
	what := "the connection"
	if c.check != nil {
		what = c.check.Kind + " of " + a.end(c.server)
	}
	since := span(f.At.Sub(c.began))
	switch {
	case t.SYN && !t.ACK:
		c.tries++
		n.say(Alarm, "%s knocks at %s again, %s after the first time: nobody answered.", n.Src, a.end(dst), since)
	case t.SYN:
		c.answered = true
		n.say(ifElse(c.check != nil, Info, Routine), "%s accepts, %s after it was asked.", a.end(src), since)
		if c.quiet {
			return
		}
		if c.check != nil && (c.check.Kind == "TCP_CHECK") {
			n.say(Info, "The check passes.")
		}
		if !c.shadow && a.virtuals[src] {
			n.say(Info, "The client sees the virtual address only; which server it is it cannot tell.")
		}
	case t.RST && !toServer && !c.answered:
		c.ended = true
		n.say(ifElse(c.check != nil, Change, Alarm), "%s refuses: nothing listens there.%s", a.end(src), ifElse(c.check != nil, " The check fails at once.", ""))
		if c.check != nil {
			n.event(f, a.names.addr(c.server.Addr()), "check "+c.server.String(), "failed")
		}
	case t.RST || t.FIN && (c.server.Port() == 647 || c.server.Port() == 847):
		if p := c.server.Port(); p == 647 || p == 847 {
			n.say(ifElse(c.ended, Routine, Change), "%s ends: the failover connection is gone, and whoever is left goes into communications-interrupted and serves alone.", a.end(src))
			c.ended = true
			return
		}
		c.ended = true
		n.say(Info, "%s cuts %s off (RST) after %s.", a.end(src), what, since)
	case t.FIN:
		if p := c.page; p != nil && !toServer {
			a.feed(f, c)
			a.verdict(f, n, c)
		}
		first := !c.ended
		c.ended = true
		if n.Text == "" && first {
			n.say(Routine, "%s ends %s after %s.", a.end(src), what, since)
		} else if n.Text == "" {
			n.say(Routine, "%s has nothing more to say either.", a.end(src))
		}
	case t.Len > 0:
		a.data(f, n, c, toServer, what)
	default:
		n.say(Routine, "%s has received it.", a.end(src))
		if c.check != nil && !c.spoke && toServer && c.check.Kind == "TCP_CHECK" {
			n.Text = "The three-way handshake is complete: that is all a TCP_CHECK wants to see."
		}
	}
}

// open notes a new connection.
func (a *Annotator) open(f *Frame, client, server netip.AddrPort) *conn {
	if len(a.flows) >= maxState {
		if f.At.Sub(a.swept).Abs() > time.Second { // not for each one of a flood
			a.swept = f.At
			for k, c := range a.flows {
				if c.ended || f.At.Sub(c.began) > 5*time.Minute {
					delete(a.flows, k)
				}
			}
			for k, c := range a.begun {
				if f.At.Sub(c.began) > time.Second {
					delete(a.begun, k)
				}
			}
		}
		if len(a.flows) >= maxState {
			return nil
		}
	}
	c := &conn{client: client, server: server, began: f.At, syn: f.TCP.Seq, tries: 1}
	a.flows[flow{client, server}] = c
	return c
}

// opening says what a new connection is for.
func (a *Annotator) opening(f *Frame, n *Note, c *conn) {
	// The same client and sequence number towards another server a moment ago: a director has rewritten the destination.
	if o := a.begun[c.client]; o != nil && o.server != c.server && o.syn == c.syn && f.At.Sub(o.began) < 100*time.Millisecond {
		c.shadow, c.quiet = true, o.quiet
		n.say(ifElse(o.quiet, Routine, Info), "The director passes the connection of %s on to %s: the destination was %s, the client's address and port stay as they were. The answer must come back through the director.", a.end(c.client), a.end(c.server), o.server)
		return
	}
	if _, known := a.begun[c.client]; known || len(a.begun) < maxState {
		a.begun[c.client] = c
	}
	c.check = a.check(c.server)
	switch {
	case a.isVirtual(c.server):
		c.check = nil
		if quiet := a.reached(f, n, c); quiet {
			c.quiet = true
			n.say(Routine, "%s opens a connection to %s.", a.end(c.client), c.server)
			return
		}
		n.say(Info, "%s opens a connection to the %s %s.", a.end(c.client), ifElse(a.virtuals[c.server], "virtual server", "floating address"), c.server)
	case c.check != nil:
		n.say(Info, "%s of %s: %s knocks.", c.check.Kind, a.end(c.server), n.Src)
	default:
		n.say(Routine, "%s opens a connection to %s.", a.end(c.client), a.end(c.server))
	}
}

// reached tells whether a client reaches a moving address at the same place as a moment ago; if it is another one, it says so.
func (a *Annotator) reached(f *Frame, n *Note, c *conn) (quiet bool) {
	key := pathKey{c.client.Addr(), c.server}
	last, known := a.paths[key]
	if len(a.paths) < maxState || known {
		a.paths[key] = path{f.DstMAC, f.At}
	}
	if known && last.mac != f.DstMAC {
		n.say(Change, "The frames of %s for %s go to %s now.", n.Src, c.server.Addr(), n.receiver())
		return false
	}
	return known && f.At.Sub(last.at) < 2*time.Second
}

// data is a segment with content.
func (a *Annotator) data(f *Frame, n *Note, c *conn, toServer bool, what string) {
	c.spoke = true
	src, _ := f.ends()
	switch m := f.Msg.(type) {
	case *Text:
		a.text(f, n, c, m, what)
	case *TLS:
		a.record(f, n, c, m, what)
	default:
		if c.page != nil && !toServer {
			a.feed(f, c)
		}
		n.say(Routine, "%s sends %d bytes.", a.end(src), f.TCP.Len)
	}
}

func (a *Annotator) text(f *Frame, n *Note, c *conn, m *Text, what string) {
	src, _ := f.ends()
	agent := f.Get("http.user_agent")
	switch {
	case f.Proto == "http" && m.Request:
		isCheck := c.check != nil || agent == "KeepAliveClient"
		if isCheck {
			n.say(Info, "%s asks %s for a page: %q, and hangs up when it has it.", n.Src, a.end(c.server), m.Line)
			c.page = &page{sum: md5.New()}
		} else {
			n.say(ifElse(c.quiet, Routine, Info), "%s asks %s for a page: %q.", n.Src, a.end(c.server), m.Line)
		}
	case f.Proto == "http":
		if c.page != nil {
			c.page.status = f.Get("http.response.code")
			c.page.next = f.TCP.Seq
			a.feed(f, c)
		}
		code := f.Get("http.response.code")
		bad := len(code) == 3 && code[0] != '2' && c.page != nil
		n.say(ifElse(bad, Change, ifElse(c.quiet, Routine, Info)), "%s answers %q, %s after it was asked first.%s", a.end(src), m.Line, span(f.At.Sub(c.began)), ifElse(bad, " A check without status_code takes only 2xx: it fails.", ""))
	case f.Proto == "smtp" && m.Request:
		n.say(Info, "%s says %q to the mail server.", n.Src, m.Line)
	case f.Proto == "smtp":
		n.say(Info, "The mail server says %q.", m.Line)
	default:
		n.say(Routine, "%s.", what)
	}
}

func (a *Annotator) record(f *Frame, n *Note, c *conn, m *TLS, what string) {
	src, _ := f.ends()
	c.tls = true
	switch {
	case m.Content == 22 && m.Handshake == 1:
		n.say(Info, "%s begins a TLS handshake, %s.", n.Src, ifElse(m.SNI == "", "without naming a host (no SNI)", "and asks for "+m.SNI+" (SNI)"))
	case m.Content == 22 && m.Handshake == 2:
		n.say(Info, "%s answers the TLS handshake.", a.end(src))
	case m.Content == 21:
		n.say(Info, "%s sends a TLS alert: the end, or a complaint.", a.end(src))
	case m.Content == 23:
		n.say(Routine, "%s sends %d bytes that only the two can read.", a.end(src), f.TCP.Len)
	default:
		n.say(Routine, "The TLS handshake goes on.")
	}
}

// feed adds a segment of an answer to the sum of the page.
func (a *Annotator) feed(f *Frame, c *conn) {
	p := c.page
	if p.lost || f.TCP.Len == 0 {
		return
	}
	if f.TCP.Seq != p.next || len(f.Payload) != f.TCP.Len || len(f.Data) < f.Len {
		p.lost = f.TCP.Seq != p.next && int32(f.TCP.Seq-p.next) > 0 || len(f.Data) < f.Len
		return
	}
	p.next += uint32(f.TCP.Len)
	b := f.Payload
	if !p.inBody {
		p.head = append(p.head, b...)
		at := indexHead(p.head)
		if at < 0 {
			p.lost = len(p.head) > 1<<14
			return
		}
		b, p.inBody = p.head[at:], true
		p.head = nil
	}
	p.sum.Write(b)
}

// indexHead is where the body of an answer begins, -1 if its head has not ended.
func indexHead(b []byte) int {
	for i := 3; i < len(b); i++ {
		if b[i] == '\n' && b[i-1] == '\r' && b[i-2] == '\n' && b[i-3] == '\r' {
			return i + 1
		}
	}
	return -1
}

// verdict says what the checker makes of a page.
func (a *Annotator) verdict(f *Frame, n *Note, c *conn) {
	p := c.page
	c.page = nil
	if !p.inBody || p.lost {
		return
	}
	got := hex.EncodeToString(p.sum.Sum(nil))
	switch {
	case c.check == nil || c.check.Digest == "":
		n.say(Info, "The page is complete; its digest is %s.", got)
	case c.check.Digest == got:
		n.say(Info, "The page is complete and its digest is %s, as configured: the check passes.", got)
	default:
		n.say(Change, "The page is complete but its digest is %s, and %s is configured: the check fails, though the server answers.", got, c.check.Digest)
		n.event(f, a.names.addr(c.server.Addr()), "check "+c.server.String(), "failed")
	}
}

func (a *Annotator) dnsMessage(f *Frame, m *DNS, n *Note) {
	src, dst := f.ends()
	if !m.Response {
		if len(a.dns) < maxState {
			a.dns[dnsKey{src, m.ID}] = f.At
		}
		n.say(ifElse(a.check(dst, "DNS_CHECK") != nil, Info, Routine), "%s%s asks %s for %s (%s).", ifElse(a.check(dst, "DNS_CHECK") != nil, "DNS_CHECK: ", ""), n.Src, a.end(dst), m.Name, recordName(m.Type))
		return
	}
	k := dnsKey{dst, m.ID}
	asked, ok := a.dns[k]
	delete(a.dns, k)
	n.say(ifElse(a.check(src, "DNS_CHECK") != nil, Info, Routine), "%s answers with code %d and %d records%s.", a.end(src), m.Code, m.Answers, ifElse(ok, " after "+span(f.At.Sub(asked)), ""))
	if a.check(src, "DNS_CHECK") != nil {
		n.say(Info, "%s", ifElse(m.Code == 0, "The check passes.", "The check fails."))
	}
}

func (a *Annotator) udp(f *Frame, n *Note) {
	src, dst := f.ends()
	switch {
	case a.check(dst, "UDP_CHECK") != nil:
		n.say(Info, "UDP_CHECK of %s: %s sends %d bytes; silence is success unless an answer is required, an ICMP error is failure.", a.end(dst), n.Src, len(f.Payload))
	case a.check(src, "UDP_CHECK") != nil:
		n.say(Info, "%s answers the UDP_CHECK with %d bytes.", a.end(src), len(f.Payload))
	default:
		n.say(Routine, "%s sends %d bytes to %s.", a.end(src), len(f.Payload), a.end(dst))
	}
}

func (a *Annotator) icmp(f *Frame, m *ICMP, n *Note) {
	switch {
	case m.Request():
		if len(a.pings) < maxState {
			a.pings[pingKey{f.Src, f.Dst, m.ID, m.Seq}] = f.At
		}
		isCheck := a.pinged[f.Dst]
		n.say(ifElse(isCheck, Info, Routine), "%s%s asks %s for an echo, number %d.", ifElse(isCheck, "PING_CHECK: ", ""), n.Src, a.names.addr(f.Dst), m.Seq)
	case m.Reply():
		k := pingKey{f.Dst, f.Src, m.ID, m.Seq}
		asked, ok := a.pings[k]
		delete(a.pings, k)
		n.say(ifElse(a.pinged[f.Src], Info, Routine), "%s answers the echo%s: the host is alive, which says nothing of its services.", a.names.addr(f.Src), ifElse(ok, " after "+span(f.At.Sub(asked)), ""))
	case m.Unreachable() && m.About != nil && m.About.Proto != "":
		to := netip.AddrPortFrom(m.About.Dst, m.About.DstPort)
		c := a.check(to)
		virtual := a.isVirtual(to)
		why := "cannot be reached"
		if m.Port() {
			why = "is closed"
		}
		n.say(ifElse(c != nil || virtual, Change, Info), "%s tells %s that %s %s.", n.Src, n.receiver(), a.end(to), why)
		switch {
		case virtual && m.Port():
			n.say(Change, "The virtual server has no real server left: the client is refused at once.")
		case c != nil:
			n.say(Change, "The check fails at once.")
			n.event(f, a.names.addr(to.Addr()), "check "+to.String(), "failed")
		}
	case m.Unreachable():
		n.say(Info, "%s tells %s that a destination cannot be reached.", n.Src, n.receiver())
	case m.V6 && m.Type == 133:
		n.say(Routine, "%s asks whether there is a router.", n.Src)
	default:
		n.say(Routine, "ICMP type %d of %s.", m.Type, n.Src)
	}
}

// recordName is the name of a DNS record type.
func recordName(t uint16) string {
	switch t {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 5:
		return "CNAME"
	case 6:
		return "SOA"
	case 12:
		return "PTR"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 28:
		return "AAAA"
	case 33:
		return "SRV"
	}
	return fmt.Sprintf("type %d", t)
}
