package confparse

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"releve/script"
)

// Machine answers what the checks ask about the machine a configuration is for. A nil function asks this machine.
type Machine struct {
	// Interface reports whether a network interface exists.
	Interface func(name string) bool
	// InterfaceIn asks about an interface of a network namespace; of one that does not exist nothing is known, and true is the answer.
	InterfaceIn func(namespace, name string) bool
	// Flags are those of an interface (IFF_ in if.h), where they can be known.
	Flags func(name string) (flags uint32, known bool)
	// User and Group report whether an account exists; numbers always do.
	User, Group func(name string) bool
	// Script says why a command cannot be run, with the errors of script.Settings.Check; nil: it can.
	Script func(s script.Settings, c *script.Command) error
	// Resolves reports whether a host name can be looked up.
	Resolves func(name string) bool
}

// machine fills what is nil with questions to this machine, each asked once.
func machine(m *Machine) *Machine {
	var out Machine
	if m != nil {
		out = *m
	}
	if out.Interface == nil {
		out.Interface = remember(hasInterface)
	}
	if out.InterfaceIn == nil {
		known := map[string]map[string]bool{}
		out.InterfaceIn = func(ns, name string) bool {
			in, ok := known[ns]
			if !ok {
				in = interfacesIn(ns)
				known[ns] = in
			}
			return in == nil || in[name]
		}
	}
	if out.Flags == nil {
		out.Flags = interfaceFlags
	}
	if out.User == nil {
		out.User = remember(func(name string) bool { _, err := user.Lookup(name); return err == nil })
	}
	if out.Group == nil {
		out.Group = remember(func(name string) bool { _, err := user.LookupGroup(name); return err == nil })
	}
	if out.Script == nil {
		out.Script = func(s script.Settings, c *script.Command) error { _, _, err := s.Check(c); return err }
	}
	if out.Resolves == nil {
		out.Resolves = remember(func(name string) bool { a, err := net.LookupHost(name); return err == nil && len(a) > 0 })
	}
	return &out
}

// hasInterface asks the kernel for one interface; to list them all takes longer the more there are.
func hasInterface(name string) bool {
	req, err := unix.NewIfreq(name)
	if err != nil { // no name an interface can have
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_, err := net.InterfaceByName(name)
		return err == nil
	}
	defer unix.Close(fd)
	if unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req) != nil {
		return false
	}
	// It answers to alternative names, too, by which nothing else here knows it.
	own, _ := unix.NewIfreq("")
	own.SetUint32(req.Uint32())
	return unix.IoctlIfreq(fd, unix.SIOCGIFNAME, own) == nil && own.Name() == name
}

// interfaceFlags asks the kernel for the flags of one interface.
func interfaceFlags(name string) (uint32, bool) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req)
	return uint32(req.Uint16()), err == nil
}

// interfacesIn lists the interfaces of a network namespace; nil if it cannot be entered.
func interfacesIn(ns string) map[string]bool {
	fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	found := make(chan map[string]bool)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine: its namespace is another one's
		if unix.Setns(fd, unix.CLONE_NEWNET) != nil {
			found <- nil
			return
		}
		list, err := net.Interfaces()
		if err != nil {
			found <- nil
			return
		}
		in := make(map[string]bool, len(list))
		for _, i := range list {
			in[i.Name] = true
		}
		found <- in
	}()
	return <-found
}

func remember(f func(string) bool) func(string) bool {
	known := map[string]bool{}
	return func(s string) bool {
		b, ok := known[s]
		if !ok {
			b = f(s)
			known[s] = b
		}
		return b
	}
}

// hostBad is a complaint about the machine with exit code 5.
func (p *interp) hostBad(pos Pos, code Code, format string, a ...any) *Diagnostic {
	return p.add(Diagnostic{Pos: pos, Severity: Error, Code: code, Exit: ExitConfig, Host: true, Message: fmt.Sprintf(format, a...)})
}

// resolves asks for a name unless the machine does not count.
func (p *interp) resolves(name string) bool { return p.opt.NoHost || p.host.Resolves(name) }

// hasInterface reports whether an interface exists, or whether it does not matter.
func (p *interp) hasInterface(name string) bool {
	if p.opt.NoHost {
		return true
	}
	if ns := p.raw.global.g.NetNamespace; ns != "" {
		return p.host.InterfaceIn(ns, name)
	}
	return p.host.Interface(name)
}

// without reports whether an interface is known to lack one of these flags, and with whether it has one.
func (p *interp) without(name string, flags uint32) bool {
	has, known := p.flags(name)
	return known && has&flags == 0
}

func (p *interp) with(name string, flags uint32) bool {
	has, known := p.flags(name)
	return known && has&flags != 0
}

// flags are those of an interface, if the machine counts and it can be asked.
func (p *interp) flags(name string) (uint32, bool) {
	if name == "" || p.opt.NoHost || p.raw.global.g.NetNamespace != "" {
		return 0, false
	}
	return p.host.Flags(name)
}

// needInterface complains about an interface that is not there, without which the daemon does not start.
func (p *interp) needInterface(pos Pos, what, name string) {
	if !p.hasInterface(name) && !p.raw.global.dynamicIfaces.or(false) {
		p.hostBad(pos, "interface-missing", "%s: interface %s does not exist", what, name).FatalAtStart = true
	}
}

// checkUser complains about unknown accounts. A group may stand behind a colon, which asks for supplementary groups.
func (p *interp) checkUser(pos Pos, name, group string) bool {
	if p.accountExists(name, group) {
		return true
	}
	if p.accountExists(name, "") {
		p.hostBad(pos, "script-user-missing", "group %q does not exist", strings.TrimPrefix(group, ":"))
	} else {
		p.hostBad(pos, "script-user-missing", "user %q does not exist", name)
	}
	return false
}

// accountExists reports whether user and group are known; empty ones are.
func (p *interp) accountExists(name, group string) bool {
	name, behind, _ := strings.Cut(name, ":")
	if behind != "" && group == "" {
		group = behind
	}
	group = strings.TrimPrefix(group, ":")
	if p.opt.NoHost || name == "" {
		return true
	}
	if _, err := strconv.ParseUint(name, 10, 32); err != nil && !p.host.User(name) {
		return false
	}
	_, err := strconv.ParseUint(group, 10, 32)
	return group == "" || err == nil || p.host.Group(group)
}

// checkScript judges a command: complaints go to p, and unset is called for one that cannot be run. It reports whether a script
// that can be run is there. Quiet commands are dropped without changing the exit code, as the reference does for notifiers.
func (p *interp) checkScript(u *scriptUse, quiet bool) bool {
	if p.opt.NoHost || u.cmd.IsZero() {
		return !u.cmd.IsZero()
	}
	if p.broken[u.pos] { // complained about when the quote was seen
		if u.unset != nil {
			u.unset()
		}
		return false
	}
	g := &p.raw.global
	if !p.accountExists(u.cmd.User, u.cmd.Group) {
		p.dropScript(u, "script-user-missing", ExitNone, fmt.Errorf("user or group %s %s does not exist: the script is not run", u.cmd.User, u.cmd.Group))
		return false
	}
	settings := g.g.Scripts()
	settings.Security = g.scriptSecurity.or(false)
	err := p.host.Script(settings, u.cmd)
	if err == nil {
		return true
	}
	code, exit := Code("script-not-found"), ExitConfig
	switch {
	case errors.Is(err, script.ErrUnsafe):
		code = "script-insecure"
	case errors.Is(err, script.ErrNoAccount):
		code = "script-user-missing"
	case errors.Is(err, script.ErrNotExecutable):
		code = "script-not-executable"
	}
	if quiet && code != "script-insecure" && code != "script-user-missing" {
		exit = ExitNone
	}
	p.dropScript(u, code, exit, err)
	return false
}

// dropScript says why a command is not run and takes it away.
func (p *interp) dropScript(u *scriptUse, code Code, exit Exit, err error) {
	sev := Error
	if exit == ExitNone {
		sev = Warning
	}
	p.add(Diagnostic{Pos: u.pos, Severity: sev, Code: code, Exit: exit, Host: true, Message: fmt.Sprintf("%s: %v", u.what, err)})
	if u.unset != nil {
		u.unset()
	}
}
