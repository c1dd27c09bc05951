package director

import (
	"context"
	"fmt"
	"log/slog"
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

// oracle is the reference's rules for one virtual server as sentences: what is written, and what is told, in which order. It shares nothing
// with the code that it judges but the configuration, and keeps its own table.
type oracle struct {
	vs       *VirtualServer
	initTell bool // rs_init_notifies

	good   [][]bool // by server and checker
	diff   [][]int
	told   []bool // somebody heard of the server
	quorum bool
	sorry  bool
	in     map[int]int // weights in the table; the sorry server is -1

	writes, lines []string
}

func newOracle(vs *VirtualServer, initTell bool) *oracle {
	o := &oracle{vs: vs, initTell: initTell, in: map[int]int{}, told: make([]bool, len(vs.RealServers))}
	for _, r := range vs.RealServers {
		good := make([]bool, len(r.Checkers))
		for j, c := range r.Checkers {
			good[j] = !c.Alpha // without alpha a server is taken for live until a check says otherwise
		}
		o.good, o.diff = append(o.good, good), append(o.diff, make([]int, len(good)))
	}
	return o
}

// live: no checker fails.
func (o *oracle) live(i int) bool { return !slices.Contains(o.good[i], false) }

func (o *oracle) weight(i int) int {
	w := o.vs.RealServers[i].Weight
	for _, d := range o.diff[i] {
		w += d
	}
	return max(0, min(w, 65535))
}

// sum is the weight of the live servers.
func (o *oracle) sum() (n int) {
	for i := range o.good {
		if o.live(i) {
			n += o.weight(i)
		}
	}
	return n
}

// put adds a server to the table or edits its weight, out takes it out.
func (o *oracle) put(i, weight int) {
	was, there := o.in[i]
	switch {
	case !there:
		o.writes = append(o.writes, fmt.Sprintf("-a %d %d", i, weight))
	case was != weight:
		o.writes = append(o.writes, fmt.Sprintf("-e %d %d", i, weight))
	}
	o.in[i] = weight
}

func (o *oracle) out(i int) {
	if _, there := o.in[i]; there {
		o.writes = append(o.writes, fmt.Sprintf("-d %d", i))
	}
	delete(o.in, i)
}

// leave is how a server stops serving: inhibit_on_failure keeps it with weight 0.
func (o *oracle) leave(i int) {
	if o.vs.RealServers[i].Inhibit {
		o.put(i, 0)
		return
	}
	o.out(i)
}

func (o *oracle) tell(i int, up bool) {
	o.told[i] = true
	o.lines = append(o.lines, fmt.Sprintf("RS %s %s %s", o.vs.RealServers[i].Name, o.vs.Name, map[bool]string{true: "UP", false: "DOWN"}[up]))
}

func (o *oracle) tellQuorum(up bool) {
	o.lines = append(o.lines, fmt.Sprintf("VS %s %s", o.vs.Name, map[bool]string{true: "UP", false: "DOWN"}[up]))
}

// begin is the start: live servers in, inhibited ones with weight 0, the sorry server with weight 0 if it is inhibited.
func (o *oracle) begin() {
	for i, r := range o.vs.RealServers {
		switch {
		case o.live(i):
			o.put(i, o.weight(i))
		case r.Inhibit:
			o.put(i, 0)
		}
	}
	if o.vs.Sorry != nil && o.vs.SorryInhibit {
		o.put(-1, 0)
	}
	if o.initTell {
		for i := range o.good {
			if o.live(i) {
				o.tell(i, true)
			}
		}
	}
	// "Down" is assumed at the start: reaching the quorum is told, and not reaching it where there is a sorry server.
	if n := o.sum(); n >= o.vs.Quorum+o.vs.Hysteresis {
		o.quorum = true
		o.tellQuorum(true)
	} else if o.vs.Sorry != nil {
		// Nothing of this has been in the table before: the reference starts with the sorry server in place.
		o.makeRoom()
		o.tellQuorum(false)
	}
}

// makeRoom takes out the live servers in the order of the file, then the sorry server comes.
func (o *oracle) makeRoom() {
	for i := range o.good {
		if o.live(i) {
			o.leave(i)
		}
	}
	o.put(-1, 1)
	o.sorry = true
}

// check is a checker's verdict.
func (o *oracle) check(i, j int, r healthcheck.Result, first bool) {
	was, wasWeight := o.live(i), o.weight(i)
	o.good[i][j] = r.Up
	if r.HasWeight {
		o.diff[i][j] = r.Weight
	}
	now := o.live(i)
	switch {
	case now && !was:
		if !o.sorry {
			o.put(i, o.weight(i))
		}
		o.tell(i, true)
	case !now && was:
		if !o.sorry {
			o.leave(i)
		}
		o.tell(i, false)
	case now && wasWeight != o.weight(i):
		if !o.sorry {
			o.put(i, o.weight(i))
		}
	case !now && first && !r.Up && o.vs.RealServers[i].Checkers[j].Alpha && !o.told[i]:
		o.tell(i, false) // the first failure of a TCP checker under alpha, though the server never was up
		return
	default:
		return
	}
	n := o.sum()
	switch {
	case o.quorum && (n == 0 || n < o.vs.Quorum-o.vs.Hysteresis):
		o.quorum = false
		if o.vs.Sorry != nil {
			o.makeRoom()
		}
		o.tellQuorum(false)
	case !o.quorum && n > 0 && n >= o.vs.Quorum+o.vs.Hysteresis:
		o.quorum = true
		if o.sorry { // the sorry server goes first, then all live servers come
			if o.vs.SorryInhibit {
				o.put(-1, 0)
			} else {
				o.out(-1)
			}
			o.sorry = false
			for k := range o.good {
				if o.live(k) {
					o.put(k, o.weight(k))
				}
			}
		}
		o.tellQuorum(true)
	}
}

// number is a server's in the oracle.
func number(a netip.Addr) int {
	if !a.Is4() || a.As4()[3] == 99 {
		return -1
	}
	return int(a.As4()[3]) - 1
}

// diary is a plane that notes destinations' writes as the oracle words them, and marks where something was told.
type diary struct {
	*memory.Plane
	writes, lines []string
	mixed         bool // something was told between two writes of one event
	told          bool
}

func (d *diary) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	for _, op := range ops {
		i := number(op.Dest.Addr)
		switch op.Kind {
		case ipvs.AddDest:
			d.writes = append(d.writes, fmt.Sprintf("-a %d %d", i, op.Dest.Weight))
		case ipvs.EditDest:
			d.writes = append(d.writes, fmt.Sprintf("-e %d %d", i, op.Dest.Weight))
		case ipvs.DelDest:
			d.writes = append(d.writes, fmt.Sprintf("-d %d", i))
		default:
			continue
		}
		d.mixed = d.mixed || d.told
	}
	return d.Plane.Apply(ctx, ops)
}

// TestAThousandHealthEventsAreWrittenAndToldInTheReferencesOrder: for each of many settings the Director, over a table in memory, against the
// oracle.
func TestAThousandHealthEventsAreWrittenAndToldInTheReferencesOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 9))
	for range 100 {
		synctest.Test(t, func(t *testing.T) { judged(t, rnd, 1000) })
		if t.Failed() {
			return
		}
	}
}

func judged(t *testing.T, rnd *rand.Rand, events int) {
	flip := func() bool { return rnd.IntN(2) == 0 }
	var rs []*RealServer
	total := 0
	alpha, inhibit := flip(), rnd.IntN(3)
	for i := range 1 + rnd.IntN(6) {
		alphas := make([]bool, rnd.IntN(3))
		for j := range alphas {
			alphas[j] = alpha != (rnd.IntN(5) == 0)
		}
		r := server(i+1, rnd.IntN(5), alphas...)
		r.Inhibit = inhibit == 2 || inhibit == 1 && flip()
		r.SMTPAlert = false
		total += r.Weight
		rs = append(rs, r)
	}
	q := 1 + rnd.IntN(max(1, total))
	vs := virtual(q, rnd.IntN(q), rs...)
	if rnd.IntN(3) > 0 {
		sorry(vs, flip())
	}
	cfg := &Config{VirtualServers: []*VirtualServer{vs}, RSInitNotifies: rnd.IntN(4) == 0}
	o := newOracle(vs, cfg.RSInitNotifies)
	d := &diary{Plane: new(memory.Plane)}
	dir, err := New(cfg, Options{Plane: d, RepairEvery: -1, Log: slog.New(slog.DiscardHandler), Notify: func(e Event) {
		if l := e.FifoLine(); l != "" {
			d.lines, d.told = append(d.lines, l), true
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- dir.Run(ctx) }()
	setting := fmt.Sprintf("quorum %d hysteresis %d sorry %v inhibited %v alpha %v", vs.Quorum, vs.Hysteresis, vs.Sorry != nil, vs.SorryInhibit, alpha)
	for _, r := range rs {
		setting += fmt.Sprintf(", server of weight %d with %d checkers inhibit %v", r.Weight, len(r.Checkers), r.Inhibit)
	}
	compare := func(n int, what string) {
		t.Helper()
		synctest.Wait()
		if n >= 0 && !slices.Equal(d.writes, o.writes) || !slices.Equal(d.lines, o.lines) || d.mixed {
			t.Fatalf("%s\nevent %d, %s\nwrote %q\nwant  %q\ntold %q\nwant %q; told in between: %v", setting, n, what, d.writes, o.writes, d.lines, o.lines, d.mixed)
		}
		var got, want []string
		table, _ := d.Read(ctx)
		for _, dest := range table.Services[0].Dests {
			got = append(got, fmt.Sprintf("%d:%d", number(dest.Addr), dest.Weight))
		}
		for i, w := range o.in {
			want = append(want, fmt.Sprintf("%d:%d", i, w))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%s\nevent %d, %s: the table has %s, want %s", setting, n, what, strings.Join(got, " "), strings.Join(want, " "))
		}
		d.writes, d.lines, d.mixed, d.told, o.writes, o.lines = nil, nil, false, false, nil, nil
	}
	o.begin()
	compare(-1, "start") // the table of the start is written at once: only what it is counts
	ran := map[string]bool{}
	for n := range events {
		i := rnd.IntN(len(rs))
		if len(rs[i].Checkers) == 0 {
			continue
		}
		j := rnd.IntN(len(rs[i].Checkers))
		r := healthcheck.Result{ID: rs[i].Checkers[j].ID, Up: rnd.IntN(3) > 0}
		if r.Up && rnd.IntN(4) == 0 {
			r.HasWeight, r.Weight = true, rnd.IntN(12)-6
		}
		o.check(i, j, r, !ran[r.ID])
		ran[r.ID] = true
		dir.Report(r)
		compare(n, fmt.Sprintf("server %d checker %d up %v weight %d", i, j, r.Up, r.Weight))
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
