package vip

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 0x51}

// serialized is a frame as gopacket's layers build it, without padding.
func serialized(t *testing.T, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestGratuitousARPIsWhatGopacketBuilds(t *testing.T) {
	ip := netip.MustParseAddr("10.0.0.100")
	all := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	want := serialized(t, &layers.Ethernet{SrcMAC: mac, DstMAC: all, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: ip.AsSlice(), DstHwAddress: all, DstProtAddress: ip.AsSlice()})[:42]
	got, err := ARP(mac, ip)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\ngot  %x\nwant %x", err, got, want)
	}
}

func TestNeighbourAdvertisementIsWhatGopacketBuilds(t *testing.T) {
	for _, addr := range []string{"2001:db8::100", "fe80::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		for _, router := range []bool{false, true} {
			ip, flags := netip.MustParseAddr(addr), uint8(0x20)
			if router {
				flags = 0xa0
			}
			ip6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: ip.AsSlice(), DstIP: net.ParseIP("ff02::1")}
			icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
			if err := icmp.SetNetworkLayerForChecksum(ip6); err != nil {
				t.Fatal(err)
			}
			want := serialized(t, &layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip6, icmp,
				&layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: ip.AsSlice(), Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}})
			got, err := NA(mac, ip, router)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, router %v: %v\ngot  %x\nwant %x", addr, router, err, got, want)
			}
		}
	}
}

func TestFramesNeedAnEthernetAddress(t *testing.T) {
	for _, mac := range []net.HardwareAddr{nil, {1, 2, 3}, make(net.HardwareAddr, 20)} {
		if _, err := ARP(mac, netip.MustParseAddr("10.0.0.1")); err == nil {
			t.Errorf("ARP from %v", mac)
		}
		if _, err := NA(mac, netip.MustParseAddr("fe80::1"), false); err == nil {
			t.Errorf("NA from %v", mac)
		}
	}
}
