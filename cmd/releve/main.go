// A process starts on one processor and uses a few later (package supervisor). To look for the quota of its control group in the mount
// table would be a thirtieth of the work of a start.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command releve is a keepalived-compatible LVS director with VRRP. What it does depends on the name it was called by:
// `releve` has subcommands and keepalived's flags, `keepalived` exactly keepalived's command line, `genhash` the page hash.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"releve/internal/nearest"
	"releve/logging"
	"releve/supervisor"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// subcommand is a first word of `releve`. run gets the words behind it and returns the exit status.
type subcommand struct {
	name, help string
	run        func(args []string, stdout, stderr io.Writer) int
}

// subcommands is the table of what `releve WORD` does; each entry lives in a file of its own.
var subcommands = []subcommand{genhashCommand, reloadCommand, planCommand, probeCommand, statusCommand, whyCommand, checkCommand, fmtCommand, lvsCommand, labCommand, captureCommand, migrateCommand, configCommand}

func init() { subcommands = append(subcommands, keywordsCommand, manCommand) } // they print the table that they stand in

// run is the program: argv with the name in front, the streams, the exit status.
func run(argv []string, stdout, stderr io.Writer) int {
	face := "keepalived"
	var words []string
	if len(argv) > 0 {
		face, words = filepath.Base(argv[0]), argv[1:]
	}
	if face != "keepalived" && face != "genhash" {
		if len(words) > 0 && !strings.HasPrefix(words[0], "-") {
			return command(words[0], words[1:], stdout, stderr)
		}
		face = "releve"
	}
	switch {
	case face == "genhash":
		return genhashFace(face, words, stdout, stderr)
	case len(words) > 0 && (words[0] == "-T" || words[0] == "--genhash"):
		return genhashFace("genhash", words[1:], stdout, stderr)
	}

	c, rest, err := parse(argv, words)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 1
	case c.help:
		if face == "keepalived" { // the reference writes it to the standard error
			stdout = stderr
		}
		usage(stdout, face)
		return 0
	case c.version:
		version(stderr)
		return 0
	case c.genhash:
		return genhashFace("genhash", rest, stdout, stderr)
	case c.hasSignum:
		n, ok := signums[c.signum]
		if !ok {
			fmt.Fprintf(stderr, "Unknown sigfunc %s\n", c.signum)
			return 1
		}
		fmt.Fprintln(stdout, n)
		return 0
	}
	if !supervisor.Again() {
		for _, note := range c.notes {
			fmt.Fprintln(stderr, note)
		}
		if len(rest) > 0 {
			fmt.Fprintf(stdout, "Unexpected argument(s): %s\n", strings.Join(rest, " "))
		}
	}
	if !c.Test {
		return supervisor.Run(c.Options, stderr)
	}
	status := supervisor.Test(c.Options, stderr)
	if c.badNumbers && status < 5 && status != 2 {
		status = 5
	}
	return status
}

// command is `releve WORD`.
func command(word string, args []string, stdout, stderr io.Writer) int {
	find := func(name string) *subcommand {
		i := slices.IndexFunc(subcommands, func(s subcommand) bool { return s.name == name })
		if i < 0 {
			return nil
		}
		return &subcommands[i]
	}
	switch s := find(word); {
	case s != nil:
		return s.run(args, stdout, stderr)
	case word == "help" && len(args) > 0 && find(args[0]) != nil:
		return find(args[0]).run([]string{"--help"}, stdout, stderr)
	case word == "help" && len(args) == 0:
		usage(stdout, "releve")
		return 0
	case word == "help":
		word = args[0]
	case word == "version":
		version(stdout)
		return 0
	}
	names := []string{"help", "version"}
	for _, s := range subcommands {
		names = append(names, s.name)
	}
	hint := ""
	if near := nearest.Word(word, names); near != "" {
		hint = "; did you mean " + near + "?"
	}
	fmt.Fprintf(stderr, "releve: there is no command %q%s (releve --help lists them)\n", word, hint)
	return 2
}

// parse reads the words behind argv[0] as keepalived's command line.
func parse(argv, words []string) (*commandLine, []string, error) {
	c := &commandLine{}
	c.Argv, c.Facility = argv, logging.Daemon
	rest, err := getopt(options, words, c)
	return c, rest, err
}
