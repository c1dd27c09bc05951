package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/gopacket"
)

// LayerTypeVRRP is the type of Layer. Its number is above those that gopacket keeps for itself (2000).
const LayerTypeVRRP gopacket.LayerType = 2112

// Decoder reads IP protocol 112 as Layer. Register makes it known to gopacket; to have packets of that protocol decoded by it, in place
// of gopacket's own VRRPv2, put it into layers.IPProtocolMetadata. That is left to those who look at captures: the layers package takes
// milliseconds at program start, more than everything else in a daemon together, so nothing here may import it.
var Decoder gopacket.Decoder = gopacket.DecodeFunc(decodeLayer)

// Register makes LayerTypeVRRP known.
var Register = sync.OnceFunc(func() {
	gopacket.RegisterLayerType(int(LayerTypeVRRP), gopacket.LayerTypeMetadata{Name: "VRRP", Decoder: Decoder})
})

// Layer is a VRRP packet of any version for gopacket. The family is told from the length, which is never ambiguous.
type Layer struct {
	Advert
	Contents []byte
	Type     uint8
	Checksum uint16 // as read
	IPv6     bool
	Trailer  []byte // of auth_hmac, nil without

	rest     []byte // what follows the packet
	src, dst netip.Addr
}

// SetNetworkLayerForChecksum gives SerializeTo the addresses of the pseudo-header.
func (l *Layer) SetNetworkLayerForChecksum(n gopacket.NetworkLayer) error {
	src, dst := n.NetworkFlow().Endpoints()
	l.src, _ = netip.AddrFromSlice(src.Raw())
	l.dst, _ = netip.AddrFromSlice(dst.Raw())
	if !l.src.IsValid() || !l.dst.IsValid() {
		return fmt.Errorf("VRRP over %v without addresses", n.LayerType())
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
	l.Contents, l.rest = data[:end], data[end:]
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
func (l *Layer) Payload() []byte { return l.rest }

// LayerContents are the bytes of the packet.
func (l *Layer) LayerContents() []byte { return l.Contents }

// LayerPayload is what follows it.
func (l *Layer) LayerPayload() []byte { return l.rest }
