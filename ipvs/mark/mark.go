// Package mark sets firewall marks by nftables, so that one IPVS service with a mark stands for many addresses and ports.
package mark

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// Marker writes one nftables table for each address family, of the shape that the reference makes: a map from address and port to the mark
// for each protocol, and a chain at the input hook.
type Marker struct {
	// NetNamespace is the path of the network namespace; empty: this one.
	NetNamespace string

	last []ipvs.MarkTarget
	set  ipvs.MarkTable
	done bool
	// rules are how many each family's chain was given.
	rules map[nftables.TableFamily]int
}

// Set makes packets to the targets carry their marks and replaces, in one transaction, what the table held. Without targets the table is
// removed. A table that a predecessor left is taken over.
func (m *Marker) Set(_ context.Context, t ipvs.MarkTable, targets []ipvs.MarkTarget) error {
	if m.done && m.set == t && slices.Equal(m.last, targets) {
		return nil
	}
	if !m.done && len(targets) == 0 {
		return nil
	}
	c, closeNS, err := m.open()
	if err != nil {
		return fmt.Errorf("nftables table %s for marks: %w", t.Name, err)
	}
	defer closeNS()
	if m.done && m.set.Name != t.Name {
		if err := remove(c, m.set.Name); err != nil {
			return err
		}
	}
	if err := remove(c, t.Name); err != nil {
		return err
	}
	rules := map[nftables.TableFamily]int{}
	for _, f := range []struct {
		family nftables.TableFamily
		v6     bool
	}{{nftables.TableFamilyIPv4, false}, {nftables.TableFamilyIPv6, true}} {
		var mine []ipvs.MarkTarget
		for _, g := range targets {
			if g.First.Is6() == f.v6 {
				mine = append(mine, g)
			}
		}
		if len(mine) == 0 {
			continue
		}
		if rules[f.family], err = table(c, f.family, t, mine); err != nil {
			return fmt.Errorf("nftables table %s for marks: %w", t.Name, err)
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables table %s for marks: %w", t.Name, err)
	}
	m.last, m.set, m.done, m.rules = slices.Clone(targets), t, len(targets) > 0, rules
	return nil
}

// Intact reports whether the tables of the last Set are there with their chains and rules. What is not is made again by the next Set.
func (m *Marker) Intact(context.Context) (bool, error) {
	if !m.done {
		return true, nil
	}
	c, closeNS, err := m.open()
	if err != nil {
		return false, fmt.Errorf("nftables table %s for marks: %w", m.set.Name, err)
	}
	defer closeNS()
	for family, n := range m.rules {
		if n == 0 {
			continue
		}
		tab := &nftables.Table{Family: family, Name: m.set.Name}
		found, err := c.GetRules(tab, &nftables.Chain{Name: chainName, Table: tab})
		switch {
		case err != nil && !errors.Is(err, unix.ENOENT):
			return false, fmt.Errorf("nftables table %s for marks: %w", m.set.Name, err)
		case err != nil || len(found) != n:
			m.last = nil
			return false, nil
		}
	}
	return true, nil
}

// chainName is the chain's name in each table.
const chainName = "in"

func (m *Marker) open() (*nftables.Conn, func(), error) {
	if m.NetNamespace == "" {
		c, err := nftables.New()
		return c, func() {}, err
	}
	ns, err := netns.GetFromPath(m.NetNamespace)
	if err != nil {
		return nil, nil, err
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		ns.Close()
		return nil, nil, err
	}
	return c, func() { ns.Close(); runtime.KeepAlive(c) }, nil
}

// remove asks for the removal of what is there by that name; it is done with the next flush.
func remove(c *nftables.Conn, name string) error {
	for _, f := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		list, err := c.ListTablesOfFamily(f)
		if err != nil {
			return fmt.Errorf("list nftables tables: %w", err)
		}
		for _, t := range list {
			if t.Name == name {
				c.DelTable(t)
			}
		}
	}
	return nil
}

var protocols = []struct {
	p    ipvs.Protocol
	name string
}{{ipvs.TCP, "tcp"}, {ipvs.UDP, "udp"}, {ipvs.SCTP, "sctp"}}

// table adds the table of one family and counts its rules.
func table(c *nftables.Conn, family nftables.TableFamily, t ipvs.MarkTable, targets []ipvs.MarkTarget) (rules int, err error) {
	tab := c.AddTable(&nftables.Table{Family: family, Name: t.Name})
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{Name: chainName, Table: tab, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(t.Priority)), Policy: &policy})
	addrType, offset, length := nftables.TypeIPAddr, uint32(16), uint32(4)
	if family == nftables.TableFamilyIPv6 {
		addrType, offset, length = nftables.TypeIP6Addr, 24, 16
	}
	key, err := nftables.ConcatSetType(addrType, nftables.TypeInetService)
	if err != nil {
		return 0, err
	}
	for _, p := range protocols {
		var elements []nftables.SetElement
		for _, g := range targets {
			if g.Protocol == p.p {
				elements = append(elements, element(&g))
			}
		}
		if len(elements) == 0 {
			continue
		}
		set := &nftables.Set{Table: tab, Name: p.name + "_map", IsMap: true, Interval: true, Concatenation: true, KeyType: key, DataType: nftables.TypeMark}
		if err := c.AddSet(set, elements); err != nil {
			return 0, err
		}
		reg := uint32(unix.NFT_REG32_00)
		rule := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p.p)}},
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
			&expr.Payload{DestRegister: reg + length/4, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: reg, DestRegister: 1, IsDestRegSet: true, SetName: set.Name, SetID: set.ID},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		}
		if t.Counters {
			rule = append(rule, &expr.Counter{})
		}
		rules++
		c.AddRule(&nftables.Rule{Table: tab, Chain: chain, Exprs: append(rule, &expr.Verdict{Kind: expr.VerdictReturn})})
	}
	return rules, nil
}

// element is a range of addresses with a port, 0 for all ports.
func element(g *ipvs.MarkTarget) nftables.SetElement {
	from, to := g.Port, g.Port
	if g.Port == 0 {
		to = 65535
	}
	val := make([]byte, 4)
	binary.NativeEndian.PutUint32(val, g.Mark)
	return nftables.SetElement{Key: concat(g.First, from), KeyEnd: concat(g.Last, to), Val: val}
}

func concat(a netip.Addr, port uint16) []byte {
	b := a.AsSlice()
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0) // each part fills whole words
}
