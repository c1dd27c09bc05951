// Package packaging_test builds the Debian package and installs it over the reference, in a copy of this machine's root.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// steps runs in a chroot that nobody else sees: an overlay of the root, in namespaces of its own. It prints FAILED lines.
const steps = `
fail() { echo "FAILED $*"; }
is() { [ "$1" = "$2" ] || fail "$3: got $1, want $2"; }
state() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | tr -d ' '; }
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/keepalived
echo '# mine' >/etc/keepalived/keepalived.conf
had=$(state keepalived)
dpkg -i "$1" >/tmp/out 2>&1 || { fail "install: $(cat /tmp/out)"; exit; }
is "$(state releve)" ii "state of releve"
case $(state keepalived) in ii) fail "keepalived is still installed beside it" ;; esac
is "$(keepalived -v 2>&1 | head -n 1 | cut -d' ' -f2)" v2.4.3 "the program called keepalived"
releve -v 2>&1 | grep -q '^releve ' || releve -v 2>&1 | grep -q releve || fail "no releve"
genhash -h 2>&1 | grep -qi usage || fail "no genhash"
for f in /usr/share/man/man8/keepalived.8.gz /usr/share/man/man8/releve.8.gz /usr/share/man/man1/genhash.1.gz /usr/share/man/man5/keepalived.conf.5.gz \
	/usr/share/doc/releve/copyright /usr/share/doc/releve/keepalived-forking.service; do [ -e $f ] || fail "no $f"; done
grep -q -- 'Type=notify' /usr/lib/systemd/system/keepalived.service || fail "not our unit"
is "$(cat /etc/keepalived/keepalived.conf)" "# mine" "the configuration"
is "$(dpkg-query -W -f '${Provides}' releve)" "keepalived (= 1:2.4.3)" "what it provides"
dpkg --verify releve | grep . && fail "files differ from the package"
keepalived -t -f /etc/keepalived/keepalived.conf || fail "configuration test: $?"

# A changed conffile survives an upgrade and a removal, and goes with a purge.
echo 'DAEMON_ARGS="-D"' >/etc/default/keepalived
dpkg -i "$1" >/tmp/out 2>&1 || fail "install again: $(cat /tmp/out)"
is "$(cat /etc/default/keepalived)" 'DAEMON_ARGS="-D"' "the changed conffile"
dpkg -r releve >/tmp/out 2>&1 || fail "remove: $(cat /tmp/out)"
is "$(state releve)" rc "state after the removal"
[ -e /etc/default/keepalived ] || fail "the removal took the conffile along"
for f in /usr/sbin/keepalived /usr/sbin/releve /usr/bin/genhash /usr/lib/systemd/system/keepalived.service; do [ ! -e $f ] || fail "$f is left"; done
dpkg -P releve >/tmp/out 2>&1 || fail "purge: $(cat /tmp/out)"
is "$(state releve)" "" "state after the purge"
[ ! -e /etc/default/keepalived ] || fail "the purge left the conffile"
is "$(cat /etc/keepalived/keepalived.conf)" "# mine" "the configuration after the purge"
echo "done, keepalived was $had"
`

func TestThePackageIsInstalledUpgradedRemovedAndPurged(t *testing.T) {
	testneed.Need(t, "netns", "overlay")
	for _, tool := range []string{"dpkg-deb", "dpkg", "unshare", "chroot"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	build := exec.Command("../scripts/deb", "0.0.1test", dir)
	build.Env = append(os.Environ(), "DEB_COMPRESSION=gzip")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		t.Fatal(debs)
	}
	if out, err := exec.Command("dpkg-deb", "--info", debs[0]).CombinedOutput(); err != nil || !strings.Contains(string(out), "Conflicts: keepalived") {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "steps"), []byte(steps), 0o644); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-ec", `
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
cp "$2" "$1/root/tmp/releve.deb"
cp "$3" "$1/root/tmp/steps"
exec chroot "$1/root" /bin/sh /tmp/steps /tmp/releve.deb`, "sh", scratch, debs[0], filepath.Join(dir, "steps"))
	out, err := c.CombinedOutput()
	if err != nil || strings.Contains(string(out), "FAILED") || !strings.Contains(string(out), "done, keepalived was ") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
