package migrate_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/confparse"
	"releve/internal/testneed"
)

// judged are the results that must be accepted without a word: those whose source has no fault.
func judged(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, what := range []string{"heartbeat", "ipvsadm", "ldirectord"} {
		for i, r := range readRows(t, filepath.Join("testdata", what+".rows")) {
			res, err := r.run()
			if err != nil || strings.Contains(res.Report(), faulty) {
				continue
			}
			for _, n := range res.Nodes {
				all[fmt.Sprintf("%s-%02d-%s (%s)", what, i, n.Name, r.name)] = n.Files[0].Text
			}
		}
	}
	if len(all) < 80 {
		t.Fatalf("%d results only", len(all))
	}
	return all
}

const faulty = "error in the source:"

func TestWhatIsWrittenPassesTheCheckWithoutAWarning(t *testing.T) {
	dir := t.TempDir()
	for name, text := range judged(t) {
		path := filepath.Join(dir, "keepalived.conf")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		src, diags := confparse.Load(path, confparse.LoadOptions{})
		_, more := confparse.Check(src, confparse.CheckOptions{NoHost: true, Lint: true})
		for _, d := range append(diags, more...) {
			if d.Code == "timeout-above-interval" && strings.HasPrefix(name, "ldirectord") {
				continue // true of the source: its checks, too, may take longer than the time between them
			}
			if d.Code == "slow-failover" {
				continue // true of the source: Heartbeat's deadtime is 30 s by default
			}
			t.Errorf("%s: %d:%d: %s [%s]", name, d.Pos.Line, d.Pos.Col, d.Message, d.Code)
		}
	}
}

func TestTheReferenceTakesWhatIsWritten(t *testing.T) {
	testneed.Need(t, "root")
	testneed.Need(t, "netns")
	testneed.Need(t, "keepalived")
	dir := t.TempDir()
	script := "set -e\nmount -t tmpfs none /etc/keepalived\nmount -t tmpfs none /usr/local/bin\n" +
		"for i in eth0 eth1 eth7; do ip link add $i type veth peer name p$i; ip link set $i up; ip link set p$i up; done; ip link set lo up\n" +
		"for s in ha_lb1-start.sh ha_lb1-stop.sh ha_lb2-start.sh ha_lb2-stop.sh ping_gw.sh; do printf '#!/bin/sh\\n' > /etc/keepalived/$s; chmod 755 /etc/keepalived/$s; done\n" +
		"for s in check check.pl page; do printf '#!/bin/sh\\n' > /usr/local/bin/$s; chmod 755 /usr/local/bin/$s; done\nset +e\n"
	n := 0
	for name, text := range judged(t) {
		if strings.Contains(string(text), "auth_hmac") {
			continue // Debian's 2.2.7 does not know it
		}
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d.conf", n))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		script += fmt.Sprintf("out=$(keepalived -t -f %s 2>&1) || printf '%%s: exit %%s\\n%%s\\n' '%s' $? \"$out\"\n", path, strings.ReplaceAll(name, "'", ""))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "unshare", "-n", "-m", "sh", "-c", "mkdir -p /etc/keepalived\n"+script).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
