package confparse

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheStatusOfAConfigurationTest(t *testing.T) {
	with := func(exits ...Exit) (d Diagnostics) {
		for _, e := range exits {
			d = append(d, Diagnostic{Exit: e})
		}
		return d
	}
	for _, c := range []struct {
		name string
		d    Diagnostics
		want int
	}{
		{"nothing to say", nil, 0},
		{"only notes", with(ExitNone, ExitNone), 0},
		{"a complaint", with(ExitNone, ExitConfig), 5},
		{"a fatal one alone", with(ExitFatal), 4},
		{"a complaint beats a fatal one", with(ExitFatal, ExitConfig), 5},
		{"security beats complaints", with(ExitSecurity, ExitConfig), 6},
		{"a stop beats all", with(ExitSecurity, ExitStop, ExitConfig), 2},
	} {
		if got := c.d.ExitCode(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// reported writes files, loads the first and returns the complaints of the source stage and the grammar with those of extra.
func reported(t *testing.T, files map[string]string, extra func(*Source) Diagnostics) (Report, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, diags := Load(filepath.Join(dir, "k.conf"), LoadOptions{})
	_, more := Parse(src)
	diags = append(diags, more...)
	if extra != nil {
		diags = append(diags, extra(src)...)
	}
	return Report{src, diags.Sorted(src)}, dir + "/"
}

func textOf(t *testing.T, r Report, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), dir, "")
}

func TestADiagnosticShowsWhereAndHowItCameIn(t *testing.T) {
	r, dir := reported(t, map[string]string{
		"k.conf": "include a.conf\n",
		"a.conf": "$V= \\\n\tvrrp_instance \"A { \\\n\t}\n\n$V\n",
	}, func(src *Source) Diagnostics {
		return Diagnostics{{Pos: Pos{1, 3, 2}, Severity: Warning, Code: "test", Message: "what is \x1b[31mthis", Suggest: "that", Opened: Pos{1, 2, 2}}}
	})
	want := `a.conf:2:16: error: " without its match on the line [unmatched-quote]
      2 | 	vrrp_instance "A { \
        | 	              ^~~~~~
    included from k.conf:1:9
a.conf:3:2: warning: what is \x1b[31mthis [test]
      3 | 	}
        | 	^
    did you mean "that"?
    the block was opened at a.conf:2:2: vrrp_instance "A { \
    included from k.conf:1:9
a.conf:3:2: error: '}' without a block to close [extra-close-brace]
      3 | 	}
        | 	^
    in $V, used at a.conf:5:1
    included from k.conf:1:9
`
	if got := textOf(t, r, dir); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	for _, c := range []struct {
		name, text string
		extra      Diagnostic
	}{
		{"behind auth_pass", "auth_pass s3cret {\n", Diagnostic{}},
		{"behind a misspelt auth_pass", "aut_pas s3cret {\n", Diagnostic{}},
		{"on one line with other things", "authentication { auth_type PASS auth_pass s3cret } }\n", Diagnostic{}},
		{"in quotes without a match", "auth_pass \"s3cret\n", Diagnostic{}},
		{"in a definition that its name gives away", "$PASSWORD=\"s3cret\n", Diagnostic{}},
		{"where the diagnostic says so", "$X=s3cret\nalpha $X\n", Diagnostic{Pos: Pos{0, 1, 4}, Code: "x", Message: "too long", Secret: true}},
		{"in a list", "~LST(PASS,s3cret,{s3cret,b}) x\n", Diagnostic{}},
		{"in a parameter that is not defined", "auth_pass x${s3cret}\n", Diagnostic{}},
		{"in the block that was opened", "auth_pass s3cret {\n}\n", Diagnostic{Pos: Pos{0, 2, 1}, Code: "x", Message: "m", Opened: Pos{0, 1, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, dir := reported(t, map[string]string{"k.conf": c.text}, func(*Source) Diagnostics {
				if c.extra.Code == "" {
					return nil
				}
				return Diagnostics{c.extra}
			})
			got := textOf(t, r, dir)
			var b bytes.Buffer
			for _, write := range []func(w *bytes.Buffer) error{
				func(w *bytes.Buffer) error { return WriteJSON(w, r) },
				func(w *bytes.Buffer) error { return WriteSARIF(w, r) },
			} {
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
			}
			for _, d := range r.Diagnostics {
				b.WriteString(r.Source.Brief(d))
			}
			if got == "" || strings.Contains(got+b.String(), "s3cret") {
				t.Errorf("got:\n%s\n%s", got, b.String())
			}
		})
	}
}

func TestComplaintsOfASequenceAreNotRepeated(t *testing.T) {
	r, dir := reported(t, map[string]string{"k.conf": "$A= \\\n alpha { \\\n } \\\n }\n~SEQ(I,1,500) $A\n"}, func(src *Source) Diagnostics {
		var d Diagnostics
		for i := range 500 {
			d = append(d, Diagnostic{Pos: Pos{0, 2, 2}, Code: "x", Message: strings.Repeat("x", i)})
		}
		return d
	})
	got := textOf(t, r, dir)
	if n := strings.Count(got, "extra-close-brace"); n != 1 {
		t.Errorf("the same brace %d times", n)
	}
	if n := strings.Count(got, "[x]"); n != maxAlike || !strings.Contains(got, "... and 497 more") {
		t.Errorf("%d of a kind:\n%s", n, got)
	}
}

func TestALongLineIsCutAroundTheCaret(t *testing.T) {
	r, dir := reported(t, map[string]string{"k.conf": "alpha " + strings.Repeat("é", 400) + " \"beta\n"}, nil)
	for _, line := range strings.Split(textOf(t, r, dir), "\n") {
		if len([]rune(line)) > 240 || !strings.HasPrefix(line, "k.conf") && line != "" && !strings.Contains(line, "|") {
			t.Errorf("line %q", line)
		}
	}
}

func TestTheBriefFormIsTheReferences(t *testing.T) {
	r, dir := reported(t, map[string]string{"k.conf": "$A= \\\n } \\\n alpha\n\n$A\n"}, nil)
	if got := strings.ReplaceAll(r.Source.Brief(r.Diagnostics[0]), dir, ""); got != "(k.conf: Line 5) '}' without a block to close" {
		t.Errorf("got %q", got)
	}
	if got := r.Source.Brief(Diagnostic{Message: "all wrong"}); got != "all wrong" {
		t.Errorf("got %q", got)
	}
}

func TestMachinesCanReadTheReport(t *testing.T) {
	r, dir := reported(t, map[string]string{"k.conf": "include a.conf\nalpha {\n", "a.conf": "äß \"beta\n"}, nil)
	var b bytes.Buffer
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var j struct {
		Exit        int
		Diagnostics []struct {
			File, Code string
			Line, Column,
			Exit int
			Chain []struct {
				File string
				Line int
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &j); err != nil {
		t.Fatal(err)
	}
	if j.Exit != 5 || len(j.Diagnostics) != 2 || j.Diagnostics[0].File != dir+"a.conf" || j.Diagnostics[0].Column != 6 ||
		len(j.Diagnostics[0].Chain) != 1 || j.Diagnostics[0].Chain[0].Line != 1 {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := WriteSARIF(&b, r); err != nil {
		t.Fatal(err)
	}
	var s sarifLog
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	res := s.Runs[0].Results
	if s.Version != "2.1.0" || len(res) != 2 || len(s.Runs[0].Tool.Driver.Rules) != 2 || res[0].Locations[0].Physical.Region.StartColumn != 4 ||
		len(res[0].Related) != 1 || res[0].RuleID != "unmatched-quote" {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := WriteJSON(&b, Report{Source: &Source{}}); err != nil || !strings.Contains(b.String(), `"diagnostics": []`) {
		t.Errorf("no complaints: %s, %v", b.String(), err)
	}
}

// What a line does not go with is another line, not the block around it.
func TestADiagnosticShowsTheOtherLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.conf")
	text := "vrrp_instance a {\n  interface eth0\n  virtual_router_id 5\n  virtual_ipaddress {\n    10.0.0.1\n  }\n}\n"
	if err := os.WriteFile(path, []byte(text+strings.ReplaceAll(text, "instance a", "instance b")), 0o600); err != nil {
		t.Fatal(err)
	}
	src, diags := Load(path, LoadOptions{})
	_, more := Check(src, CheckOptions{NoHost: true, Test: true})
	var b strings.Builder
	if err := WriteText(&b, Report{Source: src, Diagnostics: append(diags, more...)}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "the other line is "+path+":3:21: virtual_router_id 5\n") || strings.Contains(got, "opened") {
		t.Error(got)
	}
}
