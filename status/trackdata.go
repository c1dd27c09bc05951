package status

import (
	"fmt"
	"slices"
	"strings"

	"releve/script"
	"releve/vrrp"
)

func (t *text) groups(s *vrrp.Snapshot) {
	if len(s.Groups) == 0 {
		return
	}
	t.section("VRRP Sync groups")
	for i := range s.Groups {
		t.group(&s.Groups[i], s)
	}
}

// tracks writes what instances can depend on.
func (t *text) tracks(s *vrrp.Snapshot) {
	c := s.Config
	if len(c.Scripts) > 0 {
		t.section("VRRP Scripts")
		for _, x := range c.Scripts {
			if _, used := s.Scripts[x.Name]; used {
				t.script(x, s)
			}
		}
	}
	if len(c.Files) > 0 {
		t.section("VRRP Track files")
		for _, f := range c.Files {
			t.file(f, s)
		}
	}
	if len(c.Processes) > 0 {
		t.section("VRRP Track processes")
		for _, p := range c.Processes {
			t.process(p, s)
		}
	}
	if len(c.BFD) > 0 {
		t.section("VRRP Track BFDs")
		for _, b := range c.BFD {
			t.head("VRRP Track BFD", b.Name)
			t.row("Weight", b.Weight)
			t.line("Bfd is %s", yes(s.BFD[b.Name].Up, "up", "down"))
			t.trackers(c, b.Name, b.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.BFD })
		}
	}
}

func (t *text) file(f *vrrp.FileConfig, s *vrrp.Snapshot) {
	t.head("Track file", f.Name)
	t.row("File", f.Path)
	if o := s.Files[f.Name]; o.Known {
		t.row("Status", o.Value)
	}
	t.row("Weight", weight(f.Weight, f.Reverse))
	t.trackers(s.Config, f.Name, f.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Files })
}

// delaysRunning tells which delay keeps the number of processes from counting.
func delaysRunning(p *vrrp.ProcessConfig, o vrrp.ObjectSnapshot) (fork, terminate bool) {
	enough := o.Value >= p.Quorum && (!p.HasQuorumMax || o.Value <= p.QuorumMax)
	return o.Known && enough && !o.Up, o.Known && !enough && o.Up
}

func weight(n int, reverse bool) string { return fmt.Sprintf("%d%s", n, yes(reverse, " reverse", "")) }

func (t *text) tracked(c *vrrp.TrackConfig, cfg *vrrp.Config) {
	list := func(title string, refs []vrrp.TrackRef, sep string, weight func(name string) int) {
		if len(refs) == 0 {
			return
		}
		t.line("%s :", title)
		for _, r := range refs {
			n := r.Weight
			if !r.HasWeight {
				n = weight(r.Name)
			}
			t.item(fmt.Sprintf("%s%s weight %d%s", r.Name, sep, n, yes(r.Reverse, " reverse", "")))
		}
	}
	list("Tracked interfaces", c.Ifaces, "", func(string) int { return 0 })
	list("Tracked scripts", c.Scripts, "", func(name string) int {
		for _, s := range cfg.Scripts {
			if s.Name == name {
				return s.Weight
			}
		}
		return 0
	})
	list("Tracked files", c.Files, ",", func(name string) int {
		for _, f := range cfg.Files {
			if f.Name == name {
				return f.Weight
			}
		}
		return 0
	})
	list("Tracked processes", c.Processes, ",", func(name string) int {
		for _, p := range cfg.Processes {
			if p.Name == name {
				return p.Weight
			}
		}
		return 0
	})
	list("Tracked BFDs", c.BFD, ":", func(name string) int {
		for _, b := range cfg.BFD {
			if b.Name == name {
				return b.Weight
			}
		}
		return 0
	})
}

// notify lists the scripts of an instance or group.
func (t *text) notify(n *vrrp.NotifyConfig) {
	for _, c := range []struct {
		title string
		cmd   *script.Command
	}{
		{"Backup", n.Backup}, {"Master", n.Master}, {"Fault", n.Fault}, {"Stop", n.Stop}, {"Deleted", n.Deleted},
	} {
		if !c.cmd.IsZero() {
			t.row(c.title+" state transition script", t.command(c.cmd))
		}
	}
	for _, c := range n.Any {
		t.row("Generic state transition script", t.command(c))
	}
	if c := n.MasterRxLowerPri; !c.IsZero() {
		t.row("Master rx lower pri state transition script", t.command(c))
	}
}

func (t *text) group(g *vrrp.GroupSnapshot, s *vrrp.Snapshot) {
	t.put(" VRRP Sync Group = ", g.Config.Name, ", ", g.State.String())
	fault, start := 0, 0
	for i := range s.Instances {
		if in := &s.Instances[i]; slices.Contains(g.Config.Members, in.Config.Name) {
			switch in.State {
			case vrrp.Fault:
				fault++
			case vrrp.Init:
				start++
			}
		}
	}
	t.line("Num member fault %d, num member init %d", fault, start)
	t.line("VRRP member instances :")
	for _, m := range g.Config.Members {
		t.item(m)
	}
	if g.Config.TrackingWeight {
		t.line("sync group tracking weight set")
	}
	t.row("Using smtp notification", yes(g.Config.Notify.SMTPAlert, "yes", "no"))
	t.tracked(&g.Config.Track, s.Config)
	t.notify(&g.Config.Notify)
}

func (t *text) script(c *vrrp.ScriptConfig, s *vrrp.Snapshot) {
	t.head("VRRP Script", c.Name)
	t.row("Command", t.programs.command(&c.Command))
	t.row("Interval", seconds(c.Interval)+" sec")
	t.row("Timeout", seconds(c.Timeout)+" sec")
	t.row("Weight", weight(c.Weight, c.Reverse))
	t.row("Rise", c.Rise)
	t.row("Fall", c.Fall)
	o := s.Scripts[c.Name]
	t.row("Result", o.Row)
	t.row("Insecure", "no")
	t.row("Init state", yes(c.InitFail, "failed", "unknown"))
	switch {
	case !o.Known:
		t.row("Status", "INIT")
	default:
		t.row("Status", yes(o.Up, "GOOD", "BAD"))
	}
	if who := t.accounts.of(&c.Command); who != "" {
		t.row("Script uid:gid", who)
	}
	t.trackers(s.Config, c.Name, c.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Scripts })
	t.row("State", yes(o.Running, "running", "idle"))
}

func (t *text) process(p *vrrp.ProcessConfig, s *vrrp.Snapshot) {
	t.head("VRRP Track process", p.Name)
	t.row("Process", p.Path)
	if len(p.Params) > 0 {
		t.row("Parameters", strings.Join(p.Params, " "))
	}
	if p.ParamMatch != "" {
		t.row("Param match", p.ParamMatch)
	}
	t.row("Min processes", p.Quorum)
	if p.HasQuorumMax {
		t.row("Max processes", p.QuorumMax)
	}
	o := s.Processes[p.Name] // not yet counted: none
	t.row("Current processes", o.Value)
	t.row("Have quorum", o.Known && o.Up)
	t.row("Weight", weight(p.Weight, p.Reverse))
	t.row("Terminate delay", fixed(p.TerminateDelay)+"s")
	t.row("Fork delay", fixed(p.ForkDelay)+"s")
	fork, end := delaysRunning(p, s.Processes[p.Name])
	t.line("Fork delay timer %srunning", yes(fork, "", "not "))
	t.line("Terminate delay timer %srunning", yes(end, "", "not "))
	t.row("Full command", p.FullCommand)
	t.trackers(s.Config, p.Name, p.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Processes })
}

// trackers lists the instances that depend on an object, by themselves or through their group.
func (t *text) trackers(cfg *vrrp.Config, name string, weight int, refs func(*vrrp.TrackConfig) []vrrp.TrackRef) {
	t.line("Tracking instances :")
	one := func(who string, c *vrrp.TrackConfig) {
		for _, r := range refs(c) {
			if r.Name == name {
				n := weight
				if r.HasWeight {
					n = r.Weight
				}
				t.item(fmt.Sprintf("%s, weight %d", who, n))
			}
		}
	}
	for _, in := range cfg.Instances {
		one(in.Name, in.Track.OrNone())
	}
	for _, g := range cfg.Groups {
		for _, m := range g.Members {
			one(m, &g.Track)
		}
	}
}
