package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

// inherited is a descriptor that, as one from a careless starter would, stays open over exec.
var inherited int

func TestMain(m *testing.M) {
	fd, err := unix.FcntlInt(0, unix.F_DUPFD, 100)
	if err != nil {
		panic(err)
	}
	inherited = fd
	syscall.Umask(0o022) // scripts are for every user here
	os.Exit(m.Run())
}

// shell writes an executable script and returns its path; its directory is open to every user.
func shell(t *testing.T, text string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "releve-script-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "s")
	if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func output(t *testing.T, r *Runner, c Command, extra ...string) string {
	t.Helper()
	e, out, err := r.RunOutput(t.Context(), c, 1<<16, extra...)
	if err != nil || !e.OK() {
		t.Fatalf("%v %v: %s", e, err, out)
	}
	return string(out)
}

func TestScriptsEnd(t *testing.T) {
	const far = time.Minute // what does not happen in the good case
	for name, c := range map[string]struct {
		text         string
		limit, grace time.Duration // no limit: told to end when the script has made the file $1
		want         Exit
	}{
		"well":                        {"#!/bin/sh\nexit 0\n", far, far, Exit{}},
		"with a status":               {"#!/bin/sh\nexit 7\n", far, far, Exit{Code: 7}},
		"by a signal":                 {"#!/bin/sh\nkill -9 $$\n", far, far, Exit{Signal: syscall.SIGKILL}},
		"through a shell without #!":  {"exit 9\n", far, far, Exit{Code: 9}},
		"by the time limit":           {"#!/bin/sh\nexec sleep 60\n", 100 * time.Millisecond, far, Exit{Signal: syscall.SIGTERM, TimedOut: true}},
		"when told to, but well":      {"#!/bin/sh\ntrap 'exit 0' TERM\n: >$1\nsleep 60 &\nwait\n", 0, far, Exit{TimedOut: true}},
		"killed, as they ignore that": {"#!/bin/sh\ntrap '' TERM\n: >$1\nsleep 60\nsleep 60\n", 0, 100 * time.Millisecond, Exit{Signal: syscall.SIGKILL, TimedOut: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := shell(t, c.text)
			ctx := t.Context()
			if c.limit == 0 {
				ctx = untilThere(t, path+".there")
			}
			got, err := (&Runner{Grace: c.grace}).Run(ctx, Command{Args: []string{path}, Timeout: c.limit}, path+".there")
			if err != nil || got != c.want {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// untilThere gives a context that ends when a file exists, at the latest after 30 s.
func untilThere(t *testing.T, path string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(path); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return ctx
}

func TestTheTimeLimitKillsChildrenToo(t *testing.T) {
	for name, text := range map[string]string{
		"of a script that waits":           "#!/bin/sh\nsh -c 'trap \"\" TERM; echo $$ >\"$1.tmp\"; mv \"$1.tmp\" \"$1\"; while :; do sleep 1; done' x \"$1\" &\nwait\n",
		"of a script that ignores SIGTERM": "#!/bin/sh\ntrap '' TERM\nsh -c 'echo $$ >\"$1.tmp\"; mv \"$1.tmp\" \"$1\"; while :; do sleep 1; done' x \"$1\" &\nwhile :; do sleep 1; done\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := shell(t, text)
			pidfile := path + ".pid"
			e, err := (&Runner{Grace: 50 * time.Millisecond}).Run(untilThere(t, pidfile), Command{Args: []string{path}}, pidfile)
			if err != nil || !e.TimedOut {
				t.Fatalf("%v %v", e, err)
			}
			b, err := os.ReadFile(pidfile)
			if err != nil {
				t.Fatal(err)
			}
			pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
			for range 3000 { // SIGKILL is on its way; the init of the machine reaps
				if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(stat), ") Z ") {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("child %d lives on", pid)
		})
	}
}

func TestScriptsGetTheArgumentsAsTheyAre(t *testing.T) {
	p := shell(t, "#!/bin/sh\nprintf '<%s>' \"$@\"\n")
	got := output(t, NewRunner(Settings{}), Command{Args: []string{p, "a b", ""}}, "$HOME", "'")
	if want := "<a b><><$HOME><'>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestScriptsGetACleanEnvironment(t *testing.T) {
	for _, v := range []string{"IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "NOTIFY_SOCKET", "RELEVE_PART"} {
		t.Setenv(v, "")
	}
	t.Setenv("KEPT", "yes")
	got := output(t, NewRunner(Settings{}), Command{Args: []string{"/usr/bin/env"}})
	lines := strings.Split(got, "\n")
	for _, l := range lines {
		k, _, _ := strings.Cut(l, "=")
		if slices.Contains(unwanted, k) || strings.HasPrefix(k, "RELEVE_") {
			t.Errorf("%s reached the script", l)
		}
	}
	if !slices.Contains(lines, "KEPT=yes") {
		t.Errorf("KEPT is missing in %q", got)
	}
}

func TestScriptsHaveNullStreamsTheirOwnGroupAndDefaultSignals(t *testing.T) {
	signal.Ignore(syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Reset(syscall.SIGUSR1, syscall.SIGHUP)
	p := shell(t, `#!/bin/sh
readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2
echo $(ls /proc/$$/fd)
cut -d' ' -f1,5 /proc/$$/stat
grep -E 'Sig(Blk|Ign)' /proc/self/status
grep Groups /proc/self/status
`)
	out := shell(t, "")
	r := NewRunner(Settings{})
	// Streams are null: the script itself writes to a file.
	w := shell(t, "#!/bin/sh\nreadlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 >\"$1\"\n")
	if e, err := r.Run(t.Context(), Command{Args: []string{w, out}}); err != nil || !e.OK() {
		t.Fatal(e, err)
	}
	if b, _ := os.ReadFile(out); strings.Count(string(b), "/dev/null\n") < 2 {
		t.Errorf("streams:\n%s", b)
	}
	lines := strings.Split(output(t, r, Command{Args: []string{p}}), "\n")
	if len(lines) < 7 {
		t.Fatalf("%q", lines)
	}
	if slices.Contains(strings.Fields(lines[3]), strconv.Itoa(inherited)) {
		t.Errorf("descriptors %q: %d came from the daemon's starter", lines[3], inherited)
	}
	if pid, pgrp, _ := strings.Cut(lines[4], " "); pid != pgrp {
		t.Errorf("process %s is in group %s", pid, pgrp)
	}
	// Signals 32 and 33 belong to the C library, whatever whoever started the tests did with them.
	const libc = 1<<(32-1) | 1<<(33-1)
	for _, l := range lines[5:7] {
		_, mask, _ := strings.Cut(l, "\t")
		if bits, err := strconv.ParseUint(mask, 16, 64); err != nil || bits&^libc != 0 {
			t.Errorf("signals: %s", l)
		}
	}
}

func TestScriptsRunAsTheirUser(t *testing.T) {
	testneed.Need(t, "root")
	p := shell(t, "#!/bin/sh\nid -u; id -g; id -G\n")
	for name, c := range map[string]struct {
		s    Settings
		c    Command
		want string
	}{
		"named with the command":        {Settings{User: "root"}, Command{User: "65534", Group: "12"}, "65534\n12\n12\n"},
		"script_user":                   {Settings{User: "nobody"}, Command{}, "65534\n65534\n65534\n"},
		"numbers without an account":    {Settings{User: "4000123", Group: "4000124"}, Command{}, "4000123\n4000124\n4000124\n"},
		"the daemon's, without a group": {Settings{}, Command{}, "0\n0\n0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c.c.Args = []string{p}
			if got := output(t, NewRunner(c.s), c.c); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatCannotRunIsAnError(t *testing.T) {
	testneed.Need(t, "root")
	p := shell(t, "#!/bin/sh\nexit 0\n")
	if err := os.Chmod(p, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		s    Settings
		c    Command
		want error
	}{
		"unsafe for root":          {Settings{User: "root", Security: true}, Command{Args: []string{p}}, ErrUnsafe},
		"not there":                {Settings{}, Command{Args: []string{p + "x"}}, ErrNotFound},
		"an unknown user":          {Settings{User: "no-such-user"}, Command{Args: []string{p}}, ErrNoAccount},
		"nothing":                  {Settings{}, Command{}, ErrNotFound},
		"a missing interpreter":    {Settings{}, Command{Args: []string{shell(t, "#!/no/such/thing\n")}}, unix.ENOENT},
		"a word with a zero byte":  {Settings{}, Command{Args: []string{p, "a\x00b"}}, unix.EINVAL},
		"a path with a zero byte ": {Settings{}, Command{Args: []string{p + "\x00"}}, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewRunner(c.s).Run(t.Context(), c.c); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	p := shell(t, "#!/bin/sh\nyes | head -c 1000000\nsleep 60 &\n")
	e, out, err := NewRunner(Settings{}).RunOutput(t.Context(), Command{Args: []string{p}, Timeout: 20 * time.Second}, 10)
	if err != nil || e != (Exit{}) || string(out) != "y\ny\ny\ny\ny\n" {
		t.Errorf("%v %v %q", e, err, out)
	}
}

func TestADoneContextRunsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewRunner(Settings{}).Run(ctx, Command{Args: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestKernelsWithoutProcessDescriptors(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want Exit
	}{
		"a status":     {[]string{"/bin/sh", "-c", "exit 5"}, Exit{Code: 5}},
		"a time limit": {[]string{"/bin/sleep", "60"}, Exit{Signal: syscall.SIGTERM, TimedOut: true}},
		"a kill":       {[]string{"/bin/sh", "-c", "trap '' TERM; : >$0; sleep 60; sleep 60"}, Exit{Signal: syscall.SIGKILL, TimedOut: true}},
	} {
		t.Run(name, func(t *testing.T) {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			ctx, limit := t.Context(), time.Duration(0)
			switch name {
			case "a time limit":
				limit = 150 * time.Millisecond
			case "a kill": // not before it ignores that it is told to end
				there := filepath.Join(t.TempDir(), "there")
				ctx, c.args = untilThere(t, there), append(c.args, there)
			}
			p, err := start(c.args[0], c.args, Own(), [3]uintptr{null.Fd(), null.Fd(), null.Fd()})
			if err != nil {
				t.Fatal(err)
			}
			p.fd.Close()
			p.fd = nil
			if got, err := p.wait(ctx, limit, 50*time.Millisecond); err != nil || got != c.want {
				t.Errorf("got %v %v, want %v", got, err, c.want)
			}
		})
	}
}

// TestScriptsDieWithTheDaemon starts this test binary as a daemon that runs a script, and kills it.
func TestScriptsDieWithTheDaemon(t *testing.T) {
	if mark := os.Getenv("SCRIPT_TEST_DAEMON"); mark != "" {
		_, err := NewRunner(Settings{}).Run(context.Background(), Command{Args: []string{"/bin/sh", "-c", "echo $$ >$0.tmp; mv $0.tmp $0; exec sleep 60", mark}})
		t.Fatal("the script ended:", err)
	}
	mark := filepath.Join(t.TempDir(), "pid")
	c := exec.Command(os.Args[0], "-test.run=^TestScriptsDieWithTheDaemon$")
	c.Env = append(os.Environ(), "SCRIPT_TEST_DAEMON="+mark)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for range 3000 {
		if b, err := os.ReadFile(mark); err == nil {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if pid == 0 {
		t.Fatal("no script was started")
	}
	for range 3000 {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
	t.Errorf("script %d outlived the daemon", pid)
}

func BenchmarkRun(b *testing.B) {
	r := NewRunner(Settings{})
	c := Command{Args: []string{"/bin/true"}, Timeout: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		if e, err := r.Run(context.Background(), c); err != nil || !e.OK() {
			b.Fatal(e, err)
		}
	}
}

func TestWhatAScriptLeavesRunningMayGoOnWriting(t *testing.T) {
	file := filepath.Join(t.TempDir(), "alive")
	ended := filepath.Join(t.TempDir(), "ended")
	p := shell(t, "#!/bin/sh\n(while [ ! -e "+ended+" ]; do sleep 0.02; done; echo late; echo later; echo yes > "+file+") &\necho now\n")
	_, out, err := NewRunner(Settings{}).RunOutput(t.Context(), Command{Args: []string{p}, Timeout: 20 * time.Second}, 100)
	if err != nil || string(out) != "now\n" {
		t.Fatalf("output %q, %v", out, err)
	}
	if err := os.WriteFile(ended, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the child died of its closed output")
}

func TestAScriptIsCalledByItsFolderNotByLinksToIt(t *testing.T) {
	real := shell(t, "#!/bin/sh\necho \"$0\"\ntr '\\0' ' ' </proc/$$/cmdline\n")
	dir := filepath.Dir(real)
	if err := errors.Join(os.Mkdir(dir+"/d", 0o755), os.Rename(real, dir+"/d/s"), os.Symlink("d", dir+"/l"), os.Symlink("s", dir+"/d/again")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keep      bool
		name, out string
	}{
		{false, "/l/s", "/d/s"},
		{false, "/d/again", "/d/again"}, // a link to the script itself stays
		{false, "/l/again", "/d/again"},
		{true, "/l/again", "/l/again"},
	} {
		got := output(t, NewRunner(Settings{KeepLinks: c.keep}), Command{Args: []string{dir + c.name}})
		if want := dir + c.out + "\n/bin/sh " + dir + c.out + " "; got != want {
			t.Errorf("%s called with links kept %t: %q, want %q", c.name, c.keep, got, want)
		}
	}
	copied := dir + "/d/cat"
	if b, err := os.ReadFile("/bin/cat"); err != nil || os.WriteFile(copied, b, 0o755) != nil {
		t.Fatal(err)
	}
	if got, want := output(t, NewRunner(Settings{}), Command{Args: []string{dir + "/l/cat", "/proc/self/cmdline"}}), copied+"\x00/proc/self/cmdline\x00"; got != want {
		t.Errorf("a program sees %q, want %q", got, want)
	}
}

// A user who makes a namespace of users is root there, but must not change groups: scripts of root run all the same.
func TestScriptsRunWhereGroupsAreFixed(t *testing.T) {
	if os.Getenv("RELEVE_USERNS") == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), "RELEVE_USERNS=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}}
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Skip("no user namespace: ", err)
		}
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	e, err := NewRunner(Settings{User: "0"}).Run(t.Context(), Command{Args: []string{"/bin/sh", "-c", "exit 7"}, Timeout: 10 * time.Second})
	if err != nil || e.Code != 7 {
		t.Errorf("%v, %v", e, err)
	}
}

// What a script has written before its end is its output, also where the reader comes to reading it late.
func TestOutputThatIsReadLateIsNotLost(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the reader is not even begun when the script has ended
	for i := range 40 {
		var ended atomic.Bool
		busy := func() {
			for !ended.Load() {
			}
		}
		if i%20 == 0 { // or not for as long as a machine is busy with something else
			for range 10 {
				go busy()
			}
		}
		w, collect, err := capture(100)
		if err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 { // it has its turn behind them
			go busy()
		}
		_, _ = w.WriteString("now\n")
		if got := collect(); string(got) != "now\n" { // a child left behind has the other end
			t.Errorf("round %d: %q", i, got)
		}
		ended.Store(true)
		w.Close()
	}
}
