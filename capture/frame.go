// Package capture reads frames of the wire or of a file, takes them apart, and says of each what it is, why it was sent and what
// it makes the receiver do.
//
// The way of a frame: a Source gives packets, a Decoder makes a Frame of each, an Annotator (pure: frames and their times in,
// sentences out) adds what it means, and the sinks write terminal lines, JSON lines, pcapng with the sentence as the packet's
// comment, or a page with a sequence diagram. The decoders are our own and small, because the program that holds them is also
// the daemon, which must not pay for a library of every protocol at its start.
package capture

import (
	"fmt"
	"net/netip"
	"time"
)

// Packet is a frame as it was captured.
type Packet struct {
	At time.Time
	// Point is the index of the place where it was seen, as the Source numbers them.
	Point int
	// Data begins with the Ethernet header.
	Data []byte
	// Len is how long it was on the wire; Data may be shorter.
	Len int
	// Cooked tells that the link has no Ethernet header: that of Data is made up, with the sender's hardware address if it is known.
	Cooked bool
}

// Point is a place where frames are seen: an interface of a host, or the interface of a capture file.
type Point struct {
	Name string
}

// Field is a value of a frame. Names are those of Wireshark's display filters, where it has one.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// MAC is a hardware address.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Group tells whether the address is of many: broadcast or multicast.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// Frame is a frame taken apart.
type Frame struct {
	Packet
	// No counts from 1.
	No int
	// SrcMAC and DstMAC are zero if the capture has no Ethernet header.
	SrcMAC, DstMAC MAC
	// Src and Dst are the addresses of the network layer, invalid without one (ARP has its own).
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	TTL, TOS         uint8
	// Sealed is set if an IPsec authentication header precedes what the frame carries.
	Sealed bool
	// Proto is the innermost protocol that was understood: ah, vrrp, arp, igmp, mld, nd, icmp, icmp6, ipvs, bfd, dhcp, dhcpfo, dns,
	// http, tls, smtp, udp, tcp, ip, eth.
	Proto string
	// Fields are the values of all layers, outermost first.
	Fields []Field
	// Msg is the message of the innermost protocol: *VRRP, *ARP, *IGMP, *ND, *Sync, *BFD, *DHCP, *Failover, *DNS, *TCP, *ICMP; nil otherwise.
	Msg any
	// TCP is the segment that carries the message, if one does.
	TCP *TCP
	// Payload is what the transport carries.
	Payload []byte
	// Fault says what is wrong with the frame, empty if nothing is.
	Fault string
	// Partial is set if too little of the frame was caught to understand it; what was, is in Fields.
	Partial bool
	// missing is how many bytes of the network layer were not caught.
	missing int
}

func (f *Frame) add(name string, format string, a ...any) {
	f.Fields = append(f.Fields, Field{name, fmt.Sprintf(format, a...)})
}

// Get gives the first value of a field, empty without one.
func (f *Frame) Get(name string) string {
	for _, x := range f.Fields {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}
