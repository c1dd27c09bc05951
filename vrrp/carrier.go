package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"releve/vrrp/track"
)

// beats are the interfaces whose link is polled instead of believed (linkbeat_interfaces, linkbeat_use_polling).
type beats struct {
	methods map[string]string // by interface
	up      map[string]bool   // as polled last; absent: not yet
	stop    context.CancelFunc
}

// polled lists the interfaces to poll, with the preferred method.
func polled(cfg *Config) map[string]string {
	list := map[string]string{}
	for _, in := range cfg.Instances {
		if (cfg.LinkbeatPolling || in.LinkbeatPolling) && in.Iface != "" {
			list[in.Iface] = ""
		}
	}
	for _, l := range cfg.Linkbeat {
		list[l.Iface] = l.Method
	}
	return list
}

// pollLinks makes the poller look at what the configuration wants.
func (e *Engine) pollLinks() {
	want := polled(e.cfg)
	b := &e.beats
	if !e.running || maps.Equal(b.methods, want) {
		return
	}
	if b.stop != nil {
		b.stop()
	}
	*b = beats{methods: want, up: map[string]bool{}}
	for _, i := range e.ifaces { // what is not polled any more is as the kernel says
		if _, polled := want[i.name]; !polled {
			e.carrier(i, i.told, false)
		}
	}
	if len(want) == 0 {
		return
	}
	var l *track.Linkbeat
	if err := e.place.do(func() (err error) { l, err = track.OpenLinkbeat(); return err }); err != nil {
		e.act.say(slog.LevelError, "linkbeat is not polled: "+err.Error(), slog.Any("err", err))
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	b.stop = cancel
	e.wg.Go(func() {
		defer l.Close()
		l.Run(ctx, want, func(name string, up bool, method string) {
			e.input(ctx, func() {
				if ctx.Err() != nil {
					return
				}
				if _, known := e.beats.up[name]; !known && method != "" && want[name] != "" && want[name] != method {
					e.act.say(slog.LevelInfo, fmt.Sprintf("(%s): Configured linkbeat type %s not supported, using %s", name, want[name], method), slog.String("iface", name))
				}
				e.beats.up[name] = up
				if i := byName(e.ifaces, name); i != nil {
					e.carrier(i, i.told, false)
				}
			})
		})
	})
}

// carrier is the state of an interface as the kernel reports it. What counts is what polling found, where the link is polled, and
// that only after the delay of interface_up_down_delays, unless it changes back meanwhile or the interface is gone.
func (e *Engine) carrier(i *iface, up, atOnce bool) {
	if i.told != up {
		i.told = up
		e.act.say(slog.LevelInfo, fmt.Sprintf("Netlink reports %s %s", i.name, upDown(up)), slog.String("iface", i.name))
	}
	if beat, polled := e.beats.up[i.name]; polled && !atOnce {
		if up = beat && i.admin; up != i.wants && up != i.up {
			e.act.say(slog.LevelInfo, fmt.Sprintf("Linkbeat reports %s %s", i.name, upDown(up)), slog.String("iface", i.name))
		}
	}
	i.wants = up
	if i.delayed != nil {
		i.delayed.Stop()
		i.delayed = nil
	}
	if i.up == up {
		return
	}
	d := e.cfg.IfaceDelays[i.name]
	delay := d.Down
	if up {
		delay = d.Up
	}
	if atOnce || delay == 0 || !e.started {
		e.link(i, up)
		return
	}
	i.delayed = time.AfterFunc(delay, func() {
		e.input(context.Background(), func() {
			if e.ifaces[i.index] == i && i.delayed != nil && i.wants == up {
				i.delayed = nil
				e.link(i, up)
			}
		})
	})
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// link takes the state of an interface over.
func (e *Engine) link(i *iface, up bool) {
	if i.up == up {
		return
	}
	i.up = up
	e.refresh(i)
	if key := (objectKey{trackIface, i.name}); e.objects[key] != nil {
		e.onObject(key, up, 0, "interface "+i.name)
	}
}
