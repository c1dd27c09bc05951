package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/vishvananda/netlink"
)

// logAddresses logs every address that is there and every one that comes or goes, until ctx is done (-a).
func logAddresses(ctx context.Context, log *slog.Logger) {
	updates := make(chan netlink.AddrUpdate, 64)
	err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{ListExisting: true,
		ErrorCallback: func(err error) {
			if ctx.Err() == nil {
				log.Error(fmt.Sprintf("address monitoring: %v", err))
			}
		}})
	if err != nil {
		log.Error(fmt.Sprintf("address monitoring: %v", err))
		return
	}
	names := map[int]string{} // an interface may be gone when its addresses are reported to be
	for u := range updates {
		name := names[u.LinkIndex]
		if i, err := net.InterfaceByIndex(u.LinkIndex); err == nil {
			name = i.Name
			names[u.LinkIndex] = name
		}
		what := "removed from"
		if u.NewAddr {
			what = "added to"
		}
		log.Info(fmt.Sprintf("Netlink reflector reports IP %s %s %s", u.LinkAddress.IP, what, name), "iface", name)
	}
}
