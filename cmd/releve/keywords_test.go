package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"releve/internal/testneed"
)

func TestPagesPrintedFromTheTablesAreFresh(t *testing.T) {
	for option, path := range map[string]string{
		"--markdown":   "../../docs/keywords.md",
		"--coverage":   "../../docs/coverage.md",
		"--completion": "../../docs/releve.bash",
	} {
		var want, stderr bytes.Buffer
		if status := runKeywords([]string{option}, &want, &stderr); status != 0 {
			t.Fatalf("%s: status %d: %s", option, status, &stderr)
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want.Bytes()) {
			t.Errorf("%s is stale: run go generate ./cmd/releve", path)
		}
	}
}

func TestAKeywordIsExplainedAndAMistypedOneIsGuessed(t *testing.T) {
	var out, stderr bytes.Buffer
	if status := runKeywords([]string{"virtual_router_id"}, &out, &stderr); status != 0 || !bytes.Contains(out.Bytes(), []byte("1..255")) {
		t.Errorf("status %d, output %q", status, &out)
	}
	out.Reset()
	if status := runKeywords([]string{"prioirty"}, &out, &stderr); status != 1 || !bytes.Contains(stderr.Bytes(), []byte("priority")) {
		t.Errorf("status %d, stderr %q", status, &stderr)
	}
}

// The completion is asked as bash asks it.
func TestTheShellCompletes(t *testing.T) {
	testneed.Need(t, "bash")
	const bash = "bash"
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "releve")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"releve ":                       "capture",
		"releve c":                      "check",
		"releve --use":                  "--use-file",
		"releve lab ":                   "shell",
		"releve lab run L1":             "L1b",
		"releve lab run --rep":          "--report",
		"releve check --for":            "--format",
		"releve migrate h":              "heartbeat",
		"releve migrate heartbeat --au": "--authkeys",
		"releve keywords virtual_rou":   "virtual_router_id",
		"releve capture -i ":            "lo",
		"releve man ":                   "keepalived.conf",
		"releve plan --ag":              "--against",
	} {
		words := strings.Split(line, " ")
		quoted := "'" + strings.Join(words, "' '") + "'"
		c := exec.Command(bash, "-c", fmt.Sprintf(`. ../../docs/releve.bash; COMP_WORDS=(%s); COMP_CWORD=%d; _releve %s; echo "${COMPREPLY[@]}"`, quoted, len(words)-1, link))
		c.Env = append(os.Environ(), beReleve+"=1")
		out, err := c.CombinedOutput()
		if err != nil || !slices.Contains(strings.Fields(string(out)), want) {
			t.Errorf("%q: %v, %.200q, want %s", line, err, out, want)
		}
	}
}
