package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"releve/capture"
	"releve/confparse"
	"releve/lab/exercise"
)

// exerciseRun is `releve lab run NAME|FILE`.
type exerciseRun struct {
	name, report, daemon string
	pause, log, colour   bool
	patience             float64
	as, on               string
	seed                 uint64
	duration             time.Duration
}

// scenario finds an exercise by its name, or reads the file of that name.
func scenario(name string) (*exercise.Scenario, error) {
	if text, err := exercise.Builtin(name); err == nil {
		return exercise.Parse(name, name+".lab", text)
	}
	if !strings.ContainsAny(name, "/.") {
		return nil, fmt.Errorf("no exercise %q; there are demo, chaos, %s, and files of your own (./my.lab)", name, strings.Join(exercise.Names(), ", "))
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return exercise.Parse(strings.TrimSuffix(filepath.Base(name), ".lab"), name, text)
}

// complaints are what releve check would say of the configurations in a scenario, with the scenario's lines.
func complaints(sc *exercise.Scenario, file string) (out []string) {
	for _, c := range sc.Configs {
		if !c.Daemon() {
			continue
		}
		src, diags := confparse.LoadText(c.Host, c.Text, confparse.LoadOptions{})
		if src == nil {
			continue
		}
		_, more := confparse.Check(src, confparse.CheckOptions{NoHost: true, Test: true})
		for _, d := range append(diags, more...) {
			if d.Severity == confparse.Note || d.Host {
				continue
			}
			line := fmt.Sprintf("%s:%d: the configuration of %s, line %d: %s", file, c.Line+int(d.Pos.Line), c.Host, d.Pos.Line, d.Message)
			if c.Like != "" {
				line = fmt.Sprintf("%s:%d: the configuration of %s, like that of %s, line %d: %s", file, c.Line, c.Host, c.Like, d.Pos.Line, d.Message)
			}
			if d.Suggest != "" {
				line += "; did you mean " + d.Suggest + "?"
			}
			out = append(out, line)
		}
	}
	return out
}

// explain adds what a configuration says about frames.
func explain(k *capture.Knowledge, host, text string) {
	src, _ := confparse.LoadText(host, text, confparse.LoadOptions{})
	conf, _ := confparse.Check(src, confparse.CheckOptions{NoHost: true, Test: true})
	addKnowledge(k, conf, host)
}

func (e *exerciseRun) run(ctx context.Context, stdout, stderr io.Writer) int {
	chaos := e.name == "chaos"
	what := e.name
	if chaos {
		what = cmp.Or(e.on, "L1")
	}
	sc, err := scenario(what)
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	if chaos {
		sc.Name = "chaos"
	}
	name := sc.Name
	if e.as != "" {
		name = e.as
	}
	held, err := register(name)
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	defer held.release()
	o := exercise.Options{Name: name, Binary: e.daemon, Out: stdout, Colour: e.colour, Report: e.report, Patience: e.patience, Log: e.log, Explain: explain, Built: held.built}
	if e.pause {
		o.Input = os.Stdin
	}
	if chaos {
		err = exercise.Chaos(ctx, sc, o, e.seed, e.duration)
	} else {
		err = exercise.Run(ctx, sc, o)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	case errors.Is(err, exercise.ErrMissed):
		return 1
	}
	fmt.Fprintf(stderr, "releve lab: %v\n", err)
	return 2
}

// dhcpProbe is `releve lab dhcp-probe SERVER OWN [TIMEOUT]`, for MISC_CHECK and vrrp_script.
func dhcpProbe(args []string, stdout, stderr io.Writer) int {
	server, err := netip.ParseAddr(args[0])
	own := server
	if err == nil && len(args) > 1 {
		own, err = netip.ParseAddr(args[1])
	}
	timeout := 2 * time.Second
	if err == nil && len(args) > 2 {
		timeout, err = time.ParseDuration(args[2])
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve lab dhcp-probe: %v\n", err)
		return 2
	}
	offered, err := exercise.ProbeDHCP(server, own, timeout)
	if err != nil {
		fmt.Fprintf(stderr, "releve lab dhcp-probe: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s offers %s\n", server, offered)
	return 0
}
