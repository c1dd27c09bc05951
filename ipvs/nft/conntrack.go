package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// Attributes and messages of linux/netfilter/nfnetlink_conntrack.h.
const (
	ipctnlGet    = 1
	ipctnlDelete = 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaStatusMask = 26

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaProtoSrc   = 2
	ctaProtoDst   = 3

	ctaProtoInfoTCP = 1
	ctaTCPState     = 1

	tcpEstablished = 3 // TCP_CONNTRACK_ESTABLISHED
)

// countLimit is the number of tracked connections above which Read does not count them.
const countLimit = 20000

const sysctlDir = "/proc/sys/net/netfilter/"

// tracked is a connection of the tracking table: asked is where the client wanted to go, server where it went.
type tracked struct {
	proto         ipvs.Protocol
	asked, server netip.AddrPort
	translated    bool
	established   bool
	tuple         []byte // of the original direction, to name it in a request
}

func parseTracked(attrs []byte) (c tracked) {
	walk(attrs, func(typ uint16, v []byte) {
		switch typ {
		case ctaTupleOrig:
			_, c.asked, c.proto = parseTuple(v)
			c.tuple = v
		case ctaTupleReply:
			c.server, _, _ = parseTuple(v)
		case ctaStatus:
			c.translated = len(v) >= 4 && binary.BigEndian.Uint32(v)&ipsDstNAT != 0
		case ctaProtoInfo:
			walk(v, func(typ uint16, v []byte) {
				if typ != ctaProtoInfoTCP {
					return
				}
				walk(v, func(typ uint16, v []byte) {
					c.established = c.established || typ == ctaTCPState && len(v) > 0 && v[0] == tcpEstablished
				})
			})
		}
	})
	return c
}

func parseTuple(b []byte) (src, dst netip.AddrPort, proto ipvs.Protocol) {
	var s, d netip.Addr
	var sp, dp uint16
	walk(b, func(typ uint16, v []byte) {
		switch typ {
		case ctaTupleIP:
			walk(v, func(typ uint16, v []byte) {
				a, _ := netip.AddrFromSlice(v)
				switch typ {
				case ctaIPv4Src, ctaIPv6Src:
					s = a
				case ctaIPv4Dst, ctaIPv6Dst:
					d = a
				}
			})
		case ctaTupleProto:
			walk(v, func(typ uint16, v []byte) {
				switch {
				case typ == ctaProtoNum && len(v) >= 1:
					proto = ipvs.Protocol(v[0])
				case typ == ctaProtoSrc && len(v) >= 2:
					sp = binary.BigEndian.Uint16(v)
				case typ == ctaProtoDst && len(v) >= 2:
					dp = binary.BigEndian.Uint16(v)
				}
			})
		}
	})
	return netip.AddrPortFrom(s, sp), netip.AddrPortFrom(d, dp), proto
}

// track lists tracked connections of a family, only translated ones if the kernel can select them.
func (p *Plane) track(f ipvs.Family, translated bool, reset func(), each func(tracked)) error {
	var e enc
	if translated {
		e.u32(ctaStatus, ipsDstNAT)
		e.u32(ctaStatusMask, ipsDstNAT)
	}
	return p.ct.dump(unix.NFNL_SUBSYS_CTNETLINK<<8|ipctnlGet, uint8(f), e.b, reset, func(attrs []byte) { each(parseTracked(attrs)) })
}

// connections fills in Active and Inactive where the tracking table is small enough to be read each time.
func (p *Plane) connections(t *ipvs.Table) {
	if n, err := readSysctl("nf_conntrack_count"); err != nil || n == 0 || n > countLimit {
		return
	}
	type end struct {
		k ipvs.ServiceKey
		d ipvs.DestKey
	}
	for _, f := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
		at := map[end]*ipvs.Dest{}
		for i := range t.Services {
			s := &t.Services[i]
			if s.Family != f || s.FWMark != 0 {
				continue
			}
			for j := range s.Dests {
				at[end{s.ServiceKey, s.Dests[j].DestKey}] = &s.Dests[j]
			}
		}
		if len(at) == 0 {
			continue
		}
		zero := func() {
			for _, d := range at {
				d.Active, d.Inactive = 0, 0
			}
		}
		_ = p.track(f, true, zero, func(c tracked) {
			k := ipvs.ServiceKey{Family: f, Protocol: c.proto, Addr: c.asked.Addr(), Port: c.asked.Port()}
			d := at[end{k, ipvs.DestKey{Addr: c.server.Addr(), Port: c.server.Port()}}]
			if d == nil { // a service without a port, or a destination without one
				d = at[end{k, ipvs.DestKey{Addr: c.server.Addr()}}]
			}
			if d == nil {
				k.Port = 0
				d = at[end{k, ipvs.DestKey{Addr: c.server.Addr()}}]
			}
			switch {
			case d == nil || !c.translated:
			case c.established:
				d.Active++
			default:
				d.Inactive++
			}
		})
	}
}

// flow names tracked UDP flows that must be decided anew: those to a destination that is gone, or, with direct, those that began
// before the service was there and so pass it by. A stream of UDP packets would keep such an entry alive for ever.
type flow struct {
	service ipvs.ServiceKey
	dest    ipvs.DestKey
	direct  bool
}

func (f flow) match(c tracked) bool {
	if k := f.service; k.FWMark == 0 {
		if c.asked.Addr() != k.Addr || k.Port != 0 && c.asked.Port() != k.Port {
			return false
		}
	}
	if f.direct {
		return f.service.FWMark == 0 && !c.translated
	}
	return c.translated && c.server.Addr() == f.dest.Addr && (f.dest.Port == 0 || c.server.Port() == f.dest.Port)
}

// dropFlows deletes flows from the tracking table. It is a repair: where tracking is out of reach there is nothing to repair.
func (p *Plane) dropFlows(flows []flow) {
	for _, fam := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
		of := slices.DeleteFunc(slices.Clone(flows), func(f flow) bool {
			return f.service.Family != fam || f.service.FWMark == 0 && f.service.Protocol != ipvs.UDP || f.service.FWMark != 0 && f.direct
		})
		if len(of) == 0 {
			continue
		}
		var tuples [][]byte
		err := p.track(fam, false, func() { tuples = nil }, func(c tracked) {
			if c.proto == ipvs.UDP && slices.ContainsFunc(of, func(f flow) bool { return f.match(c) }) {
				tuples = append(tuples, slices.Clone(c.tuple))
			}
		})
		if err != nil {
			continue
		}
		for _, tuple := range tuples {
			p.deleteTracked(fam, tuple)
		}
	}
}

func (p *Plane) deleteTracked(f ipvs.Family, tuple []byte) {
	p.ct.seq++
	m := appendHeader(nil, unix.NFNL_SUBSYS_CTNETLINK<<8|ipctnlDelete, unix.NLM_F_REQUEST|unix.NLM_F_ACK, p.ct.seq, uint8(f), 0)
	e := enc{b: m}
	e.bytes(ctaTupleOrig|unix.NLA_F_NESTED, tuple)
	binary.NativeEndian.PutUint32(e.b, uint32(len(e.b)))
	if unix.Sendto(p.ct.fd, e.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return
	}
	for done := false; !done; {
		err := p.ct.receive(func(h unix.NlMsghdr, _ []byte) bool {
			done = done || h.Seq == p.ct.seq
			return true
		})
		if err != nil {
			return
		}
	}
}

func readSysctl(name string) (uint64, error) {
	b, err := os.ReadFile(sysctlDir + name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// swapTimeout reads a timeout into old and writes another one unless that is zero.
func swapTimeout(name string, want time.Duration, old *time.Duration) error {
	n, err := readSysctl(name)
	if err != nil {
		return fmt.Errorf("read the timeout of tracked connections: %w", err)
	}
	*old = time.Duration(n) * time.Second
	if want <= 0 || want == *old {
		return nil
	}
	if err := os.WriteFile(sysctlDir+name, []byte(strconv.Itoa(int(want/time.Second))), 0); err != nil {
		return fmt.Errorf("set the timeout of tracked connections: %w", err)
	}
	return nil
}
