package supervisor_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// releve runs a subcommand against the running daemon.
func releve(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	return releveFed(t, "", args...)
}

// releveFed is releve with something on its standard input.
func releveFed(t *testing.T, in string, args ...string) (status int, out string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(ours().path), "releve"), args...)
	cmd.Stdin = strings.NewReader(in)
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
	eventually(t, "its state is told", func() bool { return parts(t)["VRRP"].States["VI_1"] == "MASTER" })
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
	mark := filepath.Join(dir, "mark")
	conf := config(t, fmt.Sprintf("global_defs {\n  reload_file %s\n}\n", mark))
	foreground(t, ours(), conf).up()
	write(t, mark, "the files are being changed")
	// The kernel tells what happens to it, however short it is there.
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CREATE|syscall.IN_MODIFY|syscall.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	events := func() (out []uint32) {
		buf := make([]byte, 4096)
		n, _ := syscall.Read(fd, buf)
		for at := 0; at+syscall.SizeofInotifyEvent <= n; {
			out = append(out, binary.NativeEndian.Uint32(buf[at+4:]))
			at += syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[at+12:]))
		}
		return out
	}
	for what, want := range map[string][]uint32{"emptied and removed": {syscall.IN_MODIFY, syscall.IN_DELETE}, "made and removed": {syscall.IN_CREATE, syscall.IN_DELETE}} {
		if (want[0] == syscall.IN_MODIFY) != exists(mark) {
			write(t, mark, "again")
			events()
		}
		if want[0] == syscall.IN_CREATE {
			os.Remove(mark)
			events()
		}
		if status, out := releve(t, "reload"); status != 0 {
			t.Errorf("status %d, %q", status, out)
		}
		if got := events(); !slices.Equal(got, want) || exists(mark) {
			t.Errorf("%s: inotify says %#x, want %#x; it is there: %v", what, got, want, exists(mark))
		}
	}
}

func TestConfigSaveDirKeepsConfigurationAndStateOfEachReload(t *testing.T) {
	both(t, func(t *testing.T, w which) {
		network(t)
		save := "/run/save"
		t.Cleanup(func() { os.RemoveAll(save) })
		text := "global_defs {\n  config_save_dir " + save + "\n}\n" + owner
		conf := config(t, text)
		d := foreground(t, w, conf)
		eventually(t, "it is master", hasVIP)
		d.up()
		write(t, conf, strings.ReplaceAll(text, "10.9.0.1/24", "10.9.0.8/24"))
		parent, child := pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid")
		kill(t, parent, syscall.SIGHUP)
		pre, post := fmt.Sprintf("%s/keepalived_vrrp.%d.1.pre", save, child), fmt.Sprintf("%s/keepalived_vrrp.%d.1.post", save, child)
		eventually(t, "the state after the reload", func() bool { return strings.Contains(read(post), "10.9.0.8") })
		if s := read(pre); !strings.Contains(s, "10.9.0.1/24") || strings.Contains(s, "10.9.0.8") || !strings.Contains(s, "VRRP Instance = VI_1") {
			t.Errorf("the state before it:\n%s", s)
		}
		for n, want := range []string{"10.9.0.1/24", "10.9.0.8/24"} {
			if s := read(fmt.Sprintf("%s/keepalived.conf.%d.%d", save, parent, n)); !strings.Contains(s, want) {
				t.Errorf("configuration %d: %q", n, s)
			}
		}
		if w.name != "releve" {
			return
		}
		// What is refused leaves nothing.
		write(t, conf, strings.ReplaceAll(text, "v0", "none0"))
		if status, out := releve(t, "reload"); status != 1 {
			t.Errorf("status %d, %q", status, out)
		}
		if files, _ := filepath.Glob(save + "/*"); len(files) != 4 {
			t.Errorf("config_save_dir holds %v", files)
		}
		d.stop()
	})
}

func TestReloadTimeFileReloads(t *testing.T) {
	testneed.Need(t, "netns")
	at := filepath.Join(t.TempDir(), "at")
	d := foreground(t, ours(), config(t, "global_defs {\n  reload_time_file "+at+"\n}\n"))
	eventually(t, "it is up", d.log.has("Startup complete"))
	for n := 1; ; n++ {
		write(t, at, time.Now().Add(2*time.Second).UTC().Format("2006-01-02 15:04:05")+"Z\n")
		eventually(t, "it is seen", func() bool {
			return strings.Contains(d.log.String(), "a reload is scheduled") || strings.Count(d.log.String(), "is in the past") == n
		})
		if strings.Contains(d.log.String(), "a reload is scheduled") {
			break
		}
		if n == 10 { // it looks once a second, and a little later on a busy machine
			t.Fatal("it is always too late")
		}
	}
	eventually(t, "it reloads", d.log.has("Reload complete"))
	if exists(at) {
		t.Error("the file is still there")
	}
}

func TestReloadRepeatStrikesAgainTheNextDay(t *testing.T) {
	testneed.Need(t, "netns")
	at := filepath.Join(t.TempDir(), "at")
	d := foreground(t, ours(), config(t, "global_defs {\n  reload_time_file "+at+"\n  reload_repeat\n}\n"))
	eventually(t, "it is up", d.log.has("Startup complete"))
	for n := 0; ; n++ { // it looks once a second: on a busy machine the time may have passed by then, and is tomorrow's
		write(t, at, time.Now().Add(2*time.Second).UTC().Format("15:04:05")+"Z\n")
		for end := time.Now().Add(8 * time.Second); !d.log.has("Reload complete")() && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		}
		if d.log.has("Reload complete")() {
			break
		}
		if n == 5 {
			t.Fatal("it never reloads")
		}
	}
	if !exists(at) {
		t.Error("with reload_repeat the file stays")
	}
}

func TestReloadGuardRefusesWhatTheReferenceWouldTake(t *testing.T) {
	network(t)
	const guard = "global_defs {\n  reload_guard\n}\n"
	conf := config(t, guard+owner)
	foreground(t, ours(), conf).up()
	eventually(t, "it is master", hasVIP)
	for name, bad := range map[string]string{
		"a misspelt word":        guard + strings.ReplaceAll(owner, "priority", "prioirty"),
		"an empty file":          "",
		"a guard that goes":      strings.ReplaceAll(owner, "priority 255", "priority 2555"),
		"a guard that comes too": "global_defs {\n  reload_guard on\n}\nnonsense\n" + owner,
	} {
		write(t, conf, bad)
		status, out := releve(t, "reload")
		if status != 1 || !hasVIP() {
			t.Errorf("%s: status %d, the VIP is there: %v, %q", name, status, hasVIP(), out)
		}
		if strings.Contains(bad, "prioirty") && !strings.Contains(out, conf+":7:3: ") {
			t.Errorf("%s: no file:line:column in %q", name, out)
		}
		if status, out := releve(t, "plan", conf); status != 2 {
			t.Errorf("%s: the plan's status is %d, %q", name, status, out)
		}
	}
}

func TestIncludeCheckDecidesWhetherAMissingIncludeRefusesTheReload(t *testing.T) {
	network(t)
	conf := config(t, owner)
	foreground(t, ours(), conf).up()
	eventually(t, "it is master", hasVIP)
	for _, tt := range []struct {
		name, text string
		status     int
	}{
		{"without include_check a missing include is only said", "include /none/at.all\n" + owner, 0},
		{"with include_check match it refuses", "global_defs {\n  include_check match\n}\ninclude /none/at.all\n" + owner, 1},
		{"an include that must exist refuses by itself", "includea /none/at.all\n" + owner, 1},
		{"with include_check a file that is there is taken", "global_defs {\n  include_check\n}\ninclude " + conf + ".more\n" + owner, 0},
	} {
		write(t, conf+".more", "! nothing\n")
		write(t, conf, tt.text)
		if status, out := releve(t, "reload"); status != tt.status || !hasVIP() {
			t.Errorf("%s: status %d, want %d, the VIP is there: %v: %q", tt.name, status, tt.status, hasVIP(), out)
		}
	}
}

func TestStatesAreWrittenToTheFifoAgainOnReload(t *testing.T) {
	for _, keyword := range []string{"", "  fifo_write_vrrp_states_on_reload\n"} {
		t.Run("keyword "+strings.TrimSpace(keyword), func(t *testing.T) {
			network(t)
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			got := &output{}
			go func() {
				buf := make([]byte, 4096)
				for {
					n, err := f.Read(buf)
					if err != nil {
						return
					}
					got.Write(buf[:n])
				}
			}()
			text := "global_defs {\n  vrrp_notify_fifo " + fifo + "\n" + keyword + "}\n" + owner
			conf := config(t, text)
			foreground(t, ours(), conf).up()
			eventually(t, "the first state is told", got.has("INSTANCE \"VI_1\" MASTER 255"))
			write(t, conf, text+"\n")
			if status, out := releve(t, "reload"); status != 0 {
				t.Fatalf("status %d, %q", status, out)
			}
			if keyword != "" {
				eventually(t, "it is told again", func() bool { return strings.Count(got.String(), "INSTANCE \"VI_1\" MASTER 255") == 2 })
				return
			}
			time.Sleep(200 * time.Millisecond)
			if n := strings.Count(got.String(), "INSTANCE"); n != 1 {
				t.Errorf("told %d times: %q", n, got)
			}
		})
	}
}

func TestGlobalSettingsThatCannotChangeRefuseTheReload(t *testing.T) {
	network(t)
	conf := config(t, owner)
	foreground(t, ours(), conf).up()
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
