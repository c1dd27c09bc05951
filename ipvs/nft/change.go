package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// change writes what leads from have to want; nil is none. References are made before they are used and taken away before
// what they refer to.
func (p *Plane) change(t *batch, have, want *service) {
	if want == nil {
		p.remove(t, have)
		return
	}
	k, name := want.ServiceKey, serviceName(want.ServiceKey)
	if have == nil {
		p.addCounter(t, name)
		t.chain(name)
		p.account(t, "services", k, nil, true)
		have = &service{Service: ipvs.Service{ServiceKey: k}}
	}
	clients, had := persistent(&want.Service), persistent(&have.Service)
	if clients && !had {
		t.clients(name, k.Family)
	}
	renew := clients != had || clients && (want.Timeout != have.Timeout || want.Granularity != have.Granularity)
	for i := range want.Dests {
		d := &want.Dests[i]
		chain, j := destName(name, d.DestKey), have.dest(d.DestKey)
		if j < 0 {
			p.addCounter(t, chain)
			t.chain(chain)
			p.account(t, "servers", k, &d.DestKey, true)
		}
		if j < 0 || renew || !same(*d, have.Dests[j]) || have.ids[d.DestKey] != want.ids[d.DestKey] {
			t.clear(chain)
			t.destRules(name, &want.Service, d, want.ids[d.DestKey])
		}
	}
	t.clear(name)
	t.serviceRules(name, want)
	for i := range have.Dests {
		if d := &have.Dests[i]; want.dest(d.DestKey) < 0 {
			p.removeDest(t, name, k, d.DestKey)
		}
	}
	if had && !clients {
		t.delSet(clientsName(name))
	}
	if have.Scheduler == "" { // it was not there
		set, keys := entries(k)
		list := make([]element, len(keys))
		for i, key := range keys {
			list[i] = element{key, name}
		}
		t.elements(unix.NFT_MSG_NEWSETELEM, "lead to "+name, set, 0, list)
	}
}

func same(a, b ipvs.Dest) bool {
	return a.Weight == b.Weight && a.Upper == b.Upper && a.Lower == b.Lower
}

func (t *batch) clients(name string, f ipvs.Family) {
	key := typeIPv4
	if f == ipvs.IPv6 {
		key = typeIPv6
	}
	const flags = unix.NFT_SET_MAP | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL
	t.newSet(clientsName(name), flags, []keyType{key}, func(e *enc) {
		e.u32(unix.NFTA_SET_DATA_TYPE, typeMark.magic)
		e.u32(unix.NFTA_SET_DATA_LEN, typeMark.size)
		e.nest(unix.NFTA_SET_DESC, func() { e.u32(unix.NFTA_SET_DESC_SIZE, clientsSize) })
	})
}

func (p *Plane) remove(t *batch, have *service) {
	if have == nil {
		return
	}
	k, name := have.ServiceKey, serviceName(have.ServiceKey)
	set, keys := entries(k)
	list := make([]element, len(keys))
	for i, key := range keys {
		list[i] = element{key: key}
	}
	t.elements(unix.NFT_MSG_DELSETELEM, "do not lead to "+name, set, 0, list)
	t.clear(name)
	for i := range have.Dests {
		p.removeDest(t, name, k, have.Dests[i].DestKey)
	}
	t.delChain(name)
	p.account(t, "services", k, nil, false)
	t.counter(unix.NFT_MSG_DELOBJ, name)
	delete(p.counts, name)
	if persistent(&have.Service) {
		t.delSet(clientsName(name))
	}
}

func (p *Plane) removeDest(t *batch, name string, k ipvs.ServiceKey, d ipvs.DestKey) {
	chain := destName(name, d)
	t.clear(chain)
	t.delChain(chain)
	p.account(t, "servers", k, &d, false)
	t.counter(unix.NFT_MSG_DELOBJ, chain)
	delete(p.counts, chain)
}

func (p *Plane) addCounter(t *batch, name string) {
	if _, ok := p.counts[name]; !ok {
		t.counter(unix.NFT_MSG_NEWOBJ, name)
		p.counts[name] = counts{}
	}
}

// account adds or deletes the elements that count the packets of a service or destination.
func (p *Plane) account(t *batch, what string, k ipvs.ServiceKey, d *ipvs.DestKey, add bool) {
	if !accounted(k) {
		return
	}
	key := accountKey(k, d)
	for _, set := range setNames(what, k.Family) {
		_, there := p.elems[set][string(key)]
		switch {
		case add && !there:
			t.elements(unix.NFT_MSG_NEWSETELEM, "count in "+set, set, 0, []element{{key: key}})
			if p.elems[set] == nil {
				p.elems[set] = map[string]counts{}
			}
			p.elems[set][string(key)] = counts{}
		case !add && there:
			t.elements(unix.NFT_MSG_DELSETELEM, "do not count in "+set, set, 0, []element{{key: key}})
			delete(p.elems[set], string(key))
		}
	}
}

// settle is what follows a change: clients and flows that were bound to something gone are let loose.
func (p *Plane) settle(have, want model, touched []ipvs.ServiceKey) {
	var gone []flow
	for _, k := range touched {
		old, now := have[k], want[k]
		if old == nil {
			gone = append(gone, flow{service: k, direct: true})
			continue
		}
		var ids []uint32
		for _, d := range old.Dests {
			if now == nil || now.dest(d.DestKey) < 0 {
				gone = append(gone, flow{service: k, dest: d.DestKey})
			}
			if id := old.ids[d.DestKey]; now == nil || now.ids[d.DestKey] != id {
				ids = append(ids, id)
			}
		}
		if now != nil && len(ids) > 0 && persistent(&now.Service) && persistent(&old.Service) {
			p.forgetClients(serviceName(k), ids)
		}
	}
	p.dropFlows(gone)
}

// forgetClients deletes the memory of clients of destinations that are gone. New ones cannot come: no rule gives those numbers.
// What could not be deleted is harmless but for stickiness: the number leads nowhere and the scheduler decides.
func (p *Plane) forgetClients(name string, ids []uint32) {
	var list []element
	collect := func(el elem) {
		if len(el.data) == 4 && slices.Contains(ids, uint32FromNative(el.data)) {
			list = append(list, element{key: slices.Clone(el.key)})
		}
	}
	if err := p.listSet(clientsName(name), func() { list = nil }, collect); err != nil || len(list) == 0 {
		return
	}
	for len(list) > 0 { // in small transactions: one client whose time ran out meanwhile fails its transaction only
		n := min(len(list), 256)
		t := &batch{}
		t.elements(unix.NFT_MSG_DELSETELEM, "forget clients", clientsName(name), 0, list[:n])
		if p.send(t) != nil && n > 1 {
			for _, el := range list[:n] {
				one := &batch{}
				one.elements(unix.NFT_MSG_DELSETELEM, "forget a client", clientsName(name), 0, []element{el})
				_ = p.send(one)
			}
		}
		list = list[n:]
	}
}
