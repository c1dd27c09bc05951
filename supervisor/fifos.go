package supervisor

import (
	"errors"
	"io/fs"
	"os"

	"releve/confparse"
)

// madeFifos are the notification fifos that were not there before the parts made them, by path. A part removes its own at its end; one
// that was killed cannot, and its successor finds a fifo that might be anybody's.
type madeFifos map[string]bool

// note remembers which of the fifos of a configuration are not there yet.
func (m *madeFifos) note(g *confparse.Global) {
	for _, f := range []confparse.Fifo{g.NotifyFifo, g.VRRPNotifyFifo, g.LVSNotifyFifo} {
		if _, err := os.Lstat(f.Path); f.Path == "" || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if *m == nil {
			*m = madeFifos{}
		}
		(*m)[f.Path] = true
	}
}

// remove is for the end, when no part runs any more.
func (m madeFifos) remove() {
	for path := range m {
		if st, err := os.Lstat(path); err == nil && st.Mode().Type() == fs.ModeNamedPipe {
			_ = os.Remove(path)
		}
	}
}
