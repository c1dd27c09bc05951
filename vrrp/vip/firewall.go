package vip

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Firewall keeps others from using virtual addresses of a router that may not accept packets for them (RFC 9568 §6.1, Accept_Mode
// false): a table `keepalived` with a set `vips` and the chains `in` and `out`, one for each family. It is made when the first
// address is denied. ARP and neighbour discovery are answered all the same. It is used by one goroutine.
type Firewall struct {
	ns     int
	tables map[bool]*firewallTable // by "is IPv6"
}

type firewallTable struct {
	table *nftables.Table
	set   *nftables.Set
}

// OpenFirewall remembers the namespace of the calling thread and changes nothing.
func OpenFirewall() (*Firewall, error) {
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &Firewall{ns: ns, tables: map[bool]*firewallTable{}}, nil
}

func (f *Firewall) conn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(f.ns))
}

// Deny drops what is sent to and from addrs.
func (f *Firewall) Deny(addrs []netip.Addr) error { return f.change(addrs, true) }

// Allow ends that.
func (f *Firewall) Allow(addrs []netip.Addr) error { return f.change(addrs, false) }

func (f *Firewall) change(addrs []netip.Addr, deny bool) error {
	var errs []error
	for _, v6 := range []bool{false, true} {
		var el []nftables.SetElement
		for _, a := range addrs {
			if a.Is6() == v6 {
				el = append(el, nftables.SetElement{Key: a.AsSlice()})
			}
		}
		if len(el) == 0 || !deny && f.tables[v6] == nil {
			continue
		}
		if err := f.elements(v6, el, deny); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *Firewall) elements(v6 bool, el []nftables.SetElement, deny bool) error {
	c, err := f.conn()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := f.tables[v6]
	if t == nil {
		if t, err = build(c, v6); err != nil {
			return err
		}
	}
	if deny {
		err = c.SetAddElements(t.set, el)
	} else {
		err = c.SetDeleteElements(t.set, el)
	}
	if err == nil {
		err = c.Flush()
	}
	if err != nil && (deny || !errors.Is(err, unix.ENOENT)) {
		return fmt.Errorf("change nftables table keepalived: %w", err)
	}
	f.tables[v6] = t
	return nil
}

// build queues the table. One that a predecessor left is emptied first.
func build(c *nftables.Conn, v6 bool) (*firewallTable, error) {
	family, key, src, dst, size := nftables.TableFamilyIPv4, nftables.TypeIPAddr, uint32(12), uint32(16), uint32(4)
	if v6 {
		family, key, src, dst, size = nftables.TableFamilyIPv6, nftables.TypeIP6Addr, 8, 24, 16
	}
	table := c.AddTable(&nftables.Table{Family: family, Name: "keepalived"})
	c.DelTable(table)
	table = c.AddTable(&nftables.Table{Family: family, Name: "keepalived"})
	set := &nftables.Set{Table: table, Name: "vips", KeyType: key}
	if err := c.AddSet(set, nil); err != nil {
		return nil, fmt.Errorf("make nftables set vips: %w", err)
	}
	for _, ch := range []struct {
		name   string
		hook   *nftables.ChainHook
		offset uint32
	}{{"in", nftables.ChainHookInput, dst}, {"out", nftables.ChainHookOutput, src}} {
		chain := c.AddChain(&nftables.Chain{Name: ch.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: ch.hook,
			Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityFilter - 1)})
		if v6 {
			// Neighbour solicitations and advertisements pass (ICMPv6 types 135 and 136).
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
				&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{135}},
				&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{136}},
				&expr.Verdict{Kind: expr.VerdictAccept},
			}})
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ch.offset, Len: size},
			&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	return &firewallTable{table, set}, nil
}

// Close removes the tables.
func (f *Firewall) Close() error {
	var errs []error
	for _, t := range f.tables {
		c, err := f.conn()
		if err == nil {
			c.DelTable(t.table)
			err = c.Flush()
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove nftables table keepalived: %w", err))
		}
	}
	clear(f.tables)
	if f.ns >= 0 {
		errs = append(errs, unix.Close(f.ns))
		f.ns = -1
	}
	return errors.Join(errs...)
}
