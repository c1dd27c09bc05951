package supervisor

import (
	"context"
	"time"

	"releve/confparse"
	"releve/director"
	"releve/notify"
	"releve/script"
	"releve/vrrp"
)

// newDispatcher makes what a part tells the outside world with.
func newDispatcher(env *environment, class notify.Class) *notify.Dispatcher {
	return notify.New(notifyConfig(env.o, env.cfg, class), notify.Options{Log: env.log, Run: env.scripts.RunOutput})
}

// notifyConfig says where the notifications of a part go. The script of a fifo that both parts write to belongs to the
// VRRP part if there is one.
func notifyConfig(o *Options, cfg *confparse.Config, class notify.Class) notify.Config {
	g := &cfg.Global
	c := notify.Config{RouterID: g.RouterID, SMTP: notify.SMTP{Server: g.SMTP.Server, HeloName: g.SMTP.HeloName, Timeout: g.SMTP.ConnectTimeout,
		From: g.SMTP.From, To: g.SMTP.To, NoFaults: g.NoEmailFaults}}
	add := func(f confparse.Fifo, owner bool) {
		if f.Path == "" {
			return
		}
		n := notify.Fifo{Path: f.Path, Classes: class}
		// A fifo belongs to who is named with it, else to the account that scripts run as.
		if a, err := g.Scripts().Account(&script.Command{User: f.User, Group: f.Group}); err == nil && !a.Own {
			n.UID, n.GID, n.Chown = int(a.UID), int(a.GID), true
		}
		if owner && !f.Script.IsZero() {
			n.Script = f.Script
		}
		c.Fifos = append(c.Fifos, n)
	}
	if class == notify.VRRP {
		add(g.NotifyFifo, true)
		add(g.VRRPNotifyFifo, true)
	} else {
		add(g.NotifyFifo, !wants(o, cfg, partVRRP))
		add(g.LVSNotifyFifo, true)
	}
	return c
}

// notifyPatience is how long a part waits at its end for the scripts and mails that it has started.
func notifyPatience(g *confparse.Global) time.Duration {
	if g.ChildWaitTime > 0 {
		return g.ChildWaitTime / 2
	}
	return 2 * time.Second
}

// closeDispatcher ends d after what has been sent is done, within limits.
func closeDispatcher(d *notify.Dispatcher, g *confparse.Global) {
	ctx, cancel := context.WithTimeout(context.Background(), notifyPatience(g))
	defer cancel()
	d.Close(ctx)
}

// vrrpChange translates an event of the engine. A state that was only taken over from a dead predecessor is no news.
func vrrpChange(ev vrrp.Event, groupOf func(instance string) string) (notify.Event, bool) {
	if ev.Resumed {
		return notify.Event{}, false
	}
	c := notify.VRRPChange{IsGroup: ev.Kind == vrrp.GroupEvent, Name: ev.Name, State: ev.What, Priority: ev.Priority}
	if !c.IsGroup {
		c.SyncGroup = groupOf(ev.Name)
	}
	if n := ev.Notify; n != nil {
		c.Any, c.Mail = n.Any, n.SMTPAlert
		switch ev.What {
		case "MASTER":
			c.Script = n.Master
		case "BACKUP":
			c.Script = n.Backup
		case "FAULT":
			c.Script = n.Fault
		case "STOP":
			c.Script = n.Stop
		case "DELETED":
			c.Script = n.Deleted
		case "MASTER_RX_LOWER_PRI":
			c.Script = n.MasterRxLowerPri
		}
	}
	return c.Event(), true
}

// lvsChange translates an event of the director.
func lvsChange(ev director.Event) notify.Event {
	n := notify.Event{Class: notify.LVS, Object: "VS " + ev.VS, Slot: "quorum", Line: ev.FifoLine()}
	if ev.RS != "" {
		n.Object, n.Slot = "RS "+ev.RS+" "+ev.VS, "state"
	}
	if !ev.Script.IsZero() {
		n.Calls = []notify.Call{{Command: ev.Script}}
	}
	if ev.Mail {
		n.Mail = &notify.Mail{Subject: ev.MailSubject(), Body: ev.Body}
	}
	return n
}
