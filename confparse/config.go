package confparse

import (
	"net/netip"
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
	// MuteBFD are the bfd_instances that can have no session: no neighbor_ip, or one that does not fit. As with the reference they are known
	// to what names them, and down for ever.
	MuteBFD []*bfd.Config

	places map[string]*instancePlaces // by instance name; with CheckOptions.Lint only
}

// HasVRRP, HasLVS and HasBFD say which children have something to do.
func (c *Config) HasVRRP() bool {
	v := &c.VRRP
	return len(v.Instances) > 0 || len(v.StaticAddrs) > 0 || len(v.StaticRoutes) > 0 || len(v.StaticRules) > 0
}

// HasLVS reports whether there is a virtual server.
func (c *Config) HasLVS() bool { return len(c.LVS.VirtualServers) > 0 }

// HasBFD reports whether there is a BFD session.
func (c *Config) HasBFD() bool { return len(c.BFD) > 0 }

// Global is global_defs and top-level keywords that concern the daemon as a whole.
type Global struct {
	// RouterID is never empty: without router_id it is the host name.
	RouterID       string
	Instance       string
	NetNamespace   string
	UsePidDir      bool
	ProcessNames   bool
	ScriptUser     string
	ScriptGroup    string
	ScriptSecurity bool
	StartupScript  *script.Command // with its timeout, default 10 s
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
	// CheckersInFlight is checker_max_in_flight: how many health checks may be under way at once; zero: as the open files allow.
	CheckersInFlight int
	// ReloadGuard is reload_guard: a reload with any complaint is refused.
	ReloadGuard bool
	// FifoStatesOnReload is fifo_write_vrrp_states_on_reload.
	FifoStatesOnReload bool
	NoEmailFaults      bool

	// What each process is called and how the kernel treats it.
	Main, VRRPProcess, CheckerProcess, BFDProcess Process
	// MaxAutoPriority is max_auto_priority: the highest real-time priority that lateness may raise a process to; 0: none, -1:
	// none and no advice about it.
	MaxAutoPriority      int
	MinAutoPriorityDelay time.Duration // default 1 s

	TmpConfigDir string
	// HasReloadFile with an empty ReloadFile: keepalived.reload beside the pid files.
	HasReloadFile bool
	// UseSymlinkPaths keeps links in the paths by which scripts are called.
	UseSymlinkPaths bool
	// SetSupplementaryGroups gives scripts the groups that their user is in.
	SetSupplementaryGroups bool

	LinkbeatUsePolling  bool
	NamespaceWithIPSets bool

	Firewall Firewall
	Buffers  Buffers
	SNMP     SNMP
	DBus     DBus

	// IPRouteUsrDir and IPRouteEtcDir hold rt_tables and its friends.
	IPRouteUsrDir, IPRouteEtcDir string

	// Defaults are for dumps only: what global_defs says to instances and servers is in these already.
	Defaults Defaults
}

// Scripts are the defaults for scripts.
func (g *Global) Scripts() script.Settings {
	return script.Settings{User: g.ScriptUser, Group: g.ScriptGroup, Security: g.ScriptSecurity, Groups: g.SetSupplementaryGroups, KeepLinks: g.UseSymlinkPaths}
}

// Defaults are the values of global_defs that instances and virtual servers start from.
type Defaults struct {
	// SMTPAlert and its kin are on, off or unset.
	SMTPAlert, SMTPAlertVRRP, SMTPAlertChecker                                 string
	CheckerLogAll, NoCheckerEmails, RSInitNotifies                             bool
	Mcast4, Mcast6                                                             netip.Addr
	GARP                                                                       vrrp.GARPConfig
	DownTimerAdverts, Version                                                  int
	LowerPrioNoAdvert, HigherPrioSendAdvert, CheckUnicastSrc, SkipCheckAdvAddr bool
	Strict, V3ChecksumAsV2, OwnerIgnoreAdverts                                 bool
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
	Path        string
	User, Group string
	Script      *script.Command
}

// SMTP is where mails go.
type SMTP struct {
	Server         string // host:port; empty: no mails
	HeloName       string // empty: the host name
	ConnectTimeout time.Duration
	From           string
	To             []string
}

// Firewall is how packets are kept from virtual addresses and virtual MACs.
type Firewall struct {
	// NFTable is the name of the nftables table, default keepalived.
	NFTable    string
	NFPriority int // default -1
	NFCounters bool
	NFIfindex  bool
	// IPTables is vrrp_iptables; In and Out are its chains.
	IPTables bool
	In, Out  string
	IPSets   bool
	SetNames []string
	// DisableLocalIGMP stops membership reports of 224.0.0.0/24 in the kernel.
	DisableLocalIGMP bool
}

// Buffers are the receive buffers of netlink and other sockets in bytes; zero: the system's.
type Buffers struct {
	VRRPCmd, VRRPMonitor, LVSCmd, LVSMonitor, ProcessMonitor                          int
	ForceVRRPCmd, ForceVRRPMonitor, ForceLVSCmd, ForceLVSMonitor, ForceProcessMonitor bool
	// RxPolicy is MTU, ADVERT or NUMBER (RxSize) or empty.
	RxPolicy     string
	RxSize       int
	RxMultiplier int // default 3
}

// SNMP is what the AgentX side serves.
type SNMP struct {
	Socket                           string
	VRRP, Checker, RFCv2, RFCv3      bool
	Traps                            bool
	VSStatsInterval, RSStatsInterval time.Duration // default 5 s
}

// DBus is the D-Bus side.
type DBus struct {
	Enabled         bool
	ServiceName     string // default org.keepalived.Vrrp1
	NoInterfaceName string // default none
}
