// Package vrrp is the VRRP engine: instances, sync groups, their sockets and timers. One scheduler goroutine owns all
// instances of a process; decisions are made by the pure machines of vrrp/machine, frames by vrrp/wire, addresses and
// announcements by vrrp/vip.
package vrrp

import (
	"net/netip"
	"time"

	"releve/script"
	"releve/vrrp/vip"
)

// Config is the VRRP half of a configuration. Values are resolved: defaults and global settings have been applied to the
// instances by whoever built it.
type Config struct {
	RouterID  string
	Instances []*InstanceConfig
	Groups    []*GroupConfig
	Scripts   []*ScriptConfig
	Files     []*FileConfig
	Processes []*ProcessConfig

	// BFD are the bfd_instances whose sessions can be tracked.
	BFD []*BFDConfig

	// StaticAddrs, StaticRoutes and StaticRules are there from start to stop, whatever the states.
	StaticAddrs  []vip.Address
	StaticRoutes []vip.Route
	StaticRules  []vip.Rule

	// SyncDaemon is lvs_sync_daemon with an instance or group; nil without.
	SyncDaemon *SyncDaemonConfig

	StartupDelay   time.Duration // vrrp_startup_delay
	DelayAfterBoot time.Duration // vrrp_delay_after_boot
	// MinGARP is vrrp_min_garp, for dumps: the defaults of GARPConfig are one announcement per address and never a second burst.
	MinGARP bool
	// NotifyPriorityChanges, NotifyDeleted are vrrp_notify_priority_changes and notify_deleted.
	NotifyPriorityChanges bool
	DynamicInterfaces     bool
	// IfaceDelays is interface_up_down_delays by interface name.
	IfaceDelays map[string]IfaceDelay
	// Linkbeat is linkbeat_interfaces: the interfaces whose link is polled.
	Linkbeat []Linkbeat
	// LinkbeatPolling is the keyword linkbeat_use_polling: the interfaces of all instances are polled.
	LinkbeatPolling bool
	// GARPGroups are the garp_groups: interfaces that share one pause between gratuitous ARPs.
	GARPGroups []GARPGroup
	// TrackGroups are the instances that go to FAULT when a static address, route or rule of the group is gone for good.
	TrackGroups []TrackGroup
	// DefaultIface is default_interface, for static addresses without a device.
	DefaultIface string
	// VMACPrefix and VMACAddrPrefix begin the names of virtual MAC interfaces without a name; default vrrp.
	VMACPrefix, VMACAddrPrefix string
	// LogUnknownVRIDs is log_unknown_vrids.
	LogUnknownVRIDs bool
	// Firewall is nftables and the keywords beside it; it counts at the start only.
	Firewall vip.FirewallConfig
	// IPTables names the keywords for iptables and ipsets that are written; nftables does their work.
	IPTables []string
	// DisableLocalIGMP is disable_local_igmp: the kernel reports no memberships of 224.0.0.0/24 while the engine runs.
	DisableLocalIGMP bool
	// Buffers are receive buffers.
	Buffers Buffers
	// LateBy is how late a timer must go off for Options.Late to be called; zero: never.
	LateBy time.Duration
	// AllowIfChanges is `dynamic_interfaces allow_if_changes`: a deleted interface may come back as another kind.
	AllowIfChanges bool
}

// Buffers are sizes of receive buffers in bytes; zero: our own. With Force a size may exceed the system's limit (net.core.rmem_max).
type Buffers struct {
	// NetlinkCmd is vrrp_netlink_cmd_rcv_bufs, NetlinkMonitor vrrp_netlink_monitor_rcv_bufs, Processes process_monitor_rcv_bufs.
	NetlinkCmd, NetlinkMonitor, Processes                int
	ForceNetlinkCmd, ForceNetlinkMonitor, ForceProcesses bool
	// Policy is vrrp_rx_bufs_policy: MTU, ADVERT, NUMBER (of Size) or empty. Multiplier is vrrp_rx_bufs_multiplier, default 3.
	Policy     string
	Size       int
	Multiplier int
}

// Linkbeat is a row of linkbeat_interfaces.
type Linkbeat struct {
	Iface string
	// Method is MII, ETHTOOL or IOCTL; empty: the first that works.
	Method string
}

// GARPGroup is a garp_group.
type GARPGroup struct {
	Ifaces []string
	// GARPInterval and GNAInterval are the pauses; zero: none. HasGARP and HasGNA tell zero from unset.
	GARPInterval, GNAInterval time.Duration
	HasGARP, HasGNA           bool
}

// TrackGroup is a track_group.
type TrackGroup struct {
	Name      string
	Instances []string
}

// IfaceDelay is a row of interface_up_down_delays.
type IfaceDelay struct{ Down, Up time.Duration }

// SyncDaemonConfig is lvs_sync_daemon as VRRP drives it.
type SyncDaemonConfig struct {
	Iface    string
	Instance string // instance or group name
	ID       uint8
	HasID    bool // without, the instance's VRID is used
	MaxLen   uint16
	Port     uint16
	TTL      uint8
	Group    netip.Addr
}

// State is a VRRP state (RFC 9568 §6.3 plus the reference's FAULT), numbered as in keepalived.json.
type State uint8

// States.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String gives the reference's words: INIT, BACKUP, MASTER, FAULT.
func (s State) String() string {
	switch s {
	case Backup:
		return "BACKUP"
	case Master:
		return "MASTER"
	case Fault:
		return "FAULT"
	}
	return "INIT"
}

// AuthType is the authentication of VRRPv2.
type AuthType uint8

// Authentication types (RFC 2338 §5.3.6; dropped by RFC 3768 but kept by the reference).
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1
	AuthAH   AuthType = 2
)

// InstanceConfig is a vrrp_instance.
type InstanceConfig struct {
	Name  string
	Iface string
	// VRID is 1..255.
	VRID uint8
	// Version is 2 or 3; IPv6 is always 3.
	Version int
	IPv6    bool // native family of the adverts
	// StartMaster is `state MASTER`; it counts only with priority 255.
	StartMaster bool
	// Priority is 1..255; 255 is the address owner.
	Priority uint8
	// AdvertInt is whole seconds for version 2 and 10 ms to 40.95 s for version 3.
	AdvertInt time.Duration

	Auth     AuthType
	AuthPass [8]byte
	HMAC     *HMACConfig // auth_hmac; nil without

	// McastSrc is mcast_src_ip or unicast_src_ip; invalid: the interface's first address.
	Src       netip.Addr
	McastDst  netip.Addr // invalid: 224.0.0.18 or ff02::12
	Peers     []Peer     // unicast_peer
	UnicastTT uint8      // unicast_ttl, zero: 255
	// TTLMin and TTLMax bound the TTL of received unicast adverts when HasTTL.
	CheckUnicastSrc bool

	VIPs     []vip.Address // at most 255, in the order of the file
	Excluded []vip.Address
	Routes   []vip.Route
	Rules    []vip.Rule

	NoPreempt            bool
	PreemptDelay         time.Duration
	DownTimerAdverts     int // default 3
	Strict               bool
	SkipCheckAdvAddr     bool
	Accept               bool // default true; no_accept clears it
	PromoteSecondaries   bool
	V3ChecksumAsV2       bool
	OldUnicastChecksum   bool
	LowerPrioNoAdvert    bool
	HigherPrioSendAdvert bool
	// HigherPrioQuiet is `higher_prio_send_advert off`, written out or by strict mode: not a word when giving way, even if two
	// masters may have met.
	HigherPrioQuiet    bool
	OwnerIgnoreAdverts bool
	TimerExpiredBackup bool
	DontTrackPrimary   bool
	NativeIPv6         bool
	// OldUnicastChecksumNever is `old_unicast_checksum never`: an old checksum is not taken over from a peer.
	OldUnicastChecksumNever bool
	// TimerExpiredPrio is the highest priority of the others for timer_expired_backup, default 254.
	TimerExpiredPrio int
	// TrackSrcIP is track_src_ip: FAULT while the source address is not there.
	TrackSrcIP bool
	// UnicastFaultNoPeer is unicast_fault_no_peer: FAULT instead of multicast without peers.
	UnicastFaultNoPeer bool
	// Unicast says that adverts go to peers only, even if there is none.
	Unicast bool
	// NoVIPs is no_virtual_ipaddress: nothing is missing where there is no address.
	NoVIPs bool
	// VRF is the routing domain of an instance without an interface.
	VRF string
	// KernelRxBuf is kernel_rx_buf_size in bytes, zero: the system's.
	KernelRxBuf int
	// LinkbeatPolling is linkbeat_use_polling of the instance.
	LinkbeatPolling bool
	// Debug is debug, 0..4.
	Debug int

	// GARP, Track and Notify may be shared by instances, and are not changed once an engine has them. OrNone reads a nil one.
	GARP   *GARPConfig   // nil: nothing is announced
	Track  *TrackConfig  // nil: nothing is tracked
	Notify *NotifyConfig // nil: nobody is told
	VMAC   *VMACConfig   // use_vmac; nil without
	// Group is the name of the sync group, empty without.
	Group string
}

// Peer is one unicast peer.
type Peer struct {
	Addr           netip.Addr
	MinTTL, MaxTTL int // zero: not checked
}

// GARPConfig is how gratuitous ARPs and neighbour advertisements are sent.
type GARPConfig struct {
	Delay           time.Duration // garp_master_delay, default 5 s
	Repeat          int           // garp_master_repeat, default 5
	Refresh         time.Duration // garp_master_refresh, default 0: none
	RefreshRepeat   int           // garp_master_refresh_repeat, default 1
	LowerPrioDelay  time.Duration // default Delay
	LowerPrioRepeat int           // default Repeat
	GARPInterval    time.Duration // vrrp_garp_interval: pause between two on an interface
	GNAInterval     time.Duration
	ExtraIfAll      bool
	ExtraIfInterval time.Duration
}

// OrNone is g, or one that announces nothing if g is nil.
func (g *GARPConfig) OrNone() *GARPConfig { return orZero(g) }

func orZero[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// VMACConfig is use_vmac and use_ipvlan.
type VMACConfig struct {
	Name     string
	XmitBase bool
	AddrVMAC bool // use_vmac_addr
	OnlyAddr bool // use_vmac_addr without use_vmac: the instance itself has none
	IPVlan   bool
	MAC      [6]byte // zero: from VRID and family
	// Group is the link group of the new interface if HasGroup, else the parent's.
	Group    int
	HasGroup bool
	// NetlinkNotify asks the kernel for a message about the parent after the interface was made.
	NetlinkNotify bool
	// IPVlanMode is bridge, private or vepa; IPVlanAddr the address of an ipvlan.
	IPVlanMode string
	IPVlanAddr netip.Prefix
}

// HMACConfig is auth_hmac.
type HMACConfig struct {
	Keys       []HMACKey
	ActiveKey  uint8
	Mode       HMACMode
	TimeWindow time.Duration // zero: the larger of 3 intervals and 5 s
	Monotonic  bool
}

// HMACKey is one key; Secret is at least 32 bytes.
type HMACKey struct {
	ID     uint8
	Secret []byte
}

// HMACMode says what happens to adverts without a trailer.
type HMACMode uint8

// Modes.
const (
	HMACEnforce HMACMode = iota
	HMACPermissive
	HMACReceiveOnly
)

// TrackConfig is what an instance or group depends on.
type TrackConfig struct {
	Ifaces    []TrackRef
	Scripts   []TrackRef
	Files     []TrackRef
	Processes []TrackRef
	BFD       []TrackRef
}

// OrNone is t, or one that tracks nothing if t is nil.
func (t *TrackConfig) OrNone() *TrackConfig { return orZero(t) }

// IsZero reports whether nothing is tracked.
func (t *TrackConfig) IsZero() bool {
	return len(t.Ifaces)+len(t.Scripts)+len(t.Files)+len(t.Processes)+len(t.BFD) == 0
}

// TrackRef is one tracked object.
type TrackRef struct {
	Name string
	// Weight is -254..254; without HasWeight the object's own default counts. Weight 0 means FAULT while it is down.
	Weight    int
	HasWeight bool
	Reverse   bool
	NoReverse bool // noreverse: beats the object's own reverse
}

// ScriptConfig is a vrrp_script.
type ScriptConfig struct {
	Name       string
	Command    script.Command
	Interval   time.Duration // default 1 s
	Timeout    time.Duration // default Interval
	Weight     int
	Reverse    bool
	Rise, Fall int // default 1
	InitFail   bool
}

// FileConfig is a track_file (vrrp_track_file).
type FileConfig struct {
	Name, Path string
	Weight     int
	Reverse    bool
	InitValue  int
	HasInit    bool
	Overwrite  bool
}

// ProcessConfig is a vrrp_track_process.
type ProcessConfig struct {
	Name, Path string
	Params     []string
	ParamMatch string // "", exact, partial, initial
	Weight     int
	Reverse    bool
	Quorum     int // min, default 1
	// QuorumMax counts with HasQuorumMax; zero: the process must not run.
	QuorumMax      int
	HasQuorumMax   bool
	ForkDelay      time.Duration
	TerminateDelay time.Duration
	FullCommand    bool
}

// GroupConfig is a vrrp_sync_group.
type GroupConfig struct {
	Name           string
	Members        []string
	Track          TrackConfig
	TrackingWeight bool // sync_group_tracking_weight, global_tracking
	Notify         NotifyConfig
}

// NotifyConfig is what is told to whom about an instance or group.
type NotifyConfig struct {
	Master, Backup, Fault, Stop, Deleted, MasterRxLowerPri *script.Command
	// Any is `notify`: called with type, name, state and priority behind its own words.
	Any           []*script.Command
	SMTPAlert     bool
	NotifyDeleted bool
	PriorityFifo  bool
}

// OrNone is n, or one that tells nobody if n is nil.
func (n *NotifyConfig) OrNone() *NotifyConfig { return orZero(n) }

// IsZero reports whether nobody is told anything.
func (n *NotifyConfig) IsZero() bool {
	return n.Master == nil && n.Backup == nil && n.Fault == nil && n.Stop == nil && n.Deleted == nil && n.MasterRxLowerPri == nil &&
		len(n.Any) == 0 && !n.SMTPAlert && !n.NotifyDeleted && !n.PriorityFifo
}

// BFDConfig is a bfd_instance as VRRP sees it: what its session means by default. Weight 0 means FAULT while it is not up.
type BFDConfig struct {
	Name    string
	Weight  int
	Reverse bool
}
