package healthcheck

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patterns are judged by PCRE2 itself (GNU grep -P) where it is installed.
var patterns = []struct {
	pattern, text string
	options       string
	want          bool
}{
	{"hello", "say hello", "", true},
	{"Hello", "say hello", "", false},
	{"Hello", "say hello", "caseless", true},
	{`^b`, "a\nb", "", false},
	{`^b`, "a\nb", "multiline", true},
	{`a.b`, "a\nb", "", false},
	{`a.b`, "a\nb", "dotall", true},
	{`a$`, "a\n", "", true},
	{`a$`, "a\n", "dollar_endonly", false},
	{`a b # comment ( [`, "ab", "extended", true},
	{`a\ b[ ]c`, "a b c", "extended", true},
	{"\\d+ \\w+\\s$", "12 ab_3 ", "", true},
	{`\w`, "\xc3\xa9", "", false},
	{`\bfoo\b`, "a foo b", "", true},
	{`(?<=status: )ok(?! maybe)`, "status: ok then", "", true},
	{`(?<=status: )ok(?! maybe)`, "status: ok maybe", "", false},
	{`(\w)\1`, "bookkeeper", "", true},
	{`(\w)\1`, "abc", "", false},
	{`(?<q>['"])x\k<q>`, `"x"`, "", true},
	{`(?P<q>['"])x(?P=q)`, `"x'`, "", false},
	{`(a)(?<n>b)(c)\3\2`, "abccb", "", true},
	{`(a)(?<n>b)(c)\g{-1}\g{n}\g1`, "abccba", "", true},
	{`a++b`, "aaab", "", true},
	{`a++ab`, "aaab", "", false},
	{`(?:ab)*+a`, "ababa", "", true},
	{`[ab]?+a`, "a", "", false},
	{`a{2}+a`, "aaa", "", true},
	{`(?>a+)ab`, "aaab", "", false},
	{`\Qa.b*\E+`, "xa.b**", "", true},
	{`\Qa.b`, "axb", "", false},
	{`a\h+b`, "a \tb", "", true},
	{`a\Hb`, "a b", "", false},
	{`a\Rb`, "a\r\nb", "", true},
	{`a\Nb`, "axb", "", true},
	{`foo\Kbar`, "foobar", "", true},
	{`[[:alpha:]]+[[:^digit:]]`, "ab!", "", true},
	{`[]x]+y`, "]xy", "", true},
	{`[^]x]y`, "]y", "", false},
	{`[a-z-[aeiou]]`, "a]", "", true},
	{`[\w-]+@`, "a-b@", "", true},
	{`[\d\-x]`, "-", "", true},
	{`[[:space:][:digit:]]{2}`, " 4", "", true},
	{`[a\]b]c`, "]c", "", true},
	{`[\Qa-c\E]z`, "bz", "", false},
	{`x{,3}`, "x{,3}", "", true},
	{`x{2,3}$`, "xxx", "", true},
	{`\x41\x{42}\103\o{104}`, "ABCD", "", true},
	{`\cA\e`, "\x01\x1b", "", true},
	{`(?i)HELLO`, "hello", "", true},
	{`(?i:H)ello`, "hello", "", true},
	{`(?(?=a)ab|cd)`, "cd", "", true},
	{`(a)?(?(1)b|c)`, "c", "", true},
	{`^(?<x>a)?(?(<x>)b|c)$`, "ab", "", true},
	{`a(?#note ( )b`, "ab", "", true},
	{`\pL\p{Lu}\P{^Lu}`, "aBC", "", true},
	{`a|b|`, "", "", true},
	{`\/\-\.\:`, "/-.:", "", true},
	{`a{`, "a{", "", true},
	{"\xc3\xa9", "caf\xc3\xa9", "", true},
	{`caf.$`, "caf\xc3\xa9", "", false},
	{`a.+?b`, "axbxb", "", true},
}

func TestPatterns(t *testing.T) {
	for _, c := range patterns {
		r := &Regex{Pattern: c.pattern, Options: strings.Fields(c.options)}
		p, err := compilePattern(r)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if err := p.match([]byte(c.text)); (err == nil) != c.want {
			t.Errorf("%q %s in %q: got %v, want match %v", c.pattern, c.options, c.text, err, c.want)
		}
		r.NoMatch = true
		if p, _ = compilePattern(r); (p.match([]byte(c.text)) == nil) == c.want {
			t.Errorf("%q in %q: regex_no_match does not turn it around", c.pattern, c.text)
		}
	}
}

func TestPatternsAgainstPCRE2(t *testing.T) {
	if out, err := exec.Command("grep", "-P", "-q", "a(?=b)", "/dev/null").CombinedOutput(); err == nil || len(out) > 0 {
		t.Skip("needs a GNU grep with -P")
	}
	for _, c := range patterns {
		flags := map[string]string{"": "", "caseless": "(?i)", "dotall": "(?s)", "multiline": "(?m)"}
		flag, ok := flags[c.options]
		if !ok || strings.Contains(c.pattern, "\xc3") || c.pattern == `^b` || strings.HasSuffix(c.pattern, "$") || c.text == "" {
			continue // grep -z has its own mind about lines
		}
		g := exec.Command("grep", "-z", "-P", "-q", "-e", flag+c.pattern)
		g.Env = []string{"LC_ALL=C"}
		g.Stdin = strings.NewReader(c.text)
		err := g.Run()
		if code := g.ProcessState.ExitCode(); code > 1 {
			t.Logf("%q: grep does not take it: %v", c.pattern, err)
		} else if (code == 0) != c.want {
			t.Errorf("%q in %q: PCRE2 says match %v", c.pattern, c.text, code == 0)
		}
	}
}

func TestPatternOffsets(t *testing.T) {
	text := "HTTP/1.1 200 OK\r\n\r\nline one\nline two"
	for name, c := range map[string]struct {
		r    Regex
		want bool
	}{
		"no offsets":                               {Regex{Pattern: "two"}, true},
		"a match behind the minimum":               {Regex{Pattern: "line", MinOffset: 20}, true},
		"no match behind the minimum":              {Regex{Pattern: "one", MinOffset: 30}, false},
		"a minimum behind the text":                {Regex{Pattern: "", MinOffset: 1000}, false},
		"look-behind sees what is before it":       {Regex{Pattern: "(?<=line )two", MinOffset: 33}, true},
		"a match that starts before the maximum":   {Regex{Pattern: "line two", MaxOffset: 28}, true},
		"a match that starts behind the maximum":   {Regex{Pattern: "line two", MaxOffset: 27}, false},
		"firstline: in the first":                  {Regex{Pattern: "200", Options: []string{"firstline"}}, true},
		"firstline: not in the first":              {Regex{Pattern: "one", Options: []string{"firstline"}}, false},
		"offsets are bytes with utf too":           {Regex{Pattern: "two", Options: []string{"utf"}, MaxOffset: 33}, true},
		"ungreedy":                                 {Regex{Pattern: "(l.+n)e o", Options: []string{"ungreedy", "dotall"}}, true},
		"no_auto_capture leaves names":             {Regex{Pattern: `(i)(?<x>n)e.*\k<x>`, Options: []string{"no_auto_capture", "dotall"}}, true},
		"options without a meaning here are taken": {Regex{Pattern: "two", Options: []string{"no_start_optimize", "NEVER_UTF"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := compilePattern(&c.r)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.match([]byte(text)); (err == nil) != c.want {
				t.Errorf("got %v, want match %v", err, c.want)
			}
		})
	}
	p, err := compilePattern(&Regex{Pattern: "é$", Options: []string{"utf"}, MinOffset: 3, MaxOffset: 3})
	if err != nil || p.match([]byte("cafés é")) == nil || p.match([]byte("café")) != nil {
		t.Errorf("utf: %v", err)
	}
}

func TestPatternsThatCannotBe(t *testing.T) {
	for _, c := range []struct{ pattern, options, want string }{
		{"(", "", "regex \"(\": "}, {"a)", "", ""}, {"[a", "", "missing ] of a class"}, {`a\`, "", `\ at the end`}, {"*a", "", ""},
		{"(?R)", "", "recursion"}, {"(?1)", "", "recursion"}, {"(?&x)", "", "recursion"}, {"(*FAIL)", "", "verb (*FAIL)"}, {`\X`, "", "not supported"},
		{`\k<no>`, "", `no group named "no"`}, {"a", "alt_bsux", `regex option "alt_bsux" is not supported`}, {`\C`, "never_backslash_c", "forbidden"},
		{"(?U)a", "", "flag"}, {`[[:bogus:]]`, "", "unknown class [:bogus:]"}, {`\x{110000}`, "", "not supported"}, {`\g{-1}`, "", "no group"}, {`\y`, "", "not known"},
	} {
		_, err := compilePattern(&Regex{Pattern: c.pattern, Options: strings.Fields(c.options)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.pattern, err, c.want)
		}
	}
}

func TestHostilePatternsEnd(t *testing.T) {
	for _, pattern := range []string{`(a*)*b`, `(a|a)*b`, `(.*)(.*)(.*)(.*)(.*)x`, `(a+)+$`, `^(([a-z])+.)+[A-Z]([a-z])+$`} {
		p, err := compilePattern(&Regex{Pattern: pattern})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := p.match([]byte(strings.Repeat("a", 3000) + "!")); err != errSlowMatch && err != errNoMatch {
			t.Errorf("%s: %v", pattern, err)
		}
		if d := time.Since(begin); d > 20*matchTime {
			t.Errorf("%s took %v", pattern, d)
		}
	}
}

func TestTheHeaderIsSearchedOnlyWhenItCameWithTheBody(t *testing.T) {
	header, body := "HTTP/1.1 200 OK\r\nX-Mark: here\r\n\r\n", "hello"
	for name, c := range map[string]struct {
		answer play
		regex  Regex
		want   string
	}{
		"together, in the header":            {say(header + body), Regex{Pattern: "X-Mark"}, "good"},
		"apart, in the header":               {pieces(30*time.Millisecond, header, body), Regex{Pattern: "X-Mark"}, "regex did not match"},
		"apart, in the body":                 {pieces(30*time.Millisecond, header, body), Regex{Pattern: "^hello$"}, "good"},
		"together, offsets from the header":  {say(header + body), Regex{Pattern: "hello", MinOffset: len(header)}, "good"},
		"together, behind the body":          {say(header + body), Regex{Pattern: "hello", MinOffset: len(header) + 1}, "regex did not match"},
		"regex_no_match and it is there":     {say(header + body), Regex{Pattern: "hel+o", NoMatch: true}, "regex matched"},
		"a body that is longer than is kept": {say(header + strings.Repeat("x", maxText) + "end"), Regex{Pattern: "end"}, "regex did not match"},
		"no body":                            {say(header), Regex{Pattern: "X-Mark"}, "regex did not match"},
		"no body and an empty pattern":       {say(header), Regex{Pattern: ""}, "regex did not match"},
		"no body and regex_no_match":         {say(header), Regex{Pattern: "x", NoMatch: true}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			verdict(t, check(t, get(serve(t, c.answer), URL{Regex: &c.regex})), c.want)
		})
	}
}

func FuzzPattern(f *testing.F) {
	for _, c := range patterns {
		f.Add(c.pattern, c.text)
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 200 || len(text) > 1000 {
			return
		}
		for _, o := range [][]string{nil, {"utf", "extended", "ungreedy"}} {
			if p, err := compilePattern(&Regex{Pattern: pattern, Options: o}); err == nil {
				_ = p.match([]byte(text))
			}
		}
	})
}
