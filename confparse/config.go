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

	// Umask is the keyword umask, HasUmask tells 0 from unset (0177).
	Umask    int
	HasUmask bool
	// The dump files; empty: the usual names. A trailing slash means the usual names in that folder.
	StateDumpFile, StatsDumpFile, JSONDumpFile string
	JSONVersion                                int  // 1 or 2, default 1
	DataUseInstance                            bool // data_use_instance

	ReloadCheckConfig bool   // reload_check_config
	ReloadCheckLog    string // its file; empty: the log
	ReloadTimeFile    string
	ReloadRepeat      bool
	ReloadFile        string // reload_file
	ConfigSaveDir     string // config_save_dir
	// ReloadGuard is reload_guard: a reload with any complaint is refused.
	ReloadGuard bool
	// FifoStatesOnReload is fifo_write_vrrp_states_on_reload.
	FifoStatesOnReload bool
	NoEmailFaults      bool

	// What each process is called and how the kernel treats it.
	Main, VRRPProcess, CheckerProcess, BFDProcess Process
}

// Process is how the kernel sees and schedules one process of the daemon. The zero value leaves everything as it is.
type Process struct {
	Name         string        // process_name and its kin; empty: the default, or the one of process_names
	Priority     int           // nice value, -20..19, zero: unchanged
	RTPriority   int           // SCHED_RR priority 1..99, zero: not real time
	RLimitRTTime time.Duration // RLIMIT_RTTIME, zero: unchanged
	CPUAffinity  []int         // empty: all
	NoSwap       bool          // memory is locked
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
