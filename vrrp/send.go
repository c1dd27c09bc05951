package vrrp

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"releve/vrrp/wire"
)

// sending is what an instance needs to send: frames ready but for priority, identification and signature.
type sending struct {
	ready  bool
	prio   uint8
	queued bool   // the frames lie in the socket's writer
	id     uint16 // IPv4 identification of the last advert: counts from 1, 0 is skipped
	copies []outgoing
	signer *wire.Signer
	ah     *wire.AH // auth_type AH
}

// outgoing is the advert for one destination, the group or a unicast peer. Over IPv4 the frame begins with the IP header.
type outgoing struct {
	dst   netip.Addr
	frame []byte
	off   int // where the VRRP packet begins, behind an authentication header
	n     int // where it ends, and the trailer of auth_hmac begins
}

// adoptHMAC takes over auth_hmac. A configuration that did not change keeps its sequence and the marks of the senders.
func (in *instance) adoptHMAC() {
	c := in.cfg.HMAC
	if c == nil {
		in.out.signer, in.expect.HMAC, in.hmacFrom = nil, nil, nil
		return
	}
	if in.hmacFrom == nil || !sameHMAC(in.hmacFrom, c) {
		in.hmacFrom = c
		v := &wire.Verifier{Optional: c.Mode != HMACEnforce, Monotonic: c.Monotonic}
		last := in.out.signer
		in.out.signer = nil
		for _, k := range c.Keys {
			v.Keys = append(v.Keys, wire.NewKey(k.ID, k.Secret))
			if k.ID == c.ActiveKey && c.Mode != HMACReceiveOnly {
				in.out.signer = last.Successor(wire.NewKey(k.ID, k.Secret))
			}
		}
		v.Inherit(in.expect.HMAC)
		in.expect.HMAC = v
	}
	in.expect.HMAC.Window = c.TimeWindow
	if c.TimeWindow == 0 {
		in.expect.HMAC.Window = max(3*in.cfg.AdvertInt, 5*time.Second)
	}
}

// adoptAH takes over auth_type AH. The sequence goes on.
func (in *instance) adoptAH() {
	c := in.cfg
	if c.Auth != AuthAH || c.Version != 2 || c.IPv6 {
		in.out.ah = nil
		return
	}
	h := wire.NewAH(c.AuthPass)
	h.Inherit(in.out.ah)
	in.out.ah, in.expect.AH = h, h
}

func sameHMAC(a, b *HMACConfig) bool {
	return a.ActiveKey == b.ActiveKey && a.Mode == b.Mode && a.Monotonic == b.Monotonic &&
		slices.EqualFunc(a.Keys, b.Keys, func(x, y HMACKey) bool { return x.ID == y.ID && bytes.Equal(x.Secret, y.Secret) })
}

// encode makes the frames for a priority, unless they are there already.
func (in *instance) encode(prio uint8) {
	o := &in.out
	if o.ready && o.prio == prio {
		return
	}
	if o.ready {
		for i := range o.copies {
			wire.SetPriority(o.copies[i].frame[o.copies[i].off:o.copies[i].n], prio)
		}
		o.prio = prio
		return
	}
	c := in.cfg
	a := wire.Advert{Version: uint8(c.Version), VRID: c.VRID, Priority: prio, AuthType: uint8(c.Auth), Auth: c.AuthPass,
		Interval: c.AdvertInt, Addrs: in.expect.Addrs}
	if c.Auth == AuthAH {
		a.Auth = [wire.AuthLen]byte{} // the password is the key
	}
	trailer := 0
	if o.signer != nil {
		trailer = wire.TrailerLen
	}
	copies := len(c.Peers)
	if !c.unicast() {
		copies++
	}
	o.copies = slices.Grow(o.copies[:0], copies)
	size := a.Len() + trailer
	if !c.IPv6 {
		size += wire.IPv4HeaderLen
	}
	if o.ah != nil {
		size += wire.AHLen
	}
	add := func(dst netip.Addr, ttl uint8) {
		g := outgoing{dst: dst, frame: make([]byte, 0, size)}
		if !c.IPv6 {
			g.frame = wire.AppendIPv4(g.frame, in.src, dst, ttl, o.id, a.Len()+trailer)
			if o.ah != nil {
				g.frame = wire.AppendIPv4AH(nil, g.frame)
			}
		}
		g.off = len(g.frame)
		kind := in.expect.Checksum
		if in.oldPeers[dst] && kind == wire.ChecksumDefault {
			kind = wire.ChecksumOldUnicast
		}
		g.frame = a.Append(g.frame, in.src, dst, kind)
		g.n = len(g.frame)
		o.copies = append(o.copies, g)
	}
	if !c.unicast() {
		add(in.mcast(), wire.TTL)
	}
	for _, p := range c.Peers {
		add(p.Addr, in.unicastTTL())
	}
	o.prio, o.ready = prio, true
}

// unicastTTL is unicast_ttl, 255 without.
func (in *instance) unicastTTL() uint8 {
	if in.cfg.UnicastTT == 0 {
		return wire.TTL
	}
	return in.cfg.UnicastTT
}

// send queues an advert, a copy for each destination, on the instance's socket.
func (e *Engine) send(in *instance, prio uint8) {
	if e.rehearsing {
		if prio == 0 {
			e.resigned = append(e.resigned, in.cfg.Name)
		}
		return
	}
	s, o := in.sock, &in.out
	if s == nil || !in.src.IsValid() {
		return
	}
	if o.queued {
		e.flush(s)
	}
	if o.id++; o.id == 0 {
		o.id = 1
	}
	in.encode(prio)
	if len(o.copies) == 0 {
		return // unicast without a peer: there is nobody to tell
	}
	if o.signer != nil {
		g := &o.copies[0]
		e.sig = o.signer.Append(e.sig[:0], g.frame[g.off:g.n], in.src, time.Now())
	}
	if o.ah != nil {
		o.ah.Next()
	}
	hops := wire.TTL
	if in.expect.Unicast {
		hops = int(in.unicastTTL())
	}
	for i := range o.copies {
		g := &o.copies[i]
		if o.signer != nil {
			g.frame = append(g.frame[:g.n], e.sig...)
			if in.cfg.IPv6 {
				wire.Rechecksum(g.frame, in.src, g.dst)
			}
		}
		if s.out.Full() {
			e.flush(s)
		}
		if s.out.Len() == 0 {
			e.dirty = append(e.dirty, s)
		}
		if in.cfg.IPv6 {
			s.out.AddIPv6(g.frame, in.src, g.dst, hops, s.key.ifindex)
		} else {
			wire.SetIPv4ID(g.frame, o.id)
			if o.ah != nil {
				o.ah.Sign(g.frame)
			}
			s.out.AddIPv4(g.frame, g.dst)
		}
		if !o.queued {
			o.queued = true
			s.queued = append(s.queued, in)
		}
	}
	in.stats.AdvertSent++
	if prio == 0 {
		in.stats.PriZeroSent++
	}
}
