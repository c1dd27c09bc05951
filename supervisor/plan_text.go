package supervisor

import (
	"fmt"
	"io"
	"strings"

	"releve/vrrp"
)

// WriteText prints the whole plan for people.
func (p *Plan) WriteText(w io.Writer) error {
	t := &planText{w: w}
	if p.Empty() {
		t.line("Nothing would change.")
		return t.err
	}
	for _, s := range p.Starts {
		t.line("The %s process starts.", s)
	}
	for _, s := range p.Stops {
		t.line("The %s process ends.", s)
	}
	t.list("Global settings that change", p.Global)
	if p.VRRP != nil {
		t.vrrp(p.VRRP)
	}
	if l := p.LVS; l != nil && !l.Empty() {
		t.line("Virtual servers (%d unchanged):", l.Unchanged)
		for _, s := range l.Services {
			t.line("  %s: %s", s.Name, s.Change)
			for _, row := range []struct {
				what string
				list []string
			}{{"servers added", s.ServersAdded}, {"servers removed", s.ServersRemoved}, {"servers that stay down", s.KeptDown}} {
				if len(row.list) > 0 {
					t.line("    %s: %s", row.what, strings.Join(row.list, ", "))
				}
			}
			if s.Quorum != "" {
				t.line("    quorum %s", s.Quorum)
			}
			if s.Sorry != "" {
				t.line("    sorry server %s", s.Sorry)
			}
		}
		t.list("Checkers added", l.CheckersAdded)
		t.list("Checkers removed", l.CheckersRemoved)
		t.line("Checkers that go on with their state: %d", l.CheckersKept)
		t.list("Writes to the table, in this order", l.Writes)
		t.list("Events for scripts, fifos and mail", l.Events)
		t.list("IPVS settings", l.Settings)
	}
	if b := p.BFD; b != nil && !b.Empty() {
		t.line("BFD sessions (%d unchanged):", b.Unchanged)
		for _, s := range b.Sessions {
			state := ""
			if s.State != "" {
				state = ", " + s.State + " now"
			}
			t.line("  %s: %s%s", s.Name, s.Change, state)
		}
	}
	return t.err
}

type planText struct {
	w   io.Writer
	err error
}

func (t *planText) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

func (t *planText) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	t.line("%s:", title)
	for _, s := range items {
		t.line("  %s", s)
	}
}

func (t *planText) vrrp(v *vrrp.Plan) {
	if v.Empty() {
		return
	}
	t.line("VRRP instances (%d unchanged):", v.Unchanged)
	for i := range v.Instances {
		in := &v.Instances[i]
		head := in.Change
		if len(in.Because) > 0 {
			head += " because of " + strings.Join(in.Because, ", ")
		}
		t.line("  %s: %s", in.Name, head)
		for _, f := range in.Fields {
			t.field("    ", f)
		}
		if len(in.PeersAdded) > 0 {
			t.line("    peers added: %s", strings.Join(in.PeersAdded, ", "))
		}
		if len(in.PeersRemoved) > 0 {
			t.line("    peers removed: %s", strings.Join(in.PeersRemoved, ", "))
		}
		t.line("    %s", in.Turn())
		if in.PriorityFrom != in.PriorityTo && in.From != "" && in.To != "" {
			t.line("    effective priority %d becomes %d", in.PriorityFrom, in.PriorityTo)
		}
		if in.Resigns {
			t.line("    sends priority 0")
		}
		if in.Expect != "" {
			t.line("    then: %s", in.Expect)
		}
	}
	for _, g := range v.Groups {
		t.line("Sync group %s: %s", g.Name, g.Change)
	}
	for _, o := range v.Trackers {
		text := ""
		if o.Text != "" {
			text = ", " + o.Text
		}
		t.line("Tracked %s %s: %s%s", o.Kind, o.Name, o.Change, text)
	}
	for _, f := range v.Settings {
		t.field("", f)
	}
	if len(v.Writes) > 0 {
		t.line("Addresses, routes, rules and interfaces, in this order:")
		for _, w := range v.Writes {
			owner := ""
			if w.Instance != "" {
				owner = "  (" + w.Instance + ")"
			}
			if w.Note != "" {
				owner = "  (" + w.Note + ")"
			}
			t.line("  %s%s", w, owner)
		}
	}
}

func (t *planText) field(indent string, f vrrp.FieldPlan) {
	if f.From == "" && f.To == "" {
		t.line("%s%s changes", indent, f.Name)
		return
	}
	t.line("%s%s %s becomes %s", indent, f.Name, f.From, f.To)
}
