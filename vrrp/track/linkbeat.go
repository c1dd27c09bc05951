package track

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LinkbeatEvery is how often the link of an interface is polled, as the reference does.
const LinkbeatEvery = time.Second

// Methods of asking for the state of a link, best first.
const (
	MII     = "MII"     // the transceiver's basic mode status register (IEEE 802.3 clause 22.2.4.2)
	Ethtool = "ETHTOOL" // ETHTOOL_GLINK of linux/ethtool.h
	Ioctl   = "IOCTL"   // IFF_RUNNING by SIOCGIFFLAGS
)

// Linkbeat asks drivers whether there is a link, for those that do not tell by themselves.
type Linkbeat struct{ fd int }

// OpenLinkbeat opens it for the network namespace of the calling thread.
func OpenLinkbeat() (*Linkbeat, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket for linkbeat: %w", err)
	}
	return &Linkbeat{fd}, nil
}

// Close closes the socket.
func (l *Linkbeat) Close() error { return unix.Close(l.fd) }

// ifreq is struct ifreq of linux/if.h.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func (l *Linkbeat) ioctl(req uint, r *ifreq) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), uintptr(req), uintptr(unsafe.Pointer(r)))
	if e != 0 {
		return e
	}
	return nil
}

// Probe asks by the given method; another one is used, and named, if the driver does not know it. An error says that the interface
// cannot be asked at all: it may be gone.
func (l *Linkbeat) Probe(iface, method string) (up bool, used string, err error) {
	methods := []string{MII, Ethtool, Ioctl}
	switch strings.ToUpper(method) {
	case Ethtool:
		methods = []string{Ethtool, MII, Ioctl}
	case Ioctl:
		methods = []string{Ioctl, MII, Ethtool}
	}
	var errs []error
	for _, m := range methods {
		up, err := l.ask(iface, m)
		if err == nil {
			return up, m, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", m, err))
	}
	return false, "", errors.Join(errs...)
}

func (l *Linkbeat) ask(iface, method string) (bool, error) {
	var r ifreq
	copy(r.name[:unix.IFNAMSIZ-1], iface)
	switch method {
	case MII:
		const bmsr, linkStatus = 1, 4
		if err := l.ioctl(unix.SIOCGMIIPHY, &r); err != nil {
			return false, err
		}
		// struct mii_ioctl_data: phy_id, reg_num, val_in, val_out. The bit is latched low: the second reading is the present.
		reg := (*[4]uint16)(unsafe.Pointer(&r.data))
		reg[1] = bmsr
		if err := l.ioctl(unix.SIOCGMIIREG, &r); err != nil {
			return false, err
		}
		if err := l.ioctl(unix.SIOCGMIIREG, &r); err != nil {
			return false, err
		}
		return reg[3]&linkStatus != 0, nil
	case Ethtool:
		const getLink = 0x0a // ETHTOOL_GLINK
		value := struct{ cmd, data uint32 }{cmd: getLink}
		*(*unsafe.Pointer)(unsafe.Pointer(&r.data)) = unsafe.Pointer(&value)
		if err := l.ioctl(unix.SIOCETHTOOL, &r); err != nil {
			return false, err
		}
		return value.data != 0, nil
	}
	if err := l.ioctl(unix.SIOCGIFFLAGS, &r); err != nil {
		return false, err
	}
	flags := *(*uint16)(unsafe.Pointer(&r.data))
	return flags&unix.IFF_RUNNING != 0, nil
}

// Run reports the link of each interface, by its method, at once and whenever it changes, until ctx is done. An interface that cannot
// be asked is down.
func (l *Linkbeat) Run(ctx context.Context, ifaces map[string]string, report func(iface string, up bool, method string)) {
	tick := time.NewTicker(LinkbeatEvery)
	defer tick.Stop()
	last := map[string]bool{}
	for {
		for name, method := range ifaces {
			up, used, err := l.Probe(name, method)
			up = up && err == nil
			if was, known := last[name]; !known || was != up {
				last[name] = up
				report(name, up, used)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
