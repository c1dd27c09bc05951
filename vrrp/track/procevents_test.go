package track

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestCountsAreJudgedWithTheirDelays(t *testing.T) {
	type at struct {
		after time.Duration
		n     int
	}
	for _, c := range []struct {
		name   string
		p      Process
		counts []at
		want   []string
	}{
		{"without delays every change counts", Process{}, []at{{0, 1}, {time.Second, 0}, {time.Second, 2}}, []string{"0s 1 true", "1s 0 false", "2s 2 true"}},
		{"a loss counts after terminate_delay", Process{TerminateDelay: 3 * time.Second}, []at{{0, 1}, {time.Second, 0}, {10 * time.Second, 1}},
			[]string{"0s 1 true", "1s 0 true", "4s 0 false", "11s 1 true"}},
		{"a short loss does not", Process{TerminateDelay: 3 * time.Second}, []at{{0, 1}, {time.Second, 0}, {time.Second, 1}, {10 * time.Second, 1}},
			[]string{"0s 1 true", "1s 0 true", "2s 1 true", "12s 1 true"}},
		{"enough counts after fork_delay, which other changes do not prolong", Process{Min: 2, ForkDelay: 2 * time.Second}, []at{{0, 0}, {time.Second, 2}, {time.Second, 3}, {5 * time.Second, 4}},
			[]string{"0s 0 false", "1s 2 false", "2s 3 false", "3s 3 true", "7s 4 true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				counts, ended, begin := make(chan int), make(chan struct{}), time.Now()
				var got []string
				go func() {
					defer close(ended)
					c.p.judge(ctx, counts, func(n int, up bool) { got = append(got, fmt.Sprint(time.Since(begin), " ", n, " ", up)) })
				}()
				for _, a := range c.counts {
					time.Sleep(a.after)
					counts <- a.n
				}
				synctest.Wait()
				cancel()
				<-ended
				if !slices.Equal(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// TestTheKernelTellsOfProcesses needs the initial namespaces; elsewhere reading /proc does the same, only later.
func TestTheKernelTellsOfProcesses(t *testing.T) {
	e, err := openProcEvents(0, false)
	if err != nil {
		t.Skipf("%v", err)
	}
	dir := t.TempDir()
	name := fmt.Sprintf("rlv%d", os.Getpid())
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	p := Process{Path: name}
	counts := make(chan int, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); p.follow(ctx, e, func(n int) { counts <- n }) }()
	want := func(n int) {
		t.Helper()
		select {
		case got := <-counts:
			if got != n {
				t.Fatalf("%d, want %d", got, n)
			}
		case <-ctx.Done():
			t.Fatalf("no report, want %d", n)
		}
	}
	want(0)
	var running []*exec.Cmd
	for i := range 3 {
		c := exec.Command(path, "600")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
		want(i + 1)
	}
	for i, c := range running {
		_ = c.Process.Kill()
		_ = c.Wait()
		want(2 - i)
	}
	cancel()
	<-ended
}

func TestRunFindsAProcessEitherWay(t *testing.T) {
	name := fmt.Sprintf("rlw%d", os.Getpid())
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ups, ended := make(chan bool, 100), make(chan struct{})
	go func() {
		defer close(ended)
		Process{Path: path, Params: []string{"600"}}.Run(ctx, func(_ int, up bool) { ups <- up })
	}()
	until := func(want bool) {
		t.Helper()
		for {
			select {
			case up := <-ups:
				if up == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("never %v", want)
			}
		}
	}
	until(false)
	c := exec.Command(path, "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until(true)
	_ = c.Process.Kill()
	_ = c.Wait()
	until(false)
	cancel()
	<-ended
}

func FuzzParseProcEvent(f *testing.F) {
	good := make([]byte, cnData+24)
	binary.NativeEndian.PutUint32(good[16:], cnIdxProc)
	binary.NativeEndian.PutUint32(good[20:], cnValProc)
	for _, what := range []uint32{procNone, procFork, procExec, procComm, procExit} {
		binary.NativeEndian.PutUint32(good[cnHeader:], what)
		f.Add(slices.Clone(good))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if ev, ok := parseProcEvent(b); ok && len(b) < cnData {
			t.Errorf("%x gives %+v", b, ev)
		}
	})
}
