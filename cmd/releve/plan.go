package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/pflag"

	"releve/supervisor"
)

// Exit statuses of `releve plan`.
const (
	planEmpty    = 0 // nothing would change
	planChanges  = 1
	planRefused  = 2 // the file could not be taken over; also a wrong command line
	planNoDaemon = 3
)

// planUsage is the help; the flags stand in it.
const planUsage = `Usage: releve plan [OPTIONS] [FILE]
Says what a reload with a file would change in the running daemon: states, addresses, and every write to the kernel. It changes
nothing. Without FILE the daemon's own configuration file is planned; FILE can be a pipe, or - for the standard input.

%s
Exit status: 0 nothing would change, 1 something would, 2 the file cannot be taken over, or wrong options, 3 no daemon answers.
`

// planCommand is `releve plan FILE`: what a reload would change in the running daemon.
var planCommand = subcommand{"plan", "what a reload with a file would change, without changing it", func(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("releve plan", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	pidFile := flags.StringP("pid", "p", "", "pid `file` of the daemon (default: where a daemon is found)")
	asJSON := flags.Bool("json", false, "print the answer as JSON")
	against := flags.String("against", "", "plan from this `file` instead of from the running daemon, with all its instances MASTER and all its servers in")
	alone := flags.Bool("no-daemon", false, "plan from nothing, as for a first start")
	id := flags.StringP("config-id", "i", "", "configuration `id`, with --against and --no-daemon")
	help := flags.BoolP("help", "h", false, "this text")
	if err := flags.Parse(args); err != nil {
		return wrongUse(stderr, "plan", err)
	}
	if *help {
		fmt.Fprintf(stdout, planUsage, flags.FlagUsages())
		return planEmpty
	}
	file := flags.Arg(0)
	offline := *alone || *against != ""
	err := oneInput(file, *against)
	switch {
	case flags.NArg() > 1:
		err = errors.New("one file at a time")
	case offline && file == "":
		err = errors.New("which file? There is no daemon to ask with --against and --no-daemon")
	case *alone && *against != "":
		err = errors.New("--against or --no-daemon, not both")
	}
	if err != nil {
		return wrongUse(stderr, "plan", err)
	}
	var a *supervisor.Answer
	if offline {
		p, complaints, err := supervisor.PlanFiles(supervisor.Options{ConfigID: *id}, file, *against)
		a = &supervisor.Answer{OK: err == nil, Complaints: complaints, Plan: p}
		if err != nil {
			a.Text, a.Plan = err.Error(), nil
		}
	} else {
		var err error
		if a, err = supervisor.AskPlan(pidFileOr(*pidFile), file); err != nil {
			fmt.Fprintf(stderr, "releve plan: %v\n", err)
			if _, unread := errors.AsType[*fs.PathError](err); unread {
				return planRefused
			}
			return planNoDaemon
		}
	}
	status := planEmpty
	switch {
	case !a.OK:
		status = planRefused
	case !a.Plan.Empty():
		status = planChanges
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(a); err != nil {
			fmt.Fprintln(stderr, err)
			return planRefused
		}
		return status
	}
	for _, c := range a.Complaints {
		if c != a.Text { // which is said below
			fmt.Fprintln(stderr, c)
		}
	}
	if !a.OK {
		fmt.Fprintf(stderr, "A reload would be refused: %s\n", a.Text)
		return status
	}
	if err := a.Plan.WriteText(stdout); err != nil {
		fmt.Fprintln(stderr, err)
		return planRefused
	}
	return status
}}
