package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"releve/director"
	"releve/ipvs"
)

// joined is what the daemon knows of its servers beside a table that was read.
type joined struct {
	h       *director.Health
	virtual map[ipvs.ServiceKey][]*director.VirtualHealth // two may share a service
	missing map[ipvs.ServiceKey][]*director.Missing
	now     time.Time
}

// join finds the virtual server of each service.
func join(h *director.Health) *joined {
	j := &joined{h: h, virtual: map[ipvs.ServiceKey][]*director.VirtualHealth{}, missing: map[ipvs.ServiceKey][]*director.Missing{}, now: h.At}
	for i := range h.Virtual {
		v := &h.Virtual[i]
		for _, k := range v.Services {
			j.virtual[k.Normal()] = append(j.virtual[k.Normal()], v)
		}
	}
	for i := range h.Missing {
		m := &h.Missing[i]
		j.missing[m.Service.Normal()] = append(j.missing[m.Service.Normal()], m)
	}
	return j
}

func (j *joined) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " " + max(0, j.now.Sub(t)).Truncate(time.Second).String()
}

// real finds the real server that a destination is, and its virtual server; sorry says that it is the sorry server.
func (j *joined) real(s *ipvs.Service, d *ipvs.Dest) (v *director.VirtualHealth, r *director.RealHealth, sorry bool) {
	key := d.Normal()
	var waiting *director.VirtualHealth
	for _, v := range j.virtual[s.Normal()] {
		if v.Sorry != nil && v.Sorry.DestKeyIn(s.ServiceKey) == key {
			if v.Sorry.Up {
				return v, v.Sorry, true
			}
			waiting = v
		}
		for i := range v.Real {
			if v.Real[i].DestKeyIn(s.ServiceKey) == key {
				return v, &v.Real[i], false
			}
		}
	}
	if waiting != nil {
		return waiting, waiting.Sorry, true
	}
	return nil, nil, false
}

const notOurs = "not of this configuration"

// note is the remark on a service or a destination.
func (j *joined) note(s *ipvs.Service, d *ipvs.Dest) string {
	all := j.virtual[s.Normal()]
	if d == nil {
		var notes []string
		for _, v := range all {
			text := j.quorum(v)
			if len(all) > 1 {
				text = "VS " + v.Name + ": " + text
			}
			notes = append(notes, text)
		}
		if notes == nil {
			return notOurs
		}
		return strings.Join(notes, " | ")
	}
	if all == nil {
		return ""
	}
	v, r, sorry := j.real(s, d)
	switch {
	case r == nil:
		return notOurs
	case sorry && r.Up:
		return "sorry server, serving" + j.age(r.Since)
	case sorry:
		return "sorry server"
	}
	text := j.state(r)
	if want := wantedWeight(v, r); d.Weight != want {
		text += fmt.Sprintf("; the weight should be %d", want)
	}
	return text
}

// wantedWeight is what the director wants in the table of a real server that is in it.
func wantedWeight(v *director.VirtualHealth, r *director.RealHealth) int {
	if !r.Up || v.Sorry != nil && v.Sorry.Up {
		return 0
	}
	return r.Weight
}

func (j *joined) quorum(v *director.VirtualHealth) string {
	text := "quorum lost"
	if v.QuorumUp {
		text = "quorum up"
	}
	text += j.age(v.Since) + fmt.Sprintf(": weight %d, quorum %d", v.LiveWeight, v.Quorum)
	if v.Hysteresis > 0 {
		text += fmt.Sprintf(", hysteresis %d", v.Hysteresis)
	}
	if v.Suspended {
		text += "; checks suspended"
	}
	return text
}

// state is how a real server is, and why.
func (j *joined) state(r *director.RealHealth) string {
	tried := slices.ContainsFunc(r.Checkers, func(c director.CheckHealth) bool { return c.Tried })
	switch {
	case r.Up && len(r.Checkers) == 0:
		return "not checked"
	case r.Up && !tried:
		return "up, not checked yet"
	case r.Up && r.Weight != r.Configured:
		return fmt.Sprintf("up%s, weight %d by its checks", j.age(r.Since), r.Weight)
	case r.Up:
		return "up" + j.age(r.Since)
	case !tried:
		return "down, not checked yet"
	}
	return "down" + j.age(r.Since) + ": " + strings.Join(j.reasons(r), "; ")
}

// reasons are those of the checkers that fail.
func (j *joined) reasons(r *director.RealHealth) (out []string) {
	for i := range r.Checkers {
		c := &r.Checkers[i]
		if c.Up {
			continue
		}
		text := c.Type
		if c.Target != "" && c.Target != r.Addr.String() {
			text += " " + c.Target
		}
		switch {
		case c.Reason != "":
			text += ": " + c.Reason
		case !c.Tried:
			text += ": not tried yet"
		default:
			text += " failed"
		}
		out = append(out, text)
	}
	return out
}

// absentee is a real server that is not in the table.
type absentee struct {
	v *director.VirtualHealth
	r *director.RealHealth
}

// out are the real servers of a service that are not in the table.
func (j *joined) out(s *ipvs.Service) (out []absentee) {
	for _, v := range j.virtual[s.Normal()] {
		for i := range v.Real {
			r := &v.Real[i]
			if k := r.DestKeyIn(s.ServiceKey); !slices.ContainsFunc(s.Dests, func(d ipvs.Dest) bool { return d.Normal() == k }) {
				out = append(out, absentee{v, r})
			}
		}
	}
	return out
}

// why is why a real server is not in the table.
func (j *joined) why(s *ipvs.Service, a absentee) string {
	k := a.r.DestKeyIn(s.ServiceKey)
	for _, m := range j.missing[s.Normal()] {
		if m.Dest != nil && m.Dest.Normal() == k {
			return j.state(a.r) + "; " + j.refused(m)
		}
	}
	switch {
	case a.r.LeftOut:
		return j.state(a.r) + ", left out: see Limits"
	case a.r.Up && a.v.Sorry != nil && a.v.Sorry.Up:
		return j.state(a.r) + ", makes room for the sorry server"
	case a.r.InTable:
		return j.state(a.r) + ", should be in the table"
	}
	return j.state(a.r)
}

func (j *joined) refused(m *director.Missing) string {
	return fmt.Sprintf("refused%s, %d times: %s", j.age(m.Since), m.Tries, m.Reason)
}

// more are the lines below a service.
func (j *joined) more(s *ipvs.Service) (lines []string) {
	for _, a := range j.out(s) {
		lines = append(lines, fmt.Sprintf("  -x %-28s out     %s", a.r.DestKeyIn(s.ServiceKey), j.why(s, a)))
	}
	return lines
}

// absent are services that should be in the table and are not.
func (j *joined) absent(t ipvs.Table) (out []ipvs.ServiceKey) {
	have := map[ipvs.ServiceKey]bool{}
	for i := range t.Services {
		have[t.Services[i].Normal()] = true
	}
	for i := range j.h.Virtual {
		for _, k := range j.h.Virtual[i].Services {
			if k = k.Normal(); !have[k] {
				have[k] = true
				out = append(out, k)
			}
		}
	}
	return out
}

// tail is what comes below the table: what is not in place, and why.
func (j *joined) tail(w io.Writer, t ipvs.Table) {
	var lines []string
	absent := j.absent(t)
	said := map[ipvs.ServiceKey]bool{}
	for _, k := range absent {
		said[k] = true
		why := "not in the table"
		for _, m := range j.missing[k] {
			if m.Dest == nil {
				why = j.refused(m)
			}
		}
		lines = append(lines, fmt.Sprintf("%s (VS %s): %s", k, j.virtual[k][0].Name, why))
	}
	for i := range j.h.Missing {
		m := &j.h.Missing[i]
		if m.Dest == nil && said[m.Service.Normal()] {
			continue
		}
		object := m.Service.String()
		if m.Dest != nil {
			object += " -r " + m.Dest.String()
		}
		lines = append(lines, object+": "+j.refused(m))
	}
	lines = append(lines, j.h.Trouble...)
	section(w, "Not in place:", lines)
	section(w, "Limits:", j.h.Limits)
	if j.h.Repairs > 0 {
		fmt.Fprintf(w, "\nRestored after changes from outside: %d services\n", j.h.Repairs)
	}
}

func section(w io.Writer, head string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", head)
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", l)
	}
}

// The JSON of health; times are RFC 3339, absent before the first.
type (
	jsonVirtual struct {
		Name       string     `json:"virtual_server"`
		QuorumUp   bool       `json:"quorum_up"`
		Since      *time.Time `json:"since,omitempty"`
		LiveWeight int        `json:"live_weight"`
		Quorum     int        `json:"quorum"`
		Hysteresis int        `json:"hysteresis"`
		SorryUp    bool       `json:"sorry_server_serves"`
		Suspended  bool       `json:"checks_suspended,omitempty"`
		Shared     []string   `json:"shared_with,omitempty"` // other virtual servers of the same service
		Out        []jsonReal `json:"not_in_table"`
	}
	jsonReal struct {
		Address    string        `json:"address"`
		Up         bool          `json:"up"`
		Sorry      bool          `json:"sorry_server,omitempty"`
		Since      *time.Time    `json:"since,omitempty"`
		Weight     int           `json:"effective_weight"`
		Configured int           `json:"configured_weight"`
		Why        string        `json:"why,omitempty"`
		Checkers   []jsonChecker `json:"checkers"`
	}
	jsonChecker struct {
		Type    string     `json:"type"`
		Target  string     `json:"target,omitempty"`
		Up      bool       `json:"up"`
		Tried   bool       `json:"tried"`
		Since   *time.Time `json:"since,omitempty"`
		Reason  string     `json:"reason,omitempty"`
		Latency float64    `json:"latency_seconds,omitempty"`
		Changes uint64     `json:"changes"`
		Last    *time.Time `json:"last_attempt,omitempty"`
		Next    *time.Time `json:"next_attempt,omitempty"`
		Fails   int        `json:"failures_in_a_row,omitempty"`
		Tries   uint64     `json:"attempts"`
		Failed  uint64     `json:"failures"`
	}
	jsonMissing struct {
		Service string    `json:"service"`
		Dest    string    `json:"destination,omitempty"`
		Reason  string    `json:"reason"`
		Since   time.Time `json:"since"`
		Tries   int       `json:"tries"`
	}
	jsonHealth struct {
		At      time.Time     `json:"at"`
		Started time.Time     `json:"started"`
		Absent  []string      `json:"services_not_in_table"`
		Missing []jsonMissing `json:"refused"`
		Trouble []string      `json:"trouble"`
		Limits  []string      `json:"limits"`
		Repairs uint64        `json:"repairs"`
	}
)

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(time.Millisecond)
	return &t
}

func (j *joined) jsonReal(s *ipvs.Service, r *director.RealHealth, sorry bool) jsonReal {
	out := jsonReal{Address: r.DestKeyIn(s.ServiceKey).String(), Up: r.Up, Sorry: sorry, Since: stamp(r.Since), Weight: r.Weight, Configured: r.Configured,
		Checkers: []jsonChecker{}}
	if !r.Up && !sorry {
		out.Why = strings.Join(j.reasons(r), "; ")
	}
	for _, c := range r.Checkers {
		out.Checkers = append(out.Checkers, jsonChecker{Type: c.Type, Target: c.Target, Up: c.Up, Tried: c.Tried, Since: stamp(c.Since), Reason: c.Reason,
			Latency: c.Latency.Seconds(), Changes: c.Changes, Last: stamp(c.Last), Next: stamp(c.Next), Fails: c.Fails, Tries: c.Tries, Failed: c.Failures})
	}
	return out
}

// annotate is the JSON of a service's or destination's health.
func (j *joined) annotate(s *ipvs.Service, d *ipvs.Dest) any {
	all := j.virtual[s.Normal()]
	if d != nil {
		_, r, sorry := j.real(s, d)
		if r == nil {
			return nil
		}
		return j.jsonReal(s, r, sorry)
	}
	if len(all) == 0 {
		return nil
	}
	v := all[0]
	out := jsonVirtual{Name: v.Name, QuorumUp: v.QuorumUp, Since: stamp(v.Since), LiveWeight: v.LiveWeight, Quorum: v.Quorum, Hysteresis: v.Hysteresis,
		SorryUp: v.Sorry != nil && v.Sorry.Up, Suspended: v.Suspended, Out: []jsonReal{}}
	for _, o := range all[1:] {
		out.Shared = append(out.Shared, o.Name)
	}
	for _, a := range j.out(s) {
		one := j.jsonReal(s, a.r, false)
		one.Why = j.why(s, a)
		out.Out = append(out.Out, one)
	}
	return out
}

func (j *joined) json(t ipvs.Table) *jsonHealth {
	out := &jsonHealth{At: j.h.At, Started: j.h.Started, Absent: []string{}, Missing: []jsonMissing{}, Trouble: list(j.h.Trouble), Limits: list(j.h.Limits),
		Repairs: j.h.Repairs}
	for _, k := range j.absent(t) {
		out.Absent = append(out.Absent, k.String())
	}
	for _, m := range j.h.Missing {
		one := jsonMissing{Service: m.Service.String(), Reason: m.Reason, Since: m.Since, Tries: m.Tries}
		if m.Dest != nil {
			one.Dest = m.Dest.String()
		}
		out.Missing = append(out.Missing, one)
	}
	return out
}

// list is s, as an empty array if there is nothing.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
