package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// announced notes that somebody told where an address is, and says so.
func (a *Annotator) announced(f *Frame, ip netip.Addr, m MAC, n *Note, how string) {
	who := n.Src
	for _, r := range a.routers {
		if r.last == nil || !holds(r.last, ip) {
			continue
		}
		r.announced[ip]++
		count, since := r.announced[ip], f.At.Sub(r.took)
		last, before := r.heard[announcer{who, ip}]
		if before || len(r.heard) < maxState {
			r.heard[announcer{who, ip}] = f.At
		}
		burst := before && f.At.Sub(last) < time.Second
		at := m.String()
		if id, is := vmac(m); is {
			at = fmt.Sprintf("the virtual hardware address %s of VRID %d", m, id)
		}
		stranger := r.master != who && r.master != "" && r.resigned.IsZero()
		switch {
		case burst && (stranger || since > 3*time.Second):
			n.say(Routine, "%s announces %s once more.", who, ip)
		case stranger:
			n.say(Alarm, "%s announces %s at %s although %s is master of %s: clients will talk to %s.", who, ip, at, r.master, r.label, who)
		case since > 60*time.Second:
			n.say(Info, "%s announces %s again (%s): whoever had it elsewhere learns %s.", who, ip, how, at)
		case since > 3*time.Second:
			n.say(Info, "%s announces %s again, %s after it took over (number %d, %s), for those who missed it.", who, ip, span(since), count, how)
		case count == 1:
			n.say(Change, "%s announces that %s is at %s (%s): switches learn the port, neighbours replace the entry of the master before. Their frames come here from now on.", who, ip, at, how)
		default:
			n.say(Routine, "%s announces %s for the %s time: a lost frame must not keep a neighbour on the old way.", who, ip, ordinal(count))
		}
		return
	}
	a.names.learn(m, ip)
	n.say(Info, "%s announces that %s is at %s (%s).", who, ip, m, how)
}

func holds(v *VRRP, ip netip.Addr) bool {
	for _, x := range v.Addrs {
		if x == ip {
			return true
		}
	}
	return false
}

func ordinal(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

func (a *Annotator) arp(f *Frame, m *ARP, n *Note) {
	n.Src = a.names.host(f.SrcMAC, ifElse(m.SenderIP.IsUnspecified() || a.names.shared[m.SenderIP], netip.Addr{}, m.SenderIP))
	switch {
	case m.Probe():
		n.say(Info, "%s asks whether anybody has %s already, before it takes it.", n.Src, m.TargetIP)
	case m.Gratuitous():
		a.announced(f, m.SenderIP, m.SenderMAC, n, ifElse(m.Op == 1, "gratuitous ARP request", "gratuitous ARP reply"))
	case m.Op == 1:
		a.names.learn(f.SrcMAC, m.SenderIP)
		n.Src = a.names.host(f.SrcMAC, ifElse(a.names.shared[m.SenderIP], netip.Addr{}, m.SenderIP))
		n.say(Routine, "%s asks who has %s.", n.Src, a.names.addr(m.TargetIP))
	default:
		if a.names.shared[m.SenderIP] {
			n.say(Info, "%s answers that %s is at %s: the frames of %s go there.", n.Src, m.SenderIP, m.SenderMAC, n.receiver())
			return
		}
		a.names.learn(f.SrcMAC, m.SenderIP)
		n.say(Routine, "%s answers that %s is at %s.", n.Src, m.SenderIP, m.SenderMAC)
	}
}

func (a *Annotator) nd(f *Frame, m *ND, n *Note) {
	switch {
	case !m.Advert && f.Src.IsUnspecified():
		n.Src = a.names.host(f.SrcMAC, netip.Addr{})
		n.say(Info, "%s asks whether anybody has %s already (duplicate address detection).", n.Src, m.Target)
	case !m.Advert:
		a.names.learn(f.SrcMAC, f.Src)
		n.say(Routine, "%s asks who has %s.", n.Src, a.names.addr(m.Target))
	case !m.Solicited:
		n.Src = a.names.host(f.SrcMAC, ifElse(a.names.shared[f.Src], netip.Addr{}, f.Src))
		a.announced(f, m.Target, ifElse(m.MAC == (MAC{}), f.SrcMAC, m.MAC), n, "unsolicited neighbour advertisement"+ifElse(m.Override, ", to be believed over what was known", ""))
	default:
		n.say(Routine, "%s answers that %s is here.", n.Src, m.Target)
	}
}

func (a *Annotator) membership(f *Frame, m *Membership, n *Note) {
	if m.Query {
		n.say(Routine, "%s asks who listens to which groups.", n.Src)
		return
	}
	known := func(kind string, g netip.Addr, join bool) {
		what := group(g)
		key := f.SrcMAC.String() + " " + g.String() // a host listens on each of its interfaces for itself
		before, known := a.joined[key]
		left := known && !before
		if len(a.joined) < maxState {
			a.joined[key] = join
		}
		switch {
		case what == "VRRP" && join && before:
			n.say(Routine, "%s says again that it listens to VRRP adverts.", n.Src)
		case what == "VRRP" && join:
			n.say(Info, "%s listens to VRRP adverts from now on (%s of %s): a router has started, as backup unless it owns the address.", n.Src, kind, g)
		case what == "VRRP" && left:
			n.say(Routine, "%s says again that it listens to VRRP adverts no more.", n.Src)
		case what == "VRRP":
			n.say(Info, "%s listens to VRRP adverts no more: its routers stop.", n.Src)
		case what == "the IPVS sync daemon" && join && before:
			n.say(Routine, "%s says again that it listens to connections of the other director.", n.Src)
		case what == "the IPVS sync daemon" && join:
			n.say(Change, "%s listens to the connections of the other director: its sync daemon is a backup.", n.Src)
			n.event(f, n.Src, "IPVS sync", "backup")
		case what == "the IPVS sync daemon" && left:
			n.say(Routine, "%s says again that it stopped listening to connections.", n.Src)
		case what == "the IPVS sync daemon":
			n.say(Change, "%s stops listening to the other director's connections: its sync daemon is no backup any more, it is about to send its own.", n.Src)
			n.event(f, n.Src, "IPVS sync", "master")
		case join:
			n.say(Routine, "%s listens to group %s.", n.Src, g)
		default:
			n.say(Routine, "%s listens to group %s no more.", n.Src, g)
		}
	}
	kind := ifElse(f.Proto == "igmp", "an IGMP report", "an MLD report")
	for _, g := range m.Join {
		known(kind, g, true)
	}
	for _, g := range m.Leave {
		known(kind, g, false)
	}
	if n.Text == "" {
		n.say(Routine, "%s reports no group.", n.Src)
	}
}

func (a *Annotator) sync(f *Frame, s *Sync, n *Note) {
	if len(s.Conns) == 0 {
		n.say(Routine, "%s sends an empty list of connections (id %d).", n.Src, s.ID)
		return
	}
	type entry struct {
		*SyncConn
		states []string
	}
	var conns []*entry // those of one connection together: it may be told of more than once in a datagram
	for i := range s.Conns {
		c := &s.Conns[i]
		at := slices.IndexFunc(conns, func(e *entry) bool {
			return e.Proto == c.Proto && e.Client == c.Client && e.Virtual == c.Virtual && e.Template() == c.Template()
		})
		if at < 0 {
			at = len(conns)
			conns = append(conns, &entry{})
		}
		conns[at].SyncConn = c
		if name := c.StateName(); !slices.Contains(conns[at].states, name) {
			conns[at].states = append(conns[at].states, name)
		}
	}
	n.say(Info, "%s tells the backup director (id %d) of %d connection%s:", n.Src, s.ID, len(conns), plural(len(conns)))
	for i, c := range conns {
		if i == 4 {
			n.Text += fmt.Sprintf(" and %d more", len(conns)-i)
			break
		}
		if i > 0 {
			n.Text += ";"
		}
		if c.Template() {
			n.Text += fmt.Sprintf(" client %s stays with %s", c.Client.Addr(), c.Real)
		} else {
			n.Text += fmt.Sprintf(" %s to %s is served by %s, %s", c.Client, c.Virtual, c.Real, strings.Join(c.states, " then "))
		}
		if s.Version > 0 { // version 0 tells no time
			n.Text += ifElse(c.Template(), " for ", ", kept for ") + span(c.Timeout)
		}
	}
	n.Text += ". Should this director die, the other one goes on with them."
}

func plural(n int) string { return ifElse(n == 1, "", "s") }

// bfdView is one direction of a BFD session.
type bfdView struct {
	state  string
	at     time.Time
	detect time.Duration
	// accepts is the smallest interval at which the sender can receive (its Required Min RX Interval).
	accepts time.Duration
}

func (a *Annotator) bfdPacket(f *Frame, m *BFD, n *Note) {
	key := f.Src.String() + " " + f.Dst.String()
	v := a.bfd[key]
	if v == nil {
		if len(a.bfd) >= maxState {
			return
		}
		v = &bfdView{}
		a.bfd[key] = v
	}
	state := m.State.String()
	since := f.At.Sub(v.at)
	if v.state != state {
		why := ""
		if m.Diag != 0 {
			why = fmt.Sprintf(" (%s)", m.Diag)
		}
		n.say(ifElse(v.state == "", Info, Change), "%s says of its BFD session with %s: %s%s%s.", n.Src, n.Dst, state, why, ifElse(v.state == "", "", ", it was "+v.state))
		n.event(f, n.Src, "BFD "+n.Dst, state)
	} else {
		n.say(Routine, "%s says that the path to %s is %s; it means to send every %s, and %d in a row must be missing to call it dead.", n.Src, n.Dst, state, span(m.DesiredTx), m.DetectMult)
	}
	if m.Poll {
		n.say(Info, "It asks for an answer at once (Poll), because its timers change.")
	}
	if m.Final {
		n.say(Info, "It answers a Poll (Final): the new timers hold.")
	}
	if v.detect > 0 && state == "Up" && since > v.detect {
		n.say(Alarm, "It was silent for %s, longer than the detection time of %s.", span(since), span(v.detect))
	}
	every := m.DesiredTx // RFC 5880, 6.8.4: a slower receiver slows the sender down
	if peer := a.bfd[f.Dst.String()+" "+f.Src.String()]; peer != nil {
		every = max(every, peer.accepts)
	}
	v.state, v.at, v.detect, v.accepts = state, f.At, time.Duration(m.DetectMult)*every, m.RequiredRx
}
