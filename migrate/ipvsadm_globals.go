package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// globals writes what is not about one service.
func (t *ipvsTable) globals(g *conf, o IPVSAdmOptions) {
	if t.cleared.File != "" {
		g.line(t.cleared, "lvs_flush")
	}
	if t.timeouts.File != "" && t.set != [3]int{} {
		text := "lvs_timeouts"
		for i, k := range []string{"tcp", "tcpfin", "udp"} {
			if t.set[i] > 0 {
				text += fmt.Sprintf(" %s %d", k, t.set[i])
			}
		}
		g.line(t.timeouts, "%s", text)
	}
	for i, d := range t.daemons {
		if i > 0 {
			t.changed(d.Origin, "", "the two roles are one lvs_sync_daemon")
			continue
		}
		nic := d.opts["mcast-interface"]
		if !validIface(nic) {
			t.fault(d.Origin, "name it with --mcast-interface", "%q is not an interface", shown(nic))
			continue
		}
		text, bad := "", false
		for _, k := range []struct{ opt, word string }{{"syncid", "id"}, {"sync-maxlen", "maxlen"}, {"mcast-port", "port"}, {"mcast-ttl", "ttl"}, {"mcast-group", "group"}} {
			v, ok := d.opts[k.opt]
			if !ok {
				continue
			}
			_, err := netip.ParseAddr(v)
			if k.opt != "mcast-group" {
				_, err = strconv.ParseUint(v, 10, 16)
			}
			if err != nil {
				t.fault(d.Origin, "", "%q is no value for --%s", shown(v), k.opt)
				bad = true
			}
			text += " " + k.word + " " + v
		}
		if !bad {
			t.syncDaemon(g, d.Origin, nic, text, o)
		}
	}
}

// syncDaemon writes lvs_sync_daemon.
func (t *ipvsTable) syncDaemon(g *conf, at Origin, nic, text string, o IPVSAdmOptions) {
	if o.Instance != "" {
		g.line(at, "lvs_sync_daemon %s %s%s", nic, name(o.Instance), text)
		t.changed(at, "", "its role follows instance %s: two directors both set to master never synchronise", o.Instance)
		return
	}
	g.line(at, "lvs_sync_daemon %s%s", nic, text)
	t.changed(at, "--instance NAME makes it follow a VRRP instance", "without an instance both roles run on every director")
}

// defaults reads /etc/default/ipvsadm: assignments for a shell, of which only plain words are taken.
func (t *ipvsTable) defaults(in Input, g *conf, o IPVSAdmOptions) {
	val := map[string]ldValue{}
	for i, raw := range strings.Split(string(in.Text), "\n") {
		text := strings.TrimSpace(raw)
		if text == "" || text[0] == '#' {
			continue
		}
		at := Origin{in.Name, i + 1, shown(text)}
		key, v, ok := strings.Cut(text, "=")
		if i := strings.Index(v, " #"); i >= 0 {
			v = strings.TrimSpace(v[:i])
		}
		v = withoutQuotes(v)
		if !ok || !slices.Contains([]string{"AUTO", "DAEMON", "IFACE", "SYNCID"}, key) || v != name(v) {
			t.fault(at, "", "not one of AUTO, DAEMON, IFACE and SYNCID with a plain value")
			continue
		}
		val[key] = ldValue{at, v}
	}
	if a, ok := val["AUTO"]; ok && a.text == "true" {
		t.mapped(a.Origin, "the rules are imported")
	} else if ok {
		t.changed(a.Origin, "check that the rules are meant", "the source never loaded these rules at boot; they are imported all the same")
	}
	d := val["DAEMON"]
	switch d.text {
	case "", "none":
		for _, k := range []string{"DAEMON", "IFACE", "SYNCID"} {
			if v, ok := val[k]; ok {
				t.none(v.Origin, "no sync daemon runs")
			}
		}
		return
	case "master", "backup", "both":
	default:
		t.fault(d.Origin, "", "DAEMON is none, master, backup or both")
		return
	}
	if len(t.daemons) > 0 {
		t.changed(d.Origin, "", "the rules start a sync daemon already: theirs is written")
		return
	}
	nic, id := cmp.Or(val["IFACE"].text, "eth0"), cmp.Or(val["SYNCID"].text, "1")
	if !validIface(nic) || strings.Trim(id, "0123456789") != "" {
		t.fault(d.Origin, "", "IFACE or SYNCID has no usable value")
		return
	}
	t.syncDaemon(g, d.Origin, nic, " id "+id, o)
	for _, k := range []string{"IFACE", "SYNCID"} {
		if v, ok := val[k]; ok {
			t.mapped(v.Origin, "in lvs_sync_daemon")
		}
	}
}
