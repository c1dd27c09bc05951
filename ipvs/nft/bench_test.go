package nft_test

import (
	"fmt"
	"testing"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/nft"
)

func big(services, dests int) ipvs.Table {
	var t ipvs.Table
	for i := range services {
		s := vs(fmt.Sprintf("10.2.%d.%d:80", i/250, i%250+1), ipvs.TCP, "wrr")
		for j := range dests {
			d := rs(fmt.Sprintf("10.1.%d.%d:80", j/250, j%250+1), j%3+1)
			s.Dests = append(s.Dests, d)
		}
		t.Services = append(t.Services, s)
	}
	return t
}

// Loading 1,000 services of 10 servers, reading them back, changing one weight, and emptying the table.
func BenchmarkThousandServices(b *testing.B) {
	testneed.Need(b, "root", "netns", "nft")
	p, err := nft.Open("")
	must(b, err)
	defer p.Close()
	full := big(1000, 10)
	apply := func(want ipvs.Table) {
		have, err := p.Read(b.Context())
		must(b, err)
		for _, e := range p.Apply(b.Context(), ipvs.Diff(have, want)) {
			b.Fatal(e.Op, e.Err)
		}
	}
	b.Run("load and empty", func(b *testing.B) {
		for b.Loop() {
			apply(full)
			apply(ipvs.Table{})
		}
	})
	apply(full)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			_, err := p.Read(b.Context())
			must(b, err)
		}
	})
	b.Run("change one weight", func(b *testing.B) {
		d := full.Services[500].Dests[3]
		for i := 0; b.Loop(); i++ {
			d.Weight = 1 + i%5
			op := ipvs.Op{Kind: ipvs.EditDest, Service: full.Services[500], Dest: d}
			if errs := p.Apply(b.Context(), []ipvs.Op{op}); errs != nil {
				b.Fatal(errs)
			}
		}
	})
	apply(ipvs.Table{})
}
