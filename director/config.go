// Package director decides which real servers take traffic: it owns virtual servers, turns verdicts of checkers into weights,
// quorum and sorry server, and hands the table that should be to the data plane.
package director

import (
	"net/netip"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/script"
)

// Config is the LVS half of a configuration. Values are resolved: inheritance and defaults have been applied.
type Config struct {
	// RouterID stands in the subject of mails.
	RouterID       string
	VirtualServers []*VirtualServer
	Groups         []*Group
	Timeouts       ipvs.Timeouts
	// SyncDaemon is lvs_sync_daemon without an instance: both roles run all the time. With an instance it belongs to VRRP.
	SyncDaemon *ipvs.SyncDaemon
	// Flush empties the table at the start, FlushOnStop all of it at the stop, FlushOnStopVS the configured services at once.
	Flush, FlushOnStop, FlushOnStopVS bool
	// RSInitNotifies runs notify_up for the servers that are in at the start.
	RSInitNotifies bool
	// NoCheckerMails is no_checker_emails: a checker's mail is sent when the server goes in or out with it, not each time that it changes its mind.
	NoCheckerMails bool
	// CheckerLogAll is checker_log_all_failures.
	CheckerLogAll bool
	// NetNamespace is net_namespace_ipvs: the namespace whose IPVS is driven.
	NetNamespace string
	// NFTables is nftables_ipvs: groups become one fwmark service each, packets are marked by this nftables table; empty: off.
	NFTables string
	// NFTablesStartMark is the first mark used, default 1000.
	NFTablesStartMark uint32
	NFTablesPriority  int
	NFTablesCounters  bool
}

// Group is a virtual_server_group.
type Group struct {
	Name    string
	Members []GroupMember
}

// GroupMember is a range of addresses with one port, or a firewall mark.
type GroupMember struct {
	First, Last netip.Addr // Last equals First for one address
	Port        uint16
	FWMark      uint32
	// Family is the family of a mark, zero: as the real servers'.
	Family ipvs.Family
}

// VirtualServer is a virtual_server.
type VirtualServer struct {
	// Name is how logs, fifo lines and mails call it: "[10.2.0.1]:tcp:80", "FWM 7", "[G]:0".
	Name string
	// Key is the service; with Group it holds only protocol and family.
	Key   ipvs.ServiceKey
	Group *Group

	Scheduler   string // default wlc
	Flags       ipvs.Flags
	Persistence time.Duration // zero: none
	Granularity uint8
	Engine      string
	Hashed, OPS bool

	Forward     ipvs.Forward // default NAT
	TunnelType  ipvs.TunnelType
	TunnelPort  uint16
	TunnelFlags ipvs.TunnelFlags

	Alpha, Omega bool
	// Quorum is at least 1 and at most the sum of the weights; Hysteresis is below Quorum.
	Quorum, Hysteresis   int
	QuorumUp, QuorumDown *script.Command
	HASuspend            bool
	// VirtualHost and DelayLoop have been inherited by the checkers already; they are kept for dumps.
	VirtualHost string
	DelayLoop   time.Duration
	SMTPAlert   bool
	// SNMPName is a name for SNMP answers.
	SNMPName string

	RealServers []*RealServer
	// Sorry is the sorry server, nil without one. SorryInhibit keeps it in the table with weight 0 while not needed.
	Sorry        *RealServer
	SorryInhibit bool
}

// RealServer is a real_server.
type RealServer struct {
	// Name is how logs call it: "[10.1.0.1]:tcp:80".
	Name        string
	Addr        netip.AddrPort
	Forward     ipvs.Forward
	TunnelType  ipvs.TunnelType
	TunnelPort  uint16
	TunnelFlags ipvs.TunnelFlags
	// Weight is the configured weight, default 1.
	Weight       int
	Upper, Lower uint32
	Inhibit      bool // inhibit_on_failure
	NotifyUp     *script.Command
	NotifyDown   *script.Command
	SMTPAlert    bool
	SNMPName     string
	Checkers     []*healthcheck.Config
}
