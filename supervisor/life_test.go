package supervisor_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// empty is a configuration without anything to do.
const empty = "global_defs {\n  router_id test\n}\n"

var defaultPidFiles = []string{"/run/keepalived.pid", "/run/vrrp.pid", "/run/checkers.pid"}

func TestC6PidFilesAreThereWhileItRunsAndGoneAfterwards(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all")
		for _, f := range defaultPidFiles {
			eventually(t, f+" names a running process", func() bool { return alive(pidIn(f)) })
			if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v %v, want mode 0644", f, st.Mode(), err)
			}
		}
		if pidIn(defaultPidFiles[0]) != d.pid() {
			t.Errorf("%s holds %d, want %d", defaultPidFiles[0], pidIn(defaultPidFiles[0]), d.pid())
		}
		if status := d.stop(); status != 0 {
			t.Errorf("status %d after SIGTERM", status)
		}
		for _, f := range defaultPidFiles {
			if exists(f) {
				t.Errorf("%s is still there", f)
			}
		}
	})
}

func TestC6PidFilesOfTheCommandLine(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		dir := t.TempDir()
		var files []string
		args := []string{"--all"}
		for _, o := range []string{"-p", "-r", "-c", "-b"} {
			f := filepath.Join(dir, "pid"+o)
			files, args = append(files, f), append(args, o, f)
		}
		d := foreground(t, w, config(t, empty), args...)
		seen := map[int]bool{}
		for _, f := range files {
			eventually(t, f+" names a running process", func() bool { return alive(pidIn(f)) })
			seen[pidIn(f)] = true
			// neutron looks for its router's id in the command line of each of them
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pidIn(f)))
			if err != nil || string(bytes.TrimSuffix(b, []byte{0})) != strings.Join(d.cmd.Args, "\x00") {
				t.Errorf("command line behind %s: %q %v, want %q", f, b, err, d.cmd.Args)
			}
		}
		if len(seen) != 4 {
			t.Errorf("%d processes, want 4", len(seen))
		}
		d.stop()
		for _, f := range files {
			if exists(f) {
				t.Errorf("%s is still there", f)
			}
		}
	})
}

func TestC6AStalePidFileIsTakenOver(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		stale := []string{"4194305\n"}
		if w.name == "releve" { // older references look at the number instead of the lock
			stale = append(stale, "1\n", "garbage", "", "123456789012\n")
		}
		for _, old := range stale {
			write(t, "/run/keepalived.pid", old)
			d := foreground(t, w, config(t, empty))
			eventually(t, "the pid file holds the new pid", func() bool { return pidIn("/run/keepalived.pid") == d.pid() })
			d.stop()
		}
	})
}

func TestPidFilesThatAreLinksAreNotFollowed(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		dir := t.TempDir()
		target := write(t, filepath.Join(dir, "victim"), "precious\n")
		link := filepath.Join(dir, "pid")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		d := foreground(t, w, config(t, empty), "-p", link)
		select {
		case <-d.done:
		case <-time.After(time.Second):
		}
		if b, _ := os.ReadFile(target); string(b) != "precious\n" {
			t.Errorf("the target of the link holds %q", b)
		}
	})
}

func TestASecondStartWithTheSamePidFilesEndsAndHurtsNobody(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		conf := config(t, empty)
		first := foreground(t, w, conf)
		eventually(t, "the first one runs", func() bool { return pidIn("/run/keepalived.pid") == first.pid() })
		second := foreground(t, w, conf)
		if status := second.wait(); status != 0 || !strings.Contains(second.log.String(), "already running") {
			t.Errorf("status %d, log %q", status, second.log)
		}
		if pidIn("/run/keepalived.pid") != first.pid() || !alive(first.pid()) {
			t.Error("the first one suffered")
		}
	})
}

func TestExitStatusesOfAStart(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, file string
		want       int
	}{
		{"C8 a configuration that does not exist", filepath.Join(dir, "none"), 6},
		{"C8 a folder instead of a configuration", dir, 6},
		{"C8 a pattern that fits no file", filepath.Join(dir, "*.none"), 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				d := foreground(t, w, tt.file)
				if status := d.wait(); status != tt.want {
					t.Errorf("status %d, want %d", status, tt.want)
				}
				if w.name == "releve" && !strings.Contains(d.log.String(), tt.file) {
					t.Errorf("the file is not named in %q", d.log)
				}
			})
		})
	}
}

// inBackground runs the program as an init script does and returns status and output of the command.
func inBackground(t *testing.T, w which, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(w.path, args...)
	out, err := os.Create(filepath.Join(t.TempDir(), "out")) // a file: a pipe would be kept open by a daemon that keeps it
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(out.Name())
	return cmd.ProcessState.ExitCode(), string(b)
}

func TestC4TheCommandReturnsOnlyWhenTheDaemonIsUp(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		conf := config(t, empty)
		status, out := inBackground(t, w, "-G", "--all", "-f", conf)
		if w.name == "reference" { // it returns a little too early
			eventually(t, "the pid file", func() bool { return alive(pidIn("/run/keepalived.pid")) })
		}
		pid := pidIn("/run/keepalived.pid")
		if status != 0 || !alive(pid) {
			t.Fatalf("status %d, pid file holds %d, output %q", status, pid, out)
		}
		t.Cleanup(func() {
			kill(t, pid, syscall.SIGTERM)
			eventually(t, "the daemon is gone", func() bool { return !exists("/run/keepalived.pid") })
		})
		for _, f := range defaultPidFiles {
			// The reference returns before its parts have written theirs.
			if w.name == "reference" {
				eventually(t, f, func() bool { return alive(pidIn(f)) })
			}
			p := pidIn(f)
			if !alive(p) {
				t.Errorf("%s names no process", f)
				continue
			}
			proc := fmt.Sprintf("/proc/%d/", p)
			if b, _ := os.ReadFile(proc + "comm"); string(b) != "keepalived\n" {
				t.Errorf("C5: comm of %s is %q", f, b)
			}
			if b, _ := os.ReadFile(proc + "cmdline"); string(b) != strings.Join([]string{w.path, "-G", "--all", "-f", conf, ""}, "\x00") {
				t.Errorf("C4: command line of %s is %q", f, b)
			}
			want, _ := filepath.EvalSymlinks(w.path)
			if exe, _ := os.Readlink(proc + "exe"); exe != want {
				t.Errorf("C5: %s runs %s, want %s", f, exe, want)
			}
			if cwd, _ := os.Readlink(proc + "cwd"); cwd != "/" {
				t.Errorf("%s stands in %s", f, cwd)
			}
			for fd := range 3 {
				if to, _ := os.Readlink(fmt.Sprintf("%sfd/%d", proc, fd)); to != os.DevNull {
					t.Errorf("descriptor %d of %s is %s", fd, f, to)
				}
			}
		}
		if sid, err := getsid(pid); err != nil || sid == mySid() {
			t.Errorf("session %d, %v: want one of its own", sid, err)
		}
		out5, err := exec.Command("pgrep", "-o", "-x", "keepalived").Output()
		if err == nil && strings.TrimSpace(string(out5)) == "" {
			t.Error("C5: pgrep -o finds nothing")
		}
	})
}

func TestC4ADaemonThatCannotRunSaysSoToItsStarter(t *testing.T) {
	testneed.Need(t, "netns")
	status, out := inBackground(t, ours(), "-f", "/none.conf")
	if status != 6 || !strings.Contains(out, "/none.conf") || strings.Count(out, "\n") != 1 {
		t.Errorf("status %d, output %q: want 6 and one line that names the file", status, out)
	}
}

func TestAPartThatIsKilledIsStartedAgainAndTheParentStays(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all")
		for _, f := range []string{"/run/vrrp.pid", "/run/checkers.pid"} {
			eventually(t, f, func() bool { return alive(pidIn(f)) })
			old := pidIn(f)
			kill(t, old, syscall.SIGKILL)
			eventually(t, f+" names a new process", func() bool { p := pidIn(f); return p != old && alive(p) })
			eventually(t, "the log says so", d.log.has(fmt.Sprintf("process(%d) died: Respawning", old)))
		}
		if !alive(d.pid()) {
			t.Error("the parent is gone")
		}
	})
}

func TestDontRespawnEndsEverythingWithStatus0(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all", "-R")
		eventually(t, "the part runs", func() bool { return alive(pidIn("/run/vrrp.pid")) })
		d.up() // the reference has to reach its loop
		kill(t, pidIn("/run/vrrp.pid"), syscall.SIGKILL)
		if status := d.wait(); status != 0 {
			t.Errorf("status %d", status)
		}
	})
}

func TestTheBackOffGrowsWhenAPartDiesAgainAndAgain(t *testing.T) {
	testneed.Need(t, "netns")
	d := foreground(t, ours(), config(t, empty), "--all")
	for i := range 2 {
		eventually(t, "the part runs", func() bool { return alive(pidIn("/run/vrrp.pid")) })
		old := pidIn("/run/vrrp.pid")
		kill(t, old, syscall.SIGKILL)
		if i == 0 {
			eventually(t, "started again", func() bool { p := pidIn("/run/vrrp.pid"); return p != old && alive(p) })
		}
	}
	eventually(t, "the second time it waits", d.log.has("started again in 1 seconds"))
}

func TestThePartsEndWhenTheParentIsKilled(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all")
		var pids []int
		for _, f := range defaultPidFiles[1:] {
			eventually(t, f, func() bool { return alive(pidIn(f)) })
			pids = append(pids, pidIn(f))
		}
		d.up()
		kill(t, d.pid(), syscall.SIGKILL)
		for _, pid := range pids {
			eventually(t, "the part is gone", func() bool { return !alive(pid) || zombie(pid) })
		}
		for _, f := range defaultPidFiles {
			os.Remove(f)
		}
	})
}

func TestC7NoSignalToAnyProcessEndsItButTheOnesThatStop(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all")
		for _, f := range defaultPidFiles {
			eventually(t, f, func() bool { return alive(pidIn(f)) })
		}
		d.up()
		before := [3]int{pidIn(defaultPidFiles[0]), pidIn(defaultPidFiles[1]), pidIn(defaultPidFiles[2])}
		signals := []syscall.Signal{1, 10, 12, 36, 37, 63, 13, 14, 18, 20, 21, 22, 28, 29, 35, 40, 50, 62, 64}
		if w.name == "releve" {
			signals = append(signals, 3, 16, 30, 32, 33, 34)
		}
		for _, pid := range before {
			for _, s := range signals {
				kill(t, pid, s)
			}
		}
		time.Sleep(300 * time.Millisecond)
		if after := [3]int{pidIn(defaultPidFiles[0]), pidIn(defaultPidFiles[1]), pidIn(defaultPidFiles[2])}; after != before || !alive(d.pid()) {
			t.Errorf("processes %v became %v", before, after)
		}
	})
}

func TestSigintStopsUnlessItIsToBeIgnored(t *testing.T) {
	testneed.Need(t, "netns")
	d := foreground(t, ours(), config(t, empty), "--all")
	eventually(t, "it is up", d.log.has("Startup complete"))
	d.cmd.Process.Signal(os.Interrupt)
	if status := d.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	d = foreground(t, ours(), config(t, empty), "--all", "--ignore-sigint")
	eventually(t, "it is up", d.log.has("Startup complete"))
	d.cmd.Process.Signal(os.Interrupt)
	time.Sleep(200 * time.Millisecond)
	if !alive(d.pid()) {
		t.Error("--ignore-sigint: it stopped")
	}
}

func TestSignalsThatTheStarterIgnoredWorkAllTheSame(t *testing.T) {
	testneed.Need(t, "netns")
	conf := config(t, empty)
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("sh", "-c", `trap "" TERM HUP USR1; exec "$@" 2>`+log, "sh", ours().path, "-nlG", "-f", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is up", func() bool { b, _ := os.ReadFile(log); return bytes.Contains(b, []byte("Startup complete")) })
	cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "it reloads", func() bool { b, _ := os.ReadFile(log); return bytes.Contains(b, []byte("Reload complete")) })
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSigtermAtAnyMomentOfTheStartLeavesNothingBehind(t *testing.T) {
	testneed.Need(t, "netns")
	conf := config(t, empty)
	for i := range 20 {
		d := foreground(t, ours(), conf, "--all")
		time.Sleep(time.Duration(i) * time.Millisecond)
		d.cmd.Process.Signal(syscall.SIGTERM)
		d.wait()
		for _, f := range defaultPidFiles {
			if exists(f) {
				t.Errorf("after %d ms: %s is left", i, f)
			}
		}
	}
}

func getsid(pid int) (int, error) {
	r, _, e := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

func mySid() int {
	sid, _ := getsid(0)
	return sid
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// kill sends a signal to one process, never to a group.
func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("signal %d to process %d", s, pid)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatalf("signal %d to %d: %v", s, pid, err)
	}
}
