package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"releve/confparse"
	"releve/status"
)

// config_save_dir keeps what is needed to find out afterwards what a reload did, under the reference's names: the configuration as it was read
// at the start (keepalived.conf.PID.0, with the parent's pid) and at each reload that was taken, counted from 1, and what each part was
// before and after (keepalived_vrrp.PID.1.pre, .post, and the same for check and bfd, with the part's pid). The text of these is that of
// the data dumps.

// saveDir makes the folder if it is not there; those above it must be. Empty: nothing is to be saved.
func saveDir(g *confparse.Global) (string, error) {
	if g.ConfigSaveDir == "" {
		return "", nil
	}
	if err := os.Mkdir(g.ConfigSaveDir, 0o700); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("config_save_dir: %w", err)
	}
	return g.ConfigSaveDir, nil
}

// saveConfig keeps a copy of a configuration, with all that it includes, as the n-th of this daemon.
func saveConfig(l *loaded, n int) error {
	dir, err := saveDir(&l.cfg.Global)
	if dir == "" {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("keepalived.conf.%d.%d", os.Getpid(), n))
	if err := os.WriteFile(name, []byte(l.src.Text()), 0o600); err != nil {
		return fmt.Errorf("config_save_dir: %w", err)
	}
	return nil
}

// stateNames are the parts' in the names of saved states.
var stateNames = map[string]string{partVRRP: "vrrp", partChecker: "check", partBFD: "bfd"}

// saveState keeps what a part is, before ("pre") or after ("post") the n-th reload.
func saveState(p part, what string, n int, when string) error {
	cfg := p.config()
	dir, err := saveDir(&cfg.Global)
	if dir == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dumpPatience)
	defer cancel()
	fill := p.data(ctx)
	if fill == nil {
		return nil // it is stopping
	}
	return status.Write(filepath.Join(dir, fmt.Sprintf("keepalived_%s.%d.%d.%s", stateNames[what], os.Getpid(), n, when)), 0o600, fill)
}

func (p *vrrpPart) config() *confparse.Config { return p.cfg.Load() }

func (p *vrrpPart) data(ctx context.Context) func(*bufio.Writer) {
	cfg := p.cfg.Load()
	snap, err := p.engine.Snapshot(ctx)
	if err != nil {
		return nil
	}
	report(p.env.log, p.engine.Interfaces(ctx, snap))
	return func(w *bufio.Writer) { status.Data(w, cfg, snap) }
}

func (p *checkerPart) config() *confparse.Config { return p.cfg.Load() }

func (p *checkerPart) data(ctx context.Context) func(*bufio.Writer) {
	cfg := p.cfg.Load()
	snap, err := p.snapshot(ctx)
	if err != nil {
		return nil
	}
	return func(w *bufio.Writer) { status.CheckData(w, cfg, snap) }
}

func (p *bfdPart) config() *confparse.Config { return p.cfg.Load() }

func (p *bfdPart) data(ctx context.Context) func(*bufio.Writer) {
	cfg := p.cfg.Load()
	sessions, _, err := p.engine.Snapshot(ctx)
	if err != nil {
		return nil
	}
	return func(w *bufio.Writer) { status.BFDData(w, cfg, sessions) }
}
