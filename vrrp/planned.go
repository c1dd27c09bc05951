package vrrp

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// Plan is what a reload would change. What stays as it is is only counted.
type Plan struct {
	Instances []InstancePlan `json:"instances,omitempty"` // those of the new configuration in its order, then those that go
	// Unchanged counts the instances that go on as they are.
	Unchanged int `json:"unchanged"`
	// Groups and Trackers are sync groups, scripts, files, processes and BFD sessions that come, go or change.
	Groups   []ObjectPlan `json:"groups,omitempty"`
	Trackers []ObjectPlan `json:"trackers,omitempty"`
	// Writes are the changes at addresses, routes, rules and interfaces, in their order.
	Writes []Write `json:"writes,omitempty"`
	// Settings are changed settings that belong to no instance.
	Settings []FieldPlan `json:"settings,omitempty"`
}

// How something stands in a plan.
const (
	Added     = "added"
	Removed   = "removed"
	Changed   = "changed"
	Restarted = "restarted" // it is another virtual router now: removed and added
	Same      = "same"      // but something happens to it
)

// InstancePlan is what happens to one instance.
type InstancePlan struct {
	Name   string      `json:"name"`
	Change string      `json:"change"`
	Fields []FieldPlan `json:"fields,omitempty"`
	// Because names the fields that make a restart necessary.
	Because      []string `json:"because,omitempty"`
	PeersAdded   []string `json:"peers_added,omitempty"`
	PeersRemoved []string `json:"peers_removed,omitempty"`
	// From and To are states; empty: it is not there.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// PriorityFrom and PriorityTo are the effective ones.
	PriorityFrom int `json:"priority_from,omitempty"`
	PriorityTo   int `json:"priority_to,omitempty"`
	// Resigns says that it sends priority 0; Cause is that of the change of state.
	Resigns bool   `json:"resigns,omitempty"`
	Cause   string `json:"cause,omitempty"`
	// Expect says in words what is likely to follow, as far as this router can know.
	Expect string `json:"expect,omitempty"`
}

// Turn says in words what becomes of the state, and why.
func (p *InstancePlan) Turn() string {
	s := p.Name + ": "
	switch {
	case p.From == p.To:
		s += "stays " + p.From
	case p.From == "":
		s += "begins as " + p.To
	case p.To == "":
		s += p.From + " ends"
	default:
		s += p.From + " becomes " + p.To
	}
	if p.Cause != "" {
		s += ": " + p.Cause
	}
	return s
}

// FieldPlan is a setting that changes. Values are left out where they are long or secret.
type FieldPlan struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// ObjectPlan is something that comes, goes or changes.
type ObjectPlan struct {
	Kind   string `json:"kind,omitempty"`
	Name   string `json:"name"`
	Change string `json:"change"`
	Text   string `json:"text,omitempty"`
}

// Write is one change at the machine.
type Write struct {
	Verb     string `json:"verb"` // add, remove, set
	What     string `json:"what"` // "address 10.0.0.1/24", "route …", "rule …", "interface vrrp.51"
	Dev      string `json:"dev,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Note says who does it if not this program.
	Note string `json:"note,omitempty"`
}

// String is "add address 10.0.0.1/24 dev eth0".
func (w Write) String() string {
	s := w.Verb + " " + w.What
	if w.Dev != "" {
		s += " dev " + w.Dev
	}
	return s
}

// Empty reports whether nothing at all would change.
func (p *Plan) Empty() bool {
	return p == nil || len(p.Instances)+len(p.Groups)+len(p.Trackers)+len(p.Writes)+len(p.Settings) == 0
}

// plot reads a rehearsed reload: the queue of the actuator in its order, and what became of the instances.
func (e *Engine) plot(b *scene, made []string) *Plan {
	p := &Plan{}
	for _, name := range made {
		p.Writes = append(p.Writes, Write{Verb: "add", What: "interface " + name})
	}
	m := &mockup{e: e, taken: map[presence]bool{}, present: maps.Clone(b.present), addrs: b.addrs}
	for i := range e.act.queue {
		j := &e.act.queue[i]
		name := ""
		if j.plan != nil {
			name = j.plan.name
		}
		if j.what != "" {
			verb, what, _ := strings.Cut(j.what, " ")
			p.Writes = append(p.Writes, Write{Verb: verb, What: what, Instance: name})
		}
		for k := range j.changes {
			p.Writes = append(p.Writes, m.do(&j.changes[k], name)...)
		}
	}
	for _, in := range e.instances {
		ip := e.plotInstance(b, in, m.losses(in))
		if ip == nil {
			p.Unchanged++
			continue
		}
		p.Instances = append(p.Instances, *ip)
	}
	if b.cfg != nil {
		for _, c := range b.cfg.Instances {
			if e.byName[c.Name] != nil {
				continue
			}
			r := b.roles[c.Name]
			ip := InstancePlan{Name: c.Name, Change: Removed, From: r.state.String(), PriorityFrom: int(r.priority), Resigns: slices.Contains(e.resigned, c.Name)}
			if ip.Resigns {
				ip.Cause, ip.Expect = "removed by a reload", "another router takes over at once"
			}
			p.Instances = append(p.Instances, ip)
		}
	}
	e.plotObjects(b.cfg, p)
	return p
}

// nameOf is the name of an interface, also of one that a rehearsal has made up.
func (e *Engine) nameOf(index int) string {
	if i := e.ifaces[index]; i != nil {
		return i.name
	}
	for _, in := range e.instances {
		if in.vmac != nil && in.vmac.index == index {
			return in.vmac.name
		}
		for _, i := range in.addrVMACs {
			if i.index == index {
				return i.name
			}
		}
	}
	return fmt.Sprintf("#%d", index)
}

// plotInstance is nil for an instance that nothing happens to.
func (e *Engine) plotInstance(b *scene, in *instance, losses []string) *InstancePlan {
	c := in.cfg
	ip := &InstancePlan{Name: c.Name, To: State(in.m.State()).String(), PriorityTo: int(in.m.Priority()), Resigns: slices.Contains(e.resigned, c.Name)}
	was, there := b.roles[c.Name]
	turned := in.history.n
	if there {
		ip.From, ip.PriorityFrom = was.state.String(), int(was.priority)
		ip.Fields = fields(was.cfg, c)
		ip.PeersAdded, ip.PeersRemoved = peers(was.cfg, c)
	}
	switch {
	case !there:
		ip.Change = Added
	case b.instances[c.Name] != in:
		ip.Change, ip.Because = Restarted, identity(was.cfg, c)
	case len(ip.Fields) > 0:
		ip.Change, turned = Changed, in.history.n-was.turns
	default:
		ip.Change, turned = Same, in.history.n-was.turns
	}
	if turned > 0 {
		ip.Cause = in.history.all()[min(in.history.n, ringSize)-1].Cause
	}
	if len(losses) > 0 {
		ip.Expect = "loses " + strings.Join(losses, ", ") + " to the kernel, and with it MASTER, for " + in.m.DownInterval().Round(time.Millisecond).String() + ": see promote_secondaries"
		return ip
	}
	if ip.Change == Same && ip.From == ip.To && ip.PriorityFrom == ip.PriorityTo && turned == 0 {
		return nil
	}
	ip.Expect = e.expect(in, ip)
	return ip
}

// expect says what this router can foresee: its own timers, and what it knows of the master.
func (e *Engine) expect(in *instance, ip *InstancePlan) string {
	m := in.m
	wait := m.DownInterval().Round(time.Millisecond)
	switch State(m.State()) {
	case Init:
		if e.started && e.waits(in) {
			return "starts when the first result of what it tracks is there"
		}
	case Backup:
		switch {
		case ip.Resigns:
			return fmt.Sprintf("its addresses are gone until a router, itself after %s, takes over", wait)
		case ip.From == ip.To && ip.PriorityFrom != ip.PriorityTo && in.lastMaster.IsValid() && !in.cfg.NoPreempt && ip.PriorityTo > int(in.lastPrio) && ip.PriorityFrom <= int(in.lastPrio):
			return fmt.Sprintf("takes over from %s, which has priority %d", in.lastMaster, in.lastPrio)
		case ip.From == ip.To:
			return ""
		}
		return fmt.Sprintf("MASTER after %s unless a better router speaks", wait)
	case Master:
		if ip.From == Master.String() && ip.PriorityTo < ip.PriorityFrom {
			return fmt.Sprintf("a router with a priority above %d that preempts takes over", ip.PriorityTo)
		}
	}
	return ""
}

func peers(a, b *InstanceConfig) (added, removed []string) {
	name := func(p Peer) string { return p.Addr.String() }
	return without(b.Peers, a.Peers, name), without(a.Peers, b.Peers, name)
}

// without are the names of those in a that b does not have.
func without[T any](a, b []T, name func(T) string) (out []string) {
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y T) bool { return name(x) == name(y) }) {
			out = append(out, name(x))
		}
	}
	return out
}

// identity are the fields in which two configurations are not the same virtual router, see instance.same.
func identity(a, b *InstanceConfig) (out []string) {
	for name, other := range map[string]bool{
		"interface": a.Iface != b.Iface, "native_ipv6": a.IPv6 != b.IPv6, "virtual_router_id": a.VRID != b.VRID, "version": a.Version != b.Version,
		"unicast_peer": a.unicast() != b.unicast(), "mcast_dst_ip": a.McastDst != b.McastDst, "use_vmac": !sameVMAC(a.VMAC, b.VMAC),
	} {
		if other {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// keywords are those of the fields whose names do not tell.
var keywords = map[string]string{
	"Iface": "interface", "VRID": "virtual_router_id", "IPv6": "native_ipv6", "StartMaster": "state", "Auth": "auth_type", "AuthPass": "auth_pass", "HMAC": "auth_hmac",
	"Src": "mcast_src_ip", "McastDst": "mcast_dst_ip", "Peers": "unicast_peer", "UnicastTT": "unicast_ttl", "VIPs": "virtual_ipaddress", "Excluded": "virtual_ipaddress_excluded",
	"Routes": "virtual_routes", "Rules": "virtual_rules", "NoPreempt": "nopreempt", "Strict": "strict_mode", "SkipCheckAdvAddr": "skip_check_adv_addr",
	"V3ChecksumAsV2": "v3_checksum_as_v2", "GARP": "garp", "VMAC": "use_vmac", "NoVIPs": "no_virtual_ipaddress", "VRF": "vrf",
	"StaticAddrs": "static_ipaddress", "StaticRoutes": "static_routes", "StaticRules": "static_rules", "SyncDaemon": "lvs_sync_daemon", "RouterID": "router_id",
	"StartupDelay": "vrrp_startup_delay", "DelayAfterBoot": "vrrp_delay_after_boot", "MinGARP": "vrrp_min_garp", "NotifyPriorityChanges": "vrrp_notify_priority_changes",
	"IfaceDelays": "interface_up_down_delays", "Linkbeat": "linkbeat_interfaces", "GARPGroups": "garp_group", "TrackGroups": "track_group",
	"DefaultIface": "default_interface", "VMACPrefix": "vmac_prefix", "VMACAddrPrefix": "vmac_addr_prefix", "LogUnknownVRIDs": "log_unknown_vrids", "Group": "vrrp_sync_group",
}

// fields are the settings in which two structs of a type differ, by their keywords. Only short values are shown.
func fields[T any](a, b *T) (out []FieldPlan) {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		f := va.Type().Field(i)
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		if reflect.DeepEqual(x, y) {
			continue
		}
		fp := FieldPlan{Name: Keyword(f.Name)}
		if f.Name == "StartMaster" {
			fp.From, fp.To = stateWord(x == true), stateWord(y == true)
		} else {
			switch x.(type) {
			case bool, string, int, uint8, uint16, time.Duration, netip.Addr:
				fp.From, fp.To = word(x), word(y)
			}
		}
		out = append(out, fp)
	}
	return out
}

func stateWord(master bool) string {
	if master {
		return Master.String()
	}
	return Backup.String()
}

func word(x any) string {
	if a, ok := x.(netip.Addr); ok && !a.IsValid() {
		return "none"
	}
	if s, ok := x.(string); ok && s == "" {
		return "none"
	}
	return fmt.Sprint(x)
}

// Keyword is the word of the configuration file for a field, as far as that follows from its name: AdvertInt is advert_int.
func Keyword(name string) string {
	if k := keywords[name]; k != "" {
		return k
	}
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && !(name[i-1] >= 'A' && name[i-1] <= 'Z') {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plotObjects compares groups, tracked objects and global settings.
func (e *Engine) plotObjects(old *Config, p *Plan) {
	if old == nil {
		old = &Config{}
	}
	p.Groups = objects(p.Groups, "", old.Groups, e.cfg.Groups, func(g *GroupConfig) string { return g.Name }, "")
	p.Trackers = objects(p.Trackers, "script", old.Scripts, e.cfg.Scripts, func(c *ScriptConfig) string { return c.Name }, "started again, keeps its verdict until it has run")
	p.Trackers = objects(p.Trackers, "file", old.Files, e.cfg.Files, func(c *FileConfig) string { return c.Name }, "read again")
	p.Trackers = objects(p.Trackers, "process", old.Processes, e.cfg.Processes, func(c *ProcessConfig) string { return c.Name }, "counted again")
	p.Trackers = objects(p.Trackers, "BFD session", old.BFD, e.cfg.BFD, func(c *BFDConfig) string { return c.Name }, "")
	for _, f := range fields(old, e.cfg) {
		switch f.Name {
		case "instances", "groups", "scripts", "files", "processes", "bfd", "static_ipaddress", "static_routes", "static_rules":
		default:
			p.Settings = append(p.Settings, f)
		}
	}
}

// objects appends those that come, change or go.
func objects[T any](out []ObjectPlan, kind string, old, now []*T, name func(*T) string, text string) []ObjectPlan {
	before := make(map[string]*T, len(old))
	for _, o := range old {
		before[name(o)] = o
	}
	for _, n := range now {
		o := before[name(n)]
		delete(before, name(n))
		switch {
		case o == nil:
			out = append(out, ObjectPlan{Kind: kind, Name: name(n), Change: Added})
		case !reflect.DeepEqual(o, n):
			out = append(out, ObjectPlan{Kind: kind, Name: name(n), Change: Changed, Text: text})
		}
	}
	for _, o := range old {
		if before[name(o)] == o {
			out = append(out, ObjectPlan{Kind: kind, Name: name(o), Change: Removed})
		}
	}
	return out
}

// Assume plans without a running daemon: from a configuration whose instances are all MASTER, nil for none, to another one, with the
// interfaces of this machine. Nothing is changed.
func Assume(from, to *Config) (*Plan, error) {
	e := newEngine(Options{Log: slog.New(slog.DiscardHandler), Notify: func(Event) {}})
	w, err := newWatcher(e.inputs, e.done, &to.Buffers)
	if err != nil {
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "read interfaces", Err: err}
	}
	defer w.close()
	e.links, e.vmacs = w.list, &vmacs{h: w.handle, dry: true}
	return e.assume(from, to)
}

// places reports whether an address is one of the configuration's.
func (c *Config) places(p netip.Prefix) bool {
	has := func(list []vip.Address) bool {
		return slices.ContainsFunc(list, func(a vip.Address) bool { return a.Prefix == p })
	}
	return has(c.StaticAddrs) || slices.ContainsFunc(c.Instances, func(in *InstanceConfig) bool { return has(in.VIPs) || has(in.Excluded) })
}

func (e *Engine) assume(from, to *Config) (*Plan, error) {
	e.open = func(key socketKey, _ string) (*socket, error) { return idleSocket(key), nil }
	e.act, e.alarm = newActuator(nil, e.o), idleAlarm{}
	e.rehearsing, e.attaching = true, true
	if from == nil {
		from = &Config{}
	}
	first, err := e.prepare(from, haves{}, true)
	if err != nil {
		return nil, fmt.Errorf("the configuration to start from: %w", err)
	}
	e.commit(first)
	e.started = true
	for _, i := range e.ifaces { // what is virtual in one of the two is where the first one has it
		i.addrs = slices.DeleteFunc(i.addrs, func(p netip.Prefix) bool { return from.places(p) || to.places(p) })
	}
	for _, o := range e.objects {
		o.known, o.up = true, true
	}
	for _, in := range e.instances {
		e.tryStart(in)
	}
	for _, in := range e.instances {
		if in.m.State() == machine.Backup {
			e.step(in, machine.Event{Kind: machine.Due})
		}
		for _, c := range in.plan.add {
			if i := e.ifaces[c.Index]; i != nil && c.Route == nil && c.Rule == nil && in.m.State() == machine.Master {
				i.addrs = append(i.addrs, c.Addr.Prefix)
			}
		}
	}
	e.handOver()
	e.act.queue, e.resigned = nil, nil
	for _, c := range e.statics() {
		if i := e.ifaces[c.Index]; i != nil && c.Route == nil && c.Rule == nil {
			i.addrs = append(i.addrs, c.Addr.Prefix)
		}
	}
	e.watch = &watcher{}
	next, err := e.prepare(to, e.haves(), false)
	if err != nil {
		return nil, err
	}
	return e.understudy().play(next), nil
}
