package main

import (
	"bytes"
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
		{"", 2, "", "Usage:"},
		{"run", 2, "", "Usage:"},
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
