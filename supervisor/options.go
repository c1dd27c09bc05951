// Package supervisor is the life of the daemon: a parent that reads the configuration, answers signals and keeps a child for
// each part (VRRP, checkers, BFD) running, and the wiring inside each child.
package supervisor

import (
	"path/filepath"

	"releve/confparse"
)

// Version is the compatibility level: the keepalived release whose behaviour this program follows. Tools compare it.
const Version = "2.4.3"

// VersionDate stands behind Version in the lines that tools read.
const VersionDate = "11/20,2026"

// Build is the program's own version, set by the linker.
var Build = "0.1.0"

// DefaultConfig is read without -f.
const DefaultConfig = "/etc/keepalived/keepalived.conf"

// Options is the command line of the daemon, resolved.
type Options struct {
	// Argv is the command line as given; children are started with it, so that ps shows it.
	Argv []string

	ConfigFile string // empty: DefaultConfig
	ConfigID   string // -i
	AllConfig  bool   // -e

	// NoChecker, NoVRRP and NoBFD leave out a part (-P, -C, -B); All starts parts that have nothing to do.
	NoChecker, NoVRRP, NoBFD, All bool

	// Test is -t; TestFile takes the complaints instead of standard error.
	Test     bool
	TestFile string

	Foreground bool // -n
	LogConsole bool // -l
	LogDetail  int  // -D, counted
	// Facility is the syslog facility (-S), 3 (daemon) by default; NoSyslog is -G.
	Facility int
	NoSyslog bool
	// LogFile is -g: each process writes to its own file; empty: none. FlushLogFile is kept for its users: each line is
	// one write here, there is nothing to flush.
	LogFile      string
	FlushLogFile bool
	DumpConf     bool // -d

	// Umask is -u and beats the keyword when HasUmask.
	Umask    int
	HasUmask bool

	ReleaseVIPs                                   bool // -X
	DontReleaseVRRP, DontReleaseIPVS, DontRespawn bool // -V, -I, -R

	// The pid files; empty: the defaults.
	PidFile, VRRPPidFile, CheckersPidFile, BFDPidFile string

	AddressMonitoring bool   // -a
	Namespace         string // -s
	CoreDump          bool   // -m
	// CorePattern is written to kernel.core_pattern (-M); empty: left alone.
	CorePattern  string
	IgnoreSigint bool
	// SNMP is -x, which this build takes and cannot serve.
	SNMP bool

	// once says that the configuration is read this one time, and may come from a stream; stream is one that was read.
	once   bool
	stream *confparse.Stream
}

// Name is the name the processes go by: the base name of argv[0].
func (o *Options) Name() string {
	if len(o.Argv) == 0 || o.Argv[0] == "" {
		return "keepalived"
	}
	return filepath.Base(o.Argv[0])
}

func (o *Options) configFile() string {
	if o.ConfigFile == "" {
		return DefaultConfig
	}
	return o.ConfigFile
}

// source reads the configuration of the command line.
func (o *Options) source() (*confparse.Source, confparse.Diagnostics) {
	lo := confparse.LoadOptions{ConfigID: o.ConfigID, AllConfig: o.AllConfig, Streams: o.once}
	if o.stream != nil {
		return confparse.LoadStream(o.stream, lo)
	}
	return confparse.Load(o.configFile(), lo)
}
