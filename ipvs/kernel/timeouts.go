package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// SetTimeouts sets what is not zero, in whole seconds, and returns what was set before.
func (p *Plane) SetTimeouts(ctx context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	before, err := p.mobyTimeouts(t)
	if errors.Is(err, unix.ENOENT) {
		// That package asks for the netlink family's number once in the life of a process, and the module has another one each time that it is loaded.
		err = p.again(ctx, func() (err error) { before, err = p.ownTimeouts(ctx, t); return err })
		if err != nil {
			err = fmt.Errorf("IPVS timeouts: %w", inWords(err))
		}
	}
	return before, err
}

func (p *Plane) mobyTimeouts(t ipvs.Timeouts) (ipvs.Timeouts, error) {
	h, err := p.moby()
	if err != nil {
		return ipvs.Timeouts{}, fmt.Errorf("IPVS timeouts: %w", err)
	}
	old, err := h.GetConfig()
	if err != nil {
		return ipvs.Timeouts{}, fmt.Errorf("read the IPVS timeouts: %w", inWords(err))
	}
	before := ipvs.Timeouts{TCP: old.TimeoutTCP, TCPFin: old.TimeoutTCPFin, UDP: old.TimeoutUDP}
	if t == (ipvs.Timeouts{}) {
		return before, nil
	}
	if err := h.SetConfig(&moby.Config{TimeoutTCP: t.TCP, TimeoutTCPFin: t.TCPFin, TimeoutUDP: t.UDP}); err != nil {
		return before, fmt.Errorf("set the IPVS timeouts: %w", inWords(err))
	}
	return before, nil
}

// ownTimeouts is the same by our own socket.
func (p *Plane) ownTimeouts(ctx context.Context, t ipvs.Timeouts) (before ipvs.Timeouts, err error) {
	err = p.askFor(ctx, cmdGetConfig, nil, func(attrs []byte) error {
		return eachAttr(attrs, func(typ uint16, v []byte) error {
			d := time.Duration(number(v)) * time.Second
			switch typ {
			case attrTCP:
				before.TCP = d
			case attrTCPFin:
				before.TCPFin = d
			case attrUDP:
				before.UDP = d
			}
			return nil
		})
	})
	if err != nil || t == (ipvs.Timeouts{}) {
		return before, err
	}
	seconds := func(d time.Duration) uint32 { return uint32(d / time.Second) }
	return before, p.ask(ctx, cmdSetConfig, func(o *packer) {
		o.u32(attrTCP, seconds(t.TCP))
		o.u32(attrTCPFin, seconds(t.TCPFin))
		o.u32(attrUDP, seconds(t.UDP))
	})
}
