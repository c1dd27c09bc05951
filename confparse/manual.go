package confparse

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// idle are the keywords whose values are read, checked and carried, but on which no room acts, with the reason.
var idle = sync.OnceValue(func() map[string]string {
	m := map[string]string{
		"lvs_netlink_cmd_rcv_bufs":       "the socket that writes the table has the room that its batches need",
		"lvs_netlink_cmd_rcv_bufs_force": "as lvs_netlink_cmd_rcv_bufs",
		"tmp_config_directory":           "the configuration goes to the children in memory, no file is written",
		"regex_stack":                    "the matcher is bounded in steps and memory without it",
		"ca":                             "the file must be good; as in the reference it verifies no server",
		"debug":                          "it has no effect in the reference either",
		"hashed":                         "the kernel sets this flag on every service",
	}
	for w := range set(`snmp_socket enable_snmp_vrrp enable_snmp_keepalived enable_snmp_checker enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3
		enable_traps snmp_vs_stats_update_interval snmp_rs_stats_update_interval snmp_name`) {
		m[w] = "there is no SNMP agent: releve status and releve lvs --json have these figures"
	}
	for w := range set(`enable_dbus dbus_service_name dbus_no_interface_name`) {
		m[w] = "there is no D-Bus service: releve status --json has what it would tell"
	}
	return m
})

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// usageLine is a keyword with its arguments.
func (k *Keyword) usageLine() string {
	s := k.Name
	for i := range k.Args {
		a := &k.Args[i]
		t := a.Name
		switch a.Kind {
		case Choice:
			t = strings.Join(a.Words, "|")
		case Bool:
			t = "on|off"
		}
		if a.Optional && !strings.HasPrefix(t, "[") {
			t = "[" + t + "]"
		}
		s += " " + t
	}
	if k.Block != nil {
		s += " { ... }"
	}
	return s
}

// valueRange is what the arguments may be, in words; empty if any word does.
func (k *Keyword) valueRange() string {
	var out []string
	for i := range k.Args {
		a := &k.Args[i]
		if (a.Kind == Number || a.Kind == Seconds || a.Kind == Millis) && (a.Min != 0 || a.Max != 0) {
			out = append(out, a.want())
		}
	}
	return strings.Join(out, "; ")
}

// tableTitle is a block with the blocks around it: "virtual_server / real_server".
func tableTitles() map[*Table]string {
	titles := map[*Table]string{}
	var walk func(t *Table, path string)
	walk = func(t *Table, path string) {
		if _, ok := titles[t]; ok {
			return
		}
		titles[t] = path
		for i := range t.Rows() {
			if b := t.Rows()[i].Block; b != nil {
				p := t.Rows()[i].Name
				if path != "" {
					p = path + " / " + p
				}
				walk(b, p)
			}
		}
	}
	walk(topTable, "")
	titles[topTable] = "top level"
	return titles
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// WriteMarkdown writes the reference of all keywords, docs/keywords.md.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Keywords\n\nEvery block of keepalived.conf and every keyword in it, printed from the tables that read them (`releve keywords --markdown`).\n" +
		"Times are in seconds and take decimals down to a microsecond, unless something else is said. `on|off` is one of on, off, true, false, yes, no.\n")
	titles := tableTitles()
	for _, t := range Tables() {
		fmt.Fprintf(&b, "\n## %s\n\n", titles[t])
		if t.Item != "" {
			fmt.Fprintf(&b, "A list: each line is `%s`.\n", t.Item)
			continue
		}
		b.WriteString("| keyword | what it does | default | range | |\n| --- | --- | --- | --- | --- |\n")
		for i := range t.Rows() {
			k := &t.Rows()[i]
			var more []string
			if len(k.Aliases) > 0 {
				more = append(more, "also `"+strings.Join(k.Aliases, "`, `")+"`")
			}
			if len(k.OldNames) > 0 {
				more = append(more, "once `"+strings.Join(k.OldNames, "`, `")+"`")
			}
			if k.Deprecated != "" {
				more = append(more, "deprecated: "+k.Deprecated)
			}
			switch {
			case k.Since == "releve":
				more = append(more, "not in keepalived")
			case k.Since != "":
				more = append(more, "since "+k.Since)
			}
			if k.Build != "" {
				more = append(more, "needs a build with "+k.Build+" in keepalived")
			}
			if k.Secret {
				more = append(more, "secret")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", cell(k.usageLine()), cell(k.Help), cell(k.Default), cell(k.valueRange()), cell(strings.Join(more, "; ")))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteCoverage writes docs/coverage.md: what happens to each keyword.
func WriteCoverage(w io.Writer) error {
	var b strings.Builder
	titles := tableTitles()
	total, acted := 0, 0
	var body strings.Builder
	for _, t := range Tables() {
		fmt.Fprintf(&body, "\n## %s\n\n| keyword | parsed | checked | acted on by |\n| --- | --- | --- | --- |\n", titles[t])
		if t.Item != "" {
			fmt.Fprintf(&body, "| `%s` | yes | yes | as the block |\n", cell(t.Item))
			continue
		}
		for i := range t.Rows() {
			k := &t.Rows()[i]
			total++
			room := k.Room
			if why := idle()[k.Name]; why != "" {
				room = "nobody: " + why
			} else {
				acted++
			}
			checked := "yes"
			if len(k.Args) == 0 && k.Block == nil {
				checked = "nothing to check"
			}
			fmt.Fprintf(&body, "| `%s` | yes | %s | %s |\n", k.Name, checked, room)
		}
	}
	fmt.Fprintf(&b, "# Coverage\n\n%d keywords in %d blocks, all parsed, checked and carried in the typed configuration; on %d of them a room acts.\n", total, len(Tables()), acted)
	b.WriteString("Printed from the keyword tables (`releve keywords --coverage`).\n")
	b.WriteString(body.String())
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteHelp writes what is known about a keyword in all blocks that have it, or about a block; it reports whether there is any.
func WriteHelp(w io.Writer, name string) bool {
	titles := tableTitles()
	found := false
	for _, t := range Tables() {
		if t.Name == name && name != "" {
			found = true
			fmt.Fprintf(w, "%s\n", titles[t])
			if t.Item != "" {
				fmt.Fprintf(w, "    %s\n", t.Item)
			}
			for i := range t.Rows() {
				fmt.Fprintf(w, "    %-45s %s\n", t.Rows()[i].usageLine(), t.Rows()[i].Help)
			}
		}
	}
	for _, t := range Tables() {
		k, _ := t.lookup(name)
		if k == nil {
			continue
		}
		found = true
		fmt.Fprintf(w, "%s: %s\n    %s\n", titles[t], k.usageLine(), k.Help)
		for _, x := range []struct{ what, text string }{{"default", k.Default}, {"range", k.valueRange()}, {"deprecated", k.Deprecated}, {"since", k.Since}, {"read by", k.Room}} {
			if x.text != "" {
				fmt.Fprintf(w, "    %s: %s\n", x.what, x.text)
			}
		}
	}
	return found
}

// NearestKeyword is the keyword or block most like a word; empty if none is near.
func NearestKeyword(word string) string { return nearest(word, Keywords()) }

// Keywords is every spelling of every keyword, sorted, once.
func Keywords() []string {
	var out []string
	for _, t := range Tables() {
		out = append(out, t.words()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
