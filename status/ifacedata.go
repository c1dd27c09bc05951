package status

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"releve/vrrp"
	"releve/vrrp/vip"
)

func (t *text) sockets(list []vrrp.SocketSnapshot) {
	t.section("VRRP Sockpool")
	for i := range list {
		s := &list[i]
		t.put(" fd_in ", strconv.Itoa(s.In), " fd_out = ", strconv.Itoa(s.Out))
		t.row("Interface", or(s.Iface, "(any)"))
		t.row("Family", yes(s.IPv6, "IPv6", "IPv4"))
		t.row("Protocol", "VRRP")
		t.row("Type", yes(s.Unicast, "Unicast", "Multicast"))
		if s.Unicast {
			t.row("Address", s.Addr.String())
		}
		t.row("Rx buf size", s.RxBuf)
		t.line("VRRP instances")
		for _, in := range s.Instances {
			t.put("     ", in.Name, " vrid ", strconv.Itoa(int(in.VRID)))
		}
	}
}

func (t *text) interfaces(list []vrrp.IfaceSnapshot) {
	if len(list) == 0 {
		return
	}
	t.section("Interfaces")
	for i := range list {
		t.iface(&list[i])
	}
}

func (t *text) iface(i *vrrp.IfaceSnapshot) {
	t.head("Name", i.Name)
	t.row("index", i.Index)
	t.row("IPv4 address", addrOrNone(i.Addr4))
	t.row("IPv6 address", addrOrNone(i.Addr6))
	loopback := i.Flags&unix.IFF_LOOPBACK != 0
	if len(i.MAC) > 0 && !loopback {
		t.row("MAC", i.MAC.String())
		if i.Flags&unix.IFF_BROADCAST != 0 {
			t.row("MAC broadcast", net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}.String())
		}
	}
	t.row("State", linkState(i.Flags))
	t.row("Up debounce timer", strconv.FormatInt(i.Up.Microseconds(), 10)+"us")
	t.row("Down debounce timer", strconv.FormatInt(i.Down.Microseconds(), 10)+"us")
	if i.MayChange {
		t.line("Interface type/base can be changed")
	}
	if i.Base != "" {
		t.line("VMAC type %s, underlying interface = %s, state = %sUP, %sRUNNING", yes(i.Type == "macvlan", "private", i.Type), i.Base, yes(i.BaseUp, "", "not "), yes(i.BaseUp, "", "not "))
		t.line("I/f created by keepalived")
	}
	t.row("MTU", i.MTU)
	t.row("HW Type", hardware(i.Kind))
	if i.Linkbeat == "" {
		t.line("NIC netlink status update")
	} else {
		t.line("NIC support %s interface", yes(i.Linkbeat == "ETHTOOL", "ETHTOOL GLINK", i.Linkbeat))
	}
	if i.GARPGroup >= 0 {
		t.line("Gratuitous ARP interval %dms", i.GARP.Milliseconds())
		t.line("Gratuitous NA interval %dms", i.GNA.Milliseconds())
		if i.GARPGroup > 0 {
			t.line("Gratuitous ARP aggregation group %d", i.GARPGroup)
		}
	}
	t.line("Reset ARP config counter %d", i.Holders["arp_ignore"])
	t.line("Original arp_ignore %s", or(i.Settings["arp_ignore"], "0"))
	t.line("Original arp_filter %s", or(i.Settings["arp_filter"], "0"))
	if len(i.Users) > 0 {
		t.line("rp_filter %s", or(i.Settings["rp_filter"], "0"))
	}
	t.line("Original promote_secondaries %s", or(i.Settings["promote_secondaries"], "0"))
	t.line("Reset promote_secondaries counter %d", i.Holders["promote_secondaries"])
	if i.Addr6.IsValid() && len(i.Users) > 0 {
		t.line("%s", yes(i.Forwarding, "IPv6 forwarding", "Not IPv6 forwarding"))
	}
	if len(i.Users) > 0 {
		t.line("Tracking VRRP instances :")
		for _, u := range i.Users {
			t.item(u.Instance + ", weight " + weight(u.Weight, u.Reverse))
		}
	}
}

func addrOrNone(a netip.Addr) string {
	if !a.IsValid() {
		return "(none)"
	}
	return a.String()
}

// linkState says what is unusual last: nearly every interface can broadcast and multicast.
func linkState(flags uint32) string {
	words := []string{yes(flags&unix.IFF_UP != 0, "UP", "not UP"), yes(flags&unix.IFF_RUNNING != 0, "RUNNING", "not RUNNING")}
	if flags&unix.IFF_BROADCAST == 0 {
		words = append(words, "no broadcast")
	}
	if flags&unix.IFF_LOOPBACK != 0 {
		words = append(words, "loopback")
	}
	if flags&unix.IFF_POINTOPOINT != 0 {
		words = append(words, "point to point")
	}
	if flags&unix.IFF_NOARP != 0 {
		words = append(words, "no arp")
	}
	if flags&unix.IFF_MULTICAST == 0 || flags&unix.IFF_LOOPBACK != 0 {
		words = append(words, "no multicast")
	}
	return strings.Join(words, ", ")
}

func hardware(kind string) string {
	switch kind {
	case "ether":
		return "ETHERNET"
	case "loopback":
		return "LOOPBACK"
	case "infiniband":
		return "INFINIBAND"
	}
	return "UNKNOWN (" + kind + ")"
}

// onDevice is a virtual address with the interface that it really is on.
func onDevice(in *vrrp.InstanceSnapshot, a *vip.Address) string {
	dev := in.Config.Iface
	if d := in.Devs[a.Prefix.Addr()]; d != "" {
		b := *a
		b.Dev = ""
		return Address(&b, d, in.VIPsSet)
	}
	return Address(a, dev, in.VIPsSet)
}

// vmacOf is the name of an instance's virtual MAC interface: the one there is, or the one wished for.
func vmacOf(in *vrrp.InstanceSnapshot) string { return or(in.VMAC, vmacName(in.Config)) }
