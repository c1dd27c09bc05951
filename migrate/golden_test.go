package migrate_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"releve/migrate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A golden file of rows holds one case after the other:
//
//	=== what the case is about
//	options, files ("--- name") ...
//	>>> what comes out: configuration, other files, report
//
// What is before >>> is the input and is kept by -update.
type row struct {
	name  string
	opts  map[string]string
	files map[string]string
	want  string
	head  string
}

func readRows(t *testing.T, path string) []*row {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []*row
	var r *row
	file, out := "", false
	for line := range strings.SplitAfterSeq(string(text), "\n") {
		bare := strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(bare, "=== "); ok {
			r = &row{name: name, opts: map[string]string{}, files: map[string]string{}, head: line}
			rows, file, out = append(rows, r), "", false
			continue
		}
		if r == nil || line == "" {
			continue
		}
		if bare == ">>>" {
			out = true
			continue
		}
		if out {
			r.want += line
			continue
		}
		r.head += line
		if name, ok := strings.CutPrefix(bare, "--- "); ok {
			file = name
			r.files[file] = ""
			continue
		}
		if file != "" {
			r.files[file] += line
		} else if k, v, ok := strings.Cut(bare, "="); ok {
			r.opts[k] = v
		}
	}
	return rows
}

func (r *row) input(name string) migrate.Input {
	mode := os.FileMode(0o600)
	if r.opts["mode"] == "644" {
		mode = 0o644
	}
	return migrate.Input{Name: name, Text: []byte(r.files[name]), Mode: mode}
}

// hosts stand for a resolver.
func hosts(host string, v6 bool) (netip.Addr, error) {
	switch {
	case host == "web.example.org" && !v6:
		return netip.MustParseAddr("192.0.2.80"), nil
	case host == "web.example.org":
		return netip.MustParseAddr("2001:db8::80"), nil
	}
	return netip.Addr{}, errors.New("no such host")
}

func (r *row) run() (*migrate.Result, error) {
	switch {
	case r.files["ha.cf"] != "":
		in := migrate.HeartbeatInput{HaCF: r.input("ha.cf"), Resources: r.input("haresources")}
		if _, ok := r.files["authkeys"]; ok {
			k := r.input("authkeys")
			in.AuthKeys = &k
		}
		in.ReadFile = func(name string) (migrate.Input, error) {
			if base := filepath.Base(name); r.files[base] != "" {
				return r.input(base), nil
			}
			return migrate.Input{}, fmt.Errorf("open %s: no such file", name)
		}
		o := migrate.HeartbeatOptions{Auth: r.opts["auth"], StandardTiming: r.opts["timing"] == "vrrp", Lookup: hosts, Nodes: strings.Fields(r.opts["node"])}
		if a, ok := r.opts["address"]; ok {
			node, addr, _ := strings.Cut(a, " ")
			o.Addresses = map[string]netip.Addr{node: netip.MustParseAddr(addr)}
		}
		if g, ok := r.opts["gateway"]; ok {
			o.Gateway = netip.MustParseAddr(g)
		}
		if r.opts["here"] != "" {
			o.HereName = r.opts["here"]
			net := netip.MustParsePrefix("192.168.56.0/24")
			o.Here = migrate.Locale{
				Connected: func(a netip.Addr) (string, netip.Prefix, bool) { return "eth7", net, net.Contains(a) },
				Own:       func(a netip.Addr) bool { return a.String() == "192.168.56.11" },
				Service:   func(name string) bool { return name == "httpd" },
				Gateway:   netip.MustParseAddr("192.168.56.254"),
			}
		}
		return migrate.Heartbeat(in, o)
	case r.files["ldirectord.cf"] != "":
		return migrate.Ldirectord(r.input("ldirectord.cf"), migrate.LdirectordOptions{Lookup: hosts})
	}
	var defaults *migrate.Input
	if _, ok := r.files["default"]; ok {
		d := r.input("default")
		defaults = &d
	}
	return migrate.IPVSAdm(r.input("rules"), defaults, migrate.IPVSAdmOptions{Check: r.opts["check"], Instance: r.opts["instance"], Lookup: hosts})
}

func printed(res *migrate.Result, err error) string {
	if err != nil {
		return "refused: " + err.Error() + "\n"
	}
	var b strings.Builder
	for i, n := range res.Nodes {
		for _, f := range n.Files {
			if i > 0 && f.Name != "keepalived.conf" {
				continue // the scripts are the same on every node
			}
			fmt.Fprintf(&b, "--- %s %#o\n%s", filepath.Join(n.Name, f.Name), f.Mode, f.Text)
		}
	}
	report := res.Report()
	if cut := strings.Index(report, "\nWhat will be different"); cut >= 0 {
		report = report[:cut+1]
	}
	fmt.Fprintf(&b, "--- report, complete %v\n%s", res.Complete(), report)
	return strings.TrimRight(b.String(), "\n") + "\n\n"
}

func TestEveryRowOfTheMappingTables(t *testing.T) {
	for _, what := range []string{"heartbeat", "ipvsadm", "ldirectord"} {
		path := filepath.Join("testdata", what+".rows")
		rows := readRows(t, path)
		if len(rows) < 10 {
			t.Fatalf("%s: %d rows only", path, len(rows))
		}
		var all strings.Builder
		for _, r := range rows {
			res, err := r.run()
			got := printed(res, err)
			fmt.Fprintf(&all, "%s>>>\n%s", r.head, got)
			if *update {
				continue
			}
			t.Run(what+"/"+r.name, func(t *testing.T) {
				if got != r.want {
					t.Errorf("got\n%s\nwant\n%s", got, r.want)
				}
				for _, secret := range []string{"geheim", "motdepasse"} {
					if err == nil && strings.Contains(res.Report(), secret) || strings.Contains(got, secret) && r.opts["auth"] != "pass" {
						t.Errorf("the secret is shown")
					}
				}
				again, err := r.run()
				if printed(again, err) != got {
					t.Error("the same input gives other bytes the second time")
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
