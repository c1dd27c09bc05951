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

// Announcement is a gratuitous ARP seen on a bridge: the sender says that the address is at its own hardware address.
type Announcement struct {
	At   time.Time
	Addr netip.Addr
	MAC  net.HardwareAddr
}

// Adverts listens on the bridge and passes every VRRP advertisement over IPv4 to each, on a goroutine of its own, until stop is
// called. Times are the kernel's.
func (b *Bridge) Adverts(each func(Advert)) (stop func(), err error) {
	return b.listen(unix.ETH_P_IP, func(at time.Time, f []byte) {
		var p wire.Packet
		if len(f) < 20 || f[9] != 112 || p.ParseIPv4(f) != wire.Accepted {
			return
		}
		if _, typ, vrid, ok := wire.Peek(p.Data); ok && typ == wire.TypeAd && len(p.Data) >= wire.HeaderLen {
			each(Advert{At: at, Src: p.Src, VRID: vrid, Priority: p.Data[2]})
		}
	})
}

// Announcements does the same for gratuitous ARP.
func (b *Bridge) Announcements(each func(Announcement)) (stop func(), err error) {
	return b.listen(unix.ETH_P_ARP, func(at time.Time, f []byte) {
		// Ethernet and IPv4, sender and target address alike (RFC 826, RFC 5227 section 1.2).
		if len(f) >= 28 && [4]byte(f[14:18]) == [4]byte(f[24:28]) {
			each(Announcement{At: at, Addr: netip.AddrFrom4([4]byte(f[14:18])), MAC: net.HardwareAddr(append([]byte(nil), f[8:14]...))})
		}
	})
}

// listen reads what the bridge passes of one kind of frame, without the Ethernet header.
func (b *Bridge) listen(kind uint16, each func(at time.Time, f []byte)) (stop func(), err error) {
	var f *os.File
	err = b.lab.wires.do(func() error {
		ifi, err := net.InterfaceByName(b.name)
		if err != nil {
			return err
		}
		proto := binary.NativeEndian.Uint16([]byte{byte(kind >> 8), byte(kind)})
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // nothing before it is bound
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "packets of "+b.name)
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index})
	})
	var raw interface {
		Read(func(fd uintptr) bool) error
	}
	if err == nil {
		raw, err = f.SyscallConn()
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("lab: listen on bridge %s: %w", b.name, err)
	}
	go func() {
		buf, oob := make([]byte, 1<<16), make([]byte, 128)
		for {
			var n, on int
			var rerr error
			err := raw.Read(func(fd uintptr) bool {
				n, on, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
				return rerr != unix.EAGAIN
			})
			if err != nil {
				return
			}
			if rerr == nil {
				each(stamp(oob[:on]), buf[:n])
			}
		}
	}()
	return func() { f.Close() }, nil
}

// stamp is the time at which the kernel saw a packet.
func stamp(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}
