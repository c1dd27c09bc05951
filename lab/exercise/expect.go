package exercise

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/lab"
)

// await looks again and again until a check holds, and goes on holding if it must.
func (s *Stage) await(ctx context.Context, a Action) (ok bool, seen string) {
	within := time.Duration(float64(a.Within) * s.o.Patience)
	began := time.Now()
	watch := lab.NewStopwatch(began)
	var held time.Time
	for {
		ran := watch.Ran() // before the look: there is always one after the time is over
		good, what, final := s.check(a)
		now := time.Now()
		switch {
		case good && held.IsZero():
			held = now
		case !good:
			held = time.Time{}
		}
		seen = what
		if good && now.Sub(held) >= a.Hold {
			if took := held.Sub(began); took >= 10*time.Millisecond {
				what = fmt.Sprintf("%s, after %.2f s", strings.TrimSuffix(what, "."), took.Seconds())
			}
			return true, what
		}
		if final && !good || ran > within && (held.IsZero() || ran > within+a.Hold) {
			return false, what
		}
		if sleep(ctx, 20*time.Millisecond) != nil {
			return false, "interrupted"
		}
	}
}

// check looks once. final says that looking again is of no use.
func (s *Stage) check(a Action) (ok bool, seen string, final bool) {
	arg := func(i int) string {
		if i < len(a.Args) {
			return a.Args[i]
		}
		return ""
	}
	m := s.hosts[arg(0)]
	switch a.Verb {
	case "holds", "free":
		addr, _ := netip.ParseAddr(arg(1))
		has := m.Has(addr)
		return has == (a.Verb == "holds"), fmt.Sprintf("%s %s %s", m.Name, map[bool]string{true: "holds", false: "does not hold"}[has], addr), false
	case "onlyholder":
		addr, _ := netip.ParseAddr(arg(0))
		holders := s.holders(addr)
		ok := len(holders) == 1 && (arg(1) == "" || holders[0] == arg(1))
		return ok, "held by " + listOr(holders, "nobody"), false
	case "alive", "dead":
		runs := m.runs()
		return runs == (a.Verb == "alive"), m.Name + map[bool]string{true: " runs", false: " does not run"}[runs], false
	case "answer", "answers", "noanswer", "share", "rotation", "gap", "lost":
		return s.traffic(a)
	case "connection":
		return s.connection(a)
	case "table", "weight":
		return s.table(m, a)
	case "frame", "noframe":
		text, found := s.cap.find(s.since, arg(0))
		if a.Verb == "noframe" {
			return !found, map[bool]string{true: text, false: "no such frame"}[found], found
		}
		return found, map[bool]string{true: text, false: "no such frame"}[found], false
	case "log":
		line, found := m.logged(arg(1))
		return found, map[bool]string{true: line, false: "no such line"}[found], false
	case "syncdaemon":
		return s.syncDaemon(m, arg(1))
	case "file":
		var text []byte
		_ = m.Do(func() (err error) { text, err = os.ReadFile(arg(1)); return err })
		return strings.Contains(string(text), arg(2)), fmt.Sprintf("%d bytes", len(text)), false
	case "leases":
		return s.leases(a)
	case "clean":
		return s.clean(m)
	}
	return false, "nobody knows how to look at that", true
}

func listOr(all []string, none string) string {
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, ", ")
}

// holders are the hosts that have an address.
func (s *Stage) holders(addr netip.Addr) (out []string) {
	for _, h := range s.sc.Hosts {
		if s.hosts[h.Name].Has(addr) {
			out = append(out, h.Name)
		}
	}
	return out
}

func (m *machine) runs() bool {
	m.mu.Lock()
	p := m.daemon
	m.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

func (m *machine) logged(text string) (string, bool) {
	m.mu.Lock()
	p := m.daemon
	m.mu.Unlock()
	if p == nil {
		return "", false
	}
	lines := p.Lines()
	for i := len(lines) - 1; i >= 0; i-- {
		if matches(lines[i], strings.ToLower(text)) {
			return lines[i], true
		}
	}
	return "", false
}

// traffic judges what the client saw since the step began.
func (s *Stage) traffic(a Action) (ok bool, seen string, final bool) {
	if s.first == nil {
		return false, "no client runs", true
	}
	r := s.first.traffic.Between(s.since, s.first.until())
	switch a.Verb {
	case "answer":
		body, at := s.first.last()
		return body == a.Args[0] && at.After(s.since), fmt.Sprintf("%q", body), false
	case "noanswer":
		return r.Failed > 0, fmt.Sprintf("%d of %d unanswered: %v", r.Failed, r.Asked, r.Errors), false
	case "answers":
		var got []string
		for b := range r.By {
			got = append(got, b)
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(a.Args))
		return slices.Equal(got, want), listOr(got, "nothing"), false
	case "lost":
		most, _ := strconv.Atoi(a.Args[0])
		return r.Failed <= most && r.Asked > 0, fmt.Sprintf("%d of %d lost", r.Failed, r.Asked), r.Failed > most
	case "gap":
		return s.gap(a, r.Longest())
	case "share":
		return share(a, r.By)
	case "rotation":
		n, _ := strconv.Atoi(a.Args[0])
		bodies := s.first.bodies(s.since)
		if len(bodies) < n {
			return false, fmt.Sprintf("%d answers", len(bodies)), false
		}
		bodies = bodies[len(bodies)-n:]
		return rotates(bodies, a.Args[1:]), strings.Join(bodies, ", "), false
	}
	return false, "", true
}

// rotates tells whether answers follow each other in the order of cycle, from any place of it.
func rotates(got, cycle []string) bool {
	for from := range cycle {
		good := true
		for i, b := range got {
			if b != cycle[(from+i)%len(cycle)] {
				good = false
			}
		}
		if good {
			return true
		}
	}
	return false
}

// gap judges the longest time without service since the step began: gap below D, gap above D, gap D D (between).
func (s *Stage) gap(a Action, longest time.Duration) (bool, string, bool) {
	seen := fmt.Sprintf("%.2f s without service", longest.Seconds())
	d := func(i int) time.Duration {
		if i >= len(a.Args) {
			return 0
		}
		v, _ := time.ParseDuration(a.Args[i])
		return time.Duration(float64(v))
	}
	switch a.Args[0] {
	case "below":
		most := time.Duration(float64(d(1)) * s.o.Patience)
		return longest <= most, seen, longest > most
	case "above":
		return longest >= d(1), seen, false
	}
	return longest >= d(0) && longest <= time.Duration(float64(d(1))*s.o.Patience), seen, false
}

// share judges how answers are spread: share "Web 1"=3 "Web 2"=1, within a tenth of all answers.
func share(a Action, by map[string]int) (bool, string, bool) {
	total, parts := 0, 0.0
	var seen []string
	for _, b := range slices.Sorted(func(yield func(string) bool) {
		for k := range by {
			if !yield(k) {
				return
			}
		}
	}) {
		total += by[b]
		seen = append(seen, fmt.Sprintf("%s %d", b, by[b]))
	}
	want := map[string]float64{}
	for _, w := range a.Args {
		i := strings.LastIndexByte(w, '=')
		n, err := strconv.ParseFloat(w[max(i, 0)+1:], 64)
		if i < 0 || err != nil {
			return false, fmt.Sprintf("%q is not BODY=PART", w), true
		}
		want[w[:i]] = n
		parts += n
	}
	if total < 10*len(want) {
		return false, listOr(seen, "nothing"), false
	}
	for b, n := range want {
		if d := float64(by[b])/float64(total) - n/parts; d > 0.1 || d < -0.1 {
			return false, strings.Join(seen, ", "), false
		}
	}
	return true, strings.Join(seen, ", "), false
}

// last is the last answer and when it was asked for.
func (c *client) last() (string, time.Time) { return c.traffic.Last() }

// bodies are the answers since a time, in their order.
func (c *client) bodies(since time.Time) []string { return c.traffic.Bodies(since) }

// table judges which servers are in the table of a director with a weight above 0, in any order.
func (s *Stage) table(m *machine, a Action) (bool, string, bool) {
	if m.plane == nil {
		return false, "no data plane", true
	}
	var t ipvs.Table
	if err := m.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		t, err = m.plane.Read(ctx)
		return err
	}); err != nil {
		return false, err.Error(), false
	}
	weights := map[string]int{}
	var got []string
	for _, v := range t.Services {
		for _, d := range v.Dests {
			weights[d.Addr.String()] = int(d.Weight)
			if d.Weight > 0 && !slices.Contains(got, d.Addr.String()) {
				got = append(got, d.Addr.String())
			}
		}
	}
	slices.Sort(got)
	if a.Verb == "weight" {
		want, _ := strconv.Atoi(a.Args[2])
		w, ok := weights[a.Args[1]]
		return ok && w == want, fmt.Sprintf("weight %d", w), false
	}
	want := slices.Sorted(slices.Values(a.Args[1:]))
	return slices.Equal(got, want), listOr(got, "an empty table"), false
}

// syncDaemon judges the IPVS sync daemon: master, backup or none.
func (s *Stage) syncDaemon(m *machine, want string) (bool, string, bool) {
	k, ok := m.plane.(*kernel.Plane)
	if !ok {
		return false, "no IPVS in the kernel", true
	}
	var states []string
	err := m.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		all, err := k.SyncState(ctx)
		for _, d := range all {
			states = append(states, d.Role.String())
		}
		return err
	})
	if err != nil {
		return false, err.Error(), false
	}
	if want == "none" {
		return len(states) == 0, listOr(states, "none"), false
	}
	return slices.Contains(states, want) && len(states) == 1, listOr(states, "none"), false
}

// clean judges whether a stopped director left nothing behind: no address but the host's own, no process, no virtual server, no sync daemon.
func (s *Stage) clean(m *machine) (bool, string, bool) {
	addrs, err := m.Addrs()
	if err != nil {
		return false, err.Error(), false
	}
	var extra []string
	for _, a := range addrs {
		own := a.Addr().IsLinkLocalUnicast()
		for _, p := range m.of.Ports {
			own = own || slices.Contains(p.Addrs, a.String())
		}
		if !own {
			extra = append(extra, a.String())
		}
	}
	for _, pid := range m.Pids() {
		comm, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
		extra = append(extra, strings.TrimSpace(string(comm)))
	}
	if m.plane != nil {
		var t ipvs.Table
		err := m.Do(func() (err error) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if t, err = m.plane.Read(ctx); err != nil {
				return err
			}
			if k, ok := m.plane.(*kernel.Plane); ok {
				all, err := k.SyncState(ctx)
				for _, d := range all {
					extra = append(extra, "the sync daemon as "+d.Role.String())
				}
				return err
			}
			return nil
		})
		if err != nil {
			return false, err.Error(), false
		}
		for _, v := range t.Services {
			extra = append(extra, fmt.Sprintf("the virtual server %s", v.ServiceKey))
		}
	}
	return len(extra) == 0, "left behind: " + listOr(extra, "nothing"), false
}
