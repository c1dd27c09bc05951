package supervisor_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

// told is what a daemon's scripts and its fifo have been told.
type told struct{ scripts, fifo string }

// TestC14NotifyScriptsAndFifos: words and quoting of notify scripts, instances and groups, and the lines of the fifo, byte for byte.
func TestC14NotifyScriptsAndFifos(t *testing.T) {
	testneed.Need(t, "root", "netns", "ip")
	got := map[string]told{}
	both(t, func(t *testing.T, w which) {
		network(t)
		const fifo, log, script = "/run/c14.fifo", "/run/c14.log", "/run/c14.sh"
		if err := os.WriteFile(script, []byte("#!/bin/sh\nfor a; do l=\"$l<$a>\"; done\nprintf '%s\\n' \"$l\" >>"+log+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(log)
		os.Remove(fifo)
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		instance := func(name, vrid string) string {
			return "vrrp_instance " + name + " {\n  interface v0\n  virtual_router_id " + vrid + `
  priority 100
  virtual_ipaddress {
    10.9.0.` + vrid + `
  }
  notify_master "` + script + ` 'a  b' c master"
  notify_backup "` + script + ` backup"
  notify_fault "` + script + ` fault"
  notify_stop "` + script + ` stop"
  notify "` + script + ` 'any thing'"
}
`
		}
		d := foreground(t, w, config(t, "global_defs {\n  notify_fifo "+fifo+"\n}\nvrrp_sync_group G1 {\n  group {\n    VI_1\n    VI_2\n  }\n  notify \""+script+" group\"\n}\n"+
			instance("VI_1", "51")+instance("VI_2", "52")))
		lines := func(n int, last string) func() bool {
			return func() bool {
				b, _ := os.ReadFile(log)
				return strings.Count(string(b), last) >= n
			}
		}
		// All scripts of a state have run for the n-th time: one that still waits when the next state comes is left out.
		reached := func(n int, state string) func() bool {
			own := "<" + strings.ToLower(state) + ">\n"
			return func() bool {
				return lines(2*n, own)() && lines(n, "<VI_1><"+state+">")() && lines(n, "<VI_2><"+state+">")() && lines(n, "<G1><"+state+">")()
			}
		}
		eventually(t, "both are master", reached(1, "MASTER"))
		for _, s := range []string{"down", "up"} {
			if out, err := exec.Command("ip", "link", "set", "v0", s).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if s == "down" {
				eventually(t, "it is noticed", reached(1, "FAULT"))
			} else {
				eventually(t, "it is noticed", reached(2, "BACKUP"))
			}
		}
		eventually(t, "both are master again", reached(2, "MASTER"))
		if s := d.stop(); s != 0 {
			t.Errorf("status %d", s)
		}
		eventually(t, "the stop is told", func() bool { return lines(3, "STOP>")() && lines(2, "<stop>")() })
		b := make([]byte, 1<<16)
		n, _ := unix.Read(fd, b)
		calls, _ := os.ReadFile(log)
		got[w.name] = told{string(calls), string(b[:max(n, 0)])}
	})
	states := []string{"BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"}
	var fifo, calls []string
	for i, st := range states {
		group := `GROUP "G1" ` + st + " 0"
		if i == 0 {
			fifo = append(fifo, group) // at the start the group comes first
		}
		fifo = append(fifo, `INSTANCE "VI_1" `+st+" 100", `INSTANCE "VI_2" `+st+" 100")
		if i > 0 {
			fifo = append(fifo, group)
		}
		own := "<" + strings.ToLower(st) + ">"
		if st == "MASTER" {
			own = "<a  b><c><master>"
		}
		calls = append(calls, own, own, "<any thing><INSTANCE><VI_1><"+st+"><100>", "<any thing><INSTANCE><VI_2><"+st+"><100>", "<group><GROUP><G1><"+st+"><0>")
	}
	slices.Sort(calls)
	for name, g := range got {
		// Which of two members comes first depends on their timers.
		lines := strings.Split(strings.TrimSuffix(g.fifo, "\n"), "\n")
		for i := 0; i+1 < len(lines); i++ {
			if strings.HasPrefix(lines[i], `INSTANCE "VI_2"`) && strings.HasPrefix(lines[i+1], `INSTANCE "VI_1"`) {
				lines[i], lines[i+1] = lines[i+1], lines[i]
			}
		}
		if !slices.Equal(lines, fifo) {
			t.Errorf("%s, fifo:\n%s\nwant\n%s", name, g.fifo, strings.Join(fifo, "\n"))
		}
		ran := strings.Split(strings.TrimSuffix(g.scripts, "\n"), "\n")
		if name != "releve" { // its scripts run side by side, and it may end some of them when it stops
			for _, l := range ran {
				if !slices.Contains(calls, l) {
					t.Errorf("%s ran %q", name, l)
				}
			}
			continue
		}
		if !slices.Equal(slices.Sorted(slices.Values(ran)), calls) {
			t.Errorf("%s, scripts:\n%s\nwant, in any order,\n%s", name, g.scripts, strings.Join(calls, "\n"))
		}
		for _, of := range []string{"<any thing><INSTANCE><VI_1>", "<any thing><INSTANCE><VI_2>", "<group><GROUP><G1>"} {
			var order []string
			for _, l := range ran {
				if rest, ok := strings.CutPrefix(l, of+"<"); ok {
					st, _, _ := strings.Cut(rest, ">")
					order = append(order, st)
				}
			}
			if !slices.Equal(order, states) {
				t.Errorf("%s heard %q", of, order)
			}
		}
	}
}

func TestAFifoIsRemovedAtTheStopEvenIfThePartThatMadeItWasKilled(t *testing.T) {
	network(t)
	dir := t.TempDir()
	made, there, taken := dir+"/made", dir+"/there", dir+"/taken"
	if err := unix.Mkfifo(there, 0o600); err != nil {
		t.Fatal(err)
	}
	d := foreground(t, ours(), config(t, "global_defs {\n  notify_fifo "+made+"\n  vrrp_notify_fifo "+there+"\n  lvs_notify_fifo "+taken+"\n}\n"+owner+planned))
	eventually(t, "it is up", d.log.has("Startup complete"))
	eventually(t, "the fifos", func() bool { return exists(made) && exists(taken) })
	if err := errors.Join(os.Remove(taken), unix.Mkfifo(taken, 0o600)); err != nil {
		t.Fatal(err)
	}
	old := pidIn("/run/vrrp.pid")
	kill(t, old, unix.SIGKILL)
	eventually(t, "another part", func() bool {
		return pidIn("/run/vrrp.pid") != old && strings.Count(d.log.String(), "Starting VRRP child") == 2
	})
	d.stop()
	if exists(made) || !exists(there) || !exists(taken) {
		t.Errorf("the one made by the daemon is there: %v, somebody else's: %v, that which somebody put in its place: %v", exists(made), exists(there), exists(taken))
	}
}
