package vrrp

import (
	"net/netip"
	"os"
	"slices"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// mockup stands for the kernel when a plan is made: it knows what is there and what follows from a change.
type mockup struct {
	e       *Engine
	present map[presence]bool
	taken   map[presence]bool      // by the kernel
	addrs   map[int][]netip.Prefix // of the interfaces, in the order in which they came
}

// presence is an address on an interface, or a route or rule.
type presence struct {
	index int
	text  string
}

func presenceOf(c *vip.Change) presence {
	if c.Route != nil || c.Rule != nil {
		return presence{text: c.String()}
	}
	return presence{c.Index, c.String()}
}

// do gives what a change really changes: nothing if it is so already, and maybe more than was asked for: without promote_secondaries the
// kernel takes the other addresses of a network along with the first one.
func (m *mockup) do(c *vip.Change, instance string) (out []Write) {
	at := presenceOf(c)
	if m.present[at] == c.Add {
		return nil
	}
	m.present[at] = c.Add
	w := Write{Verb: "remove", What: c.String(), Instance: instance}
	if c.Add {
		w.Verb = "add"
	}
	if at.index == 0 {
		return []Write{w}
	}
	w.Dev = m.e.nameOf(at.index)
	list, p := m.addrs[at.index], c.Addr.Prefix
	if c.Add {
		m.addrs[at.index] = append(list[:len(list):len(list)], p)
		return []Write{w}
	}
	first := slices.IndexFunc(list, func(o netip.Prefix) bool { return sameNetwork(o, p) })
	if first >= 0 && list[first] == p && p.Addr().Is4() && !m.e.promotes(w.Dev) {
		for _, o := range list {
			if o != p && sameNetwork(o, p) {
				gone := vip.Change{Index: at.index, Addr: &vip.Address{Prefix: o}}
				m.present[presenceOf(&gone)] = false
				m.taken[presenceOf(&gone)] = true
				out = append(out, Write{Verb: "remove", What: gone.String(), Dev: w.Dev, Note: "by the kernel, which takes it along with the first address of its network"})
			}
		}
		list = slices.DeleteFunc(slices.Clone(list), func(o netip.Prefix) bool { return o != p && sameNetwork(o, p) })
	}
	m.addrs[at.index] = slices.DeleteFunc(slices.Clone(list), func(o netip.Prefix) bool { return o == p })
	return append(out, w)
}

// losses are the addresses of a master that the kernel takes along with somebody else's and that nobody puts back.
func (m *mockup) losses(in *instance) (out []string) {
	if in.m.State() != machine.Master {
		return nil
	}
	for i := range in.plan.add {
		c := &in.plan.add[i]
		if at := presenceOf(c); at.index != 0 && m.taken[at] && !m.present[at] && !c.Addr.NoTrack {
			out = append(out, c.Addr.Prefix.String())
		}
	}
	return out
}

func sameNetwork(a, b netip.Prefix) bool { return a.Masked() == b.Masked() }

// promotes tells whether the addresses of a network stay when its first one goes.
func (e *Engine) promotes(dev string) bool {
	for _, in := range e.instances {
		if in.cfg.PromoteSecondaries && in.cfg.Iface == dev {
			return true
		}
	}
	if e.promoting != nil {
		return e.promoting(dev)
	}
	for _, name := range [...]string{"all", dev} {
		if b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/promote_secondaries"); err == nil && len(b) > 0 && b[0] == '1' {
			return true
		}
	}
	return false
}
