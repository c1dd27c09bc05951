package supervisor_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// effects says for each option of the command line which test shows its effect.
var effects = map[string]string{
	"use-file": "TestOptionsThatSayWhichPartsRun", "vrrp": "TestOptionsThatSayWhichPartsRun", "check": "TestOptionsThatSayWhichPartsRun",
	"no_bfd": "TestOptionsThatSayWhichPartsRun", "all": "TestOptionsThatSayWhichPartsRun",
	"log-console": "TestOptionsOfTheLog", "log-detail": "TestOptionsOfTheLog", "log-facility": "TestOptionsOfTheLog", "no-syslog": "TestOptionsOfTheLog",
	"log-file": "TestOptionsOfTheLog", "flush-log-file": "TestOptionsOfTheLog", "dump-conf": "TestOptionsOfTheLog",
	"umask": "TestOptionsOfFilesAndLimits", "core-dump": "TestOptionsOfFilesAndLimits", "core-dump-pattern": "TestOptionsOfFilesAndLimits",
	"release-vips":      "TestReleaseVIPsTakesAwayWhatAnotherRunLeft",
	"dont-release-vrrp": "TestDontReleaseLeavesAddressesAndTable", "dont-release-ipvs": "TestDontReleaseLeavesAddressesAndTable",
	"dont-respawn": "TestDontRespawnEndsEverythingWithStatus0", "dont-fork": "TestC4TheCommandReturnsOnlyWhenTheDaemonIsUp",
	"pid": "TestC6PidFilesOfTheCommandLine", "vrrp_pid": "TestC6PidFilesOfTheCommandLine", "checkers_pid": "TestC6PidFilesOfTheCommandLine",
	"bfd_pid": "TestC6PidFilesOfTheCommandLine", "genhash": "TestGenhash", "address-monitoring": "TestAddressMonitoring",
	"snmp": "TestOptionsTakenForTheirUsers", "snmp-agent-socket": "TestOptionsTakenForTheirUsers", "no-mem-check": "TestOptionsTakenForTheirUsers",
	"namespace": "TestTheNetworkNamespaceOfTheCommandLine", "all-config": "TestOptionsOfReading", "config-id": "TestOptionsOfReading",
	"ignore-sigint": "TestSigintStopsUnlessItIsToBeIgnored", "signum": "TestC2SignumPrintsABareNumber",
	"config-test": "TestComplaintsOfAConfigurationTestGoToTheFile", "version": "TestC1VersionIsOnStandardErrorInTheReferencesShape",
	"help": "TestHelpIsOnStandardErrorAndNamesEveryOption",
}

func TestEveryOptionHasATestOfItsEffect(t *testing.T) {
	var help bytes.Buffer
	c := exec.Command(ours().path, "--help")
	c.Stderr = &help
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	tests := ""
	for _, pattern := range []string{"*_test.go", "../cmd/releve/*_test.go"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			tests += read(f)
		}
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^ .* --([a-z_-]+)`).FindAllStringSubmatch(help.String(), -1) {
		found++
		switch test := effects[m[1]]; {
		case test == "":
			t.Errorf("no test of --%s", m[1])
		case !strings.Contains(tests, "func "+test):
			t.Errorf("--%s: there is no %s", m[1], test)
		}
	}
	if found < len(effects) {
		t.Errorf("%d options in\n%s\nwant %d", found, &help, len(effects))
	}
}

// started runs our program with exactly these arguments, in a mount namespace where prepare has been run, until ok; it returns what came
// out on standard error.
func started(t *testing.T, prepare string, ok func(pid int) bool, args ...string) *daemon {
	t.Helper()
	cleanRun(t)
	d := &daemon{t: t, log: &output{}, done: make(chan struct{})}
	d.cmd = exec.Command("unshare", append([]string{"-m", "sh", "-c", prepare + "\nexec \"$@\"", "sh", ours().path}, args...)...)
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
		<-d.done
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", d.log)
		}
	})
	eventually(t, "it is up", func() bool { return ok(d.pid()) })
	return d
}

func TestOptionsThatSayWhichPartsRun(t *testing.T) {
	network(t)
	conf := config(t, empty)
	for args, want := range map[string]string{
		"":            "",
		"--all":       "bfd checkers vrrp",
		"-P --all":    "bfd vrrp",
		"-C --all":    "bfd checkers",
		"-B --all":    "checkers vrrp",
		"-P -B --all": "vrrp",
	} {
		t.Run(args, func(t *testing.T) {
			cleanRun(t)
			d := foreground(t, ours(), conf, strings.Fields(args)...)
			eventually(t, "it is up", d.log.has("Startup complete"))
			var got []string
			for _, name := range []string{"bfd", "checkers", "vrrp"} {
				if alive(pidIn("/run/" + name + ".pid")) {
					got = append(got, name)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("got %v, want %s", got, want)
			}
			if !strings.Contains(d.log.String(), "Configuration file "+conf) {
				t.Errorf("not the file of -f: %s", d.log)
			}
		})
	}
}

func TestOptionsOfTheLog(t *testing.T) {
	network(t)
	conf := config(t, owner)
	master := func(int) bool { return hasVIP() && exists("/run/keepalived.sock") }
	t.Run("console", func(t *testing.T) {
		for _, args := range []string{"-n -G", "-n -G -l", "-n -G -l -D", "-n -G -l -d"} {
			d := started(t, "", master, append(strings.Fields(args), "-f", conf)...)
			texts := map[string]bool{
				"(VI_1) Entering MASTER STATE": strings.Contains(args, "-l"), "(VI_1) setting VIPs.": strings.Contains(args, "-D"),
				"Sending gratuitous ARP on v0 for 10.9.0.1": strings.Contains(args, "-D"), " VRRP Instance = VI_1": strings.Contains(args, "-d"),
			}
			for text, want := range texts {
				if want {
					eventually(t, args+": the log has "+text, d.log.has(text))
				}
			}
			time.Sleep(100 * time.Millisecond) // for what it should not have
			d.stop()
			for text, want := range texts {
				if strings.Contains(d.log.String(), text) != want {
					t.Errorf("%s: %q in the log: %v, want %v\n%s", args, text, !want, want, d.log)
				}
			}
		}
	})
	t.Run("syslog", func(t *testing.T) {
		// The daemon finds a /dev of its own, where log leads to our socket.
		path := "/run/devlog"
		os.Remove(path)
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		got := &output{}
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				got.Write(append(buf[:n:n], '\n'))
			}
		}()
		// heard waits until all that was sent has been read: what is sent now comes after it.
		mark, marks := regexp.MustCompile(`(?m)^mark \d+\n`), 0
		heard := func() {
			t.Helper()
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			marks++
			text := fmt.Sprintf("mark %d", marks)
			if _, err := c.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the mark is read", got.has(text+"\n"))
		}
		const dev = "mkdir -p /run/dev && mount -t tmpfs tmpfs /run/dev && : >/run/dev/null && mount --bind /dev/null /run/dev/null && " +
			"ln -s /run/devlog /run/dev/log && mount --rbind /run/dev /dev"
		for _, tt := range []struct {
			args string
			prio int
		}{{"", 3<<3 | 6}, {"-S 3", 19<<3 | 6}, {"-S local0", 16<<3 | 6}, {"--log-facility=user", 1<<3 | 6}} {
			heard()
			before := len(got.String())
			started(t, dev, master, append(strings.Fields("-n "+tt.args), "-f", conf)...).stop()
			heard()
			for _, ident := range []string{"Keepalived", "Keepalived_vrrp"} {
				if want := regexp.MustCompile(fmt.Sprintf(`(?m)^<%d>\w{3} [ \d]\d [\d:]{8} %s\[\d+\]: `, tt.prio, ident)); !want.MatchString(got.String()[before:]) {
					t.Errorf("%s: no %v in %s", tt.args, want, got.String()[before:])
				}
			}
		}
		heard()
		before := len(got.String())
		started(t, dev, master, "-n", "-G", "-f", conf).stop()
		heard()
		if s := mark.ReplaceAllString(got.String()[before:], ""); s != "" {
			t.Errorf("with -G: %s", s)
		}
	})
	t.Run("files", func(t *testing.T) {
		dir := t.TempDir()
		d := started(t, "", master, "-n", "-G", "-f", conf, "-g"+filepath.Join(dir, "ka.log"), "--flush-log-file")
		for name, text := range map[string]string{"ka.log": "Startup complete", "ka_vrrp.log": "Entering MASTER STATE"} {
			eventually(t, name, func() bool { return strings.Contains(read(filepath.Join(dir, name)), text) }) // while it runs
		}
		d.stop()
		if d.log.String() != "" {
			t.Errorf("the console got %s", d.log)
		}
	})
}

func TestOptionsOfFilesAndLimits(t *testing.T) {
	network(t)
	conf := config(t, owner)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	d := started(t, ": >/run/pattern; mount --bind /run/pattern /proc/sys/kernel/core_pattern", func(int) bool { return hasVIP() && exists("/run/keepalived.sock") },
		"-n", "-l", "-G", "-f", conf, "-u", "027", "-m", "-M/run/core.%p")
	kill(t, d.pid(), syscall.SIGUSR1)
	file := filepath.Join(dir, "keepalived.data")
	eventually(t, "the dump", func() bool { return exists(file) })
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, mode %v, want 0640", err, st.Mode())
	}
	for _, pid := range []int{d.pid(), pidIn("/run/vrrp.pid")} {
		if s := read(fmt.Sprintf("/proc/%d/limits", pid)); !regexp.MustCompile(`Max core file size +unlimited +unlimited`).MatchString(s) {
			t.Errorf("process %d: %s", pid, s)
		}
	}
	if got := read("/run/pattern"); got != "/run/core.%p" {
		t.Errorf("core pattern %q", got)
	}
}

func TestReleaseVIPsTakesAwayWhatAnotherRunLeft(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, strings.Replace(owner, "10.9.0.1/24", "10.9.0.55/24", 1)))
	there := func() bool {
		out, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output()
		return strings.Contains(string(out), "10.9.0.55/")
	}
	eventually(t, "it is master", there)
	eventually(t, "it says so", d.log.has("Startup complete"))
	kill(t, d.pid(), syscall.SIGSTOP)
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGKILL)
	kill(t, d.pid(), syscall.SIGKILL)
	d.wait()
	cleanRun(t)
	d = foreground(t, ours(), config(t, owner), "-X")
	eventually(t, "it is master", hasVIP)
	eventually(t, "the other one is gone", func() bool { return !there() })
	d.stop()
}

func TestOptionsTakenForTheirUsers(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, "global_defs {\n  enable_snmp_vrrp\n  enable_traps\n  enable_dbus\n}\n"+owner), "-x", "-A", "unix:/none", "--no-mem-check")
	eventually(t, "it is master", hasVIP)
	eventually(t, "it says that there is no D-Bus", d.log.has("D-Bus is not part of this build"))
	eventually(t, "it says that there is no SNMP", d.log.has("SNMP is not part of this build"))
	d.stop()
	if n := strings.Count(d.log.String(), "SNMP is not part"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestOptionsOfReading(t *testing.T) {
	network(t)
	for _, tt := range []struct {
		name, text, args string
		status           int
	}{
		{"a missing include", "include /none/file\n" + owner, "", 0},
		{"a missing include counts", "include /none/file\n" + owner, "-e", 6},
		{"lines of another machine", "@here nonsense_keyword\n" + owner, "-i there", 0},
		{"lines of this machine", "@here nonsense_keyword\n" + owner, "-i here", 5},
		{"lines for all but this machine", "@^here nonsense_keyword\n" + owner, "--config-id=here", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := exec.Command(ours().path, append([]string{"-t", "-f", config(t, tt.text)}, strings.Fields(tt.args)...)...)
			out, _ := c.CombinedOutput()
			got := c.ProcessState.ExitCode()
			if tt.status == 0 && tt.args == "" && got == 5 { // complained about, not counted as missing
				got = 0
			}
			if got != tt.status {
				t.Errorf("status %d, want %d: %s", got, tt.status, out)
			}
		})
	}
}
