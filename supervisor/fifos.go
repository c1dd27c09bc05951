package supervisor

import (
	"errors"
	"io/fs"
	"os"

	"releve/confparse"
)

// madeFifos are the notification fifos that were not there before the parts made them, by path; nil as long as they have not been seen. A
// part removes its own at its end; one that was killed cannot, and its successor finds a fifo that might be anybody's.
type madeFifos map[string]os.FileInfo

// note remembers which of the fifos of a configuration are not there yet.
func (m *madeFifos) note(g *confparse.Global) {
	for _, f := range []confparse.Fifo{g.NotifyFifo, g.VRRPNotifyFifo, g.LVSNotifyFifo} {
		if _, err := os.Lstat(f.Path); f.Path == "" || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if *m == nil {
			*m = madeFifos{}
		}
		(*m)[f.Path] = nil
	}
}

// see looks at those that the parts must have made by now: what is found in their places later may be somebody else's. Without taken the
// configuration that they were noted for has been refused, and nobody has made them.
func (m madeFifos) see(taken bool) {
	for path, known := range m {
		if known != nil {
			continue
		}
		if st, err := os.Lstat(path); taken && err == nil && st.Mode().Type() == fs.ModeNamedPipe {
			m[path] = st
		} else {
			delete(m, path)
		}
	}
}

// remove is for the end, when no part runs any more.
func (m madeFifos) remove() {
	for path, made := range m {
		if st, err := os.Lstat(path); err == nil && made != nil && os.SameFile(st, made) {
			_ = os.Remove(path)
		}
	}
}
