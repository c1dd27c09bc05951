package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"

	"releve/confparse"
)

// checkUsage is what `releve check --help` prints before the options.
const checkUsage = `Usage: releve check [OPTIONS] FILE...
Reads configurations and says what is wrong with them, and where: what keepalived -t complains about, and beyond it what it takes
but an operator regrets (docs/check.md has the codes). FILE can be a glob, a pipe, or - for the standard input. With --pair the two
FILEs are those of two directors.

`

const checkMore = `
Exit status: as keepalived -t. 0: nothing to complain about; 5: complaints; 6: scripts without script security, or an include
that must exist does not; 4: a file that may not be read; 2: a value is missing that a keyword cannot do without, or wrong options
(then nothing is on the standard output); 1: the report could not be written. What goes beyond keepalived -t leaves the status alone, but with --strict a warning makes it 5.
`

// checkCommand is `releve check`.
var checkCommand = subcommand{"check", "say what is wrong with a configuration, and where", runCheck}

func runCheck(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("check", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	format := flags.String("format", "text", "text, json or sarif")
	noHost := flags.Bool("no-host", false, "leave out what is about this machine: interfaces, scripts, users")
	disable := flags.StringSlice("disable", nil, "codes of complaints to leave out, separated by commas")
	noLint := flags.Bool("no-lint", false, "only what keepalived -t complains about")
	strict := flags.Bool("strict", false, "exit status 5 for any warning")
	pair := flags.Bool("pair", false, "compare two files, of two directors that shall back each other up")
	id := flags.StringP("config-id", "i", "", "which @ID lines count (default: the host name up to its first dot)")
	all := flags.BoolP("all-config", "e", false, "a missing include is a failure")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	write, known := map[string]func(io.Writer, ...confparse.Report) error{
		"text": confparse.WriteText, "json": confparse.WriteJSON, "sarif": confparse.WriteSARIF,
	}[*format]
	switch {
	case err != nil:
	case *help:
		fmt.Fprint(stdout, checkUsage, flags.FlagUsages(), checkMore)
		return 0
	case flags.NArg() == 0:
		err = fmt.Errorf("name a file")
	case *pair && flags.NArg() != 2:
		err = fmt.Errorf("--pair wants two files, got %d", flags.NArg())
	case !known:
		err = fmt.Errorf("--format %q: want text, json or sarif", *format)
	default:
		err = oneInput(flags.Args()...)
	}
	if err != nil {
		return wrongUse(stderr, "check", err)
	}

	var silent []confparse.Code
	for _, c := range *disable {
		silent = append(silent, confparse.Code(c))
	}
	var reports []confparse.Report
	var found confparse.Diagnostics
	var configs []*confparse.Config
	for _, name := range flags.Args() {
		src, diags := confparse.Load(name, confparse.LoadOptions{ConfigID: *id, AllConfig: *all, Streams: true})
		cfg, more := confparse.Check(src, confparse.CheckOptions{NoHost: *noHost, Test: true, Lint: !*noLint || *pair})
		reports = append(reports, confparse.Report{Source: src, Diagnostics: append(diags, more...)})
		configs = append(configs, cfg)
	}
	if *pair {
		a, b := confparse.ComparePair(configs[0], configs[1], flags.Arg(0), flags.Arg(1))
		reports[0].Diagnostics = append(reports[0].Diagnostics, a...)
		reports[1].Diagnostics = append(reports[1].Diagnostics, b...)
	}
	for i := range reports {
		r := &reports[i]
		r.Diagnostics = r.Diagnostics.Without(silent...).Sorted(r.Source)
		found = append(found, r.Diagnostics...)
	}
	if err := write(stdout, reports...); err != nil {
		fmt.Fprintf(stderr, "releve check: %v\n", err)
		return 1
	}
	status := found.ExitCode()
	if *strict && status == 0 && slices.ContainsFunc(found, func(d confparse.Diagnostic) bool { return d.Severity >= confparse.Warning }) {
		return int(confparse.ExitConfig)
	}
	return status
}
