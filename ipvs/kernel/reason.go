package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// worded is an error number with the words that fit what was tried.
type worded struct {
	text  string
	errno unix.Errno
}

func (w worded) Error() string { return w.text }
func (w worded) Unwrap() error { return w.errno }

// inWords says what any request may be refused for.
func inWords(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	text := errno.Error()
	switch errno {
	case unix.EPERM:
		text = "not permitted (needs CAP_NET_ADMIN)"
	case unix.ENOENT:
		text = "the kernel's IPVS is gone (module ip_vs)"
	case unix.ENOMEM:
		text = "the kernel is out of memory"
	}
	return worded{text, errno}
}

// reason says why the kernel refused a write.
func reason(op ipvs.Op, errno unix.Errno) error {
	s, d := &op.Service, &op.Dest
	onDest := op.Kind == ipvs.AddDest || op.Kind == ipvs.EditDest || op.Kind == ipvs.DelDest
	text := ""
	switch errno {
	case unix.ESRCH:
		text = "no such service"
	case unix.EEXIST:
		text = "service already exists"
		if onDest {
			text = "destination already exists"
		}
	case unix.ENOENT:
		switch {
		case onDest:
			text = "no such destination"
		case s.Engine != "" && s.Flags&ipvs.Persistent != 0:
			text = fmt.Sprintf("scheduler %q or persistence engine %q not found", s.Scheduler, s.Engine)
		default:
			text = fmt.Sprintf("scheduler %q not found", s.Scheduler)
		}
	case unix.ERANGE:
		text = "a weight below 0, or a lower connection threshold above the upper one"
	case unix.EAFNOSUPPORT:
		text = "this kernel's IPVS does not know the address family"
	case unix.EPROTONOSUPPORT:
		text = fmt.Sprintf("this kernel's IPVS does not know protocol %s", s.Protocol)
	case unix.EOPNOTSUPP:
		text = "this kernel's IPVS cannot do that"
	case unix.EINVAL:
		text = invalid(op, onDest, s, d)
	default:
		return inWords(errno)
	}
	return worded{text, errno}
}

// invalid looks for what the kernel calls just invalid.
func invalid(op ipvs.Op, onDest bool, s *ipvs.Service, d *ipvs.Dest) string {
	if !onDest {
		switch {
		case s.Port == 0 && s.FWMark == 0 && s.Flags&ipvs.Persistent == 0:
			return "port 0 (all ports) needs persistence"
		case len(s.Scheduler) > 15:
			return fmt.Sprintf("scheduler name %q is too long", s.Scheduler)
		}
		return "invalid service"
	}
	a := d.Addr.Unmap()
	mixed := a.Is4() != (s.Normal().Family == ipvs.IPv4)
	switch {
	case mixed && d.Forward != ipvs.TUN:
		return "another address family than the service's needs a tunnel"
	case d.Forward == ipvs.TUN && d.TunnelType == ipvs.GUE && d.TunnelPort == 0:
		return "a GUE tunnel needs a port"
	case !a.IsValid() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() && a.Is6():
		return "the address is not one of a host"
	case mixed:
		return "another address family than the service's is impossible while a sync daemon runs"
	}
	return "invalid destination, or its address is not unicast"
}

// syncReason says why a sync daemon was not started or stopped.
func syncReason(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	text := ""
	switch errno {
	case unix.EEXIST:
		text = "it runs already"
	case unix.ESRCH:
		text = "it does not run"
	case unix.ENODEV:
		text = "no such interface"
	case unix.EADDRNOTAVAIL:
		text = "the interface has no address"
	case unix.EINVAL:
		text = "invalid group or parameter, or destinations of another family than their service's exist"
	default:
		return inWords(errno)
	}
	return worded{text, errno}
}
