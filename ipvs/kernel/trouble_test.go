package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"releve/ipvs"
	"releve/ipvs/kernel"
)

func TestIPVSModuleThatWasUnloadedIsLoadedAgain(t *testing.T) {
	if os.Getenv("RELEVE_VM") == "" {
		t.Skip("unloads the module: only in the virtual machine")
	}
	p := open(t)
	want := table(service(ipvs.TCP, "10.0.0.1:80", "rr", dest("10.1.0.1:80", 1)))
	become(t, p, want)
	unload := func() {
		t.Helper()
		if err := p.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		// The kernel takes down the namespaces of the tests before in its own time: what these use cannot be unloaded yet.
		why := ""
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			b, err := os.ReadFile("/proc/modules")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, l := range strings.Split(string(b), "\n") {
				if name, _, _ := strings.Cut(l, " "); strings.HasPrefix(name, "ip_vs_") {
					names = append(names, name)
				}
			}
			why = ""
			for _, name := range append(names, "ip_vs") {
				if out, err := exec.Command("/run/releve-vm/busybox", "rmmod", name).CombinedOutput(); err != nil {
					why = fmt.Sprintf("rmmod %s: %v: %s", name, err, out)
					break
				}
			}
			if why == "" {
				return
			}
		}
		t.Fatal(why)
	}
	unload()
	if got := read(t, p); len(got.Services) != 0 {
		t.Errorf("after the module was unloaded: %s", got)
	}
	become(t, p, want)
	judged(t, want)
	unload()
	apply(t, p, ipvs.Diff(ipvs.Table{}, want))
	judged(t, want)
}

func TestIPVSLostVerdictsAreReportedAsSuch(t *testing.T) {
	p := open(t)
	if err := p.ShrinkReceiveBuffer(); err != nil {
		t.Fatal(err)
	}
	var ops []ipvs.Op
	for i := range 600 {
		ops = append(ops, ipvs.Op{Kind: ipvs.DelService, Service: service(ipvs.TCP, fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), "rr")})
	}
	failed := p.Apply(context.Background(), ops)
	if len(failed) != len(ops) || !errors.Is(failed[0], kernel.ErrLost) {
		t.Fatalf("%d failures of %d, the first: %v; want all, by lost answers", len(failed), len(ops), failed[0])
	}
	want := table(service(ipvs.TCP, "10.0.0.1:80", "rr", dest("10.1.0.1:80", 1)))
	become(t, p, want)
	judged(t, want)
}
