package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
)

// heartbeatDir holds a Heartbeat set-up.
func heartbeatDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var aPair = map[string]string{
	"ha.cf":       "keepalive 1\ndeadtime 5\nbcast eth0\nnode lb1 lb2\n",
	"haresources": "lb1 IPaddr::10.0.0.10/24/eth0 httpd\n",
	"authkeys":    "auth 1\n1 sha1 geheim\n",
}

func migrateRun(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = runMigrate(args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestMigrateWritesAFolderForEachNodeAndReplacesNothing(t *testing.T) {
	dir, out := heartbeatDir(t, aPair), filepath.Join(t.TempDir(), "new")
	args := []string{"heartbeat", "--dir", dir, "--node", "all", "-o", out}
	if status, _, stderr := migrateRun(args...); status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	for name, mode := range map[string]os.FileMode{"lb1/keepalived.conf": 0o600, "lb2/keepalived.conf": 0o600, "lb1/ha_lb1-start.sh": 0o755, "lb2/ha_lb1-stop.sh": 0o755, "report.txt": 0o644} {
		info, err := os.Stat(filepath.Join(out, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	report, _ := os.ReadFile(filepath.Join(out, "report.txt"))
	if bytes.Contains(report, []byte("geheim")) {
		t.Error("the report shows the secret")
	}
	status, _, stderr := migrateRun(args...)
	if status != 2 || !strings.Contains(stderr, "--force") {
		t.Errorf("files that are there: status %d, %s", status, stderr)
	}
	if status, _, stderr := migrateRun(append(args, "--force")...); status != 0 {
		t.Errorf("with --force: status %d, %s", status, stderr)
	}
}

func TestMigrateSaysWhatItCannotDo(t *testing.T) {
	open := map[string]string{"ha.cf": aPair["ha.cf"], "haresources": "lb1 IPaddr::10.0.0.10/24/eth0\n", "authkeys": aPair["authkeys"]}
	readable := heartbeatDir(t, open)
	if err := os.Chmod(filepath.Join(readable, "authkeys"), 0o644); err != nil {
		t.Fatal(err)
	}
	bare := heartbeatDir(t, map[string]string{"ha.cf": "node lb1 lb2\nkeepalife 1\nbcast eth0\n", "haresources": "lb1 10.0.0.10/24/eth0\n", "rules": "-A -t 10.0.0.10:80\n"})
	for _, c := range []struct {
		name string
		args []string
		want int
		say  string
	}{
		{"no kind", nil, 2, "say what to migrate"},
		{"another kind", []string{"pacemaker"}, 2, "not one of"},
		{"a folder that is not there", []string{"heartbeat", "--dir", "/nonexistent"}, 2, "no such file"},
		{"this machine is not a node", []string{"heartbeat", "--dir", bare, "--node", "lb9"}, 2, "its nodes are lb1, lb2"},
		{"a secret for the screen", []string{"heartbeat", "--dir", heartbeatDir(t, open), "--node", "lb1"}, 2, "--out"},
		{"scripts for the screen", []string{"heartbeat", "--dir", heartbeatDir(t, aPair), "--node", "lb1", "--auth", "none"}, 2, "--out"},
		{"keys that others may read", []string{"heartbeat", "--dir", readable, "--node", "lb1"}, 2, "chmod 600"},
		{"a mistake in the source", []string{"heartbeat", "--dir", bare, "--node", "lb1"}, 1, "did you mean keepalive?"},
		{"a service without servers", []string{"ipvsadm", filepath.Join(bare, "rules")}, 1, "no servers"},
		{"a kind of check that is none", []string{"ipvsadm", "--check", "udp", filepath.Join(bare, "rules")}, 2, "not tcp"},
		{"an address that is none", []string{"heartbeat", "--dir", bare, "--address", "lb1"}, 2, "NODE=ADDRESS"},
	} {
		status, _, stderr := migrateRun(c.args...)
		if status != c.want || !strings.Contains(stderr, c.say) {
			t.Errorf("%s: status %d, %q", c.name, status, stderr)
		}
		if strings.Contains(stderr, "geheim") {
			t.Errorf("%s: the secret is shown", c.name)
		}
	}
}

// ruleFiles are tables that ipvsadm loads; what the daemon makes of the migrated file must be the same table.
var ruleFiles = map[string]string{
	"schedulers, methods, weights": `-A -t 10.0.0.10:80 -s rr
-a -t 10.0.0.10:80 -r 10.1.0.1:8080 -m -w 1
-a -t 10.0.0.10:80 -r 10.1.0.2:80 -g -w 3
-a -t 10.0.0.10:80 -r 10.1.0.3 -i -w 0
-A -u 10.0.0.10:53 -s sh -b sh-port,sh-fallback -o
-a -u 10.0.0.10:53 -r 10.1.0.1 -m -w 2
`,
	"defaults, persistence, edits": `-A -t 10.0.0.10:443 -p
-a -t 10.0.0.10:443 -r 10.1.0.1
-a -t 10.0.0.10:443 -r 10.1.0.2 -m -w 9
-e -t 10.0.0.10:443 -r 10.1.0.2 -m -w 4
-A -t 10.0.0.11:0 -s wrr -p 77 -M 255.255.255.0
-a -t 10.0.0.11:0 -r 10.1.0.1 -g
-A -t 10.0.0.12:80
-D -t 10.0.0.12:80
`,
	"marks, IPv6, tunnels": `-A -f 7 -s lc
-a -f 7 -r 10.1.0.1 -g
-A -f 8 -6 -s wlc -p 60 -M 64
-a -f 8 -6 -r [2001:db8:1::1]:0 -i
-A -t [2001:db8::10]:80 -s mh -b mh-port
-a -t [2001:db8::10]:80 -r [2001:db8:1::1]:81 -m
-A -t 10.0.0.20:80 -s nq
-a -t 10.0.0.20:80 -r 10.1.0.1 -i --tun-type gue --tun-port 6080 --tun-csum
-a -t 10.0.0.20:80 -r 10.1.0.2 -i --tun-type gre
`,
}

func TestIPVSMigratedRulesMakeTheTableThatIpvsadmMakes(t *testing.T) {
	testneed.Need(t, "root")
	testneed.Need(t, "ipvs")
	testneed.Need(t, "ipvsadm")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range ruleFiles {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, conf := filepath.Join(dir, "rules"), filepath.Join(dir, "keepalived.conf")
			if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
				t.Fatal(err)
			}
			status, text, report := migrateRun("ipvsadm", file)
			if status != 0 {
				t.Fatalf("status %d: %s", status, report)
			}
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			script := `mount -t tmpfs none /run && ip link set lo up && cd "$1" || exit 3
ipvsadm -R < rules && ipvsadm -S -n | sort > want && ipvsadm -C || exit 3
RELEVE_TEST_DAEMON=1 bash -c 'exec -a keepalived "$0" -n -l -C -f keepalived.conf' "$2" > log 2>&1 &
for i in $(seq 150); do ipvsadm -S -n | sort > got; cmp -s want got && break; sleep 0.2; done
kill $!; wait $!; left=$(ipvsadm -S -n)
if ! cmp -s want got; then diff want got; cat log; exit 1; fi
if [ -n "$left" ]; then echo "left behind: $left"; exit 1; fi`
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			if out, err := exec.CommandContext(ctx, "unshare", "-n", "-m", "sh", "-c", script, "sh", dir, exe).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s\n%s", err, out, text)
			}
		})
	}
}
