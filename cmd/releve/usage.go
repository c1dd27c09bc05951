package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"releve/supervisor"
)

// version writes what tools look for: the compatibility level in the second word of the first line, the build options by
// the reference's names further down. The program's own version follows the reference's.
func version(w io.Writer) {
	fmt.Fprintf(w, "Keepalived v%s (%s), releve %s\n\n", supervisor.Version, supervisor.VersionDate, supervisor.Build)
	fmt.Fprintf(w, "Relève: a director that behaves as keepalived %s does\n\n", supervisor.Version)
	fmt.Fprintf(w, "Built with %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Fprintf(w, "Running on %s %s %s\n", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]))
	}
	fmt.Fprint(w, "\nconfigure options: --enable-json --enable-regex --enable-bfd --enable-nftables\n")
	fmt.Fprint(w, "\nConfig options:  NFTABLES LVS REGEX VRRP VRRP_AUTH VRRP_VMAC JSON BFD OLD_CHKSUM_COMPAT INIT=systemd SYSTEMD_NOTIFY\n")
}

func usage(w io.Writer, face string) {
	fmt.Fprintf(w, "Usage: %s [OPTION...]\n", face)
	if face != "keepalived" && len(subcommands) > 0 {
		fmt.Fprintf(w, "       %s COMMAND [ARGUMENT...]\n\nCommands:\n", face)
		for _, s := range subcommands {
			fmt.Fprintf(w, "  %-28s %s\n", s.name, s.help)
		}
		fmt.Fprintf(w, "%s COMMAND --help says more of each.\n\nOptions of the daemon, as keepalived(8) has them:\n", face)
	}
	for _, o := range options {
		left := "      --" + o.long
		if o.short != 0 {
			left = fmt.Sprintf("  -%c, --%s", o.short, o.long)
		}
		switch o.arg {
		case needsArg:
			left += "=" + o.value
		case optionalArg:
			left += "[=" + o.value + "]"
		}
		for i, line := range strings.Split(o.help, "\n") {
			if i > 0 {
				left = ""
			}
			if len(left) > 30 {
				fmt.Fprintln(w, left)
				left = ""
			}
			fmt.Fprintf(w, "%-31s%s\n", left, line)
		}
	}
}

// exitUsage is the status of every subcommand that was given wrong options or words. The faces keepalived and genhash end with 1, as
// the reference does.
const exitUsage = 2

// wrongUse says what is wrong with a command line, and where to read on.
func wrongUse(stderr io.Writer, command string, err error) int {
	fmt.Fprintf(stderr, "releve %s: %v (releve %s --help says more)\n", command, err, command)
	return exitUsage
}

// oneInput refuses the standard input as more than one of the files of a command line.
func oneInput(files ...string) error {
	seen := false
	for _, f := range files {
		if f == "-" && seen {
			return errors.New("the standard input can be read once")
		}
		seen = seen || f == "-"
	}
	return nil
}
