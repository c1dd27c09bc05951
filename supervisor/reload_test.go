package supervisor_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// releve runs a subcommand against the running daemon.
func releve(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(ours().path), "releve"), args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

func TestReleveReloadWaitsAndSaysHowItWent(t *testing.T) {
	network(t)
	conf := config(t, owner)
	d := foreground(t, ours(), conf)
	eventually(t, "it is up", d.log.has("Startup complete"))
	if st, err := os.Stat("/run/keepalived.sock"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v %v", st, err)
	}
	if status, out := releve(t, "reload"); status != 0 || !strings.Contains(out, "Reload complete") {
		t.Errorf("a good file: status %d, %q", status, out)
	}
	write(t, conf, strings.ReplaceAll(owner, "v0", "none0"))
	if status, out := releve(t, "reload"); status != 1 || !strings.Contains(out, "none0") {
		t.Errorf("a bad file: status %d, %q", status, out)
	}
	status, out := releve(t, "status")
	if status != 0 || !strings.Contains(out, "refused") || !regexp.MustCompile(`(?m)^VRRP: pid \d+, .*\n  VI_1 MASTER$`).MatchString(out) {
		t.Errorf("status %d, %q", status, out)
	}
	if status, out := releve(t, "status", "--json"); status != 0 || !json.Valid([]byte(out)) {
		t.Errorf("status %d, %q", status, out)
	}
	d.stop()
	if exists("/run/keepalived.sock") {
		t.Error("the socket is left")
	}
	if status, _ := releve(t, "reload"); status != 3 {
		t.Errorf("without a daemon: status %d", status)
	}
}

func TestE5TheReasonsOfARefusedFileAreInTheLogAndInTheFile(t *testing.T) {
	network(t)
	check := filepath.Join(t.TempDir(), "check.log")
	for name, keyword := range map[string]string{"without a file": "reload_check_config", "with a file": "reload_check_config " + check} {
		t.Run(name, func(t *testing.T) {
			guard := "global_defs {\n  enable_script_security\n  " + keyword + "\n}\n"
			conf := config(t, guard+owner)
			d := foreground(t, ours(), conf)
			eventually(t, "it is up", d.log.has("Startup complete"))
			write(t, conf, guard+strings.ReplaceAll(owner, "priority", "prioirty"))
			status, out := releve(t, "reload")
			if status != 1 || !strings.Contains(out, "prioirty") {
				t.Errorf("status %d, %q", status, out)
			}
			eventually(t, "the reason is in the log", d.log.has("prioirty"))
			if _, out := releve(t, "status"); !strings.Contains(out, "prioirty") {
				t.Errorf("no reason in the status: %q", out)
			}
			if strings.Contains(keyword, check) {
				if b, _ := os.ReadFile(check); !strings.Contains(string(b), "prioirty") {
					t.Errorf("no reason in the file: %q", b)
				}
			}
			// The good file takes effect, unlike in the reference.
			write(t, conf, guard+strings.ReplaceAll(owner, "10.9.0.1/24", "10.9.0.8/24"))
			if status, out := releve(t, "reload"); status != 0 {
				t.Errorf("status %d, %q", status, out)
			}
			eventually(t, "the new VIP", func() bool {
				out, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output()
				return strings.Contains(string(out), "10.9.0.8/24")
			})
		})
	}
}

func TestReloadFileIsThereWhileTheFilesAreReadAndGoneAfterwards(t *testing.T) {
	testneed.Need(t, "netns")
	dir := t.TempDir()
	mark, save := filepath.Join(dir, "mark"), filepath.Join(dir, "save")
	conf := config(t, fmt.Sprintf("global_defs {\n  reload_file %s\n  config_save_dir %s\n}\n", mark, save))
	foreground(t, ours(), conf)
	eventually(t, "it answers", func() bool { return exists("/run/keepalived.sock") })
	write(t, mark, "the files are being changed")
	if status, out := releve(t, "reload"); status != 0 {
		t.Errorf("status %d, %q", status, out)
	}
	if exists(mark) {
		t.Error("reload_file is still there")
	}
	if copies, _ := filepath.Glob(filepath.Join(save, "keepalived.*.conf")); len(copies) != 2 {
		t.Errorf("config_save_dir holds %v, want one from before and one from after", copies)
	}
}

func TestReloadTimeFileReloads(t *testing.T) {
	testneed.Need(t, "netns")
	at := filepath.Join(t.TempDir(), "at")
	d := foreground(t, ours(), config(t, "global_defs {\n  reload_time_file "+at+"\n}\n"))
	eventually(t, "it is up", d.log.has("Startup complete"))
	write(t, at, time.Now().Add(2*time.Second).UTC().Format("2006-01-02 15:04:05")+"Z\n")
	eventually(t, "it is scheduled", d.log.has("a reload is scheduled"))
	eventually(t, "it reloads", d.log.has("Reload complete"))
	if exists(at) {
		t.Error("the file is still there")
	}
}

func TestGlobalSettingsThatCannotChangeRefuseTheReload(t *testing.T) {
	network(t)
	conf := config(t, owner)
	foreground(t, ours(), conf)
	eventually(t, "it is master", hasVIP)
	for _, change := range []string{"net_namespace other\n", "instance other\n", "global_defs {\n  nftables other\n}\n", "global_defs {\n  disable_local_igmp\n}\n"} {
		write(t, conf, change+owner)
		if status, out := releve(t, "reload"); status != 1 || !strings.Contains(out, "cannot change") || !hasVIP() {
			t.Errorf("%q: status %d, %q", change, status, out)
		}
	}
}

// variant damages a configuration somewhere.
func variant(r *rand.Rand, text string) string {
	b := []byte(text)
	i := r.IntN(len(b))
	switch r.IntN(6) {
	case 0: // a missing byte
		return string(append(b[:i:i], b[i+1:]...))
	case 1: // another byte
		b[i] = byte(r.IntN(256))
		return string(b)
	case 2: // cut off
		return string(b[:i])
	case 3: // a line twice
		lines := strings.SplitAfter(text, "\n")
		k := r.IntN(len(lines))
		return strings.Join(append(append(append([]string{}, lines[:k]...), lines[k]), lines[k:]...), "")
	case 4: // a missing line
		lines := strings.SplitAfter(text, "\n")
		k := r.IntN(len(lines))
		return strings.Join(append(append([]string{}, lines[:k]...), lines[k+1:]...), "")
	}
	words := strings.Fields(text)
	return strings.Replace(text, words[r.IntN(len(words))], []string{"", "{", "}", "\"", "0", "-1", "99999", "none0", "include /none"}[r.IntN(9)], 1)
}

func TestC16IdentsInSyslog(t *testing.T) {
	network(t)
	// A /dev of our own: /dev/log is the one place that cannot be configured.
	if err := syscall.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount("/dev", syscall.MNT_DETACH) })
	for name, minor := range map[string]int{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		if err := syscall.Mknod("/dev/"+name, syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			t.Fatal(err)
		}
	}
	both(t, func(t *testing.T, w which) {
		os.Remove("/dev/log")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got := &output{}
		go func() {
			buf := make([]byte, 2048)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				fmt.Fprintf(got, "%s\n", buf[:n])
			}
		}()
		status, out := inBackground(t, w, "-D", "-S", "local2", "-f", config(t, owner))
		if status != 0 {
			t.Fatalf("status %d, %q", status, out)
		}
		t.Cleanup(func() {
			if pid := pidIn("/run/keepalived.pid"); alive(pid) {
				kill(t, pid, syscall.SIGTERM)
			}
			eventually(t, "it is gone", func() bool { return !exists("/run/keepalived.pid") })
		})
		for _, want := range []string{`<150>[^\n]* Keepalived\[\d+\]: Starting Keepalived v\d`, `<150>[^\n]* Keepalived_vrrp\[\d+\]: \(VI_1\) Entering MASTER STATE`,
			`<150>[^\n]* Keepalived_vrrp\[\d+\]: Sending gratuitous ARP on v0 for 10\.9\.0\.1`, `<150>[^\n]* Keepalived\[\d+\]: Startup complete`} {
			re := regexp.MustCompile(want)
			eventually(t, want, func() bool { return re.MatchString(got.String()) })
		}
	})
}
