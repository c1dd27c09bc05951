package nft_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/nft"
)

// random is a table out of few keys, so that two of them have much in common.
func random(rng *rand.Rand) (t ipvs.Table) {
	scheds := []string{"rr", "wrr", "lc", "wlc", "sh", "mh", "dh", "fo", "random", "lblc", "ovf"}
	keys := []ipvs.ServiceKey{
		vs("10.0.1.10:80", ipvs.TCP, "rr").ServiceKey, vs("10.0.1.10:53", ipvs.UDP, "rr").ServiceKey,
		vs("[fd00:1::10]:80", ipvs.TCP, "rr").ServiceKey, vs("10.0.1.10:9", ipvs.SCTP, "rr").ServiceKey,
		vs("10.0.1.11:0", ipvs.TCP, "rr").ServiceKey, vs("[fd00:1::11]:0", ipvs.UDP, "rr").ServiceKey,
		{Family: ipvs.IPv4, FWMark: 7}, {Family: ipvs.IPv6, FWMark: 7},
	}
	for _, k := range keys {
		if rng.IntN(3) == 0 {
			continue
		}
		s := ipvs.Service{ServiceKey: k, Scheduler: scheds[rng.IntN(len(scheds))]}
		if rng.IntN(2) == 0 || k.FWMark == 0 && k.Port == 0 {
			s.Flags, s.Timeout = ipvs.Persistent, time.Duration(1+rng.IntN(300))*time.Second
			s.Granularity = []uint8{0, 24, 32}[rng.IntN(3)]
		}
		for i := range 5 {
			if rng.IntN(2) == 0 {
				continue
			}
			a := netip.AddrFrom4([4]byte{10, 0, 2, byte(10 + i)})
			if k.Family == ipvs.IPv6 {
				a = netip.MustParseAddr(fmt.Sprintf("fd00:2::%d", 10+i))
			}
			d := ipvs.Dest{DestKey: ipvs.DestKey{Addr: a, Port: k.Port}, Weight: rng.IntN(4) * rng.IntN(100), Upper: uint32(rng.IntN(2) * 50)}
			s.Dests = append(s.Dests, d)
		}
		t.Services = append(t.Services, s)
	}
	return t
}

// Any table can be made of any other, the kernel holds what was wanted, and nothing is left in it that nobody asked for.
func TestAnyTableFollowsAnyOther(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	want := ipvs.Table{}
	for i := range 60 {
		next := random(rng)
		if i%7 == 3 { // a successor
			must(t, r.plane.Close())
			r.plane = r.open()
		}
		if i%11 == 5 { // somebody else at work
			r.nft("add", "table", "inet", fmt.Sprint("other", i))
		}
		ops := ipvs.Diff(want, next)
		must(t, r.director.Do(func() error {
			for _, e := range r.plane.Apply(t.Context(), ops) {
				return fmt.Errorf("step %d: %+v: %w", i, e.Op, e.Err)
			}
			return nil
		}))
		if d := ipvs.Diff(r.read(), next); len(d) > 0 {
			t.Fatalf("step %d: read back differs by %+v", i, d)
		}
		var tab ipvs.Table
		must(t, r.director.Do(func() error {
			fresh, err := nft.Open("")
			if err != nil {
				return err
			}
			defer fresh.Close()
			tab, err = fresh.Read(t.Context())
			return err
		}))
		if d := ipvs.Diff(tab, next); len(d) > 0 {
			t.Fatalf("step %d: another plane reads what differs by %+v", i, d)
		}
		want = next
	}
	// With one service left, its chains are the only ones but the skeleton's.
	last := vs("10.0.1.99:99", ipvs.TCP, "rr", rs("10.0.2.11:99", 1))
	r.want(last)
	out := r.nft("list", "table", "inet", nft.TableName)
	if n := strings.Count(out, "chain "); n != 9 {
		t.Errorf("%d chains, want 7 of the skeleton and 2 of the service:\n%s", n, out)
	}
	if n := strings.Count(out, "counter tcp-"); n != 2 {
		t.Errorf("%d named counters, want 2:\n%s", n, out)
	}
	r.want()
}
