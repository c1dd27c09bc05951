package ipvs

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// View is what List shows of each destination.
type View uint8

// Views, as ipvsadm has them: weights and connections; --stats; --rate; --thresholds; --persistent-conn; --tun-info.
const (
	ViewTable View = iota
	ViewStats
	ViewRate
	ViewThresholds
	ViewPersistent
	ViewTunnels
)

var viewHeads = [...][2]string{
	ViewTable:      {"Prot LocalAddress:Port Scheduler Flags", "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"},
	ViewStats:      {"Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes", "  -> RemoteAddress:Port"},
	ViewRate:       {"Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS", "  -> RemoteAddress:Port"},
	ViewThresholds: {"Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ", "  -> RemoteAddress:Port"},
	ViewPersistent: {"Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ", "  -> RemoteAddress:Port"},
	ViewTunnels:    {"Prot LocalAddress:Port Scheduler Flags", "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn"},
}

// ListOptions is how List writes.
type ListOptions struct {
	View  View
	Exact bool // counters are written out also above 99,999,999, not as thousands, millions ...
	// Note, when not nil, is asked for a remark on each service (d is nil) and destination, put at the end of its line; empty: none.
	Note func(s *Service, d *Dest) string
	// More, when not nil, is asked for lines below the last destination of each service.
	More func(s *Service) []string
}

// List writes the table as `ipvsadm -Ln` does below its first line, services and destinations sorted.
func List(w io.Writer, t Table, o ListOptions) error {
	b := bufio.NewWriter(w)
	heads := viewHeads[ViewTable]
	if int(o.View) < len(viewHeads) {
		heads = viewHeads[o.View]
	}
	fmt.Fprintln(b, heads[0])
	fmt.Fprintln(b, heads[1])
	note := func(s *Service, d *Dest) string {
		if o.Note == nil {
			return ""
		}
		if text := o.Note(s, d); text != "" {
			return "  " + text
		}
		return ""
	}
	counters := func(s Stats) string {
		c := [...]uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes}
		if o.View == ViewRate {
			c = [...]uint64{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS}
		}
		var line strings.Builder
		for _, n := range c {
			line.WriteByte(' ')
			line.WriteString(large(n, o.Exact))
		}
		return line.String()
	}
	t = t.Sorted()
	for i := range t.Services {
		s := &t.Services[i]
		switch o.View {
		case ViewStats, ViewRate:
			fmt.Fprintf(b, "%-33s%s%s\n", s.label(), counters(s.Stats), note(s, nil))
		default:
			fmt.Fprintf(b, "%s %s%s\n", s.label(), s.listed(), note(s, nil))
		}
		for j := range s.Dests {
			d := &s.Dests[j]
			fmt.Fprintf(b, "  -> %-28s", d.DestKey)
			switch o.View {
			case ViewStats, ViewRate:
				b.WriteString(counters(d.Stats))
			case ViewThresholds:
				fmt.Fprintf(b, " %-10d %-10d %-10d %-10d", d.Upper, d.Lower, d.Active, d.Inactive)
			case ViewPersistent:
				fmt.Fprintf(b, " %-9d %-11d %-10d %-10d", d.Weight, d.Persist, d.Active, d.Inactive)
			case ViewTunnels:
				fmt.Fprintf(b, " %-7s %-13s %-6d %-10d %-10d", d.Forward, d.tunnel(), d.Weight, d.Active, d.Inactive)
			default:
				fmt.Fprintf(b, " %-7s %-6d %-10d %-10d", d.Forward, d.Weight, d.Active, d.Inactive)
			}
			fmt.Fprintln(b, note(s, d))
		}
		if o.More != nil {
			for _, line := range o.More(s) {
				fmt.Fprintln(b, line)
			}
		}
	}
	return b.Flush()
}

// Sorted returns the table with services in the order of Compare and destinations by address and port; t is not changed.
func (t Table) Sorted() Table {
	t.Services = slices.Clone(t.Services)
	slices.SortStableFunc(t.Services, func(a, b Service) int { return a.Compare(b.ServiceKey) })
	for i := range t.Services {
		s := &t.Services[i]
		s.Dests = slices.Clone(s.Dests)
		slices.SortStableFunc(s.Dests, func(a, b Dest) int { return a.Compare(b.DestKey) })
	}
	return t
}

// label is protocol and address, or the mark.
func (k ServiceKey) label() string {
	if k.FWMark == 0 {
		return fmt.Sprintf("%-4s %s", k.Protocol, addrPort(k.Addr, k.Port))
	}
	if k.Family == IPv6 {
		return fmt.Sprintf("FWM  %d IPv6", k.FWMark)
	}
	return fmt.Sprintf("FWM  %d", k.FWMark)
}

// listed prints the options as `ipvsadm -Ln` does.
func (s *Service) listed() string {
	var b strings.Builder
	b.WriteString(s.Scheduler)
	if f := s.SchedFlags(); f != "" {
		fmt.Fprintf(&b, " (%s)", f)
	}
	if s.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " persistent %d", s.Seconds())
		if m := s.Mask(); m != "" {
			fmt.Fprintf(&b, " mask %s", m)
		}
		if s.Engine != "" {
			fmt.Fprintf(&b, " pe %s", s.Engine)
		}
	}
	if s.Flags&OnePacket != 0 {
		b.WriteString(" ops")
	}
	return b.String()
}

// tunnel is the tunnel of a destination in one word: "n/a", "ipip", "gue:6080:-c", "gre:+c".
func (d *Dest) tunnel() string {
	if d.Forward != TUN {
		return "n/a"
	}
	out := d.TunnelType.String()
	if d.TunnelType == IPIP {
		return out
	}
	if d.TunnelType == GUE {
		out = fmt.Sprintf("%s:%d", out, d.TunnelPort)
	}
	switch d.TunnelFlags {
	case Csum:
		out += ":+c"
	case RemCsum:
		out += ":r+c"
	default:
		out += ":-c"
	}
	return out
}

// large writes a counter into eight columns as ipvsadm does: from a hundred million on in thousands with a K, and so on.
func large(n uint64, exact bool) string {
	if exact || n < 1e8 {
		return fmt.Sprintf("%8d", n)
	}
	unit := 0
	for n /= 1000; n >= 1e8 && unit < 3; n /= 1000 {
		unit++
	}
	return fmt.Sprintf("%7d%c", n, "KMGT"[unit])
}
