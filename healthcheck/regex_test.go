package healthcheck

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"releve/healthcheck/pcre"
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
	{`y{2,3}$`, "yyy", "", true},
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
	{`^X(\((?:[^()]|(?1))*\))`, "X(a(b)c)", "", true},
	{`^X(\((?:[^()]|(?1))*\))$`, "X(a(b c)", "", false},
	{`(?|h(e)|w(o))l+\1`, "hello helle", "", true},
	{`(?|h(e)|w(o))l+o\1`, "hello", "", false},
	{`^(?:(.)(?=.*(\1)))+`, "abcabc", "", true},
	{`^((.)(?1)\2|.?)$`, "abcba", "", true},
	{`^((.)(?1)\2|.?)$`, "abcbx", "", false},
	{`(?<n>a|b(?&n)c)$`, "xbbaccy", "", false},
	{`\Aa(?:b|(*ACCEPT))c`, "ad", "", true},
	{`a(*COMMIT)b`, "acab", "", false},
	{`a(*PRUNE)b`, "acab", "", true},
	{`a+(*SKIP)b`, "aaac ab", "", true},
	{`^.*?(?:a(*THEN)b|c)`, "ac", "", true},
	{`(?(DEFINE)(?<d>\d+))x(?&d)y`, "x12y", "", true},
	{`^(a)?(?(1)b|c)$`, "ab", "", true},
	{`(?(?!a)b|ac)`, "ac", "", true},
	{`(?U)a.+b`, "axbxb", "", true},
	{`(?^)A`, "a", "caseless", false},
	{`(?i)(a)\1`, "aA", "", true},
	{`(a{2,3}){2}b`, "aaaab", "", true},
	{`(?:a|ab){3}c`, "aabac", "", true},
	{`(?:)*x`, "x", "", true},
	{`(a*)+b`, "aab", "", true},
	{`(?<!a)b`, "ab", "", false},
	{`(?<=ab|cd)e`, "xcde", "", true},
	{`(?<=(?<!x)a)b`, "xab", "", false},
	{`\Xb`, "ab", "", true},
	{`h\u0065llo`, "hello", "alt_bsux", true},
	{`h\x6llo`, "hx6llo", "alt_bsux", true},
	{`[]x]hello`, "]hello", "allow_empty_class", false},
	{`hello|[]`, "hello", "allow_empty_class", true},
	{`a[^]b`, "a\nb", "allow_empty_class", true},
	{`(x)?hello\1 w`, "hello w", "match_unset_backref", true},
	{`(x)?hello\1 w`, "hello w", "", false},
	{`a b [ ] c`, "ab c", "extended", true},
	{`\x{e9}\w`, "\xe9a", "", true},
	{`(?:\x{e9}|e)$`, "caf\xc3\xa9", "utf", true},
	{`^caf.$`, "caf\xc3\xa9", "utf", true},
	{`É`, "é", "utf caseless", true},
	{`\bé\b`, "a é b", "utf ucp", true},
	{`\p{Greek}+\P{Greek}`, "αβγ ", "utf", true},
	{`(?<=é.)x`, "éax", "utf", true},
	{`^\X$`, "e\u0301", "utf", true},
	{`(*CRLF)^b`, "a\r\nb", "multiline", true},
	{`(*ANYCRLF)a.b`, "a\rb", "", false},
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
		{"(", "", "regex \"(\": missing )"}, {"a)", "", "unmatched )"}, {"[a", "", "missing ] of a class"}, {`a\`, "", `\ at the end`}, {"*a", "", "quantifier"},
		{"(?2)(a)", "", "no group 2"}, {"(?&x)", "", `no group named "x"`}, {"(*NONE)", "", "verb (*NONE) is not known"}, {"(?<=a+)b", "", "not fixed length"},
		{`\k<no>`, "", `no group named "no"`}, {"a", "bogus", `option "bogus" is not known`}, {`\C`, "never_backslash_c", "forbidden"}, {"(*UTF)a", "never_utf", "forbidden"},
		{"(?Y)a", "", "(?Y is not known"}, {`[[:bogus:]]`, "", "unknown class [:bogus:]"}, {`\x{110000}`, "utf", "too large"}, {`\x{100}`, "", "too large"}, {`\g{-1}`, "", "no group"},
		{`\y`, "", "not known"}, {"[z-a]", "", "out of order"}, {"a{2,1}", "", "out of order"}, {"(?<n>a)(?<n>b)", "", "two groups"}, {strings.Repeat("(", 300), "", "nested"},
		{"(?(1)a|b|c)(x)", "", "too many branches"}, {`\p{Bogus}`, "", "property"}, {"a**", "", ""}, {"(?1", "", "missing"},
	} {
		_, err := compilePattern(&Regex{Pattern: c.pattern, Options: strings.Fields(c.options)})
		if c.want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.pattern, err, c.want)
		}
	}
}

func TestHostilePatternsEnd(t *testing.T) {
	for pattern, want := range map[string]error{`(a*)*b`: pcre.ErrSteps, `(a|a)*b`: pcre.ErrSteps, `(.*)(.*)(.*)(.*)(.*)x`: pcre.ErrSteps, `(a+)+$`: pcre.ErrSteps,
		`^(([a-z])+.)+[A-Z]([a-z])+$`: pcre.ErrSteps, `(?1)(a|b(?1))`: nil, `(a?(?1))`: pcre.ErrRecursion, `(?:(a|b)*)*c`: pcre.ErrSteps} {
		p, err := compilePattern(&Regex{Pattern: pattern})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := p.match([]byte(strings.Repeat("a", 3000) + "!")); !errors.Is(err, want) && err != errNoMatch {
			t.Errorf("%s: %v, want %v", pattern, err, want)
		}
		t.Logf("%s: %v", pattern, time.Since(begin))
	}
	// A stack that grows with the text: bounded, and more if more is asked for.
	for stack, want := range map[int]error{0: pcre.ErrMemory, 64 << 20: nil} {
		p, err := compilePattern(&Regex{Pattern: `(a|b)*c`, Stack: [2]int{1024, stack}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.match([]byte(strings.Repeat("ab", 120000) + "c")); !errors.Is(err, want) {
			t.Errorf("with a stack of %d bytes: %v, want %v", stack, err, want)
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
		"apart, in the header":               {apart(header, body), Regex{Pattern: "X-Mark"}, "regex did not match"},
		"apart, in the body":                 {apart(header, body), Regex{Pattern: "^hello$"}, "good"},
		"together, offsets from the header":  {say(header + body), Regex{Pattern: "hello", MinOffset: len(header)}, "good"},
		"together, behind the body":          {say(header + body), Regex{Pattern: "hello", MinOffset: len(header) + 1}, "regex did not match"},
		"regex_no_match and it is there":     {say(header + body), Regex{Pattern: "hel+o", NoMatch: true}, "regex matched"},
		"a body that is longer than is kept": {say(header + strings.Repeat("x", maxText) + "end"), Regex{Pattern: "end"}, "regex did not match"},
		"no body":                            {say(header), Regex{Pattern: "X-Mark"}, "regex did not match"},
		"no body and an empty pattern":       {say(header), Regex{Pattern: ""}, "regex did not match"},
		"no body and regex_no_match":         {say(header), Regex{Pattern: "x", NoMatch: true}, "good"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, get(serve(t, c.answer), URL{Regex: &c.regex}), c.want)
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
