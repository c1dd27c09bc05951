package vrrp

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"releve/vrrp/wire"
)

// globalUser holds settings that belong to no instance.
const globalUser = "\x00global"

// holdGlobal sets what the configuration wants of the whole namespace.
func (e *Engine) holdGlobal() {
	on := e.cfg.DisableLocalIGMP && !e.stopping
	e.act.put(job{do: func(a *actuator) {
		want := map[string]string{}
		if on {
			want["ipv4/igmp_link_local_mcast_reports"] = "0"
		}
		a.settings.want(globalUser, want)
	}})
}

// sizeBuffers gives each socket the receive buffer that its instances ask for (kernel_rx_buf_size, vrrp_rx_bufs_policy).
func (e *Engine) sizeBuffers() {
	b := &e.cfg.Buffers
	want := map[*socket]int{}
	for _, in := range e.instances {
		if in.sock == nil {
			continue
		}
		n := in.cfg.KernelRxBuf
		switch {
		case n > 0:
		case b.Policy == "MTU" && in.ifc != nil:
			n = in.ifc.mtu * max(b.Multiplier, 1)
		case b.Policy == "ADVERT":
			n = (wire.IPv4HeaderLen + wire.HeaderLen + wire.AuthLen + 16*len(in.cfg.VIPs)) * max(b.Multiplier, 1)
		case b.Policy == "NUMBER":
			n = b.Size
		}
		want[in.sock] += n
	}
	for s, n := range want {
		if n == 0 {
			n = recvBuffer
		}
		if n == s.buffer || s.file == nil {
			continue
		}
		s.buffer = n
		err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
		if err != nil {
			err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
		}
		if err != nil {
			e.act.say(slog.LevelError, "receive buffer not set: "+err.Error(), slog.Int("bytes", n), slog.Any("err", err))
		}
	}
}

// holdSettings sets what an instance wants of the interfaces that it uses; releaseSettings puts it back.
func (e *Engine) holdSettings(in *instance) {
	if !in.holds && !in.cfg.PromoteSecondaries && in.vmac == nil && len(in.addrVMACs) == 0 {
		return
	}
	user := in.cfg.Name
	want := map[string]string{}
	names := map[string]bool{}
	for a := range in.cfg.addresses() {
		if i := e.ifaceOf(in, a); i != nil && a.Prefix.Addr().Is4() {
			names[i.name] = true
		}
	}
	for name := range names {
		if in.cfg.PromoteSecondaries {
			want["ipv4/conf/"+name+"/promote_secondaries"] = "1"
		}
	}
	bases := map[string]bool{}
	if in.vmac != nil && !in.cfg.VMAC.IPVlan && !in.cfg.IPv6 {
		bases[in.cfg.Iface] = true
	}
	for at := range in.addrVMACs {
		if !at.v6 {
			bases[at.dev] = true
		}
	}
	for name := range bases {
		// The base interface answers ARP for its own addresses only. Its requests must not name a virtual address as sender, or the
		// neighbours learn the wrong MAC for it: answers from a virtual address leave by the base interface.
		for _, kv := range [][2]string{{"arp_ignore", "1"}, {"arp_filter", "1"}, {"arp_announce", "2"}} {
			want["ipv4/conf/"+name+"/"+kv[0]] = kv[1]
		}
	}
	if len(want) == 0 && !in.holds {
		return
	}
	in.holds = len(want) > 0
	e.act.put(job{do: func(a *actuator) { a.settings.want(user, want) }})
}

func (e *Engine) releaseSettings(in *instance) {
	if !in.holds {
		return
	}
	in.holds = false
	user := in.cfg.Name
	e.act.put(job{do: func(a *actuator) { a.settings.want(user, nil) }})
}
