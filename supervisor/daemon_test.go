package supervisor_test

import (
	"bytes"
	"encoding/json"
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

	"releve/internal/testneed"
)

// network makes a veth pair v0 (10.9.0.2/24), v1 for one test.
func network(t *testing.T) {
	t.Helper()
	testneed.Need(t, "netns", "ip")
	for _, args := range []string{"link add v0 type veth peer name v1", "addr add 10.9.0.2/24 dev v0", "link set v0 up", "link set v1 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "link", "del", "v0").Run() })
	// The kernel tells of links that come up at most once a second, all namespaces together: a daemon that starts sooner begins in FAULT.
	eventually(t, "the link is up", func() bool {
		out, _ := exec.Command("ip", "-o", "link", "show", "up").Output()
		return strings.Count(string(out), " state UP ") == 2
	})
}

// owner is a configuration that is master from the first moment on.
const owner = `vrrp_instance VI_1 {
  interface v0
  virtual_router_id 51
  priority 255
  virtual_ipaddress {
    10.9.0.1/24
  }
}
`

func hasVIP() bool {
	out, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output()
	return bytes.Contains(out, []byte(" 10.9.0.1/24 "))
}

// monitor collects what `ip monitor address` says until the test ends.
func monitor(t *testing.T) *output {
	t.Helper()
	o := &output{}
	cmd := exec.Command("ip", "-o", "monitor", "address")
	cmd.Stdout = o
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	probe := func(what string) { exec.Command("ip", "addr", what, "127.99.0.1/8", "dev", "lo").Run() }
	eventually(t, "the monitor listens", func() bool { probe("add"); probe("del"); return strings.Contains(o.String(), "127.99.0.1") })
	return o
}

func TestKillingTheVRRPPartDoesNotDropTheVIP(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, owner))
	eventually(t, "it is master", func() bool { return hasVIP() })
	d.up()
	eventually(t, "its state is told", func() bool { return parts(t)["VRRP"].States["VI_1"] == "MASTER" })
	changes := monitor(t)
	for round := range 2 {
		old := pidIn("/run/vrrp.pid")
		kill(t, old, syscall.SIGKILL)
		eventually(t, "a new part runs", func() bool { p := pidIn("/run/vrrp.pid"); return p != old && alive(p) })
		eventually(t, "it is master again", func() bool {
			return strings.Count(d.log.String(), "(VI_1) Entering MASTER STATE") == round+2
		})
	}
	if !hasVIP() {
		t.Error("the VIP is gone")
	}
	if strings.Contains(changes.String(), "10.9.0.1/24") {
		t.Errorf("the VIP was touched:\n%s", changes)
	}
	if status := d.stop(); status != 0 || hasVIP() {
		t.Errorf("after the stop: status %d, VIP there: %v", status, hasVIP())
	}
}

// balanced is a configuration with a virtual server of two real servers, of which one is checked.
const balanced = `virtual_server 10.9.0.2 80 {
  delay_loop 1
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 10.9.0.11 8080 {
    weight 1
  }
  real_server 10.9.0.12 8080 {
    weight 2
    MISC_CHECK {
      misc_path "/bin/true"
      misc_timeout 30
    }
  }
}
`

func nftTable() string {
	out, _ := exec.Command("nft", "list", "table", "inet", "releve").CombinedOutput()
	return string(out)
}

func TestKillingTheCheckerPartDoesNotTouchTheTable(t *testing.T) {
	testneed.Need(t, "nft")
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		t.Skip("this kernel has IPVS: the same is tested with ipvsadm beside ipvs/kernel")
	}
	network(t)
	d := foreground(t, ours(), config(t, balanced))
	eventually(t, "both servers are in", func() bool {
		table := nftTable()
		return strings.Contains(table, "10.9.0.11") && strings.Contains(table, "10.9.0.12")
	})
	eventually(t, "the log says what serves", d.log.has("nftables"))
	changes := &output{}
	mon := exec.Command("nft", "monitor")
	mon.Stdout = changes
	if err := mon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mon.Process.Kill(); mon.Wait() })
	eventually(t, "the monitor listens", func() bool {
		exec.Command("nft", "add", "table", "inet", "probe").Run()
		exec.Command("nft", "delete", "table", "inet", "probe").Run()
		return strings.Contains(changes.String(), "probe")
	})
	before := nftTable()
	old := pidIn("/run/checkers.pid")
	kill(t, old, syscall.SIGKILL)
	eventually(t, "a new part runs", func() bool { p := pidIn("/run/checkers.pid"); return p != old && alive(p) })
	eventually(t, "it serves", func() bool { return strings.Count(d.log.String(), "Gained quorum") == 2 })
	time.Sleep(200 * time.Millisecond)
	if after := nftTable(); after != before {
		t.Errorf("the table changed from\n%s\nto\n%s", before, after)
	}
	for line := range strings.Lines(changes.String()) {
		if !strings.Contains(line, "probe") && !strings.HasPrefix(line, "#") && strings.Contains(line, "delete") {
			t.Errorf("written: %s", line)
		}
	}
	if d.stop(); strings.Contains(nftTable(), "10.9.0.11") {
		t.Errorf("after the stop the table holds\n%s", nftTable())
	}
}

func TestDontReleaseLeavesAddressesAndTable(t *testing.T) {
	testneed.Need(t, "nft")
	network(t)
	d := foreground(t, ours(), config(t, owner+balanced), "-V", "-I")
	eventually(t, "it is master", hasVIP)
	eventually(t, "it serves", func() bool { return strings.Contains(nftTable(), "10.9.0.11") })
	eventually(t, "it is up", d.log.has("Startup complete"))
	d.stop()
	if !hasVIP() {
		t.Error("-V: the VIP is gone")
	}
	if !strings.Contains(nftTable(), "10.9.0.11") {
		t.Error("-I: the table is empty")
	}
	exec.Command("nft", "delete", "table", "inet", "releve").Run()
}

// broken are files that must not start and must not replace a running configuration.
var broken = []struct {
	name, text string
	start      int    // exit status of a start
	word       string // in what is said
	reference  bool   // the reference's start ends with the same status
}{
	{"E1 one VRID twice on an interface", owner + strings.ReplaceAll(owner, "VI_1", "VI_2"), 2, "51", true},
	{"E2 an interface that does not exist", strings.ReplaceAll(owner, "v0", "none0"), 2, "none0", true},
	{"no virtual_router_id", strings.ReplaceAll(owner, "  virtual_router_id 51\n", ""), 2, "virtual_router_id", true},
	{"a keyword without its value", strings.ReplaceAll(owner, "virtual_router_id 51", "virtual_router_id"), 2, "virtual_router_id", true},
	{"an only VIP that is none", strings.ReplaceAll(owner, "10.9.0.1/24", "10.9.0.999/24"), 2, "virtual_ipaddress", false},
}

func TestC8AStartThatCannotBeEndsWithTheReferencesStatusAndTouchesNothing(t *testing.T) {
	network(t)
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				if w.name == "reference" && !tt.reference {
					t.Skip("the reference does something else")
				}
				d := foreground(t, w, config(t, tt.text))
				if status := d.wait(); status != tt.start {
					t.Errorf("status %d, want %d", status, tt.start)
				}
				if w.name == "releve" && !strings.Contains(d.log.String(), tt.word) {
					t.Errorf("%q is not named in\n%s", tt.word, d.log)
				}
				if hasVIP() {
					t.Error("the VIP was set")
				}
			})
		})
	}
}

func TestWithoutTheVRRPPartItsFaultsEndNothing(t *testing.T) {
	network(t)
	for _, tt := range broken[:3] {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				d := foreground(t, w, config(t, tt.text), "-C")
				eventually(t, "it runs or has ended", func() bool {
					select {
					case <-d.done:
						return true
					default:
						return strings.Contains(d.log.String(), "has no configuration to run")
					}
				})
				select {
				case <-d.done:
					t.Fatalf("it ended with status %d:\n%s", d.status, d.log)
				case <-time.After(300 * time.Millisecond):
				}
				if status := d.stop(); status != 0 {
					t.Errorf("status %d", status)
				}
			})
		})
	}
}

func TestABrokenFileSaysOneLineToItsStarter(t *testing.T) {
	network(t)
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			status, out := inBackground(t, ours(), "-G", "-f", config(t, tt.text))
			if status != tt.start || strings.Count(out, "\n") != 1 || !strings.Contains(out, tt.word) {
				t.Errorf("status %d, output %q: want %d and one line with %q", status, out, tt.start, tt.word)
			}
			if exists("/run/keepalived.pid") {
				t.Error("the pid file is left")
			}
		})
	}
}

func TestE1E2E3ABrokenReloadIsRefusedAndTheMasterStaysMaster(t *testing.T) {
	network(t)
	conf := config(t, owner)
	d := foreground(t, ours(), conf)
	eventually(t, "it is master", hasVIP)
	eventually(t, "it is up", d.log.has("Startup complete"))
	pids := [2]int{pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid")}
	changes := monitor(t)
	refused := 0
	for _, tt := range broken {
		write(t, conf, tt.text)
		refused++
		d.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, tt.name+": it is refused", func() bool { return strings.Count(d.log.String(), "Reload refused") == refused })
		if log := d.log.String(); !strings.Contains(log[strings.LastIndex(log, "Reload refused"):], tt.word) {
			t.Errorf("%s: the reason does not name %q", tt.name, tt.word)
		}
	}
	if err := os.Remove(conf); err != nil { // E3
		t.Fatal(err)
	}
	refused++
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "a missing file is refused", func() bool { return strings.Count(d.log.String(), "Reload refused") == refused })
	if pids != [2]int{pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid")} || !hasVIP() || strings.Contains(changes.String(), "10.9.0.1/24") {
		t.Errorf("the running configuration suffered: VIP there: %v, changes %q", hasVIP(), changes)
	}
	if strings.Count(d.log.String(), "Entering") != 1 {
		t.Error("a state changed")
	}
	// And a good one is taken.
	write(t, conf, strings.ReplaceAll(owner, "10.9.0.1/24", "10.9.0.1/24\n    10.9.0.7/24"))
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the good file is in force", func() bool { return strings.Contains(changes.String(), "10.9.0.7/24") })
	if strings.Contains(changes.String(), "10.9.0.1/24") {
		t.Errorf("the VIP that stays was touched:\n%s", changes)
	}
}

func TestE4AMisspeltPriorityIsDefaultedAsTheReferenceDoesAndRefusedByTheGuard(t *testing.T) {
	network(t)
	text := strings.ReplaceAll(owner, "priority 255", "priority 150")
	conf := config(t, text)
	d := foreground(t, ours(), conf, "-p", "/run/e4.pid", "-r", "/run/e4-vrrp.pid")
	eventually(t, "it is up", d.log.has("Startup complete"))
	write(t, conf, strings.ReplaceAll(text, "priority", "prioirty"))
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "it is taken", d.log.has("Reload complete"))
	if !strings.Contains(d.log.String(), "prioirty") {
		t.Error("no word about the unknown keyword")
	}
	guard := "global_defs {\n  reload_guard\n}\n"
	write(t, conf, guard+text)
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the guard is on", func() bool { return strings.Count(d.log.String(), "Reload complete") == 2 })
	write(t, conf, guard+strings.ReplaceAll(text, "priority", "prioirty"))
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "it is refused", d.log.has("Reload refused"))
}

func TestPartsComeAndGoWithAReload(t *testing.T) {
	testneed.Need(t, "nft")
	network(t)
	conf := config(t, owner)
	d := foreground(t, ours(), conf)
	eventually(t, "it is up", d.log.has("Startup complete"))
	if exists("/run/checkers.pid") {
		t.Error("a checker part without virtual servers")
	}
	write(t, conf, balanced)
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the checker part runs", func() bool { return alive(pidIn("/run/checkers.pid")) })
	eventually(t, "the VRRP part is gone with its address", func() bool { return !exists("/run/vrrp.pid") && !hasVIP() })
	write(t, conf, owner)
	d.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the VRRP part is back", hasVIP)
	eventually(t, "the checker part is gone", func() bool { return !exists("/run/checkers.pid") })
}

func TestWithoutPrivilegesItSaysSoAndEndsWithStatus4(t *testing.T) {
	network(t)
	conf := filepath.Join("/tmp", "unprivileged.conf")
	if err := os.WriteFile(conf, []byte(owner), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"VRRP": owner, "virtual server": balanced} {
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(ours().path, "-n", "-G", "-f", conf, "-p", "/tmp/u.pid", "-r", "/tmp/u-vrrp.pid", "-c", "/tmp/u-checkers.pid")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 4 || strings.Count(string(out), "\n") != 1 || !regexp.MustCompile(`(?i)root|permi`).Match(out) {
			t.Errorf("%s: status %d, output %q: want 4 and one line about the permission", name, cmd.ProcessState.ExitCode(), out)
		}
	}
}

func TestC10C7DumpsToAnyOfThePids(t *testing.T) {
	network(t)
	both(t, func(t *testing.T, w which) {
		dumps, _ := filepath.Glob("/tmp/keepalived*")
		for _, f := range dumps {
			os.Remove(f)
		}
		d := foreground(t, w, config(t, owner))
		eventually(t, "it is master", hasVIP)
		d.up()
		for _, pidFile := range []string{"/run/keepalived.pid", "/run/vrrp.pid"} {
			for _, d := range []struct {
				signal syscall.Signal
				file   string
				word   string
			}{{syscall.SIGUSR1, "/tmp/keepalived.data", " VRRP Instance = VI_1\n"}, {syscall.SIGUSR2, "/tmp/keepalived.stats", "VRRP Instance: VI_1\n"},
				{36, "/tmp/keepalived.json", `"iname":"VI_1"`}, {37, "/tmp/keepalived.json", `"iname":"VI_1"`}, {63, "/tmp/keepalived.stats", "VRRP Instance: VI_1\n"}} {
				if w.name == "reference" && d.signal == 37 {
					continue
				}
				os.Remove(d.file)
				kill(t, pidIn(pidFile), d.signal)
				eventually(t, fmt.Sprintf("signal %d to %s: %s", d.signal, pidFile, d.file), func() bool {
					b, _ := os.ReadFile(d.file)
					return strings.Contains(string(b), d.word)
				})
				if st, err := os.Stat(d.file); err != nil || st.Mode() != 0o600 {
					t.Errorf("%s: mode %v %v", d.file, st.Mode(), err)
				}
			}
		}
		if b, _ := os.ReadFile("/tmp/keepalived.json"); !json.Valid(b) {
			t.Errorf("JSON: %q", b)
		}
		eventually(t, "the parent's data", func() bool { return exists("/tmp/keepalived_parent.data") })
	})
}

func TestStatsClearSetsTheCountersToZero(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, strings.ReplaceAll(owner, "priority 255", "priority 255\n  version 3\n  advert_int 0.05")))
	eventually(t, "it is up", d.log.has("Startup complete"))
	eventually(t, "it is master", d.log.has("(VI_1) Entering MASTER STATE"))
	became := func() string {
		os.Remove("/tmp/keepalived.stats")
		kill(t, d.pid(), 63)
		eventually(t, "stats", func() bool { return exists("/tmp/keepalived.stats") })
		b, _ := os.ReadFile("/tmp/keepalived.stats")
		return regexp.MustCompile(`Became master: \d+`).FindString(string(b))
	}
	if first, second := became(), became(); first != "Became master: 1" || second != "Became master: 0" {
		t.Errorf("got %q, then %q", first, second)
	}
}

func TestC15TheServiceManagerHearsReadyReloadingAndStopping(t *testing.T) {
	testneed.Need(t, "netns")
	for name, text := range map[string]string{"something to do": owner, "nothing to do": empty} {
		t.Run(name, func(t *testing.T) {
			network(t)
			path := filepath.Join(t.TempDir(), "notify")
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			t.Setenv("NOTIFY_SOCKET", path)
			said := func() string {
				buf := make([]byte, 512)
				conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				n, err := conn.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				return string(buf[:n])
			}
			d := foreground(t, ours(), config(t, text))
			if got, want := said(), fmt.Sprintf("READY=1\nMAINPID=%d", d.pid()); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			d.cmd.Process.Signal(syscall.SIGHUP)
			if got := said(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=\d+$`).MatchString(got) {
				t.Errorf("got %q", got)
			}
			if got := said(); !strings.HasPrefix(got, "READY=1") {
				t.Errorf("got %q after the reload", got)
			}
			d.stop()
			if got := said(); got != "STOPPING=1" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestStartupAndShutdownScripts(t *testing.T) {
	network(t)
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	script := filepath.Join(dir, "s")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nip -o addr show dev v0 | grep -c 10.9.0.1/24 >>"+trace+"\necho $1 >>"+trace+"\nenv >"+dir+"/env\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := foreground(t, ours(), config(t, fmt.Sprintf("global_defs {\n  startup_script \"%s up\"\n  shutdown_script \"%s down\"\n}\n", script, script)+owner))
	eventually(t, "it is master", hasVIP)
	d.stop()
	if b, _ := os.ReadFile(trace); string(b) != "0\nup\n0\ndown\n" {
		t.Errorf("got %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "env")); strings.Contains(string(b), "RELEVE_PART") {
		t.Errorf("the environment of a script: %s", b)
	}
}

func TestTheStopOfAChildThatStaysStoppedIsBounded(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, "child_wait_time 1\n"+owner))
	eventually(t, "it is up", d.log.has("Startup complete"))
	hold(t, pidIn("/run/vrrp.pid"))
	if status, out := releve(t, "status"); status != 1 || !strings.Contains(out, "is held by a debugger") {
		t.Errorf("releve status: %d, %q", status, out)
	}
	if status := d.stop(); status != 0 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(d.log.String(), "killed") {
		t.Error("no word about the child that did not end")
	}
}

func TestTheNetworkNamespaceOfTheCommandLine(t *testing.T) {
	testneed.Need(t, "netns", "ip")
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Fatal(err)
	}
	const ns = "releve-test-sup"
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	in := func(args string) {
		if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	in("link add v0 type veth peer name v1")
	in("addr add 10.9.0.2/24 dev v0")
	in("link set v0 up")
	in("link set v1 up")
	for name, start := range map[string]func(t *testing.T) *daemon{
		"-s":            func(t *testing.T) *daemon { return foreground(t, ours(), config(t, owner), "-s", ns) },
		"net_namespace": func(t *testing.T) *daemon { return foreground(t, ours(), config(t, "net_namespace "+ns+"\n"+owner)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			for _, f := range []string{"keepalived", "vrrp"} {
				eventually(t, f+".pid", func() bool { return alive(pidIn("/run/keepalived/" + ns + "/" + f + ".pid")) })
			}
			if pidIn("/run/keepalived/"+ns+"/keepalived.pid") != d.pid() {
				t.Error("the pid file holds another pid")
			}
			eventually(t, "the VIP is in the namespace", func() bool {
				out, _ := exec.Command("ip", "-n", ns, "-o", "addr", "show", "dev", "v0").Output()
				return bytes.Contains(out, []byte("10.9.0.1/24"))
			})
			d.stop()
			if exists("/run/keepalived") {
				left, _ := filepath.Glob("/run/keepalived/*")
				t.Errorf("left: /run/keepalived %v", left)
			}
		})
	}
	d := foreground(t, ours(), config(t, empty), "-s", "releve-test-none")
	if status := d.wait(); status != 1 || !strings.Contains(d.log.String(), "releve-test-none") {
		t.Errorf("a namespace that does not exist: status %d, %q", status, d.log)
	}
}

func TestProcessNames(t *testing.T) {
	network(t)
	foreground(t, ours(), config(t, "global_defs {\n  process_names\n}\n"+owner), "--all")
	for file, want := range map[string]string{"/run/keepalived.pid": "keepalived\n", "/run/vrrp.pid": "keepalived_vrrp\n", "/run/checkers.pid": "keepalived_lvs\n", "/run/bfd.pid": "keepalived_bfd\n"} {
		eventually(t, file+" is called "+want, func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pidIn(file)))
			return string(b) == want
		})
	}
}

func TestAddressMonitoring(t *testing.T) {
	network(t)
	both(t, func(t *testing.T, w which) {
		d := foreground(t, w, config(t, owner), "-a")
		eventually(t, "it is master", hasVIP)
		eventually(t, "addresses that are there", d.log.has("Netlink reflector reports IP 10.9.0.2 added to v0"))
		if out, err := exec.Command("ip", "addr", "add", "10.44.0.1/24", "dev", "v1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		eventually(t, "an address that comes", d.log.has("Netlink reflector reports IP 10.44.0.1 added to v1"))
		exec.Command("ip", "addr", "del", "10.44.0.1/24", "dev", "v1").Run()
		eventually(t, "an address that goes", d.log.has("Netlink reflector reports IP 10.44.0.1 removed from v1"))
	})
}
