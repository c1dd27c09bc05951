package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"releve/lab"
	"releve/lab/demo"
	"releve/lab/exercise"
	demofiles "releve/testdata/demo"
)

const labUsage = `Usage: releve lab list
       releve lab show NAME|FILE
       releve lab run demo|chaos|NAME|FILE [OPTIONS]
       releve lab shell NAME HOST [COMMAND ...]
       releve lab down [NAME ...]
       releve lab dhcp-probe SERVER [OWN-ADDRESS [TIMEOUT]]
Networks in namespaces of this machine, with daemons that are broken on purpose and a client that watches.

      --pause          wait for Enter before each step; in the demo commands can be given there (help shows them)
      --report DIR     write the report: report.html, report.txt, capture.pcapng, capture.html
      --seed N         chaos: draw the faults from this number; without it one is made up and printed
      --duration TIME  chaos: how long faults are dealt out, default 60s
      --as NAME        run it under another name, beside one that runs already
      --vm             run it in the virtual machine of the tests, which has IPVS (from the folder of the sources)
      --plain          no colour and no panel, also on a terminal
      --log            show the log lines of the directors
      --config DIR     where lb1.conf and lb2.conf are, default: those the program was built with
      --daemon FILE    run this program as the director instead of releve
      --patience N     stretch the time limits N times, for slow machines
  -h, --help           this text

Exit status: 0 if everything happened as expected and in time, 1 if not, 2 if the lab could not be built, 130 after Ctrl-C.
`

var labCommand = subcommand{"lab", "small networks to try, break and watch directors in", labMain}

func labMain(args []string, stdout, stderr io.Writer) int {
	f := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	pause := f.Bool("pause", false, "")
	plain := f.Bool("plain", false, "")
	log := f.Bool("log", false, "")
	config := f.String("config", "", "")
	daemon := f.String("daemon", "", "")
	patience := f.Float64("patience", 1, "")
	var e exerciseRun
	f.StringVar(&e.report, "report", "", "")
	f.Uint64Var(&e.seed, "seed", 0, "")
	f.DurationVar(&e.duration, "duration", time.Minute, "")
	f.StringVar(&e.as, "as", "", "")
	inVM := f.Bool("vm", false, "")
	f.SetInterspersed(len(args) == 0 || args[0] != "shell")
	help := f.BoolP("help", "h", false, "")
	if err := f.Parse(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(stderr, "releve lab: %v\n%s", err, labUsage)
		return 2
	}
	if *patience <= 0 {
		fmt.Fprintf(stderr, "releve lab: --patience %v: want a number above 0\n", *patience)
		return 2
	}
	words := f.Args()
	switch {
	case *help:
		fmt.Fprint(stdout, labUsage)
		return 0
	case len(words) == 1 && words[0] == "list":
		labList(stdout)
		return 0
	case len(words) == 2 && words[0] == "show":
		return labShow(words[1], stdout, stderr)
	case len(words) >= 3 && words[0] == "shell":
		return labShell(words[1:], stderr)
	case len(words) >= 1 && words[0] == "down":
		return labDown(words[1:], stdout, stderr)
	case len(words) >= 2 && len(words) <= 4 && words[0] == "dhcp-probe":
		return dhcpProbe(words[1:], stdout, stderr)
	case len(words) != 2 || words[0] != "run":
		fmt.Fprint(stderr, labUsage)
		return 2
	}
	if words[1] != "demo" && words[1] != "chaos" {
		if _, err := scenario(words[1]); err != nil {
			fmt.Fprintf(stderr, "releve lab: %v\n", err)
			return 2
		}
	}
	if *inVM {
		return labInVM(args, stdout, stderr)
	}
	status, again, err := lab.AsRoot()
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	if again {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if words[1] != "demo" {
		e.name, e.daemon, e.pause, e.log, e.patience = words[1], *daemon, *pause, *log, *patience
		e.colour = !*plain && terminal(stdout)
		return e.run(ctx, stdout, stderr)
	}
	o := demo.Options{Binary: *daemon, Config: fs.FS(demofiles.Files), Out: stdout, Log: *log, Patience: *patience}
	if *config != "" {
		o.Config = os.DirFS(*config)
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			fmt.Fprintf(stderr, "releve lab: %v\n", err)
			return 2
		}
	}
	if *pause {
		o.Input = os.Stdin
	}
	if out, ok := stdout.(*os.File); ok && !*plain && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		if ws, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil {
			o.Terminal, o.Width = true, int(ws.Col)
		}
	}
	err = demo.Run(ctx, o)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	case errors.Is(err, demo.ErrMissed):
		return 1
	}
	fmt.Fprintf(stderr, "releve lab: %v\n", err)
	return 2
}

// labList prints what can be run.
func labList(w io.Writer) {
	fmt.Fprintln(w, "demo   two directors, three web servers, a client: a dead server and a dead master, in half a minute")
	fmt.Fprintln(w, "chaos  faults in turn, drawn from a seed, while it is watched that there is one master and the client is served")
	for _, n := range exercise.Names() {
		text, err := exercise.Builtin(n)
		if err != nil {
			continue
		}
		sc, err := exercise.Parse(n, n+".lab", text)
		if err != nil {
			fmt.Fprintf(w, "%-6s %v\n", n, err)
			continue
		}
		needs := ""
		if len(sc.Needs) > 0 {
			needs = " (needs " + strings.Join(sc.Needs, ", ") + ")"
		}
		fmt.Fprintf(w, "%-6s %s%s\n", n, sc.Title, needs)
	}
}

// labShow prints an exercise as a page for people, or its file with its name ending in .lab.
func labShow(name string, stdout, stderr io.Writer) int {
	sc, err := scenario(name)
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	fmt.Fprint(stdout, exercise.PageOf(sc))
	return 0
}

// labInVM runs the same command in the virtual machine of the tests.
func labInVM(args []string, stdout, stderr io.Writer) int {
	script := os.Getenv("RELEVE_TESTVM")
	if script == "" {
		script = "scripts/testvm"
	}
	exe, err := os.Executable()
	if err == nil {
		_, err = os.Stat(script)
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: --vm needs scripts/testvm of the sources, in this folder or named by RELEVE_TESTVM: %v\n", err)
		return 2
	}
	argv := []string{"-r", exe, "lab"}
	for _, a := range args {
		if a != "--vm" {
			argv = append(argv, a)
		}
	}
	c := exec.Command(script, argv...)
	c.Stdout, c.Stderr, c.Stdin = stdout, stderr, os.Stdin
	if err := c.Run(); err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			return ended.ExitCode()
		}
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	return 0
}
