package vip

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ARP builds a gratuitous ARP as the reference sends it: a broadcast request with the address as sender and as target, and
// ff:ff:ff:ff:ff:ff as target hardware address (RFC 5227 §3 calls it an announcement).
func ARP(mac net.HardwareAddr, ip netip.Addr) ([]byte, error) {
	v := ip.As4()
	all := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{},
		&layers.Ethernet{SrcMAC: mac, DstMAC: all, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: v[:], DstHwAddress: all, DstProtAddress: v[:],
		})
	if err != nil {
		return nil, fmt.Errorf("build gratuitous ARP for %s: %w", ip, err)
	}
	// gopacket pads to the 60 bytes of a real Ethernet; the reference leaves that to the driver.
	return buf.Bytes()[:42:42], nil
}

// NA builds an unsolicited neighbour advertisement (RFC 4861 §7.2.6): to all nodes, hop limit 255, override, router only if the
// interface forwards.
func NA(mac net.HardwareAddr, ip netip.Addr, router bool) ([]byte, error) {
	v := ip.AsSlice()
	flags := uint8(0x20)
	if router {
		flags |= 0x80
	}
	all := net.ParseIP("ff02::1")
	ip6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: v, DstIP: all}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip6); err != nil {
		return nil, err
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6},
		ip6, icmp,
		&layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: v,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}})
	if err != nil {
		return nil, fmt.Errorf("build neighbour advertisement for %s: %w", ip, err)
	}
	return buf.Bytes(), nil
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
