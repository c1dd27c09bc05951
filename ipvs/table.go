// Package ipvs holds the model of a load-balancing table, the pure difference of two of them, and what a data plane must
// offer. The kernel's IPVS is driven by ipvs/kernel, nftables by ipvs/nft; both take and give this one model.
package ipvs

import (
	"net/netip"
	"time"
)

// Protocol is an IP protocol number that IPVS can balance.
type Protocol uint8

// The protocols IPVS knows (linux/in.h). The zero value is used with a firewall mark only.
const (
	ProtoNone Protocol = 0
	TCP       Protocol = 6
	UDP       Protocol = 17
	SCTP      Protocol = 132
)

// Family is the address family of a service or destination.
type Family uint8

// Address families; the numbers are the kernel's (linux/socket.h).
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// ServiceKey is what identifies a virtual service in the kernel: either address, port and protocol, or a firewall mark with
// its family (ip_vs.h, struct ip_vs_service_user).
type ServiceKey struct {
	Family   Family
	Protocol Protocol   // zero with a mark
	Addr     netip.Addr // invalid with a mark
	Port     uint16     // zero with a mark, or for all ports of a persistent service
	FWMark   uint32     // above zero for a firewall-mark service
}

// Flags of a service (ip_vs.h, IP_VS_SVC_F_*). SchedFlag1..3 mean what the scheduler makes of them (sh-fallback, sh-port;
// mh-fallback, mh-port).
type Flags uint32

// The flags an operator can set.
const (
	Persistent Flags = 0x01
	Hashed     Flags = 0x02
	OnePacket  Flags = 0x04
	SchedFlag1 Flags = 0x08
	SchedFlag2 Flags = 0x10
	SchedFlag3 Flags = 0x20
)

// Service is a virtual service and its destinations.
type Service struct {
	ServiceKey
	Scheduler string // rr, wrr, lc, wlc, ...; never empty
	Flags     Flags
	// Timeout is the persistence time in whole seconds; it counts only with Persistent.
	Timeout time.Duration
	// Granularity is the prefix length by which persistent clients are grouped, 32 or 128 for one by one.
	Granularity uint8
	Engine      string // persistence engine, "sip" or empty
	// Dests is in the order in which they are to be written.
	Dests []Dest
	// Stats is filled by Read only and ignored by Diff.
	Stats Stats
}

// Forward is the forwarding method of a destination (ip_vs.h, IP_VS_CONN_F_*).
type Forward uint8

// Forwarding methods, numbered as in the kernel.
const (
	NAT   Forward = 0 // IP_VS_CONN_F_MASQ
	Local Forward = 1 // IP_VS_CONN_F_LOCALNODE, set by the kernel only
	TUN   Forward = 2 // IP_VS_CONN_F_TUNNEL
	DR    Forward = 3 // IP_VS_CONN_F_DROUTE
)

// TunnelType is the encapsulation of a TUN destination (ip_vs.h, IP_VS_CONN_F_TUNNEL_TYPE_*).
type TunnelType uint8

// Encapsulations.
const (
	IPIP TunnelType = 0
	GUE  TunnelType = 1
	GRE  TunnelType = 2
)

// TunnelFlags are checksum options of a tunnel (ip_vs.h, IP_VS_TUNNEL_ENCAP_FLAG_*).
type TunnelFlags uint16

// Checksum options.
const (
	NoCsum  TunnelFlags = 0
	Csum    TunnelFlags = 1
	RemCsum TunnelFlags = 2
)

// DestKey identifies a destination inside its service.
type DestKey struct {
	Addr netip.Addr
	Port uint16
}

// Dest is a real server as the data plane sees it.
type Dest struct {
	DestKey
	Forward     Forward
	TunnelType  TunnelType
	TunnelPort  uint16
	TunnelFlags TunnelFlags
	// Weight is 0 (no new connections) to 65535.
	Weight int
	// Upper and Lower are connection thresholds, zero for none.
	Upper, Lower uint32
	// Active, Inactive, Persist and Stats are filled by Read only and ignored by Diff.
	Active, Inactive, Persist uint32
	Stats                     Stats
}

// Stats are the counters of a service or destination.
type Stats struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
	// Rates per second, as the kernel's estimator gives them.
	CPS, InPPS, OutPPS, InBPS, OutBPS uint64
}

// Table is a whole data plane's content. Order is the order of writing.
type Table struct {
	Services []Service
}

// Timeouts are the connection timeouts of IPVS; zero leaves the present value.
type Timeouts struct {
	TCP, TCPFin, UDP time.Duration
}

// SyncRole is the role of an IPVS sync daemon (ip_vs.h, IP_VS_STATE_*).
type SyncRole uint8

// Roles.
const (
	SyncNone   SyncRole = 0
	SyncMaster SyncRole = 1
	SyncBackup SyncRole = 2
)

// SyncDaemon configures the connection synchronisation daemon.
type SyncDaemon struct {
	Role   SyncRole
	Iface  string
	ID     uint8      // 0..255
	MaxLen uint16     // bytes, 0: the kernel's default (MTU of the interface)
	Port   uint16     // 0: 8848
	TTL    uint8      // 0: 1
	Group  netip.Addr // invalid: 224.0.0.81
}
