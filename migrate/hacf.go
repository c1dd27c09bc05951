package migrate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// medium is a path between the nodes: a bcast, mcast or ucast line of ha.cf, one interface each.
type medium struct {
	Origin
	kind  string // bcast, mcast, ucast
	iface string
	group netip.Addr // mcast
	peer  string     // ucast
}

// pinged is a ping or ping_group line: nodes of which one must answer.
type pinged struct {
	Origin
	name  string
	addrs []string
}

// setting is a directive that stands at most once.
type setting[T any] struct {
	Origin
	value T
	set   bool
}

// again reports the line of a setting that a later one replaces.
func again[T any](r *report, old *setting[T], by Origin) {
	if old.set {
		r.none(old.Origin, "line %d says it again, and that one counts", by.Line)
	}
}

// haCF is ha.cf.
type haCF struct {
	keepalive, deadtime, initdead, deadping setting[time.Duration]
	failback                                setting[bool]
	rtprio                                  setting[int]
	media                                   []medium
	nodes                                   []string
	nodeOrigin                              []Origin
	pings                                   []pinged
	ipfail                                  setting[bool]
}

// interfaces are those of the media lines, each once, in their order.
func (h *haCF) interfaces() []string {
	var out []string
	for _, m := range h.media {
		if !slices.Contains(out, m.iface) {
			out = append(out, m.iface)
		}
	}
	return out
}

// fate is what becomes of a directive that needs no further work.
type fate struct {
	kind          Kind
	what, instead string
}

var (
	ignored = fate{Meaningless, "belongs to Heartbeat's own workings", ""}
	serial  = fate{Lost, "VRRP has no serial path: a second path between the directors is lost", "bond two interfaces, or track the interface that carries the addresses"}
)

// haFates are the directives without a counterpart in VRRP.
var haFates = sync.OnceValue(func() map[string]fate {
	return map[string]fate{
		"warntime":                {Meaningless, "late adverts are logged without being asked", ""},
		"serial":                  serial,
		"baud":                    {Meaningless, "belongs to the serial path", ""},
		"hopfudge":                {Meaningless, "belongs to the serial path", ""},
		"hbaping":                 {Lost, "Fibre Channel pings have no equivalent", "write a vrrp_script that looks at the disk path"},
		"udpport":                 {Meaningless, "adverts are IP protocol 112, not UDP", "allow protocol 112 (and 224.0.0.18) in the firewall instead of this port"},
		"autojoin":                {Changed, "priorities are written for each node, unknown nodes cannot join", "run the import for every node that shall take part"},
		"stonith":                 {Lost, "VRRP fences nobody", "call a fence agent in notify_master, above all if a disk is shared"},
		"stonith_host":            {Lost, "VRRP fences nobody", "call a fence agent in notify_master, above all if a disk is shared"},
		"watchdog":                {Lost, "the daemon does not feed /dev/watchdog", "set RuntimeWatchdogSec in systemd, WatchdogSec in the unit"},
		"logfacility":             {Changed, "the facility is an option of the command", "start the daemon with --log-facility NUMBER"},
		"logfile":                 {Changed, "the file is an option of the command", "start the daemon with --log-file=FILE"},
		"debug":                   {Changed, "detail of the log is an option of the command", "start the daemon with --log-detail"},
		"realtime":                {Meaningless, "the daemon runs with normal priority unless it is told otherwise", ""},
		"debugfile":               {Meaningless, "there is one log", ""},
		"use_logd":                {Meaningless, "there is no logging daemon of its own", ""},
		"conn_logd_time":          {Meaningless, "there is no logging daemon of its own", ""},
		"syslogmsgfmt":            {Meaningless, "there is one format of messages", ""},
		"apiauth":                 ignored,
		"hbgenmethod":             ignored,
		"uuidfrom":                ignored,
		"msgfmt":                  ignored,
		"compression":             ignored,
		"compression_threshold":   ignored,
		"traditional_compression": ignored,
		"coredumps":               ignored,
		"crm_daemon_dir":          ignored,
		"crmd_spawns_pengine":     ignored,
		"env":                     ignored,
		"max_rexmit_delay":        ignored,
		"quorum_server":           ignored,
		"cluster":                 ignored,
		"memreserve":              ignored,
		"record_config_changes":   ignored,
		"record_pengine_inputs":   ignored,
		"enable_config_writes":    ignored,
		"failed_to_exec_apphbd":   ignored,
		"apphbd":                  ignored,
		"rcbdebug":                ignored,
	}
})

// otherDirectives are those that parseHaCF works on, for the nearest word of a misspelt one.
var otherDirectives = sync.OnceValue(func() []string {
	return strings.Fields("keepalive deadtime initdead deadping auto_failback nice_failback node bcast mcast ucast mcast6 ucast6 ping ping_group respawn rtprio crm pacemaker")
})

// haTime reads a time as Heartbeat does: seconds unless a unit follows, with a fraction if wanted.
func haTime(s string) (time.Duration, error) {
	low := strings.ToLower(s)
	digits := strings.TrimRight(low, "abcdefghijklmnopqrstuvwxyz")
	unit, known := map[string]time.Duration{"": time.Second, "s": time.Second, "sec": time.Second, "ms": time.Millisecond, "msec": time.Millisecond,
		"us": time.Microsecond, "usec": time.Microsecond, "m": time.Minute, "min": time.Minute, "h": time.Hour, "hr": time.Hour}[low[len(digits):]]
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !known || n <= 0 || n*float64(unit) > float64(24*time.Hour) {
		return 0, fmt.Errorf("%q is not a time such as 2, 1.5 or 200ms", s)
	}
	return time.Duration(n * float64(unit)), nil
}

// How the lines of a file are read.
const (
	joined    = 1 << iota // a \ at the end of a line joins the next one to it
	hashFirst             // a # begins a comment only at the start of a line
)

// lines gives the lines of a file with what they say, comments left out.
func lines(in Input, how int, each func(o Origin, words []string, text string)) {
	before, first := "", 0
	for i, raw := range strings.Split(string(in.Text), "\n") {
		text := strings.TrimSuffix(raw, "\r")
		if cut := strings.IndexByte(text, '#'); cut >= 0 && (how&hashFirst == 0 || strings.TrimSpace(text[:cut]) == "") {
			text = text[:cut]
		}
		if first == 0 {
			first = i + 1
		}
		if rest, more := strings.CutSuffix(strings.TrimRight(text, " \t"), `\`); how&joined != 0 && more {
			before += strings.TrimSpace(rest) + " "
			continue
		}
		if before != "" {
			text = before + strings.TrimSpace(text)
		}
		if words := strings.Fields(text); len(words) > 0 {
			each(Origin{in.Name, first, shown(text)}, words, text)
		}
		before, first = "", 0
	}
	if words := strings.Fields(before); len(words) > 0 {
		each(Origin{in.Name, first, shown(before)}, words, before)
	}
}

// errPacemaker is why a cluster with a resource manager is not read.
type errPacemaker struct{ Origin }

func (e errPacemaker) Error() string {
	return e.String() + ": this is a Pacemaker cluster: its resources are in the CIB, there is no haresources to migrate"
}

// parseHaCF reads ha.cf. What has no counterpart goes into the report at once, the rest when it is used.
func parseHaCF(in Input, r *report) (*haCF, error) {
	h := &haCF{failback: setting[bool]{value: true}}
	var stop error
	once := map[string]bool{}
	lines(in, 0, func(o Origin, w []string, _ string) {
		key, args := w[0], w[1:]
		if f, ok := haFates()[key]; ok || strings.HasPrefix(key, "compression") {
			if !ok {
				f = ignored
			}
			if f == ignored && once[key] {
				return
			}
			once[key] = true
			r.add(o, f.kind, f.what, f.instead)
			return
		}
		need := func(n int, form string) bool {
			if len(args) < n {
				r.fault(o, "write "+form, "%s needs more words", key)
				return false
			}
			return true
		}
		span := func(to *setting[time.Duration]) {
			if !need(1, key+" SECONDS") {
				return
			}
			t, err := haTime(args[0])
			if err != nil {
				r.fault(o, "", "%v", err)
				return
			}
			again(r, to, o)
			*to = setting[time.Duration]{o, t, true}
		}
		switch key {
		case "keepalive":
			span(&h.keepalive)
		case "deadtime":
			span(&h.deadtime)
		case "initdead":
			span(&h.initdead)
		case "deadping":
			span(&h.deadping)
		case "auto_failback", "nice_failback":
			if !need(1, key+" on|off|legacy") {
				return
			}
			v := strings.ToLower(args[0])
			on := v == "on" || v == "yes" || v == "true" || v == "1" || v == "legacy"
			if !on && v != "off" && v != "no" && v != "false" && v != "0" {
				r.fault(o, "", "%q is neither on, off nor legacy", shown(args[0]))
				return
			}
			if key == "nice_failback" {
				on = !on
			}
			again(r, &h.failback, o)
			h.failback = setting[bool]{o, on, true}
		case "node":
			for _, n := range args {
				if slices.Contains(h.nodes, n) {
					r.fault(o, "", "node %s stands twice", n)
					continue
				}
				h.nodes, h.nodeOrigin = append(h.nodes, n), append(h.nodeOrigin, o)
			}
			need(1, "node NAME")
		case "bcast":
			for _, i := range args {
				h.media = append(h.media, medium{Origin: o, kind: key, iface: i})
			}
			need(1, "bcast INTERFACE")
		case "mcast", "mcast6":
			if !need(2, key+" INTERFACE GROUP PORT TTL LOOP") {
				return
			}
			g, err := netip.ParseAddr(args[1])
			if err != nil || !g.IsMulticast() {
				r.fault(o, "", "%q is not a multicast address", args[1])
				return
			}
			h.media = append(h.media, medium{Origin: o, kind: "mcast", iface: args[0], group: g})
		case "ucast", "ucast6":
			if !need(2, key+" INTERFACE PEER") {
				return
			}
			h.media = append(h.media, medium{Origin: o, kind: "ucast", iface: args[0], peer: args[1]})
		case "ping":
			for _, a := range args {
				h.pings = append(h.pings, pinged{o, a, []string{a}})
			}
			need(1, "ping ADDRESS")
		case "ping_group":
			if need(2, "ping_group NAME ADDRESS...") {
				h.pings = append(h.pings, pinged{o, args[0], args[1:]})
			}
		case "respawn":
			if !need(2, "respawn USER PROGRAM") {
				return
			}
			prog := args[1]
			if base := prog[strings.LastIndexByte(prog, '/')+1:]; base == "ipfail" {
				h.ipfail = setting[bool]{o, true, true}
				return
			}
			r.lost(o, "make "+shown(prog)+" a system service; if it only starts something once, name it as startup_script", "the daemon keeps no programs of others running")
		case "rtprio":
			if !need(1, "rtprio NUMBER") {
				return
			}
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > 99 {
				r.fault(o, "", "%q is not a priority from 1 to 99", args[0])
				return
			}
			again(r, &h.rtprio, o)
			h.rtprio = setting[int]{o, n, true}
		case "crm", "pacemaker":
			if len(args) > 0 {
				if v := strings.ToLower(args[0]); v != "off" && v != "no" && v != "false" && v != "0" {
					stop = errPacemaker{o}
					return
				}
			}
			r.none(o, "there is no resource manager")
		default:
			r.fault(o, directiveNear(key), "unknown directive %q: Heartbeat itself refuses to start with it", shown(key))
		}
	})
	if stop != nil {
		return nil, stop
	}
	if len(h.nodes) == 0 {
		return nil, fmt.Errorf("%s: no node line: there is nothing to write a configuration for", in.Name)
	}
	return h, nil
}

// directiveNear is advice for a misspelt directive, empty if none is like it.
func directiveNear(word string) string {
	return nearestOf(word, slices.AppendSeq(slices.Clone(otherDirectives()), maps.Keys(haFates())))
}

// authKey is a key of authkeys.
type authKey struct {
	Origin
	id     int
	method string
	secret string
}

// authKeys is authkeys: the keys, and the number of the one that signs.
type authKeys struct {
	active setting[int]
	keys   []authKey
}

// parseAuthKeys reads authkeys. Its text is never in a finding.
func parseAuthKeys(in Input, r *report) (*authKeys, error) {
	if in.Mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %#o lets others read its keys, Heartbeat does not start with it: chmod 600 %s, and change the keys if anybody may have read them",
			in.path(), in.Mode.Perm(), in.path())
	}
	a := &authKeys{}
	lines(in, hashFirst, func(o Origin, w []string, _ string) {
		if w[0] == "auth" && len(w) > 1 {
			n, err := strconv.Atoi(w[1])
			o.Text = "auth " + strconv.Itoa(n)
			if err != nil || n < 1 {
				o.Text = "auth"
				r.fault(o, "", "auth is followed by the number of a key")
				return
			}
			a.active = setting[int]{o, n, true}
			return
		}
		o.Text = "(a key)"
		id, err := strconv.Atoi(w[0])
		if err != nil || id < 1 || len(w) < 2 {
			r.fault(o, "write NUMBER METHOD KEY", "a line that is neither auth nor a key")
			return
		}
		o.Text = fmt.Sprintf("%d (method and key not shown)", id)
		k := authKey{o, id, strings.ToLower(w[1]), ""}
		switch k.method {
		case "crc":
		case "md5", "sha1":
			if len(w) < 3 {
				r.fault(o, "", "key %d is empty", id)
				return
			}
			k.secret = w[2]
			if len(w) > 3 {
				r.changed(o, "", "Heartbeat takes only the first word after the method as the key, and so does this import")
			}
		default:
			r.fault(o, "use md5, sha1 or crc", "key %d has an unknown method", id)
			return
		}
		a.keys = append(a.keys, k)
	})
	if !a.active.set {
		r.fault(Origin{File: in.Name}, "write auth NUMBER", "no line says which key signs")
	}
	return a, nil
}
