package supervisor_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"releve/internal/testneed"
)

// TestBFDSessionsReachCheckersAndInstances: the BFD part speaks with the reference's, a server and an instance follow its session, and a
// killed BFD part costs nobody anything.
func TestBFDSessionsReachCheckersAndInstances(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft", "ip", "keepalived")
	network(t)
	const ns = "rlv-s-bfd"
	sh := func(script string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	sh("ip netns add " + ns + "; ip link set v1 netns " + ns + "; ip -n " + ns + " link set v1 up; ip -n " + ns + " addr add 10.9.0.3/24 dev v1")
	session := func(own, other string) string {
		return "bfd_instance B1 {\n  neighbor_ip " + other + "\n  source_ip " + own + "\n  min_rx 50\n  min_tx 50\n  multiplier 80\n}\n"
	}
	ref, err := exec.LookPath("keepalived")
	if err != nil {
		t.Fatal(err)
	}
	peer := exec.Command("ip", "netns", "exec", ns, ref, "-n", "-f", config(t, session("10.9.0.3", "10.9.0.2")), "-p", "/run/peer.pid",
		"-r", "/run/peer-vrrp.pid", "-c", "/run/peer-checkers.pid", "-b", "/run/peer-bfd.pid")
	d := foreground(t, ours(), config(t, session("10.9.0.2", "10.9.0.3")+`virtual_server 10.9.0.2 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  alpha
  real_server 10.9.0.3 80 {
    BFD_CHECK {
      name B1
    }
  }
}
vrrp_instance VI_1 {
  interface v0
  virtual_router_id 51
  priority 255
  virtual_ipaddress {
    10.9.0.1/24
  }
  track_bfd {
    B1
  }
}
`))
	eventually(t, "it is up", d.log.has("Startup complete"))
	if strings.Contains(nftTable(), "10.9.0.3") {
		t.Error("the server is in before its session is up")
	}
	if hasVIP() {
		t.Error("the instance is master before its session is up")
	}
	if err := peer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Process.Signal(syscall.SIGTERM); peer.Wait() })
	in := func() bool { return strings.Contains(nftTable(), "10.9.0.3") }
	eventually(t, "the server is in", in)
	eventually(t, "the instance is master", hasVIP)
	old := pidIn("/run/bfd.pid")
	kill(t, old, syscall.SIGKILL)
	eventually(t, "a new part runs", func() bool { p := pidIn("/run/bfd.pid"); return p != old && alive(p) })
	eventually(t, "the session is up again", func() bool { return strings.Count(d.log.String(), "(B1) Entering Up state") == 2 })
	if log := d.log.String(); strings.Contains(log, "Removing service") || strings.Contains(log, "is DOWN") || !in() || !hasVIP() {
		t.Errorf("the server left or the instance was not master:\n%s", log)
	}
	dump := "/tmp/keepalived_bfd.data"
	os.Remove(dump)
	kill(t, d.pid(), syscall.SIGUSR1)
	eventually(t, "the dump shows the session", func() bool {
		b, _ := os.ReadFile(dump)
		return strings.Contains(string(b), " BFD Instance = B1\n   Neighbor IP = 10.9.0.3\n") && strings.Contains(string(b), "   local state = Up\n")
	})
	sh("ip -n " + ns + " link set v1 down")
	eventually(t, "the server is out", func() bool { return !in() })
	sh("ip -n " + ns + " link set v1 up")
	eventually(t, "the server is in again", in)
	eventually(t, "the instance is master again", hasVIP)
	old = pidIn("/run/vrrp.pid")
	kill(t, old, syscall.SIGKILL)
	eventually(t, "a new VRRP part is master", func() bool {
		p := pidIn("/run/vrrp.pid")
		return p != old && alive(p) && strings.Count(d.log.String(), "(VI_1) Entering MASTER STATE") == 3
	})
	peer.Process.Signal(syscall.SIGTERM)
	eventually(t, "the instance gives up", func() bool { return !hasVIP() })
	eventually(t, "the log says why", d.log.has("VRRP_Instance(VI_1) Tracked BFD instance B1 is DOWN"))
	if status := d.stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}
