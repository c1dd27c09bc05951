package supervisor

import (
	"fmt"
	"os"
	"strings"

	"releve/confparse"
)

// loaded is a configuration that was read: what it says, what there is to complain about, and the memory file that
// children get.
type loaded struct {
	src   *confparse.Source
	cfg   *confparse.Config
	diags confparse.Diagnostics
	file  *os.File
	size  int // of file, in bytes
	err   error
	// noVRRP: the part that would end over an instance that cannot run is left out.
	noVRRP bool
}

// load reads the configuration of the command line once.
func load(o *Options) *loaded {
	l := read(o)
	l.check()
	return l
}

// read is the first half of load: the expanded text, and the memory file for the children, who can parse it while we do.
func read(o *Options) *loaded {
	l := &loaded{noVRRP: o.NoVRRP}
	l.src, l.diags = o.source()
	b, err := l.src.MarshalBinary()
	if err == nil {
		l.file, err = memoryFile(b)
		l.size = len(b)
	}
	l.err = err
	return l
}

// check is the second half: what the text means.
func (l *loaded) check() {
	var checked confparse.Diagnostics
	l.cfg, checked = confparse.Check(l.src, confparse.CheckOptions{})
	l.diags = append(l.diags, checked...).Sorted(l.src)
}

func (l *loaded) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// inherit is the child's side of load: the same configuration out of the memory file, nothing read from disk.
func inherit(f *os.File) (*confparse.Source, *confparse.Config, error) {
	b, err := readMemoryFile(f)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration of the parent: %w", err)
	}
	src, err := confparse.UnmarshalSource(b)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration of the parent: %w", err)
	}
	cfg, _ := confparse.Check(src, confparse.CheckOptions{})
	return src, cfg, nil
}

// complaints are the diagnostics as lines for the log.
func (l *loaded) complaints() []string {
	lines := make([]string, 0, len(l.diags))
	for _, d := range l.diags {
		if d.Severity > confparse.Note {
			lines = append(lines, l.src.Brief(d))
		}
	}
	return lines
}

// places are the diagnostics as file:line:column: text, for those who asked.
func (l *loaded) places() []string {
	lines := make([]string, 0, len(l.diags))
	for _, d := range l.diags {
		if d.Severity > confparse.Note {
			lines = append(lines, l.src.At(d))
		}
	}
	return lines
}

// startStatus is the exit status of a start with this configuration and why it cannot run; 0 and empty if it can.
func (l *loaded) startStatus() (status int, why string) {
	if l.err != nil {
		return exitFatal, l.err.Error()
	}
	for _, d := range l.diags {
		switch {
		case l.noVRRP && d.OnlyVRRP():
			continue
		case d.FatalAtStart && d.Exit == confparse.ExitFatal:
			status = exitPermission
		case d.FatalAtStart && strings.HasPrefix(string(d.Code), "config-"):
			status = exitNoConfig
		case d.FatalAtStart, d.Exit == confparse.ExitStop:
			status = exitConfig
		default:
			continue
		}
		return status, l.src.Brief(d)
	}
	if l.cfg.Global.ReloadCheckConfig && l.diags.ExitCode() != 0 {
		return exitConfig, "complaints, and reload_check_config makes any of them fatal"
	}
	return exitOK, ""
}
