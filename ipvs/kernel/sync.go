package kernel

import (
	"context"
	"fmt"

	"releve/ipvs"
)

// StartSync starts the daemon of one role; the other role is not touched, both can run.
func (p *Plane) StartSync(ctx context.Context, d ipvs.SyncDaemon) error {
	err := p.again(ctx, func() error { return p.ask(ctx, cmdNewDaemon, func(o *packer) { packDaemon(o, d) }) })
	if err != nil {
		return fmt.Errorf("start the %s sync daemon on %s: %w", d.Role, d.Iface, syncReason(err))
	}
	return nil
}

func packDaemon(o *packer, d ipvs.SyncDaemon) {
	n := o.nest(attrDaemon)
	o.u32(daemonState, uint32(d.Role))
	o.text(daemonIface, d.Iface)
	o.u32(daemonID, uint32(d.ID))
	if d.MaxLen != 0 {
		o.u16(daemonMaxLen, d.MaxLen)
	}
	if group := d.Group.Unmap(); group.Is4() {
		o.addr(daemonGroup, group)
	} else if group.Is6() {
		o.addr(daemonGroup6, group)
	}
	if d.Port != 0 {
		o.u16(daemonPort, d.Port)
	}
	if d.TTL != 0 {
		o.u8(daemonTTL, d.TTL)
	}
	o.endNest(n)
}

// StopSync stops the daemon of one role.
func (p *Plane) StopSync(ctx context.Context, role ipvs.SyncRole) error {
	err := p.again(ctx, func() error {
		return p.ask(ctx, cmdDelDaemon, func(o *packer) {
			n := o.nest(attrDaemon)
			o.u32(daemonState, uint32(role))
			o.endNest(n)
		})
	})
	if err != nil {
		return fmt.Errorf("stop the %s sync daemon: %w", role, syncReason(err))
	}
	return nil
}

// SyncState returns the daemons that run, none to two.
func (p *Plane) SyncState(ctx context.Context) ([]ipvs.SyncDaemon, error) {
	var running []ipvs.SyncDaemon
	one := func(b []byte) error {
		var d ipvs.SyncDaemon
		err := nested(b, attrDaemon, func(typ uint16, v []byte) (err error) {
			switch typ {
			case daemonState:
				d.Role = ipvs.SyncRole(number(v))
			case daemonIface:
				d.Iface = text(v)
			case daemonID:
				d.ID = uint8(number(v))
			case daemonMaxLen:
				d.MaxLen = uint16(number(v))
			case daemonGroup:
				d.Group, err = addr(v, false)
			case daemonGroup6:
				d.Group, err = addr(v, true)
			case daemonPort:
				d.Port = uint16(number(v))
			case daemonTTL:
				d.TTL = uint8(number(v))
			}
			return err
		})
		running = append(running, d)
		return err
	}
	err := p.again(ctx, func() error {
		running = nil
		return p.sock.dump(ctx, p.request(cmdGetDaemon, nil), one)
	})
	if err != nil {
		return nil, fmt.Errorf("read the state of the sync daemons: %w", inWords(err))
	}
	return running, nil
}
