package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// caseFile is a configuration and what is expected of it: after a line `--- diagnostics` one line each, as caseLine writes them;
// after `--- dump` lines that the dump holds in that order; after `--- 2.2.7` why the installed reference says something else.
type caseFile struct {
	path, config, apart string
	diags, dump         []string
}

func readCaseFile(t *testing.T, path string) *caseFile {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &caseFile{path: path}
	part := ""
	for _, l := range strings.SplitAfter(string(text), "\n") {
		s := strings.TrimRight(l, "\n")
		if name, ok := strings.CutPrefix(s, "--- "); ok {
			part = name
			continue
		}
		switch part {
		case "":
			c.config += l
		case "diagnostics":
			if s != "" {
				c.diags = append(c.diags, s)
			}
		case "dump":
			if s != "" {
				c.dump = append(c.dump, strings.TrimSpace(s))
			}
		case "2.2.7":
			c.apart += s
		default:
			t.Fatalf("%s: unknown part %q", path, part)
		}
	}
	return c
}

// caseLine is a diagnostic as the cases have it: place, code, exit code, and the suggestion.
func caseLine(d Diagnostic) string {
	s := fmt.Sprintf("%d:%d %s %d", d.Pos.Line, d.Pos.Col, d.Code, d.Exit)
	if d.Suggest != "" {
		s += " => " + d.Suggest
	}
	return s
}

func (c *caseFile) write(t *testing.T, lines []string) {
	t.Helper()
	s := c.config + "--- diagnostics\n"
	for _, l := range lines {
		s += l + "\n"
	}
	if len(c.dump) > 0 {
		s += "--- dump\n" + strings.Join(c.dump, "\n") + "\n"
	}
	if c.apart != "" {
		s += "--- 2.2.7\n" + c.apart + "\n"
	}
	if err := os.WriteFile(c.path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

// caseMachine has eth0 to eth3, mute0 without multicast, and /usr/bin/true.
func caseMachine() *Machine {
	return fakeMachine([]string{"eth0", "eth1", "eth2", "eth3", "mute0"}, []string{"/usr/bin/true"})
}

func caseFiles(t *testing.T, dir string, least int) []*caseFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../testdata/confparse", dir, "*.txt"))
	if err != nil || len(paths) < least {
		t.Fatalf("%d files in %s, want at least %d: %v", len(paths), dir, least, err)
	}
	var out []*caseFile
	for _, p := range paths {
		out = append(out, readCaseFile(t, p))
	}
	return out
}

func (c *caseFile) check(t *testing.T) (*Config, Diagnostics) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(path, []byte(c.config), 0o644); err != nil {
		t.Fatal(err)
	}
	s, d := Load(path, LoadOptions{ConfigID: "host"})
	cfg, more := Check(s, CheckOptions{Test: true, Machine: caseMachine()})
	return cfg, append(d, more...).Sorted(s)
}

func runCases(t *testing.T, dir string, least int) {
	for _, c := range caseFiles(t, dir, least) {
		t.Run(strings.TrimSuffix(filepath.Base(c.path), ".txt"), func(t *testing.T) {
			cfg, diags := c.check(t)
			var lines []string
			for _, d := range diags {
				lines = append(lines, caseLine(d))
			}
			if *update {
				c.write(t, lines)
				return
			}
			if !slices.Equal(lines, c.diags) {
				t.Errorf("diagnostics\ngot  %q\nwant %q", lines, c.diags)
			}
			rest := strings.Split(dumpText(t, cfg), "\n")
			for _, want := range c.dump {
				i := slices.IndexFunc(rest, func(l string) bool { return strings.TrimSpace(l) == want })
				if i < 0 {
					t.Errorf("the dump does not hold %q behind the lines before it", want)
					break
				}
				rest = rest[i+1:]
			}
		})
	}
}

func TestBlocksFitTogetherOrItIsSaid(t *testing.T) { runCases(t, "cases", 75) }

func TestMistakesOfRealLifeAreFoundAtTheirPlace(t *testing.T) { runCases(t, "mistakes", 60) }

func TestTheInstalledReferenceJudgesTheCasesAlike(t *testing.T) {
	testneed.Need(t, "root", "netns", "ip", "keepalived")
	files := append(caseFiles(t, "cases", 75), caseFiles(t, "mistakes", 60)...)
	var texts []string
	for _, c := range files {
		texts = append(texts, c.config)
	}
	for i, want := range runReference(t, texts) {
		_, d := files[i].check(t)
		got := d.ExitCode()
		switch {
		case got != want && files[i].apart == "":
			t.Errorf("%s: got %d, the reference says %d: %v", files[i].path, got, want, short(d))
		case got == want && files[i].apart != "":
			t.Errorf("%s: equal, but %q", files[i].path, files[i].apart)
		}
	}
}
