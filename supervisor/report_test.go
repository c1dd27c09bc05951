package supervisor_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"releve/internal/testneed"
	"releve/supervisor"
	"releve/vrrp"
)

// TestHealthOfTheServersIsAskedOfTheProcessThatChecksThem also while that is killed, and where there is none.
func TestHealthOfTheServersIsAskedOfTheProcessThatChecksThem(t *testing.T) {
	testneed.Need(t, "nft")
	network(t)
	file := config(t, owner+balanced)
	d := foreground(t, ours(), file)
	const pidFile = "/run/keepalived.pid"
	whole := func() bool {
		h, err := supervisor.AskHealth(pidFile)
		return err == nil && len(h.Virtual) == 1 && len(h.Virtual[0].Real) == 2 && h.Virtual[0].QuorumUp && h.Pid == pidIn("/run/checkers.pid") && len(h.Virtual[0].Services) == 1
	}
	eventually(t, "the health of both servers is told", whole)
	old := pidIn("/run/checkers.pid")
	kill(t, old, syscall.SIGSTOP)
	answered := make(chan error, 1)
	go func() { _, err := supervisor.AskHealth(pidFile); answered <- err }()
	kill(t, old, syscall.SIGKILL)
	if err := <-answered; err != nil && !strings.Contains(err.Error(), "died") && !strings.Contains(err.Error(), "not ready") && !strings.Contains(err.Error(), "stopped by a signal") {
		t.Errorf("while the process died: %v", err)
	}
	eventually(t, "the new process tells it", func() bool { return pidIn("/run/checkers.pid") != old && whole() })
	if err := os.WriteFile(file, []byte(owner), 0o644); err != nil {
		t.Fatal(err)
	}
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "without virtual servers it says so", func() bool {
		_, err := supervisor.AskHealth(pidFile)
		return err != nil && err.Error() == "no virtual servers are configured"
	})
	d.stop()
	if _, err := supervisor.AskHealth(pidFile); err == nil {
		t.Error("an answer of no daemon")
	}
}

func TestWhyAnInstanceIsInItsStateIsAskedOfTheVRRPProcess(t *testing.T) {
	network(t)
	file := config(t, owner)
	d := foreground(t, ours(), file)
	const pidFile = "/run/keepalived.pid"
	why := func() *vrrp.InstanceReport {
		r, err := supervisor.AskReasons(pidFile)
		if err != nil || len(r.Instances) != 1 {
			return &vrrp.InstanceReport{}
		}
		return &r.Instances[0]
	}
	eventually(t, "it is MASTER with its history", func() bool {
		in := why()
		return in.State == "MASTER" && in.Because != "" && len(in.History) > 0 && in.Priority == 255 && !in.Since.IsZero() && len(in.Next) == 1
	})
	if status, out := releve(t, "why"); status != 0 || !strings.Contains(out, "VI_1 MASTER for ") || !strings.Contains(out, "stays MASTER: it owns the addresses") {
		t.Errorf("releve why: %d\n%s", status, out)
	}
	if status, out := releve(t, "why", "VI_2"); status != 1 || !strings.Contains(out, `no instance "VI_2"; did you mean VI_1?`) {
		t.Errorf("of another instance: %d\n%s", status, out)
	}
	if status, out := releve(t, "why", "--json", "VI_1"); status != 0 || !strings.Contains(out, `"because"`) {
		t.Errorf("as JSON: %d\n%s", status, out)
	}
	if _, err := supervisor.AskHealth(pidFile); err == nil || err.Error() != "no virtual servers are configured" {
		t.Errorf("of virtual servers: %v", err)
	}
	d.stop()
	if status, out := releve(t, "why"); status != 3 || !strings.Contains(out, "no daemon answers") {
		t.Errorf("without a daemon: %d\n%s", status, out)
	}
}
