package confparse

import (
	"time"

	"releve/bfd"
	"releve/director"
	"releve/script"
	"releve/vrrp"
)

// Config is a checked configuration: what each room needs, in its own words.
type Config struct {
	Global Global
	VRRP   vrrp.Config
	LVS    director.Config
	BFD    []*bfd.Config
}

// HasVRRP, HasLVS and HasBFD say which children have something to do.
func (c *Config) HasVRRP() bool { return len(c.VRRP.Instances) > 0 || len(c.VRRP.StaticAddrs) > 0 }

// HasLVS reports whether there is a virtual server.
func (c *Config) HasLVS() bool { return len(c.LVS.VirtualServers) > 0 }

// HasBFD reports whether there is a BFD session.
func (c *Config) HasBFD() bool { return len(c.BFD) > 0 }

// Global is global_defs and top-level keywords that concern the daemon as a whole.
type Global struct {
	RouterID       string
	Instance       string
	NetNamespace   string
	UsePidDir      bool
	ProcessNames   bool
	ScriptUser     string
	ScriptGroup    string
	ScriptSecurity bool
	StartupScript  *script.Command
	ShutdownScript *script.Command
	ChildWaitTime  time.Duration // default 5 s

	NotifyFifo, VRRPNotifyFifo, LVSNotifyFifo Fifo
	SMTP                                      SMTP
}

// Fifo is a notify_fifo with its script.
type Fifo struct {
	Path   string
	Script *script.Command
}

// SMTP is where mails go.
type SMTP struct {
	Server         string // host:port
	HeloName       string
	ConnectTimeout time.Duration
	From           string
	To             []string
}
