package supervisor_test

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
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
