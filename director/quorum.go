package director

import (
	"fmt"
	"slices"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
)

// maxWeight is the largest weight IPVS is given by the reference's configuration (0..65535).
const maxWeight = 65535

// pool decides for one virtual server which destinations its services should have. It is pure: each event returns the actions to
// do, in the order of the reference. It is not safe for concurrent use.
type pool struct {
	vs  *VirtualServer
	rs  []*member
	opt poolOptions
	id  string // see identity
	// nth counts virtual servers of the same identity before it.
	nth int
	// mark stands for all addresses of the group (nftables_ipvs), zero: each address is a service.
	mark uint32
	// up is the quorum; "down" is assumed before the start.
	up bool
	// sorry is set while the sorry server stands in for the real servers.
	sorry bool
	// suspended is set while ha_suspend keeps the checkers quiet.
	suspended bool
	// now is the time of the event at hand, set by the owner or taken from the verdict; since is when the quorum was gained or lost last.
	now, since time.Time
}

// poolOptions are the global settings that matter to a pool.
type poolOptions struct {
	// rsInitNotifies is rs_init_notifies, noCheckerMails is no_checker_emails.
	rsInitNotifies, noCheckerMails bool
}

// member is a real server with what its checkers said.
type member struct {
	cfg    *RealServer
	checks []*checkState
	failed int // checkers that are down
	alive  bool
	// weight is the effective one: configured plus the differences of its checkers, 0 to maxWeight.
	weight int
	// told is set once notify_up or notify_down ran for the server.
	told bool
	// since is when the server went up or down, or was first seen.
	since time.Time
}

// action is one thing to do. Exactly one of the three is set.
type action struct {
	// table: dests is what every service of the virtual server should hold from now on.
	table bool
	dests []ipvs.Dest
	log   string
	rs    string // attribute of log
	event *Event
}

func newPool(vs *VirtualServer, o poolOptions) *pool {
	p := &pool{vs: vs, opt: o, rs: make([]*member, len(vs.RealServers))}
	n := 0
	for _, r := range vs.RealServers {
		n += len(r.Checkers)
	}
	members, checks, refs := make([]member, len(p.rs)), make([]checkState, n), make([]*checkState, n)
	n = 0
	for i, r := range vs.RealServers {
		m := &members[i]
		m.cfg = r
		begin := n
		for _, c := range r.Checkers {
			checks[n].cfg, checks[n].up = c, !c.Alpha
			refs[n] = &checks[n]
			n++
		}
		m.checks = refs[begin:n:n]
		p.rs[i] = m
		m.settle()
	}
	return p
}

// settle computes from the checkers what follows for the server.
func (m *member) settle() {
	m.failed = 0
	for _, c := range m.checks {
		if !c.up {
			m.failed++
		}
	}
	m.alive = m.failed == 0
	m.weight = m.effective()
}

func (m *member) effective() int {
	w := m.cfg.Weight
	for _, c := range m.checks {
		if c.absolute {
			w -= m.cfg.Weight
		}
		w += c.diff
	}
	return max(0, min(w, maxWeight))
}

// assume overrides what is taken for granted before the first verdict: the servers known to be in or out because a predecessor
// left them so. A server without checkers is always in.
func (p *pool) assume(i int, up bool) {
	m := p.rs[i]
	for _, c := range m.checks {
		c.up = up
	}
	m.settle()
}

// liveWeight is the sum of the current weights of the live servers.
func (p *pool) liveWeight() int {
	n := 0
	for _, m := range p.rs {
		if m.alive {
			n += m.weight
		}
	}
	return n
}

// start is the beginning of a new virtual server: at the start of the daemon or added by a reload.
func (p *pool) start() []action {
	p.since = p.now
	for _, m := range p.rs {
		m.since = p.now
	}
	out := []action{p.table()}
	if p.opt.rsInitNotifies {
		for _, m := range p.rs {
			if m.alive {
				out = append(out, p.rsEvent(m, true, ""))
			}
		}
	}
	return append(out, p.quorum(true)...)
}

// result takes a checker's verdict. Verdicts of unknown checkers change nothing.
func (p *pool) result(i, j int, r healthcheck.Result) []action {
	m := p.rs[i]
	c := m.checks[j]
	p.now = r.At
	first := !c.ran
	was := c.up
	c.ran, c.up, c.reason, c.at, c.latency = true, r.Up, r.Reason, r.At, r.Latency
	var out []action
	if was != r.Up {
		c.changes++
	}
	if r.HasWeight {
		c.diff, c.absolute = max(-maxWeight, min(r.Weight, maxWeight)), r.Absolute
	}
	weighed := m.weight
	m.weight = m.effective()
	m.failed = 0
	for _, c := range m.checks {
		if !c.up {
			m.failed++
		}
	}
	alive := m.failed == 0
	if was != r.Up && (alive != m.alive || !p.opt.noCheckerMails) {
		out = append(out, p.checkerMail(m, c, r)...)
	}
	if weighed != m.weight {
		out = append(out, p.weightLog(m, weighed))
	}
	switch {
	case alive && !m.alive:
		out = append(out, p.serverUp(m, r.Reason)...)
	case !alive && m.alive:
		out = append(out, p.serverDown(m, r.Reason)...)
	case alive && weighed != m.weight:
		out = append(append(out, p.table()), p.quorum(false)...)
	case !alive && first && !r.Up && c.cfg.Alpha && !m.told && tellsFirstFailure(c.cfg.Type):
		// The reference reports a server under alpha as down at its first failure although it never was up, with some checkers only.
		out = append(out, p.rsEvent(m, false, r.Reason))
	}
	return out
}

func (p *pool) weightLog(m *member, was int) action {
	kind := "active"
	if !m.alive {
		kind = "inactive"
	}
	return logf(m, "Changing weight from %d to %d for %s service %s of VS %s", was, m.weight, kind, m.cfg.Name, p.vs.Name)
}

func tellsFirstFailure(t healthcheck.Type) bool {
	switch t {
	case healthcheck.TypeTCP, healthcheck.TypeUDP, healthcheck.TypePing, healthcheck.TypeSMTP, healthcheck.TypeDNS:
		return true
	}
	return false
}

func (p *pool) serverUp(m *member, reason string) []action {
	m.alive, m.since = true, p.now
	format := "Adding service %s to VS %s"
	if m.cfg.Inhibit {
		format = "Enabling service %s of VS %s"
	}
	out := []action{logf(m, format, m.cfg.Name, p.vs.Name)}
	if !p.sorry {
		out = append(out, p.table())
	}
	out = append(out, p.rsEvent(m, true, reason))
	return append(out, p.quorum(false)...)
}

func (p *pool) serverDown(m *member, reason string) []action {
	m.alive, m.since = false, p.now
	format := "Removing service %s from VS %s"
	if m.cfg.Inhibit {
		format = "Disabling service %s of VS %s"
	}
	out := []action{logf(m, format, m.cfg.Name, p.vs.Name)}
	if !p.sorry {
		out = append(out, p.table())
	}
	out = append(out, p.rsEvent(m, false, reason))
	return append(out, p.quorum(false)...)
}

// quorum compares the live weight with the limits. At the start a virtual server that is below them and has a sorry server says
// so; without a sorry server it stays silent, as the reference.
func (p *pool) quorum(starting bool) []action {
	n, q, h := p.liveWeight(), p.vs.Quorum, p.vs.Hysteresis
	s := p.vs.Sorry
	switch {
	case !p.up && n >= q+h && n > 0:
		p.up, p.since = true, p.now
		out := []action{p.vsLog("Gained quorum %d+%d=%d <= %d for VS %s", q, h, q+h, n, p.vs.Name)}
		if p.sorry {
			word := "Removing"
			if p.vs.SorryInhibit {
				word = "Disabling"
			}
			out = append(out, p.vsLog("%s sorry server %s from VS %s", word, s.Name, p.vs.Name))
			out = append(out, action{table: true, dests: p.dests(false, false)})
			p.sorry = false
			out = append(out, p.vsLog("Adding alive servers to the pool for VS %s", p.vs.Name), p.table())
		}
		word := "Gained quorum"
		if starting {
			word = "Starting with quorum up"
		}
		return append(out, p.vsEvent(true, quorumBody(word, q, h, q+h, n)))

	case p.up && (n == 0 || n < q-h), starting && !p.up && s != nil && !p.sorry:
		p.up, p.since = false, p.now
		word, limit := "Lost quorum", q-h
		if starting {
			word, limit = "Starting with quorum down", q+h
		}
		out := []action{p.vsLog("%s %d-%d=%d > %d for VS %s", word, q, h, q-h, n, p.vs.Name)}
		if s != nil {
			verb := "Adding"
			if p.vs.SorryInhibit {
				verb = "Enabling"
			}
			out = append(out,
				p.vsLog("%s sorry server %s to VS %s", verb, s.Name, p.vs.Name),
				p.vsLog("Removing alive servers from the pool for VS %s", p.vs.Name),
				action{table: true, dests: p.dests(false, false)})
			p.sorry = true
			out = append(out, p.table())
		}
		return append(out, p.vsEvent(false, quorumBody(word, q, h, limit, n)))
	}
	return nil
}

// quorumBody is the text of the reference's mails: written with the same signs whether quorum was gained or lost, with the limit that
// counts.
func quorumBody(word string, q, h, limit, n int) string {
	return fmt.Sprintf("%s %d+%d=%d <= %d", word, q, h, limit, n)
}

// table is the step to the present state.
func (p *pool) table() action { return action{table: true, dests: p.dests(!p.sorry, p.sorry)} }

// dests is the wanted content in the order of the file: live servers in or out of the pool, sorry server serving or not.
func (p *pool) dests(pool, sorry bool) []ipvs.Dest {
	out := make([]ipvs.Dest, 0, len(p.rs)+1)
	s := p.vs.Sorry
	for _, m := range p.rs {
		if sorry && s.Addr == m.cfg.Addr {
			continue // the same server stands in as sorry server
		}
		switch {
		case m.alive && pool:
			out = append(out, m.cfg.dest(m.weight))
		case m.cfg.Inhibit:
			out = append(out, m.cfg.dest(0))
		}
	}
	if s == nil || !sorry && !p.vs.SorryInhibit {
		return out
	}
	w := 0
	if sorry {
		w = 1
	}
	for i := range out {
		if out[i].Addr == s.Addr.Addr() && out[i].Port == s.Addr.Port() {
			return out
		}
	}
	return append(out, s.dest(w))
}

func (r *RealServer) dest(weight int) ipvs.Dest {
	return ipvs.Dest{
		DestKey: ipvs.DestKey{Addr: r.Addr.Addr(), Port: r.Addr.Port()},
		Forward: r.Forward, TunnelType: r.TunnelType, TunnelPort: r.TunnelPort, TunnelFlags: r.TunnelFlags,
		Weight: weight, Upper: r.Upper, Lower: r.Lower,
	}
}

// stop is the end of the daemon. Only with omega does anybody hear of it.
func (p *pool) stop() []action { return p.leave(stopping, p.vs.Omega) }

// stopping begins the log lines of the stop.
const stopping = "Shutting down"

// remove is the end of a virtual server that the new configuration does not have.
func (p *pool) remove() []action { return p.leave("Removing", true) }

func (p *pool) leave(why string, tell bool) []action {
	var out []action
	for _, m := range p.rs {
		out = append(out, p.goneLog(m, why))
		if m.alive && tell {
			out = append(out, p.goneEvent(m, why))
		}
	}
	if tell && (p.up || p.vs.Omega && why == stopping) { // omega: what quorum_down undoes is undone, whether the quorum was there or not
		e := p.vsEvent(false, why)
		e.event.Mail = e.event.Mail && p.up
		p.up = false
		out = append(out, e)
	}
	return out
}

// reload carries over what old knew of the same servers and checkers, and returns what follows: nothing at all where nothing
// changed. A failed server stays failed until a checker says otherwise, a live one does not flap; only a server that is new
// starts as its alpha says.
func (p *pool) reload(old *pool) []action {
	p.up, p.sorry, p.suspended, p.since = old.up, old.sorry, old.suspended, old.since
	if p.vs.Sorry == nil {
		p.sorry = false
	}
	var out, gone, weighed []action
	kept := make([]bool, len(old.rs))
	for i, m := range p.rs {
		k := old.index(m, i)
		m.since = p.now
		if k < 0 {
			if p.opt.rsInitNotifies && m.alive {
				gone = append(gone, p.rsEvent(m, true, ""))
			}
			continue
		}
		kept[k] = true
		m.carry(old.rs[k])
		if was := old.rs[k].weight; was != m.weight {
			weighed = append(weighed, p.weightLog(m, was))
		}
	}
	for k, o := range old.rs {
		if kept[k] {
			continue
		}
		out = append(out, logf(o, "service %s no longer exist", o.cfg.Name))
		if o.alive || o.cfg.Inhibit {
			out = append(out, old.goneLog(o, "Removing"))
		}
		if o.alive {
			gone = append(gone, old.goneEvent(o, "Removing"))
		}
	}
	if s := p.vs.Sorry; s != nil && !p.up && !p.sorry && p.liveWeight() < p.vs.Quorum+p.vs.Hysteresis {
		p.sorry = true // a sorry server was added while it is needed; the quorum itself did not change
		out = append(out, p.vsLog("Adding sorry server %s to VS %s", s.Name, p.vs.Name))
	}
	out = append(append(out, weighed...), p.table())
	out = append(out, gone...)
	return append(out, p.quorum(false)...)
}

// index is where p has the same server as m, -1 if it has none; guess is where it probably stands.
func (p *pool) index(m *member, guess int) int {
	if guess < len(p.rs) && p.rs[guess].cfg.Addr == m.cfg.Addr {
		return guess
	}
	return slices.IndexFunc(p.rs, func(o *member) bool { return o.cfg.Addr == m.cfg.Addr })
}

// carry takes the verdicts of the same checkers of o. Checkers that are new or changed begin with what the server was.
func (m *member) carry(o *member) {
	m.told, m.since = o.told, o.since
	if len(m.checks)+len(o.checks) == 0 {
		m.settle()
		return
	}
	used := make([]bool, len(o.checks))
	match := func(c *checkState, ok func(a, b *healthcheck.Config) bool) bool {
		for k, oc := range o.checks {
			if !used[k] && ok(oc.cfg, c.cfg) {
				used[k] = true
				cfg := c.cfg
				*c = *oc
				c.cfg, oc.next = cfg, c
				return true
			}
		}
		return false
	}
	var fresh []*checkState
	for _, c := range m.checks {
		if !match(c, healthcheck.Same) {
			fresh = append(fresh, c)
		}
	}
	// What failed and is gone or changed: its successors must prove themselves.
	lostFailure := false
	for k, oc := range o.checks {
		if !used[k] && !oc.up {
			lostFailure = true
		}
	}
	for _, c := range fresh {
		c.up = !lostFailure
	}
	m.settle()
}

func (p *pool) rsEvent(m *member, up bool, reason string) action {
	m.told = true
	e := &Event{Kind: RealServerEvent, VS: p.vs.Name, RS: m.cfg.Name, Up: up, Script: m.cfg.NotifyDown, Fifo: true, Reason: reason}
	if up {
		e.Script = m.cfg.NotifyUp
	}
	return action{event: e}
}

// goneLog names a server that leaves for good; one that stayed in with weight 0 is called inhibited.
func (p *pool) goneLog(m *member, why string) action {
	inhibited := ""
	if m.cfg.Inhibit && !m.alive {
		inhibited = "(inhibited) "
	}
	return action{log: why + " " + inhibited + "service " + m.cfg.Name + " from VS " + p.vs.Name, rs: m.cfg.Name}
}

func (p *pool) goneEvent(m *member, why string) action {
	a := p.rsEvent(m, false, "")
	a.event.Mail, a.event.Body = m.cfg.SMTPAlert, why
	return a
}

func (p *pool) checkerMail(m *member, c *checkState, r healthcheck.Result) []action {
	if !m.cfg.SMTPAlert || c.cfg.Type == healthcheck.TypeFile { // nobody is written to about a file
		return nil
	}
	return []action{{event: &Event{Kind: CheckerEvent, VS: p.vs.Name, RS: m.cfg.Name, Up: r.Up, Mail: true, Body: mailBody(c.cfg, r.Up),
		Reason: r.Reason}}}
}

func (p *pool) vsEvent(up bool, body string) action {
	e := &Event{Kind: VirtualServerEvent, VS: p.vs.Name, Up: up, Script: p.vs.QuorumDown, Fifo: true, Mail: p.vs.SMTPAlert, Body: body}
	if up {
		e.Script = p.vs.QuorumUp
	}
	return action{event: e}
}

func logf(m *member, format string, args ...any) action {
	return action{log: fmt.Sprintf(format, args...), rs: m.cfg.Name}
}

func (p *pool) vsLog(format string, args ...any) action {
	return action{log: fmt.Sprintf(format, args...)}
}
