package director_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"releve/director"
	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/kernel"
)

// recorder is the kernel's IPVS with a record of what it was told and refused.
type recorder struct {
	*kernel.Plane
	mu      sync.Mutex
	writes  []string
	refused []ipvs.OpError
}

func (r *recorder) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	errs := r.Plane.Apply(ctx, ops)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range ops {
		r.writes = append(r.writes, op.String())
	}
	r.refused = append(r.refused, errs...)
	return errs
}

func (r *recorder) take() ([]string, []ipvs.OpError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, e := r.writes, r.refused
	r.writes, r.refused = nil, nil
	return w, e
}

// randomServers is a configuration of up to six virtual servers.
func randomServers(r *rand.Rand) string {
	var b strings.Builder
	for v := range 6 {
		if r.IntN(4) == 0 {
			continue
		}
		fmt.Fprintf(&b, "virtual_server 10.2.0.%d 80 {\n  protocol TCP\n  lb_algo %s\n  lb_kind %s\n", v+1, []string{"rr", "wrr", "sh"}[r.IntN(3)], []string{"NAT", "DR", "TUN"}[r.IntN(3)])
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "  persistence_timeout %d\n", 50+r.IntN(2))
		}
		if r.IntN(3) == 0 {
			b.WriteString("  sorry_server 10.1.0.99 80\n")
		}
		for _, s := range r.Perm(5)[:1+r.IntN(5)] {
			fmt.Fprintf(&b, "  real_server 10.1.0.%d 80 {\n    weight %d\n  }\n", s+1, 1+r.IntN(3))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func TestThePlanOfAReloadIsWhatIPVSIsTold(t *testing.T) {
	testneed.Need(t, "ipvs")
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up; ip link add d0 type dummy; ip link set d0 up; ip route add 10.0.0.0/8 dev d0")
	k, err := kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	plane := &recorder{Plane: k}
	defer plane.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 6))
	first := load(t, randomServers(r))
	d, err := director.New(first, director.Options{Plane: plane, RepairEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for n := range 40 {
		if _, err := d.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		plane.take()
		text := randomServers(r)
		next := load(t, text)
		plan, err := d.Plan(ctx, next)
		if err != nil {
			t.Fatal(err)
		}
		if w, _ := plane.take(); len(w) > 0 {
			t.Fatalf("pair %d: planning wrote %q", n, w)
		}
		if err := d.Reload(ctx, next); err != nil {
			t.Fatal(err)
		}
		writes, refused := plane.take()
		if !slices.Equal(writes, plan.Writes) || len(refused) > 0 {
			t.Fatalf("pair %d\nplan  %q\nwrote %q\nrefused %v\n%s", n, plan.Writes, writes, refused, text)
		}
		fresh := director.Assume(nil, next)
		var want []string
		for _, w := range fresh.Writes {
			want = append(want, strings.TrimSpace(w))
		}
		slices.Sort(want)
		table, err := k.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSpace(table.String()), "\n")
		slices.Sort(got)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("pair %d: the table is\n%s\nafter a fresh start it would be\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
