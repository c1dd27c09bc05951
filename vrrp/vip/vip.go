// Package vip puts virtual addresses, routes and rules into the kernel, takes them out again and announces them on the LAN.
package vip

import (
	"net/netip"
	"time"
)

// Forever is a lifetime without end.
const Forever time.Duration = 1<<63 - 1

// Address is a virtual or static address.
type Address struct {
	// Prefix is address and mask as configured; without a mask /32 or /128.
	Prefix netip.Prefix
	// Dev is the interface; empty: the instance's.
	Dev string
	// Broadcast is `brd`: invalid for none.
	Broadcast netip.Addr
	Label     string
	Peer      netip.Prefix
	// PreferredLft is the preferred lifetime; HasPreferredLft tells zero (deprecated) from unset. The largest
	// value is Forever.
	PreferredLft    time.Duration
	TrackGroup      string
	Scope           uint8 // RT_SCOPE_*, default 0 (global)
	HasPreferredLft bool
	Home            bool
	NoDAD           bool // default true for IPv6 VIPs (-nodad clears it)
	ManageTempAddr  bool
	NoPrefixRoute   bool
	AutoJoin        bool
	NoTrack         bool
	UseVMAC         bool
}
