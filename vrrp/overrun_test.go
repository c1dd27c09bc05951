package vrrp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLostNetlinkUpdatesAreMadeUpFor floods the engine with more changes of addresses than its socket holds, the loss of its own among them.
func TestLostNetlinkUpdatesAreMadeUpFor(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}, Buffers: Buffers{NetlinkMonitor: 1}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	overruns := func() (n uint64) {
		_ = a.e.call(context.Background(), func() { n = a.e.overruns })
		return n
	}
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "addr add 10.77.%d.%d/32 dev lo\n", i/250, i%250)
	}
	b.WriteString("addr del 10.9.0.1/24 dev eth0\n")
	for i := range 500 {
		fmt.Fprintf(&b, "addr del 10.77.%d.%d/32 dev lo\n", i/250, i%250)
	}
	path := filepath.Join(l.dir, "flood")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		// The owner is busy meanwhile, so that the updates pile up.
		busy := make(chan struct{})
		go func() { _ = a.e.call(context.Background(), func() { <-busy }) }()
		out, err := exec.Command("ip", "-n", l.ns(1), "-batch", path).CombinedOutput()
		close(busy)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		l.eventually("fault without the address, however the news got lost", 8*time.Second, func() bool { return a.state("VI_1") == Fault })
		l.run("ip -n %s addr add 10.9.0.1/24 dev eth0", l.ns(1))
		l.eventually("recovered", 4*time.Second, func() bool { return a.state("VI_1") != Fault })
		if overruns() > 0 {
			break
		}
	}
	if overruns() == 0 {
		t.Fatal("no update was lost: the test shows nothing")
	}
	l.eventually("master again", 8*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
}
