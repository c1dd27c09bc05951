package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// piped makes a pipe with a text in it and returns its reading end.
func piped(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	go func() {
		w.WriteString(text)
		w.Close()
	}()
	return r
}

// feed makes a text the standard input of this process for the time of f: through a pipe, a socket or a file.
func feed(t *testing.T, through, text string, f func()) {
	t.Helper()
	var in *os.File
	switch through {
	case "socket":
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		in = os.NewFile(uintptr(fds[0]), "socket")
		w := os.NewFile(uintptr(fds[1]), "socket")
		w.WriteString(text)
		w.Close()
	case "file":
		var err error
		if in, err = os.Open(writeFile(t, "in.conf", text)); err != nil {
			t.Fatal(err)
		}
	default:
		in = piped(t, text)
	}
	defer in.Close()
	saved, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(int(in.Fd()), 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		unix.Dup3(saved, 0, 0)
		unix.Close(saved)
	}()
	f()
}

func TestConfigurationsAreReadFromTheStandardInputAndFromPipes(t *testing.T) {
	typo := strings.Replace(soundConfig, "virtual_router_id", "virtual_ruoter_id", 1)
	for _, through := range []string{"pipe", "socket", "file"} {
		for _, c := range []struct {
			args, text string
			status     int
			says       []string
		}{
			{"check --no-host -", soundConfig, 0, nil},
			{"check --no-host -", typo, 5, []string{"<stdin>:3:5: error:", "virtual_ruoter_id 51\n        |     ^~~"}},
			{"check --no-host /dev/stdin", typo, 5, []string{"/dev/stdin:3:5: error:"}},
			{"check --no-host /dev/fd/0", typo, 5, []string{"/dev/fd/0:3:5: error:"}},
			{"check --no-host --format=sarif -", typo, 5, []string{"stdin"}},
			{"config dump -", soundConfig, 0, []string{"vrrp_instance VI_1", "192.0.2.10/24"}},
			{"config dump -", typo, 5, []string{"<stdin>:3:5:"}},
			{"fmt -", "a {\nb 1\n}\n", 0, []string{"a {\n    b 1\n}\n"}},
			{"fmt", "a {\nb 1\n}\n", 0, []string{"a {\n    b 1\n}\n"}},
			{"fmt -l -", "a {\nb 1\n}\n", 1, []string{"<stdin>\n"}},
			{"fmt -w -", "a {\nb 1\n}\n", 1, []string{"only a file can be written"}},
			{"probe -", soundConfig, 2, []string{"the file has no health checks"}},
			{"plan --no-daemon -", strings.ReplaceAll(typo, "eth0", "lo"), 2, []string{"<stdin>:", "virtual_ruoter_id"}},
			{"plan --no-daemon -", "global_defs {\n}\n", 0, []string{"Nothing would change."}},
			{"-t -f /dev/stdin", "zeppelin\n", 5, []string{"/dev/stdin:1:1:"}},
		} {
			if c.args == "fmt -w -" && through == "file" {
				continue
			}
			feed(t, through, c.text, func() {
				var out bytes.Buffer
				if status := run(append([]string{"releve"}, strings.Fields(c.args)...), &out, &out); status != c.status {
					t.Errorf("%s | releve %s: status %d, want %d:\n%s", through, c.args, status, c.status, &out)
				}
				for _, s := range c.says {
					if !strings.Contains(out.String(), s) {
						t.Errorf("%s | releve %s: it does not say %q:\n%s", through, c.args, s, &out)
					}
				}
			})
		}
	}
	// A named pipe: whoever reads waits for whoever writes, as cat does.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(fifo, []byte(typo), 0)
	var out bytes.Buffer
	if status := run([]string{"releve", "check", "--no-host", fifo}, &out, &out); status != 5 || !strings.Contains(out.String(), fifo+":3:5: error:") {
		t.Errorf("a named pipe: status %d\n%s", status, &out)
	}
}

func TestIncludesOfTheStandardInputAreSeenFromTheWorkingDirectory(t *testing.T) {
	part := writeFile(t, "part.conf", "zeppelin\n")
	t.Chdir(filepath.Dir(part))
	feed(t, "pipe", "include part.conf\n", func() {
		var out bytes.Buffer
		if status := run([]string{"releve", "check", "--no-host", "-"}, &out, &out); status != 5 || !strings.Contains(out.String(), "part.conf:1:1:") || !strings.Contains(out.String(), "<stdin>:1") {
			t.Errorf("status %d\n%s", status, &out)
		}
	})
}

// TestProcessSubstitution is releve check <(command), by the shell that writes it.
func TestProcessSubstitution(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	exe := filepath.Join(t.TempDir(), "releve")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(bash, "-c", `"$0" check --no-host <(echo zeppelin) <(echo vrrp_instnace X)`, exe).CombinedOutput()
	if err == nil || strings.Count(string(out), "/dev/fd/") != 2 || !strings.Contains(string(out), "zeppelin") || !strings.Contains(string(out), "vrrp_instnace") {
		t.Errorf("%v: %s", err, out)
	}
	// The daemon would have to read it again at a reload.
	out, err = exec.Command(exe, "-n", "-l", "-G", "-f", "-").CombinedOutput()
	if ended, ok := err.(*exec.ExitError); !ok || ended.ExitCode() != 6 || !strings.Contains(string(out), "the standard input is nothing that a reload could read again") {
		t.Errorf("the daemon: %v: %s", err, out)
	}
	out, err = exec.Command(bash, "-c", `"$0" -n -l -G -f <(echo zeppelin)`, exe).CombinedOutput()
	if ended, ok := err.(*exec.ExitError); !ok || ended.ExitCode() != 6 || !strings.Contains(string(out), "a reload could not read it again") {
		t.Errorf("the daemon: %v: %s", err, out)
	}
}
