package confparse

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the cases under testdata/confparse give instead of comparing it")

// languageCase is a file of testdata/confparse/language: a comment, files between `-- name --` lines, of which the first is loaded,
// and then what is expected, `-- tree --` and `-- diagnostics --`.
type languageCase struct {
	path, comment     string
	names             []string
	files             map[string]string
	tree, diagnostics string
}

var separator = regexp.MustCompile(`(?m)^-- (.+) --\n`)

func readCase(t *testing.T, path string) *languageCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &languageCase{path: path, files: map[string]string{}}
	marks := separator.FindAllSubmatchIndex(data, -1)
	if len(marks) == 0 {
		t.Fatalf("%s holds no file", path)
	}
	c.comment = string(data[:marks[0][0]])
	for i, m := range marks {
		end := len(data)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		switch name, body := string(data[m[2]:m[3]]), string(data[m[1]:end]); name {
		case "tree":
			c.tree = body
		case "diagnostics":
			c.diagnostics = body
		default:
			c.names = append(c.names, name)
			c.files[name] = body
		}
	}
	return c
}

// place writes the files of the case into a folder and returns the first.
func (c *languageCase) place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range c.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, c.names[0])
}

func languageCases(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../testdata/confparse/language/*.txt")
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d cases found, %v", len(paths), err)
	}
	return paths
}

func TestEachRuleOfTheLanguage(t *testing.T) {
	for _, path := range languageCases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			c := readCase(t, path)
			file := c.place(t)
			src, diags := Load(file, LoadOptions{ConfigID: "main"})
			tree, more := Parse(src)
			var b strings.Builder
			dumpTree(&b, tree, 0)
			gotTree, gotDiags := b.String(), dumpDiagnostics(src, append(diags, more...), filepath.Dir(file))
			if *update {
				c.write(t, gotTree, gotDiags)
				return
			}
			if gotTree != c.tree {
				t.Errorf("tree\ngot:\n%swant:\n%s", gotTree, c.tree)
			}
			if gotDiags != c.diagnostics {
				t.Errorf("diagnostics\ngot:\n%swant:\n%s", gotDiags, c.diagnostics)
			}
		})
	}
}

func (c *languageCase) write(t *testing.T, tree, diags string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(c.comment)
	for _, name := range c.names {
		fmt.Fprintf(&b, "-- %s --\n%s", name, c.files[name])
	}
	fmt.Fprintf(&b, "-- tree --\n%s-- diagnostics --\n%s", tree, diags)
	if err := os.WriteFile(c.path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dumpDiagnostics writes diagnostics a line each, with how their place came in.
func dumpDiagnostics(src *Source, diags Diagnostics, dir string) string {
	var b strings.Builder
	place := func(p Pos) string {
		return fmt.Sprintf("%s:%d:%d", strings.TrimPrefix(src.Name(p), dir+"/"), p.Line, p.Col)
	}
	for _, d := range diags.Sorted(src) {
		if d.Pos.IsValid() {
			b.WriteString(place(d.Pos) + " ")
		}
		fmt.Fprintf(&b, "%s %d %s: %s", d.Severity, d.Exit, d.Code, strings.ReplaceAll(d.Message, dir+"/", ""))
		for _, l := range src.Chain(d.Pos) {
			if l.Param != "" {
				fmt.Fprintf(&b, " < $%s %s", l.Param, place(l.Pos))
			} else {
				fmt.Fprintf(&b, " < %s", place(l.Pos))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
