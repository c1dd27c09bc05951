package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// dhcpView is a client's exchange.
type dhcpView struct {
	at     time.Time
	offers int
}

func (a *Annotator) dhcpMessage(f *Frame, m *DHCP, n *Note) {
	v := a.dhcp[m.XID]
	if v == nil {
		if len(a.dhcp) >= maxState {
			clear(a.dhcp)
		}
		v = &dhcpView{at: f.At}
		a.dhcp[m.XID] = v
	}
	client := a.names.host(m.Client, netip.Addr{})
	server := a.names.host(f.SrcMAC, f.Src)
	if m.Server.IsValid() {
		server = a.names.addr(m.Server)
	}
	relayed := ""
	if m.Relay.IsValid() && !m.Relay.IsUnspecified() {
		relayed = fmt.Sprintf(" through the relay %s", m.Relay)
	}
	switch m.Kind {
	case 1:
		n.Src = client
		if n.Dst == "" {
			n.say(Info, "%s asks for an address%s: every server hears it, one of the pair answers, chosen by the hash of the hardware address.", client, relayed)
		} else {
			n.say(Info, "%s asks %s for an address%s.", client, n.Dst, relayed)
		}
		if m.Secs > 3 {
			n.say(Info, "It says that it has been asking for %d s: then a server answers for its peer, too.", m.Secs)
		}
	case 2:
		v.offers++
		n.say(Info, "%s offers %s to %s, %s after it was asked.", server, m.Yours, client, span(f.At.Sub(v.at)))
		if v.offers > 1 {
			n.say(Info, "It is the %s offer.", ordinal(v.offers))
		}
	case 3:
		n.Src = client
		switch {
		case m.Server.IsValid():
			n.say(Info, "%s takes the offer of %s and wants %s.", client, server, m.Asked)
		case m.Asked.IsValid():
			n.say(Info, "%s wants %s back, which it had before.", client, m.Asked)
		default:
			n.say(Info, "%s renews %s%s.", client, m.Current, ifElse(n.Dst == "", ", asking any server, since its own does not answer", " with "+n.Dst))
		}
	case 5:
		what := m.Yours
		if what.IsUnspecified() {
			what = m.Current
		}
		if m.Lease > 0 {
			n.say(Change, "%s gives %s to %s for %s.", server, what, client, span(m.Lease))
		} else {
			n.say(Info, "%s answers %s.", server, client)
		}
	case 6:
		n.say(Alarm, "%s refuses what %s wants: it must begin anew.", server, client)
	case 4:
		n.say(Alarm, "%s found the address in use and gives it back.", client)
	case 7:
		n.say(Info, "%s gives %s back.", client, m.Current)
	case 8:
		n.say(Info, "%s has an address and asks for the rest: a probe that proves the process, not the leases.", client)
	default:
		n.say(Routine, "%s of %s.", m.Name(), client)
	}
}

func (a *Annotator) failover(f *Frame, m *Failover, n *Note) {
	src := n.Src
	for i := range m.Messages {
		x := &m.Messages[i]
		same, first := m.alike(i)
		if !first {
			continue
		}
		switch x.Type {
		case 10:
			before := a.peers[src]
			a.peers[src] = x.StateName()
			if before == x.StateName() {
				n.say(Info, "%s is still in state %s.", src, x.StateName())
				continue
			}
			n.say(Change, "%s says that it is in state %s now%s.", src, x.StateName(), ifElse(before == "", "", ", it was in "+before))
			switch x.State {
			case 2:
				n.say(Info, "Each serves its half of the clients.")
			case 3:
				n.say(Info, "It does not hear its peer and gives out only its own half of the free addresses.")
			case 4:
				n.say(Alarm, "It takes its peer for dead and may use all addresses: if the peer lives, both may give out the same one.")
			case 5:
				n.say(Alarm, "Both may have given out the same addresses and compare.")
			}
			n.event(f, src, "DHCP failover", x.StateName())
		case 5:
			n.say(Info, "%s greets its failover peer as primary%s%s.", src, ifElse(x.HasMCLT, fmt.Sprintf(", MCLT %d s", x.MCLT), ""), buckets(x.HashBuckets))
		case 6:
			if x.Reject != 0 {
				n.say(Alarm, "%s rejects its failover peer: %s.", src, nameOf(rejectReasons[:], int(x.Reject)))
			} else {
				n.say(Info, "%s accepts its failover peer.", src)
			}
		case 3:
			n.say(Info, "%s tells its peer that %s %s %s.", src, several(same), ifElse(len(same) > 1, "are", "is"), x.BindingName())
		case 4:
			if x.Reject != 0 {
				n.say(ifElse(x.Reject == 15 || x.Reject == 16, Info, Alarm), "%s does not accept that for %s: %s.", src, several(same), nameOf(rejectReasons[:], int(x.Reject)))
			} else {
				n.say(Routine, "%s has noted that for %s.", src, several(same))
			}
		case 1:
			n.say(Info, "%s asks for its share of the free addresses.", src)
		case 2:
			n.say(Info, "%s gives %d free addresses.", src, x.Transferred)
		case 7, 9:
			n.say(Info, "%s wants to know everything its peer %s.", src, ifElse(x.Type == 7, "has", "has not told it yet"))
		case 8:
			n.say(Info, "%s has told everything.", src)
		case 11:
			n.say(Routine, "%s is there (CONTACT).", src)
		case 12:
			n.say(Change, "%s takes its leave.", src)
		default:
			n.say(Info, "Failover message %d of %s.", x.Type, src)
		}
	}
	if len(m.Messages) == 0 {
		n.say(Routine, "Part of a failover message.")
	}
	if words := strings.Fields(n.Text); len(words) > 90 {
		n.Text = strings.Join(words[:80], " ") + fmt.Sprintf(" ... (%d messages)", len(m.Messages))
	}
}

// alike gives the addresses of all updates, or answers to updates, of a segment that say the same as its message i, and whether that is the
// first of them. Other messages stand for themselves.
func (m *Failover) alike(i int) (addrs []netip.Addr, first bool) {
	x := &m.Messages[i]
	if x.Type != 3 && x.Type != 4 {
		return nil, true
	}
	first = true
	for j := range m.Messages {
		if y := &m.Messages[j]; y.Type == x.Type && y.Binding == x.Binding && y.Reject == x.Reject {
			first = first && j >= i
			addrs = append(addrs, y.Addr)
		}
	}
	return addrs, first
}

// several is a list of addresses in a few words.
func several(all []netip.Addr) string {
	switch last := len(all) - 1; {
	case last == 0:
		return all[0].String()
	case last > 1 && slices.IsSortedFunc(all, netip.Addr.Compare):
		return fmt.Sprintf("%d addresses from %s to %s", len(all), all[0], all[last])
	}
	return addrList(all)
}

// buckets says how the clients are shared out.
func buckets(b []byte) string {
	if len(b) != 32 {
		return ""
	}
	n := 0
	for _, x := range b {
		for ; x != 0; x &= x - 1 {
			n++
		}
	}
	return fmt.Sprintf("; it serves %d of 256 parts of the clients", n)
}
