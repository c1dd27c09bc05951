package kernel_test

import (
	"context"
	"fmt"
	"testing"

	"releve/ipvs"
)

// large is a table as a large director has it.
func large(services, dests int) ipvs.Table {
	var t ipvs.Table
	for i := range services {
		s := service(ipvs.TCP, fmt.Sprintf("10.%d.%d.1:80", i>>8, i&255), "wlc")
		for j := range dests {
			s.Dests = append(s.Dests, dest(fmt.Sprintf("10.%d.%d.%d:80", 100+i>>8, i&255, j+2), 1))
		}
		t.Services = append(t.Services, s)
	}
	return t
}

func BenchmarkIPVSLargeTable(b *testing.B) {
	p := open(b)
	ctx := context.Background()
	t := large(1000, 10)
	all := ipvs.Diff(ipvs.Table{}, t)
	b.Run("write 1000x10", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			if err := p.Flush(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			apply(b, p, all)
		}
	})
	apply(b, p, ipvs.Diff(read(b, p), t))
	b.Run("read 1000x10", func(b *testing.B) {
		for b.Loop() {
			read(b, p)
		}
	})
	b.Run("edit one weight", func(b *testing.B) {
		op := all[1]
		op.Kind = ipvs.EditDest
		for b.Loop() {
			op.Dest.Weight++
			apply(b, p, []ipvs.Op{op})
		}
	})
	b.Run("delete 1000x10", func(b *testing.B) {
		gone := ipvs.Diff(t, ipvs.Table{})
		for b.Loop() {
			b.StopTimer()
			apply(b, p, ipvs.Diff(read(b, p), t))
			b.StartTimer()
			apply(b, p, gone)
		}
	})
}
