package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"releve/internal/nearest"
	"releve/supervisor"
	"releve/vrrp"
)

const whyUsage = `Usage: releve why [OPTIONS] [INSTANCE...]
Says why the VRRP instances of the running daemon are in their states: what their priority is made of, what was heard, what was not
accepted, what would change the state, and the last transitions with their causes. Of the real servers releve lvs says why.

%s
Exit status: 0, 1 the daemon could not say or has no such instance, 2 wrong options, 3 no daemon answers.
`

// whyCommand is `releve why`.
var whyCommand = subcommand{"why", "why VRRP instances are in their states, and what would change that", func(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("releve why", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	pidFile := flags.StringP("pid", "p", "", "pid `file` of the daemon (default: where a daemon is found)")
	asJSON := flags.Bool("json", false, "print the answer as JSON")
	help := flags.BoolP("help", "h", false, "this text")
	if err := flags.Parse(args); err != nil {
		return wrongUse(stderr, "why", err)
	}
	if *help {
		fmt.Fprintf(stdout, whyUsage, flags.FlagUsages())
		return 0
	}
	r, err := supervisor.AskReasons(pidFileOr(*pidFile))
	if err != nil {
		fmt.Fprintf(stderr, "releve why: %v\n", err)
		if errors.Is(err, supervisor.ErrNoDaemon) {
			return 3
		}
		return 1
	}
	if names := flags.Args(); len(names) > 0 {
		var known []string
		for i := range r.Instances {
			known = append(known, r.Instances[i].Name)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				hint := ""
				if n := nearest.Word(name, known); n != "" {
					hint = "; did you mean " + n + "?"
				}
				fmt.Fprintf(stderr, "releve why: the daemon has no instance %q%s\n", name, hint)
				return 1
			}
		}
		r.Instances = slices.DeleteFunc(r.Instances, func(in vrrp.InstanceReport) bool { return !slices.Contains(names, in.Name) })
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if e.Encode(r) != nil {
			return 1
		}
		return 0
	}
	for i := range r.Instances {
		writeWhy(stdout, &r.Instances[i], r.At)
	}
	if r.UnknownVRID > 0 {
		fmt.Fprintf(stdout, "%d adverts were of virtual routers that are not configured here\n", r.UnknownVRID)
	}
	return 0
}}

// writeWhy writes a paragraph on one instance, as of a moment.
func writeWhy(w io.Writer, in *vrrp.InstanceReport, at time.Time) {
	fmt.Fprintf(w, "%s %s", in.Name, in.State)
	if !in.Since.IsZero() {
		fmt.Fprintf(w, " for %s", max(0, at.Sub(in.Since)).Truncate(time.Second))
	}
	if in.Because != "" {
		fmt.Fprintf(w, ": %s", in.Because)
	}
	fmt.Fprintf(w, "\n  virtual router %d", in.VRID)
	if in.Interface != "" {
		fmt.Fprintf(w, " on %s", in.Interface)
	}
	fmt.Fprintf(w, ", priority %d", in.Priority)
	var shares []string
	for _, t := range in.Tracked {
		if t.Weight != 0 {
			shares = append(shares, fmt.Sprintf("%s %+d", t.Object, t.Weight))
		}
	}
	if len(shares) > 0 {
		fmt.Fprintf(w, " (%d configured, %s)", in.Configured, strings.Join(shares, ", "))
	}
	fmt.Fprintf(w, "; adverts: %d sent, %d received", in.Sent, in.Received)
	if in.Unsent > 0 {
		fmt.Fprintf(w, ", %d could not be sent", in.Unsent)
	}
	fmt.Fprintln(w)
	for _, why := range slices.Sorted(maps.Keys(in.NotAccepted)) {
		fmt.Fprintf(w, "  not accepted: %d adverts, %s\n", in.NotAccepted[why], why)
	}
	if in.State == vrrp.Backup.String() && in.Heard != "" {
		fmt.Fprintf(w, "  hears %s with priority %d\n", in.Heard, in.HeardPriority)
	}
	for _, next := range in.Next {
		fmt.Fprintf(w, "  %s\n", next)
	}
	for _, t := range slices.Backward(in.History) {
		fmt.Fprintf(w, "  %s %s -> %s: %s\n", t.At.Local().Format("2006-01-02 15:04:05.000"), t.From, t.To, t.Cause)
	}
}
