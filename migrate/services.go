package migrate

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// event is a notify line of an instance or sync group.
type event struct{ event, path, why string }

// events writes the scripts that start and stop the services of a group, in their order and back.
func (b *hb) events(out *Node, g *haGroup) ([]event, error) {
	if len(g.services) == 0 {
		return nil, nil
	}
	var start, stop []string
	for _, s := range g.services {
		up, down := b.commands(s)
		start = append(start, "# "+s.String(), up)
		stop = append(stop, "# "+s.String(), down)
	}
	slices.Reverse(stop)
	for i := 0; i+1 < len(stop); i += 2 {
		stop[i], stop[i+1] = stop[i+1], stop[i]
	}
	base := "ha_" + name(g.node)
	write := func(suffix, what string, lines []string, strict string) string {
		text := "#!/bin/sh\n# " + what + " of " + shown(g.node) + ", in the order of " + shown(b.in.Resources.Name) + "\n" + strict + strings.Join(lines, "\n") + "\n"
		out.Files = append(out.Files, File{Name: base + suffix, Mode: 0o755, Text: []byte(text)})
		return path.Join(b.ScriptDir, base+suffix)
	}
	up := write("-start.sh", "Starts the services", start, "set -e\n")
	down := write("-stop.sh", "Stops the services", stop, "")
	return []event{
		{"notify_master", up, "services, left to right"},
		{"notify_backup", down, "services, right to left"},
		{"notify_fault", down, "services, right to left"},
		{"notify_stop", down, "services, right to left"},
	}, nil
}

// commands are the shell lines that start and stop a resource.
func (b *hb) commands(s resource) (up, down string) {
	arg := func(i int) string {
		if i < len(s.args) {
			return shellQuoted(oneLine(s.args[i]))
		}
		return ""
	}
	r := &b.report
	if disks[s.name] {
		r.changed(s.Origin, "add a fence agent to the start script before this line, or leave the disk to a cluster manager",
			"%s: called from the generated scripts, WITHOUT fencing: two masters (a partition is enough) would both use the disk", s.name)
	}
	switch {
	case s.name == "Filesystem" && len(s.args) >= 2:
		opts := ""
		if len(s.args) > 2 && s.args[2] != "" {
			opts = "-t " + arg(2) + " "
		}
		if len(s.args) > 3 && s.args[3] != "" {
			opts += "-o " + arg(3) + " "
		}
		return "mountpoint -q " + arg(1) + " || mount " + opts + arg(0) + " " + arg(1), "! mountpoint -q " + arg(1) + " || umount " + arg(1)
	case s.name == "LVM" && len(s.args) >= 1:
		return "vgchange -ay " + arg(0), "vgchange -an " + arg(0)
	case s.name == "drbddisk" && len(s.args) >= 1:
		return "drbdadm primary " + arg(0), "drbdadm secondary " + arg(0)
	case s.name == "Raid1" && len(s.args) >= 2:
		return "mdadm --assemble " + arg(1) + " --config=" + arg(0), "mdadm --stop " + arg(1)
	case s.name == "Delay":
		r.changed(s.Origin, "", "Delay: a sleep in the start script")
		return "sleep " + cmp.Or(arg(0), "30"), ":"
	case s.name == "AudibleAlarm":
		r.lost(s.Origin, "", "AudibleAlarm: no bell is rung")
		return ":", ":"
	case s.name == "apache":
		r.changed(s.Origin, "watch it with a vrrp_script, as in the report's last lines", "apache: service apache2 in the generated scripts")
		return "service apache2 start", "service apache2 stop"
	case len(s.args) == 0 && s.name != "portblock" && s.name != "Xinetd":
		r.changed(s.Origin, "watch it with a vrrp_script if the address shall leave a node where it fails", "%s: service %s start and stop in the generated scripts", s.name, s.name)
		return "service " + shellQuoted(s.name) + " start", "service " + shellQuoted(s.name) + " stop"
	}
	call := path.Join("/etc/ha.d/resource.d", s.name)
	for i := range s.args {
		call += " " + arg(i)
	}
	if !disks[s.name] {
		r.changed(s.Origin, "keep the package that brings "+call[:strings.IndexByte(call+" ", ' ')]+", or write the command itself", "%s: its resource script is called from the generated scripts", s.name)
	}
	return call + " start", call + " stop"
}

// pingScript is a vrrp_script made of a ping line.
type pingScript struct {
	name string
	why  string
}

// weight is what the script takes away when nobody answers: more than lies between two nodes. A master that must not be
// preempted has to leave by itself, so there it has none.
func (p pingScript) weight(h *haCF) string {
	if !h.failback.value {
		return ""
	}
	return " weight -60"
}

// pingScripts writes a vrrp_script for each ping line, if ipfail makes use of them.
func (b *hb) pingScripts(c *conf, out *Node) []pingScript {
	h, r := b.ha, &b.report
	if h.ipfail.set && len(h.pings) == 0 {
		r.fault(h.ipfail.Origin, "add ping or ping_group lines", "ipfail has nothing to ping")
	}
	if len(h.pings) > 0 && !h.ipfail.set {
		for _, p := range h.pings {
			r.none(p.Origin, "ping nodes without ipfail move nothing")
		}
		return nil
	}
	if len(h.pings) == 0 {
		if h.deadping.set {
			r.none(h.deadping.Origin, "nothing is pinged")
		}
		return nil
	}
	longest := 0
	for _, p := range h.pings {
		longest = max(longest, len(p.addrs))
	}
	// No run may take longer than the time to the next one.
	every := max(longest+1, int(math.Ceil(cmp.Or(h.keepalive.value, time.Second).Seconds())))
	dead := cmp.Or(h.deadping.value, 30*time.Second)
	fall := max(1, int(math.Ceil(dead.Seconds()/float64(every))))
	if h.deadping.set {
		r.mapped(h.deadping.Origin, "interval %d and fall %d of the vrrp_script", every, fall)
	}
	if h.failback.value {
		r.mapped(h.ipfail.Origin, "the vrrp_scripts lower the priority by 60, which is more than lies between two nodes: who reaches more is master")
	} else {
		r.changed(h.ipfail.Origin, "set auto_failback on, and the scripts get weights", "with nopreempt a lower priority moves nothing, so that a node which reaches nobody goes into FAULT; if no node reaches anybody, nobody holds the address")
	}
	var all []pingScript
	for _, p := range h.pings {
		s := pingScript{"ping_" + name(p.name), p.Origin.String()}
		var each []string
		bad := ""
		for _, a := range p.addrs {
			if name(strings.ReplaceAll(a, ":", "_")) != strings.ReplaceAll(a, ":", "_") || strings.HasPrefix(a, "-") {
				bad = a
			}
			each = append(each, fmt.Sprintf("%s -c 1 -W 1 %s", b.Ping, a))
		}
		if bad != "" {
			r.fault(p.Origin, "", "%q is not a host", shown(bad))
			continue
		}
		cmd := each[0]
		if len(each) > 1 {
			file := s.name + ".sh"
			text := "#!/bin/sh\n# " + shown(p.Origin.String()) + ": one of them must answer\n" + strings.Join(each, " ||\n") + "\n"
			out.Files = append(out.Files, File{Name: file, Mode: 0o755, Text: []byte(text)})
			cmd = path.Join(b.ScriptDir, file)
		}
		v := c.open(p.Origin, "vrrp_script %s", s.name)
		v.line("one answer is enough", "script %s", quoted(cmd))
		v.line("as often as the adverts, but never before the last ping has ended", "interval %d", every)
		v.line("longer than the ping waits", "timeout %d", len(each)+1)
		v.line(orDefault(h.deadping.Origin, h.deadping.set, "30 s without an answer"), "fall %d", fall)
		v.line("the first answer counts", "rise 1")
		r.mapped(p.Origin, "vrrp_script %s", s.name)
		all = append(all, s)
	}
	return all
}

// directors imports the ldirectord files that a group names.
func (b *hb) directors(c *conf, out *Node, g *haGroup) error {
	for _, d := range g.directors {
		file := d.args[0]
		if !strings.HasPrefix(file, "/") {
			file = "/etc/ha.d/" + file
		}
		if b.in.ReadFile == nil {
			b.report.lost(d.Origin, "releve migrate ldirectord "+shown(file), "its file was not read")
			continue
		}
		in, err := b.in.ReadFile(file)
		if err != nil {
			b.report.lost(d.Origin, "releve migrate ldirectord FILE, and add what it writes", "%v", err)
			continue
		}
		res, err := ldirectord(in, LdirectordOptions{Lookup: b.Lookup, Path: b.Path}, &b.report)
		if err != nil {
			return err
		}
		b.report.mapped(d.Origin, "the virtual servers of %s; ldirectord itself is not needed any more", in.Name)
		for _, k := range res.kids {
			if k.text != "global_defs" {
				c.kids = append(c.kids, k)
				continue
			}
			for _, n := range c.kids {
				if n.text == "global_defs" {
					n.adopt(k.kids)
				}
			}
		}
	}
	return nil
}

// adopt takes over the lines that a block does not have.
func (c *conf) adopt(kids []*conf) {
	for _, k := range kids {
		word := strings.Fields(k.text)[0]
		if !slices.ContainsFunc(c.kids, func(x *conf) bool { return strings.Fields(x.text)[0] == word }) {
			c.kids = append(c.kids, k)
		}
	}
}
