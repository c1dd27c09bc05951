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

// groupModel is what the reference's rules say of a virtual server on a group through reloads: what is known of a real server goes on while it
// is configured, and each member of the group holds what follows from that. It shares nothing with the code that it judges but the configuration.
type groupModel struct {
	vs     *VirtualServer
	good   map[string][]bool // by name of the real server and checker
	diff   map[string][]int
	told   map[string]bool
	quorum bool
	lines  []string
}

// configure takes over a configuration, the first one or that of a reload.
func (m *groupModel) configure(vs *VirtualServer) {
	was, first := m.good, m.vs == nil
	if first {
		m.told = map[string]bool{}
	}
	var gone []string
	if !first {
		for _, r := range m.vs.RealServers {
			if !slices.ContainsFunc(vs.RealServers, func(n *RealServer) bool { return n.Name == r.Name }) {
				if m.live(r) {
					gone = append(gone, fmt.Sprintf("RS %s %s DOWN", r.Name, m.vs.Name))
				}
				delete(m.told, r.Name)
			}
		}
	}
	diff := m.diff
	m.vs, m.good, m.diff = vs, map[string][]bool{}, map[string][]int{}
	for _, r := range vs.RealServers {
		if g, known := was[r.Name]; known {
			m.good[r.Name], m.diff[r.Name] = g, diff[r.Name]
			continue
		}
		g := make([]bool, len(r.Checkers))
		for j, c := range r.Checkers {
			g[j] = !c.Alpha
		}
		m.good[r.Name], m.diff[r.Name] = g, make([]int, len(g))
	}
	m.lines = append(m.lines, gone...)
	switch up := m.quorum; {
	case first && m.sum() >= vs.Quorum+vs.Hysteresis && m.sum() > 0:
		m.quorum = true
		m.lines = append(m.lines, "VS "+vs.Name+" UP")
	case first && vs.Sorry != nil:
		m.lines = append(m.lines, "VS "+vs.Name+" DOWN")
	case !first:
		m.count(up)
	}
}

func (m *groupModel) live(r *RealServer) bool { return !slices.Contains(m.good[r.Name], false) }

func (m *groupModel) weight(r *RealServer) int {
	w := r.Weight
	for _, d := range m.diff[r.Name] {
		w += d
	}
	return max(0, min(w, 65535))
}

func (m *groupModel) sum() (n int) {
	for _, r := range m.vs.RealServers {
		if m.live(r) {
			n += m.weight(r)
		}
	}
	return n
}

// count tells of a quorum gained or lost.
func (m *groupModel) count(up bool) {
	n := m.sum()
	switch {
	case up && (n == 0 || n < m.vs.Quorum-m.vs.Hysteresis):
		m.quorum = false
		m.lines = append(m.lines, "VS "+m.vs.Name+" DOWN")
	case !up && n > 0 && n >= m.vs.Quorum+m.vs.Hysteresis:
		m.quorum = true
		m.lines = append(m.lines, "VS "+m.vs.Name+" UP")
	}
}

func (m *groupModel) check(r *RealServer, j int, res healthcheck.Result, first bool) {
	was := m.live(r)
	wasWeight := m.weight(r)
	m.good[r.Name][j] = res.Up
	if res.HasWeight {
		m.diff[r.Name][j] = res.Weight
	}
	now := m.live(r)
	switch {
	case now != was:
		m.told[r.Name] = true
		m.lines = append(m.lines, fmt.Sprintf("RS %s %s %s", r.Name, m.vs.Name, map[bool]string{true: "UP", false: "DOWN"}[now]))
	case now && wasWeight != m.weight(r):
	case !now && first && !res.Up && r.Checkers[j].Alpha && !m.told[r.Name]:
		m.told[r.Name] = true
		m.lines = append(m.lines, fmt.Sprintf("RS %s %s DOWN", r.Name, m.vs.Name))
		return
	default:
		return
	}
	m.count(m.quorum)
}

// table is what should be there: the destinations of each member, both as words.
func (m *groupModel) table() map[string][]string {
	out := map[string][]string{}
	serving := m.vs.Sorry != nil && !m.quorum
	holds := func(port int, mark bool) (list []string) {
		add := func(r *RealServer, w int) {
			p := int(r.Addr.Port())
			if r.Forward == ipvs.DR {
				if p = port; mark {
					p = 0
				}
			}
			list = append(list, fmt.Sprintf("%s:%d %v %d", r.Addr.Addr(), p, r.Forward, w))
		}
		for _, r := range m.vs.RealServers {
			switch {
			case m.live(r) && !serving:
				add(r, m.weight(r))
			case r.Inhibit:
				add(r, 0)
			}
		}
		switch {
		case serving:
			add(m.vs.Sorry, 1)
		case m.vs.Sorry != nil && m.vs.SorryInhibit:
			add(m.vs.Sorry, 0)
		}
		slices.Sort(list)
		return list
	}
	for _, g := range m.vs.Group.Members {
		if g.FWMark > 0 {
			out[fmt.Sprintf("mark %d", g.FWMark)] = holds(0, true)
			continue
		}
		first, last := g.First.As4(), g.Last.As4()
		for n := int(first[2])<<8 + int(first[3]); n <= int(last[2])<<8+int(last[3]); n++ {
			out[fmt.Sprintf("%d.%d.%d.%d:%d", first[0], first[1], n>>8, n&255, g.Port)] = holds(int(g.Port), false)
		}
	}
	return out
}

// present is the table of a plane in the same words.
func present(t *testing.T, p *memory.Plane) map[string][]string {
	t.Helper()
	tab, err := p.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, s := range tab.Services {
		name := fmt.Sprintf("%s:%d", s.Addr, s.Port)
		if s.FWMark > 0 {
			name = fmt.Sprintf("mark %d", s.FWMark)
		}
		list := []string{}
		for _, d := range s.Dests {
			list = append(list, fmt.Sprintf("%s:%d %v %d", d.Addr, d.Port, d.Forward, d.Weight))
		}
		slices.Sort(list)
		out[name] = list
	}
	return out
}

// least counts the writes that lead from one table to the other: a service that goes takes its servers along, a changed weight is one.
func least(have, want map[string][]string) (n int) {
	place := func(s string) string { return s[:strings.IndexByte(s, ' ')] }
	for name, list := range want {
		was, kept := have[name]
		if !kept {
			n += 1 + len(list)
			continue
		}
		for _, d := range list {
			if !slices.Contains(was, d) {
				n++
			}
		}
		for _, d := range was {
			if !slices.ContainsFunc(list, func(w string) bool { return place(w) == place(d) }) {
				n++
			}
		}
	}
	for name := range have {
		if _, kept := want[name]; !kept {
			n++
		}
	}
	return n
}

// randomGroup draws members that have much in common with those of other draws: ranges that grow, shrink, overlap and cross a multiple of 256,
// single addresses, other ports, marks, in any order.
func randomGroup(rnd *rand.Rand) *Group {
	g := &Group{Name: "G"}
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 3, byte(n >> 8), byte(n)}) }
	for range 1 + rnd.IntN(4) {
		switch rnd.IntN(5) {
		case 0:
			g.Members = append(g.Members, GroupMember{FWMark: uint32(1 + rnd.IntN(3))})
		case 1:
			a := addr(1 + rnd.IntN(6))
			g.Members = append(g.Members, GroupMember{First: a, Last: a, Port: uint16(80 + rnd.IntN(2))})
		default:
			from := 250 + rnd.IntN(8)
			g.Members = append(g.Members, GroupMember{First: addr(from), Last: addr(from + rnd.IntN(10)), Port: 80})
		}
	}
	return g
}

func randomGroupServer(rnd *rand.Rand, pool []*RealServer, q func(total int) (quorum, hysteresis int), sorryServer int) *VirtualServer {
	var rs []*RealServer
	total := 0
	for _, r := range pool {
		if rnd.IntN(4) == 0 {
			continue
		}
		c := *r
		if rnd.IntN(4) == 0 {
			c.Weight = 1 + rnd.IntN(4)
		}
		total += c.Weight
		rs = append(rs, &c)
	}
	if len(rs) == 0 {
		rs, total = pool[:1], pool[0].Weight
	}
	if rnd.IntN(3) == 0 {
		rnd.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
	}
	quorum, hysteresis := q(max(total, 1))
	vs := virtual(quorum, hysteresis, rs...)
	if sorryServer > 0 {
		sorry(vs, sorryServer == 2)
	}
	vs.Name, vs.Key = "[G]:0", ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP}
	vs.Group = randomGroup(rnd)
	return vs
}

// TestAGroupGoesThroughReloadsWithWhatIsKnownOfItsServers: random health events between random reloads that change members, servers, weights
// and quorum. Servers that had failed stay out of old and new members alike, nobody hears of what did not change, and no write is too many.
func TestAGroupGoesThroughReloadsWithWhatIsKnownOfItsServers(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 11))
	for range 60 {
		synctest.Test(t, func(t *testing.T) { groupThroughReloads(t, rnd, 25) })
		if t.Failed() {
			return
		}
	}
}

func groupThroughReloads(t *testing.T, rnd *rand.Rand, reloads int) {
	var pool []*RealServer
	alpha := rnd.IntN(2) == 0
	for i := range 1 + rnd.IntN(5) {
		alphas := make([]bool, rnd.IntN(3))
		for j := range alphas {
			alphas[j] = alpha
		}
		r := server(i+1, 1+rnd.IntN(4), alphas...)
		r.Inhibit, r.Forward = rnd.IntN(3) == 0, []ipvs.Forward{ipvs.NAT, ipvs.DR}[rnd.IntN(2)]
		pool = append(pool, r)
	}
	quorum := func(total int) (int, int) {
		q := 1 + rnd.IntN(total)
		return q, rnd.IntN(min(q, total-q+1))
	}
	sorryServer := rnd.IntN(3)
	vs := randomGroupServer(rnd, pool, quorum, sorryServer)
	model := &groupModel{}
	model.configure(vs)
	h := build(t, new(memory.Plane), &Config{VirtualServers: []*VirtualServer{vs}}, Options{})
	defer h.stop()
	compare := func(when string) {
		t.Helper()
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.Equal(h.fifo, model.lines) {
			t.Fatalf("%s: told %q\nwant %q", when, h.fifo, model.lines)
		}
		got, want := present(t, h.plane), model.table()
		for name, list := range want {
			if g, ok := got[name]; !ok || !slices.Equal(g, list) {
				t.Fatalf("%s: %s holds %q (%v)\nwant %q", when, name, g, ok, list)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d services, want %d", when, len(got), len(want))
		}
		h.fifo, model.lines = nil, nil
	}
	compare("start")
	ran := map[string]bool{}
	for n := range reloads {
		for range rnd.IntN(8) {
			r := vs.RealServers[rnd.IntN(len(vs.RealServers))]
			if len(r.Checkers) == 0 {
				continue
			}
			j := rnd.IntN(len(r.Checkers))
			res := healthcheck.Result{ID: r.Checkers[j].ID, Up: rnd.IntN(2) == 0}
			if res.Up && rnd.IntN(4) == 0 {
				res.HasWeight, res.Weight = true, rnd.IntN(4)-1
			}
			model.check(r, j, res, !ran[res.ID])
			ran[res.ID] = true
			h.d.Report(res)
			synctest.Wait()
			compare(fmt.Sprintf("before reload %d, %s #%d up %v", n, r.Name, j+1, res.Up))
		}
		before := present(t, h.plane)
		h.plane.Log()
		next := randomGroupServer(rnd, pool, quorum, sorryServer)
		for _, r := range vs.RealServers {
			if !slices.ContainsFunc(next.RealServers, func(o *RealServer) bool { return o.Name == r.Name }) {
				for _, c := range r.Checkers {
					delete(ran, c.ID)
				}
			}
		}
		model.configure(next)
		vs = next
		h.reload(&Config{VirtualServers: []*VirtualServer{vs}})
		compare(fmt.Sprintf("reload %d to %+v", n, vs.Group.Members))
		writes := h.plane.Log()
		removing := false
		for _, w := range writes {
			gone := strings.HasPrefix(w, "-d") || strings.HasPrefix(w, "-D")
			if removing && !gone || strings.Contains(w, ": ") {
				t.Fatalf("reload %d: %q in %q", n, w, writes)
			}
			removing = removing || gone
		}
		if want := least(before, present(t, h.plane)); len(writes) != want {
			t.Fatalf("reload %d: %d writes, want %d: %q", n, len(writes), want, writes)
		}
	}
}
