package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"releve/confparse"
	"releve/internal/testneed"
)

func page(t *testing.T, name string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run([]string{"releve", "man", name}, &out, &errs); status != 0 || errs.Len() > 0 {
		t.Fatalf("status %d, %q", status, &errs)
	}
	return out.String()
}

func TestManualPagesHoldEveryOptionCommandAndKeyword(t *testing.T) {
	releve := page(t, "releve")
	for _, o := range options {
		if !strings.Contains(releve, escape("--"+o.long)) {
			t.Errorf("releve(8) has no --%s", o.long)
		}
	}
	for _, s := range subcommands {
		if !strings.Contains(releve, "releve "+s.name+"\n") {
			t.Errorf("releve(8) has no command %s", s.name)
		}
	}
	conf := page(t, "keepalived.conf")
	for _, table := range confparse.Tables() {
		for i := range table.Rows() {
			if !strings.Contains(conf, "\n.B "+escape(table.Rows()[i].Name)) {
				t.Errorf("keepalived.conf(5) has no %s", table.Rows()[i].Name)
			}
		}
	}
	if !strings.Contains(page(t, "genhash"), escape("--use-virtualhost")) {
		t.Error("genhash(1) has no --use-virtualhost")
	}
}

func TestManualPagesAreGoodRoff(t *testing.T) {
	testneed.Need(t, "groff")
	for _, name := range []string{"releve", "genhash", "keepalived.conf"} {
		cmd := exec.Command("groff", "-man", "-Tutf8", "-ww")
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = strings.NewReader(page(t, name)), &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("%s: %v %s", name, err, &errs)
		}
	}
}
