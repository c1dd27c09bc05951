package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// TableName is the name of the plane's table, in the inet family. Nothing outside it is touched.
const TableName = "releve"

// Priorities of the base chains: destination NAT where everybody has it, the accounting just behind it.
const (
	natPriority     = -100 // NF_IP_PRI_NAT_DST
	accountPriority = natPriority + 1
)

// Type numbers by which the nft tool prints keys (libnftables' datatype numbers), with their size in bytes.
type keyType struct{ magic, size uint32 }

var (
	typeInteger = keyType{4, 4}
	typeIPv4    = keyType{7, 4}
	typeIPv6    = keyType{8, 16}
	typeProto   = keyType{12, 4}
	typePort    = keyType{13, 4}
	typeMark    = keyType{19, 4}
)

// dataVerdict is NFT_DATA_VERDICT of linux/netfilter/nf_tables.h.
const dataVerdict = 0xffffff00

// clientsSize bounds the map of a persistent service's clients.
const clientsSize = 1 << 20

type setKind uint8

const (
	verdicts setKind = iota // key → chain
	counters                // key with a packet counter
)

// set is one of the table's permanent sets; those of persistent services come and go with them.
type set struct {
	name string
	kind setKind
	key  []keyType
}

// sets: mark*, addr* and all* lead to the chain of a service; services-* and servers-* count its packets in either direction.
var sets = []set{
	{"mark4", verdicts, []keyType{typeMark, typeProto}},
	{"mark6", verdicts, []keyType{typeMark, typeProto}},
	{"addr4", verdicts, []keyType{typeIPv4, typeProto, typePort}},
	{"addr6", verdicts, []keyType{typeIPv6, typeProto, typePort}},
	{"all4", verdicts, []keyType{typeIPv4, typeProto}},
	{"all6", verdicts, []keyType{typeIPv6, typeProto}},
	{"services-in4", counters, []keyType{typeIPv4, typeProto, typePort}},
	{"services-out4", counters, []keyType{typeIPv4, typeProto, typePort}},
	{"services-in6", counters, []keyType{typeIPv6, typeProto, typePort}},
	{"services-out6", counters, []keyType{typeIPv6, typeProto, typePort}},
	{"servers-in4", counters, []keyType{typeIPv4, typeProto, typePort, typeIPv4, typePort}},
	{"servers-out4", counters, []keyType{typeIPv4, typeProto, typePort, typeIPv4, typePort}},
	{"servers-in6", counters, []keyType{typeIPv6, typeProto, typePort, typeIPv6, typePort}},
	{"servers-out6", counters, []keyType{typeIPv6, typeProto, typePort, typeIPv6, typePort}},
}

func keyAttrs(e *enc, key []keyType) {
	var magic, size uint32
	for _, k := range key {
		magic, size = magic<<6|k.magic, size+k.size
	}
	e.u32(unix.NFTA_SET_KEY_TYPE, magic)
	e.u32(unix.NFTA_SET_KEY_LEN, size)
}

// newSet declares a set; id is the batch's number for it.
func (t *batch) newSet(name string, flags uint32, key []keyType, more func(e *enc)) (id uint32) {
	t.setID++
	t.msg(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "add set "+name, func(e *enc) {
		e.str(unix.NFTA_SET_TABLE, TableName)
		e.str(unix.NFTA_SET_NAME, name)
		e.u32(unix.NFTA_SET_ID, t.setID)
		e.u32(unix.NFTA_SET_FLAGS, flags)
		keyAttrs(e, key)
		more(e)
	})
	return t.setID
}

func verdictData(e *enc) {
	e.u32(unix.NFTA_SET_DATA_TYPE, dataVerdict)
	e.u32(unix.NFTA_SET_DATA_LEN, 0)
}

type element struct {
	key   []byte
	chain string // of a verdict map
}

// elements adds (NFT_MSG_NEWSETELEM) or deletes elements. An attribute is limited to 64 KiB, so many take several messages.
func (t *batch) elements(typ uint16, what, name string, id uint32, list []element) {
	for len(list) > 0 {
		n := 0
		for size := 0; n < len(list) && size < 32<<10; n++ {
			size += len(list[n].key) + len(list[n].chain) + 48
		}
		part := list[:n]
		list = list[n:]
		t.msg(typ, unix.NLM_F_CREATE, what, func(e *enc) {
			e.str(unix.NFTA_SET_ELEM_LIST_TABLE, TableName)
			e.str(unix.NFTA_SET_ELEM_LIST_SET, name)
			if id != 0 {
				e.u32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
			}
			e.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
				for _, el := range part {
					e.nest(unix.NFTA_LIST_ELEM, func() {
						e.nest(unix.NFTA_SET_ELEM_KEY, func() { e.bytes(unix.NFTA_DATA_VALUE, el.key) })
						if el.chain != "" {
							e.nest(unix.NFTA_SET_ELEM_DATA, func() { verdict(e, unix.NFT_GOTO, el.chain) })
						}
					})
				}
			})
		})
	}
}

// branches makes an unnamed verdict map for the next rule: key number → chain.
func (t *batch) branches(what string, list []element) (id uint32) {
	const flags = unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT | unix.NFT_SET_MAP
	id = t.newSet("__map%d", flags, []keyType{typeInteger}, func(e *enc) {
		verdictData(e)
		e.nest(unix.NFTA_SET_DESC, func() { e.u32(unix.NFTA_SET_DESC_SIZE, uint32(len(list))) })
		e.bytes(unix.NFTA_SET_USERDATA, hostOrder)
	})
	t.elements(unix.NFT_MSG_NEWSETELEM, what, "__map%d", id, list)
	return id
}

// hostOrder tells the nft tool that the keys are numbers of this machine (NFTNL_UDATA_SET_KEYBYTEORDER = 1).
var hostOrder = append([]byte{0, 4}, native(1)...)

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func (t *batch) chain(name string) {
	t.msg(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain "+name, func(e *enc) {
		e.str(unix.NFTA_CHAIN_TABLE, TableName)
		e.str(unix.NFTA_CHAIN_NAME, name)
	})
}

func (t *batch) baseChain(name, kind string, hook uint32, priority int32) {
	t.msg(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "add chain "+name, func(e *enc) {
		e.str(unix.NFTA_CHAIN_TABLE, TableName)
		e.str(unix.NFTA_CHAIN_NAME, name)
		e.nest(unix.NFTA_CHAIN_HOOK, func() {
			e.u32(unix.NFTA_HOOK_HOOKNUM, hook)
			e.u32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
		})
		e.str(unix.NFTA_CHAIN_TYPE, kind)
	})
}

func (t *batch) rule(chain, comment string, exprs ...expr) {
	t.msg(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add a rule to "+chain, func(e *enc) {
		e.str(unix.NFTA_RULE_TABLE, TableName)
		e.str(unix.NFTA_RULE_CHAIN, chain)
		e.nest(unix.NFTA_RULE_EXPRESSIONS, func() {
			for _, x := range exprs {
				x(e)
			}
		})
		if comment != "" {
			e.bytes(unix.NFTA_RULE_USERDATA, userData(comment))
		}
	})
}

// clear takes the rules out of a chain.
func (t *batch) clear(chain string) {
	t.msg(unix.NFT_MSG_DELRULE, 0, "clear chain "+chain, func(e *enc) {
		e.str(unix.NFTA_RULE_TABLE, TableName)
		e.str(unix.NFTA_RULE_CHAIN, chain)
	})
}

func (t *batch) delChain(name string) {
	t.msg(unix.NFT_MSG_DELCHAIN, 0, "delete chain "+name, func(e *enc) {
		e.str(unix.NFTA_CHAIN_TABLE, TableName)
		e.str(unix.NFTA_CHAIN_NAME, name)
	})
}

func (t *batch) delSet(name string) {
	t.msg(unix.NFT_MSG_DELSET, 0, "delete set "+name, func(e *enc) {
		e.str(unix.NFTA_SET_TABLE, TableName)
		e.str(unix.NFTA_SET_NAME, name)
	})
}

func (t *batch) counter(typ uint16, name string) {
	flags, what := uint16(unix.NLM_F_CREATE), "add counter "+name
	if typ == unix.NFT_MSG_DELOBJ {
		flags, what = 0, "delete counter "+name
	}
	t.msg(typ, flags, what, func(e *enc) {
		e.str(unix.NFTA_OBJ_TABLE, TableName)
		e.str(unix.NFTA_OBJ_NAME, name)
		e.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
		if typ == unix.NFT_MSG_NEWOBJ {
			e.nest(unix.NFTA_OBJ_DATA, func() {
				e.u64(unix.NFTA_COUNTER_BYTES, 0)
				e.u64(unix.NFTA_COUNTER_PACKETS, 0)
			})
		}
	})
}

func (t *batch) table(typ uint16) {
	flags, what := uint16(unix.NLM_F_CREATE), "add table "+TableName
	if typ == unix.NFT_MSG_DELTABLE {
		flags, what = 0, "delete table "+TableName
	}
	t.msg(typ, flags, what, func(e *enc) { e.str(unix.NFTA_TABLE_NAME, TableName) })
}

// families are the two address families as the rules need them.
var families = []struct {
	suffix                 string
	proto                  uint8
	src, dst, size         uint32 // in the network header
	ctOrigDst, ctReplySrc  uint32
	words                  int // registers of an address
	addrKey, allKey, marks string
}{
	{"4", unix.NFPROTO_IPV4, 12, 16, 4, unix.NFT_CT_DST_IP, unix.NFT_CT_SRC_IP, 1, "addr4", "all4", "mark4"},
	{"6", unix.NFPROTO_IPV6, 8, 24, 16, unix.NFT_CT_DST_IP6, unix.NFT_CT_SRC_IP6, 4, "addr6", "all6", "mark6"},
}

// skeleton writes everything that does not depend on the services. It may be there already: the outcome is the same.
func (t *batch) skeleton() {
	t.table(unix.NFT_MSG_NEWTABLE)
	for _, s := range sets {
		switch s.kind {
		case verdicts:
			t.newSet(s.name, unix.NFT_SET_MAP, s.key, verdictData)
		case counters:
			t.newSet(s.name, 0, s.key, func(e *enc) {
				e.nest(nftaSetExpr, func() {
					e.str(unix.NFTA_EXPR_NAME, "counter")
					e.nest(unix.NFTA_EXPR_DATA, func() {})
				})
			})
		}
	}
	for _, c := range []string{"marks", "addresses", "account"} {
		t.chain(c)
		t.clear(c)
	}
	for _, h := range []struct {
		nat, account string
		hook         uint32
	}{{"prerouting", "account-prerouting", unix.NF_INET_PRE_ROUTING}, {"output", "account-output", unix.NF_INET_LOCAL_OUT}} {
		t.baseChain(h.nat, "nat", h.hook, natPriority)
		t.clear(h.nat)
		t.rule(h.nat, "", jump("marks"))
		t.rule(h.nat, "", destType(0), equal(0, native(unix.RTN_LOCAL)), jump("addresses"))
		t.baseChain(h.account, "filter", h.hook, accountPriority)
		t.clear(h.account)
		t.rule(h.account, "", ct(0, unix.NFT_CT_STATUS, noDir), mask(0, native(ipsDstNAT)),
			compare(unix.NFT_CMP_NEQ, 0, native(0)), jump("account"))
	}
	for _, f := range families {
		is := []expr{meta(0, unix.NFT_META_NFPROTO), equal(0, []byte{f.proto})}
		daddr, l4, port := payload(0, network, f.dst, f.size), meta(f.words, unix.NFT_META_L4PROTO), payload(f.words+1, transport, 2, 2)
		t.rule("marks", "", append(slices.Clone(is), meta(0, unix.NFT_META_MARK), meta(1, unix.NFT_META_L4PROTO), branch(0, f.marks, 0))...)
		t.rule("addresses", "", append(slices.Clone(is), daddr, l4, port, branch(0, f.addrKey, 0))...)
		t.rule("addresses", "", append(slices.Clone(is), daddr, l4, branch(0, f.allKey, 0))...)
		for dir, word := range []string{"in", "out"} {
			key := append(slices.Clone(is), ct(0, unix.NFT_CT_DIRECTION, noDir), equal(0, []byte{uint8(dir)}),
				ct(0, f.ctOrigDst, original), l4, ct(f.words+1, unix.NFT_CT_PROTO_DST, original))
			t.rule("account", "", append(slices.Clone(key), lookup(0, "services-"+word+f.suffix))...)
			t.rule("account", "", append(slices.Clone(key), ct(f.words+2, f.ctReplySrc, reply),
				ct(2*f.words+2, unix.NFT_CT_PROTO_SRC, reply), lookup(0, "servers-"+word+f.suffix))...)
		}
	}
}

const (
	nftaSetExpr = 17     // NFTA_SET_EXPR, linux/netfilter/nf_tables.h
	ipsDstNAT   = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
)

// word pads a value of less than four bytes to a register, as the kernel loads it.
func word(v ...byte) []byte { return append(v, make([]byte, 4-len(v))...) }

func portWord(p uint16) []byte { return word(byte(p>>8), byte(p)) }

// entries are the elements of verdict maps that lead to a service.
func entries(k ipvs.ServiceKey) (name string, keys [][]byte) {
	suffix := "4"
	if k.Family == ipvs.IPv6 {
		suffix = "6"
	}
	switch {
	case k.FWMark != 0:
		for _, p := range []ipvs.Protocol{ipvs.TCP, ipvs.UDP, ipvs.SCTP} {
			keys = append(keys, append(native(k.FWMark), word(byte(p))...))
		}
		return "mark" + suffix, keys
	case k.Port == 0:
		return "all" + suffix, [][]byte{append(k.Addr.AsSlice(), word(byte(k.Protocol))...)}
	}
	return "addr" + suffix, [][]byte{accountKey(k, nil)}
}

// accountKey is the key under which the packets of a service, or of one of its destinations, are counted.
func accountKey(k ipvs.ServiceKey, d *ipvs.DestKey) []byte {
	b := append(k.Addr.AsSlice(), word(byte(k.Protocol))...)
	b = append(b, portWord(k.Port)...)
	if d != nil {
		b = append(append(b, d.Addr.AsSlice()...), portWord(d.Port)...)
	}
	return b
}

// accounted says whether packets can be told to belong to the service: marks are not kept by connections.
func accounted(k ipvs.ServiceKey) bool { return k.FWMark == 0 && k.Port != 0 }

// setNames are the two counter sets of "services" or "servers".
func setNames(what string, f ipvs.Family) [2]string {
	suffix := "4"
	if f == ipvs.IPv6 {
		suffix = "6"
	}
	return [2]string{what + "-in" + suffix, what + "-out" + suffix}
}

// client loads what identifies a client into register 0: its address, cut to the granularity.
func client(s *ipvs.Service) []expr {
	if s.Family == ipvs.IPv6 {
		x := []expr{payload(0, network, 8, 16)}
		if s.Granularity > 0 && s.Granularity < 128 {
			x = append(x, mask(0, prefixMask(s.Granularity, 16)))
		}
		return x
	}
	x := []expr{payload(0, network, 12, 4)}
	if s.Granularity > 0 && s.Granularity < 32 {
		x = append(x, mask(0, prefixMask(s.Granularity, 4)))
	}
	return x
}

func prefixMask(bits uint8, size int) []byte {
	m := make([]byte, size)
	for i := range int(bits) {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// idRegister holds the number of a remembered server, behind the longest address.
const idRegister = 8

func persistent(s *ipvs.Service) bool { return s.Flags&ipvs.Persistent != 0 && s.Timeout > 0 }

// destRules fills the chain of a destination: count, remember the client, translate.
func (t *batch) destRules(name string, s *ipvs.Service, d *ipvs.Dest, id uint32) {
	chain := destName(name, d.DestKey)
	first := []expr{count(name), count(chain)}
	if persistent(s) {
		first = append(append(first, client(s)...), immediate(idRegister, native(id)),
			remember(0, idRegister, clientsName(name), uint64(s.Timeout/time.Millisecond)))
	}
	t.rule(chain, "", first...)
	x := []expr{immediate(0, d.Addr.AsSlice())}
	port := -1
	if d.Port != 0 {
		port = 4
		x = append(x, immediate(port, []byte{byte(d.Port >> 8), byte(d.Port)}))
	}
	t.rule(chain, destComment(d, id), append(x, dnat(natFamily(d.Addr), 0, port))...)
}

func natFamily(a netip.Addr) uint32 {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// serviceRules fills the chain of a service: known clients first, then the scheduler, or a refusal if nobody can serve.
func (t *batch) serviceRules(name string, s *service) {
	if persistent(&s.Service) && len(s.Dests) > 0 {
		var known []element
		for _, d := range s.Dests {
			known = append(known, element{native(s.ids[d.DestKey]), destName(name, d.DestKey)})
		}
		id := t.branches("add servers of "+name, known)
		t.rule(name, "", append(client(&s.Service), load(0, idRegister, clientsName(name)), branch(idRegister, "__map%d", id))...)
	}
	c := schedule(&s.Service)
	if len(c.slots) == 0 {
		t.rule(name, serviceComment(&s.Service), refuse())
		return
	}
	slots := make([]element, len(c.slots))
	for i, d := range c.slots {
		slots[i] = element{native(uint32(i)), destName(name, s.Dests[d].DestKey)}
	}
	id := t.branches("add slots of "+name, slots)
	n, f := uint32(len(slots)), families[0]
	if s.Family == ipvs.IPv6 {
		f = families[1]
	}
	var x []expr
	switch c.by {
	case inTurn, atRandom:
		x = append(x, numgen(0, n, c.by == atRandom))
	case bySource, byDest:
		at, size := f.src, f.size
		if c.by == byDest {
			at = f.dst
		}
		x = append(x, payload(0, network, at, f.size))
		if c.port {
			x = append(x, payload(f.words, transport, 0, 2))
			size += 4
		}
		x = append(x, jhash(0, idRegister, size, n))
	}
	from := 0
	if c.by == bySource || c.by == byDest {
		from = idRegister
	}
	t.rule(name, serviceComment(&s.Service), append(x, branch(from, "__map%d", id))...)
}

// isServiceChain tells chains of services from those of their destinations.
func isServiceChain(name string) bool { return !strings.Contains(name, "/") }
