package director

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"releve/internal/testneed"
)

// inNamespace runs the named test of this binary again in a network namespace of its own and reports whether the caller is the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	if os.Getenv("RELEVE_NETNS") != "" {
		return false
	}
	testneed.Need(t, "netns")
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "RELEVE_NETNS=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return true
}

func TestAddressesAreSeenToComeAndGo(t *testing.T) {
	if inNamespace(t) {
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lists := make(chan []netip.Addr, 100)
	done := make(chan error, 1)
	go func() {
		done <- WatchAddrs(ctx, WatchOptions{ReceiveBuffer: 1 << 20, Force: true}, func(a []netip.Addr) { lists <- a })
	}()
	vip := netip.MustParseAddr("10.2.0.1")
	addr, _ := netlink.ParseAddr("10.2.0.1/32")
	until := func(there bool) {
		for {
			select {
			case l := <-lists:
				if slices.Contains(l, vip) == there {
					return
				}
			case err := <-done:
				t.Fatalf("it ended: %v", err)
			}
		}
	}
	until(false)
	for range 3 {
		if err := netlink.AddrAdd(lo, addr); err != nil {
			t.Fatal(err)
		}
		until(true)
		if err := netlink.AddrDel(lo, addr); err != nil {
			t.Fatal(err)
		}
		until(false)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
