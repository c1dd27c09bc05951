package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"releve/confparse"
)

const configUsage = `Usage: releve config dump [OPTIONS] FILE
Prints a configuration as it is understood: includes, parameters and sequences expanded, all defaults resolved. FILE can be a pipe, or
- for the standard input; what is to complain about it is on the standard error.

`

const configMore = `
Exit status: that of releve check: 0, 5, 6, 4 or 2; 2 also for wrong options; 1 if the output could not be written.
`

// configCommand is `releve config`.
var configCommand = subcommand{"config", "print a configuration with all defaults resolved", runConfig}

func runConfig(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("config", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	format := flags.String("format", "conf", "conf (keepalived.conf) or json")
	secrets := flags.Bool("secrets", false, "passwords and keys in JSON too; keepalived.conf always has them")
	host := flags.Bool("host", false, "leave out what this machine cannot run: scripts and users that are missing")
	id := flags.StringP("config-id", "i", "", "which @ID lines count (default: the host name up to its first dot)")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	switch {
	case err != nil:
	case *help:
		fmt.Fprint(stdout, configUsage, flags.FlagUsages(), configMore)
		return 0
	case flags.NArg() != 2 || flags.Arg(0) != "dump":
		err = fmt.Errorf("want dump and a file")
	case *format != "conf" && *format != "json":
		err = fmt.Errorf("--format %q: want conf or json", *format)
	}
	if err != nil {
		return wrongUse(stderr, "config", err)
	}
	src, diags := confparse.Load(flags.Arg(1), confparse.LoadOptions{ConfigID: *id, Streams: true})
	cfg, more := confparse.Check(src, confparse.CheckOptions{NoHost: !*host, Test: true})
	diags = append(diags, more...)
	if len(diags) > 0 {
		if err := confparse.WriteText(stderr, confparse.Report{Source: src, Diagnostics: diags.Sorted(src)}); err != nil {
			fmt.Fprintf(stderr, "releve config: %v\n", err)
		}
	}
	if src.Len() == 0 && len(diags) > 0 && len(src.Files()) == 0 {
		return diags.ExitCode() // there is no file: what would be printed is of nobody
	}
	if *format == "json" {
		err = confparse.DumpJSON(stdout, cfg, *secrets)
	} else {
		err = confparse.Dump(stdout, cfg)
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve config: %v\n", err)
		return 1
	}
	return diags.ExitCode()
}
