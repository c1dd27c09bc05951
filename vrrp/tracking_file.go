package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"releve/vrrp/track"
)

// wantFiles adds the track_files of cfg.
func (e *Engine) wantFiles(cfg *Config, want map[objectKey]*object) {
	for _, c := range cfg.Files {
		o := &object{weight: c.Weight, revers: c.Reverse, from: *c}
		if c.HasInit {
			o.known, o.value = true, c.InitValue
		}
		want[objectKey{trackFile, c.Name}] = o
	}
}

// runFile follows a track_file. With an initial value the file is made if it is not there, or overwritten if that is asked for.
func (e *Engine) runFile(ctx context.Context, key objectKey, o *object, c FileConfig) {
	e.wg.Go(func() {
		if c.HasInit {
			if _, err := os.Stat(c.Path); c.Overwrite || os.IsNotExist(err) {
				if err := os.WriteFile(c.Path, []byte(strconv.Itoa(c.InitValue)+"\n"), 0o644); err != nil {
					e.act.say(slog.LevelError, fmt.Sprintf("Track file %s: %v", c.Name, err))
				}
			}
		}
		track.File{Name: c.Name, Path: c.Path}.Run(ctx, func(n int, err error) {
			e.input(ctx, func() {
				if e.objects[key] != o {
					return
				}
				if err != nil {
					e.act.say(slog.LevelInfo, fmt.Sprintf("Track file %s: %v", c.Name, err), slog.String("file", c.Name))
				}
				if !o.known || o.value != n {
					e.onObject(key, n == 0, n, fmt.Sprintf("file %s holds %d", c.Path, n))
				}
			})
		})
	})
}
