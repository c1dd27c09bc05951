package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
)

// TestIPVSSyncDaemonOfAnInstanceComesBack: stopped by somebody, and with the whole of IPVS unloaded under two directors.
func TestIPVSSyncDaemonOfAnInstanceComesBack(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs")
	if os.Getenv("RELEVE_VM") == "" {
		t.Skip("unloads modules: only in the virtual machine")
	}
	p := newPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	inRole := func() bool {
		return strings.Contains(p.daemon(t, 0), "master sync daemon (mcast=eth1, syncid=7") && strings.Contains(p.daemon(t, 1), "backup sync daemon (mcast=eth1, syncid=7")
	}
	until(t, "each director's sync daemon has its role", inRole)
	check(t, p.planes[0].StopSync(ctx, ipvs.SyncMaster))
	check(t, p.planes[1].StopSync(ctx, ipvs.SyncBackup))
	until(t, "they run again", inRole)

	const file = "/proc/sys/kernel/modprobe"
	path, err := os.ReadFile(file)
	check(t, err)
	t.Cleanup(func() { _ = os.WriteFile(file, path, 0o644) })
	check(t, os.WriteFile(file, []byte("/nonexistent\n"), 0o644))
	gone := false
	for range 300 { // what the directors write in between keeps the module in use, and so do namespaces that the kernel has not taken down yet
		for i, role := range []ipvs.SyncRole{ipvs.SyncMaster, ipvs.SyncBackup} {
			_ = p.planes[i].StopSync(ctx, role)
			_ = p.planes[i].Flush(ctx)
		}
		out, err := exec.Command("sh", "-c", `/run/releve-vm/busybox rmmod $(sed -n 's/^\(ip_vs_[a-z_]*\) .*/\1/p' /proc/modules) ip_vs 2>&1`).CombinedOutput()
		if gone = err == nil; gone {
			break
		}
		t.Logf("%s", out)
		time.Sleep(100 * time.Millisecond)
	}
	if !gone {
		t.Fatal("the module stays")
	}
	time.Sleep(7 * time.Second) // long enough for both to notice
	check(t, os.WriteFile(file, path, 0o644))
	check(t, exec.Command("modprobe", "ip_vs").Run())
	until(t, "the sync daemons run again", func() bool { return p.state(ctx, 0) && p.state(ctx, 1) && inRole() })
	until(t, "both have the table", func() bool { return len(p.services(t, 0)) == 1 && len(p.services(t, 1)) == 1 })
	if said := strings.Join(p.daemons[1].Lines(), "\n"); strings.Count(said, "backup sync daemon had been stopped from outside") < 1 || !strings.Contains(said, "backup sync daemon runs again") {
		t.Errorf("d2 said\n%s", said)
	}
}

// state says whether a director's sync daemons can be asked for.
func (p *pair) state(ctx context.Context, director int) bool {
	_, err := p.planes[director].SyncState(ctx)
	return err == nil
}
