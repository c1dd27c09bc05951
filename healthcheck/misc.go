package healthcheck

import (
	"context"
	"errors"
	"fmt"

	"releve/script"
)

// miscProber is MISC_CHECK.
type miscProber struct {
	run     *script.Runner
	cmd     script.Command
	dynamic bool
}

func newMiscProber(cfg *Config, o *RunnerOptions) (*miscProber, error) {
	if cfg.Misc == nil || cfg.Misc.Command.IsZero() {
		return nil, errors.New("MISC_CHECK without misc_path")
	}
	p := &miscProber{run: o.Scripts, cmd: cfg.Misc.Command, dynamic: cfg.Misc.Dynamic}
	if p.run == nil {
		p.run = script.NewRunner(script.Settings{})
	}
	return p, nil
}

func (p *miscProber) probe(a *attempt, _ int) outcome {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !a.onCancel(cancel) {
		return outcome{unsure: true, reason: errStopped.Error()}
	}
	defer a.onCancel(nil)
	e, err := p.run.Run(ctx, p.cmd)
	switch {
	case ctx.Err() != nil:
		return outcome{unsure: true, reason: errStopped.Error()}
	case err != nil: // as the reference, which sees the shell's status 127 then
		return outcome{reason: err.Error()}
	}
	return miscVerdict(e, p.dynamic)
}

// miscVerdict is what the end of a script means. With misc_dynamic a status of 2 to 255 sets the weight to two less and 0
// leaves the configured one; after a time-out there is no weight to believe in.
func miscVerdict(e script.Exit, dynamic bool) outcome {
	switch {
	case e.Signal != 0:
		return outcome{reason: "script " + e.String(), late: e.TimedOut}
	case e.Code == 0: // the configured weight
		return outcome{ok: true, hasWeight: dynamic}
	case dynamic && e.Code >= 2 && e.Code <= 255 && !e.TimedOut:
		return outcome{ok: true, weight: e.Code - 2, hasWeight: true, absolute: true, reason: fmt.Sprintf("script set weight %d", e.Code-2)}
	}
	return outcome{reason: "script " + e.String(), late: e.TimedOut}
}
