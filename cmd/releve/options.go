package main

import (
	"fmt"
	"strconv"
	"strings"

	"releve/logging"
	"releve/supervisor"
)

// commandLine is what the flags said.
type commandLine struct {
	supervisor.Options
	help, version, genhash, hasSignum bool
	signum                            string
	// notes are complaints that do not stop the run; badNumbers says that a configuration test has to report them.
	notes      []string
	badNumbers bool
}

func set(f func(c *commandLine) *bool) func(*commandLine, string) error {
	return func(c *commandLine, _ string) error { *f(c) = true; return nil }
}

func text(f func(c *commandLine) *string) func(*commandLine, string) error {
	return func(c *commandLine, v string) error { *f(c) = v; return nil }
}

func ignore(*commandLine, string) error { return nil }

// options is keepalived's command line. The order is that of the usage text.
var options = []option{
	{'f', "use-file", needsArg, "FILE", "Use the specified configuration file\n(default " + supervisor.DefaultConfig + ")", text(func(c *commandLine) *string { return &c.ConfigFile })},
	{'P', "vrrp", noArg, "", "Run without the checker part", set(func(c *commandLine) *bool { return &c.NoChecker })},
	{'C', "check", noArg, "", "Run without the VRRP part", set(func(c *commandLine) *bool { return &c.NoVRRP })},
	{'B', "no_bfd", noArg, "", "Run without the BFD part", set(func(c *commandLine) *bool { return &c.NoBFD })},
	{0, "all", noArg, "", "Run all parts, even those that have nothing to do", set(func(c *commandLine) *bool { return &c.All })},
	{'l', "log-console", noArg, "", "Log messages to the console too (with -n)", set(func(c *commandLine) *bool { return &c.LogConsole })},
	{'D', "log-detail", noArg, "", "Detailed log messages; twice: more of them", func(c *commandLine, _ string) error { c.LogDetail++; return nil }},
	{'S', "log-facility", needsArg, "FACILITY", "0-7, local0-7, user or daemon; the syslog facility", setFacility},
	{'g', "log-file", optionalArg, "FILE", "Also log to FILE, a file for each process (default /tmp/keepalived.log)", setLogFile},
	{0, "flush-log-file", noArg, "", "Flush the log file after each line", set(func(c *commandLine) *bool { return &c.FlushLogFile })},
	{'G', "no-syslog", noArg, "", "Don't log to syslog", set(func(c *commandLine) *bool { return &c.NoSyslog })},
	{'u', "umask", needsArg, "MASK", "umask for the files that are written", setUmask},
	{'X', "release-vips", noArg, "", "Drop the VIPs of the last run at the start", set(func(c *commandLine) *bool { return &c.ReleaseVIPs })},
	{'V', "dont-release-vrrp", noArg, "", "Leave addresses and routes at the stop", set(func(c *commandLine) *bool { return &c.DontReleaseVRRP })},
	{'I', "dont-release-ipvs", noArg, "", "Leave the IPVS table at the stop", set(func(c *commandLine) *bool { return &c.DontReleaseIPVS })},
	{'R', "dont-respawn", noArg, "", "End when a part ends instead of starting it again", set(func(c *commandLine) *bool { return &c.DontRespawn })},
	{'n', "dont-fork", noArg, "", "Stay in the foreground", set(func(c *commandLine) *bool { return &c.Foreground })},
	{'d', "dump-conf", noArg, "", "Write the configuration into the log", set(func(c *commandLine) *bool { return &c.DumpConf })},
	{'p', "pid", needsArg, "FILE", "pid file of the parent", text(func(c *commandLine) *string { return &c.PidFile })},
	{'r', "vrrp_pid", needsArg, "FILE", "pid file of the VRRP part", text(func(c *commandLine) *string { return &c.VRRPPidFile })},
	{'T', "genhash", noArg, "", "Behave as genhash; has to be the first word", set(func(c *commandLine) *bool { return &c.genhash })},
	{'c', "checkers_pid", needsArg, "FILE", "pid file of the checker part", text(func(c *commandLine) *string { return &c.CheckersPidFile })},
	{'a', "address-monitoring", noArg, "", "Log every address that comes or goes", set(func(c *commandLine) *bool { return &c.AddressMonitoring })},
	{'b', "bfd_pid", needsArg, "FILE", "pid file of the BFD part", text(func(c *commandLine) *string { return &c.BFDPidFile })},
	{'s', "namespace", needsArg, "NAME", "Run in the network namespace NAME (beats net_namespace)", text(func(c *commandLine) *string { return &c.Namespace })},
	{'m', "core-dump", noArg, "", "Allow core dumps", set(func(c *commandLine) *bool { return &c.CoreDump })},
	{'M', "core-dump-pattern", optionalArg, "PATTERN", "Allow core dumps and set kernel.core_pattern (default core)", setCorePattern},
	{'e', "all-config", noArg, "", "A missing include file is a failure", set(func(c *commandLine) *bool { return &c.AllConfig })},
	{'i', "config-id", needsArg, "ID", "Which @ID lines count (default: the host name)", text(func(c *commandLine) *string { return &c.ConfigID })},
	{'x', "snmp", noArg, "", "Taken for its users; there is no SNMP here", set(func(c *commandLine) *bool { return &c.SNMP })},
	{'A', "snmp-agent-socket", needsArg, "SOCKET", "Taken for its users; there is no SNMP here", set(func(c *commandLine) *bool { return &c.SNMP })},
	{0, "ignore-sigint", noArg, "", "SIGINT does not stop", set(func(c *commandLine) *bool { return &c.IgnoreSigint })},
	{0, "signum", needsArg, "NAME", "Print the number of a signal: STOP, RELOAD, DATA, STATS,\nSTATS_CLEAR, JSON", func(c *commandLine, v string) error { c.signum, c.hasSignum = v, true; return nil }},
	{'t', "config-test", optionalArg, "FILE", "Test the configuration; complaints go to FILE or standard error", func(c *commandLine, v string) error { c.Test, c.TestFile = true, v; return nil }},
	{0, "no-mem-check", noArg, "", "Taken for its users; does nothing", ignore},
	{'v', "version", noArg, "", "Show the version and end", set(func(c *commandLine) *bool { return &c.version })},
	{'h', "help", noArg, "", "Show this text and end", set(func(c *commandLine) *bool { return &c.help })},
}

func setFacility(c *commandLine, v string) error {
	switch {
	case v == "user":
		c.Facility = logging.User
		return nil
	case v == "daemon":
		c.Facility = logging.Daemon
		return nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(v, "local"))
	if err != nil || n < 0 || n > 7 {
		c.notes = append(c.notes, fmt.Sprintf("Invalid log facility '%s'", v))
		c.badNumbers = true
		return nil
	}
	c.Facility = logging.Local0 + n
	return nil
}

func setUmask(c *commandLine, v string) error {
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil || n > 0o777 {
		c.notes = append(c.notes, fmt.Sprintf("Invalid --umask option %s", v))
		return nil
	}
	c.Umask, c.HasUmask = int(n), true
	return nil
}

func setLogFile(c *commandLine, v string) error {
	c.LogFile = v
	if v == "" {
		c.LogFile = "/tmp/keepalived.log"
	}
	return nil
}

func setCorePattern(c *commandLine, v string) error {
	c.CoreDump, c.CorePattern = true, v
	if v == "" {
		c.CorePattern = "core"
	}
	return nil
}

// signums is what --signum knows.
var signums = map[string]int{"STOP": 15, "RELOAD": 1, "DATA": 10, "STATS": 12, "STATS_CLEAR": 63, "JSON": 36}
