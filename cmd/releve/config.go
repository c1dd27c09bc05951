package main

import (
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"releve/confparse"
)

const configUsage = `Usage: releve config dump [OPTIONS] FILE
Prints a configuration as it is understood: includes, parameters and sequences expanded, all defaults resolved.

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
		fmt.Fprint(stdout, configUsage, flags.FlagUsages())
		return 0
	case flags.NArg() != 2 || flags.Arg(0) != "dump":
		err = fmt.Errorf("want dump and a file")
	case *format != "conf" && *format != "json":
		err = fmt.Errorf("--format %q: want conf or json", *format)
	}
	if err != nil {
		wrongUse(stderr, "config", err)
		return 1
	}
	src, diags := confparse.Load(flags.Arg(1), confparse.LoadOptions{ConfigID: *id})
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
