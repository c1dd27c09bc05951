// Package bfd speaks Bidirectional Forwarding Detection (RFC 5880, 5881, 5883).
package bfd

import (
	"net/netip"
	"time"
)

// Config is a bfd_instance.
type Config struct {
	Name          string
	Neighbor, Src netip.Addr
	MinRx, MinTx  time.Duration // 10 ms default each
	IdleTx        time.Duration // 1 s default
	Multiplier    uint8         // 5 default
	Passive       bool
	TTL, MaxHops  uint8
	Weight        int
	Reverse       bool
	// Multihop uses port 4784 (RFC 5883) instead of 3784.
	Multihop bool
	// TellVRRP and TellChecker say who hears of changes; normally both.
	TellVRRP, TellChecker bool
}
