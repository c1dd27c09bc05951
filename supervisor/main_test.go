package supervisor_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// bin is the folder with the built program, as releve and as keepalived.
var bin string

// TestMain builds the program once and runs the tests in network and mount namespaces of their own, where /run and /tmp are
// empty: daemons of this host and of other tests are out of reach.
func TestMain(m *testing.M) {
	if os.Getenv(envEffects) != "" {
		os.Exit(watchEffects())
	}
	// Whoever runs the tests may have a narrow umask, a folder of his own for temporary files, or a service manager that listens to them.
	syscall.Umask(0o022)
	if bin = os.Getenv("RELEVE_BIN"); bin != "" {
		for _, v := range []string{"TMPDIR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
			os.Unsetenv(v)
		}
		if err := ownNamespaces(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

// outside is the process that go test started: it builds, and runs itself again inside.
func outside(m *testing.M) int {
	dir, err := os.MkdirTemp("", "releve-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builds := [][]string{{"build", "-o", filepath.Join(dir, "releve"), "releve/cmd/releve"}}
	// A program with the race detector takes a second to start: the daemon is one only for those tests that are asked for it, and what
	// talks to it never is.
	if raceDetector && os.Getenv("RELEVE_RACE_DAEMON") != "" {
		builds = append(builds, []string{"build", "-race", "-o", filepath.Join(dir, "keepalived"), "releve/cmd/releve"})
	}
	for _, args := range builds {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile=") }) // in /tmp
	c := exec.Command(exe, args...)
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_BIN="+dir), os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := c.Start(); err != nil { // no right to namespaces: what needs them skips itself
		bin = dir
		return m.Run()
	}
	if err := c.Wait(); c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return c.ProcessState.ExitCode()
}

// ownNamespaces arranges the namespaces that this process was started in. The program moves to /run, since /tmp gets hidden.
func ownNamespaces() error {
	program, err := os.ReadFile(filepath.Join(bin, "releve"))
	if err != nil {
		return err
	}
	daemon, err := os.ReadFile(filepath.Join(bin, "keepalived"))
	if err != nil {
		daemon = program
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for _, dir := range []string{"/run", "/tmp"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777"); err != nil {
			return fmt.Errorf("mount an empty %s: %w", dir, err)
		}
	}
	bin = "/run/releve-bin"
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.WriteFile(filepath.Join(bin, "releve"), program, 0o755),
		os.WriteFile(filepath.Join(bin, "keepalived"), daemon, 0o755)); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("lo: %w: %s", err, out)
	}
	// A new network namespace keeps ten datagrams for a reader, and whoever logs waits a tenth of a second for room: a test that stands for
	// a syslog daemon may stand still for longer. Older kernels have one number for all.
	_ = os.WriteFile("/proc/sys/net/unix/max_dgram_qlen", []byte("4096"), 0)
	return nil
}

// which is a program under test.
type which struct{ name, path string }

func ours() which { return which{"releve", filepath.Join(bin, "keepalived")} }

// both runs f against our program and against the reference, if that is installed.
func both(t *testing.T, f func(t *testing.T, w which)) {
	testneed.Need(t, "netns")
	t.Run("releve", func(t *testing.T) { cleanRun(t); f(t, ours()) })
	t.Run("reference", func(t *testing.T) {
		testneed.Need(t, "keepalived")
		cleanRun(t)
		path, err := exec.LookPath("keepalived")
		if err != nil {
			t.Fatal(err)
		}
		f(t, which{"reference", path})
	})
}

// cleanRun removes what a failed test may have left in /run.
func cleanRun(t *testing.T) {
	left, _ := filepath.Glob("/run/*.pid")
	for _, f := range left {
		t.Logf("%s was left over", f)
		os.Remove(f)
	}
}

// output collects what a process writes and can be read while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) has(text string) func() bool {
	return func() bool { return strings.Contains(o.String(), text) }
}

// daemon is a program that runs in the foreground.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *output
	done   chan struct{}
	status int
}

// foreground starts a program with -n -l -D -G and a configuration; it is stopped when the test ends.
func foreground(t *testing.T, w which, conf string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, log: &output{}, done: make(chan struct{})}
	d.cmd = exec.Command(w.path, append([]string{"-n", "-l", "-D", "-G", "-f", conf}, args...)...)
	d.cmd.Stderr, d.cmd.Stdout = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait()
		d.status = d.cmd.ProcessState.ExitCode()
		close(d.done)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.done:
		case <-time.After(30 * time.Second):
			d.cmd.Process.Kill()
			t.Error("the daemon did not end within 30 s after SIGTERM")
		}
		if strings.Contains(d.log.String(), "DATA RACE") {
			t.Error("a data race")
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", d.log)
		}
	})
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// up waits until the daemon, ours or the reference, says that its start is over: all its processes handle signals, and ours listens at its
// control socket. An address may be there before that.
func (d *daemon) up() {
	d.t.Helper()
	eventually(d.t, "it is up", func() bool {
		log := d.log.String()
		return strings.Contains(log, "Startup complete") || strings.Contains(log, "has no configuration to run")
	})
}

// stop sends SIGTERM and returns the exit status.
func (d *daemon) stop() int {
	d.t.Helper()
	d.cmd.Process.Signal(syscall.SIGTERM)
	return d.wait()
}

// wait returns the exit status.
func (d *daemon) wait() int {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		d.t.Fatal("the daemon did not end within 30 s")
	}
	return d.status
}

// eventually waits until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// config writes a configuration file.
func config(t *testing.T, text string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "keepalived.conf"), text)
}

// pidIn reads a pid file; 0 if there is none.
func pidIn(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return 0
	}
	return pid
}

// alive is false of a zombie: where process 1 does not wait for orphans, they stay.
func alive(pid int) bool { return pid > 0 && syscall.Kill(pid, 0) == nil && !zombie(pid) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
