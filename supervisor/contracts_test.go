package supervisor_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The contract with those who drive keepalived has numbers: C1 to C16 are what its clients rely on, E1 to E10 what was seen of the reference
// in the moments that matter. Every one of them has a test with its number in its name.
func TestEveryPointOfTheContractHasATest(t *testing.T) {
	found := map[string]bool{}
	name, number := regexp.MustCompile(`(?m)^func (Test\w+)`), regexp.MustCompile(`[CE]\d+`)
	for _, pattern := range []string{"*_test.go", "../*/*_test.go", "../cmd/releve/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			for _, m := range name.FindAllStringSubmatch(read(f), -1) {
				for _, n := range number.FindAllString(m[1], -1) {
					found[n] = true
				}
			}
		}
	}
	for letter, last := range map[string]int{"C": 16, "E": 10} {
		for i := 1; i <= last; i++ {
			if n := fmt.Sprint(letter, i); !found[n] {
				t.Errorf("no test of %s", n)
			}
		}
	}
}

// Passwords are in no dump, as since 2.4.
func TestC13SecretsAreInNoDump(t *testing.T) {
	network(t)
	const secret = "s3cr3tpw"
	d := foreground(t, ours(), config(t, strings.Replace(owner, "priority 255", "priority 255\n  authentication {\n    auth_type PASS\n    auth_pass "+secret+"\n  }", 1)), "-d")
	eventually(t, "it is master", hasVIP)
	eventually(t, "it is up", d.log.has("Startup complete"))
	names := []string{"keepalived.data", "keepalived_parent.data", "keepalived.stats", "keepalived.json"}
	for _, n := range names {
		os.Remove("/tmp/" + n)
	}
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, 36} {
		kill(t, d.pid(), s)
	}
	for _, n := range names {
		eventually(t, n, func() bool { return exists("/tmp/" + n) })
		if strings.Contains(read("/tmp/"+n), secret) {
			t.Errorf("the password is in %s", n)
		}
	}
	var list []struct {
		Data struct {
			Data string `json:"auth_data"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(read("/tmp/keepalived.json")), &list); err != nil || len(list) != 1 || list[0].Data.Data != "********" {
		t.Errorf("%v %+v", err, list)
	}
	d.stop()
	if strings.Contains(d.log.String(), secret) {
		t.Error("the password is in the log")
	}
}

// From the signal to the file a client waits for milliseconds; gen2brain's exporter reads after 100.
func TestE7DumpsAreThereAtOnce(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		network(t)
		d := foreground(t, w, config(t, owner))
		eventually(t, "it is master", hasVIP)
		d.up()
		for sig, name := range map[syscall.Signal]string{syscall.SIGUSR1: "/tmp/keepalived.data", syscall.SIGUSR2: "/tmp/keepalived.stats"} {
			os.Remove(name)
			begin := time.Now()
			kill(t, d.pid(), sig)
			eventually(t, name, func() bool { return exists(name) })
			t.Logf("%s after %s", name, time.Since(begin).Round(time.Millisecond/10))
			if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", st, err)
			}
		}
		d.stop()
	})
}

// Version on standard error, signal numbers on standard output, statuses, from both programs.
func TestE10VersionAndSignumAsTheReference(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		run := func(args ...string) (stdout, stderr string, status int) {
			var o, e strings.Builder
			c := exec.Command(w.path, args...)
			c.Stdout, c.Stderr = &o, &e
			if err := c.Run(); c.ProcessState == nil {
				t.Fatal(err)
			}
			return o.String(), e.String(), c.ProcessState.ExitCode()
		}
		if o, e, status := run("-v"); o != "" || status != 0 || !regexp.MustCompile(`^Keepalived v\d+\.\d+\.\d+ \(\d\d/\d\d,\d{4}\)`).MatchString(e) {
			t.Errorf("-v: %d %q %q", status, o, e)
		}
		for name, want := range map[string]string{"DATA": "10\n", "STATS": "12\n", "RELOAD": "1\n", "STOP": "15\n"} {
			if o, e, status := run("--signum=" + name); o != want || e != "" || status != 0 {
				t.Errorf("--signum=%s: %d %q %q", name, status, o, e)
			}
		}
		if o, e, status := run("--signum=NONE"); o != "" || e == "" || status != 1 {
			t.Errorf("--signum=NONE: %d %q %q", status, o, e)
		}
	})
}
