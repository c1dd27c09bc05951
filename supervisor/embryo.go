package supervisor

import (
	"os"
	"syscall"
)

// embryo is a process that was started for a part before it is certain that the part will run. It parses its configuration, which takes
// most of the time of a start, while the parent does the same, and changes nothing until its first message comes; without one it ends.
type embryo struct {
	proc  *process
	link  *link
	crash *os.File
	of    *loaded
}

// conceive starts the process of a part with the configuration of l.
func (p *parent) conceive(part string, l *loaded) (*embryo, error) {
	ours, theirs, err := newLink()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	e := &embryo{link: ours, of: l}
	if e.crash, err = memoryFile(nil); err == nil {
		e.proc, err = start(p.o.Argv, part, append(p.streams(), l.file, theirs, e.crash), p.root(), nil)
	}
	if err != nil {
		ours.close()
		e.crash.Close()
		return nil, err
	}
	return e, nil
}

// root is the folder in which children run; empty: ours.
func (p *parent) root() string {
	if p.daemon {
		return "/"
	}
	return ""
}

// drop ends an embryo that is not wanted.
func (e *embryo) drop() {
	if e == nil {
		return
	}
	e.proc.signal(syscall.SIGKILL)
	e.link.close()
	e.crash.Close()
	_, _ = e.proc.wait()
}

// mentioned reports whether a part will have something to do, by the look of the text.
func mentioned(o *Options, l *loaded, part string) bool {
	switch {
	case l.err != nil:
		return false
	case part == partVRRP:
		return !o.NoVRRP && (o.All || l.src.Begins("vrrp_instance"))
	case part == partChecker:
		return !o.NoChecker && (o.All || l.src.Begins("virtual_server"))
	}
	return !o.NoBFD && (o.All || l.src.Begins("bfd_instance"))
}

// conceiveAll starts what will probably be needed. A program that will move into a namespace, or that runs a script before anything else,
// starts its children afterwards.
func (p *parent) conceiveAll(l *loaded) {
	if os.Getenv(envEntered) == "" && (p.o.Namespace != "" || l.src.Begins("net_namespace")) || l.src.Begins("startup_script") {
		return
	}
	for _, part := range []string{partVRRP, partChecker, partBFD} {
		if !mentioned(p.o, l, part) {
			continue
		}
		e, err := p.conceive(part, l)
		if err != nil {
			return // it is tried again, and said, when its time has come
		}
		if p.early == nil {
			p.early = map[string]*embryo{}
		}
		p.early[part] = e
	}
}

// dropEarly ends the embryos that nobody took.
func (p *parent) dropEarly() {
	for part, e := range p.early {
		e.drop()
		delete(p.early, part)
	}
}

// embryoOf is the one for a part with the configuration in force.
func (p *parent) embryoOf(part string) (*embryo, error) {
	if e := p.early[part]; e != nil {
		delete(p.early, part)
		if e.of == p.cur {
			return e, nil
		}
		e.drop()
	}
	return p.conceive(part, p.cur)
}
