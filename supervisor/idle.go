package supervisor

import (
	"context"
	"os"

	"releve/confparse"
)

// idlePart is a part that has nothing to do and waits for a configuration that gives it work; --all starts such parts.
type idlePart struct{}

func (idlePart) run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

func (idlePart) reload(context.Context, *confparse.Config) error { return nil }
func (idlePart) dump(os.Signal)                                  {}
