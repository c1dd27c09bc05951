package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"releve/lab"
	"releve/lab/demo"
	demofiles "releve/testdata/demo"
)

const labUsage = `Usage: releve lab run demo [OPTIONS]
       releve lab list
Networks in namespaces of this machine, with daemons that are broken on purpose and a client that watches.

      --pause          wait for Enter before each step; commands can be given there (help shows them)
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
		fmt.Fprintln(stdout, "demo   two directors, three web servers, a client: a dead server and a dead master, in half a minute")
		return 0
	case len(words) != 2 || words[0] != "run":
		fmt.Fprint(stderr, labUsage)
		return 2
	case words[1] != "demo":
		fmt.Fprintf(stderr, "releve lab: no exercise %q; there is: demo\n", words[1])
		return 2
	}
	status, again, err := lab.AsRoot()
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	if again {
		return status
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
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
