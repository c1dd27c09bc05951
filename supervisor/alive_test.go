package supervisor_test

import (
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/supervisor"
)

// TestAStoppedPartIsNamed by everything that would need it, at once and not after a minute.
func TestAStoppedPartIsNamed(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, owner))
	eventually(t, "it is master", hasVIP)
	d.up()
	states := func() (supervisor.PartStatus, int) {
		status, out := releve(t, "status", "--json")
		var a supervisor.Answer
		if err := json.Unmarshal([]byte(out), &a); err != nil || a.Status == nil || len(a.Status.Parts) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return a.Status.Parts[0], status
	}
	eventually(t, "its state is told", func() bool { p, status := states(); return status == 0 && p.States["VI_1"] == "MASTER" })
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGSTOP)
	eventually(t, "it is in the log", d.log.has("has been stopped by a signal"))
	begin := time.Now()
	if p, status := states(); status != 1 || p.Silent == "" || p.StoppedSince.IsZero() || p.LastStates["VI_1"] != "MASTER" || p.States != nil {
		t.Errorf("status %d, %+v", status, p)
	}
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"status", 1, "NO ANSWER: the VRRP process("},
		{"status", 1, "VI_1 was MASTER"},
		{"why", 1, "the VRRP process("},
		{"reload", 1, "Reload refused, the running configuration stays: the VRRP process("},
		{"reload", 1, "kill -CONT"},
		{"plan", 2, "the VRRP process("},
	} {
		if status, out := releve(t, c.args); status != c.status || !strings.Contains(out, c.says) {
			t.Errorf("releve %s: status %d, %q", c.args, status, out)
		}
	}
	if took := time.Since(begin); took > 50*time.Second { // each of them waits for a minute if it does wait
		t.Errorf("all that took %v", took)
	}
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGCONT)
	eventually(t, "it goes on", d.log.has("goes on after"))
	if p, status := states(); status != 0 || p.Silent != "" || !p.StoppedSince.IsZero() {
		t.Errorf("when it goes on: status %d, %+v", status, p)
	}
	if status, out := releve(t, "reload"); status != 0 {
		t.Errorf("a reload: status %d, %q", status, out)
	}
	eventually(t, "it is master again", hasVIP)

	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGSTOP)
	eventually(t, "it is in the log again", func() bool { return strings.Count(d.log.String(), "has been stopped by a signal: ") == 2 })
	if status := d.stop(); status != 0 || hasVIP() || strings.Contains(d.log.String(), "killed") {
		t.Errorf("a stop lets it resign: status %d, VIP %v", status, hasVIP())
	}
}

// TestAReloadDoesNotWaitForAPartThatIsStoppedMeanwhile, nor does it take one for stopped that was so for a moment.
func TestAReloadDoesNotWaitForAPartThatIsStoppedMeanwhile(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, owner))
	eventually(t, "it is master", hasVIP)
	d.up()
	for n := 1; ; n++ {
		begin := time.Now()
		kill(t, pidIn("/run/vrrp.pid"), syscall.SIGSTOP)
		kill(t, d.pid(), syscall.SIGHUP)
		eventually(t, "the reload begins", func() bool { return strings.Count(d.log.String(), "Reloading ...") == n })
		kill(t, pidIn("/run/vrrp.pid"), syscall.SIGCONT)
		moment := time.Since(begin)
		eventually(t, "it ends", func() bool {
			return strings.Contains(d.log.String(), "Reload complete") || strings.Count(d.log.String(), "Reload refused") == n
		})
		if strings.Contains(d.log.String(), "Reload complete") {
			break
		}
		if moment < time.Second || n == 10 { // what is longer is no moment: the machine stood still
			t.Fatalf("a reload is refused because of a part that was stopped for %v", moment)
		}
	}
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGSTOP)
	begin := time.Now()
	if status, out := releve(t, "reload"); status != 1 || !strings.Contains(out, "has been stopped by a signal") || time.Since(begin) > 50*time.Second { // it is waited for a minute if it is
		t.Errorf("status %d after %v: %q", status, time.Since(begin), out)
	}
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGCONT)
	eventually(t, "a reload is taken", func() bool { status, _ := releve(t, "reload"); return status == 0 })
}

func TestAStoppedDaemonIsNoDaemonThatAnswers(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, owner))
	eventually(t, "it is up", d.log.has("Startup complete"))
	kill(t, d.pid(), syscall.SIGSTOP)
	defer kill(t, d.pid(), syscall.SIGCONT)
	for _, command := range []string{"status", "why"} {
		if status, out := releve(t, command); status != 3 || !strings.Contains(out, "is stopped by a signal (kill -CONT") {
			t.Errorf("releve %s: status %d, %q", command, status, out)
		}
	}
}

// hold stops all threads of a process as a debugger does, so that no SIGCONT lets it go on, until the test ends.
func hold(t *testing.T, pid int) {
	t.Helper()
	held, release, done := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // what it holds goes on when this thread ends
		var threads []int
		err := func() error {
			for more := true; more; { // a thread that is not held yet may start another
				list, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
				if err != nil {
					return err
				}
				more = false
				for _, th := range list {
					tid, _ := strconv.Atoi(th.Name())
					if slices.Contains(threads, tid) {
						continue
					}
					if err := syscall.PtraceAttach(tid); err == syscall.ESRCH { // it has ended meanwhile
						continue
					} else if err != nil {
						return err
					}
					_, _ = syscall.Wait4(tid, nil, syscall.WALL, nil)
					threads, more = append(threads, tid), true
				}
			}
			return nil
		}()
		held <- err
		for { // the end of a thread is reported to who holds it first
			select {
			case <-release:
				return
			case <-time.After(10 * time.Millisecond):
			}
			for _, tid := range threads {
				_, _ = syscall.Wait4(tid, nil, syscall.WALL|syscall.WNOHANG, nil)
			}
		}
	}()
	if err := <-held; err != nil {
		close(release)
		t.Skipf("ptrace: %v", err)
	}
	t.Cleanup(func() { close(release); <-done })
}

// TestStatusSaysHowAPartDiedAndWhenItIsStartedAgain, and that nothing runs where nothing is configured.
func TestStatusSaysHowAPartDiedAndWhenItIsStartedAgain(t *testing.T) {
	network(t)
	conf := config(t, owner)
	d := foreground(t, ours(), conf)
	eventually(t, "it is master", hasVIP)
	d.up()
	for n := range 2 { // the first is started again at once, the next after a second
		old := pidIn("/run/vrrp.pid")
		if n > 0 {
			eventually(t, "the next process", func() bool {
				return strings.Count(d.log.String(), "Starting VRRP child") == n+1 && alive(pidIn("/run/vrrp.pid"))
			})
			old = pidIn("/run/vrrp.pid")
		}
		kill(t, old, syscall.SIGKILL)
		eventually(t, "its death is known", func() bool { return strings.Count(d.log.String(), "died: Respawning") == n+1 })
	}
	if status, out := releve(t, "status"); strings.Contains(out, "VRRP: pid") { // on a slow machine it runs again already
		if status != 0 || !strings.Contains(out, "(the one before died: signal: killed)") {
			t.Errorf("status %d, %q", status, out)
		}
	} else if status != 1 || !strings.Contains(out, "ago (signal: killed), is started again in ") {
		t.Errorf("status %d, %q", status, out)
	}
	eventually(t, "it runs again", func() bool {
		status, out := releve(t, "status")
		return status == 0 && strings.Contains(out, "started 3 times (the one before died: signal: killed)")
	})
	write(t, conf, "! nothing\n")
	for _, c := range []struct {
		args string
		says []string
	}{
		{"plan", []string{"everything that runs is taken down", "VI_1: MASTER ends"}},
		{"reload", []string{"everything that runs is taken down", "Reload complete"}},
		{"status", []string{"everything that runs is taken down", "no part runs"}},
	} {
		_, out := releve(t, c.args)
		for _, s := range c.says {
			if !strings.Contains(out, s) {
				t.Errorf("releve %s: it does not say %q:\n%s", c.args, s, out)
			}
		}
	}
}
