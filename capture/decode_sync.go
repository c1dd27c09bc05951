package capture

import (
	"fmt"
	"net/netip"
	"time"
)

// Sync is a datagram of the IPVS sync daemon (net/netfilter/ipvs/ip_vs_sync.c).
type Sync struct {
	Version, ID uint8
	Conns       []SyncConn
}

// SyncConn is a connection that one director tells the other.
type SyncConn struct {
	Proto                 uint8
	Flags                 uint32
	State                 uint16
	Mark                  uint32
	Timeout               time.Duration
	Client, Virtual, Real netip.AddrPort
}

// StateName is the name of the connection's state as the kernel prints it.
func (c *SyncConn) StateName() string {
	tcp := [...]string{"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK"}
	switch {
	case c.Proto == 6 && int(c.State) < len(tcp):
		return tcp[c.State]
	case c.Proto == 17 && c.State == 0:
		return "UDP"
	}
	return fmt.Sprint(c.State)
}

// connTemplate marks an entry of persistence, not a connection (IP_VS_CONN_F_TEMPLATE).
const connTemplate = 0x1000

// Template tells whether the entry keeps a client with its server, rather than being a connection.
func (c *SyncConn) Template() bool { return c.Flags&connTemplate != 0 }

func (f *Frame) sync(b []byte) {
	f.Proto = "ipvs"
	if len(b) < 4 {
		f.Fault = "shorter than a sync header"
		return
	}
	s := &Sync{ID: b[1]}
	f.Msg = s
	if len(b) >= 8 && b[0] == 0 && b[5] == 1 {
		s.Version = 1
		f.add("ipvs.syncid", "%d", s.ID)
		f.add("ipvs.size", "%d", be.Uint16(b[2:]))
		f.add("ipvs.conncount", "%d", b[4])
		f.add("ipvs.version", "%d", b[5])
		if int(be.Uint16(b[2:])) != len(b) {
			f.Fault = fmt.Sprintf("the size says %d bytes, there are %d", be.Uint16(b[2:]), len(b))
		}
		f.syncV1(s, b[8:], int(b[4]))
		return
	}
	f.add("ipvs.conncount", "%d", b[0])
	f.add("ipvs.syncid", "%d", s.ID)
	f.add("ipvs.size", "%d", be.Uint16(b[2:]))
	f.syncV0(s, b[4:], int(b[0]))
}

func (f *Frame) syncV1(s *Sync, b []byte, n int) {
	for range n {
		if len(b) < 4 {
			f.Fault = "a connection is cut"
			return
		}
		size := int(be.Uint16(b[2:]) & 0xfff)
		v6 := b[0]&1 != 0
		want, alen := 36, 4
		if v6 {
			want, alen = 72, 16
		}
		if size < want || size > len(b) {
			f.Fault = fmt.Sprintf("a connection of %d bytes, there are %d", size, len(b))
			return
		}
		at := func(i int) netip.Addr {
			a, _ := netip.AddrFromSlice(b[24+i*alen : 24+(i+1)*alen])
			return a
		}
		c := SyncConn{Proto: b[1], Flags: be.Uint32(b[4:]), State: be.Uint16(b[8:]), Mark: be.Uint32(b[16:]), Timeout: time.Duration(be.Uint32(b[20:])) * time.Second,
			Client: netip.AddrPortFrom(at(0), be.Uint16(b[10:])), Virtual: netip.AddrPortFrom(at(1), be.Uint16(b[12:])), Real: netip.AddrPortFrom(at(2), be.Uint16(b[14:]))}
		s.Conns = append(s.Conns, c)
		f.syncFields(&c, "ipvs.flags.v1")
		f.add("ipvs.fwmark", "%d", c.Mark)
		f.add("ipvs.timeout", "%d", be.Uint32(b[20:]))
		b = b[min(len(b), (size+3)&^3):]
	}
}

func (f *Frame) syncV0(s *Sync, b []byte, n int) {
	for range n {
		if len(b) < 24 {
			f.Fault = "a connection is cut"
			return
		}
		at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
		c := SyncConn{Proto: b[1], Flags: uint32(be.Uint16(b[20:])), State: be.Uint16(b[22:]), Client: netip.AddrPortFrom(at(8), be.Uint16(b[2:])),
			Virtual: netip.AddrPortFrom(at(12), be.Uint16(b[4:])), Real: netip.AddrPortFrom(at(16), be.Uint16(b[6:]))}
		s.Conns = append(s.Conns, c)
		f.syncFields(&c, "ipvs.flags")
		b = b[24:]
		if c.Flags&0x0600 != 0 { // sequence numbers follow (IP_VS_CONN_F_SEQ_MASK)
			if len(b) < 24 {
				f.Fault = "the sequence numbers of a connection are cut"
				return
			}
			for i, name := range [...]string{"in_seq.initial", "in_seq.delta", "in_seq.pdelta", "out_seq.initial", "out_seq.delta", "out_seq.pdelta"} {
				f.add("ipvs."+name, "%#x", be.Uint32(b[4*i:]))
			}
			b = b[24:]
		}
	}
}

func (f *Frame) syncFields(c *SyncConn, flags string) {
	f.add("ipvs.proto", "%#02x", c.Proto)
	f.add(flags, "%#x", c.Flags)
	f.add("ipvs.state", "%d", c.State)
	f.add("ipvs.cport", "%d", c.Client.Port())
	f.add("ipvs.vport", "%d", c.Virtual.Port())
	f.add("ipvs.dport", "%d", c.Real.Port())
	six := ""
	if c.Client.Addr().Is6() {
		six = "6"
	}
	f.add("ipvs.caddr"+six, "%s", c.Client.Addr())
	f.add("ipvs.vaddr"+six, "%s", c.Virtual.Addr())
	f.add("ipvs.daddr"+six, "%s", c.Real.Addr())
}
