package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// The units are run by systemd itself, as process 1 of new namespaces: start, reload, broken files, killed parts, restart, stop, the
// watchdog; with our units of both types and, where it is installed, the one that the reference's package comes with.
func TestC15UnitsUnderSystemd(t *testing.T) {
	testneed.Need(t, "netns", "systemd", "overlay")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		filepath.Join(bin, "releve"):              "bin/releve",
		"../packaging/keepalived.service":         "bin/keepalived.service",
		"../packaging/keepalived-forking.service": "bin/keepalived-forking.service",
		"/lib/systemd/system/keepalived.service":  "bin/reference.service",
		"testdata/systemd-units.sh":               "script",
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			if strings.HasPrefix(from, "/lib") {
				continue
			}
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "testdata/systemd.sh", scratch, filepath.Join(dir, "script")).CombinedOutput()
	if err != nil {
		t.Errorf("systemd: %v", err)
	}
	t.Logf("%s", out)
	if !strings.HasSuffix(string(out), "\ndone\n") || strings.Contains(string(out), "FAILED ") {
		t.Error("not everything is well")
	}
}
