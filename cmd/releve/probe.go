package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"releve/confparse"
	"releve/director"
	"releve/healthcheck"
	"releve/script"
)

const probeUsage = `Usage: releve probe [OPTIONS] FILE [VIRTUAL-SERVER [REAL-SERVER]]
Runs the health checks of a configuration once, now, from this machine, and says step by step what each saw. Nothing is retried,
nobody is told, no table is touched. FILE can be - for the standard input. A virtual or real server is named as in the log, or by a part of that: 10.0.0.1, tcp:80.

`

const probeMore = `
Exit status: 0 all succeeded, 1 some failed, 2 the file or the names cannot be used, or wrong options.
`

// probeCommand is `releve probe`.
var probeCommand = subcommand{"probe", "run the health checks of a configuration once", runProbe}

// probed is a check with its verdict.
type probed struct {
	VirtualServer string             `json:"virtual_server"`
	RealServer    string             `json:"real_server"`
	Check         string             `json:"check"`
	OK            bool               `json:"ok"`
	Unsure        bool               `json:"unsure,omitempty"`
	Skipped       string             `json:"skipped,omitempty"`
	Weight        string             `json:"weight,omitempty"`
	Steps         []healthcheck.Step `json:"steps,omitempty"`
	// Retries is how often the daemon would try again, RetryDelay apart, before a failure counts; only told of failures.
	Retries    int           `json:"retries,omitempty"`
	RetryDelay time.Duration `json:"retry_delay_nanoseconds,omitempty"`
}

func runProbe(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet("probe", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	asJSON := flags.Bool("json", false, "print JSON lines")
	id := flags.StringP("config-id", "i", "", "configuration id, as the daemon's")
	limit := flags.Duration("timeout", 30*time.Second, "how long a check may take at most")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	if err == nil && *help {
		fmt.Fprint(stdout, probeUsage, flags.FlagUsages(), probeMore)
		return 0
	}
	if err == nil && (flags.NArg() < 1 || flags.NArg() > 3) {
		err = errors.New("name a file")
	}
	if err != nil {
		return wrongUse(stderr, "probe", err)
	}
	if _, err := os.Stat(flags.Arg(0)); err != nil && !confparse.IsStream(flags.Arg(0)) {
		fmt.Fprintf(stderr, "releve probe: %v\n", err)
		return 2
	}
	src, diags := confparse.Load(flags.Arg(0), confparse.LoadOptions{ConfigID: *id, Streams: true})
	if src == nil {
		fmt.Fprintf(stderr, "releve probe: %s cannot be read (%d complaints): releve check %s\n", flags.Arg(0), len(diags), flags.Arg(0))
		return 2
	}
	conf, more := confparse.Check(src, confparse.CheckOptions{Test: true})
	if n := len(diags) + len(more); n > 0 {
		fmt.Fprintf(stderr, "releve probe: %d complaints about %s: releve check %s\n", n, flags.Arg(0), flags.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g := &conf.Global
	o := healthcheck.RunnerOptions{Scripts: script.NewRunner(g.Scripts())}
	seen, failed := 0, 0
	for _, v := range conf.LVS.VirtualServers {
		for _, rs := range v.RealServers {
			if !named(v.Name, flags.Arg(1)) || !named(rs.Name, flags.Arg(2)) {
				continue
			}
			for _, c := range rs.Checkers {
				if ctx.Err() != nil {
					return 2
				}
				p := probeOne(ctx, v, rs, c, o, *limit)
				seen++
				if !p.OK && p.Skipped == "" {
					failed++
				}
				p.print(stdout, *asJSON)
			}
		}
	}
	switch {
	case seen == 0 && flags.NArg() == 1:
		fmt.Fprintln(stderr, "releve probe: the file has no health checks")
		return 2
	case seen == 0:
		fmt.Fprintln(stderr, "releve probe: no health check of that name in the file")
		return 2
	case failed > 0:
		if !*asJSON {
			fmt.Fprintf(stdout, "%d of %d checks failed\n", failed, seen)
		}
		return 1
	}
	return 0
}

// named tells whether a server is meant.
func named(name, want string) bool { return want == "" || strings.Contains(name, want) }

func probeOne(ctx context.Context, v *director.VirtualServer, rs *director.RealServer, c *healthcheck.Config, o healthcheck.RunnerOptions, limit time.Duration) probed {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := probed{VirtualServer: v.Name, RealServer: rs.Name, Check: c.Type.String()}
	verdict, err := healthcheck.Once(ctx, c, o)
	switch {
	case errors.Is(err, healthcheck.ErrNoProbe):
		p.Skipped = err.Error()
	case err != nil:
		p.Steps = []healthcheck.Step{{Did: "prepare", Saw: err.Error()}}
	default:
		p.OK, p.Unsure, p.Steps = verdict.OK, verdict.Unsure, verdict.Steps
		if verdict.HasWeight && verdict.Absolute {
			p.Weight = fmt.Sprintf("%d", verdict.Weight)
		} else if verdict.HasWeight {
			p.Weight = fmt.Sprintf("%d%+d", rs.Weight, verdict.Weight)
		}
		if !p.OK && !p.Unsure {
			p.Retries, p.RetryDelay = c.Retry, c.DelayBeforeRetry
		}
	}
	return p
}

func (p *probed) print(w io.Writer, asJSON bool) {
	if asJSON {
		if b, err := json.Marshal(p); err == nil {
			fmt.Fprintf(w, "%s\n", b)
		}
		return
	}
	word := "FAILED"
	switch {
	case p.Skipped != "":
		word = "skipped: " + p.Skipped
	case p.OK:
		word = "ok"
	case p.Unsure:
		word = "FAILED on this machine, not at the server: a checker would change nothing"
	}
	fmt.Fprintf(w, "%s -> %s %s: %s\n", p.VirtualServer, p.RealServer, p.Check, word)
	for _, s := range p.Steps {
		mark := "  "
		if !s.OK {
			mark = "! "
		}
		fmt.Fprintf(w, "    %s%s: %s (%.1f ms)\n", mark, s.Did, s.Saw, float64(s.Took.Microseconds())/1000)
	}
	if p.Retries > 0 {
		fmt.Fprintf(w, "      retry %d, %s apart: a server that is up stays in until these have failed too\n", p.Retries, p.RetryDelay)
	}
	if p.Weight != "" {
		fmt.Fprintf(w, "      weight %s\n", p.Weight)
	}
}
