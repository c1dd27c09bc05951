package demo_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/lab/demo"
)

// buffer is an output that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func options(out *buffer) demo.Options {
	return demo.Options{Config: os.DirFS("../../testdata/demo"), Out: out, Patience: 4}
}

// releve builds the program.
func releve(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "releve")
	c := exec.Command("go", "build", "-o", exe, "releve/cmd/releve")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// left lists processes of the demo's directors that are still there.
func left(exe string) (out []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.TrimSuffix(to, " (deleted)") == exe {
			out = append(out, l)
		}
	}
	return out
}

func TestEverythingTheDemoPromisesHappens(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	var out buffer
	o := options(&out)
	o.Binary, o.Log = releve(t), true
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"lb1 becomes master of both addresses", "web2 out", "web2 in, weight 1", "lb2 becomes master of both addresses",
		"Entering MASTER STATE", "ms without service", "expectations were met",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape sequences on something that is no terminal")
	}
	if l := left(o.Binary); len(l) > 0 {
		t.Errorf("processes left: %v", l)
	}
}

func TestADirectorThatEndsIsNamedAndTheDemoFails(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	var out buffer
	o := options(&out)
	o.Binary = "/bin/false"
	err := demo.Run(t.Context(), o)
	if !errors.Is(err, demo.ErrMissed) || !strings.Contains(out.String(), "not seen") || !strings.Contains(out.String(), "ended: exit status 1") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestAnInterruptedDemoCleansUp(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	var out buffer
	o := options(&out)
	o.Binary = releve(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for end := time.Now().Add(60 * time.Second); !strings.Contains(out.String(), "virtual server") && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
	}()
	if err := demo.Run(ctx, o); !errors.Is(err, context.Canceled) || !strings.Contains(out.String(), "cleaning up") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if l := left(o.Binary); len(l) > 0 {
		t.Errorf("processes left: %v", l)
	}
}

func TestOnATerminalThereIsAPanel(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	var out buffer
	o := options(&out)
	o.Binary, o.Terminal, o.Width = "/bin/false", true, 80
	if err := demo.Run(t.Context(), o); !errors.Is(err, demo.ErrMissed) {
		t.Error(err)
	}
	if s := out.String(); !strings.Contains(s, "lb1") || !strings.Contains(s, "\x1b[31m") {
		t.Errorf("no colour:\n%q", s)
	}
}
