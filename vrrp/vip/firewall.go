package vip

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// FirewallConfig is how the tables look. The zero value is the reference's.
type FirewallConfig struct {
	Table string // empty: keepalived
	// Priority is that of the chains; it counts with HasPriority, else it is one before the filter's.
	Priority    int
	HasPriority bool
	// Counters makes the rules count.
	Counters bool
}

// Firewall keeps others from using virtual addresses of a router that may not accept packets for them (RFC 9568 §6.1, Accept_Mode
// false), and lets the group memberships of virtual MACs leave by their base interface, so that switches do not learn the virtual
// MAC at a backup. There is a table for each family, made when there is something for it: the set `vips` and the chains `in` and `out`,
// link-local addresses apart as they belong to an interface; a map `vmac_map` from virtual MAC to base interface. ARP and neighbour
// discovery are answered all the same. It may be used by several goroutines.
type Firewall struct {
	mu     sync.Mutex
	cfg    FirewallConfig
	ns     int
	tables map[bool]*firewallTable // by "is IPv6"
	sets   uint32                  // made so far
}

// Guarded is an address on an interface.
type Guarded struct {
	Addr  netip.Addr
	Index int
}

type firewallTable struct {
	table            *nftables.Table
	out, in          *nftables.Chain
	vips, local      *nftables.Set // nil: not made yet
	vmacMap, vmacSet *nftables.Set
	vmacs            map[int]int // index to base
}

// OpenFirewall remembers the namespace of the calling thread and changes nothing.
func OpenFirewall(cfg FirewallConfig) (*Firewall, error) {
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	cfg.Table = cmp.Or(cfg.Table, "keepalived")
	if !cfg.HasPriority {
		cfg.Priority = int(*nftables.ChainPriorityFilter) - 1
	}
	return &Firewall{cfg: cfg, ns: ns, tables: map[bool]*firewallTable{}}, nil
}

// conn enters the namespace only if it is another one: that takes CAP_SYS_ADMIN, which a container with CAP_NET_ADMIN has not.
func (f *Firewall) conn() (*nftables.Conn, error) {
	var here, ours unix.Stat_t
	var opts []nftables.ConnOption
	if unix.Stat("/proc/thread-self/ns/net", &here) != nil || unix.Fstat(f.ns, &ours) != nil || here.Dev != ours.Dev || here.Ino != ours.Ino {
		opts = append(opts, nftables.WithNetNSFd(f.ns))
	}
	c, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// Deny drops what is sent to and from addrs.
func (f *Firewall) Deny(addrs []Guarded) error { return f.addresses(addrs, true) }

// Allow ends that.
func (f *Firewall) Allow(addrs []Guarded) error { return f.addresses(addrs, false) }

func (f *Firewall) addresses(addrs []Guarded, deny bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, v6 := range []bool{false, true} {
		var el, local []nftables.SetElement
		for _, a := range addrs {
			switch {
			case a.Addr.Is6() != v6:
			case v6 && a.Addr.IsLinkLocalUnicast():
				local = append(local, nftables.SetElement{Key: append(a.Addr.AsSlice(), index(a.Index)...)})
			default:
				el = append(el, nftables.SetElement{Key: a.Addr.AsSlice()})
			}
		}
		if len(el)+len(local) == 0 || !deny && (f.tables[v6] == nil || f.tables[v6].vips == nil) {
			continue
		}
		errs = append(errs, f.change(v6, func(c *nftables.Conn, t *firewallTable) error {
			if err := f.vips(c, t, v6); err != nil {
				return err
			}
			for _, x := range []struct {
				set *nftables.Set
				el  []nftables.SetElement
			}{{t.vips, el}, {t.local, local}} {
				if len(x.el) == 0 {
					continue
				}
				do := c.SetDeleteElements
				if deny {
					do = c.SetAddElements
				}
				if err := do(x.set, x.el); err != nil {
					return err
				}
			}
			return nil
		}, !deny))
	}
	return errors.Join(errs...)
}

// AddVMAC lets what a virtual MAC interface says about its groups leave by the base interface.
func (f *Firewall) AddVMAC(vmac, base int, v6 bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[v6]; t != nil && t.vmacs[vmac] == base {
		return nil
	}
	return f.change(v6, func(c *nftables.Conn, t *firewallTable) error {
		if err := f.groups(c, t, v6); err != nil {
			return err
		}
		t.vmacs[vmac] = base
		if err := c.SetAddElements(t.vmacMap, []nftables.SetElement{{Key: index(vmac), Val: index(base)}}); err != nil || !v6 {
			return err
		}
		return c.SetAddElements(t.vmacSet, []nftables.SetElement{{Key: index(vmac)}})
	}, false)
}

// DropVMAC ends that. The interface may be gone already.
func (f *Firewall) DropVMAC(vmac int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for v6, t := range f.tables {
		base, ok := t.vmacs[vmac]
		if !ok {
			continue
		}
		delete(t.vmacs, vmac)
		errs = append(errs, f.change(v6, func(c *nftables.Conn, t *firewallTable) error {
			if err := c.SetDeleteElements(t.vmacMap, []nftables.SetElement{{Key: index(vmac), Val: index(base)}}); err != nil || !v6 {
				return err
			}
			return c.SetDeleteElements(t.vmacSet, []nftables.SetElement{{Key: index(vmac)}})
		}, true))
	}
	return errors.Join(errs...)
}

// change makes a change of a table, and the table first. With gone it is no error that something is not there.
func (f *Firewall) change(v6 bool, what func(*nftables.Conn, *firewallTable) error, gone bool) error {
	c, err := f.conn()
	if err != nil {
		return err
	}
	t := f.tables[v6]
	next := &firewallTable{vmacs: map[int]int{}}
	if t != nil {
		*next = *t
	} else {
		// One that a predecessor left is emptied first.
		family := nftables.TableFamilyIPv4
		if v6 {
			family = nftables.TableFamilyIPv6
		}
		next.table = c.AddTable(&nftables.Table{Family: family, Name: f.cfg.Table})
		c.DelTable(next.table)
		next.table = c.AddTable(&nftables.Table{Family: family, Name: f.cfg.Table})
	}
	if err = what(c, next); err == nil {
		err = c.Flush()
	}
	if err != nil && (!gone || !errors.Is(err, unix.ENOENT)) {
		return fmt.Errorf("change nftables table %s: %w", f.cfg.Table, err)
	}
	f.tables[v6] = next
	return nil
}

func index(i int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(i)) }

// chain makes a chain at a hook unless it is there.
func (f *Firewall) chain(c *nftables.Conn, t *firewallTable, at **nftables.Chain, name string, hook *nftables.ChainHook) {
	if *at == nil {
		*at = c.AddChain(&nftables.Chain{Name: name, Table: t.table, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityRef(nftables.ChainPriority(f.cfg.Priority))})
	}
}

// verdict ends a rule.
func (f *Firewall) verdict(kind expr.VerdictKind, chain string, match ...expr.Any) []expr.Any {
	if f.cfg.Counters {
		match = append(match, &expr.Counter{})
	}
	return append(match, &expr.Verdict{Kind: kind, Chain: chain})
}

// icmp matches an ICMPv6 message by the range of its type, whatever headers stand before it.
func icmp(low, high byte) []expr.Any {
	match := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
	}
	if low == high {
		return append(match, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{low}})
	}
	return append(match, &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{low}}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{high}})
}

// ICMPv6 types (RFC 4861 §4, RFC 3810 §5.2).
const (
	routerSolicit     = 133
	neighborSolicit   = 135
	neighborAdvert    = 136
	listenerReport    = 143
	ifaceKindRegister = 27 // NFT_META_OIFKIND of linux/netfilter/nf_tables.h
)

// vips queues the sets and rules that drop, unless they are there.
func (f *Firewall) vips(c *nftables.Conn, t *firewallTable, v6 bool) error {
	if t.vips != nil {
		return nil
	}
	key, src, dst, size := nftables.TypeIPAddr, uint32(12), uint32(16), uint32(4)
	if v6 {
		key, src, dst, size = nftables.TypeIP6Addr, 8, 24, 16
	}
	t.vips = &nftables.Set{ID: f.setID(), Table: t.table, Name: "vips", KeyType: key}
	if err := c.AddSet(t.vips, nil); err != nil {
		return fmt.Errorf("make nftables set vips: %w", err)
	}
	if v6 {
		t.local = &nftables.Set{ID: f.setID(), Table: t.table, Name: "vips_link_local", Concatenation: true, KeyType: nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeIFIndex)}
		if err := c.AddSet(t.local, nil); err != nil {
			return fmt.Errorf("make nftables set vips_link_local: %w", err)
		}
	}
	f.chain(c, t, &t.in, "in", nftables.ChainHookInput)
	f.chain(c, t, &t.out, "out", nftables.ChainHookOutput)
	for _, x := range []struct {
		chain  *nftables.Chain
		offset uint32
		iface  expr.MetaKey
	}{{t.in, dst, expr.MetaKeyIIF}, {t.out, src, expr.MetaKeyOIF}} {
		if v6 {
			c.AddRule(&nftables.Rule{Table: t.table, Chain: x.chain, Exprs: f.verdict(expr.VerdictAccept, "", icmp(neighborSolicit, neighborAdvert)...)})
			c.AddRule(&nftables.Rule{Table: t.table, Chain: x.chain, Exprs: f.verdict(expr.VerdictDrop, "",
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: x.offset, Len: size},
				&expr.Meta{Key: x.iface, Register: 2},
				&expr.Lookup{SourceRegister: 1, SetName: t.local.Name, SetID: t.local.ID})})
		}
		c.AddRule(&nftables.Rule{Table: t.table, Chain: x.chain, Exprs: f.verdict(expr.VerdictDrop, "",
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: x.offset, Len: size},
			&expr.Lookup{SourceRegister: 1, SetName: t.vips.Name, SetID: t.vips.ID})})
	}
	return nil
}

// setID numbers the sets of this firewall, as a transaction wants them. The library would count for the whole process, without a lock.
func (f *Firewall) setID() uint32 {
	f.sets++
	return f.sets
}

// groups queues the map and the rule that move group memberships, unless they are there. They come before the others.
func (f *Firewall) groups(c *nftables.Conn, t *firewallTable, v6 bool) error {
	if t.vmacMap != nil {
		return nil
	}
	t.vmacMap = &nftables.Set{ID: f.setID(), Table: t.table, Name: "vmac_map", IsMap: true, KeyType: nftables.TypeIFIndex, DataType: nftables.TypeIFIndex, KeyByteOrder: binaryutil.NativeEndian}
	if err := c.AddSet(t.vmacMap, nil); err != nil {
		return fmt.Errorf("make nftables map vmac_map: %w", err)
	}
	f.chain(c, t, &t.out, "out", nftables.ChainHookOutput)
	kind := make([]byte, 16)
	copy(kind, "macvlan")
	macvlan := []expr.Any{&expr.Meta{Key: ifaceKindRegister, Register: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 2, Data: kind}}
	match := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_IGMP}},
	}
	to := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	if v6 {
		match, to = icmp(listenerReport, listenerReport), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}
		t.vmacSet = &nftables.Set{ID: f.setID(), Table: t.table, Name: "vmac_set", KeyType: nftables.TypeIFIndex, KeyByteOrder: binaryutil.NativeEndian}
		if err := c.AddSet(t.vmacSet, nil); err != nil {
			return fmt.Errorf("make nftables set vmac_set: %w", err)
		}
		c.InsertRule(&nftables.Rule{Table: t.table, Chain: t.out, Exprs: f.verdict(expr.VerdictDrop, "", append(append(icmp(routerSolicit, routerSolicit), macvlan...),
			&expr.Meta{Key: expr.MetaKeyOIF, Register: 2}, &expr.Lookup{SourceRegister: 2, SetName: t.vmacSet.Name, SetID: t.vmacSet.ID})...)})
	}
	match = append(append(match, macvlan...), to,
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 2},
		&expr.Lookup{SourceRegister: 2, DestRegister: 2, IsDestRegSet: true, SetName: t.vmacMap.Name, SetID: t.vmacMap.ID},
		&expr.Dup{RegAddr: 1, RegDev: 2, IsRegDevSet: true})
	c.InsertRule(&nftables.Rule{Table: t.table, Chain: t.out, Exprs: f.verdict(expr.VerdictDrop, "", match...)})
	return nil
}

// Close removes the tables.
func (f *Firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, t := range f.tables {
		c, err := f.conn()
		if err == nil {
			c.DelTable(t.table)
			err = c.Flush()
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove nftables table %s: %w", f.cfg.Table, err))
		}
	}
	clear(f.tables)
	if f.ns >= 0 {
		errs = append(errs, unix.Close(f.ns))
		f.ns = -1
	}
	return errors.Join(errs...)
}
