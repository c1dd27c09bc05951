package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

func uint32FromNative(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// refresh brings what is known of the table up to date: all of it if the ruleset has changed, else the counters only.
func (p *Plane) refresh() error {
	if p.have == nil || p.gen == 0 {
		return p.load()
	}
	gen, err := p.sock.generation()
	if err != nil {
		return fmt.Errorf("generation of the ruleset: %w", err)
	}
	if gen != p.gen {
		return p.load()
	}
	if !p.exists {
		return nil
	}
	if err := p.loadCounters(); err != nil {
		return err
	}
	_, err = p.loadSets(counters)
	return err
}

// load reads the whole table, repeatedly if it is changed meanwhile.
func (p *Plane) load() error {
	for range 3 {
		before, err := p.sock.generation()
		if err != nil {
			return fmt.Errorf("generation of the ruleset: %w", err)
		}
		if p.order, err = p.loadOnce(); err != nil {
			p.have = nil
			return err
		}
		after, err := p.sock.generation()
		if err != nil {
			return fmt.Errorf("generation of the ruleset: %w", err)
		}
		if before == after {
			p.gen = after
			return nil
		}
	}
	return nil // the next write finds out
}

// loadOnce reads the table into p.have and gives its services in the order in which they were made.
func (p *Plane) loadOnce() ([]ipvs.ServiceKey, error) {
	p.have, p.whole, p.gen = nil, false, 0
	p.forget()
	type ruled struct{ chain, comment string }
	var rules []ruled
	err := p.list(unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE, func(e *enc) {}, func() { rules = rules[:0] }, func(attrs []byte) {
		var r ruled
		walk(attrs, func(typ uint16, v []byte) {
			switch typ {
			case unix.NFTA_RULE_CHAIN:
				r.chain = text(v)
			case unix.NFTA_RULE_USERDATA:
				r.comment = commentOf(v)
			}
		})
		rules = append(rules, r)
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list the rules of table %s: %w", TableName, err)
	}
	have := model{}
	if len(rules) == 0 { // no table, or an empty one: nothing of it can be relied on
		p.have = have
		p.exists = err == nil && p.tableThere()
		return nil, nil
	}
	p.exists = true
	if err := p.loadCounters(); err != nil {
		return nil, err
	}
	led, err := p.loadSets(verdicts, counters)
	if err != nil {
		return nil, err
	}
	var order []ipvs.ServiceKey
	for _, r := range rules {
		if k, ok := parseServiceName(r.chain); ok && isServiceChain(r.chain) && led[r.chain] && r.comment != "" {
			s := &service{Service: ipvs.Service{ServiceKey: k}, ids: map[ipvs.DestKey]uint32{}}
			if parseServiceComment(r.comment, &s.Service) {
				have[k] = s
				order = append(order, k)
			}
		}
	}
	for _, r := range rules {
		name, d, ok := parseDestName(r.chain)
		if !ok || r.comment == "" {
			continue
		}
		k, ok := parseServiceName(name)
		s := have[k]
		if !ok || s == nil || s.dest(d) >= 0 {
			continue
		}
		dest := ipvs.Dest{DestKey: d, Forward: ipvs.NAT}
		id, ok := parseDestComment(r.comment, &dest)
		if !ok {
			continue
		}
		s.Dests = append(s.Dests, dest)
		s.ids[d] = id
		s.next = max(s.next, id)
	}
	p.have = have
	return slices.Clip(order), nil
}

// loadSets reads the permanent sets of some kinds and gives the chains that the verdict maps lead to.
func (p *Plane) loadSets(kinds ...setKind) (led map[string]bool, err error) {
	led = map[string]bool{}
	for _, s := range sets {
		if !slices.Contains(kinds, s.kind) {
			continue
		}
		m := map[string]counts{}
		err := p.listSet(s.name, func() { clear(m) }, func(el elem) {
			if s.kind == counters {
				m[string(el.key)] = el.counts
			}
			if el.chain != "" {
				led[el.chain] = true
			}
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list set %s: %w", s.name, err)
		}
		if s.kind == counters {
			p.elems[s.name] = m
		}
	}
	return led, nil
}

// list dumps objects of the table; tableAttr is the attribute that names it in the request.
func (p *Plane) list(msg, tableAttr uint16, more func(e *enc), reset func(), each func(attrs []byte)) error {
	var e enc
	e.str(tableAttr, TableName)
	more(&e)
	return p.sock.dump(unix.NFNL_SUBSYS_NFTABLES<<8|msg, unix.NFPROTO_INET, e.b, reset, each)
}

func (p *Plane) tableThere() bool {
	there := false
	err := p.sock.dump(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NFPROTO_INET, nil, func() { there = false }, func(a []byte) {
		walk(a, func(typ uint16, v []byte) {
			there = there || typ == unix.NFTA_TABLE_NAME && text(v) == TableName
		})
	})
	return err == nil && there
}

func (p *Plane) loadCounters() error {
	err := p.list(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE, func(e *enc) { e.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER) },
		func() { clear(p.counts) }, func(attrs []byte) {
			var name, table string
			var c counts
			walk(attrs, func(typ uint16, v []byte) {
				switch typ {
				case unix.NFTA_OBJ_TABLE:
					table = text(v)
				case unix.NFTA_OBJ_NAME:
					name = text(v)
				case unix.NFTA_OBJ_DATA:
					c = parseCounts(v)
				}
			})
			if table == TableName {
				p.counts[name] = c
			}
		})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("list the counters of table %s: %w", TableName, err)
	}
	return nil
}

func parseCounts(b []byte) (c counts) {
	walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_COUNTER_BYTES:
			c.bytes = be64(v)
		case unix.NFTA_COUNTER_PACKETS:
			c.packets = be64(v)
		}
	})
	return c
}

// elem is an element as the kernel lists it. Slices are valid during the call only.
type elem struct {
	key, data []byte
	chain     string
	counts    counts
}

func (p *Plane) listSet(name string, reset func(), each func(el elem)) error {
	more := func(e *enc) { e.str(unix.NFTA_SET_ELEM_LIST_SET, name) }
	return p.list(unix.NFT_MSG_GETSETELEM, unix.NFTA_SET_ELEM_LIST_TABLE, more, reset, func(attrs []byte) {
		walk(attrs, func(typ uint16, v []byte) {
			if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				walk(v, func(_ uint16, v []byte) { each(parseElem(v)) })
			}
		})
	})
}

func parseElem(b []byte) (el elem) {
	walk(b, func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			walk(v, func(_ uint16, v []byte) { el.key = v })
		case unix.NFTA_SET_ELEM_DATA:
			walk(v, func(typ uint16, v []byte) {
				switch typ {
				case unix.NFTA_DATA_VALUE:
					el.data = v
				case unix.NFTA_DATA_VERDICT:
					walk(v, func(typ uint16, v []byte) {
						if typ == unix.NFTA_VERDICT_CHAIN {
							el.chain = text(v)
						}
					})
				}
			})
		case unix.NFTA_SET_ELEM_EXPR:
			walk(v, func(typ uint16, v []byte) {
				if typ == unix.NFTA_EXPR_DATA {
					el.counts = parseCounts(v)
				}
			})
		}
	})
	return el
}
