package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLabSaysWhatItTakes(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"list", 0, "demo ", ""},
		{"-h", 0, "releve lab run demo", ""},
		{"run -h", 0, "Options of run:", ""},
		{"", 2, "", "list, show, run, shell or down?"},
		{"run", 2, "", "releve lab run demo|chaos|NAME|FILE"},
		{"lsit", 2, "", "did you mean list?"},
		{"shell L1", 2, "", "releve lab shell NAME HOST [COMMAND ...]"},
		{"list --report x", 2, "", "--report is an option of releve lab run"},
		{"run demo --report x", 2, "", "--report: that is for chaos and exercises, not for demo"},
		{"run L1 --seed 3", 2, "", "--seed: that is for chaos, not for L1"},
		{"run chaos --pause", 2, "", "--pause: that is for the demo and exercises, not for chaos"},
		{"run chaos --duration 0s", 2, "", "want a time above 0"},
		{"run other", 2, "", `no exercise "other"; there are demo, chaos, L1`},
		{"run demo --patience 0", 2, "", "want a number above 0"},
		{"run demo --nonsense", 2, "", "unknown flag: --nonsense"},
	} {
		var out, errs bytes.Buffer
		status := run(append([]string{"releve", "lab"}, strings.Fields(c.args)...), &out, &errs)
		if status != c.status || !strings.Contains(out.String(), c.stdout) || !strings.Contains(errs.String(), c.stderr) {
			t.Errorf("releve lab %s: status %d, stdout %q, stderr %q", c.args, status, out.String(), errs.String())
		}
	}
}

// What a lab in the virtual machine reports comes out of it as an archive among its lines, which are passed on without it.
func TestAReportComesOutOfTheVirtualMachine(t *testing.T) {
	src, to := t.TempDir(), filepath.Join(t.TempDir(), "new", "report")
	if err := os.WriteFile(filepath.Join(src, "report.txt"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "printf 'before\\r\\nthe report is in /guest/x\\n'; echo '" + archiveBegins + "'; tar -c -C '" + src + "' . | gzip | base64; echo '" + archiveEnds + "'; echo after"
	text, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	u := &unpacker{out: &out, from: "/guest", to: to}
	for chunk := range slices.Chunk(text, 7) {
		if _, err := u.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.into(to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "report.txt")); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	if want := "before\r\nthe report is in " + to + "/x\nafter\n"; out.String() != want {
		t.Errorf("lines %q, want %q", out.String(), want)
	}
}
