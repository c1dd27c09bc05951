package vrrp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
)

// A virtual MAC address (RFC 9568 §7.3) is a macvlan in private mode on the instance's interface. It carries the virtual addresses,
// answers ARP for them and sends and receives the adverts; with vmac_xmit_base the base interface does. The kernel hands a frame that
// comes in from the LAN with the MAC address of a macvlan in private mode to that macvlan only: two routers that both send with the virtual
// MAC address hear each other there and nowhere else.

// vmacMAC is 00:00:5e:00:01:VRID, 00:00:5e:00:02:VRID for IPv6, or what the file says for the instance's own.
func vmacMAC(c *InstanceConfig, v6 bool) net.HardwareAddr {
	if c.VMAC != nil && c.VMAC.MAC != [6]byte{} && v6 == c.IPv6 {
		return c.VMAC.MAC[:]
	}
	family := byte(1)
	if v6 {
		family = 2
	}
	return net.HardwareAddr{0, 0, 0x5e, 0, family, c.VRID}
}

// vmacNames are the names that a VMAC of an instance may have, best first: its own, or one for single addresses.
func vmacNames(c *InstanceConfig, cfg *Config, v6, own bool) []string {
	if own && c.VMAC.Name != "" {
		return []string{c.VMAC.Name}
	}
	prefix := cfg.VMACPrefix
	if !own && cfg.VMACAddrPrefix != "" {
		prefix = cfg.VMACAddrPrefix
	}
	if prefix == "" {
		prefix = "vrrp"
	}
	names := []string{fmt.Sprintf("%s.%d", prefix, c.VRID)}
	if v6 {
		names = append(names, fmt.Sprintf("%s6.%d", prefix, c.VRID))
	}
	for i := 1; i < 256; i++ {
		if i != 4 && i != 6 {
			names = append(names, fmt.Sprintf("%s%d.%d", prefix, i, c.VRID))
		}
	}
	return names
}

// vmacs makes and removes the interfaces; on the owner's behalf, in the namespace where it was opened.
type vmacs struct {
	h *netlink.Handle
	// move lets what an interface says about its groups leave by its base, before it says anything; nil: it does not.
	move func(name string, vmac, base int, v6 bool)
	// dry only tells what make would give.
	dry bool
}

// make gives the VMAC of an instance. One that a predecessor left is used if it is what would have been made. The name of an
// interface made now is added to made.
func (v *vmacs) make(c *InstanceConfig, cfg *Config, base *iface, mac net.HardwareAddr, own bool, taken map[string]bool, made *[]string) (*iface, error) {
	v6 := mac[4] == 2 && mac[2] == 0x5e || own && c.IPv6
	ipvlan := own && c.VMAC.IPVlan
	for _, name := range vmacNames(c, cfg, v6, own) {
		if taken[name] {
			continue
		}
		old, err := v.h.LinkByName(name)
		if err == nil && !fits(old, ipvlan, base, mac) {
			continue
		}
		if v.dry {
			i := iface{index: -1 - len(*made), name: name, mac: mac, up: true}
			if err == nil {
				i = linkState(old)
			} else {
				*made = append(*made, name)
			}
			return &i, nil
		}
		if err != nil {
			if err := v.add(name, c, base, mac, ipvlan); err != nil {
				return nil, err
			}
			*made = append(*made, name)
		}
		if err := v.prepare(name, c, base, v6, own); err != nil {
			return nil, err
		}
		l, err := v.h.LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("read interface %s: %w", name, err)
		}
		i := linkState(l)
		return &i, nil
	}
	return nil, errors.New("no free name for the VMAC interface")
}

func fits(l netlink.Link, ipvlan bool, base *iface, mac net.HardwareAddr) bool {
	a := l.Attrs()
	if a.ParentIndex != base.index {
		return false
	}
	if ipvlan {
		return l.Type() == "ipvlan"
	}
	return l.Type() == "macvlan" && slices.Equal(a.HardwareAddr, mac)
}

func (v *vmacs) add(name string, c *InstanceConfig, base *iface, mac net.HardwareAddr, ipvlan bool) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.ParentIndex = name, base.index
	if c.VMAC != nil && c.VMAC.HasGroup {
		a.Group = uint32(c.VMAC.Group)
	}
	var l netlink.Link
	if ipvlan {
		flag := map[string]netlink.IPVlanFlag{"private": netlink.IPVLAN_FLAG_PRIVATE, "vepa": netlink.IPVLAN_FLAG_VEPA}[c.VMAC.IPVlanMode]
		l = &netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L2, Flag: flag}
	} else {
		a.HardwareAddr = mac
		l = &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_PRIVATE}
	}
	if err := v.h.LinkAdd(l); err != nil {
		return fmt.Errorf("make interface %s on %s: %w", name, base.name, err)
	}
	return nil
}

// prepare sets what keeps VMAC and base apart, as far as it concerns the VMAC: it answers ARP for its own addresses only, nothing is
// filtered for coming in by the base interface, it makes up no addresses of its own, and an address that goes takes no others along.
func (v *vmacs) prepare(name string, c *InstanceConfig, base *iface, v6, own bool) error {
	six := slices.ContainsFunc(slices.Concat(c.VIPs, c.Excluded), func(a vip.Address) bool { return a.Prefix.Addr().Is6() })
	sysctl("ipv6", name, "addr_gen_mode", "1")
	if v6 {
		sysctl("ipv6", name, "accept_ra", "0")
	} else if !six {
		sysctl("ipv6", name, "disable_ipv6", "1")
	}
	sysctl("ipv4", name, "rp_filter", "0")
	if !v6 {
		sysctl("ipv4", name, "accept_local", "1")
		sysctl("ipv4", name, "arp_ignore", "1")
		sysctl("ipv4", name, "promote_secondaries", "1")
	}
	l, err := v.h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("read interface %s: %w", name, err)
	}
	if v.move != nil && l.Type() == "macvlan" {
		vmac := l.Attrs().Index
		if !v6 {
			v.move(name, vmac, base.index, false)
		}
		if v6 || six {
			v.move(name, vmac, base.index, true)
		}
	}
	if err := v.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	give := func(a netip.Addr, bits int, pref int, scope int) error {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Scope: scope}
		if a.Is6() {
			addr.Flags, addr.PreferedLft, addr.ValidLft = unix.IFA_F_NODAD, pref, forever
		}
		if err := v.h.AddrReplace(l, addr); err != nil {
			return fmt.Errorf("give %s to %s: %w", a, name, err)
		}
		return nil
	}
	if p := c.VMAC; own && p.IPVlan && p.IPVlanAddr.IsValid() {
		return give(p.IPVlanAddr.Addr(), p.IPVlanAddr.Bits(), forever, unix.RT_SCOPE_UNIVERSE)
	}
	if !v6 || own && c.VMAC.XmitBase {
		return nil
	}
	// The source of its adverts: the base interface's link-local address, deprecated so that nobody else takes it.
	if a := vmacSource(c, base); a.IsValid() {
		return give(a, 64, 0, unix.RT_SCOPE_LINK)
	}
	return nil
}

// vmacSource is the link-local address that a virtual MAC interface shares with its base interface; invalid if that has none yet.
func vmacSource(c *InstanceConfig, base *iface) netip.Addr {
	if base == nil {
		return netip.Addr{}
	}
	for _, p := range base.addrs {
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && !slices.ContainsFunc(slices.Concat(c.VIPs, c.Excluded), func(a vip.Address) bool { return a.Prefix.Addr() == p.Addr() }) {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// forever is an infinite lifetime of an address.
const forever = 0xffffffff

// sysctl writes a setting of an interface. A kernel without it, or a read-only /proc/sys, is no obstacle.
func sysctl(family, name, key, value string) {
	_ = os.WriteFile("/proc/sys/net/"+family+"/conf/"+name+"/"+key, []byte(value), 0)
}

// remove deletes interfaces by name.
func (v *vmacs) remove(names ...string) {
	for _, n := range names {
		if l, err := v.h.LinkByName(n); err == nil {
			_ = v.h.LinkDel(l)
		}
	}
}

// dropVMACs takes an instance's virtual MAC interfaces away, but for those of keep, once what is queued before has been done. The kernel
// tells the LAN two to three ticks after it that a group has been left, and forgets to when the interface is gone by then.
func (e *Engine) dropVMACs(in *instance, keep footing) {
	gone := time.Time{}
	if in.leaveGroup() && in.vmac != nil && !in.cfg.VMAC.XmitBase {
		gone = time.Now().Add(4 * tick()) // one for a processor that is late
	}
	drop := func(i *iface) {
		if i == nil || keep.own != nil && keep.own.index == i.index {
			return
		}
		for _, k := range keep.addrs {
			if k.index == i.index {
				return
			}
		}
		name, index, links := i.name, i.index, e.vmacs
		e.act.put(job{what: "remove interface " + name, do: func(a *actuator) {
			if d := time.Until(gone); d > 0 {
				<-time.After(d)
			}
			a.log.Info("Removing VMAC interface " + name)
			links.remove(name)
			if a.fw == nil {
				return
			}
			if err := a.fw.DropVMAC(index); err != nil {
				a.log.Error("firewall: "+err.Error(), "iface", name, "err", err)
			}
		}})
	}
	drop(in.vmac)
	for _, i := range in.addrVMACs {
		drop(i)
	}
	in.vmac, in.addrVMACs = nil, nil
}

// tick is the length of the kernel's timer tick: 1 to 10 ms, 4 ms as Debian builds it.
func tick() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil || ts.Nano() <= 0 || ts.Nano() > 10e6 {
		return 4 * time.Millisecond
	}
	return time.Duration(ts.Nano())
}
