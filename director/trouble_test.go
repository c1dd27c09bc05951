package director_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/director"
	"releve/internal/testneed"
)

// troubled has one virtual server for each thing that a kernel refuses, between two that are well.
const troubled = `
virtual_server 10.2.0.1 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 80 {
  }
}
virtual_server 10.2.0.2 80 {
  protocol TCP
  lb_algo ovf
  lb_kind NAT
  real_server 10.1.0.1 80 {
  }
}
virtual_server 10.2.0.3 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 80 {
  }
}
virtual_server 10.2.0.4 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 80 {
    lthreshold 5
  }
  real_server 10.1.0.2 80 {
  }
  real_server 10.1.0.3 80 {
  }
}
virtual_server 10.2.0.1 80 {
  protocol TCP
  lb_algo wlc
  lb_kind NAT
  real_server 10.1.0.4 80 {
  }
}
virtual_server 10.2.0.9 80 {
  protocol TCP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 80 {
  }
}
`

// withoutModules makes the kernel find no modules and unloads the named ones; the function returned puts that right.
func withoutModules(t *testing.T, names ...string) (restore func()) {
	t.Helper()
	const file = "/proc/sys/kernel/modprobe"
	path, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := os.WriteFile(file, path, 0o644); err != nil {
			t.Error(err)
		}
		sh(t, "umount /sbin/modprobe 2>/dev/null || true")
	}
	t.Cleanup(restore)
	if err := os.WriteFile(file, []byte("/nonexistent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, "mount --bind /bin/false /sbin/modprobe")
	for _, n := range names { // the kernel takes down the namespaces of the tests before in its own time
		sh(t, "for i in $(seq 600); do grep -q '^"+n+" ' /proc/modules || exit 0; /run/releve-vm/busybox rmmod "+n+" && exit 0; sleep 0.1; done; exit 1")
	}
	return restore
}

func health(t *testing.T, o *ours) *director.Health {
	t.Helper()
	s, err := o.d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Health()
}

func eventually(t *testing.T, o *ours, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("in two minutes not: %s\nthe table has %q\nhealth %+v\n%s", what, saved(t), health(t, o), o.text())
}

func TestIPVSWhatTheKernelRefusesIsNamedAndComesWhenItCan(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm")
	if os.Getenv("RELEVE_VM") == "" {
		t.Skip("unloads modules: only in the virtual machine")
	}
	if inNamespace(t) {
		return
	}
	sh(t, "mount --make-rprivate /; ip link set lo up; ip addr add 10.2.0.250/32 dev lo")
	restore := withoutModules(t, "ip_vs_ovf")
	cfg := load(t, troubled)
	// What no file can say, as the checks of the configuration change it: all ports without persistence, a server of another family.
	cfg.VirtualServers[2].Key.Port = 0
	cfg.VirtualServers[3].RealServers[1].Addr = netip.MustParseAddrPort("[fd01::2]:80")
	o := run(t, cfg, director.Options{RepairEvery: time.Second})
	defer o.end()
	well := []string{"-A -t 10.2.0.1:80 -s rr", "-A -t 10.2.0.4:80 -s rr", "-A -t 10.2.0.9:80 -s rr", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m -w 1",
		"-a -t 10.2.0.1:80 -r 10.1.0.4:80 -m -w 1", "-a -t 10.2.0.4:80 -r 10.1.0.3:80 -m -w 1", "-a -t 10.2.0.9:80 -r 10.1.0.1:80 -m -w 1"}
	slices.Sort(well)
	if got := saved(t); !slices.Equal(got, well) {
		t.Errorf("the rest is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(well, "\n"))
	}
	refused := []string{
		`[10.2.0.2]:tcp:80: scheduler "ovf" not found`,
		"10.1.0.1:80 of [10.2.0.2]:tcp:80: no such service",
		"10.1.0.1:80 of [10.2.0.4]:tcp:80: a weight below 0, or a lower connection threshold above the upper one",
		"[fd01::2]:80 of [10.2.0.4]:tcp:80: another address family than the service's needs a tunnel",
	}
	missing := func() (out []string) {
		for _, m := range health(t, o).Missing {
			out = append(out, m.String())
		}
		slices.Sort(out)
		return out
	}
	slices.Sort(refused)
	if got := missing(); !slices.Equal(got, refused) {
		t.Errorf("not in place:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(refused, "\n"))
	}
	if l := strings.Join(health(t, o).Limits, "\n"); !strings.Contains(l, "belongs to VS [10.2.0.1]:tcp:80 already") || !strings.Contains(l, "-t 10.2.0.3:0 left out") {
		t.Errorf("limits %q", l)
	}
	for _, want := range []string{"add service -t 10.2.0.2:80: scheduler", "add destination -t 10.2.0.4:80 -r [fd01::2]:80: another"} {
		if n := strings.Count(o.text(), "IPVS: cannot "+want); n != 1 {
			t.Errorf("%d times in the log: %s", n, want)
		}
	}
	eventually(t, o, "it was tried again", func() bool { return health(t, o).Missing[0].Tries >= 2 })
	restore()
	eventually(t, o, "the service whose scheduler can be loaded now is there", func() bool {
		return slices.Contains(saved(t), "-a -t 10.2.0.2:80 -r 10.1.0.1:80 -m -w 1") && len(missing()) == len(refused)-2
	})
	if text := o.text(); !strings.Contains(text, "IPVS: done at last: -A -t 10.2.0.2:80 -s ovf") || strings.Contains(text, "changed from outside") {
		t.Errorf("the log:\n%s", text)
	}
}

func TestIPVSAModuleThatDisappearsIsReportedAndTheTableComesBack(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm")
	if os.Getenv("RELEVE_VM") == "" {
		t.Skip("unloads modules: only in the virtual machine")
	}
	if inNamespace(t) {
		return
	}
	sh(t, "mount --make-rprivate /; ip link set lo up; ip addr add 10.2.0.250/32 dev lo; ip link add rlvd0 type dummy; ip addr add 10.8.0.1/24 dev rlvd0; ip link set rlvd0 up")
	var text strings.Builder
	text.WriteString("global_defs {\n lvs_sync_daemon rlvd0 id 9\n lvs_timeouts tcp 321\n}\n")
	for i := range 5 {
		fmt.Fprintf(&text, "virtual_server 10.2.0.%d 80 {\n protocol TCP\n lb_algo wrr\n lb_kind NAT\n real_server 10.1.0.1 80 {\n }\n real_server 10.1.0.2 80 {\n weight 3\n }\n}\n", i+1)
	}
	o := run(t, load(t, text.String()), director.Options{RepairEvery: 2 * time.Second})
	defer o.end()
	want := saved(t)
	if len(want) != 15 {
		t.Fatalf("%d entries", len(want))
	}
	// What the director writes in between keeps a module in use: again, then.
	gone := func() {
		t.Helper()
		sh(t, `for i in $(seq 100); do
ipvsadm --stop-daemon master 2>/dev/null; ipvsadm --stop-daemon backup 2>/dev/null; ipvsadm -C
/run/releve-vm/busybox rmmod $(sed -n 's/^\(ip_vs_[a-z_]*\) .*/\1/p' /proc/modules) ip_vs 2>/dev/null && exit 0
sleep 0.1
done; grep ip_vs /proc/modules; exit 1`)
	}
	begin := time.Now()
	restore := withoutModules(t)
	gone()
	t.Logf("%v: the module is gone", time.Since(begin))
	eventually(t, o, "the status says what is wrong", func() bool {
		h := health(t, o)
		return len(h.Trouble)+len(h.Missing) > 0 && strings.Contains(o.text(), "IPVS: cannot read the table")
	})
	restore()
	t.Logf("%v: modules can be loaded again", time.Since(begin))
	eventually(t, o, "all is in place again", func() bool {
		h := health(t, o)
		return slices.Equal(saved(t), want) && len(h.Missing)+len(h.Trouble) == 0
	})
	t.Logf("%v: the table is in place", time.Since(begin))
	eventually(t, o, "the sync daemons run again, with the timeouts", func() bool {
		l := sh(t, "ipvsadm -Ln --daemon; ipvsadm -L --timeout")
		return strings.Contains(l, ": 321 120 300") && strings.Contains(l, "master sync daemon") && strings.Contains(l, "backup sync daemon")
	})
}
