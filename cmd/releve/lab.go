package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"releve/internal/nearest"
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

list        what can be run, and what runs
show        an exercise as a page: topology, steps, what to see, questions
run         an exercise by its name, or a scenario file of your own (docs/labs/README.md says how to write one)
shell       a shell, or a command, on a host of a lab that runs
down        end these labs, or all, and clear away what killed ones left behind
dhcp-probe  ask a DHCP server for an address without taking it; for MISC_CHECK and vrrp_script

Options of run:
      --pause          wait for Enter before each step; in the demo commands can be given there (help shows them)
      --report DIR     write the report: report.html, report.txt, capture.pcapng, capture.html (not the demo)
      --as NAME        call it so: a second one of its kind can run beside the first
      --vm             run it in the virtual machine of the tests, which has IPVS (from the folder of the sources)
      --seed N         chaos: draw the faults from this number; without it one is made up and printed
      --duration TIME  chaos: how long faults are dealt out, default 60s
      --on NAME|FILE   chaos: with the hosts of this exercise, default L1; L4 has directors with two floating addresses
      --config DIR     demo: where lb1.conf and lb2.conf are, default: those the program was built with
      --plain          no colour, and in the demo no panel, also on a terminal
      --log            show the log lines of the directors
      --daemon FILE    run this program as the director instead of releve
      --patience N     stretch the time limits N times, for slow machines
  -h, --help           this text

Exit status: 0 if everything happened as expected and in time, 1 if not, 2 if the lab could not be built, 130 after Ctrl-C.
`

var labCommand = subcommand{"lab", "small networks to try, break and watch directors in", labMain}

// labOnly are the options that only some labs have.
var labOnly = map[string][]string{"pause": {"demo", "exercise"}, "report": {"chaos", "exercise"}, "seed": {"chaos"}, "duration": {"chaos"}, "on": {"chaos"}, "config": {"demo"}}

// labRunning is one `releve lab run`.
type labRunning struct {
	exerciseRun
	config      string
	plain, inVM bool
}

func labMain(args []string, stdout, stderr io.Writer) int {
	f := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	var l labRunning
	f.BoolVar(&l.pause, "pause", false, "")
	f.BoolVar(&l.plain, "plain", false, "")
	f.BoolVar(&l.log, "log", false, "")
	f.StringVar(&l.config, "config", "", "")
	f.StringVar(&l.daemon, "daemon", "", "")
	f.Float64Var(&l.patience, "patience", 1, "")
	f.StringVar(&l.report, "report", "", "")
	f.Uint64Var(&l.seed, "seed", 0, "")
	f.DurationVar(&l.duration, "duration", time.Minute, "")
	f.StringVar(&l.as, "as", "", "")
	f.StringVar(&l.on, "on", "", "")
	f.BoolVar(&l.inVM, "vm", false, "")
	f.SetInterspersed(len(args) == 0 || args[0] != "shell")
	help := f.BoolP("help", "h", false, "")
	err := f.Parse(args)
	if err == nil && *help {
		fmt.Fprint(stdout, labUsage)
		return 0
	}
	words := f.Args()
	verb := ""
	if len(words) > 0 {
		verb, words = words[0], words[1:]
	}
	given := ""
	f.Visit(func(x *pflag.Flag) { given = cmp.Or(given, x.Name) })
	want := map[string]string{"list": "list", "show": "show NAME|FILE", "run": "run demo|chaos|NAME|FILE", "shell": "shell NAME HOST [COMMAND ...]", "down": "down [NAME ...]",
		"dhcp-probe": "dhcp-probe SERVER [OWN-ADDRESS [TIMEOUT]]"}
	few := map[string]int{"show": 1, "run": 1, "shell": 2, "dhcp-probe": 1}
	many := map[string]int{"list": 0, "show": 1, "run": 1, "shell": math.MaxInt, "down": math.MaxInt, "dhcp-probe": 3}
	switch {
	case err != nil:
	case verb == "":
		err = errors.New("list, show, run, shell or down?")
	case want[verb] == "":
		err = fmt.Errorf("there is no %q", verb)
		if near := nearest.Word(verb, slices.Sorted(maps.Keys(want))); near != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
	case len(words) < few[verb] || len(words) > many[verb]:
		err = fmt.Errorf("it should be releve lab %s", want[verb])
	case verb != "run" && given != "":
		err = fmt.Errorf("--%s is an option of releve lab run", given)
	case l.patience <= 0:
		err = fmt.Errorf("--patience %v: want a number above 0", l.patience)
	case l.duration <= 0:
		err = fmt.Errorf("--duration %v: want a time above 0", l.duration)
	}
	if err != nil {
		return wrongUse(stderr, "lab", err)
	}
	switch verb {
	case "list":
		labList(stdout)
		return 0
	case "show":
		return labShow(words[0], stdout, stderr)
	case "shell":
		return labShell(words, stderr)
	case "down":
		return labDown(words, stdout, stderr)
	case "dhcp-probe":
		return dhcpProbe(words, stdout, stderr)
	}
	kind := words[0]
	if kind != "demo" && kind != "chaos" {
		kind = "exercise"
	}
	f.Visit(func(x *pflag.Flag) {
		if only := labOnly[x.Name]; err == nil && only != nil && !slices.Contains(only, kind) {
			err = fmt.Errorf("--%s: that is for %s, not for %s", x.Name, strings.NewReplacer("exercise", "exercises", "demo", "the demo").Replace(strings.Join(only, " and ")), words[0])
		}
	})
	if err != nil {
		return wrongUse(stderr, "lab", err)
	}
	l.name = words[0]
	return l.start(args, kind, stdout, stderr)
}

// start runs the lab here, or again as root of a user namespace, or in the virtual machine.
func (l *labRunning) start(args []string, kind string, stdout, stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	if kind == "exercise" {
		sc, err := scenario(l.name)
		if err != nil {
			return fail(err)
		}
		for _, c := range complaints(sc, l.name) {
			fmt.Fprintln(stderr, c)
		}
	}
	if l.inVM {
		return labInVM(args, l.report, stdout, stderr)
	}
	if status, again, err := lab.AsRoot(); err != nil {
		return fail(err)
	} else if again {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once: what it leaves is cleared away by down, or by the next run
	if l.daemon == "" {
		var err error
		if l.daemon, err = os.Executable(); err != nil {
			return fail(err)
		}
	}
	if kind == "demo" {
		return l.demo(ctx, stdout, stderr)
	}
	l.colour = !l.plain && terminal(stdout)
	return l.exerciseRun.run(ctx, stdout, stderr)
}

// demo runs the demo, which is what make demo shows.
func (l *labRunning) demo(ctx context.Context, stdout, stderr io.Writer) int {
	name := cmp.Or(l.as, "demo")
	held, err := register(name)
	if err != nil {
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	defer held.release()
	o := demo.Options{Name: name, Binary: l.daemon, Config: fs.FS(demofiles.Files), Out: stdout, Log: l.log, Patience: l.patience, Built: held.built}
	if l.config != "" {
		o.Config = os.DirFS(l.config)
	}
	if l.pause {
		o.Input = os.Stdin
	}
	if out, ok := stdout.(*os.File); ok && !l.plain && terminal(stdout) {
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
	all, _ := os.ReadDir(labDir())
	for _, f := range all {
		if path := filepath.Join(labDir(), f.Name()); running(path) {
			r, _ := readRegistration(path)
			fmt.Fprintf(w, "running: %s (process %d; hosts %s)\n", f.Name(), r.Pid, strings.Join(slices.Sorted(maps.Keys(r.Hosts)), ", "))
		}
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

// labInVM runs the same command in the virtual machine of the tests. What the guest writes is gone with it, so a report comes out as
// an archive in its output.
func labInVM(args []string, report string, stdout, stderr io.Writer) int {
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
	var unpack *unpacker
	if report != "" {
		const there = "/tmp/releve-lab-report"
		argv = slices.Concat([]string{"-r", "sh", "-c", `"$@"; s=$?; echo ` + archiveBegins + `; tar -c -C ` + there + ` . | gzip | base64; echo ` + archiveEnds + `; exit $s`, "lab"}, argv[1:], []string{"--report", there})
		unpack = &unpacker{out: stdout, from: there, to: report}
		stdout = unpack
	}
	c := exec.Command(script, argv...)
	c.Stdout, c.Stderr, c.Stdin = stdout, stderr, os.Stdin
	err = c.Run()
	if unpack != nil {
		if uerr := unpack.into(report); uerr != nil {
			fmt.Fprintf(stderr, "releve lab: the report: %v\n", uerr)
		}
	}
	if err != nil {
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			return ended.ExitCode()
		}
		fmt.Fprintf(stderr, "releve lab: %v\n", err)
		return 2
	}
	return 0
}

// The lines around the archive.
const (
	archiveBegins = "=== begin of the report"
	archiveEnds   = "=== end of the report"
)

// unpacker passes lines on but for those of an archive, which it keeps.
type unpacker struct {
	out io.Writer
	// from is the folder's name in the guest, to here: the lines that name it shall be true.
	from, to string
	line     []byte
	inside   bool
	archive  []byte
}

func (u *unpacker) Write(b []byte) (int, error) {
	for _, c := range b {
		u.line = append(u.line, c)
		if c != '\n' {
			continue
		}
		text := strings.TrimSpace(string(u.line))
		switch {
		case text == archiveBegins || text == archiveEnds:
			u.inside = text == archiveBegins
		case u.inside:
			u.archive = append(u.archive, text...)
		default:
			if _, err := u.out.Write(bytes.ReplaceAll(u.line, []byte(u.from), []byte(u.to))); err != nil {
				return 0, err
			}
		}
		u.line = u.line[:0]
	}
	return len(b), nil
}

// into unpacks the archive into a folder.
func (u *unpacker) into(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	c := exec.Command("tar", "-xz", "--no-same-owner", "-C", dir)
	c.Stdin = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(u.archive))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
