package capture

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// routerKey names a virtual router: the same VRID may serve on several links, with other addresses.
type routerKey struct {
	vrid  uint8
	v6    bool
	first netip.Addr
}

// router is a virtual router as seen from the wire.
type router struct {
	routerKey
	label string
	know  []Instance
	last  *VRRP
	// master sent the last advert, at at; resigned is when it said farewell, zero if it did not.
	master   string
	at       time.Time
	resigned time.Time
	others   map[string]*speaker
	// rival is another host that was master in the present interval, since is when both began.
	rival string
	since time.Time
	// told says that the silence of the master has been said already.
	told bool
	// before is the master that gave way to the present one.
	before string
	// took is when the master took over; announced counts its announcements since, by address.
	took      time.Time
	announced map[netip.Addr]int
	// heard is when each host last announced an address.
	heard map[announcer]time.Time
}

// announcer is a host and an address that it says is there.
type announcer struct {
	who string
	ip  netip.Addr
}

// speaker is a host that sent adverts.
type speaker struct {
	priority uint8
	at       time.Time
}

func (a *Annotator) router(f *Frame, v *VRRP) *router {
	k := routerKey{vrid: v.VRID, v6: v.V6}
	if len(v.Addrs) > 0 {
		k.first = v.Addrs[0]
	}
	r := a.routers[k]
	if r != nil || len(a.routers) >= maxState {
		return r
	}
	r = &router{routerKey: k, label: fmt.Sprintf("VRID %d", v.VRID), others: map[string]*speaker{}, announced: map[netip.Addr]int{}, heard: map[announcer]time.Time{}}
	for _, i := range a.know.Instances {
		if i.VRID == v.VRID && i.V6 == v.V6 {
			r.know = append(r.know, i)
			if i.Name != "" {
				r.label = fmt.Sprintf("%s (VRID %d)", i.Name, v.VRID)
			}
		}
	}
	a.routers[k] = r
	for _, x := range v.Addrs {
		a.names.virtual(x)
	}
	return r
}

// adverts is how many adverts a host waits for.
func (r *router) adverts(host string) int {
	for _, i := range r.know {
		if i.DownAdverts > 0 && (i.Host == host || i.Host == "") {
			return i.DownAdverts
		}
	}
	return 3
}

// heir is who takes over if host falls silent: the router with the highest priority of those known, and that priority.
func (r *router) heir(host string) (string, uint8) {
	best, prio := "", uint8(0)
	for name, s := range r.others {
		if name != host && (s.priority > prio || s.priority == prio && name < best) {
			best, prio = name, s.priority
		}
	}
	for _, i := range r.know {
		if i.Host != "" && i.Host != host && r.others[i.Host] == nil && i.Priority > prio {
			best, prio = i.Host, i.Priority
		}
	}
	return best, prio
}

func addrList(all []netip.Addr) string {
	var w []string
	for _, x := range all {
		w = append(w, x.String())
	}
	if len(w) > 4 {
		w = append(w[:3], fmt.Sprintf("%d more", len(w)-3))
	}
	return strings.Join(w, ", ")
}

func (a *Annotator) vrrp(f *Frame, v *VRRP, n *Note) {
	r := a.router(f, v)
	if r == nil {
		n.say(Routine, "An advert for VRID %d", v.VRID)
		return
	}
	who := n.Src
	a.oddities(f, v, n)
	defer func() {
		r.last, r.told = v, false
		if at, ok := r.patience(); ok && at.Before(a.overdue) {
			a.overdue = at
		}
		if v.Priority > 0 {
			s := r.others[who]
			if s == nil && len(r.others) < 64 {
				s = &speaker{}
				r.others[who] = s
			}
			if s != nil {
				s.priority, s.at = v.Priority, f.At
			}
		}
	}()
	if v.Priority == 0 {
		r.farewell(f, v, n, who)
		return
	}
	since := f.At.Sub(r.at)
	switch {
	case r.master == "":
		n.say(Change, "%s is master of %s with priority %d and holds %s; it says so every %s. Who hears it stays backup.", who, r.label, v.Priority, addrList(v.Addrs), span(v.Interval))
		a.becomes(f, n, r, who, "")
	case r.master == who && !r.resigned.IsZero():
		n.say(Change, "%s is master of %s again, %s after it resigned.", who, r.label, span(since))
		a.becomes(f, n, r, who, "")
	case r.master == who:
		a.goesOn(f, v, n, r, who, since)
	case !r.resigned.IsZero():
		n.say(Change, "%s takes over %s, %s after %s resigned: its skew time is %s with priority %d.", who, r.label, span(f.At.Sub(r.resigned)), r.master, span(v.Skew(v.Priority)), v.Priority)
		a.becomes(f, n, r, who, "")
	default:
		a.challenged(f, v, n, r, who, since)
	}
	if r.master == who {
		r.at = f.At
	}
	if how := v.secured(); r.last == nil && how != "" || r.last != nil && r.last.secured() != how {
		n.say(Info, "It is %s.", cmp.Or(how, "not authenticated any more"))
	}
}

// secured is how an advert is authenticated, empty if it is not.
func (v *VRRP) secured() string {
	switch {
	case v.Signed:
		return fmt.Sprintf("signed with key %d (auth_hmac)", v.KeyID)
	case v.Sealed:
		return "inside an IPsec authentication header (auth_type AH)"
	case v.Password:
		return "sent with a password, which everybody on this link can read"
	}
	return ""
}

// oddities are what is wrong with an advert whoever sends it.
func (a *Annotator) oddities(f *Frame, v *VRRP, n *Note) {
	if f.TTL != 255 {
		n.say(Alarm, "Its TTL is %d, not 255: it came through a router or was forged, and receivers drop it.", f.TTL)
	}
	if !v.ChecksumGood {
		n.say(Alarm, "Its checksum is wrong: receivers drop it.")
	}
	for k, o := range a.routers {
		if k.vrid == v.VRID && k.v6 == v.V6 && len(v.Addrs) > 0 && k.first != v.Addrs[0] && o.last != nil && f.At.Sub(o.at) < 2*o.last.Interval && sameNet(f.Src, o.last, v) {
			n.say(Alarm, "VRID %d serves %s on this link too: two virtual routers share a number.", v.VRID, k.first)
		}
	}
}

// sameNet guesses whether two adverts are of one link: their addresses are of one network.
func sameNet(src netip.Addr, x, y *VRRP) bool {
	bits := 24
	if src.Is6() {
		bits = 64
	}
	if len(x.Addrs) == 0 || len(y.Addrs) == 0 {
		return false
	}
	p, err := x.Addrs[0].Prefix(bits)
	return err == nil && p.Contains(y.Addrs[0])
}

func (r *router) farewell(f *Frame, v *VRRP, n *Note, who string) {
	again := r.master == who && !r.resigned.IsZero()
	heir, prio := r.heir(who)
	switch {
	case again:
		n.say(Info, "%s resigns %s once more.", who, r.label)
		return
	case heir != "":
		n.say(Change, "%s resigns %s (priority 0): %s takes over after skew %s, not after %s.", who, r.label, heir, span(v.Skew(prio)), span(v.Down(prio, r.adverts(heir))))
	default:
		n.say(Change, "%s resigns %s (priority 0): a backup takes over after its skew time, (256 - priority)/256 of %s, instead of waiting three adverts more.", who, r.label,
			span(ifElse(v.Version == 2, time.Second, v.Interval)))
	}
	n.event(f, who, r.label, "gone")
	delete(r.others, who)
	if r.master == who || r.master == "" {
		r.master, r.resigned, r.at = who, f.At, f.At
	}
	if r.rival == who {
		r.rival = ""
	}
}

func ifElse[T any](c bool, x, y T) T {
	if c {
		return x
	}
	return y
}

// goesOn is a further advert of the master.
func (a *Annotator) goesOn(f *Frame, v *VRRP, n *Note, r *router, who string, since time.Duration) {
	if r.rival != "" {
		if s := r.others[r.rival]; s != nil && f.At.Sub(s.at) < v.Interval*3/2 {
			n.say(Alarm, "%s goes on as master of %s beside %s: each believes the other is dead.", who, r.label, r.rival)
			return
		}
		n.say(Change, "%s is the only master of %s again.", who, r.label)
		n.event(f, r.rival, r.label, "BACKUP")
		r.healed(a, f)
	}
	old := r.others[who]
	switch {
	case old != nil && old.priority > v.Priority:
		heir, prio := r.heir(who)
		if heir != "" && prio > v.Priority {
			n.say(Change, "The priority of %s fell from %d to %d, below %s (%d), which takes over as soon as it hears this, unless it must not preempt.", who, old.priority, v.Priority, heir, prio)
		} else {
			n.say(Info, "The priority of %s fell from %d to %d; nobody known is above that.", who, old.priority, v.Priority)
		}
	case old != nil && old.priority < v.Priority:
		n.say(Info, "The priority of %s rose from %d to %d.", who, old.priority, v.Priority)
	}
	switch {
	case r.last != nil && r.last.Interval != v.Interval:
		n.say(Change, "The interval of %s is %s now, it was %s.", r.label, span(v.Interval), span(r.last.Interval))
	case r.last != nil && !slices.Equal(r.last.Addrs, v.Addrs):
		n.say(Change, "%s has other addresses now: %s.", r.label, addrList(v.Addrs))
		for _, x := range v.Addrs {
			a.names.virtual(x)
		}
	case since > v.Interval*3/2+50*time.Millisecond:
		heir, prio := r.heir(who)
		n.say(Alarm, "%s is back after %s of silence, which should have been %s.", who, span(since), span(v.Interval))
		if heir != "" && since > v.Down(prio, r.adverts(heir)) {
			n.say(Alarm, "%s should have taken over after %s.", heir, span(v.Down(prio, r.adverts(heir))))
		}
	case n.Text == "" && since < v.Interval/2:
		n.say(Info, "%s repeats itself %s after the last advert of %s: something asked for it.", who, span(since), r.label)
	case n.Text == "":
		heir, prio := r.heir(who)
		n.say(Routine, "%s is alive and master of %s, priority %d", who, r.label, v.Priority)
		if heir != "" {
			n.Text += fmt.Sprintf("; without another one %s takes over in %s", heir, span(v.Down(prio, r.adverts(heir))))
		}
		n.Text += "."
	}
}

// challenged is an advert of somebody else than the master.
func (a *Annotator) challenged(f *Frame, v *VRRP, n *Note, r *router, who string, since time.Duration) {
	old := r.master
	prio := uint8(0)
	if s := r.others[old]; s != nil {
		prio = s.priority
	}
	down := v.Down(v.Priority, r.adverts(who))
	src := n.Src
	switch {
	case who == r.before && prio > v.Priority && f.At.Sub(r.took) < v.Interval/2 && r.rival == "":
		n.say(Change, "%s sends a last advert of %s, with a priority below that of %s, so that %s hears of it and announces the addresses again.", who, r.label, old, old)
		r.before = ""
	case r.rival == who && since < down-v.Interval/4:
		n.say(Alarm, "%s goes on as master of %s beside %s: each believes the other is dead.", who, r.label, old)
	case since >= down-v.Interval/4:
		n.say(Change, "%s takes over %s after %s without an advert of %s: it waits %s, which is %d × %s and the skew of %s for priority %d.", who, r.label, span(since), old, span(down),
			r.adverts(who), span(v.Interval), span(v.Skew(v.Priority)), v.Priority)
		a.becomes(f, n, r, who, old)
	case v.Priority > prio || v.Priority == prio && src > old:
		n.say(Change, "%s preempts %s as master of %s: its priority is %d, not %d. %s goes back to backup and drops %s.", who, old, r.label, v.Priority, prio, old, addrList(v.Addrs))
		a.becomes(f, n, r, who, old)
	default:
		n.say(Alarm, "%s is master of %s too, with priority %d below the %d of %s: two masters. Whoever hears the other's better advert gives way.", who, r.label, v.Priority, prio, old)
		n.event(f, who, r.label, "MASTER")
		r.rival, r.since = who, f.At
	}
}

// becomes notes a new master and what must follow: announcements of its addresses.
func (a *Annotator) becomes(f *Frame, n *Note, r *router, who, old string) {
	n.event(f, who, r.label, "MASTER")
	if old != "" && old != who {
		dead := r.last != nil && f.At.Sub(r.at) > 2*r.last.Interval
		n.event(f, old, r.label, ifElse(dead, "gone", "BACKUP"))
		if dead {
			delete(r.others, old)
		}
	}
	if r.before = ""; old != who {
		r.before = old
	}
	r.master, r.resigned, r.rival, r.at = who, time.Time{}, "", f.At
	r.took = f.At
	clear(r.announced)
	if first := r.first; old != "" && first.IsValid() {
		a.expect(f.At.Add(2*time.Second), func() bool { return r.announced[first] > 0 || r.master != who }, Event{Host: who, Object: r.label,
			Text: fmt.Sprintf("%s took over but announced %s to nobody within 2 s: neighbours go on talking to %s until their entry ages", who, first, old)})
	}
}

// healed waits for the announcements that a winner owes after two masters met.
func (r *router) healed(a *Annotator, f *Frame) {
	who, rival, first := r.master, r.rival, r.first
	r.rival = ""
	met := f.At // when both were last heard: what the winner announced since then has reached the clients
	if s := r.others[rival]; s != nil {
		met = s.at
	}
	told := func() bool { return !r.heard[announcer{who, first}].Before(met) }
	a.expect(f.At.Add(2*time.Second), func() bool { return told() || r.master != who }, Event{Host: who, Object: r.label,
		Text: fmt.Sprintf("no gratuitous ARP for %s after %s gave way: clients that learnt %s keep talking to it until their entry ages", first, rival, rival)})
}

// patience is when a master will have been silent for too long; ok is false where nobody is waited for.
func (r *router) patience() (at time.Time, ok bool) {
	if r.last == nil || r.master == "" || r.told || !r.resigned.IsZero() {
		return time.Time{}, false
	}
	return r.at.Add(r.last.Interval * 5 / 2), true
}

// silent says once that a master is overdue.
func (r *router) silent(now time.Time) []Event {
	if at, ok := r.patience(); !ok || now.Before(at) {
		return nil
	}
	r.told = true
	text := fmt.Sprintf("silence: %s was due to speak for %s %s ago", r.master, r.label, span(now.Sub(r.at)-r.last.Interval))
	if heir, prio := r.heir(r.master); heir != "" {
		text += fmt.Sprintf("; %s will take over %s after the last advert", heir, span(r.last.Down(prio, r.adverts(heir))))
	}
	return []Event{{At: cmp.Or(r.at, now).Add(r.last.Interval * 5 / 2), Host: r.master, Object: r.label, Text: text}}
}
