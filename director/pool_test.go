package director

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/script"
)

// server is a real server 10.1.0.n:80 with one TCP checker per element of alpha.
func server(n, weight int, alpha ...bool) *RealServer {
	r := &RealServer{
		Name: fmt.Sprintf("[10.1.0.%d]:tcp:80", n), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(n)}), 80),
		Weight: weight, SMTPAlert: true,
		NotifyUp: &script.Command{Args: []string{"rs_up"}}, NotifyDown: &script.Command{Args: []string{"rs_down"}},
	}
	for i, a := range alpha {
		r.Checkers = append(r.Checkers, &healthcheck.Config{Type: healthcheck.TypeTCP, ID: fmt.Sprintf("vs -> %s #%d", r.Name, i+1),
			Alpha: a, Connect: healthcheck.Connect{Addr: r.Addr, Timeout: time.Duration(i+1) * time.Second}})
	}
	return r
}

// virtual is the virtual server 10.2.0.1:80 with these real servers.
func virtual(quorum, hysteresis int, rs ...*RealServer) *VirtualServer {
	return &VirtualServer{
		Name: "[10.2.0.1]:tcp:80", Key: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80},
		Scheduler: "rr", Quorum: quorum, Hysteresis: hysteresis, RealServers: rs,
		QuorumUp: &script.Command{Args: []string{"q_up"}}, QuorumDown: &script.Command{Args: []string{"q_down"}},
	}
}

func sorry(vs *VirtualServer, inhibit bool) *VirtualServer {
	vs.Sorry = &RealServer{Name: "[10.1.0.99]:tcp:80", Addr: netip.MustParseAddrPort("10.1.0.99:80"), Weight: 1}
	vs.SorryInhibit = inhibit
	return vs
}

// show prints actions one a line: tables as "= 1:3 2:1" (last byte of the address, weight), events as fifo line and script, logs with ">".
func show(acts []action) string {
	var b strings.Builder
	for _, a := range acts {
		switch {
		case a.table:
			b.WriteString("=")
			for _, d := range a.dests {
				fmt.Fprintf(&b, " %d:%d", d.Addr.As4()[3], d.Weight)
			}
		case a.event != nil:
			e := a.event
			b.WriteString(e.FifoLine())
			if e.Script != nil && e.Fifo {
				b.WriteString(" (" + e.Script.Args[0] + ")")
			}
			if e.Mail {
				b.WriteString(" mail: " + e.Body)
			}
		default:
			b.WriteString("> " + a.log)
		}
		b.WriteString("\n")
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func expect(t *testing.T, what string, got []action, want string) {
	t.Helper()
	w := strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", "")
	if g := show(got); g != w {
		t.Errorf("%s\n got:\n%s\nwant:\n%s", what, g, w)
	}
}

func up(ok bool) healthcheck.Result { return healthcheck.Result{Up: ok} }

func TestOrderOfWritesAndNotificationsIsTheReferences(t *testing.T) {
	p := newPool(sorry(virtual(2, 0, server(1, 3, false), server(2, 1, false), server(3, 1, false)), false), poolOptions{})
	expect(t, "start", p.start(), `
	= 1:3 2:1 3:1
	> Gained quorum 2+0=2 <= 5 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
	expect(t, "a first success changes nothing", p.result(0, 0, up(true)), "")
	expect(t, "one of three fails", p.result(1, 0, up(false)), `
	 mail: TCP CHECK failed on service
	> Removing service [10.1.0.2]:tcp:80 from VS [10.2.0.1]:tcp:80
	= 1:3 3:1
	RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)
	`)
	expect(t, "the quorum is lost", p.result(0, 0, up(false)), `
	 mail: TCP CHECK failed on service
	> Removing service [10.1.0.1]:tcp:80 from VS [10.2.0.1]:tcp:80
	= 3:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)
	> Lost quorum 2-0=2 > 1 for VS [10.2.0.1]:tcp:80
	> Adding sorry server [10.1.0.99]:tcp:80 to VS [10.2.0.1]:tcp:80
	> Removing alive servers from the pool for VS [10.2.0.1]:tcp:80
	=
	= 99:1
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
	expect(t, "a second failure of the same", p.result(0, 0, up(false)), "")
	expect(t, "the quorum is regained", p.result(0, 0, up(true)), `
	 mail: TCP CHECK succeed on service
	> Adding service [10.1.0.1]:tcp:80 to VS [10.2.0.1]:tcp:80
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	> Gained quorum 2+0=2 <= 4 for VS [10.2.0.1]:tcp:80
	> Removing sorry server [10.1.0.99]:tcp:80 from VS [10.2.0.1]:tcp:80
	=
	> Adding alive servers to the pool for VS [10.2.0.1]:tcp:80
	= 1:3 3:1
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
}

func TestStartUnderAlpha(t *testing.T) {
	p := newPool(virtual(1, 0, server(1, 1, true, true)), poolOptions{})
	expect(t, "alpha without sorry server is silent", p.start(), "=\n")
	expect(t, "one of two checkers is not enough", p.result(0, 0, up(true)), " mail: TCP CHECK succeed on service\n")
	expect(t, "both are", p.result(0, 1, up(true)), `
	 mail: TCP CHECK succeed on service
	> Adding service [10.1.0.1]:tcp:80 to VS [10.2.0.1]:tcp:80
	= 1:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	> Gained quorum 1+0=1 <= 1 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)

	p = newPool(sorry(virtual(1, 0, server(1, 1, true)), false), poolOptions{})
	expect(t, "alpha with a sorry server", p.start(), `
	=
	> Starting with quorum down 1-0=1 > 0 for VS [10.2.0.1]:tcp:80
	> Adding sorry server [10.1.0.99]:tcp:80 to VS [10.2.0.1]:tcp:80
	> Removing alive servers from the pool for VS [10.2.0.1]:tcp:80
	=
	= 99:1
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
	expect(t, "a dead server is told once", p.result(0, 0, up(false)), "RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)\n")
	expect(t, "and not again", p.result(0, 0, up(false)), "")

	misc := server(1, 1, true)
	misc.Checkers[0].Type = healthcheck.TypeMisc
	p = newPool(virtual(1, 0, misc), poolOptions{})
	p.start()
	expect(t, "a MISC checker's first failure tells nobody", p.result(0, 0, up(false)), "")

	r := server(1, 3, true)
	r.Inhibit = true
	p = newPool(virtual(1, 0, r), poolOptions{})
	expect(t, "inhibited servers are in with weight 0", p.start(), "= 1:0\n")
}

func TestInhibitKeepsServersInWithWeightZero(t *testing.T) {
	a, b := server(1, 3, false), server(2, 1, false)
	a.Inhibit, b.Inhibit = true, true
	p := newPool(sorry(virtual(2, 0, a, b), true), poolOptions{})
	expect(t, "start", p.start(), `
	= 1:3 2:1 99:0
	> Gained quorum 2+0=2 <= 4 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
	expect(t, "lost", p.result(0, 0, up(false)), `
	 mail: TCP CHECK failed on service
	> Disabling service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:0 2:1 99:0
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)
	> Lost quorum 2-0=2 > 1 for VS [10.2.0.1]:tcp:80
	> Enabling sorry server [10.1.0.99]:tcp:80 to VS [10.2.0.1]:tcp:80
	> Removing alive servers from the pool for VS [10.2.0.1]:tcp:80
	= 1:0 2:0 99:0
	= 1:0 2:0 99:1
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
}

func TestWithoutSorryServerALostQuorumLeavesTheRestIn(t *testing.T) {
	p := newPool(virtual(2, 1, server(1, 1, false), server(2, 1, false), server(3, 1, false)), poolOptions{rsInitNotifies: true})
	expect(t, "rs_init_notifies", p.start(), `
	= 1:1 2:1 3:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	RS [10.1.0.3]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	> Gained quorum 2+1=3 <= 3 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
	p.result(0, 0, up(false))
	p.result(1, 0, up(false)) // 1 is not below 2-1
	if !p.up {
		t.Error("hysteresis does not hold the quorum")
	}
	expect(t, "none left", p.result(2, 0, up(false)), `
	 mail: TCP CHECK failed on service
	> Removing service [10.1.0.3]:tcp:80 from VS [10.2.0.1]:tcp:80
	=
	RS [10.1.0.3]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)
	> Lost quorum 2-1=1 > 0 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
	p.result(0, 0, up(true))
	p.result(1, 0, up(true))
	if p.up {
		t.Error("2 is enough where 2+1 is needed")
	}
}

func TestDynamicWeights(t *testing.T) {
	p := newPool(virtual(1, 0, server(1, 10, false, false), server(2, 1, false)), poolOptions{})
	p.start()
	w := func(diff int) healthcheck.Result { return healthcheck.Result{Up: true, HasWeight: true, Weight: diff} }
	expect(t, "one checker", p.result(0, 0, w(5)), `
	> Changing weight from 10 to 15 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:15 2:1
	`)
	expect(t, "differences add up", p.result(0, 1, w(-8)), `
	> Changing weight from 15 to 7 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:7 2:1
	`)
	expect(t, "never below 0", p.result(0, 1, w(-90)), `
	> Changing weight from 7 to 0 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:0 2:1
	`)
	p.result(0, 1, w(1<<40))
	if p.rs[0].weight != maxWeight {
		t.Errorf("weight %d, want at most %d", p.rs[0].weight, maxWeight)
	}
	p.result(0, 1, w(0))
	expect(t, "back to the configured weight", p.result(0, 0, w(0)), `
	> Changing weight from 15 to 10 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:10 2:1
	`)
	p.result(1, 0, up(false))
	expect(t, "a live server of weight 0 alone is no quorum", p.result(0, 0, w(-10)), `
	> Changing weight from 10 to 0 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:0
	> Lost quorum 1-0=1 > 0 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
	// misc_dynamic names the weight itself, whatever is configured.
	p.result(0, 0, healthcheck.Result{Up: true, HasWeight: true, Absolute: true, Weight: 3})
	p.rs[0].cfg.Weight += 7
	if got := p.rs[0].effective(); got != 3 {
		t.Errorf("weight %d, want the script's 3", got)
	}
}

func TestWithNoCheckerEmailsAMailIsSentWhenTheServerChangesOnly(t *testing.T) {
	p := newPool(virtual(1, 0, server(1, 1, false, false), server(2, 1, false)), poolOptions{noCheckerMails: true, rsInitNotifies: true})
	expect(t, "no mails at the start", p.start(), `
	= 1:1 2:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	> Gained quorum 1+0=1 <= 2 for VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
	expect(t, "the first of two checkers fails", p.result(0, 0, up(false)), `
	 mail: TCP CHECK failed on service
	> Removing service [10.1.0.1]:tcp:80 from VS [10.2.0.1]:tcp:80
	= 2:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down)
	`)
	expect(t, "the second too", p.result(0, 1, up(false)), "")
	expect(t, "one is good again", p.result(0, 0, up(true)), "")
	expect(t, "both are", p.result(0, 1, up(true)), `
	 mail: TCP CHECK succeed on service
	> Adding service [10.1.0.1]:tcp:80 to VS [10.2.0.1]:tcp:80
	= 1:1 2:1
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	`)
}

func TestReloadCarriesStateAndDoesNotFlap(t *testing.T) {
	conf := func(weight2 int, rs ...*RealServer) *VirtualServer {
		return virtual(1, 0, append([]*RealServer{server(1, 1, true), server(2, weight2, true)}, rs...)...)
	}
	old := newPool(conf(1, server(3, 1, false)), poolOptions{})
	old.start()
	old.result(0, 0, up(true))
	old.result(1, 0, up(false))
	old.result(2, 0, healthcheck.Result{Up: true, HasWeight: true, Weight: 4})

	same := newPool(conf(1, server(3, 1, false)), poolOptions{})
	expect(t, "nothing changed", same.reload(old), "= 1:1 3:5\n")

	next := newPool(sorry(conf(7, server(4, 2, true), server(5, 2, false)), false), poolOptions{})
	expect(t, "one gone, one new under alpha, one new without", next.reload(old), `
	> service [10.1.0.3]:tcp:80 no longer exist
	> Removing service [10.1.0.3]:tcp:80 from VS [10.2.0.1]:tcp:80
	> Changing weight from 1 to 7 for inactive service [10.1.0.2]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:1 5:2
	RS [10.1.0.3]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down) mail: Removing
	`)
	expect(t, "the failed one returns with its new weight", next.result(1, 0, up(true)), `
	 mail: TCP CHECK succeed on service
	> Adding service [10.1.0.2]:tcp:80 to VS [10.2.0.1]:tcp:80
	= 1:1 2:7 5:2
	RS [10.1.0.2]:tcp:80 [10.2.0.1]:tcp:80 UP (rs_up)
	`)

	// A changed checker: its successor inherits what the server was.
	changed := newPool(conf(1), poolOptions{})
	changed.vs.RealServers[0].Checkers[0].Timeout++
	changed.vs.RealServers[1].Checkers[0].Timeout++
	expect(t, "changed checkers", changed.reload(old), `
	> service [10.1.0.3]:tcp:80 no longer exist
	> Removing service [10.1.0.3]:tcp:80 from VS [10.2.0.1]:tcp:80
	= 1:1
	RS [10.1.0.3]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down) mail: Removing
	`)
}

func TestReloadOfASorryServerThatServes(t *testing.T) {
	old := newPool(sorry(virtual(2, 0, server(1, 1, false), server(2, 1, false)), false), poolOptions{})
	old.start()
	old.result(0, 0, up(false))
	next := newPool(virtual(2, 0, server(1, 1, false), server(2, 1, false)), poolOptions{})
	expect(t, "removing it brings the live servers back below the quorum", next.reload(old), "= 2:1\n")
	again := newPool(sorry(virtual(2, 0, server(1, 1, false), server(2, 1, false)), false), poolOptions{})
	expect(t, "adding one where it is needed", again.reload(next), `
	> Adding sorry server [10.1.0.99]:tcp:80 to VS [10.2.0.1]:tcp:80
	= 99:1
	`)
	lower := newPool(sorry(virtual(1, 0, server(1, 1, false), server(2, 1, false)), false), poolOptions{})
	expect(t, "a lower quorum is reached by the reload itself", lower.reload(again), `
	= 99:1
	> Gained quorum 1+0=1 <= 1 for VS [10.2.0.1]:tcp:80
	> Removing sorry server [10.1.0.99]:tcp:80 from VS [10.2.0.1]:tcp:80
	=
	> Adding alive servers to the pool for VS [10.2.0.1]:tcp:80
	= 2:1
	VS [10.2.0.1]:tcp:80 UP (q_up)
	`)
}

func TestStopIsSilentWithoutOmega(t *testing.T) {
	vs := virtual(1, 0, server(1, 1, false), server(2, 1, false))
	vs.SMTPAlert = true
	p := newPool(vs, poolOptions{})
	p.start()
	p.result(1, 0, up(false))
	expect(t, "no omega", p.stop(), `
	> Shutting down service [10.1.0.1]:tcp:80 from VS [10.2.0.1]:tcp:80
	> Shutting down service [10.1.0.2]:tcp:80 from VS [10.2.0.1]:tcp:80
	`)
	vs.Omega = true
	p.rs[1].cfg.Inhibit = true
	expect(t, "omega", p.stop(), `
	> Shutting down service [10.1.0.1]:tcp:80 from VS [10.2.0.1]:tcp:80
	RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN (rs_down) mail: Shutting down
	> Shutting down (inhibited) service [10.1.0.2]:tcp:80 from VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 DOWN (q_down) mail: Shutting down
	`)
}

// model is the reference's rules in plain words, recomputed from scratch for each event: no incremental state but verdicts, quorum and
// what the notifications said last.
type model struct {
	vs     *VirtualServer
	ok     [][]bool
	diff   [][]int
	quorum bool
	sorry  bool
}

func (m *model) live(i int) bool { return !slices.Contains(m.ok[i], false) }

func (m *model) weight(i int) int {
	w := m.vs.RealServers[i].Weight
	for _, d := range m.diff[i] {
		w += d
	}
	return min(max(w, 0), 65535)
}

func (m *model) sum() (n int) {
	for i := range m.ok {
		if m.live(i) {
			n += m.weight(i)
		}
	}
	return n
}

// judge applies the quorum's rule and reports whether it changed.
func (m *model) judge() bool {
	was := m.quorum
	if n := m.sum(); m.quorum {
		m.quorum = n > 0 && n >= m.vs.Quorum-m.vs.Hysteresis
	} else {
		m.quorum = n >= m.vs.Quorum+m.vs.Hysteresis
	}
	m.sorry = m.vs.Sorry != nil && !m.quorum
	return was != m.quorum
}

func (m *model) table() string {
	s := "="
	for i, r := range m.vs.RealServers {
		switch {
		case m.live(i) && !m.sorry:
			s += fmt.Sprintf(" %d:%d", i+1, m.weight(i))
		case r.Inhibit:
			s += fmt.Sprintf(" %d:0", i+1)
		}
	}
	switch {
	case m.sorry:
		s += " 99:1"
	case m.vs.Sorry != nil && m.vs.SorryInhibit:
		s += " 99:0"
	}
	return s
}

// TestRandomWalkAgainstAPlainModel: 1,000 health events for each of many settings; table, quorum and notifications must be the model's.
func TestRandomWalkAgainstAPlainModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		walk(t, rnd, 1000)
		if t.Failed() {
			return
		}
	}
}

func walk(t *testing.T, rnd *rand.Rand, events int) {
	flip := func() bool { return rnd.IntN(2) == 0 }
	var rs []*RealServer
	total := 0
	m := &model{}
	for i := range 1 + rnd.IntN(6) {
		alphas := make([]bool, rnd.IntN(3))
		ok := make([]bool, len(alphas))
		for j := range alphas {
			alphas[j] = flip()
			ok[j] = !alphas[j]
		}
		r := server(i+1, rnd.IntN(5), alphas...)
		r.Inhibit = rnd.IntN(3) == 0
		total += r.Weight
		rs, m.ok, m.diff = append(rs, r), append(m.ok, ok), append(m.diff, make([]int, len(ok)))
	}
	q := 1 + rnd.IntN(max(1, total))
	vs := virtual(q, rnd.IntN(q), rs...)
	if flip() {
		sorry(vs, flip())
	}
	m.vs = vs
	p := newPool(vs, poolOptions{})
	state := fmt.Sprintf("quorum %d hysteresis %d sorry %v inhibit %v", vs.Quorum, vs.Hysteresis, vs.Sorry != nil, vs.SorryInhibit)
	table := "="
	// take applies the actions to what the world sees and returns the fifo lines.
	take := func(acts []action) []string {
		var fifo []string
		for _, a := range acts {
			switch {
			case a.table:
				table = strings.TrimSuffix(show([]action{a}), "\n")
			case a.event != nil && a.event.Fifo:
				fifo = append(fifo, a.event.FifoLine())
			}
		}
		return fifo
	}
	check := func(n int, got, want []string) {
		if table != m.table() || p.up != m.quorum || !slices.Equal(got, want) {
			t.Errorf("%s, event %d: table %q quorum %v fifo %q, want %q %v %q", state, n, table, p.up, got, m.table(), m.quorum, want)
		}
	}
	var want []string
	if m.judge() || vs.Sorry != nil && !m.quorum {
		want = append(want, "VS "+vs.Name+" "+updown(m.quorum))
	}
	check(-1, take(p.start()), want)
	told := make([]bool, len(rs))
	for n := range events {
		i := rnd.IntN(len(rs))
		if len(m.ok[i]) == 0 {
			continue
		}
		j := rnd.IntN(len(m.ok[i]))
		r := healthcheck.Result{Up: flip()}
		if r.Up && flip() {
			r.HasWeight, r.Weight = true, rnd.IntN(12)-6
		}
		c := p.rs[i].checks[j]
		first := !c.ran && c.cfg.Alpha && !r.Up
		was := m.live(i)
		m.ok[i][j] = r.Up
		if r.HasWeight {
			m.diff[i][j] = r.Weight
		}
		want = nil
		if now := m.live(i); now != was || first && !was && !told[i] {
			want = append(want, "RS "+rs[i].Name+" "+vs.Name+" "+updown(now))
			told[i] = true
		}
		if m.judge() {
			want = append(want, "VS "+vs.Name+" "+updown(m.quorum))
		}
		check(n, take(p.result(i, j, r)), want)
		if t.Failed() {
			return
		}
		if w := p.rs[i].weight; w < 0 || w > 65535 {
			t.Errorf("weight %d", w)
		}
		if rnd.IntN(50) == 0 { // a reload with the same configuration changes nothing
			next := newPool(vs, poolOptions{})
			if fifo := take(next.reload(p)); len(fifo) > 0 {
				t.Errorf("%s, event %d: reload told %q", state, n, fifo)
			}
			p = next
		}
	}
}

func TestAbsoluteWeightsFollowTheConfiguredOneThroughAReload(t *testing.T) {
	old := newPool(virtual(1, 0, server(1, 10, false, false)), poolOptions{})
	old.start()
	old.result(0, 0, healthcheck.Result{Up: true, HasWeight: true, Absolute: true, Weight: 3}) // 7 less
	old.result(0, 1, healthcheck.Result{Up: true, HasWeight: true, Weight: 2})
	if w := old.rs[0].weight; w != 5 {
		t.Errorf("weight %d, want 10-7+2", w)
	}
	next := newPool(virtual(1, 0, server(1, 20, false, false)), poolOptions{})
	expect(t, "a new configured weight", next.reload(old), "= 1:5\n")
}

func TestTheMailOfALostQuorumNamesTheLimitThatCounts(t *testing.T) {
	vs := virtual(3, 2, server(1, 1, true), server(2, 2, true), server(3, 3, true))
	p := newPool(vs, poolOptions{})
	var bodies []string
	note := func(acts []action) {
		for _, a := range acts {
			if a.event != nil && a.event.Kind == VirtualServerEvent {
				bodies = append(bodies, a.event.Body)
			}
		}
	}
	note(p.start())
	for _, ok := range []bool{true, false} {
		for i := range 3 {
			note(p.result(i, 0, up(ok)))
		}
	}
	if want := []string{"Gained quorum 3+2=5 <= 6", "Lost quorum 3+2=1 <= 0"}; !slices.Equal(bodies, want) {
		t.Errorf("got %q, want %q", bodies, want)
	}
}

func TestNobodyIsWrittenToAboutAFile(t *testing.T) {
	rs := server(1, 1, false)
	rs.Checkers[0].Type = healthcheck.TypeFile
	p := newPool(virtual(1, 0, rs), poolOptions{})
	p.start()
	for _, a := range p.result(0, 0, up(false)) {
		if a.event != nil && a.event.Kind == CheckerEvent {
			t.Errorf("a mail: %+v", a.event)
		}
	}
}

func TestAServerThatWasDownIsNotRemovedASecondTime(t *testing.T) {
	old := newPool(virtual(1, 0, server(1, 1, false), server(2, 1, false)), poolOptions{})
	old.start()
	old.result(1, 0, up(false))
	next := newPool(virtual(1, 0, server(1, 4, false)), poolOptions{})
	expect(t, "a reload", next.reload(old), `
	> service [10.1.0.2]:tcp:80 no longer exist
	> Changing weight from 1 to 4 for active service [10.1.0.1]:tcp:80 of VS [10.2.0.1]:tcp:80
	= 1:4
	`)
}

func TestWithOmegaQuorumDownRunsAtTheStopEvenIfTheQuorumIsLost(t *testing.T) {
	vs := virtual(1, 0, server(1, 1, true))
	vs.Omega, vs.SMTPAlert = true, true
	p := newPool(vs, poolOptions{})
	p.start()
	expect(t, "never up", p.stop(), `
	> Shutting down service [10.1.0.1]:tcp:80 from VS [10.2.0.1]:tcp:80
	VS [10.2.0.1]:tcp:80 DOWN (q_down)
	`)
}
