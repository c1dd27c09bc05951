package confparse

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"releve/script"
)

// corpusDir is the folder with the recorded verdicts of the reference; the test is skipped without it.
func corpusDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("RELEVE_CORPUS")
	if dir == "" {
		dir = "../../shared/corpus"
	}
	if _, err := os.Stat(filepath.Join(dir, "verdicts.tsv")); err != nil {
		t.Skipf("needs the corpus of configurations: set RELEVE_CORPUS: %v", err)
	}
	return dir
}

// tsv reads a file of tab-separated values without its head line.
func tsv(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord, r.Comment = '\t', true, -1, 0
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 2 {
		t.Fatalf("%s holds no rows", path)
	}
	return rows[1:]
}

// fakeMachine is a machine with the given interfaces and scripts.
func fakeMachine(ifaces, scripts []string) *Machine {
	return &Machine{
		Interface: func(n string) bool { return n == "lo" || slices.Contains(ifaces, n) },
		Flags: func(n string) (uint32, bool) {
			if n == "lo" {
				return unix.IFF_UP | unix.IFF_LOOPBACK, true
			}
			if n == "mute0" {
				return unix.IFF_UP | unix.IFF_BROADCAST, true
			}
			return unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_MULTICAST, slices.Contains(ifaces, n)
		},
		User: func(n string) bool {
			return slices.Contains([]string{"root", "nobody", "daemon", "bin", "sys", "mail"}, n)
		},
		Group: func(n string) bool {
			return slices.Contains([]string{"root", "nogroup", "daemon", "bin", "sys", "mail", "adm", "users"}, n)
		},
		Resolves: func(n string) bool { return n == "localhost" },
		Script: func(s script.Settings, c *script.Command) error {
			if s.Security && s.User == "" && c.User == "" {
				return fmt.Errorf("%w: no user", script.ErrNoAccount)
			}
			if slices.Contains(scripts, c.Args[0]) || slices.Contains(commonPrograms, filepath.Base(c.Args[0])) {
				return nil
			}
			if c.Args[0] == "/etc/keepalived/scripts/notify_fifo.sh" {
				return nil
			}
			if dir, name := filepath.Split(c.Args[0]); strings.HasSuffix(dir, "/keepalived-test/scripts/") && !slices.Contains(missingSiblings, name) {
				return nil
			}
			return fmt.Errorf("%w", script.ErrNotFound)
		},
	}
}

// commonPrograms are there on every machine the verdicts were recorded on.
var commonPrograms = []string{"sh", "bash", "true", "false", "echo", "test", "pidof", "killall", "grep", "cat", "ip", "sleep", "kill", "logger", "touch", "date",
	"pgrep", "pkill", "ping", "curl", "ps", "python3", "busybox", "service"}

// missingSiblings are scripts that did not lie beside the maintainer's files.
var missingSiblings = []string{"191015.sh", "check_VI_0.sh"}

func verdict(t *testing.T, path string, m *Machine) (ExitCode int, d Diagnostics) {
	t.Helper()
	s, d := Load(path, LoadOptions{ConfigID: "host"})
	_, more := Check(s, CheckOptions{Test: true, Machine: m})
	d = append(d, more...)
	return d.ExitCode(), d
}

func TestVerdictsOfTheReferenceAreMatchedOnTheCorpus(t *testing.T) {
	dir := corpusDir(t)
	apart := verdictsApart(t)
	show := os.Getenv("SHOW")
	for _, r := range tsv(t, filepath.Join(dir, "verdicts.tsv")) {
		id := r[0]
		if show != "" && !strings.HasPrefix(id, show) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "files", id+".conf"))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "keepalived-test", "keepalived.conf")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		var ifaces, scripts []string
		if len(r) > 5 {
			ifaces = strings.Fields(r[5])
		}
		if len(r) > 6 {
			scripts = strings.Fields(r[6])
		}
		var got [3]int
		var ds [3]Diagnostics
		got[0], ds[0] = verdict(t, path, fakeMachine(nil, nil))
		got[1], ds[1] = verdict(t, path, fakeMachine(ifaces, nil))
		got[2], ds[2] = verdict(t, path, fakeMachine(ifaces, scripts))
		want := [3]int{}
		for i := range want {
			want[i], _ = strconv.Atoi(r[1+i])
		}
		reason := apart[id]
		delete(apart, id)
		switch {
		case got != want && reason == "":
			t.Errorf("%s: got %v, want %v: ref %s", id, got, want, r[4])
		case got == want && reason != "":
			t.Errorf("%s is equal but listed as different: %s", id, reason)
		}
		if got != want && reason == "" || show != "" {
			for i := range got {
				if got[i] != want[i] || show != "" {
					for _, x := range ds[i] {
						t.Logf("   [%d] %d:%d %s exit %d: %s (%s)", i, x.Pos.Line, x.Pos.Col, x.Code, x.Exit, x.Message, x.Suggest)
					}
					break
				}
			}
		}
	}
	if show == "" {
		for id := range apart {
			if strings.HasPrefix(id, "probe ") {
				continue
			}
			t.Errorf("%s is listed as different but is not in the corpus", id)
		}
	}
}

// verdictsApart are the files whose verdict differs from the reference's on purpose, with the reason.
func verdictsApart(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range tsv(t, "../testdata/confparse/verdicts.tsv") {
		if len(r) != 2 || r[1] == "" {
			t.Fatalf("row %q: want a file and a reason", r)
		}
		out[r[0]] = r[1]
	}
	return out
}

func TestVerdictsOfTheReferenceAreMatchedOnTheProbes(t *testing.T) {
	dir, apart := corpusDir(t), verdictsApart(t)
	for _, r := range tsv(t, filepath.Join(dir, "probes", "results.tsv")) {
		path := filepath.Join(dir, "probes", r[0]+".conf")
		got, ds := verdict(t, path, fakeMachine([]string{"eth0"}, nil))
		want, _ := strconv.Atoi(r[1])
		if got == want && apart["probe "+r[0]] != "" {
			t.Errorf("probe %s is equal but listed as different", r[0])
		}
		if got != want && apart["probe "+r[0]] == "" {
			t.Errorf("%s: got %d, want %d: ref %s", r[0], got, want, r[3])
			for _, x := range ds {
				t.Logf("   %d:%d %s exit %d: %s (%s)", x.Pos.Line, x.Pos.Col, x.Code, x.Exit, x.Message, x.Suggest)
			}
		}
	}
}
