package pcre

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"releve/internal/testneed"
)

// What random patterns are made of.
var (
	elements = strings.Fields(`a b c ab . \w \d \s [ab] [^a] [a-c1] x 1 \n \R \h \N \W [[:alpha:]] [\d_] \x61 \X \v \H [^\w] \Qa.\E \1 \2 \g{-1} (?1) (?R) (?2) (?+1) (?&n) \k<n>`)
	zeros    = strings.Fields(`\b \B ^ $ \A \z \Z \G (?i) (?s) (?m) (?x) (?-i) (?U)`)
	opens    = strings.Fields(`( ( (?: (?> (?= (?! (?<= (?<! (?<n> (?| (?i: (?(1) (?(?=a) (?(R) (?(<n>) (?(DEFINE)`)
	repeats  = append(strings.Fields(`* + ? *? +? ?? *+ ++ ?+ {2} {1,2} {0,2}? {2,} {1,3}+`), "", "", "", "", "", "")
	settings = []string{"", "caseless", "multiline", "dotall", "extended", "utf", "ungreedy", "firstline", "no_auto_capture", "dupnames", "dollar_endonly",
		"match_unset_backref", "allow_empty_class", "alt_circumflex", "no_dotstar_anchor", "utf caseless ucp"}
	letters = []string{"a", "b", "c", "1", " ", "x", `\n`, "_", "A", "B", "ab", `\r\n`}
)

func pick(r *rand.Rand, list []string) string { return list[r.Intn(len(list))] }

func randomPattern(r *rand.Rand, depth int) string {
	var b strings.Builder
	for range 1 + r.Intn(4) {
		switch n := r.Intn(6); {
		case depth > 0 && n < 2:
			b.WriteString(pick(r, opens) + randomPattern(r, depth-1))
			if r.Intn(2) == 0 {
				b.WriteString("|" + randomPattern(r, depth-1))
			}
			b.WriteString(")" + pick(r, repeats))
		case n == 5:
			b.WriteString(pick(r, zeros))
		default:
			b.WriteString(pick(r, elements) + pick(r, repeats))
		}
	}
	return b.String()
}

// TestRandomPatternsMatchAsInPCRE2 has the library itself judge: pcre2test of Debian's package pcre2-utils. RELEVE_PCRE2 is how many patterns,
// RELEVE_SEED another seed.
func TestRandomPatternsMatchAsInPCRE2(t *testing.T) {
	testneed.Need(t, "pcre2test")
	count, seed := 400, int64(1)
	if n, err := strconv.Atoi(os.Getenv("RELEVE_PCRE2")); err == nil {
		count = n
	}
	if n, err := strconv.ParseInt(os.Getenv("RELEVE_SEED"), 10, 64); err == nil {
		seed = n
	}
	r := rand.New(rand.NewSource(seed))
	compared, taken := 0, 0
	for range count {
		pattern, options := randomPattern(r, 3), settings[r.Intn(len(settings))]
		var texts []string
		script := fmt.Sprintf("/%s/%s\n", pattern, strings.ReplaceAll(options, " ", ","))
		for range 6 {
			text := ""
			for range r.Intn(9) {
				text += pick(r, letters)
			}
			script += `\x3c` + text + `\x3e\=match_limit=500000` + "\n"
			texts = append(texts, "<"+strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(text)+">")
		}
		c := exec.Command("pcre2test", "-q")
		c.Stdin = strings.NewReader(script + "\n")
		out, err := c.Output()
		if err != nil {
			t.Fatalf("pcre2test: %v", err)
		}
		answers := answersOf(string(out))
		p, err := Compile(pattern, strings.Fields(options))
		if slices.Contains(answers, "does not compile") {
			continue // whether we take more than they do matters less
		}
		taken++
		if err != nil {
			t.Errorf("seed %d: %v: we do not compile /%s/%s", seed, err, pattern, options)
			continue
		}
		for i, text := range texts {
			last := len(text)
			if j := strings.IndexByte(text, '\n'); j >= 0 && options == "firstline" {
				last = j
			}
			got, err := p.Match([]byte(text), 0, last)
			if len(answers) != len(texts) || err != nil || answers[i] == "error" {
				continue
			}
			if compared++; got != (answers[i] == "match") {
				t.Errorf("seed %d: /%s/%s on %q: match %v, and PCRE2 says %s", seed, pattern, options, text, got, answers[i])
			}
		}
	}
	t.Logf("%d of %d patterns compile, %d matches compared", taken, count, compared)
	if compared < count {
		t.Errorf("only %d matches were compared", compared)
	}
}

// answersOf are what pcre2test says to each text.
func answersOf(out string) (answers []string) {
	for l := range strings.Lines(out) {
		switch l = strings.TrimSuffix(l, "\n"); {
		case strings.HasPrefix(l, "Failed: error") && strings.Contains(l, "at offset"):
			answers = append(answers, "does not compile")
		case strings.HasPrefix(l, "Failed: error"):
			answers = append(answers, "error")
		case strings.HasPrefix(l, " 0: "), l == " 0:":
			answers = append(answers, "match")
		case strings.HasPrefix(l, "No match"):
			answers = append(answers, "no match")
		}
	}
	return answers
}

// FuzzMatch compiles and runs anything: it ends, in bounds.
func FuzzMatch(f *testing.F) {
	r := rand.New(rand.NewSource(7))
	for range 50 {
		f.Add(randomPattern(r, 2), "<ab1 x>", uint16(r.Intn(1<<10)))
	}
	for _, s := range []string{`(*COMMIT)a`, `a(*ACCEPT)b|c`, `(?|(a)|(b)(*SKIP))\1`, `(?(?!a(*PRUNE)b)x|y)`, `\p{Greek}+`, `[]^[:^alpha:]-\x{41}]`, `(*CRLF)^$`, `(?^x: a # b)`} {
		f.Add(s, "aab\r\nc", uint16(1))
	}
	all := []string{"caseless", "multiline", "dotall", "extended", "utf", "ungreedy", "dupnames", "ucp", "alt_bsux", "allow_empty_class", "match_unset_backref"}
	f.Fuzz(func(t *testing.T, pattern, text string, options uint16) {
		if len(pattern) > 300 || len(text) > 2000 {
			return
		}
		var names []string
		for i, n := range all {
			if options&(1<<i) != 0 {
				names = append(names, n)
			}
		}
		p, err := Compile(pattern, names)
		if err != nil {
			return
		}
		p.MaxSteps, p.MaxMemory = 200_000, 1<<20
		from := int(options>>11) % (len(text) + 1)
		_, _ = p.Match([]byte(text), from, len(text))
	})
}
