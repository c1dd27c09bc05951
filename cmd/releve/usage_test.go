package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWrongOptionsEndWithStatus2InEverySubcommand: a script can tell a typing error of its own from what the command found.
func TestWrongOptionsEndWithStatus2InEverySubcommand(t *testing.T) {
	words := map[string][]string{ // what each takes for wrong besides an unknown option
		"capture":  {"", "-i", "-i lo word", "-i lo --color=x"},
		"check":    {"", "--format=x /dev/null", "--pair /dev/null", "- -"},
		"config":   {"", "dump", "dmup /dev/null", "dump --format=x /dev/null"},
		"fmt":      {"-w", "-l", "- -"},
		"genhash":  {"", "-s x -p 80 -u /", "-s 127.0.0.1 -p 0 -u /"},
		"keywords": {"--markdown=x"},
		"lab":      {"", "dmeo", "show", "list word", "run L1 --patience=0", "list --pause"},
		"lvs":      {"word", "--json -S", "--plane=x"},
		"man":      {"", "ls", "releve genhash"},
		"migrate":  {"", "ipvsadm a b", "heartbeat --auth=x"},
		"plan":     {"a b", "--no-daemon", "--against=-  -", "--against=/dev/null --no-daemon /dev/null"},
		"probe":    {"", "a b c d"},
		"reload":   {"word"},
		"status":   {"word"},
		"why":      {"--json=x"},
	}
	for _, s := range subcommands {
		for _, w := range append(words[s.name], "--nonsense", "-~") {
			var out, errs bytes.Buffer
			status := run(append([]string{"releve", s.name}, strings.Fields(w)...), &out, &errs)
			said := errs.String()
			if status != 2 || out.Len() > 0 || !strings.HasPrefix(said, "releve "+s.name+": ") || !strings.HasSuffix(said, "(releve "+s.name+" --help says more)\n") {
				t.Errorf("releve %s %s: status %d, stdout %q, stderr %q", s.name, w, status, &out, said)
			}
		}
		if _, known := words[s.name]; !known {
			t.Errorf("what does releve %s take for wrong?", s.name)
		}
		var out, errs bytes.Buffer
		if status := run([]string{"releve", s.name, "--help"}, &out, &errs); status != 0 || errs.Len() > 0 || !strings.HasPrefix(out.String(), "Usage: releve "+s.name) {
			t.Errorf("releve %s --help: status %d, stdout %.80q, stderr %q", s.name, status, &out, &errs)
		}
		if !strings.Contains(out.String(), "Exit status") && s.name != "man" {
			t.Errorf("releve %s --help does not say its exit statuses", s.name)
		}
	}
	// The faces that have a reference end as that does.
	for _, argv := range []string{"keepalived --nonsense", "keepalived -S", "releve --nonsense", "genhash --nonsense", "keepalived --genhash --nonsense"} {
		var out, errs bytes.Buffer
		if status := run(strings.Fields(argv), &out, &errs); status != 1 || errs.Len() == 0 {
			t.Errorf("%s: status %d, stderr %q", argv, status, &errs)
		}
	}
}
