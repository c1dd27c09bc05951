// Command releve is a keepalived-compatible LVS director with VRRP. What it does depends on the name it was called by:
// `releve` has subcommands and keepalived's flags, `keepalived` exactly keepalived's command line, `genhash` the page hash.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// subcommand is a first word of `releve`. run gets the words behind it and returns the exit status.
type subcommand struct {
	name, help string
	run        func(args []string, stdout, stderr io.Writer) int
}

// subcommands is the table of what `releve WORD` does; each entry lives in a file of its own.
var subcommands = []subcommand{genhashCommand}

func run(argv []string, stdout, stderr io.Writer) int {
	face := filepath.Base(argv[0])
	if face == "genhash" {
		return genhashFace(face, argv[1:], stdout, stderr)
	}
	if face != "keepalived" && face != "genhash" && len(argv) > 1 {
		for _, c := range subcommands {
			if c.name == argv[1] {
				return c.run(argv[2:], stdout, stderr)
			}
		}
	}
	fmt.Fprintf(stderr, "%s: the daemon is not wired yet\n", face)
	return 1
}
