package capture

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"
)

// Kind is how much a frame matters to a reader.
type Kind int

const (
	// Routine is a frame that says that nothing changed.
	Routine Kind = iota
	// Info is worth reading.
	Info
	// Change makes a host change its state, or shows that it did.
	Change
	// Alarm is something that should not be.
	Alarm
)

func (k Kind) String() string { return [...]string{"routine", "info", "change", "alarm"}[k] }

// Event is a change of a state, or something that did not happen.
type Event struct {
	At time.Time `json:"at"`
	// Host is who; Object is of what: "VRID 51", "check 10.0.0.1:80", "BFD 10.0.0.2".
	Host   string `json:"host"`
	Object string `json:"object"`
	// State is the new state: MASTER, BACKUP, gone, Up, Down, ...; empty if Text is all there is to say.
	State string `json:"state,omitempty"`
	Text  string `json:"text,omitempty"`
}

// Note is what a frame means.
type Note struct {
	// Text is one sentence or two.
	Text string
	Kind Kind
	// Src and Dst are the hosts; Dst is empty if it is everybody.
	Src, Dst string
	// Events happened with this frame, or before it without any frame.
	Events []Event
}

// Annotator says what frames mean. Frames must come in the order of their times. It is pure: no clock, no socket. It belongs to one goroutine.
type Annotator struct {
	know    Knowledge
	names   *names
	routers map[routerKey]*router
	flows   map[flow]*conn
	seen    [64]sighting
	next    int
	bfd     map[string]*bfdView
	joined  map[string]bool
	dhcp    map[uint32]*dhcpView
	peers   map[string]string // DHCP failover state by host
	dns     map[dnsKey]time.Time
	pings   map[pingKey]time.Time
	paths   map[pathKey]path
	waiting []expectation
	now     time.Time
	// checks and virtuals are those that are known, by their ends; pinged are the hosts of PING_CHECK.
	checks   map[netip.AddrPort][]*Check
	virtuals map[netip.AddrPort]bool
	pinged   map[netip.Addr]bool
	// begun is the connection that an end opened last; a director's is found by it.
	begun map[netip.AddrPort]*conn
	swept time.Time
	// overdue is when the first of the masters may have been silent for too long; before it nobody is.
	overdue time.Time
}

// sighting is a frame that was seen a moment ago.
type sighting struct {
	at    time.Time
	point int
	sum   uint64
}

// expectation is something that should happen until a time; when it does, done says so.
type expectation struct {
	until time.Time
	done  func() bool
	miss  Event
}

// maxState bounds each table of the annotator; what is beyond is not followed.
const maxState = 1 << 14

// NewAnnotator begins with what is known.
func NewAnnotator(k Knowledge) *Annotator {
	a := &Annotator{know: k, names: newNames(k), routers: map[routerKey]*router{}, flows: map[flow]*conn{}, bfd: map[string]*bfdView{},
		joined: map[string]bool{}, dhcp: map[uint32]*dhcpView{}, peers: map[string]string{}, dns: map[dnsKey]time.Time{}, pings: map[pingKey]time.Time{}, paths: map[pathKey]path{},
		checks: map[netip.AddrPort][]*Check{}, virtuals: map[netip.AddrPort]bool{}, pinged: map[netip.Addr]bool{}, begun: map[netip.AddrPort]*conn{}}
	for i := range k.Checks {
		c := &k.Checks[i]
		a.checks[c.Target] = append(a.checks[c.Target], c)
		if c.Kind == "PING_CHECK" {
			a.pinged[c.Target.Addr()] = true
		}
	}
	for _, v := range k.Virtuals {
		a.virtuals[v] = true
	}
	return a
}

// Add says what a frame means.
func (a *Annotator) Add(f *Frame) Note {
	n := Note{Events: a.Advance(f.At)}
	switch f.Proto {
	case "vrrp", "igmp", "mld", "nd", "ipvs", "bfd": // what no router passes on
		a.names.learn(f.SrcMAC, f.Src)
	}
	n.Src = a.names.host(f.SrcMAC, f.Src)
	if f.DstMAC.Group() || f.Dst.IsMulticast() {
		n.Dst = ""
	} else if f.Dst.IsValid() || f.DstMAC != (MAC{}) {
		n.Dst = a.names.host(f.DstMAC, f.Dst)
	}
	if a.again(f) {
		n.Text = "the same frame, seen here too"
		return n
	}
	switch m := f.Msg.(type) {
	case *VRRP:
		a.vrrp(f, m, &n)
	case *ARP:
		a.arp(f, m, &n)
	case *ND:
		a.nd(f, m, &n)
	case *Membership:
		a.membership(f, m, &n)
	case *Sync:
		a.sync(f, m, &n)
	case *BFD:
		a.bfdPacket(f, m, &n)
	case *DHCP:
		a.dhcpMessage(f, m, &n)
	case *Failover:
		a.failover(f, m, &n)
	case *DNS:
		a.dnsMessage(f, m, &n)
	case *ICMP:
		a.icmp(f, m, &n)
	default:
		switch {
		case f.TCP != nil:
			a.tcp(f, &n)
		case f.Proto == "udp":
			a.udp(f, &n)
		default:
			n.Text = fmt.Sprintf("%s to %s", f.Proto, n.receiver())
		}
	}
	if f.Partial {
		n.Text = joinText(n.Text, fmt.Sprintf("Only %d of its %d bytes were captured.", len(f.Data), f.Len))
	}
	if f.Fault != "" {
		n.Text, n.Kind = joinText(n.Text, "It is damaged: "+f.Fault+"."), max(n.Kind, Alarm)
	}
	return n
}

// receiver is who gets the frame, in words.
func (n *Note) receiver() string {
	if n.Dst == "" {
		return "everybody"
	}
	return n.Dst
}

func (n *Note) say(k Kind, format string, a ...any) {
	n.Text, n.Kind = joinText(n.Text, fmt.Sprintf(format, a...)), max(n.Kind, k)
}

func (n *Note) event(f *Frame, host, object, state string) {
	n.Events = append(n.Events, Event{At: f.At, Host: host, Object: object, State: state})
}

func joinText(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// again tells whether this very frame was seen a moment ago: at another point or, in a file of several points that does not tell
// them apart, under the same IPv4 identification.
func (a *Annotator) again(f *Frame) bool {
	h := fnv.New64a()
	h.Write(f.Data)
	sum := h.Sum64()
	for _, s := range a.seen {
		if s.sum == sum && f.At.Sub(s.at) < 5*time.Millisecond && !s.at.IsZero() && (s.point != f.Point || f.numbered()) {
			return true
		}
	}
	a.seen[a.next] = sighting{f.At, f.Point, sum}
	a.next = (a.next + 1) % len(a.seen)
	return false
}

// numbered tells whether the frame has a number that its sender gives to no other frame for a while.
func (f *Frame) numbered() bool {
	id := f.Get("ip.id")
	return id != "" && id != "0x0000"
}

// Advance says what did not happen until a time although it should have. Add calls it with the time of the frame.
func (a *Annotator) Advance(now time.Time) (out []Event) {
	if now.After(a.now) {
		a.now = now
	}
	rest := a.waiting[:0]
	for _, w := range a.waiting {
		switch {
		case w.done():
		case now.After(w.until):
			w.miss.At = w.until
			out = append(out, w.miss)
		default:
			rest = append(rest, w)
		}
	}
	a.waiting = rest
	if !now.Before(a.overdue) {
		a.overdue = now.Add(time.Hour)
		for _, r := range a.routers {
			out = append(out, r.silent(now)...)
			if at, ok := r.patience(); ok && at.Before(a.overdue) {
				a.overdue = at
			}
		}
	}
	slices.SortFunc(out, func(x, y Event) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Object, y.Object), cmp.Compare(x.Text, y.Text))
	})
	return out
}

func (a *Annotator) expect(until time.Time, done func() bool, miss Event) {
	if len(a.waiting) < maxState {
		a.waiting = append(a.waiting, expectation{until, done, miss})
	}
}

// span is a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < 10*time.Second:
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
