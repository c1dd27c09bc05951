package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o640), os.Chmod(path, 0o640)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

const soundConfig = `vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        192.0.2.10/24
    }
}
`

func TestCheck(t *testing.T) {
	sound := writeFile(t, "sound.conf", soundConfig)
	typo := writeFile(t, "typo.conf", strings.Replace(soundConfig, "virtual_router_id", "virtual_ruoter_id", 1))
	odd := writeFile(t, "odd.conf", soundConfig+"zeppelin\n")
	for _, c := range []struct {
		name   string
		args   []string
		status int
		out    []string // what the output holds
		err    string
	}{
		{"a sound file", []string{"--no-host", sound}, 0, nil, ""},
		{"a typing error", []string{"--no-host", typo}, 5, []string{
			typo + ":3:5: error:", "virtual_ruoter_id 51\n        |     ^~~~~~~~~~~~~~~~~", `did you mean "virtual_router_id"?`, "[unknown-keyword]"}, ""},
		{"two files", []string{"--no-host", sound, typo}, 5, []string{typo + ":3:5:"}, ""},
		{"codes that are silenced", []string{"--no-host", "--disable", "x,unknown-keyword", odd}, 0, nil, ""},
		{"a file that does not exist", []string{sound + "x"}, 5, []string{"[config-missing]"}, ""},
		{"no file", nil, 2, nil, "name a file"},
		{"an unknown format", []string{"--format=xml", sound}, 2, nil, `want text, json or sarif`},
		{"an unknown option", []string{"--nohost", sound}, 2, nil, "unknown flag: --nohost"},
		{"help", []string{"--help"}, 0, []string{"Usage: releve check", "--no-host"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := runCheck(c.args, &out, &errs)
			if status != c.status {
				t.Errorf("status %d, want %d\n%s%s", status, c.status, out.String(), errs.String())
			}
			for _, want := range c.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if !strings.Contains(errs.String(), c.err) || c.err == "" && errs.Len() > 0 {
				t.Errorf("errors %q, want %q", errs.String(), c.err)
			}
		})
	}
}

func TestCheckSpeaksToMachines(t *testing.T) {
	typo := writeFile(t, "typo.conf", "alpha\n")
	for _, format := range []string{"json", "sarif"} {
		var out, errs bytes.Buffer
		if status := runCheck([]string{"--no-host", "--format", format, typo}, &out, &errs); status != 5 {
			t.Errorf("%s: status %d", format, status)
		}
		var v map[string]any
		if err := json.Unmarshal(out.Bytes(), &v); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestFmt(t *testing.T) {
	messy, neat := "a {\nb 1\n}\n", "a {\n    b 1\n}\n"
	file, good := writeFile(t, "messy.conf", messy), writeFile(t, "neat.conf", neat)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var out, errs bytes.Buffer
	run := func(want int, args ...string) string {
		t.Helper()
		out.Reset()
		errs.Reset()
		if status := runFmt(args, &out, &errs); status != want {
			t.Errorf("%q: status %d, want %d: %s", args, status, want, errs.String())
		}
		return out.String()
	}
	if got := run(0, file); got != neat || read(file) != messy {
		t.Errorf("printed %q; the file is %q", got, read(file))
	}
	if got := run(1, "-l", file, good); got != file+"\n" {
		t.Errorf("listed %q", got)
	}
	link := filepath.Join(t.TempDir(), "link.conf")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if got := run(0, "-w", link, good); got != "" || read(file) != neat {
		t.Errorf("printed %q; the file is %q", got, read(file))
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v %v", info, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode changed: %v %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".releve*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if got := run(0, "-l", file, good); got != "" {
		t.Errorf("listed %q", got)
	}
	run(2, "-w")
	run(1, file+"x")
	run(1, filepath.Dir(file))
	run(2, "--nonsense")
	if got := run(0, "--help"); !strings.Contains(got, "Usage: releve fmt") {
		t.Errorf("help %q", got)
	}
}

func TestAConfigurationThatIsNotThereIsNotDumped(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run([]string{"releve", "config", "dump", "/nonexistent/x.conf"}, &out, &errs); status != 5 || out.Len() > 0 || !strings.Contains(errs.String(), "no configuration file matches") {
		t.Errorf("status %d, stdout %q, stderr %q", status, &out, &errs)
	}
}

func TestCommandsAreNamedAndGuessed(t *testing.T) {
	for _, c := range []struct {
		args        string
		status      int
		stdout, say string
	}{
		{"help", 0, "Commands:", ""},
		{"--help", 0, "Commands:", ""},
		{"help capture", 0, "Usage: releve capture", ""},
		{"version", 0, "Keepalived v", ""},
		{"lba", 2, "", `there is no command "lba"; did you mean lab?`},
		{"help cpature", 2, "", "did you mean capture?"},
		{"zzz", 2, "", `there is no command "zzz"`},
		{"reload --help", 0, "Usage: releve reload", ""},
		{"status --help", 0, "Usage: releve status", ""},
		{"plan --help", 0, "Usage: releve plan", ""},
		{"man --help", 0, "Usage: releve man", ""},
		{"status --nonsense", 2, "", "unknown flag: --nonsense (releve status --help says more)"},
		{"probe " + writeFile(t, "none.conf", soundConfig), 2, "", "the file has no health checks"},
	} {
		var out, errs bytes.Buffer
		status := run(append([]string{"releve"}, strings.Fields(c.args)...), &out, &errs)
		if status != c.status || !strings.Contains(out.String(), c.stdout) || !strings.Contains(errs.String(), c.say) || strings.Count(errs.String(), "\n") > 1 {
			t.Errorf("releve %s: status %d, stdout %.200q, stderr %q", c.args, status, &out, &errs)
		}
	}
}
