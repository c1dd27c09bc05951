package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"releve/vrrp/wire"
)

// Advert is a VRRP advertisement seen on a bridge.
type Advert struct {
	At       time.Time
	Src      netip.Addr
	VRID     uint8
	Priority uint8
}

// Adverts listens on the bridge and passes every VRRP advertisement over IPv4 to each, on a goroutine of its own, until stop is
// called.
func (b *Bridge) Adverts(each func(Advert)) (stop func(), err error) {
	var f *os.File
	err = b.lab.wires.do(func() error {
		ifi, err := net.InterfaceByName(b.name)
		if err != nil {
			return err
		}
		ip := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(ip))
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: ifi.Index}); err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "packets of "+b.name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lab: listen on bridge %s: %w", b.name, err)
	}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			var p wire.Packet
			if n < 20 || buf[9] != 112 || p.ParseIPv4(buf[:n]) != wire.Accepted {
				continue
			}
			if _, typ, vrid, ok := wire.Peek(p.Data); ok && typ == wire.TypeAd && len(p.Data) >= wire.HeaderLen {
				each(Advert{At: time.Now(), Src: p.Src, VRID: vrid, Priority: p.Data[2]})
			}
		}
	}()
	return func() { f.Close() }, nil
}
