package supervisor

import (
	"context"
	"fmt"
	"time"

	"releve/script"
)

// scriptTimeout bounds startup_script and shutdown_script without a timeout of their own.
const scriptTimeout = 10 * time.Second

// runScript runs startup_script or shutdown_script and waits for its end. Signals wait until then, too.
func (p *parent) runScript(what string, c *script.Command) {
	cmd := *c
	if cmd.Timeout <= 0 {
		cmd.Timeout = scriptTimeout
	}
	p.log.Info(fmt.Sprintf("Running %s script %s", what, cmd.Args[0]))
	exit, err := script.NewRunner(p.cur.cfg.Global.Scripts()).Run(context.Background(), cmd)
	switch {
	case err != nil:
		p.log.Error(fmt.Sprintf("%s script: %v", what, err))
	case !exit.OK():
		p.log.Warn(fmt.Sprintf("%s script %s %v", what, cmd.Args[0], exit))
	}
}
