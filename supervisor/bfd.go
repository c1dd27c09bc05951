package supervisor

import (
	"context"
	"fmt"
	"sync/atomic"

	"releve/confparse"
)

// bfdPart is the BFD child.
type bfdPart struct {
	env    *environment
	global atomic.Pointer[confparse.Global]
}

func newBFDPart(env *environment) (part, error) {
	p := &bfdPart{env: env}
	p.take(env.cfg)
	return p, nil
}

func (p *bfdPart) take(cfg *confparse.Config) {
	p.global.Store(&cfg.Global)
	if n := len(cfg.BFD); n > 0 {
		p.env.log.Warn(fmt.Sprintf("%d bfd_instance blocks have no effect: this build speaks no BFD", n))
	}
}

func (p *bfdPart) run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func (p *bfdPart) reload(_ context.Context, cfg *confparse.Config) error {
	p.take(cfg)
	return nil
}
