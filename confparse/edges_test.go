package confparse

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// contexts are configurations without complaints, with %s where a line of the table goes.
var contexts = map[string]string{
	"":                   "%s\n",
	"global_defs":        "global_defs {\n%s\n}\n",
	"vrrp_instance":      "vrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\n%s\n}\n",
	"authentication":     "vrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\nauthentication {\nauth_type PASS\nauth_pass abc\n%s\n}\n}\n",
	"vrrp_script":        "global_defs {\nenable_script_security\nscript_user root\n}\nvrrp_script S {\nscript /usr/bin/true\n%s\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\ntrack_script {\nS\n}\n}\n",
	"track_file":         "track_file F {\nfile /tmp/releve-none\n%s\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\ntrack_file {\nF\n}\n}\n",
	"vrrp_track_process": "vrrp_track_process P {\nprocess init\n%s\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\ntrack_process {\nP\n}\n}\n",
	"bfd_instance":       "bfd_instance B {\nneighbor_ip 10.99.0.9\n%s\n}\n",
	"vrrp_sync_group":    "vrrp_sync_group G {\ngroup {\nV\nW\n}\n%s\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\n}\nvrrp_instance W {\ninterface eth0\nvirtual_router_id 6\nvirtual_ipaddress {\n10.1.2.1/24\n}\n}\n",
	"garp_group":         "garp_group {\ngarp_interval 1\ninterface eth0\n%s\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 5\nvirtual_ipaddress {\n10.1.1.1/24\n}\n}\n",
	"virtual_server":     "virtual_server 10.1.1.1 80 {\nlvs_sched sh\nlvs_method NAT\nprotocol UDP\n%s\nreal_server 10.1.1.2 80 {\n}\n}\n",
	"real_server":        "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\n%s\n}\n}\n",
	"url":                "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\nHTTP_GET {\nurl {\npath /\n%s\n}\n}\n}\n}\n",
	"SSL":                "SSL {\n%s\n}\nvirtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\n}\n}\n",
	"HTTP_GET":           "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\nHTTP_GET {\nurl {\npath /\n}\n%s\n}\n}\n}\n",
	"SSL_GET":            "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\nSSL_GET {\nurl {\npath /\n}\n%s\n}\n}\n}\n",
	"MISC_CHECK":         "global_defs {\nenable_script_security\nscript_user root\n}\nvirtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\nMISC_CHECK {\nmisc_path /usr/bin/true\n%s\n}\n}\n}\n",
}

func init() {
	for _, c := range []string{"TCP_CHECK", "SMTP_CHECK", "DNS_CHECK", "UDP_CHECK", "PING_CHECK"} {
		contexts[c] = "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\n" + c + " {\n%s\n}\n}\n}\n"
	}
	contexts["host"] = "virtual_server 10.1.1.1 80 {\nlvs_sched rr\nlvs_method NAT\nprotocol TCP\nreal_server 10.1.1.2 80 {\nSMTP_CHECK {\nhost {\n%s\n}\n}\n}\n}\n"
}

// good is a value that an argument takes.
func (a *Arg) good() string {
	switch a.Kind {
	case Number:
		return number(max(a.Min, min(a.Max, 2)))
	case Seconds, Millis:
		return number(max(a.Min, min(a.Max, 2)))
	case Bool:
		return "on"
	case Choice:
		return a.Words[0]
	case Address:
		return "10.99.0.7"
	case Interface:
		return "eth0"
	case File:
		return "/tmp/releve-none"
	case Script:
		return "/usr/bin/true"
	case User, Group:
		return "root"
	}
	return "zz"
}

// uses are lines that try the edges of a keyword.
func (k *Keyword) uses() []string {
	if k.Block != nil {
		return nil
	}
	var out []string
	head := k.Name
	out = append(out, head)
	for i := range k.Args {
		a := &k.Args[i]
		var v []string
		switch a.Kind {
		case Number:
			v = append(v, "zz", "1x", "-1", number(a.Min), number(a.Min-1), "99999999999999999999")
			if a.Max != 0 && a.Max < math.MaxUint32 {
				v = append(v, number(a.Max), number(a.Max+1))
			}
		case Seconds, Millis:
			v = append(v, "zz", "1.5x", "-1", number(a.Min), "0", "0.5", "1.2345678", "1e3")
			if a.Max != 0 && a.Max < 1e9 { // ours are in nanoseconds and end earlier
				v = append(v, number(a.Max), number(a.Max+1))
			}
		case Bool:
			v = append(v, "on", "off", "maybe", "ON", "1")
		case Choice:
			v = append(v, a.Words...)
			v = append(v, "zz", strings.ToUpper(a.Words[0]))
		case Address:
			v = append(v, "10.99.0.7", "fe80::7", "10.99.0.7/24", "zz", "10.99.0.300")
		default:
			v = append(v, a.good())
		}
		for _, x := range v {
			out = append(out, head+" "+x)
		}
		if a.Kind == Rest {
			break
		}
		head += " " + a.good()
	}
	return out
}

// runReference tests many files with the reference in a network namespace of their own, with eth0 to eth3 and mute0.
func runReference(t *testing.T, texts []string) []int {
	t.Helper()
	dir := t.TempDir()
	for i, s := range texts {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.conf", i)), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("unshare", "-n", "-m", "sh", "-c", `ip link set lo up
for i in 0 1 2 3; do
	ip link add eth$i type veth peer name p$i
	ip addr add 10.99.$i.1/24 dev eth$i
	ip link set eth$i up
	ip link set p$i up
done
ip link add mute0 type veth peer name pmute0
ip link set mute0 multicast off up
for f in "$1"/*.conf; do
	timeout 20 keepalived -t -n -l -f "$f" >/dev/null 2>&1
	echo $?
done
rm -rf /tmp/releve-none`, "sh", dir)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("run the reference: %v", err)
	}
	var codes []int
	for _, w := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(w)
		if err != nil {
			t.Fatalf("%q is no exit status", w)
		}
		codes = append(codes, n)
	}
	if len(codes) != len(texts) {
		t.Fatalf("%d files but %d statuses", len(texts), len(codes))
	}
	return codes
}

func ours(t *testing.T, text string) (int, Diagnostics) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m := fakeMachine([]string{"eth0", "eth1", "eth2", "eth3"}, []string{"/usr/bin/true"})
	return verdict(t, path, m)
}

// newer says that the installed reference is older than the keyword.
func newer(k *Keyword) bool {
	if k.Since == "" {
		return false
	}
	var a, b, c int
	if _, err := fmt.Sscanf(k.Since, "%d.%d.%d", &a, &b, &c); err != nil {
		return true
	}
	return a > 2 || b > 2 || b == 2 && c > 7
}

func TestEdgesOfEveryKeywordAreJudgedAsTheReferenceDoes(t *testing.T) {
	testneed.Need(t, "root", "netns", "ip", "keepalived")
	if testing.Short() {
		t.Skip("runs the reference some thousand times")
	}
	var texts, lines []string
	seen := map[string]bool{}
	for _, tab := range Tables() {
		form, ok := contexts[tab.Name]
		if !ok || tab.item != nil {
			continue
		}
		for i := range tab.Rows() {
			k := &tab.Rows()[i]
			if newer(k) || k.Build == "iptables" {
				continue
			}
			// The checkers share most of their rows: each is tried in one of them.
			if id := k.Name + k.Help + k.Default; seen[id] {
				continue
			} else {
				seen[id] = true
			}
			for _, u := range k.uses() {
				if slices.Contains(lines, tab.Name+": "+u) {
					continue
				}
				lines = append(lines, tab.Name+": "+u)
				texts = append(texts, fmt.Sprintf(form, u))
			}
		}
	}
	codes := runReference(t, texts)
	for i, want := range codes {
		if reason := edgesApart[lines[i]]; reason != "" {
			continue
		}
		if got, d := ours(t, texts[i]); got != want {
			t.Errorf("%s: got %d, want %d %v", lines[i], got, want, short(d))
		}
	}
	t.Logf("%d lines", len(lines))
}

// edgesApart are lines on which version 2.2.7 and the present one differ, or where 2.2.7 is not to be followed.
var edgesApart = map[string]string{
	"vrrp_script: interval 0.001":       "fractions came with 2.2.8",
	"vrrp_script: interval 0.5":         "fractions came with 2.2.8",
	"vrrp_script: interval 4294.967295": "fractions came with 2.2.8",
	"vrrp_script: timeout 0.001":        "fractions came with 2.2.8",
	"vrrp_script: timeout 0.5":          "fractions came with 2.2.8",
	"vrrp_script: timeout 4294.967295":  "fractions came with 2.2.8",
	"bfd_instance: neighbor_ip":         "2.2.7 crashes",
	"HTTP_GET: http_protocol 1.0K":      "keep-alive came with 2.2.8",
	"HTTP_GET: http_protocol 1.0k":      "keep-alive came with 2.2.8",
	"HTTP_GET: http_protocol 1.1K":      "keep-alive came with 2.2.8",
	"HTTP_GET: http_protocol 1.1k":      "keep-alive came with 2.2.8",
	"SSL_GET: http_protocol 1.0K":       "keep-alive came with 2.2.8",
	"SSL_GET: http_protocol 1.0k":       "keep-alive came with 2.2.8",
	"SSL_GET: http_protocol 1.1K":       "keep-alive came with 2.2.8",
	"SSL_GET: http_protocol 1.1k":       "keep-alive came with 2.2.8",
}

func short(d Diagnostics) (out []string) {
	for _, x := range d {
		out = append(out, fmt.Sprintf("%s/%d", x.Code, x.Exit))
	}
	return out
}
