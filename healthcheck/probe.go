package healthcheck

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// outcome is what one attempt saw.
type outcome struct {
	ok bool
	// unsure says that the attempt could not be made on this host: nothing changes.
	unsure bool
	// reason is empty for a plain success.
	reason string
	// late says that the attempt ran into its time limit.
	late bool
	// said is what the reference's log calls this failure of a web server, up to " server"; of a mail server, with it and its address.
	said string
	// weight counts if hasWeight: the weight itself if absolute, else a difference to the configured weight.
	weight              int
	hasWeight, absolute bool
}

// prober makes one attempt. It is used by one goroutine at a time. url is the index of the url to ask for, 0 elsewhere.
type prober interface {
	probe(a *attempt, url int) outcome
}

// fail turns an error into an outcome.
func fail(what string, err error, c *Connect) outcome {
	var setup *setupError
	unsure := errors.As(err, &setup) || errors.Is(err, errStopped)
	late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT)
	return outcome{unsure: unsure, reason: what + words(err, c.Timeout), late: late}
}

// newProber makes the prober of a configured checker, or says why it never can work.
func newProber(cfg *Config, o *RunnerOptions) (prober, error) {
	switch cfg.Type {
	case TypeTCP:
		t, err := newTarget(cfg.Connect)
		if err != nil {
			return nil, err
		}
		return tcpProber{t}, nil
	case TypeHTTP, TypeSSL:
		return newHTTPProber(cfg)
	case TypeMisc:
		return newMiscProber(cfg, o)
	case TypeSMTP:
		return newSMTPProber(cfg)
	case TypeDNS:
		return newDNSProber(cfg)
	case TypeUDP:
		return newUDPProber(cfg)
	case TypePing:
		return newPingProber(cfg)
	case TypeFile:
		return newFileProber(cfg)
	case TypeBFD:
		return bfdProber{}, nil
	}
	return nil, fmt.Errorf("checker of unknown type %d", cfg.Type)
}

// tcpProber is TCP_CHECK: connect and close at once.
type tcpProber struct{ t *target }

func (p tcpProber) probe(a *attempt, _ int) outcome {
	c, err := dial(p.t, unix.SOCK_STREAM, a)
	if err != nil {
		return fail("connect: ", err, &p.t.cfg)
	}
	a.steps.connected(c, p.t)
	c.close()
	return outcome{ok: true}
}
