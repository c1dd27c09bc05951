package supervisor

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run starts a process that is ended with the test.
func run(t *testing.T, argv ...string) int {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c.Process.Pid
}

func TestWhoWorksIsWaitedForAndWhoDoesNotIsNot(t *testing.T) {
	asleep, busy, stopped := run(t, "sleep", "60"), run(t, "sh", "-c", "while :; do :; done"), run(t, "sleep", "60")
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]byte{asleep: 'S', stopped: 'T'} { // their start takes processor time, too
		for range 600 {
			before, was := processState(pid)
			time.Sleep(50 * time.Millisecond)
			if state, now := processState(pid); state == want && state == before && now == was {
				break
			}
		}
	}
	for _, tt := range []struct {
		name    string
		pid     int
		answers bool
		stopped time.Duration // before
		watches int           // after which it is given up; 0: never
		says    string
	}{
		{"asleep, but it answers", asleep, true, 0, 0, ""},
		{"asleep and silent", asleep, false, 0, silentPatience + 1, "the VRRP process(%) does not answer, state "},
		{"busy and silent", busy, false, 0, 0, ""},
		{"stopped a moment ago", stopped, false, time.Second / 2, silentPatience + 1, "kill -CONT % lets it go on"},
		{"stopped for a while", stopped, false, time.Minute, 1, "has been stopped by a signal 1m0s ago"},
	} {
		c := &child{name: "VRRP", pid: tt.pid}
		if tt.stopped > 0 {
			c.stopped = time.Now().Add(-tt.stopped)
		}
		gaveUp := 0
		for n := 1; n <= silentPatience+2 && gaveUp == 0; n++ {
			if tt.pid == busy {
				_, was := processState(busy)
				for range 3000 { // a tick is 10 ms of a processor that others want too
					if _, now := processState(busy); now != was {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
			if tt.answers {
				c.silent = 0
			}
			why := c.late()
			if why == "" {
				continue
			}
			gaveUp = n
			if says := strings.ReplaceAll(tt.says, "%", strconv.Itoa(tt.pid)); !strings.Contains(why, says) {
				t.Errorf("%s: %q, want %q", tt.name, why, says)
			}
		}
		if gaveUp != tt.watches {
			t.Errorf("%s: given up after %d watches, want %d", tt.name, gaveUp, tt.watches)
		}
	}
}
