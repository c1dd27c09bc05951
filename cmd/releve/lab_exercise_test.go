package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/lab/exercise"
)

const waitingLab = `title A lab that waits
bridge lan
host a eth0 lan 10.0.0.1/24
host b eth0 lan 10.0.0.2/24
config a <<
    vrrp_instance one {
        interface eth0
        virtual_router_id 1
        priority 255
        virtual_ipaddress {
            10.0.0.9/24
        }
    }
>>
step Wait
    start a
    expect holds a 10.0.0.9
    wait 300s
`

// labRun starts a lab as a process of its own and waits until its director holds the address.
func labRun(t *testing.T, name string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "waiting.lab")
	if err := os.WriteFile(file, []byte(waitingLab), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "releve")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := exec.Command(link, "lab", "run", file, "--as", name, "--plain")
	c.Env = append(os.Environ(), beReleve+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	up := make(chan bool, 1)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := r.Read(b)
			out.Write(b[:n])
			if bytes.Contains(out.Bytes(), []byte("wait 300s")) {
				select {
				case up <- true:
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-up:
	case <-time.After(60 * time.Second):
		_ = c.Process.Kill()
		t.Fatalf("the lab does not come up:\n%s", out.String())
	}
	return c, &out
}

// daemons lists the processes that carry the mark of a lab of this owner.
func daemons(owner int) (out []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, d := range dirs {
		env, err := os.ReadFile(d)
		if err == nil && strings.Contains("\x00"+string(env), "\x00RELEVE_LAB="+strconv.Itoa(owner)+"-") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(d))); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

func gone(t *testing.T, owner int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); len(daemons(owner)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left behind: %v", daemons(owner))
		}
	}
}

func TestARunningLabCanBeEnteredAndTakenDown(t *testing.T) {
	testneed.Need(t, "root", "netns")
	name := "t-" + strconv.Itoa(os.Getpid())
	c, out := labRun(t, name)
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()

	var errs bytes.Buffer
	if _, err := register(name); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("the name is taken, but: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	shell := exec.CommandContext(ctx, c.Path, "lab", "shell", name, "a", "ip", "-br", "addr", "show", "eth0")
	shell.Env = c.Env
	text, err := shell.CombinedOutput()
	if err != nil || !strings.Contains(string(text), "10.0.0.9") {
		t.Errorf("shell: %v\n%s", err, text)
	}
	var frames, cerrs bytes.Buffer
	for range 10 { // an advert passes every second, but for a machine that stands still
		frames.Reset()
		cerrs.Reset()
		if status := runCapture([]string{"--lab", name, "-d", "1500ms"}, &frames, &cerrs); status != 0 {
			t.Errorf("capture: status %d, %s\n%s", status, &cerrs, &frames)
		}
		if strings.Contains(frames.String(), "a is master of VRID 1") {
			break
		}
	}
	if !strings.Contains(frames.String(), "a is master of VRID 1") {
		t.Errorf("capture: %s\n%s", &cerrs, &frames)
	}
	if status := labShell([]string{name, "z"}, &errs); status != 2 || !strings.Contains(errs.String(), "its hosts are a, b") {
		t.Errorf("a host that is not there: status %d, %s", status, &errs)
	}
	var said bytes.Buffer
	if status := labDown([]string{name}, &said, &errs); status != 0 || !strings.Contains(said.String(), name+" is down") {
		t.Errorf("down: status %d, %s%s", status, &said, &errs)
	}
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end:\n%s", out)
	}
	if c.ProcessState.ExitCode() != 130 {
		t.Errorf("status %d after SIGTERM, want 130", c.ProcessState.ExitCode())
	}
	gone(t, c.Process.Pid)
}

func TestWhatAKilledLabLeavesIsClearedAway(t *testing.T) {
	testneed.Need(t, "root", "netns")
	name := "k-" + strconv.Itoa(os.Getpid())
	c, _ := labRun(t, name)
	if len(daemons(c.Process.Pid)) == 0 {
		t.Fatal("no process carries the mark of the lab")
	}
	_ = unix.Kill(c.Process.Pid, unix.SIGKILL)
	_ = c.Wait()
	var said, errs bytes.Buffer
	if status := labDown([]string{name}, &said, &errs); status != 0 || !strings.Contains(said.String(), "had been left behind") {
		t.Errorf("down: status %d, %s%s", status, &said, &errs)
	}
	gone(t, c.Process.Pid)
	r, err := register(name)
	if err != nil {
		t.Fatalf("the name is not free again: %v", err)
	}
	r.release()
}

func TestMistakesOfTheLabCommand(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.lab")
	if err := os.WriteFile(bad, []byte("title T\nhots a eth0 lan 10.0.0.1/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"run", "L99"}, "no exercise \"L99\""},
		{[]string{"run", bad}, "bad.lab:2:1: \"hots\" is not known here; did you mean host?"},
		{[]string{"show", "L99"}, "no exercise"},
		{[]string{"shell", "nothing-runs", "a"}, "no lab named nothing-runs runs"},
		{[]string{"down", "nothing-runs"}, "no lab named nothing-runs"},
		{[]string{"dhcp-probe", "here"}, "unable to parse IP"},
		{[]string{"jump"}, "there is no \"jump\""},
	} {
		var out, errs bytes.Buffer
		if status := labMain(c.args, &out, &errs); status != 2 || !strings.Contains(errs.String(), c.say) {
			t.Errorf("%v: status %d, %s", c.args, status, &errs)
		}
	}
}

// A mistake in a configuration is told with the line of the scenario; the exercises that come with the program have none.
func TestConfigurationsInScenariosAreChecked(t *testing.T) {
	for _, n := range exercise.Names() {
		sc, err := scenario(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range complaints(sc, n) {
			t.Error(c)
		}
	}
	sc, err := exercise.Parse("x", "x.lab", []byte("title T\nbridge lan\nhost a eth0 lan 10.0.0.1/24\nhost b eth0 lan 10.0.0.2/24\nconfig a <<\n"+
		"  vrrp_instance x {\n    interfacee eth0\n    virtual_router_id 30\n  }\n>>\nconfig b like a 30 31\nstep S\n  start a\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(complaints(sc, "x.lab"), "\n")
	for _, want := range []string{"x.lab:7: the configuration of a, line 2: ", "did you mean interface?", "x.lab:11: the configuration of b, like that of a, line 2: "} {
		if !strings.Contains(all, want) {
			t.Errorf("nobody says %q:\n%s", want, all)
		}
	}
}
