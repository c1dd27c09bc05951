package vrrp

import (
	"context"
	"fmt"
	"log/slog"

	"releve/vrrp/track"
)

// wantProcesses adds the track_processes of cfg.
func (e *Engine) wantProcesses(cfg *Config, want map[objectKey]*object) {
	for _, c := range cfg.Processes {
		want[objectKey{trackProcess, c.Name}] = &object{weight: c.Weight, revers: c.Reverse, from: *c}
	}
}

// runProcess follows a track_process.
func (e *Engine) runProcess(ctx context.Context, key objectKey, o *object, c ProcessConfig) {
	p := track.Process{Name: c.Name, Path: c.Path, Params: c.Params, Match: c.ParamMatch, Full: c.FullCommand,
		Min: c.Quorum, Max: c.QuorumMax, HasMax: c.HasQuorumMax, ForkDelay: c.ForkDelay, TerminateDelay: c.TerminateDelay,
		Buffer: e.cfg.Buffers.Processes, Force: e.cfg.Buffers.ForceProcesses}
	e.wg.Go(func() {
		p.Run(ctx, func(n int, up bool) {
			e.input(ctx, func() {
				if e.objects[key] != o {
					return
				}
				if o.known && o.up == up {
					o.value = n
					return
				}
				word := "lost"
				if up {
					word = "gained"
				}
				text := fmt.Sprintf("Quorum %s for tracked process %s", word, c.Name)
				e.act.say(slog.LevelInfo, text, slog.String("process", c.Name))
				e.onObject(key, up, n, text)
			})
		})
	})
}
