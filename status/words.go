package status

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/script"
	"releve/vrrp/vip"
)

// Address is a virtual address as dumps show it: ADDRESS/LENGTH dev IF scope SCOPE and what else was configured. The length is left
// out where it is the full one. Clients take the first and the third word.
func Address(a *vip.Address, dev string, set bool) string {
	var b strings.Builder
	addr := a.Prefix.Addr()
	if a.Prefix.Bits() == addr.BitLen() {
		b.WriteString(addr.String())
	} else {
		b.WriteString(netip.PrefixFrom(addr, a.Prefix.Bits()).String())
	}
	if a.Broadcast.IsValid() {
		fmt.Fprintf(&b, " brd %v", a.Broadcast)
	}
	if a.Dev != "" {
		dev = a.Dev
	}
	fmt.Fprintf(&b, " dev %s scope %s", dev, scope(a.Scope))
	if a.Label != "" {
		b.WriteString(" label " + a.Label)
	}
	if a.Peer.IsValid() {
		fmt.Fprintf(&b, " peer %v", a.Peer)
	}
	for _, f := range []struct {
		on   bool
		word string
	}{{a.Home, " home"}, {a.ManageTempAddr, " mngtmpaddr"}, {a.NoPrefixRoute, " noprefixroute"}, {a.AutoJoin, " autojoin"}} {
		if f.on {
			b.WriteString(f.word)
		}
	}
	if addr.Is6() {
		switch {
		case a.HasPreferredLft && a.PreferredLft == vip.Forever, !a.HasPreferredLft && a.Prefix.Bits() < 128:
			b.WriteString(" preferred_lft forever")
		case a.HasPreferredLft && a.PreferredLft > 0:
			fmt.Fprintf(&b, " preferred_lft %d", int64(a.PreferredLft.Seconds()))
		default:
			b.WriteString(" deprecated")
		}
	}
	if a.NoTrack {
		b.WriteString(" no_track")
	}
	if set {
		b.WriteString(" set")
	}
	return b.String()
}

// scope is an address scope by the name that ip(8) gives it (linux/rtnetlink.h, RT_SCOPE_*).
func scope(n uint8) string {
	switch n {
	case 0:
		return "global"
	case 200:
		return "site"
	case 253:
		return "link"
	case 254:
		return "host"
	case 255:
		return "nowhere"
	}
	return strconv.Itoa(int(n))
}

// programs remembers the real paths of programs during a dump: thousands of commands run few of them.
type programs map[string]string

// command is a script with each word in single quotes, its program by the real path.
func (p *programs) command(c *script.Command) string {
	if c.IsZero() {
		return ""
	}
	path, known := (*p)[c.Args[0]]
	if !known {
		path = script.RealPath(c.Args[0])
		if *p == nil {
			*p = programs{}
		}
		(*p)[c.Args[0]] = path
	}
	return "'" + strings.Join(append([]string{path}, c.Args[1:]...), "' '") + "'"
}

// seconds is a time as a number of seconds without needless digits: 1, 0.5, 0.01.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// stamp is a moment as seconds with six decimals; zero before there was one.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "0.000000"
	}
	micro := strconv.Itoa(1_000_000 + t.Nanosecond()/1000)
	return strconv.FormatInt(t.Unix(), 10) + "." + micro[1:]
}

// moment is a time as the data files show it: seconds and, in brackets, a date.
func moment(t time.Time) string {
	if t.IsZero() {
		return "0.000000 (never)"
	}
	return stamp(t) + t.Format(" (Mon Jan _2 15:04:05.000000 2006)")
}

func yes(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// masked stands where a password would.
const masked = "********"
