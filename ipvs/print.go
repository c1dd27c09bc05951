package ipvs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// String is the option by which ipvsadm selects the service: "-t 10.0.0.1:80", "-u [fd00::1]:53", "--sctp-service 10.0.0.1:99",
// "-f 7", "-f 7 -6".
func (k ServiceKey) String() string {
	if k.FWMark != 0 {
		if k.Family == IPv6 {
			return fmt.Sprintf("-f %d -6", k.FWMark)
		}
		return fmt.Sprintf("-f %d", k.FWMark)
	}
	option := "-t"
	switch k.Protocol {
	case UDP:
		option = "-u"
	case SCTP:
		option = "--sctp-service"
	}
	return option + " " + addrPort(k.Addr, k.Port)
}

// String is address and port, IPv6 in brackets.
func (k DestKey) String() string { return addrPort(k.Addr, k.Port) }

// addrPort prints also what netip.AddrPort calls invalid, for error messages.
func addrPort(a netip.Addr, port uint16) string {
	if a.Is6() {
		return "[" + a.String() + "]:" + strconv.Itoa(int(port))
	}
	return a.String() + ":" + strconv.Itoa(int(port))
}

// String is how ipvsadm and keepalived call the protocol in capitals.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	case ProtoNone:
		return "FWM"
	}
	return strconv.Itoa(int(p))
}

// String is the method as ipvsadm lists it.
func (f Forward) String() string {
	switch f {
	case NAT:
		return "Masq"
	case Local:
		return "Local"
	case TUN:
		return "Tunnel"
	case DR:
		return "Route"
	}
	return "Unknown"
}

// String is the encapsulation as ipvsadm takes it.
func (t TunnelType) String() string {
	switch t {
	case IPIP:
		return "ipip"
	case GUE:
		return "gue"
	case GRE:
		return "gre"
	}
	return strconv.Itoa(int(t))
}

// SchedFlags names the flags of the scheduler as ipvsadm does: "sh-fallback,sh-port", "flag-1,flag-3"; empty without any.
func (s *Service) SchedFlags() string {
	names := [3]string{"flag-1", "flag-2", "flag-3"}
	switch s.Scheduler {
	case "sh":
		names[0], names[1] = "sh-fallback", "sh-port"
	case "mh":
		names[0], names[1] = "mh-fallback", "mh-port"
	}
	var set []string
	for i, f := range []Flags{SchedFlag1, SchedFlag2, SchedFlag3} {
		if s.Flags&f != 0 {
			set = append(set, names[i])
		}
	}
	return strings.Join(set, ",")
}

// Mask is the granularity as ipvsadm prints it: a netmask for IPv4, a prefix length for IPv6; empty for one by one.
func (s *Service) Mask() string {
	p := s.Prefix()
	if s.Family == IPv6 {
		if p >= 128 {
			return ""
		}
		return strconv.Itoa(int(p))
	}
	if p >= 32 {
		return ""
	}
	m := ^uint32(0) << (32 - p)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

// options prints the options of a service as `ipvsadm -S -n` does.
func (s *Service) options() string {
	var b strings.Builder
	fmt.Fprintf(&b, " -s %s", s.Scheduler)
	if s.Flags&Persistent != 0 {
		fmt.Fprintf(&b, " -p %d", s.Seconds())
		if m := s.Mask(); m != "" {
			fmt.Fprintf(&b, " -M %s", m)
		}
		if s.Engine != "" {
			fmt.Fprintf(&b, " --pe %s", s.Engine)
		}
	}
	if s.Flags&OnePacket != 0 {
		b.WriteString(" -o")
	}
	if f := s.SchedFlags(); f != "" {
		fmt.Fprintf(&b, " -b %s", f)
	}
	return b.String()
}

// options prints the options of a destination as `ipvsadm -S -n` does, and the thresholds, which that leaves out.
func (d *Dest) options() string {
	var b strings.Builder
	switch d.Forward {
	case NAT:
		b.WriteString(" -m")
	case TUN:
		b.WriteString(" -i")
	default:
		b.WriteString(" -g")
	}
	fmt.Fprintf(&b, " -w %d", d.Weight)
	if d.Upper != 0 {
		fmt.Fprintf(&b, " -x %d", d.Upper)
	}
	if d.Lower != 0 {
		fmt.Fprintf(&b, " -y %d", d.Lower)
	}
	if d.Forward == TUN {
		fmt.Fprintf(&b, " --tun-type %s", d.TunnelType)
		if d.TunnelType == GUE {
			fmt.Fprintf(&b, " --tun-port %d", d.TunnelPort)
		}
		if d.TunnelType != IPIP {
			switch d.TunnelFlags {
			case NoCsum:
				b.WriteString(" --tun-nocsum")
			case Csum:
				b.WriteString(" --tun-csum")
			case RemCsum:
				b.WriteString(" --tun-remcsum")
			}
		}
	}
	return b.String()
}

// Object names what the write is about, as an administrator would: "-t 10.0.0.1:80" or "-t 10.0.0.1:80 -r 10.1.0.1:80".
func (o Op) Object() string {
	switch o.Kind {
	case AddDest, EditDest, DelDest:
		return o.Service.ServiceKey.String() + " -r " + o.Dest.DestKey.String()
	}
	return o.Service.ServiceKey.String()
}

// String is the write as the arguments of ipvsadm: "-A -t 10.0.0.1:80 -s rr".
func (o Op) String() string {
	switch o.Kind {
	case AddService:
		return "-A " + o.Object() + o.Service.options()
	case EditService:
		return "-E " + o.Object() + o.Service.options()
	case DelService:
		return "-D " + o.Object()
	case AddDest:
		return "-a " + o.Object() + o.Dest.options()
	case EditDest:
		return "-e " + o.Object() + o.Dest.options()
	case DelDest:
		return "-d " + o.Object()
	}
	return fmt.Sprintf("unknown write %d", o.Kind)
}

// verb is what the write does, for error messages.
func (o Op) verb() string {
	switch o.Kind {
	case AddService:
		return "add service"
	case EditService:
		return "edit service"
	case DelService:
		return "delete service"
	case AddDest:
		return "add destination"
	case EditDest:
		return "edit destination"
	case DelDest:
		return "delete destination"
	}
	return "write"
}

// Error is "add destination -t 10.0.0.1:80 -r 10.1.0.1:80: reason".
func (e OpError) Error() string { return e.Op.verb() + " " + e.Op.Object() + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e OpError) Unwrap() error { return e.Err }

// String prints the table as `ipvsadm -S -n` does, in the table's order and with thresholds.
func (t Table) String() string {
	var b strings.Builder
	for i := range t.Services {
		s := &t.Services[i]
		fmt.Fprintln(&b, Op{Kind: AddService, Service: *s})
		for _, d := range s.Dests {
			fmt.Fprintln(&b, Op{Kind: AddDest, Service: Service{ServiceKey: s.ServiceKey}, Dest: d})
		}
	}
	return b.String()
}

// String is the role in a word.
func (r SyncRole) String() string {
	switch r {
	case SyncMaster:
		return "master"
	case SyncBackup:
		return "backup"
	}
	return "no"
}

// String is the daemon as `ipvsadm -L --daemon` prints it.
func (d SyncDaemon) String() string {
	return fmt.Sprintf("%s sync daemon (mcast=%s, syncid=%d, maxlen=%d, group=%s, port=%d, ttl=%d)", d.Role, d.Iface, d.ID, d.MaxLen, d.Group, d.Port, d.TTL)
}
