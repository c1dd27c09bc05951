package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"releve/confparse"
	"releve/supervisor"
)

// manCommand is `releve man PAGE`: the manual pages, made from the tables that the program itself works with.
var manCommand = subcommand{"man", "print a manual page: releve, genhash or keepalived.conf", func(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 {
		if page := manPage(args[0]); page != nil {
			w := bufio.NewWriter(stdout)
			page(&roff{w})
			if err := w.Flush(); err != nil {
				fmt.Fprintln(stderr, err)
				return 1
			}
			return 0
		}
	}
	const manUsage = "Usage: releve man releve|genhash|keepalived.conf\nPrints a manual page, for man -l - or for a folder of the manual.\n"
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		fmt.Fprint(stdout, manUsage)
		return 0
	}
	if len(args) == 1 {
		return wrongUse(stderr, "man", fmt.Errorf("there is no page %q", args[0]))
	}
	return wrongUse(stderr, "man", errors.New("name one page"))
}}

func manPage(name string) func(*roff) {
	switch name {
	case "releve":
		return manReleve
	case "genhash":
		return manGenhash
	case "keepalived.conf":
		return manConf
	}
	return nil
}

// roff writes the man(7) macros.
type roff struct{ w *bufio.Writer }

// escape keeps text from being taken for macros and escapes.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func (r *roff) header(name string, section int, what string) {
	fmt.Fprintf(r.w, ".TH %s %d \"\" \"releve %s\" \"\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), section, escape(supervisor.Build), escape(name), escape(what))
}

func (r *roff) section(title string) { fmt.Fprintf(r.w, ".SH %s\n", escape(title)) }
func (r *roff) text(lines ...string) {
	for _, l := range lines {
		fmt.Fprintln(r.w, escape(l))
	}
}

// entry is a term and its explanation.
func (r *roff) entry(term string, lines ...string) {
	fmt.Fprintf(r.w, ".TP\n.B %s\n", escape(term))
	r.text(lines...)
}

// verbatim keeps the lines of a text as they are.
func (r *roff) verbatim(s string) {
	fmt.Fprint(r.w, ".nf\n")
	for line := range strings.Lines(s) {
		r.text(strings.TrimSuffix(line, "\n"))
	}
	fmt.Fprint(r.w, ".fi\n")
}

// optionLine is a line of a command's help: an option, or a word of its own, and what it does.
var optionLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^( +-.*?|[a-z-]+)  +(\S.*)$`) })

// help sets the help of a command in the macros of a page.
func (r *roff) help(s string) {
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\n")
		m := optionLine().FindStringSubmatch(line)
		switch usage, is := strings.CutPrefix(line, "Usage: "); {
		case is, strings.HasPrefix(line, "       releve "):
			fmt.Fprintf(r.w, ".B %s\n.br\n", escape(strings.TrimSpace(usage)))
		case line == "":
			fmt.Fprint(r.w, ".PP\n")
		case m != nil:
			r.entry(strings.TrimSpace(m[1]), m[2])
		default:
			r.text(line)
		}
	}
}

func manReleve(r *roff) {
	r.header("releve", 8, "LVS director with VRRP, in place of keepalived")
	r.section("SYNOPSIS")
	r.verbatim("releve [OPTION...]\nreleve COMMAND [ARGUMENT...]\nkeepalived [OPTION...]")
	r.section("DESCRIPTION")
	r.text("Keeps virtual addresses on one of several routers (VRRP) and spreads connections over real servers that it checks (IPVS, or",
		"nftables where the kernel has no IPVS). It reads keepalived.conf(5) and behaves as keepalived "+supervisor.Version+" does.",
		"Called as keepalived it has exactly that program's command line, called as genhash it is genhash(1).")
	r.section("COMMANDS")
	for _, s := range subcommands {
		r.entry("releve "+s.name, s.help+".")
	}
	for _, s := range subcommands {
		var help bytes.Buffer
		if s.name == "genhash" || s.name == "man" || s.run([]string{"--help"}, &help, io.Discard) != 0 {
			continue // genhash has a page of its own
		}
		fmt.Fprintf(r.w, ".SS releve %s\n", escape(s.name))
		r.help(help.String())
	}
	r.section("OPTIONS")
	for _, o := range options {
		term := "--" + o.long
		if o.short != 0 {
			term = "-" + string(o.short) + ", " + term
		}
		switch o.arg {
		case needsArg:
			term += "=" + o.value
		case optionalArg:
			term += "[=" + o.value + "]"
		}
		r.entry(term, strings.Split(o.help+".", "\n")...)
	}
	r.section("SIGNALS")
	r.text("To any of the processes:")
	for _, s := range [][2]string{
		{"TERM, INT", "stop: resign, take addresses and table away, end"},
		{"HUP", "read the configuration again; a file that cannot run is refused and the running configuration stays"},
		{"USR1", "write keepalived.data, keepalived_check.data, keepalived_bfd.data and keepalived_parent.data to $TMPDIR or /tmp"},
		{"USR2", "write keepalived.stats"},
		{"RTMAX-1", "the same, then set the counters to zero"},
		{"36, 37", "write keepalived.json"},
	} {
		r.entry(s[0], s[1]+".")
	}
	r.section("EXIT STATUS")
	for _, s := range [][2]string{
		{"0", "stopped in good order; with -t: nothing to complain about"},
		{"1", "bad option, or something the daemon cannot run without failed"},
		{"2", "the configuration cannot run; with -t: a keyword without its value"},
		{"4", "permission denied; with -t: a file that cannot be read"},
		{"5", "with -t: complaints"},
		{"6", "no configuration; with -t: scripts without enable_script_security, or a missing include that must exist"},
	} {
		r.entry(s[0], s[1]+".")
	}
	r.section("FILES")
	r.entry(supervisor.DefaultConfig, "The configuration.")
	r.entry("/run/keepalived.pid, /run/vrrp.pid, /run/checkers.pid, /run/bfd.pid", "The processes, while they run.")
	r.entry("/run/keepalived.sock", "Where releve reload, plan, status, why and lvs ask; for the daemon's user only.")
	r.section("SEE ALSO")
	r.text("keepalived.conf(5), genhash(1), ipvsadm(8), nft(8)")
}

func manGenhash(r *roff) {
	r.header("genhash", 1, "digest of a web page for keepalived.conf")
	usage, rest, _ := strings.Cut(fmt.Sprintf(genhashUsage, "genhash"), "\n")
	what, opts, _ := strings.Cut(rest, "\n\n")
	r.section("SYNOPSIS")
	r.verbatim(strings.TrimPrefix(usage, "Usage: "))
	r.section("DESCRIPTION")
	r.text(what)
	r.section("OPTIONS")
	r.verbatim(opts)
	r.section("SEE ALSO")
	r.text("releve(8), keepalived.conf(5)")
}

func manConf(r *roff) {
	r.header("keepalived.conf", 5, "configuration of releve and keepalived")
	r.section("DESCRIPTION")
	r.text("The file is keepalived's: words, quotes, braces, comments behind # and !, include, parameters as $NAME, conditions as @ID.",
		"releve -t says what is wrong with a file, with line and column. These are the keywords, block by block, with their defaults.")
	for _, t := range confparse.Tables() {
		name := t.Name
		if name == "" {
			name = "top level"
		}
		r.section(name)
		if t.Item != "" {
			r.text("Lines: " + t.Item)
		}
		for i := range t.Rows() {
			k := &t.Rows()[i]
			term := k.Name
			for _, a := range k.Args {
				if a.Optional {
					term += " [" + a.Name + "]"
				} else {
					term += " " + a.Name
				}
			}
			lines := []string{sentence(k.Help)}
			if k.Default != "" {
				lines = append(lines, "Default: "+k.Default+".")
			}
			if len(k.Aliases) > 0 {
				lines = append(lines, "Also: "+strings.Join(k.Aliases, ", ")+".")
			}
			if k.Deprecated != "" {
				lines = append(lines, "Deprecated: "+k.Deprecated+".")
			}
			r.entry(term, lines...)
		}
	}
	r.section("SEE ALSO")
	r.text("releve(8)")
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}
