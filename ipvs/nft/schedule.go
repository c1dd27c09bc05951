package nft

import (
	"encoding/binary"
	"hash/fnv"
	"slices"

	"releve/ipvs"
)

// How a service chooses a slot of its map.
type chooser uint8

const (
	inTurn   chooser = iota // the next slot
	atRandom                // any slot
	bySource                // hash of the client's address
	byDest                  // hash of the address it asked for
)

// maxSlots bounds the map of one service. Weights that need more, divided by their greatest common divisor, are rounded.
const maxSlots = 4096

// choice is how new connections of a service are spread: slots holds indexes into Dests; empty: nobody can serve.
type choice struct {
	by      chooser
	port    bool // the client's port is hashed as well
	slots   []int
	rounded bool
}

// schedule turns scheduler and weights into a choice. Destinations of weight 0 get no new connections.
func schedule(s *ipvs.Service) choice {
	var c choice
	weights := make([]int, len(s.Dests))
	for i, d := range s.Dests {
		weights[i] = d.Weight
	}
	switch s.Scheduler {
	case "rr", "lc":
		for i := range weights {
			weights[i] = min(weights[i], 1)
		}
		c.slots, c.rounded = turns(weights)
	case "fo":
		best := -1
		for i, w := range weights {
			if w > 0 && (best < 0 || w > weights[best]) {
				best = i
			}
		}
		if best >= 0 {
			c.slots = []int{best}
		}
	case "random", "twos":
		c.by = atRandom
		c.slots, c.rounded = turns(weights)
	case "sh", "mh":
		c.by = bySource
		c.port = s.Flags&ipvs.SchedFlag2 != 0 // sh-port, mh-port
		c.slots = maglev(s.Dests)
	case "dh", "lblc", "lblcr":
		c.by = byDest
		c.slots = maglev(s.Dests)
	default: // wrr, and what has no counterpart
		c.slots, c.rounded = turns(weights)
	}
	return c
}

// turns is one round of the kernel's weighted round robin (net/netfilter/ipvs/ip_vs_wrr.c): from the greatest weight down in
// steps of the common divisor, each destination whose weight reaches the step, the one added last first.
func turns(weights []int) (slots []int, rounded bool) {
	step, top, sum := 0, 0, 0
	for _, w := range weights {
		step, top, sum = gcd(step, w), max(top, w), sum+w
	}
	if step == 0 {
		return nil, false
	}
	if limit := max(maxSlots, 2*len(weights)); sum/step > limit {
		scaled := make([]int, len(weights))
		for i, w := range weights {
			if w > 0 {
				scaled[i] = max(1, w*(limit-len(weights))/sum)
			}
		}
		slots, _ = turns(scaled)
		return slots, true
	}
	for level := top; level > 0; level -= step {
		for i := len(weights) - 1; i >= 0; i-- {
			if weights[i] >= level {
				slots = append(slots, i)
			}
		}
	}
	return slots, false
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// tableSizes are primes, as the kernel's mh scheduler has them.
var tableSizes = []int{251, 509, 1021, 2039, 4093}

// maglev fills a table so that each destination has its share by weight and that a change of one moves few others (Eisenbud et
// al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
func maglev(dests []ipvs.Dest) []int {
	live := 0
	for _, d := range dests {
		if d.Weight > 0 {
			live++
		}
	}
	if live == 0 {
		return nil
	}
	size := tableSizes[len(tableSizes)-1]
	for _, n := range tableSizes {
		if n >= 50*live {
			size = n
			break
		}
	}
	type taker struct{ at, skip, credit int }
	takers := make([]taker, len(dests))
	order := make([]int, 0, live)
	top := 0
	for i, d := range dests {
		if d.Weight <= 0 {
			continue
		}
		h := fnv.New64a()
		key := d.Addr.As16()
		h.Write(key[:])
		h.Write(binary.BigEndian.AppendUint16(nil, d.Port))
		n := mix(h.Sum64())
		takers[i] = taker{at: int(n % uint64(size)), skip: int(n>>32%uint64(size-1)) + 1}
		order = append(order, i)
		top = max(top, d.Weight)
	}
	// The outcome depends on who takes first: by address, not by the order in which they were added.
	slices.SortFunc(order, func(a, b int) int {
		if c := dests[a].Addr.Compare(dests[b].Addr); c != 0 {
			return c
		}
		return int(dests[a].Port) - int(dests[b].Port)
	})
	slots := make([]int, size)
	for i := range slots {
		slots[i] = -1
	}
	for taken := 0; taken < size; {
		for _, i := range order {
			t := &takers[i]
			if t.credit += dests[i].Weight; t.credit < top { // as often as its weight is to the greatest
				continue
			}
			t.credit -= top
			for slots[t.at] >= 0 {
				t.at = (t.at + t.skip) % size
			}
			slots[t.at] = i
			if taken++; taken == size {
				break
			}
		}
	}
	return slots
}

// mix spreads the bits of a hash whose input differs in few of them (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
