package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Times of WatchAddrs.
const (
	// addrSettle gathers what changes together: a VIP move is one list, not one for each address.
	addrSettle = 20 * time.Millisecond
	addrRetry  = time.Second
)

// WatchOptions are the settings of WatchAddrs.
type WatchOptions struct {
	// ReceiveBuffer is the size of the netlink socket's receive buffer in bytes, 0 the system's default; Force lets it be larger than
	// net.core.rmem_max (lvs_netlink_monitor_rcv_bufs).
	ReceiveBuffer int
	Force         bool
}

// WatchAddrs calls report with all addresses of this network namespace, at once and whenever they changed, until ctx is done. It is what
// feeds Director.SetLocalAddrs where a virtual server has ha_suspend. Lost netlink messages are made good by reading everything anew.
func WatchAddrs(ctx context.Context, o WatchOptions, report func([]netip.Addr)) error {
	var last []netip.Addr
	first := true
	for {
		err := watchOnce(ctx, o, func(a []netip.Addr) {
			if first || !slices.Equal(a, last) {
				first, last = false, a
				report(a)
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if first {
			return err
		}
		t := time.NewTimer(addrRetry)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

var errAddrsEnded = errors.New("the address subscription ended")

// watchOnce returns when the subscription breaks.
func watchOnce(ctx context.Context, o WatchOptions, report func([]netip.Addr)) error {
	ch, done := make(chan netlink.AddrUpdate, 64), make(chan struct{})
	defer func() {
		close(done)
		go func() { // the sender must not be left hanging
			for range ch {
			}
		}()
	}()
	if err := netlink.AddrSubscribeWithOptions(ch, done, netlink.AddrSubscribeOptions{ErrorCallback: func(error) {},
		ReceiveBufferSize: min(o.ReceiveBuffer, 1<<30), ReceiveBufferForceSize: o.Force}); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	for {
		a, err := localAddresses()
		if err != nil {
			return err
		}
		report(a)
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-ch:
			if !ok {
				return errAddrsEnded
			}
		}
		t := time.NewTimer(addrSettle)
	settle:
		for {
			select {
			case _, ok := <-ch:
				if !ok {
					t.Stop()
					return errAddrsEnded
				}
			case <-t.C:
				break settle
			}
		}
	}
}

func localAddresses() ([]netip.Addr, error) {
	list, err := netlink.AddrList(nil, unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			out = append(out, ip.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}
