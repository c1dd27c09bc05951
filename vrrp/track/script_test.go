package track

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"releve/script"
)

func TestCounter(t *testing.T) {
	for _, c := range []struct {
		name       string
		rise, fall int
		fail       bool
		results    string // + and -
		want       string // the state after each: u, d; ? unknown
	}{
		{"the first result decides, whatever rise says", 3, 3, false, "+", "u"},
		{"a first failure decides, too", 3, 3, false, "-", "d"},
		{"without rise and fall every result counts", 0, 0, false, "+-+-", "udud"},
		{"fall failures in a row", 1, 3, false, "+--+---", "uuuuuud"},
		{"rise successes in a row", 2, 1, false, "-+-++", "ddddu"},
		{"init_fail needs rise successes", 2, 1, true, "+-++", "dddu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := Counter{Rise: c.rise, Fall: c.fall}
			if c.fail {
				k.Set(false)
			}
			got := ""
			for _, r := range c.results {
				k.Add(r == '+')
				if k.Up() {
					got += "u"
				} else {
					got += "d"
				}
			}
			if got != c.want {
				t.Errorf("%s gives %s, want %s", c.results, got, c.want)
			}
		})
	}
}

// collect runs a script until n changes were reported.
func collect(t *testing.T, s Script, n int, after func(i int)) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reports := make(chan Report, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, script.NewRunner(script.Settings{}), func(r Report) { reports <- r })
	}()
	var got []string
	for len(got) < n {
		select {
		case r := <-reports:
			if r.Changed {
				got = append(got, r.Text)
				if after != nil {
					after(len(got))
				}
			}
		case <-ctx.Done():
			t.Fatalf("only %q", got)
		}
	}
	cancel()
	<-ended
	return got
}

func TestScriptIsFollowedUpAndDown(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := Script{Name: "s", Command: script.Command{Args: []string{"/bin/sh", "-c", "test ! -e " + mark}}, Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 2, Fall: 2}
	got := collect(t, s, 3, func(i int) {
		switch i {
		case 1:
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				t.Error(err)
			}
		case 2:
			os.Remove(mark)
		}
	})
	want := []string{"VRRP_Script(s) succeeded", "VRRP_Script(s) failed (exited with status 1)", "VRRP_Script(s) succeeded"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAScriptThatHangsIsEndedAndHasFailed(t *testing.T) {
	s := Script{Name: "s", Command: script.Command{Args: []string{"/bin/sleep", "60"}}, Interval: 50 * time.Millisecond}
	if got := collect(t, s, 1, nil); got[0] != "VRRP_Script(s) timed_out" {
		t.Errorf("%q", got)
	}
}

func TestAScriptThatIsMissingHasFailed(t *testing.T) {
	s := Script{Name: "s", Command: script.Command{Args: []string{"/nonexistent/check"}}, Interval: 50 * time.Millisecond, InitFail: true}
	if got := collect(t, s, 1, nil); got[0] != "VRRP_Script(s) considered failed until it succeeds" {
		t.Errorf("%q", got)
	}
}
