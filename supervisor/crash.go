package supervisor

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

// fdCrash is the descriptor on which a child's runtime writes why it crashed: its standard error may lead nowhere.
const fdCrash = 5

// crashLines bounds what of it goes into the log.
const crashLines = 40

// catchCrash makes the runtime of a child write there.
func catchCrash() {
	f := os.NewFile(fdCrash, "crash")
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err == nil {
		f.Close() // the runtime has a copy
	}
}

// logCrash logs what a child left when it crashed.
func (p *parent) logCrash(c *child) {
	b, err := readMemoryFile(c.crash)
	if err != nil {
		return
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if n++; n > crashLines {
			break
		}
		p.log.Error(fmt.Sprintf("%s process(%d): %s", c.name, c.pid, strings.TrimRight(line, "\n")))
	}
}
