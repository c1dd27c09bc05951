package confparse

import (
	"encoding/hex"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"releve/vrrp"
)

func (p *interp) vmac() *vrrp.VMACConfig {
	if p.vi.vmac == nil {
		p.vi.vmac = &vrrp.VMACConfig{}
	}
	return p.vi.vmac
}

// setVMAC reads [[name] NAME] [MAC] [netlink_notify_msg] [group GROUP].
func setVMAC(p *interp, u *usage) {
	if p.vi.vmac != nil {
		p.bad(u.pos(), "vmac", "use_vmac or use_ipvlan is there already: ignored")
		return
	}
	c := p.vmac()
	p.vi.vmacPos = u.pos()
	w := u.rest()
	for i := 0; i < len(w); i++ {
		switch t := w[i].Text; {
		case t == "name" && i+1 < len(w):
			i++
			p.vmacName(c, w[i])
		case t == "netlink_notify_msg":
			c.NetlinkNotify = true
		case t == "group" && i+1 < len(w):
			i++
			p.linkGroup(c, w[i])
		case strings.Count(t, ":") >= 4 && isMAC(t, &c.MAC, p.vi.vrid.or(0)):
		default:
			if c.Name != "" {
				p.bad(w[i].Pos, "vmac", "use_vmac: unexpected %q", t)
				continue
			}
			p.vmacName(c, w[i])
		}
	}
}

func (p *interp) vmacName(c *vrrp.VMACConfig, w Word) {
	if len(w.Text) > maxIfName {
		p.bad(w.Pos, "too-long", "interface name %q: at most %d characters", w.Text, maxIfName)
		return
	}
	if strings.ContainsAny(w.Text, "/ \t") {
		p.bad(w.Pos, "vmac", "interface name %q: / and blanks are not possible", w.Text)
		return
	}
	c.Name = w.own()
}

func (p *interp) linkGroup(c *vrrp.VMACConfig, w Word) {
	n, err := strconv.ParseUint(w.Text, 0, 31)
	if err != nil {
		p.bad(w.Pos, "vmac", "group %q: want the number or name of a link group", w.Text)
		return
	}
	c.Group, c.HasGroup = int(n), true
}

// isMAC reads six octets, or five with the VRID as the last one.
func isMAC(s string, mac *[6]byte, vrid int) bool {
	if strings.Count(s, ":") == 4 {
		s += ":" + hex.EncodeToString([]byte{byte(vrid)})
	}
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return false
	}
	copy(mac[:], m)
	return true
}

// setIPVlan reads [[name] NAME] [ADDRESS] [bridge|private|vepa] [group GROUP].
func setIPVlan(p *interp, u *usage) {
	if p.vi.vmac != nil {
		p.bad(u.pos(), "vmac", "use_vmac or use_ipvlan is there already: ignored")
		return
	}
	c := p.vmac()
	p.vi.vmacPos = u.pos()
	c.IPVlan, c.IPVlanMode = true, "bridge"
	w := u.rest()
	for i := 0; i < len(w); i++ {
		switch t := w[i].Text; {
		case t == "name" && i+1 < len(w):
			i++
			p.vmacName(c, w[i])
		case t == "group" && i+1 < len(w):
			i++
			p.linkGroup(c, w[i])
		case t == "bridge" || t == "private" || t == "vepa":
			c.IPVlanMode = t
		default:
			if pf, ok := parsePrefix(t); ok {
				c.IPVlanAddr = pf
				continue
			}
			if c.Name != "" {
				p.bad(w[i].Pos, "vmac", "use_ipvlan: unexpected %q", t)
				continue
			}
			p.vmacName(c, w[i])
		}
	}
}

// hmacTable is auth_hmac.
var hmacTable = &Table{Name: "auth_hmac", rows: func() []Keyword {
	return []Keyword{
		{Name: "key", Args: args(num("ID", 1, 255), word("KEY")), Room: roomVRRP, Secret: true, Since: "2.4.0", Missing: ExitStop,
			Help: "a key of 32 to 64 bytes: text, hex:DIGITS or file:PATH", set: setHMACKey},
		{Name: "active_key", Args: args(num("ID", 1, 255)), Room: roomVRRP, Since: "2.4.0", Missing: ExitStop,
			Help: "the key to sign with", set: func(p *interp, u *usage) { p.vi.active.put(u.int(0), u.at(0)) }},
		{Name: "anti_replay", Args: args(choice("MODE", "time", "monotonic")), Default: "time", Room: roomVRRP, Since: "2.4.0", Missing: ExitStop,
			Help: "adverts must be fresh, or only in order", set: func(p *interp, u *usage) { p.vi.hmac.Monotonic = u.int(0) == 1 }},
		{Name: "time_window", Args: args(num("SECONDS", 1, 300)), Default: "three intervals, at least 5", Room: roomVRRP, Since: "2.4.0", Missing: ExitStop,
			Help: "how old an advert may be", set: func(p *interp, u *usage) { p.vi.hmac.TimeWindow = time.Duration(u.int(0)) * time.Second }},
		{Name: "mode", Args: args(choice("MODE", "enforce", "permissive", "receive-only")), Default: "enforce", Room: roomVRRP, Since: "2.4.0", Missing: ExitStop,
			Help: "what happens to adverts that are not signed", set: func(p *interp, u *usage) { p.vi.hmac.Mode = vrrp.HMACMode(u.int(0)) }},
	}
}}

func enterHMAC(p *interp, u *usage) bool {
	p.vi.hmac = &vrrp.HMACConfig{}
	p.vi.hmacPos = u.pos()
	return true
}

func leaveHMAC(p *interp, _ *usage) {
	h := p.vi.hmac
	if len(h.Keys) == 0 {
		p.bad(p.vi.hmacPos, "auth-hmac", "auth_hmac has no key: not used")
		p.vi.hmac = nil
		return
	}
	id := p.vi.active.or(int(h.Keys[0].ID))
	for _, k := range h.Keys {
		if int(k.ID) == id {
			h.ActiveKey = k.ID
			return
		}
	}
	p.bad(p.vi.active.pos, "auth-hmac", "active_key %d is not one of the keys: auth_hmac is not used", id)
	p.vi.hmac = nil
}

func setHMACKey(p *interp, u *usage) {
	text := u.str(1)
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			p.hostBad(u.at(1), "auth-hmac", "key %d: %v", u.int(0), err)
			return
		}
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
			d := p.hostBad(u.at(1), "key-file-readable", "key %d: %s can be read by others: chmod 600 it", u.int(0), path)
			d.Exit = ExitSecurity
		}
		text = strings.TrimRight(string(b), "\r\n")
	}
	secret := []byte(text)
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			p.bad(u.at(1), "auth-hmac", "key %d: hex: wants pairs of hexadecimal digits", u.int(0))
			return
		}
		secret = b
	}
	if len(secret) < 32 || len(secret) > 64 {
		p.bad(u.at(1), "auth-hmac", "key %d has %d bytes: want 32 to 64", u.int(0), len(secret))
		return
	}
	for _, k := range p.vi.hmac.Keys {
		if int(k.ID) == u.int(0) {
			p.bad(u.at(0), "auth-hmac", "key %d is there already: ignored", u.int(0))
			return
		}
	}
	p.vi.hmac.Keys = append(p.vi.hmac.Keys, vrrp.HMACKey{ID: uint8(u.int(0)), Secret: secret})
}
