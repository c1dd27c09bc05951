package exercise_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/lab/exercise"
)

var update = flag.Bool("update", false, "write docs/labs anew")

func parse(t *testing.T, name string) *exercise.Scenario {
	t.Helper()
	text, err := exercise.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := exercise.Parse(name, name+".lab", text)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

func TestThePagesOfTheExercisesAreFresh(t *testing.T) {
	if len(exercise.Names()) < 10 {
		t.Fatalf("exercises %v only", exercise.Names())
	}
	for _, n := range exercise.Names() {
		path := filepath.Join("..", "..", "docs", "labs", n+".md")
		want := exercise.PageOf(parse(t, n))
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || string(have) != want {
			t.Errorf("%s is stale: go test ./lab/exercise -run Pages -update (%v)", path, err)
		}
	}
}

func TestMistakesInAScenarioHaveAPlaceAndANearestWord(t *testing.T) {
	head := "title T\nbridge lan\nhost a eth0 lan 10.0.0.1/24\n"
	for _, c := range []struct{ text, want string }{
		{"titel T\n", "x.lab:1:1: \"titel\" is not known here; did you mean title?"},
		{"title T\nhost a eth0 lan 10.0.0.1/24\n", "x.lab:2:13: \"lan\" is not a bridge of this lab"},
		{"title T\nbridge lan\nhost a eth0 lan 10.0.0.1\n", "x.lab:3:17: \"10.0.0.1\" is not an address with its length"},
		{head + "route b default 10.0.0.2\n", "x.lab:4:7: \"b\" is not a host of this lab"},
		{head + "config a <<\n text\n", "<< without >>"},
		{head + "step S\n  strat a\n", "x.lab:5:3: \"strat\" is not known here; did you mean start?"},
		{head + "step S\n  cut a eth9\n", "x.lab:5:9: a has no interface eth9"},
		{head + "step S\n  wait soon\n", "x.lab:5:8: \"soon\" is not a time"},
		{head + "step S\n  expect hold a 10.0.0.1\n", "did you mean holds?"},
		{head + "step S\n  expect holds a here\n", "\"here\" is not an address"},
		{head + "step S\n  expect holds a 10.0.0.1 within ever\n", "\"ever\" is not a time"},
		{head + "step S\n  start\n", "start wants a host"},
		{head + "step S\n  start a b\n", "one word too many"},
		{head + "step S\n  say \"open\n", "a quotation mark without an end"},
		{head + "serve a ftp :21\n", "\"ftp\" is not smtp, tls, dns or udp"},
		{head + "config a like a x y\n", "a has no configuration yet"},
		{head + "question \"Why?\" because\n", "the answer begins with <<"},
		{head, "a scenario needs a title, a host and a step"},
	} {
		_, err := exercise.Parse("x", "x.lab", []byte(c.text))
		var e *exercise.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, n := range exercise.Names() {
		text, _ := exercise.Builtin(n)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if sc, err := exercise.Parse("x", "x.lab", []byte(text)); err == nil {
			exercise.PageOf(sc)
			sc.Topology()
		}
	})
}

func build(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "releve")
	c := exec.Command("go", "build", "-o", exe, "releve/cmd/releve")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// Every exercise whose needs this machine meets is run as a user would, several at once: each must see all that it expects.
func TestEveryExerciseSeesWhatItExpects(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	exe := build(t)
	group := make(chan struct{}, 4)
	t.Run("group", func(t *testing.T) {
		for _, n := range exercise.Names() {
			t.Run(n, func(t *testing.T) {
				t.Parallel()
				group <- struct{}{}
				defer func() { <-group }()
				for _, need := range parse(t, n).Needs {
					if need == "ipvs" {
						if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
							t.Skip("runs in the virtual machine, where IPVS is")
						}
						continue
					}
					testneed.Need(t, need)
				}
				dir := t.TempDir()
				ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
				defer cancel()
				out, err := exec.CommandContext(ctx, exe, "lab", "run", n, "--plain", "--patience", "3", "--as", "test-"+n, "--report", dir).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				for _, f := range []string{"report.html", "report.txt", "capture.pcapng", "capture.html"} {
					if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Size() < 500 {
						t.Errorf("%s: %v", f, err)
					}
				}
				page, _ := os.ReadFile(filepath.Join(dir, "report.html"))
				for _, want := range []string{"<svg class=\"topology\"", "Configurations", "<details>"} {
					if !bytes.Contains(page, []byte(want)) {
						t.Errorf("report.html lacks %q", want)
					}
				}
			})
		}
	})
}

func TestChaosKeepsItsInvariants(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	exe := build(t)
	out, err := exec.Command(exe, "lab", "run", "chaos", "--as", "test-chaos", "--seed", "42", "--duration", "12s", "--patience", "3").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("no invariant violated, seed 42")) {
		t.Errorf("%v\n%s", err, out)
	}
}
