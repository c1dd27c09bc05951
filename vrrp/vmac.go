package vrrp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
)

// A virtual MAC address (RFC 9568 §7.3) is a macvlan in private mode on the instance's interface. It carries the virtual addresses,
// answers ARP for them and sends the adverts; with vmac_xmit_base the base interface sends. Adverts are received on the base
// interface in any case, so group memberships stay there.

// vmacMAC is 00:00:5e:00:01:VRID, 00:00:5e:00:02:VRID for IPv6.
func vmacMAC(c *InstanceConfig) net.HardwareAddr {
	if c.VMAC.MAC != [6]byte{} {
		return c.VMAC.MAC[:]
	}
	family := byte(1)
	if c.IPv6 {
		family = 2
	}
	return net.HardwareAddr{0, 0, 0x5e, 0, family, c.VRID}
}

// vmacNames are the names that an instance's VMAC may have, best first.
func vmacNames(c *InstanceConfig, cfg *Config) []string {
	if c.VMAC.Name != "" {
		return []string{c.VMAC.Name}
	}
	prefix := cfg.VMACPrefix
	if prefix == "" {
		prefix = "vrrp"
	}
	names := []string{fmt.Sprintf("%s.%d", prefix, c.VRID)}
	if c.IPv6 {
		names = append(names, fmt.Sprintf("%s6.%d", prefix, c.VRID))
	}
	for i := 1; i < 8; i++ {
		names = append(names, fmt.Sprintf("%s%d.%d", prefix, 10*i, c.VRID))
	}
	return names
}

// vmacs makes and removes the interfaces; on the owner's behalf, in the namespace where it was opened.
type vmacs struct{ h *netlink.Handle }

// make gives the VMAC of an instance. One that a predecessor left is used if it is what would have been made. The name of an
// interface made now is added to made.
func (v *vmacs) make(c *InstanceConfig, cfg *Config, base *iface, taken map[string]bool, made *[]string) (*iface, error) {
	mac := vmacMAC(c)
	for _, name := range vmacNames(c, cfg) {
		if taken[name] {
			continue
		}
		old, err := v.h.LinkByName(name)
		if err == nil && !v.fits(old, c, base, mac) {
			continue
		}
		if err != nil {
			if err := v.add(name, c, base, mac); err != nil {
				return nil, err
			}
			*made = append(*made, name)
		}
		if err := v.prepare(name, c, base); err != nil {
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

func (v *vmacs) fits(l netlink.Link, c *InstanceConfig, base *iface, mac net.HardwareAddr) bool {
	a := l.Attrs()
	if a.ParentIndex != base.index {
		return false
	}
	if c.VMAC.IPVlan {
		return l.Type() == "ipvlan"
	}
	return l.Type() == "macvlan" && slices.Equal(a.HardwareAddr, mac)
}

func (v *vmacs) add(name string, c *InstanceConfig, base *iface, mac net.HardwareAddr) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.ParentIndex = name, base.index
	if c.VMAC.HasGroup {
		a.Group = uint32(c.VMAC.Group)
	}
	var l netlink.Link
	if c.VMAC.IPVlan {
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

// prepare sets what keeps VMAC and base apart: each answers ARP for its own addresses only, nothing is filtered for coming in by
// the other one, and the VMAC makes up no addresses of its own.
func (v *vmacs) prepare(name string, c *InstanceConfig, base *iface) error {
	sysctl("ipv6", name, "addr_gen_mode", "1")
	if c.IPv6 {
		sysctl("ipv6", name, "accept_ra", "0")
		sysctl("ipv6", name, "dad_transmits", "0")
	} else if !slices.ContainsFunc(slices.Concat(c.VIPs, c.Excluded), func(a vip.Address) bool { return a.Prefix.Addr().Is6() }) {
		sysctl("ipv6", name, "disable_ipv6", "1")
	}
	sysctl("ipv4", name, "rp_filter", "0")
	sysctl("ipv4", name, "accept_local", "1")
	sysctl("ipv4", name, "arp_ignore", "1")
	if !c.VMAC.IPVlan {
		sysctl("ipv4", base.name, "arp_ignore", "1")
		sysctl("ipv4", base.name, "arp_filter", "1")
		// Answers from a virtual address leave by the base interface. Its ARP requests must not name that address as sender, or
		// the neighbours learn the wrong MAC for it.
		sysctl("ipv4", base.name, "arp_announce", "2")
	}
	l, err := v.h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("read interface %s: %w", name, err)
	}
	if err := v.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	if !c.IPv6 || c.VMAC.XmitBase {
		return nil
	}
	// The source of its adverts: the base interface's link-local address, deprecated so that nobody else takes it.
	for _, p := range base.addrs {
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD, PreferedLft: 0, ValidLft: forever, Scope: unix.RT_SCOPE_LINK}
			if err := v.h.AddrReplace(l, addr); err != nil {
				return fmt.Errorf("give %s to %s: %w", p.Addr(), name, err)
			}
			break
		}
	}
	return nil
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

// dropVMAC takes an instance's VMAC away once what is queued before has been done.
func (e *Engine) dropVMAC(in *instance) {
	if in.vmac == nil {
		return
	}
	name, links := in.vmac.name, e.vmacs
	in.vmac = nil
	e.act.put(job{do: func(a *actuator) {
		a.log.Info("Removing VMAC interface " + name)
		links.remove(name)
	}})
}
