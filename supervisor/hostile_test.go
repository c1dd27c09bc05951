package supervisor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/supervisor"
)

// What an operator in a hurry, or one who means harm, does to a daemon that is master. Whatever it is: the master stays master, or the start
// is refused with a word about it, and nothing is left behind.

// master starts an address owner in its own mount namespace, where prepare has been run first.
func master(t *testing.T, prepare string, args ...string) (d *daemon, conf string) {
	t.Helper()
	network(t)
	conf = config(t, owner)
	d = started(t, prepare, func(int) bool { return hasVIP() }, append([]string{"-n", "-l", "-D", "-f", conf}, args...)...)
	eventually(t, "it is up", d.log.has("Startup complete"))
	return d, conf
}

func TestARefusedReloadLeavesTheMasterAlone(t *testing.T) {
	d, conf := master(t, "", "-G")
	addresses := monitor(t)
	replace := func(how func() error) func(t *testing.T) {
		return func(t *testing.T) {
			if err := how(); err != nil {
				t.Skip(err)
			}
			refused := strings.Count(d.log.String(), "Reload refused")
			kill(t, d.pid(), syscall.SIGHUP)
			eventually(t, "it is refused", func() bool { return strings.Count(d.log.String(), "Reload refused") > refused })
			if !hasVIP() {
				t.Error("the address is gone")
			}
			os.RemoveAll(conf)
		}
	}
	os.Remove(conf)
	t.Run("no file", replace(func() error { return nil }))
	t.Run("a folder", replace(func() error { return os.Mkdir(conf, 0o755) }))
	t.Run("a fifo that nobody writes to", replace(func() error { return syscall.Mkfifo(conf, 0o644) }))
	t.Run("a device", replace(func() error { return syscall.Mknod(conf, syscall.S_IFCHR|0o644, 1<<8|5) })) // /dev/zero
	t.Run("a link to itself", replace(func() error { return os.Symlink(conf, conf) }))
	t.Run("a link into nowhere", replace(func() error { return os.Symlink("/nowhere/keepalived.conf", conf) }))
	t.Run("a file that includes itself", replace(func() error {
		return os.WriteFile(conf, []byte("include "+conf+"\n"+strings.Replace(owner, "v0", "v9", 1)), 0o644)
	}))
	t.Run("a socket", replace(func() error {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		return syscall.Bind(fd, &syscall.SockaddrUnix{Name: conf})
	}))
	write(t, conf, strings.Replace(owner, "priority 255", "priority 254", 1)) // not refused any more
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "it is taken", d.log.has("Reload complete"))
	if strings.Contains(addresses.String(), "Deleted") && strings.Contains(addresses.String(), "10.9.0.1") {
		t.Errorf("the address went:\n%s", addresses)
	}
}

func TestAHundredHUPsAreAFewReloadsAndNoHarm(t *testing.T) {
	d, _ := master(t, "", "-G")
	addresses := monitor(t)
	for i := range 100 {
		pid := d.pid()
		if i%3 == 0 {
			pid = pidIn("/run/vrrp.pid")
		}
		_ = syscall.Kill(pid, syscall.SIGHUP)
		time.Sleep(time.Millisecond)
	}
	eventually(t, "there was more than one", func() bool { return strings.Count(d.log.String(), "Reloading ...") > 1 })
	settled(t, d)
	if n := strings.Count(d.log.String(), "Reloading ..."); n < 2 || n > 100 {
		t.Errorf("%d reloads", n)
	}
	if !hasVIP() || strings.Contains(addresses.String(), "10.9.0.1") {
		t.Errorf("the address changed:\n%s", addresses)
	}
	if d.stop() != 0 || hasVIP() {
		t.Error("it did not end well")
	}
}

// Whoever reloads once a second, as configuration generators do, gets a parent that holds one configuration, not all of the last minute.
func TestManyReloadsInAMinuteDoNotKeepTheirConfigurations(t *testing.T) {
	d, conf := master(t, "", "-G")
	var big strings.Builder
	big.WriteString(owner + "virtual_server_group G {\n")
	for i := range 4000 {
		fmt.Fprintf(&big, "  10.%d.%d.1 80\n", 100+i/250, i%250)
	}
	write(t, conf, big.String()+"}\n")
	memory := func() (kb int) {
		_, rest, _ := strings.Cut(read(fmt.Sprintf("/proc/%d/status", d.pid())), "RssAnon:")
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			t.Fatal(err)
		}
		return kb
	}
	reload := func(n int) int {
		for range n {
			if a, err := supervisor.Ask("/run/keepalived.pid", "reload"); err != nil || !a.OK {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		return memory()
	}
	early := reload(15)
	if late := reload(60); late > early+20<<10 {
		t.Errorf("%d KiB after 15 reloads, %d after 60 more", early, late)
	} else {
		t.Logf("%d KiB after 15 reloads, %d after 60 more", early, late)
	}
}

// settled waits until as many reloads have ended as were begun.
func settled(t *testing.T, d *daemon) {
	t.Helper()
	eventually(t, "all reloads have ended", func() bool {
		log := d.log.String()
		begun, ended := strings.Count(log, "Reloading ..."), strings.Count(log, "Reload complete")+strings.Count(log, "Reload refused")
		time.Sleep(50 * time.Millisecond)
		return begun == ended && begun == strings.Count(d.log.String(), "Reloading ...")
	})
}

func TestAHUPAtAnyMomentOfTheStartDoesNoHarm(t *testing.T) {
	network(t)
	conf := config(t, owner)
	for ms := 0; ms < 24; ms += 2 {
		cleanRun(t)
		d := foreground(t, ours(), conf)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		early := !d.log.has("Starting Keepalived")()
		kill(t, d.pid(), syscall.SIGHUP)
		select {
		case <-d.done:
			if early { // before the program has its first word nobody can catch a signal
				continue
			}
			t.Fatalf("a HUP after %d ms ended it with status %d", ms, d.status)
		case <-time.After(time.Second):
		}
		eventually(t, "it is master", hasVIP)
		settled(t, d)
		if status := d.stop(); status != 0 || hasVIP() {
			t.Errorf("status %d, address left: %v", status, hasVIP())
		}
	}
}

func TestATERMAtAnyMomentOfAReloadEndsItInGoodOrder(t *testing.T) {
	network(t)
	more := owner
	for i := range 40 { // a reload that has something to do
		more += fmt.Sprintf("vrrp_instance VI_%d {\n  interface v0\n  virtual_router_id %d\n  priority 255\n  virtual_ipaddress {\n    10.9.1.%d/24\n  }\n}\n", i+2, i+60, i+2)
	}
	for ms := 0; ms < 32; ms += 4 {
		cleanRun(t)
		conf := config(t, owner)
		d := foreground(t, ours(), conf)
		eventually(t, "it is up", d.log.has("Startup complete"))
		write(t, conf, more)
		kill(t, d.pid(), syscall.SIGHUP)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		if status := d.stop(); status != 0 {
			t.Errorf("TERM %d ms after HUP: status %d", ms, status)
		}
		if out, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output(); strings.Contains(string(out), "10.9.0.1/") || strings.Contains(string(out), "10.9.1.") {
			t.Errorf("TERM %d ms after HUP: left\n%s", ms, out)
		}
		if left, _ := filepath.Glob("/run/*.pid"); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

func TestRunThatCannotBeWrittenToRefusesTheStart(t *testing.T) {
	network(t)
	cleanRun(t)
	c := exec.Command("unshare", "-m", "sh", "-c", `mount -o remount,ro,bind /run 2>/dev/null || mount --bind -o ro /run /run && mount -o remount,ro,bind /run && exec "$@"`, "sh", ours().path, "-n", "-l", "-G", "-f", config(t, owner))
	out, err := c.CombinedOutput()
	if err == nil || c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "/run/keepalived.pid") || !strings.Contains(string(out), "read-only") {
		t.Errorf("%v: %s", err, out)
	}
	if hasVIP() {
		t.Error("an address was left")
	}
}

func TestAFullFolderOfPidFilesCostsThePidsAndNotTheStart(t *testing.T) {
	full := t.TempDir()
	d, _ := master(t, "mount -t tmpfs -o size=4k none "+full+"; echo ballast >"+full+"/ballast", "-G", "-p", full+"/p.pid", "-r", full+"/v.pid")
	for _, f := range []string{"p.pid", "v.pid"} {
		if !strings.Contains(d.log.String(), "write pid file "+full+"/"+f) {
			t.Errorf("no word about %s", f)
		}
	}
	if status := d.stop(); status != 0 || hasVIP() {
		t.Errorf("it did not end well: status %d", status)
	}
}

func TestAPartWithoutFreeDescriptorsRefusesAReloadAtOnce(t *testing.T) {
	d, conf := master(t, "", "-G")
	child := pidIn("/run/vrrp.pid")
	var usual unix.Rlimit
	if err := unix.Prlimit(child, unix.RLIMIT_NOFILE, nil, &usual); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(child, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: usual.Max}, nil); err != nil {
		t.Fatal(err)
	}
	write(t, conf, strings.Replace(owner, "priority 255", "priority 254", 1))
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "it is refused", d.log.has("Reload refused, the running configuration stays: the configuration did not arrive: too many open files"))
	if err := unix.Prlimit(child, unix.RLIMIT_NOFILE, &usual, nil); err != nil {
		t.Fatal(err)
	}
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "it is taken when there is room", d.log.has("Reload complete"))
	if !hasVIP() {
		t.Error("the master suffered")
	}
}

// A disk that is full costs dumps, saved configurations and logs, not adverts, and what was there before is not half replaced.
func TestAFullDiskCostsADumpAndNothingElse(t *testing.T) {
	full := t.TempDir()
	d, _ := master(t, "mount -t tmpfs -o size=64k none "+full+"; export TMPDIR="+full, "-G")
	inside := func(name string) string { return fmt.Sprintf("/proc/%d/root%s/%s", d.pid(), full, name) }
	kill(t, d.pid(), syscall.SIGUSR1)
	eventually(t, "there is a dump", func() bool { return strings.Contains(read(inside("keepalived.data")), "10.9.0.1") })
	eventually(t, "and the parent's", func() bool { return exists(inside("keepalived_parent.data")) })
	time.Sleep(50 * time.Millisecond)
	before := read(inside("keepalived.data"))
	_ = os.WriteFile(inside("ballast"), make([]byte, 1<<20), 0o600) // as much as goes in
	kill(t, d.pid(), syscall.SIGUSR1)
	kill(t, d.pid(), syscall.SIGUSR2)
	kill(t, d.pid(), syscall.Signal(36))
	eventually(t, "it says so", d.log.has("no space left on device"))
	if got := read(inside("keepalived.data")); got != before && !strings.Contains(got, "10.9.0.1") {
		t.Errorf("half a file of %d bytes, %d before", len(got), len(before))
	}
	eventually(t, "no file but theirs is left", func() bool { // the other dumps may still be on their way
		names, err := os.ReadDir(inside(""))
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(names, func(n os.DirEntry) bool {
			return n.Name() != "ballast" && !strings.HasPrefix(n.Name(), "keepalived") || len(n.Name()) > len("keepalived_parent.data")
		})
	})
	if !hasVIP() || !alive(pidIn("/run/vrrp.pid")) {
		t.Error("the master suffered")
	}
	os.Remove(inside("ballast"))
	old, _ := os.Stat(inside("keepalived.data"))
	kill(t, d.pid(), syscall.SIGUSR1)
	eventually(t, "with room again there is a new dump", func() bool {
		st, err := os.Stat(inside("keepalived.data"))
		return err == nil && !os.SameFile(st, old)
	})
}

func TestASyslogThatIsNotThereOrGoesHoldsNobodyUp(t *testing.T) {
	t.Run("there is none", func(t *testing.T) {
		d, _ := master(t, "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3")
		if d.stop() != 0 || hasVIP() {
			t.Error("it did not end well")
		}
	})
	t.Run("it is a folder", func(t *testing.T) {
		d, _ := master(t, "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mkdir /dev/log")
		if d.stop() != 0 || hasVIP() {
			t.Error("it did not end well")
		}
	})
}

// Files of the daemon are its own: a second one with other pid files and the same instance does not take them, and what is removed under it
// comes to no harm.
func TestFilesThatAreRemovedUnderADaemon(t *testing.T) {
	d, conf := master(t, "", "-G")
	for _, f := range []string{"/run/keepalived.pid", "/run/vrrp.pid", "/run/keepalived.sock"} {
		os.Remove(f)
	}
	write(t, conf, strings.Replace(owner, "priority 255", "priority 254", 1))
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "it reloads all the same", d.log.has("Reload complete"))
	// Somebody else takes the name meanwhile: it is not ours to remove.
	write(t, "/run/keepalived.pid", "1\n")
	if d.stop() != 0 || hasVIP() {
		t.Error("it did not end well")
	}
	if read("/run/keepalived.pid") != "1\n" {
		t.Error("a pid file of somebody else was removed")
	}
	os.Remove("/run/keepalived.pid")
}

func TestTwoDaemonsWithTheirOwnPidFilesDoNotRemoveEachOthersAddresses(t *testing.T) {
	network(t)
	dir := t.TempDir()
	first := foreground(t, ours(), config(t, owner), "-p", dir+"/a", "-r", dir+"/b")
	eventually(t, "the first is master", hasVIP)
	other := strings.NewReplacer("VI_1", "VI_2", "_id 51", "_id 52", "10.9.0.1", "10.9.0.7").Replace(owner)
	second := foreground(t, ours(), config(t, other), "-X", "-p", dir+"/c", "-r", dir+"/d")
	eventually(t, "the second is master", second.log.has("Entering MASTER STATE"))
	if !hasVIP() {
		t.Error("the second took the first one's address away")
	}
	if second.stop() != 0 || !hasVIP() {
		t.Error("the end of the second took the first one's address away")
	}
	first.stop()
}

func TestAParentKilledWhileItReloadsTakesEverythingAlong(t *testing.T) {
	testneed.Need(t, "netns")
	network(t)
	conf := config(t, owner)
	for ms := 0; ms < 12; ms += 3 {
		for _, f := range []string{"/run/keepalived.pid", "/run/vrrp.pid"} {
			os.Remove(f)
		}
		d := foreground(t, ours(), conf)
		eventually(t, "it is up", d.log.has("Startup complete"))
		child := pidIn("/run/vrrp.pid")
		kill(t, d.pid(), syscall.SIGHUP)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		kill(t, d.pid(), syscall.SIGKILL)
		d.wait()
		eventually(t, "the child ends and its address goes", func() bool { return !alive(child) && !hasVIP() })
	}
	for _, f := range []string{"/run/keepalived.pid", "/run/vrrp.pid"} {
		os.Remove(f)
	}
}
