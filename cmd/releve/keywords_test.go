package main

import (
	"bytes"
	"os"
	"slices"
	"testing"
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

func TestTheShellCompletesEverySubcommand(t *testing.T) {
	var names []string
	for _, c := range subcommands {
		names = append(names, c.name)
	}
	slices.Sort(names)
	if !slices.Equal(names, completed) {
		t.Errorf("completed %q, subcommands %q", completed, names)
	}
}
