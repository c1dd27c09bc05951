package director

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/ipvs/memory"
)

// randomConfig draws from few names, so that two draws have much in common.
func randomConfig(rnd *rand.Rand) *Config {
	c := &Config{}
	for v := range 6 {
		if rnd.IntN(4) == 0 {
			continue
		}
		var rs []*RealServer
		total := 0
		for n := range 5 {
			if rnd.IntN(3) == 0 {
				continue
			}
			r := server(n+1, 1+rnd.IntN(3), make([]bool, rnd.IntN(3))...)
			for i, ck := range r.Checkers {
				ck.ID = fmt.Sprint(v, " ", n+1, " #", i+1)
				ck.Timeout += time.Duration(rnd.IntN(2)) * time.Second // sometimes another checker
			}
			r.Inhibit = rnd.IntN(4) == 0
			r.Forward = []ipvs.Forward{ipvs.NAT, ipvs.DR}[rnd.IntN(2)]
			total += r.Weight
			rs = append(rs, r)
		}
		if len(rs) == 0 {
			continue
		}
		q := 1 + rnd.IntN(total)
		vs := virtual(q, rnd.IntN(min(q, total-q+1)), rs...)
		vs.Name, vs.Key.Port = fmt.Sprintf("[10.2.0.1]:tcp:%d", 80+v), uint16(80+v)
		vs.Scheduler = []string{"rr", "wlc"}[rnd.IntN(2)]
		if rnd.IntN(2) == 0 {
			sorry(vs, rnd.IntN(2) == 0)
		}
		if rnd.IntN(4) == 0 {
			vs.Persistence = time.Minute
		}
		if v == 0 {
			vs.Name, vs.Key = "[G]:0", ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP}
			last := netip.AddrFrom4([4]byte{10, 3, 0, byte(1 + rnd.IntN(5))})
			vs.Group = &Group{Name: "G", Members: []GroupMember{{First: netip.MustParseAddr("10.3.0.1"), Last: last, Port: 80}, {FWMark: uint32(1 + rnd.IntN(2))}}}
		}
		c.VirtualServers = append(c.VirtualServers, vs)
	}
	return c
}

// lines is a table as a set.
func lines(t *testing.T, p *memory.Plane) []string {
	t.Helper()
	tab, err := p.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	l := strings.Split(strings.TrimSpace(tab.String()), "\n")
	slices.Sort(l)
	return l
}

// TestAfterAnyReloadsTheTableIsThatOfAFreshStart: 500 reloads; what is live must be in place, with no write more than needed and nobody told
// of a server that did not change.
func TestAfterAnyReloadsTheTableIsThatOfAFreshStart(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 4))
	synctest.Test(t, func(t *testing.T) {
		cfg := randomConfig(rnd)
		h := build(t, new(memory.Plane), cfg, Options{})
		for n := range 500 {
			// Some servers fail and come back before the reload: in the end all are well, and the quorum is as at a start.
			for _, vs := range cfg.VirtualServers {
				for i, r := range vs.RealServers {
					for j := range r.Checkers {
						if rnd.IntN(6) == 0 {
							h.report(vs, i, j, healthcheck.Result{Up: false})
							h.report(vs, i, j, healthcheck.Result{Up: true})
						}
					}
				}
			}
			cfg = randomConfig(rnd)
			h.plane.Log()
			before := lines(t, h.plane)
			h.mu.Lock()
			h.fifo = nil
			h.mu.Unlock()
			plan, err := h.d.Plan(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if w := h.plane.Log(); len(w) > 0 || !slices.Equal(lines(t, h.plane), before) {
				t.Fatalf("reload %d: planning wrote %q", n, w)
			}
			h.reload(cfg)
			writes := h.plane.Log()
			if !slices.Equal(plan.Writes, writes) {
				t.Fatalf("reload %d\nplan  %q\nwrote %q", n, plan.Writes, writes)
			}
			h.mu.Lock()
			if told := slices.Clone(h.fifo); len(told) != len(plan.Events) {
				t.Fatalf("reload %d: planned to tell of %q, told of %q", n, plan.Events, told)
			}
			h.mu.Unlock()
			for _, w := range writes {
				if strings.Contains(w, ": ") {
					t.Fatalf("reload %d: %s", n, w)
				}
			}
			got := lines(t, h.plane)
			fresh := build(t, new(memory.Plane), cfg, Options{})
			if want := lines(t, fresh.plane); !slices.Equal(got, want) {
				t.Fatalf("reload %d\n got %s\nwant %s", n, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
			fresh.stop()
			if least := changes(before, got); len(writes) > least {
				t.Fatalf("reload %d: %d writes for %d changed entries: %q", n, len(writes), least, writes)
			}
			h.reload(cfg)
			if w := h.plane.Log(); len(w) > 0 {
				t.Fatalf("reload %d: the same again wrote %q", n, w)
			}
			if plan, err = h.d.Plan(t.Context(), cfg); err != nil || !plan.Empty() {
				t.Fatalf("reload %d: the plan of the same again is %+v, %v", n, plan, err)
			}
		}
		h.stop()
	})
}

// changes counts the entries that differ between two tables, told by their first words: an edit is one.
func changes(a, b []string) int {
	key := func(l string) string {
		f := strings.Fields(l)
		if f[0] == "-A" {
			return strings.Join(f[:3], " ")
		}
		return strings.Join(f[:5], " ")
	}
	was := map[string]string{}
	for _, l := range a {
		if l != "" {
			was[key(l)] = l
		}
	}
	n := 0
	for _, l := range b {
		if l == "" {
			continue
		}
		if was[key(l)] != l {
			n++
		}
		delete(was, key(l))
	}
	return n + len(was)
}
