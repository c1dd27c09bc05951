package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"releve/internal/testneed"
)

// TestWhatAKilledDaemonLeftGoesWithAnotherConfiguration kills a daemon and its child before either sees the other die. What they leave is not
// in the next one's configuration.
func TestWhatAKilledDaemonLeftGoesWithAnotherConfiguration(t *testing.T) {
	network(t)
	d := foreground(t, ours(), config(t, strings.Replace(owner, "  virtual_ipaddress", "  virtual_routes {\n 10.77.0.0/24 via 10.9.0.9\n }\n  virtual_ipaddress", 1)))
	eventually(t, "it is master", func() bool { return hasVIP() })
	eventually(t, "it says so", d.log.has("Startup complete"))
	kill(t, d.pid(), syscall.SIGSTOP)
	kill(t, pidIn("/run/vrrp.pid"), syscall.SIGKILL)
	kill(t, d.pid(), syscall.SIGKILL)
	d.wait()
	if !hasVIP() {
		t.Fatal("nothing is left behind: the test shows nothing")
	}
	if out, err := exec.Command("ip", "addr", "add", "10.9.0.66/24", "dev", "v0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := foreground(t, ours(), config(t, strings.Replace(owner, "10.9.0.1/24", "10.9.0.7/24", 1)))
	there := func(text string) bool {
		a, _ := exec.Command("ip", "-o", "addr", "show", "dev", "v0").Output()
		r, _ := exec.Command("ip", "route").Output()
		return strings.Contains(string(a)+string(r), text)
	}
	eventually(t, "the address is gone", func() bool { return !hasVIP() })
	eventually(t, "the route is gone", func() bool { return !there("10.77.0.0/24") })
	eventually(t, "the new one is there", func() bool { return there(" 10.9.0.7/24 ") })
	if !there(" 10.9.0.66/24 ") {
		t.Error("somebody else's address was removed")
	}
	n.stop()
}

// TestTheAddressesGoBeforeTheVirtualServers: an address without its virtual server answers the packets of connections with a reset.
func TestTheAddressesGoBeforeTheVirtualServers(t *testing.T) {
	testneed.Need(t, "nft")
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		t.Skip("this kernel has IPVS: a connection survives the stop in a test of cmd/releve")
	}
	network(t)
	slow := write(t, filepath.Join(t.TempDir(), "slow.sh"), "#!/bin/sh\nexec sleep 20\n")
	if err := os.Chmod(slow, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, lines := range map[string]string{
		"alone":               "",
		"while a script runs": "  notify_stop \"" + slow + "\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			text := "global_defs {\n  script_user root\n}\n" + strings.Replace(owner, "  priority 255\n", "  priority 255\n"+lines, 1) + balanced
			d := foreground(t, ours(), config(t, text))
			there := func() bool { return strings.Contains(nftTable(), "10.9.0.11") }
			eventually(t, "all is up", func() bool { return hasVIP() && there() && d.log.has("Startup complete")() })
			kill(t, d.pid(), syscall.SIGTERM)
			eventually(t, "the virtual server goes", func() bool { return !there() })
			if hasVIP() {
				t.Error("the address outlasts its virtual server")
			}
			if status := d.wait(); status != 0 {
				t.Errorf("status %d", status)
			}
			log := d.log.String()
			if a, b := strings.Index(log, "removing VIPs"), strings.Index(log, "Shutting down service"); a < 0 || b < a {
				t.Errorf("addresses at %d, services at %d of the log", a, b)
			}
		})
	}
}
