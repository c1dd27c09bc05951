package vip

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Ethernet types and IP protocol (IEEE 802 numbers, RFC 4443).
const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	icmpv6    = 58
)

// Lengths of the frames: an Ethernet header, and the ARP message, or IPv6 header and neighbour advertisement.
const (
	lenARP = 14 + 28
	lenNA  = 14 + 40 + 32
)

// ethernet begins a frame of so many bytes.
func ethernet(src, dst net.HardwareAddr, kind uint16, size int) ([]byte, error) {
	if len(src) != 6 {
		return nil, fmt.Errorf("hardware address %q is not of an Ethernet", src)
	}
	b := append(append(make([]byte, 0, size), dst...), src...)
	return binary.BigEndian.AppendUint16(b, kind), nil
}

// ARP builds a gratuitous ARP as the reference sends it: a broadcast request with the address as sender and as target, and
// ff:ff:ff:ff:ff:ff as target hardware address (RFC 5227 §3 calls it an announcement). Padding is left to the driver.
func ARP(mac net.HardwareAddr, ip netip.Addr) ([]byte, error) {
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	b, err := ethernet(mac, all, etherARP, lenARP)
	if err != nil {
		return nil, fmt.Errorf("build gratuitous ARP for %s: %w", ip, err)
	}
	v := ip.As4()
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // RFC 826: Ethernet, IPv4, lengths of both addresses, request
	b = append(append(b, mac...), v[:]...)
	return append(append(b, all...), v[:]...), nil
}

// NA builds an unsolicited neighbour advertisement (RFC 4861 §4.4, §7.2.6): to all nodes, hop limit 255, override, router only if the
// interface forwards, with the target link-layer address.
func NA(mac net.HardwareAddr, ip netip.Addr, router bool) ([]byte, error) {
	all := netip.MustParseAddr("ff02::1").As16()
	b, err := ethernet(mac, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, etherIPv6, lenNA)
	if err != nil {
		return nil, fmt.Errorf("build neighbour advertisement for %s: %w", ip, err)
	}
	const length = 32
	v := ip.As16()
	b = append(b, 0x60, 0, 0, 0, 0, length, icmpv6, 255)
	b = append(append(b, v[:]...), all[:]...)
	flags := byte(0x20)
	if router {
		flags |= 0x80
	}
	body := len(b)
	b = append(b, 136, 0, 0, 0, flags, 0, 0, 0) // type, code, checksum, flags
	b = append(append(b, v[:]...), 2, 1)        // target; option: its link-layer address, in units of 8 bytes
	b = append(b, mac...)
	binary.BigEndian.PutUint16(b[body+2:], checksum6(v, all, b[body:]))
	return b, nil
}

// checksum6 is the checksum of an ICMPv6 message with its pseudo-header (RFC 8200 §8.1). The message has an even length.
func checksum6(src, dst [16]byte, msg []byte) uint16 {
	sum := uint32(len(msg)) + icmpv6
	for _, part := range [][]byte{src[:], dst[:], msg} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// Send queues a frame for an interface; Flush sends what is queued.
func (k *Kernel) Send(frame []byte, ifindex int) error {
	k.out.AddLink(frame, ifindex)
	if k.out.Full() {
		return k.Flush()
	}
	return nil
}

// Flush sends the queued frames and reports the last failure.
func (k *Kernel) Flush() error {
	if n, err := k.out.Flush(k.packet); err != nil {
		return fmt.Errorf("send %d announcements: %w", n, err)
	}
	return nil
}
