package nft

import (
	"golang.org/x/sys/unix"
)

// expr writes one expression of a rule. Registers are counted in units of four bytes, 0 to 15; an IPv6 address takes four.
type expr func(e *enc)

func expression(name string, body func(e *enc)) expr {
	return func(e *enc) {
		e.nest(unix.NFTA_LIST_ELEM, func() {
			e.str(unix.NFTA_EXPR_NAME, name)
			e.nest(unix.NFTA_EXPR_DATA, func() { body(e) })
		})
	}
}

func reg(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) }

// Bases of payload.
const (
	network   = unix.NFT_PAYLOAD_NETWORK_HEADER
	transport = unix.NFT_PAYLOAD_TRANSPORT_HEADER
)

func payload(to int, base, off, size uint32) expr {
	return expression("payload", func(e *enc) {
		e.u32(unix.NFTA_PAYLOAD_DREG, reg(to))
		e.u32(unix.NFTA_PAYLOAD_BASE, base)
		e.u32(unix.NFTA_PAYLOAD_OFFSET, off)
		e.u32(unix.NFTA_PAYLOAD_LEN, size)
	})
}

func meta(to int, key uint32) expr {
	return expression("meta", func(e *enc) {
		e.u32(unix.NFTA_META_DREG, reg(to))
		e.u32(unix.NFTA_META_KEY, key)
	})
}

// Directions of ct; noDir is for keys that have none.
const (
	original = 0
	reply    = 1
	noDir    = -1
)

func ct(to int, key uint32, dir int) expr {
	return expression("ct", func(e *enc) {
		e.u32(unix.NFTA_CT_DREG, reg(to))
		e.u32(unix.NFTA_CT_KEY, key)
		if dir != noDir {
			e.u8(unix.NFTA_CT_DIRECTION, uint8(dir))
		}
	})
}

func compare(op uint32, from int, v []byte) expr {
	return expression("cmp", func(e *enc) {
		e.u32(unix.NFTA_CMP_SREG, reg(from))
		e.u32(unix.NFTA_CMP_OP, op)
		e.nest(unix.NFTA_CMP_DATA, func() { e.bytes(unix.NFTA_DATA_VALUE, v) })
	})
}

func equal(from int, v []byte) expr { return compare(unix.NFT_CMP_EQ, from, v) }

// mask is reg & m.
func mask(on int, m []byte) expr {
	return expression("bitwise", func(e *enc) {
		e.u32(unix.NFTA_BITWISE_SREG, reg(on))
		e.u32(unix.NFTA_BITWISE_DREG, reg(on))
		e.u32(unix.NFTA_BITWISE_LEN, uint32(len(m)))
		e.nest(unix.NFTA_BITWISE_MASK, func() { e.bytes(unix.NFTA_DATA_VALUE, m) })
		e.nest(unix.NFTA_BITWISE_XOR, func() { e.bytes(unix.NFTA_DATA_VALUE, make([]byte, len(m))) })
	})
}

func immediate(to int, v []byte) expr {
	return expression("immediate", func(e *enc) {
		e.u32(unix.NFTA_IMMEDIATE_DREG, reg(to))
		e.nest(unix.NFTA_IMMEDIATE_DATA, func() { e.bytes(unix.NFTA_DATA_VALUE, v) })
	})
}

func jump(chain string) expr {
	return expression("immediate", func(e *enc) {
		e.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		e.nest(unix.NFTA_IMMEDIATE_DATA, func() { verdict(e, unix.NFT_JUMP, chain) })
	})
}

func verdict(e *enc, code int32, chain string) {
	e.nest(unix.NFTA_DATA_VERDICT, func() {
		e.u32(unix.NFTA_VERDICT_CODE, uint32(code))
		e.str(unix.NFTA_VERDICT_CHAIN, chain)
	})
}

// lookup matches a set (and counts in it, where its elements have counters).
func lookup(from int, set string) expr {
	return expression("lookup", func(e *enc) {
		e.u32(unix.NFTA_LOOKUP_SREG, reg(from))
		e.str(unix.NFTA_LOOKUP_SET, set)
	})
}

// load looks a value up in a map.
func load(from, to int, set string) expr {
	return expression("lookup", func(e *enc) {
		e.u32(unix.NFTA_LOOKUP_SREG, reg(from))
		e.u32(unix.NFTA_LOOKUP_DREG, reg(to))
		e.str(unix.NFTA_LOOKUP_SET, set)
	})
}

// branch goes where a verdict map says; id names a map made in the same transaction, zero one that has a name.
func branch(from int, set string, id uint32) expr {
	return expression("lookup", func(e *enc) {
		e.u32(unix.NFTA_LOOKUP_SREG, reg(from))
		e.u32(unix.NFTA_LOOKUP_DREG, unix.NFT_REG_VERDICT)
		e.str(unix.NFTA_LOOKUP_SET, set)
		if id != 0 {
			e.u32(unix.NFTA_LOOKUP_SET_ID, id)
		}
	})
}

// remember puts key → data into a map, or makes an entry that is there live for another ms milliseconds.
func remember(key, data int, set string, ms uint64) expr {
	return expression("dynset", func(e *enc) {
		e.str(unix.NFTA_DYNSET_SET_NAME, set)
		e.u32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
		e.u32(unix.NFTA_DYNSET_SREG_KEY, reg(key))
		e.u32(unix.NFTA_DYNSET_SREG_DATA, reg(data))
		e.u64(unix.NFTA_DYNSET_TIMEOUT, ms)
	})
}

// count adds the packet to a named counter.
func count(counter string) expr {
	return expression("objref", func(e *enc) {
		e.u32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER)
		e.str(unix.NFTA_OBJREF_IMM_NAME, counter)
	})
}

// dnat translates the destination; port below zero keeps it.
func dnat(family uint32, addr, port int) expr {
	return expression("nat", func(e *enc) {
		e.u32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		e.u32(unix.NFTA_NAT_FAMILY, family)
		e.u32(unix.NFTA_NAT_REG_ADDR_MIN, reg(addr))
		if port >= 0 {
			e.u32(unix.NFTA_NAT_REG_PROTO_MIN, reg(port))
		}
	})
}

// refuse answers with ICMP port unreachable, of the packet's family.
func refuse() expr {
	return expression("reject", func(e *enc) {
		e.u32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMPX_UNREACH)
		e.u8(unix.NFTA_REJECT_ICMP_CODE, unix.NFT_REJECT_ICMPX_PORT_UNREACH)
	})
}

// numgen is a number below mod: the next one (inc) or any one (random).
func numgen(to int, mod uint32, random bool) expr {
	return expression("numgen", func(e *enc) {
		kind := uint32(unix.NFT_NG_INCREMENTAL)
		if random {
			kind = unix.NFT_NG_RANDOM
		}
		e.u32(unix.NFTA_NG_DREG, reg(to))
		e.u32(unix.NFTA_NG_MODULUS, mod)
		e.u32(unix.NFTA_NG_TYPE, kind)
		e.u32(unix.NFTA_NG_OFFSET, 0)
	})
}

// jhash is a number below mod that depends on size bytes of registers. The seed is fixed, so that two directors, and one before
// and after a change, agree.
func jhash(from, to int, size, mod uint32) expr {
	return expression("hash", func(e *enc) {
		e.u32(unix.NFTA_HASH_SREG, reg(from))
		e.u32(unix.NFTA_HASH_DREG, reg(to))
		e.u32(unix.NFTA_HASH_LEN, size)
		e.u32(unix.NFTA_HASH_MODULUS, mod)
		e.u32(unix.NFTA_HASH_SEED, 0)
		e.u32(unix.NFTA_HASH_TYPE, unix.NFT_HASH_JENKINS)
	})
}

// destType is the type of the destination address here (RTN_LOCAL, ...).
func destType(to int) expr {
	return expression("fib", func(e *enc) {
		e.u32(unix.NFTA_FIB_DREG, reg(to))
		e.u32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		e.u32(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	})
}
