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

func Test200BrokenVariantsNeverOrphanAnAddressOrEndTheDaemon(t *testing.T) {
	network(t)
	text := "global_defs {\n  reload_guard\n}\n" + strings.ReplaceAll(owner, "  priority 255", "  priority 150\n  version 3\n  advert_int 0.02")
	conf := config(t, text)
	d := foreground(t, ours(), conf)
	eventually(t, "it is master", hasVIP)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pids := [2]int{pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid")}
	refused, taken := 0, 0
	for i := range 200 {
		broken := variant(r, text)
		write(t, conf, broken)
		status, out := releve(t, "reload")
		switch {
		case status == 1:
			refused++
			if !hasVIP() || pidIn("/run/vrrp.pid") != pids[1] {
				t.Fatalf("variant %d was refused, but the VIP is there: %v, the part is another: %v\n%s\nsaid %q", i, hasVIP(), pidIn("/run/vrrp.pid") != pids[1], broken, out)
			}
		case status == 0: // it is a configuration all the same, maybe of another address; back to the right one
			taken++
			write(t, conf, text)
			if status, out := releve(t, "reload"); status != 0 {
				t.Fatalf("back from variant %d: status %d, %q\n%s", i, status, out, broken)
			}
			// An instance that is another one now starts as backup: its address goes and comes back.
			for since := time.Now(); time.Since(since) < 200*time.Millisecond; time.Sleep(5 * time.Millisecond) {
				if !hasVIP() {
					eventually(t, "it is master again", hasVIP)
					since = time.Now()
				}
			}
			pids[1] = pidIn("/run/vrrp.pid") // the part may have had nothing to do meanwhile
		default:
			t.Fatalf("variant %d: status %d, %q\n%s", i, status, out, broken)
		}
		if !alive(d.pid()) || pidIn("/run/keepalived.pid") != pids[0] {
			t.Fatalf("variant %d ended the daemon:\n%s", i, broken)
		}
	}
	t.Logf("%d refused, %d taken", refused, taken)
	if strings.Contains(d.log.String(), "died") {
		t.Error("a part died")
	}
	d.stop()
	if out, _ := exec.Command("ip", "-o", "-4", "addr", "show", "dev", "v0").Output(); strings.Count(string(out), "\n") != 1 {
		t.Errorf("left on the interface:\n%s", out)
	}
}

// random is a valid configuration of up to five instances with up to four addresses each.
func random(r *rand.Rand) (text string, want map[string]bool) {
	var b strings.Builder
	want = map[string]bool{"10.9.0.2/24": true}
	for _, i := range r.Perm(5)[:r.IntN(5)] {
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n  interface v0\n  virtual_router_id %d\n  priority 255\n  version 3\n  advert_int %d.%d\n  virtual_ipaddress {\n", i, 10+i, r.IntN(2), 1+r.IntN(9))
		for _, k := range r.Perm(4)[:1+r.IntN(4)] {
			fmt.Fprintf(&b, "    10.9.%d.%d/24\n", i+1, k+1)
			want[fmt.Sprintf("10.9.%d.%d/24", i+1, k+1)] = true
		}
		b.WriteString("  }\n}\n")
	}
	return b.String(), want
}

func TestRandomReloadsEndUpWhereAFreshStartWould(t *testing.T) {
	network(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	conf := config(t, empty)
	d := foreground(t, ours(), conf, "--all")
	eventually(t, "it is up", d.log.has("Startup complete"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	files := func() (n int) {
		for _, f := range []string{"/run/keepalived.pid", "/run/vrrp.pid"} {
			entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pidIn(f)))
			n += len(entries)
		}
		return n
	}
	pid, highest := pidIn("/run/vrrp.pid"), 0
	for i := range rounds {
		text, want := random(r)
		write(t, conf, text)
		if status, out := releve(t, "reload"); status != 0 {
			t.Fatalf("reload %d: %d %q\n%s", i, status, out, text)
		}
		eventually(t, fmt.Sprintf("the addresses of reload %d, %v\n%s", i, want, text), func() bool {
			out, _ := exec.Command("ip", "-o", "-4", "addr", "show", "dev", "v0").Output()
			have := map[string]bool{}
			for line := range strings.Lines(string(out)) {
				have[strings.Fields(line)[3]] = true
			}
			return fmt.Sprint(have) == fmt.Sprint(want)
		})
		if i == rounds/3 {
			write(t, conf, "")
			highest = files()
		}
	}
	write(t, conf, empty)
	releve(t, "reload")
	if n := files(); highest > 0 && n > highest+8 {
		t.Errorf("%d open files after %d reloads, %d after a third of them", n, rounds, highest)
	}
	if pidIn("/run/vrrp.pid") != pid {
		t.Error("the part is another one")
	}
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
