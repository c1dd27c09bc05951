package supervisor_test

import (
	"os"
	"os/exec"
	"testing"
)

// clients are what other people's tools do with the program, as shell. K is the program, F the configuration of an address owner, D an
// empty folder, WAIT waits for a condition. Each ends with status 0, leaves nothing running and is run with the reference too.
var clients = []struct {
	name, script string
	only         string // with one of the two
}{
	{"neutron: starts in the background, finds its routers by the command line", `
mkdir "$D/router-4711"; cp "$F" "$D/router-4711/keepalived.conf"
"$K" -P -f "$D/router-4711/keepalived.conf" -p "$D/router-4711.pid" -r "$D/router-4711.pid-vrrp" -D -G
for f in "$D/router-4711.pid" "$D/router-4711.pid-vrrp"; do
	WAIT test -s $f
	tr '\0' ' ' </proc/$(cat $f)/cmdline | grep -q router-4711
done
[ "$(echo "$("$K" -v 2>&1)" | head -n 1 | cut -d' ' -f2 | cut -c2- | cut -d. -f1)" -ge 2 ]
WAIT VIP
kill -HUP $(cat "$D/router-4711.pid"); sleep 0.3; VIP
P=$(cat "$D/router-4711.pid"); kill $P; WAIT GONE $P; ! VIP`, ""},
	{"octavia: pid files are there while it runs, newer than the configuration, and gone afterwards", `
touch -d '10 seconds ago' "$F" # the clock of files moves by several milliseconds at a time
"$K" --log-facility=1 -G -f "$F" -p "$D/p" -r "$D/r" -c "$D/c"
WAIT test -s "$D/p"; WAIT test -s "$D/r"; WAIT VIP
[ "$D/p" -nt "$F" ]
P=$(cat "$D/p"); kill $P; WAIT GONE $P
[ ! -e "$D/p" ] && [ ! -e "$D/r" ] && [ ! -e "$D/c" ]`, ""},
	{"k0s: long options with a space, a supervised child", `
"$K" --dont-fork --use-file "$F" --no-syslog --log-console --log-detail --dump-conf 2>"$D/log" &
WAIT grep -q 'Entering MASTER STATE' "$D/log"; WAIT VIP
kill -HUP $!; WAIT grep -qi 'reload' "$D/log"; VIP
kill $!; wait $!`, ""},
	{"kolla: bundled options", `
"$K" -nldG -p "$D/p" -f "$F" 2>"$D/log" &
WAIT test -s "$D/p"; WAIT VIP
WAIT grep -q 'VRRP Topology' "$D/log"
kill $(cat "$D/p"); wait $!`, ""},
	{"cloudfoundry: underscores in long options, in the background", `
"$K" -l -D -G -f "$F" --pid="$D/p" --vrrp_pid="$D/v" --checkers_pid="$D/c"
WAIT test -s "$D/v"; WAIT VIP; P=$(cat "$D/p"); kill $P; WAIT GONE $P`, ""},
	{"puppet and ansible: validation and version", `
"$K" -l -t -f "$F"
"$K" --config-test -f "$F"
"$K" --version 2>&1 | head -n 1 | grep -Eq '^Keepalived v[0-9]+\.[0-9]+\.[0-9]+ .+'
! "$K" -t -f "$BAD" 2>/dev/null`, ""},
	{"the snippet of dozens of pages: data by signal number, state from below the topology", `
"$K" -n -G -f "$F" -p "$D/p" & WAIT test -s "$D/p"; WAIT VIP
rm -f /tmp/keepalived.data; kill -s $("$K" --signum=DATA) $(cat "$D/p")
WAIT grep -q 'VRRP Sockpool' /tmp/keepalived.data
grep -A 6 'VRRP Topology' /tmp/keepalived.data | grep -w State | grep -q MASTER
kill $(cat "$D/p"); wait $!`, ""},
	{"zabbix: JSON by signal number, fields of the first instance", `
"$K" -n -G -f "$F" -p "$D/p" & WAIT test -s "$D/p"; WAIT VIP
rm -f /tmp/keepalived.json; kill -s $("$K" --signum=JSON) $(cat "$D/p")
WAIT grep -q '"iname":"VI_1"' /tmp/keepalived.json
grep -q '"state":2' /tmp/keepalived.json; grep -q '"become_master":1' /tmp/keepalived.json; grep -Eq '"garp_refresh":[0-9]+,' /tmp/keepalived.json
kill $(cat "$D/p"); wait $!`, ""},
	{"openwrt: signal 37 to all processes of that name, and the file is read", `
"$K" -n -G -f "$F" & WAIT VIP; WAIT test -s /run/vrrp.pid
rm -f /tmp/keepalived.json; kill -37 $(cat /run/keepalived.pid) $(cat /run/vrrp.pid)
WAIT grep -q '"vrid":51' /tmp/keepalived.json
kill $!; wait $!`, "releve"},
	{"openshift: a data file with a lie in it is overwritten", `
"$K" -f "$F" --dont-fork --vrrp --log-detail --log-console -G 2>/dev/null & WAIT VIP; WAIT test -s /run/keepalived.pid
[ "$(cat /proc/$(cat /run/keepalived.pid)/comm)" = keepalived ]
echo 'State = FAULT' >/tmp/keepalived.data; kill -USR1 $(cat /run/keepalived.pid)
WAIT grep -q 'State = MASTER' /tmp/keepalived.data
kill $!; wait $!`, ""},
	{"vyatta: data and statistics by signals to the VRRP process", `
"$K" -n -G -f "$F" & WAIT VIP; WAIT test -s /run/vrrp.pid
rm -f /tmp/keepalived.data /tmp/keepalived.stats; kill -USR1 $(cat /run/vrrp.pid); kill -USR2 $(cat /run/vrrp.pid)
WAIT grep -q 'VRRP Instance = VI_1' /tmp/keepalived.data; WAIT grep -q 'Became master: 1' /tmp/keepalived.stats
kill $!; wait $!`, ""},
	{"kube-vip: HUP and TERM to the child, pid files in /var/run", `
"$K" --dont-fork --log-console --log-detail --release-vips -G -f "$F" 2>/dev/null & WAIT VIP
WAIT test -s /var/run/keepalived.pid; WAIT test -s /var/run/vrrp.pid
ip -brief address show dev v0 | grep -q 10.9.0.1/24
kill -HUP $!; sleep 0.3; VIP; kill -TERM $!; wait $!; ! VIP`, ""},
	{"nixos: forks, with an environment file of nothing", `
"$K" -f "$F" -p /run/keepalived.pid -G
[ "$W" = releve ] || WAIT test -s /run/keepalived.pid # the reference returns a little too early
P=$(cat /run/keepalived.pid); [ -d /proc/$P ]; WAIT VIP; kill $P; WAIT GONE $P`, ""},
}

const clientTools = `set -e
WAIT() { for i in $(seq 1500); do "$@" 2>/dev/null && return 0; sleep 0.02; done; echo "not in 30 s: $*" >&2; return 1; }
VIP() { ip -o addr show dev v0 | grep -q ' 10\.9\.0\.1/24 '; }
GONE() { ! grep -q '^State:[[:space:]]*[^ZX]' /proc/$1/status; }
`

func TestWhatClientsDoWithTheProgram(t *testing.T) {
	network(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				if c.only != "" && c.only != w.name {
					t.Skip("not with the reference's build")
				}
				cmd := exec.Command("bash", "-c", clientTools+c.script)
				cmd.Env = append(os.Environ(), "K="+w.path, "W="+w.name, "F="+config(t, owner), "BAD="+config(t, "vrrp_instance x {\n"), "D="+t.TempDir())
				log := &output{}
				cmd.Stdout, cmd.Stderr = log, log
				if err := cmd.Run(); err != nil {
					t.Errorf("%v\n%s", err, log)
					for _, f := range defaultPidFiles {
						if pid := pidIn(f); alive(pid) {
							kill(t, pid, 15)
						}
					}
				}
			})
		})
	}
}
