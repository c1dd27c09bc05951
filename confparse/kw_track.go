package confparse

import (
	"strconv"
	"strings"
	"time"

	"releve/script"
	"releve/vrrp"
)

// trackRef reads `NAME [weight N] [reverse|noreverse]`.
func (p *interp) trackRef(s *Statement, limit int) (rawTrackRef, bool) {
	w := s.Words
	t := rawTrackRef{r: vrrp.TrackRef{Name: w[0].own()}, pos: w[0].Pos}
	for i := 1; i < len(w); i++ {
		switch o := w[i].Text; o {
		case "weight":
			if i+1 == len(w) {
				p.bad(w[i].Pos, "missing-weight", "%s: weight needs a number, %d..%d", w[0].Text, -limit, limit)
				return t, false
			}
			i++
			n, err := strconv.Atoi(w[i].Text)
			if err != nil || n < -limit || n > limit {
				code := Code("number-out-of-range")
				if err != nil {
					code = "invalid-number"
				}
				p.bad(w[i].Pos, code, "%s: weight %q: want %d..%d", w[0].Text, w[i].Text, -limit, limit)
				continue
			}
			t.r.Weight, t.r.HasWeight = n, true
		case "reverse":
			t.r.Reverse = true
		case "noreverse", "no_reverse":
			t.r.Reverse, t.r.NoReverse = false, true
		default:
			p.bad(w[i].Pos, "invalid-value", "%s: unknown option %q, want weight, reverse or noreverse", w[0].Text, o).Suggest =
				nearest(o, []string{"weight", "reverse", "noreverse"})
		}
	}
	return t, true
}

const trackItem = "NAME [weight -253..253] [reverse|noreverse]"

// twice complains about an object that is tracked a second time.
func (p *interp) twice(list []rawTrackRef, t rawTrackRef) bool {
	for _, o := range list {
		if o.r.Name == t.r.Name {
			p.bad(t.pos, "track-duplicate", "%s is tracked already: ignored", t.r.Name).Other = o.pos
			return true
		}
	}
	return false
}

// trackInterfaceTable is track_interface.
var trackInterfaceTable = &Table{Name: "track_interface", Item: "INTERFACE [weight -253..253] [reverse]", item: func(p *interp, s *Statement) {
	t, ok := p.trackRef(s, 253)
	if !ok || p.twice(p.track.ifaces, t) {
		return
	}
	if !p.hasInterface(t.r.Name) && !p.raw.global.dynamicIfaces.or(false) {
		p.hostBad(t.pos, "track-interface-missing", "track_interface %s: the interface does not exist", t.r.Name).FatalAtStart = true
	}
	p.track.ifaces = append(p.track.ifaces, t)
}}

// trackScriptTable is track_script.
var trackScriptTable = &Table{Name: "track_script", Item: trackItem, item: func(p *interp, s *Statement) {
	t, ok := p.trackRef(s, 253)
	if !ok || p.twice(p.track.scripts, t) {
		return
	}
	v := p.raw.byScript[t.r.Name]
	if v == nil {
		p.undefined(t, "track-script-undefined", "vrrp_script", len(p.raw.scripts), func(i int) string { return p.raw.scripts[i].c.Name })
		return
	}
	v.used = true
	p.track.scripts = append(p.track.scripts, t)
}}

// undefined complains about a reference to an object that no line above defines.
func (p *interp) undefined(t rawTrackRef, code Code, what string, n int, name func(int) string) {
	d := p.bad(t.pos, code, "%s %s is not defined above", what, t.r.Name)
	var names []string
	for i := 0; i < n && i < 1000; i++ {
		names = append(names, name(i))
	}
	d.Suggest = nearest(t.r.Name, names)
}

// trackFileRefTable is track_file of an instance or group.
var trackFileRefTable = &Table{Name: "track_file", Item: "NAME [weight -254..254] [reverse|noreverse]", item: func(p *interp, s *Statement) {
	t, ok := p.trackRef(s, 254)
	if !ok || p.twice(p.track.files, t) {
		return
	}
	if p.raw.byFile[t.r.Name] == nil {
		p.undefined(t, "track-file-undefined", "track_file", len(p.raw.files), func(i int) string { return p.raw.files[i].c.Name })
		return
	}
	p.track.files = append(p.track.files, t)
}}

// trackProcessRefTable is track_process.
var trackProcessRefTable = &Table{Name: "track_process", Item: "NAME [weight -254..254] [reverse|noreverse]", item: func(p *interp, s *Statement) {
	t, ok := p.trackRef(s, 254)
	if !ok || p.twice(p.track.processes, t) {
		return
	}
	if p.raw.byProcess[t.r.Name] == nil {
		p.undefined(t, "track-process-undefined", "vrrp_track_process", len(p.raw.processes), func(i int) string { return p.raw.processes[i].c.Name })
		return
	}
	p.track.processes = append(p.track.processes, t)
}}

// trackBFDTable is track_bfd.
var trackBFDTable = &Table{Name: "track_bfd", Item: trackItem, item: func(p *interp, s *Statement) {
	t, ok := p.trackRef(s, 253)
	if !ok || p.twice(p.track.bfds, t) {
		return
	}
	if b := p.raw.byBFD[t.r.Name]; b != nil && !b.c.TellVRRP {
		p.bad(t.pos, "track-bfd-undefined", "bfd_instance %s tells the checkers only: ignored", t.r.Name).Other = b.pos
		return
	} else if b == nil {
		p.undefined(t, "track-bfd-undefined", "bfd_instance", len(p.raw.bfds), func(i int) string { return p.raw.bfds[i].c.Name })
		return
	}
	p.track.bfds = append(p.track.bfds, t)
}}

// weightArgs is `weight N [reverse]`.
func weightArgs(limit float64) []Arg {
	return args(num("WEIGHT", -limit, limit), choice("DIRECTION", "reverse").opt())
}

// scriptTable is vrrp_script.
var scriptTable = &Table{Name: "vrrp_script", rows: func() []Keyword {
	return []Keyword{
		{Name: "script", Args: args(Arg{Name: "SCRIPT", Kind: Script}, rest("ARGUMENTS")), Room: roomVRRP, Missing: missingNote, Help: "command to run; 0 is success",
			set: func(p *interp, u *usage) {
				p.vscr.cmd.put(p.oneWordCommand(u), u.at(0))
			}},
		{Name: "interval", Args: args(secs("SECONDS", 0.001, 4294.967295)), Default: "1", Room: roomVRRP, Missing: ExitStop,
			Help: "time between two runs", set: func(p *interp, u *usage) { p.vscr.interval.put(u.dur(0), u.pos()) }},
		{Name: "timeout", Args: args(secs("SECONDS", 0.001, 4294.967295)), Default: "interval", Room: roomVRRP, Missing: ExitStop,
			Help: "how long a run may take", set: func(p *interp, u *usage) { p.vscr.timeout.put(u.dur(0), u.pos()) }},
		{Name: "weight", Args: weightArgs(253), Default: "0", Room: roomVRRP, Missing: ExitStop,
			Help: "change of the priority; 0: failure means FAULT", set: func(p *interp, u *usage) {
				p.vscr.c.Weight, p.vscr.c.Reverse = u.int(0), u.has(1) && u.int(1) == 0
			}},
		{Name: "rise", Args: args(num("COUNT", 1, 2147483647)), Default: "1", Room: roomVRRP, Missing: ExitStop,
			Help: "successes in a row until it is up", set: func(p *interp, u *usage) { p.vscr.c.Rise = u.int(0) }},
		{Name: "fall", Args: args(num("COUNT", 1, 2147483647)), Default: "1", Room: roomVRRP, Missing: ExitStop,
			Help: "failures in a row until it is down", set: func(p *interp, u *usage) { p.vscr.c.Fall = u.int(0) }},
		{Name: "user", Args: args(Arg{Name: "USER", Kind: User}, Arg{Name: "GROUP", Kind: Group, Optional: true}), Default: "script_user", Room: "script", Missing: ExitStop,
			Help: "who runs it", set: func(p *interp, u *usage) {
				p.vscr.user.put(u.str(0), u.at(0))
				p.vscr.group = u.strOr(1, "")
				if !p.checkUser(u.at(0), u.str(0), p.vscr.group) {
					p.vscr.drop = true
				}
			}},
		{Name: "init_fail", Room: roomVRRP, Help: "it counts as failed until it has run", set: func(p *interp, u *usage) { p.vscr.c.InitFail = true }},
	}
}}

// oneWordCommand makes a command of the word behind a keyword. Further words have no meaning: arguments stand in the same quotes.
func (p *interp) oneWordCommand(u *usage) *script.Command {
	w := u.rest()
	if len(w) > 1 && !strings.HasPrefix(w[1].Text, "//") {
		d := p.note(w[1].Pos, "unquoted-arguments", "%s: only the first word is the command, the rest is ignored: put the whole command into double quotes", u.k.Name)
		all := make([]string, len(w))
		for i := range w {
			all[i] = w[i].Text
		}
		d.Suggest = `"` + strings.Join(all, " ") + `"`
	}
	return &script.Command{Args: splitCommand(w[0].Text)}
}

func enterScript(p *interp, u *usage) bool {
	s := &rawScript{pos: u.pos()}
	s.c.Name = u.str(0)
	if p.raw.byScript[s.c.Name] != nil {
		p.note(u.at(0), "duplicate-script", "vrrp_script %s is defined a second time: ignored", s.c.Name).Other = p.raw.byScript[s.c.Name].pos
		s.drop = true
	}
	p.vscr = s
	return true
}

func leaveScript(p *interp, _ *usage) {
	s := p.vscr
	p.vscr = nil
	if !s.cmd.set() {
		p.bad(s.pos, "script-missing", "vrrp_script %s has no script: ignored", s.c.Name)
		return
	}
	if s.drop {
		return
	}
	s.c.Command = *s.cmd.v
	s.c.Command.User, s.c.Command.Group = s.user.or(""), s.group
	s.c.Interval = s.interval.or(time.Second)
	s.c.Timeout = s.timeout.or(s.c.Interval)
	if s.c.Timeout == 0 {
		s.c.Timeout = s.c.Interval
	}
	s.c.Command.Timeout = s.c.Timeout
	s.c.Rise, s.c.Fall = max(s.c.Rise, 1), max(s.c.Fall, 1)
	p.raw.byScript[s.c.Name] = s
	p.raw.scripts = append(p.raw.scripts, s)
}

// trackFileTable is track_file at the top level.
var trackFileTable = &Table{Name: "track_file", rows: func() []Keyword {
	return []Keyword{
		{Name: "file", Args: args(pathArg("PATH")), Room: roomVRRP, Missing: ExitConfig, Help: "file that holds a number", set: func(p *interp, u *usage) {
			if p.tfile.c.Path != "" {
				p.bad(u.pos(), "track-file", "track_file %s has a file already: ignored", p.tfile.c.Name)
				return
			}
			p.tfile.c.Path = u.str(0)
		}},
		{Name: "weight", Args: weightArgs(254), Default: "1", Room: roomVRRP, Missing: ExitConfig,
			Help: "what the number is multiplied by; 0: a number other than 0 is a fault", set: func(p *interp, u *usage) {
				if p.tfile.weight.set() {
					p.bad(u.pos(), "track-file", "track_file %s has a weight already: ignored", p.tfile.c.Name)
					return
				}
				p.tfile.weight.put(true, u.pos())
				p.tfile.c.Weight, p.tfile.c.Reverse = u.int(0), u.has(1) && u.int(1) == 0
			}},
		{Name: "init_file", Args: args(rest("[VALUE] [overwrite]")), Default: "0", Room: roomVRRP,
			Help: "make the file with this number if it is missing", set: func(p *interp, u *usage) {
				c := &p.tfile.c
				c.HasInit = true
				for _, w := range u.rest() {
					if w.Text == "overwrite" {
						c.Overwrite = true
						continue
					}
					n, err := strconv.ParseInt(w.Text, 10, 32)
					if err != nil {
						p.bad(w.Pos, "invalid-number", "init_file %q: want a whole number or overwrite", w.Text).Suggest = nearest(w.Text, []string{"overwrite"})
						continue
					}
					c.InitValue = int(n)
				}
			}},
	}
}}

func enterTrackFile(p *interp, u *usage) bool {
	f := &rawTrackFile{pos: u.pos(), c: vrrp.FileConfig{Name: u.str(0), Weight: 1}}
	p.tfile = f
	return true
}

func leaveTrackFile(p *interp, _ *usage) {
	f := p.tfile
	p.tfile = nil
	switch {
	case p.raw.byFile[f.c.Name] != nil:
		p.note(f.pos, "track-file", "track_file %s is defined a second time: ignored", f.c.Name)
	case f.c.Path == "":
		p.bad(f.pos, "track-file", "track_file %s names no file: ignored", f.c.Name)
	default:
		p.raw.byFile[f.c.Name] = f
		p.raw.files = append(p.raw.files, f)
	}
}

// trackProcessTable is vrrp_track_process.
var trackProcessTable = &Table{Name: "vrrp_track_process", rows: func() []Keyword {
	return []Keyword{
		{Name: "process", Args: args(word("NAME"), rest("PARAMETERS")), Room: roomVRRP, Missing: ExitStop, Help: "process to look for, with its parameters", set: func(p *interp, u *usage) {
			c := &p.tproc.c
			if c.Path != "" {
				p.bad(u.pos(), "track-process", "vrrp_track_process %s has a process already: ignored", c.Name)
				return
			}
			c.Path, c.Params = u.str(0), nil
			for _, w := range u.rest()[1:] {
				c.Params = append(c.Params, w.own())
			}
			if c.ParamMatch == "" && len(c.Params) > 0 {
				c.ParamMatch = "exact"
			}
		}},
		{Name: "param_match", Args: args(choice("MODE", "initial", "partial").opt()), Room: roomVRRP, Help: "how parameters are compared", set: func(p *interp, u *usage) {
			if p.tproc.c.ParamMatch = "exact"; u.has(0) {
				p.tproc.c.ParamMatch = u.str(0)
			}
		}},
		{Name: "weight", Args: weightArgs(254), Default: "0", Room: roomVRRP, Missing: ExitConfig, Help: "change of the priority; 0: failure means FAULT", set: func(p *interp, u *usage) {
			p.tproc.c.Weight, p.tproc.c.Reverse = u.int(0), u.has(1) && u.int(1) == 0
		}},
		{Name: "quorum", Args: args(num("COUNT", 1, 65535)), Default: "1", Room: roomVRRP, Missing: ExitStop, Help: "how many processes there must be", set: func(p *interp, u *usage) {
			p.tproc.c.Quorum = u.int(0)
		}},
		{Name: "quorum_max", Args: args(num("COUNT", 0, 65535)), Default: "no limit", Room: roomVRRP, Since: "2.0.13", Missing: ExitStop, Help: "how many processes there may be", set: func(p *interp, u *usage) {
			p.tproc.c.QuorumMax, p.tproc.c.HasQuorumMax = u.int(0), true
		}},
		{Name: "fork_delay", Args: args(secs("SECONDS", 0.000001, 3600)), Default: "0", Room: roomVRRP, Missing: ExitStop, Help: "how long a new process must live to count", set: func(p *interp, u *usage) { p.tproc.c.ForkDelay = u.dur(0) }},
		{Name: "terminate_delay", Args: args(secs("SECONDS", 0.000001, 3600)), Default: "0", Room: roomVRRP, Missing: ExitStop, Help: "how long a process may be gone before that counts", set: func(p *interp, u *usage) { p.tproc.c.TerminateDelay = u.dur(0) }},
		{Name: "delay", Args: args(secs("SECONDS", 0.000001, 3600)), Room: roomVRRP, Missing: ExitStop, Help: "fork_delay and terminate_delay", set: func(p *interp, u *usage) {
			p.tproc.c.ForkDelay, p.tproc.c.TerminateDelay = u.dur(0), u.dur(0)
		}},
		{Name: "full_command", Room: roomVRRP, Help: "compare the whole command line", set: func(p *interp, u *usage) { p.tproc.c.FullCommand = true }},
	}
}}

func enterTrackProcess(p *interp, u *usage) bool {
	p.tproc = &rawTrackProcess{pos: u.pos(), c: vrrp.ProcessConfig{Name: u.str(0), Quorum: 1}}
	return true
}

func leaveTrackProcess(p *interp, _ *usage) {
	t := p.tproc
	p.tproc = nil
	c := &t.c
	switch {
	case p.raw.byProcess[c.Name] != nil:
		p.note(t.pos, "track-process", "vrrp_track_process %s is defined a second time: ignored", c.Name)
	case c.Path == "":
		p.bad(t.pos, "track-process", "vrrp_track_process %s names no process: ignored", c.Name)
	case c.HasQuorumMax && c.QuorumMax < c.Quorum && c.QuorumMax > 0:
		p.bad(t.pos, "track-process", "vrrp_track_process %s: quorum_max %d is below quorum %d: ignored", c.Name, c.QuorumMax, c.Quorum)
	default:
		p.raw.byProcess[c.Name] = t
		p.raw.processes = append(p.raw.processes, t)
	}
}

// groupTable is vrrp_sync_group.
var groupTable = &Table{Name: "vrrp_sync_group", rows: func() []Keyword {
	return []Keyword{
		{Name: "group", Block: memberTable, Room: roomVRRP, Help: "the instances that change state together"},
		{Name: "track_interface", Block: trackInterfaceTable, Room: roomVRRP, Help: "interfaces that must work"},
		{Name: "track_script", Block: trackScriptTable, Room: roomVRRP, Help: "vrrp_scripts that count"},
		{Name: "track_file", Block: trackFileRefTable, Room: roomVRRP, Help: "track_files that count"},
		{Name: "track_process", Block: trackProcessRefTable, Room: roomVRRP, Help: "vrrp_track_processes that count"},
		{Name: "track_bfd", Block: trackBFDTable, Room: roomVRRP, Help: "bfd_instances that count"},
		{Name: "notify_master", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for becoming master", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Master })},
		{Name: "notify_backup", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for becoming backup", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Backup })},
		{Name: "notify_fault", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for FAULT", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Fault })},
		{Name: "notify_stop", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for the stop of the daemon", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Stop })},
		{Name: "notify", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for every change; gets type, name, state and priority", set: setNotifyAny},
		{Name: "notify_priority_changes", Args: args(boolean().opt()), Room: roomNotify, Default: "vrrp_notify_priority_changes", Since: "2.0.17",
			Help: "write changes of the priority to the fifos", set: func(p *interp, u *usage) { p.notif.prio.put(u.orTrue(), u.pos()) }},
		{Name: "smtp_alert", Args: args(boolean().opt()), Room: roomNotify, Default: "smtp_alert_vrrp", Help: "mail for changes of state", set: func(p *interp, u *usage) { p.notif.smtp.put(u.orTrue(), u.pos()) }},
		{Name: "global_tracking", Room: roomVRRP, Deprecated: "track in the group, or write sync_group_tracking_weight", Help: "members may use weights", set: func(p *interp, u *usage) { p.sg.weights.put(true, u.pos()) }},
		{Name: "sync_group_tracking_weight", Room: roomVRRP, Help: "members may use weights", set: func(p *interp, u *usage) { p.sg.weights.put(true, u.pos()) }},
	}
}}

// memberTable is group of a sync group.
var memberTable = &Table{Name: "group", Item: "INSTANCE", one: true, item: func(p *interp, s *Statement) {
	for _, m := range p.sg.members {
		if m.Text == s.Words[0].Text {
			p.bad(s.Words[0].Pos, "sync-group", "%s is in group %s already", m.Text, p.sg.name)
			return
		}
	}
	p.sg.members = append(p.sg.members, s.Words[0])
}}

func enterGroup(p *interp, u *usage) bool {
	g := &rawGroup{name: u.str(0), pos: u.pos()}
	g.notify.owner = g.name
	if old := p.raw.byGroup[g.name]; old != nil {
		p.bad(u.at(0), "duplicate-group", "vrrp_sync_group %s is defined a second time: ignored", g.name).Other = old.pos
	} else {
		p.raw.byGroup[g.name] = g
		p.raw.groups = append(p.raw.groups, g)
	}
	p.sg, p.notif, p.track = g, &g.notify, &g.track
	return true
}

func leaveGroup(p *interp, _ *usage) { p.sg, p.notif, p.track = nil, nil, nil }
