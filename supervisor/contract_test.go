package supervisor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

// state is what a configuration test must not touch.
func state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ip", "-o", "addr"}, {"ip", "-o", "-d", "link"}, {"ip", "route"}, {"nft", "list", "ruleset"}} {
		out, _ := exec.Command(args[0], args[1:]...).Output()
		// Detection of duplicate addresses comes to its end by itself.
		b.WriteString(strings.ReplaceAll(string(out), " tentative", ""))
	}
	for _, dir := range []string{"/run", "/tmp"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "Test") {
				b.WriteString(dir + "/" + e.Name() + "\n")
			}
		}
	}
	return b.String()
}

func TestC9AConfigurationTestTouchesNothing(t *testing.T) {
	network(t)
	for name, text := range map[string]string{
		"VRRP":            owner,
		"virtual servers": balanced,
		"virtual MAC":     strings.ReplaceAll(owner, "priority 255", "priority 255\n  use_vmac"),
		"flush":           "global_defs {\n  lvs_flush\n}\n" + balanced,
		"fifo":            "global_defs {\n  notify_fifo /run/c9.fifo\n}\n" + owner,
		"startup script":  "global_defs {\n  startup_script \"/usr/bin/touch /run/c9.started\"\n}\n" + owner,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				conf := config(t, text)
				before := state(t)
				for range 2 {
					exec.Command(w.path, "-t", "-f", conf).Run()
				}
				if after := state(t); after != before {
					t.Errorf("before\n%s\nafter\n%s", before, after)
				}
			})
		})
	}
}

func TestC9AConfigurationTestBesideARunningDaemonDoesNotDisturbIt(t *testing.T) {
	network(t)
	both(t, func(t *testing.T, w which) {
		conf := config(t, owner)
		d := foreground(t, w, conf)
		eventually(t, "it is master", func() bool { return hasVIP() && strings.Contains(d.log.String(), "Entering MASTER STATE") })
		log := d.log.String()
		if out, err := exec.Command(w.path, "-t", "-f", conf).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		time.Sleep(50 * time.Millisecond)
		if !hasVIP() || pidIn("/run/keepalived.pid") != d.pid() || strings.Contains(d.log.String()[len(log):], "STATE") {
			t.Errorf("the daemon was disturbed: %s", d.log.String()[len(log):])
		}
	})
}

func TestE6StatusesOfAConfigurationTest(t *testing.T) {
	network(t)
	tests := []struct {
		name, text string
		want       int
	}{
		{"a good file", owner, 0},
		{"a typo", strings.ReplaceAll(owner, "priority", "prioirty"), 5},
		{"a missing brace", strings.TrimSuffix(owner, "}\n"), 5},
		{"one VRID twice", owner + strings.ReplaceAll(owner, "VI_1", "VI_2"), 5},
		{"a missing device", strings.ReplaceAll(owner, "v0", "none0"), 5},
		{"an unknown track script", strings.ReplaceAll(owner, "priority", "track_script {\n    none\n  }\n  priority"), 5},
		{"a script without script security", strings.ReplaceAll(owner, "priority", "notify /bin/true\n  priority"), 6},
		{"a keyword without its value", strings.ReplaceAll(owner, "virtual_router_id 51", "virtual_router_id"), 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				cmd := exec.Command(w.path, "-t", "-f", config(t, tt.text))
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				cmd.Run()
				if status := cmd.ProcessState.ExitCode(); status != tt.want || out.Len() > 0 || (errs.Len() == 0) != (tt.want == 0) {
					t.Errorf("status %d, want %d; stdout %q, stderr %q", status, tt.want, &out, &errs)
				}
			})
		})
	}
}

func TestComplaintsOfAConfigurationTestGoToTheFile(t *testing.T) {
	network(t)
	both(t, func(t *testing.T, w which) {
		dir := t.TempDir()
		conf, log := config(t, strings.ReplaceAll(owner, "priority", "prioirty")), filepath.Join(dir, "log")
		write(t, log, "kept\n")
		out, _ := exec.Command(w.path, "-t"+log, "-f", conf).CombinedOutput()
		b, _ := os.ReadFile(log)
		if len(out) > 0 || !strings.HasPrefix(string(b), "kept\n") || !strings.Contains(string(b), "prioirty") {
			t.Errorf("output %q, file %q", out, b)
		}
		cmd := exec.Command(w.path, "-t/none/log", "-f", conf)
		cmd.Run()
		if w.name == "releve" && cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("a file that cannot be opened: status %d", cmd.ProcessState.ExitCode())
		}
	})
}

func TestE9ADirectorWithoutVRRPWritesJSONToo(t *testing.T) {
	testneed.Need(t, "nft")
	network(t)
	for version, text := range map[string]string{"1": balanced, "2": "global_defs {\n  json_version 2\n}\n" + balanced} {
		t.Run("version "+version, func(t *testing.T) {
			os.Remove("/tmp/keepalived.json")
			d := foreground(t, ours(), config(t, text))
			eventually(t, "it is up", d.log.has("Startup complete"))
			kill(t, d.pid(), 36)
			eventually(t, "the file", func() bool { return exists("/tmp/keepalived.json") })
			b, _ := os.ReadFile("/tmp/keepalived.json")
			switch {
			case !json.Valid(b):
				t.Errorf("%q", b)
			case version == "1" && string(b) != "[]\n":
				t.Errorf("%q, want an empty list", b)
			case version == "2" && !bytes.Contains(b, []byte(`"virtual_servers":[{"name":"[10.9.0.2]:tcp:80"`)):
				t.Errorf("%q", b)
			}
		})
	}
}

func TestE9Version2HoldsBothHalves(t *testing.T) {
	testneed.Need(t, "nft")
	network(t)
	d := foreground(t, ours(), config(t, "global_defs {\n  json_version 2\n}\n"+owner+balanced))
	eventually(t, "it is up", d.log.has("Startup complete"))
	dump := func() string {
		os.Remove("/tmp/keepalived.json")
		kill(t, d.pid(), 36)
		eventually(t, "the file", func() bool { return exists("/tmp/keepalived.json") })
		b, _ := os.ReadFile("/tmp/keepalived.json")
		if !json.Valid(b) || !bytes.Contains(b, []byte(`"iname":"VI_1"`)) {
			t.Errorf("%q", b)
		}
		return string(b)
	}
	for range 10 {
		begin := time.Now()
		s := dump()
		if strings.Contains(s, `"virtual_servers":[{"name":"[10.9.0.2]:tcp:80"`) {
			break
		}
		if took := time.Since(begin); took < 400*time.Millisecond { // after half a second it is written without them
			t.Errorf("no virtual servers, after %v: %s", took, s)
		}
	}
	// A checker part that does not answer costs its half, not the file.
	kill(t, pidIn("/run/checkers.pid"), syscall.SIGSTOP)
	if s := dump(); strings.Contains(s, "virtual_servers") {
		t.Errorf("got %s", s)
	}
	kill(t, pidIn("/run/checkers.pid"), syscall.SIGCONT)
	eventually(t, "both halves again", func() bool { return strings.Contains(dump(), "virtual_servers") })
}

func TestC10DumpFilesOfTheKeywords(t *testing.T) {
	network(t)
	dir := t.TempDir()
	d := foreground(t, ours(), config(t, "global_defs {\n  state_dump_file "+dir+"/x.y\n  stats_dump_file "+dir+"/s\n  json_dump_file "+dir+"/j\n  umask 022\n}\n"+owner))
	eventually(t, "it is up", d.log.has("Startup complete"))
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, 36} {
		kill(t, d.pid(), s)
	}
	for name, mode := range map[string]os.FileMode{"x.y": 0o644, "x_parent.y": 0o644, "s": 0o644, "j": 0o600} {
		path := filepath.Join(dir, name)
		eventually(t, path, func() bool { return exists(path) })
		if st, _ := os.Stat(path); st.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %v", name, st.Mode(), mode)
		}
	}
}

func TestC5ProcessesAreFoundAsToolsLookForThem(t *testing.T) {
	testneed.Need(t, "netns", "pidof")
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, empty), "--all")
		eventually(t, "it runs", func() bool { return alive(pidIn("/run/vrrp.pid")) && alive(pidIn("/run/checkers.pid")) })
		out, err := exec.Command("pidof", w.path).Output()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, pid := range strings.Fields(string(out)) {
			found[pid] = true
		}
		for _, f := range defaultPidFiles {
			b, _ := os.ReadFile(f)
			if !found[strings.TrimSpace(string(b))] {
				t.Errorf("pidof %s gives %s, without the process of %s", w.path, out, f)
			}
		}
		if !alive(d.pid()) {
			t.Error("it is gone")
		}
	})
}

func TestPrioritiesAndAffinityOfTheProcessesButNotOfTheirScripts(t *testing.T) {
	network(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "s")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncut -d' ' -f19,40,41 /proc/self/stat >"+dir+"/script\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	cpu := "0"
	for n := range 1024 { // the first that the tests may use
		if mine.IsSet(n) {
			cpu = strconv.Itoa(n)
			break
		}
	}
	d := foreground(t, ours(), config(t, "global_defs {\n  vrrp_priority -5\n  vrrp_rt_priority 10\n  vrrp_cpu_affinity "+cpu+"\n}\n"+
		strings.ReplaceAll(owner, "priority 255", "priority 255\n  notify_master "+script)))
	eventually(t, "it is up", d.log.has("Startup complete"))
	// Fields 40 and 41 of stat: the real-time priority and the policy (2: round robin).
	tasks, _ := filepath.Glob("/proc/" + strings.TrimSpace(read("/run/vrrp.pid")) + "/task/*/stat")
	for _, stat := range tasks {
		text := read(stat)
		if text == "" { // the thread has ended
			continue
		}
		f := strings.Fields(text[strings.LastIndex(text, ")")+2:])
		if f[37] != "10" || f[38] != "2" {
			// The thread that starts scripts is the exception.
			if f[37] != "0" || f[38] != "0" {
				t.Errorf("%s: priority %s, policy %s", stat, f[37], f[38])
			}
		}
	}
	if s := read("/proc/" + strings.TrimSpace(read("/run/vrrp.pid")) + "/status"); !strings.Contains(s, "Cpus_allowed_list:\t"+cpu+"\n") {
		t.Errorf("affinity: %s", s)
	}
	eventually(t, "the script has run", func() bool { return read(filepath.Join(dir, "script")) != "" })
	if got := read(filepath.Join(dir, "script")); got != "0 0 0\n" {
		t.Errorf("the script ran with nice value, priority and policy %q", got)
	}
}

// Locked memory and the real-time limit are those of the process that asked for them.
func TestNoSwapAndRealTimeLimitOfAProcess(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, "global_defs {\n  vrrp_no_swap\n  vrrp_rt_priority 5\n  vrrp_rlimit_rttime 500000\n}\n"+owner))
	eventually(t, "it is up", d.log.has("Startup complete"))
	child := strings.TrimSpace(read("/run/vrrp.pid"))
	locked := func(pid string) bool {
		return !regexp.MustCompile(`VmLck:\s+0 kB`).MatchString(read("/proc/" + pid + "/status"))
	}
	if !locked(child) || locked(strconv.Itoa(d.pid())) {
		t.Errorf("locked: VRRP %v, parent %v", locked(child), locked(strconv.Itoa(d.pid())))
	}
	limit := regexp.MustCompile(`Max realtime timeout +500000 +500000`)
	if !limit.MatchString(read("/proc/"+child+"/limits")) || limit.MatchString(read(fmt.Sprintf("/proc/%d/limits", d.pid()))) {
		t.Errorf("limits %s", read("/proc/"+child+"/limits"))
	}
	time.Sleep(2500 * time.Millisecond) // memory that is locked cannot be given back after the start: nothing comes of trying
	if !hasVIP() || strings.TrimSpace(read("/run/vrrp.pid")) != child {
		t.Error("it did not survive")
	}
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}
