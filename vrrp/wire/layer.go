package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// LayerTypeVRRP is the type of Layer. Its number is above those that gopacket keeps for itself (2000).
const LayerTypeVRRP gopacket.LayerType = 2112

// Register makes gopacket decode IP protocol 112 as Layer, in place of its own VRRPv2. Nothing happens at program start, so that
// only those who look at captures pay for it.
var Register = sync.OnceFunc(func() {
	gopacket.RegisterLayerType(int(LayerTypeVRRP), gopacket.LayerTypeMetadata{Name: "VRRP", Decoder: gopacket.DecodeFunc(decodeLayer)})
	layers.IPProtocolMetadata[layers.IPProtocolVRRP] = layers.EnumMetadata{
		DecodeWith: gopacket.DecodeFunc(decodeLayer), Name: "VRRP", LayerType: LayerTypeVRRP}
})

// Layer is a VRRP packet of any version for gopacket. The family is told from the length, which is never ambiguous.
type Layer struct {
	layers.BaseLayer
	Advert
	Type     uint8
	Checksum uint16 // as read
	IPv6     bool
	Trailer  []byte // of auth_hmac, nil without

	src, dst netip.Addr
}

// SetNetworkLayerForChecksum gives SerializeTo the addresses of the pseudo-header.
func (l *Layer) SetNetworkLayerForChecksum(n gopacket.NetworkLayer) error {
	switch ip := n.(type) {
	case *layers.IPv4:
		l.src, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		l.dst, _ = netip.AddrFromSlice(ip.DstIP.To4())
	case *layers.IPv6:
		l.src, _ = netip.AddrFromSlice(ip.SrcIP.To16())
		l.dst, _ = netip.AddrFromSlice(ip.DstIP.To16())
	default:
		return fmt.Errorf("VRRP over %T", n)
	}
	if !l.src.IsValid() || !l.dst.IsValid() {
		return errors.New("network layer without addresses")
	}
	return nil
}

// ChecksumGood verifies a decoded packet against the addresses it came with.
func (l *Layer) ChecksumGood(src, dst netip.Addr) bool {
	n := bodyLen(l.Contents, l.IPv6)
	if src.Is6() {
		return Checksum(l.Contents, true, src, dst) == 0
	}
	return Checksum(l.Contents[:n], l.Version == 3, src, dst) == 0
}

// LayerType, CanDecode and NextLayerType make Layer a gopacket.DecodingLayer.
func (l *Layer) LayerType() gopacket.LayerType { return LayerTypeVRRP }

// CanDecode is LayerTypeVRRP.
func (l *Layer) CanDecode() gopacket.LayerClass { return LayerTypeVRRP }

// NextLayerType is none: nothing follows an advert.
func (l *Layer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// DecodeFromBytes reads a packet. Contents and Trailer alias data.
func (l *Layer) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	if len(data) < HeaderLen {
		df.SetTruncated()
		return Short
	}
	n := int(data[3])
	l.IPv6 = data[0]>>4 == 3 && n > 0 && (len(data) == HeaderLen+16*n || len(data) == HeaderLen+16*n+TrailerLen)
	if err := l.Decode(data, l.IPv6); err != nil {
		if errors.Is(err, Short) {
			df.SetTruncated()
		}
		return err
	}
	end := bodyLen(data, l.IPv6)
	l.Trailer = nil
	if len(data) == end+TrailerLen {
		l.Trailer = data[end:]
		end = len(data)
	}
	l.Type, l.Checksum = data[0]&0x0f, binary.BigEndian.Uint16(data[6:])
	l.BaseLayer = layers.BaseLayer{Contents: data[:end], Payload: data[end:]}
	return nil
}

// SerializeTo writes the packet. Without ComputeChecksums the checksum is l.Checksum.
func (l *Layer) SerializeTo(b gopacket.SerializeBuffer, opts gopacket.SerializeOptions) error {
	if opts.ComputeChecksums && !l.src.IsValid() {
		return errors.New("VRRP checksum needs SetNetworkLayerForChecksum")
	}
	n := l.Len()
	p, err := b.PrependBytes(n + len(l.Trailer))
	if err != nil {
		return err
	}
	src, dst := l.src, l.dst
	if !src.IsValid() {
		src, dst = netip.IPv4Unspecified(), netip.IPv4Unspecified()
	}
	l.Append(p[:0], src, dst, ChecksumDefault)
	copy(p[n:], l.Trailer)
	if !opts.ComputeChecksums {
		binary.BigEndian.PutUint16(p[6:], l.Checksum)
	}
	return nil
}

func decodeLayer(data []byte, p gopacket.PacketBuilder) error {
	l := &Layer{}
	if err := l.DecodeFromBytes(data, p); err != nil {
		return err
	}
	p.AddLayer(l)
	p.SetApplicationLayer(l)
	return nil
}

// Payload makes Layer an application layer, so that packet.ApplicationLayer finds it.
func (l *Layer) Payload() []byte { return l.BaseLayer.Payload }

// LayerContents are the bytes of the packet.
func (l *Layer) LayerContents() []byte { return l.Contents }

// LayerPayload is what follows it.
func (l *Layer) LayerPayload() []byte { return l.BaseLayer.Payload }
