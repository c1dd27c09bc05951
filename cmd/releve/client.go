package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"releve/supervisor"
)

// clientUsage is the help of the commands that ask the daemon; the flags stand in it.
var clientUsage = map[string]string{
	"reload": `Usage: releve reload [OPTIONS]
Makes the running daemon read its configuration again, waits, and says what changed, or why the file was refused: then the running
configuration stays. SIGHUP does the same without an answer.

%s
Exit status: 0 it is taken, 1 it is refused, 2 wrong options, 3 no daemon answers.
`,
	"status": `Usage: releve status [OPTIONS]
Says what the running daemon is doing: its parts, the states of its instances, and what came of the last reload.
Of servers: releve lvs. Why an instance is in its state: releve why.

%s
Exit status: 0 all parts run and answer, 1 one does not, 2 wrong options, 3 no daemon answers.
`,
}

// reloadCommand is `releve reload`: SIGHUP that waits and says how it went.
var reloadCommand = subcommand{"reload", "reload the running daemon and say whether it was taken", func(args []string, stdout, stderr io.Writer) int {
	a, status := ask("reload", args, stdout, stderr)
	if a == nil {
		return status
	}
	for _, c := range a.Complaints {
		if c != a.Text { // which is said below
			fmt.Fprintln(stderr, c)
		}
	}
	if !a.OK {
		fmt.Fprintf(stderr, "Reload refused, the running configuration stays: %s\n", a.Text)
		return 1
	}
	if a.Plan != nil {
		for _, line := range a.Plan.Summary() {
			fmt.Fprintln(stdout, line)
		}
	}
	if a.Text != "" {
		fmt.Fprintf(stderr, "It will be in force everywhere only later: %s\n", a.Text)
	}
	fmt.Fprintln(stdout, "Reload complete")
	return 0
}}

// statusCommand is `releve status`.
var statusCommand = subcommand{"status", "what the running daemon is doing", func(args []string, stdout, stderr io.Writer) int {
	a, status := ask("status", args, stdout, stderr)
	if a == nil {
		return status
	}
	s := a.Status
	if s == nil {
		fmt.Fprintln(stderr, a.Text)
		return 1
	}
	age := func(t time.Time) time.Duration { return time.Since(t).Truncate(time.Second) }
	fmt.Fprintf(stdout, "releve %s, pid %d, up %v, configuration %s\n", s.Version, s.Pid, age(s.Started), s.Config)
	if r := s.LastReload; r != nil {
		how := "taken"
		if !r.Taken {
			how = "refused: " + r.Why
		}
		fmt.Fprintf(stdout, "last reload %s ago: %s\n", age(r.At), how)
		for _, c := range r.Complaints {
			fmt.Fprintf(stdout, "  %s\n", c)
		}
		for _, c := range r.Changes {
			fmt.Fprintf(stdout, "  %s\n", c)
		}
		if r.Late != "" {
			fmt.Fprintf(stdout, "  not in force everywhere at its end: %s\n", r.Late)
		}
	}
	if len(s.Parts) == 0 {
		fmt.Fprintln(stdout, "no part runs: the configuration has nothing to do for any")
	}
	for _, p := range s.Parts {
		state := "not running"
		if p.End != "" {
			state += fmt.Sprintf(": died %s ago (%s), is started again in %s", age(p.EndedAt), p.End, max(0, time.Until(p.NextStart)).Round(time.Second))
		}
		if p.Pid > 0 {
			state = fmt.Sprintf("pid %d, up %v", p.Pid, age(p.Started))
			if !p.Ready {
				state += ", not ready"
			}
		}
		if p.Starts > 1 {
			state += fmt.Sprintf(", started %d times", p.Starts)
			if p.Pid > 0 && p.End != "" {
				state += fmt.Sprintf(" (the one before died: %s)", p.End)
			}
		}
		fmt.Fprintf(stdout, "%s: %s\n", p.Name, state)
		if p.Silent != "" {
			fmt.Fprintf(stdout, "  NO ANSWER: %s\n", p.Silent)
		}
		for _, name := range slices.Sorted(maps.Keys(p.States)) {
			fmt.Fprintf(stdout, "  %s %s\n", name, p.States[name])
		}
		for _, name := range slices.Sorted(maps.Keys(p.LastStates)) {
			fmt.Fprintf(stdout, "  %s was %s\n", name, p.LastStates[name])
		}
	}
	return status
}}

// ask reads the flags that clients of the daemon share and asks it. Without an answer to show it returns the exit status.
func ask(command string, args []string, stdout, stderr io.Writer) (*supervisor.Answer, int) {
	flags := pflag.NewFlagSet("releve "+command, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	pidFile := flags.StringP("pid", "p", "", "pid `file` of the daemon (default: where a daemon is found)")
	asJSON := flags.Bool("json", false, "print the answer as JSON")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	if err == nil && *help {
		fmt.Fprintf(stdout, clientUsage[command], flags.FlagUsages())
		return nil, 0
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is out of place", strings.Join(flags.Args(), " "))
	}
	if err != nil {
		return nil, wrongUse(stderr, command, err)
	}
	a, err := supervisor.Ask(pidFileOr(*pidFile), command)
	if err != nil {
		fmt.Fprintf(stderr, "releve %s: %v\n", command, err)
		return nil, 3
	}
	status := 0
	if !a.OK || a.Status.Ailing() {
		status = 1
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(a); err != nil {
			return nil, 1
		}
		return nil, status
	}
	return a, status
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// pidFileOr is the pid file given, or where a daemon is found.
func pidFileOr(path string) string {
	if path != "" {
		return path
	}
	path = "/run/keepalived.pid"
	if other := "/run/keepalived/keepalived.pid"; !exists(path) && exists(other) {
		return other
	}
	return path
}
