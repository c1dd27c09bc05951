package exercise_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
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
		{head + "step S\n  start\n", "x.lab:5:8: start: it should be start HOST"},
		{head + "step S\n  start a b\n", "one word too many"},
		{head + "step S\n  say \"open\n", "a quotation mark without an end"},
		{head + "serve a ftp :21\n", "\"ftp\" is not smtp, tls, dns or udp"},
		{head + "config a like a x y\n", "a has no configuration yet"},
		{head + "question \"Why?\" because\n", "the answer begins with <<"},
		{head, "the scenario lacks a step"},
		{"# nothing\n", "the scenario lacks a host and a step and a title"},
		{"title T\x00\n", "x.lab:1:1: this is no text"},
		{head + "host a eth0 lan 10.0.0.2/24\n", "x.lab:4:8: a has an interface eth0 already"},
		{head + "bridge lan\n", "x.lab:4:8: a bridge has a name of its own"},
		{head + "start a\n", "x.lab:4:1: start belongs to a step, and none has begun"},
		{head + "step S\n  wait 1s\nbridge two\n", "x.lab:6:1: bridge stands before the first step"},
		{head + "step S\n  start a\n", "x.lab:5:9: a has no configuration"},
		{head + "step S\n  client a 10.0.0.2\n", "x.lab:5:12: \"10.0.0.2\" is not an address with a port"},
		{head + "step S\n  client a 10.0.0.2:80 evry 5s\n", "x.lab:5:24: \"evry\" should be every TIME or timeout TIME"},
		{head + "step S\n  connect a 10.0.0.2:80 timeout 5s\n", "x.lab:5:25: \"timeout\" should be every TIME"},
		{head + "step S\n  expect answer hello\n", "x.lab:5:10: answer is about what a client saw, and none has begun"},
		{head + "step S\n  client a 10.0.0.2:80\n  expect gap beneath 5s\n", "x.lab:6:14: \"beneath\" is not a time"},
		{head + "step S\n  client a 10.0.0.2:80\n  expect gap 1s 2s 3s\n", "gap below TIME, gap above TIME, or gap MIN MAX"},
		{head + "step S\n  client a 10.0.0.2:80\n  expect share hello\n", "x.lab:6:16: \"hello\" should be TEXT=PART"},
		{head + "step S\n  client a 10.0.0.2:80\n  expect rotation 3\n", "it should be rotation NUMBER TEXT ..."},
		{head + "step S\n  expect connection trips\n", "connection alive, lost, trips NUMBER, or worst MIN MAX"},
		{head + "step S\n  expect syncdaemon a leader\n", "\"leader\" is not master, backup or none"},
		{head + "step S\n  expect onlyholder 10.0.0.9 b\n", "x.lab:5:30: \"b\" is not a host of this lab"},
		{head + "step S\n  expect onlyholder 10.0.0.9 a b\n", "one word too many: it should be onlyholder ADDRESS [HOST]"},
		{head + "step S\n  expect table a ten\n", "\"ten\" is not an address"},
		{head + "step S\n  dhcp a 0\n", "want 1 to 200"},
		{head + "step S\n  stopweb a\n", "a has no web server"},
		{head + "step S\n  stopserve a dns\n", "a serves no dns"},
		{head + "step S\n  killspawned a dhcpd\n", "nothing called dhcpd is spawned on a before"},
	} {
		_, err := exercise.Parse("x", "x.lab", []byte(c.text))
		var e *exercise.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

// Teachers have editors that end lines with \r\n.
func TestLinesMayEndAsElsewhere(t *testing.T) {
	text := "title T\nbridge lan\nhost a eth0 lan 10.0.0.1/24\nconfig a <<\n  global_defs {\n  }\n>>\nstep S\n  start a\n"
	want, err := exercise.Parse("x", "x.lab", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := exercise.Parse("x", "x.lab", []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

// Every word that a scenario may use stands in the page that teaches how to write one.
func TestThePageForTeachersHasEveryWord(t *testing.T) {
	page, err := os.ReadFile("../../docs/labs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range exercise.Words() {
		if !regexp.MustCompile("`[^`]*\\b" + w + "\\b[^`]*`").Match(page) {
			t.Errorf("docs/labs/README.md does not say what %s is", w)
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

// watchPauses begins to look for times in which the machine stood still; pauses ends that and gives the longest one. Stories of who was heard when
// are others then: a master that was not run for longer than its down interval has lost the mastership, and so have those who listen to it.
func watchPauses() (pauses func() time.Duration) {
	const pause = 20 * time.Millisecond
	end, longest := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-end:
				longest <- most
				return
			case <-time.After(pause):
				most = max(most, time.Since(last)-pause)
			}
		}
	}()
	return func() time.Duration { close(end); return <-longest }
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
				dir := ""
				for try := 1; ; try++ {
					dir = t.TempDir()
					pauses := watchPauses()
					ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
					out, err := exec.CommandContext(ctx, exe, "lab", "run", n, "--plain", "--patience", "3", "--as", "test-"+n, "--report", dir).CombinedOutput()
					cancel()
					stood := pauses()
					if err == nil {
						break
					}
					if try == 3 || stood < time.Second {
						t.Fatalf("%v\n%s", err, out)
					}
					t.Logf("once more, as the machine stood still for %s: %v\n%s", stood, err, out)
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
	for _, on := range []string{"L1", "L4"} {
		t.Run(on, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				pauses := watchPauses()
				out, err := exec.Command(exe, "lab", "run", "chaos", "--on", on, "--as", "test-chaos-"+on, "--seed", "42", "--duration", "12s", "--patience", "3").CombinedOutput()
				stood := pauses()
				if err == nil && bytes.Contains(out, []byte("no invariant violated, seed 42")) {
					return
				}
				if try == 3 || stood < time.Second {
					t.Fatalf("%v\n%s", err, out)
				}
				t.Logf("once more, as the machine stood still for %s: %v\n%s", stood, err, out)
			}
		})
	}
}
