package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"releve/director"
)

// healthPatience bounds the wait for the checker part's word on its servers.
const healthPatience = 10 * time.Second

// AskHealth asks the daemon whose parent has the given pid file how its virtual servers are.
func AskHealth(pidFile string) (*director.Health, error) {
	a, err := ask(pidFile, request{Command: "lvs"})
	if err != nil {
		return nil, err
	}
	if !a.OK {
		return nil, errors.New(a.Text)
	}
	h := &director.Health{}
	if err := json.Unmarshal(a.LVS, h); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	return h, nil
}

// healthFor passes the question of a client on to the checker part. It runs in the parent's loop, as what follows.
func (p *parent) healthFor(reply chan<- Answer) {
	p.asked++
	seq := p.asked
	if !p.pass(partChecker, message{Kind: kindWantHealth, Seq: seq}, nil) {
		text := "no virtual servers are configured"
		if wants(p.o, p.cur.cfg, partChecker) {
			text = "the process of the virtual servers is not ready"
		}
		reply <- Answer{Text: text}
		return
	}
	if p.healths == nil {
		p.healths = map[int]chan<- Answer{}
	}
	p.healths[seq] = reply
	p.after(healthPatience, func() { p.endHealth(seq, Answer{Text: "the process of the virtual servers does not answer"}) })
}

func (p *parent) endHealth(seq int, a Answer) {
	if reply := p.healths[seq]; reply != nil {
		delete(p.healths, seq)
		reply <- a
	}
}

// healthGiven takes the checker part's answer, which came with a memory file.
func (p *parent) healthGiven(ev childMessage) {
	a := Answer{Text: ev.m.Text}
	if ev.file != nil {
		b, err := readMemoryFile(ev.file)
		if err != nil {
			a.Text = err.Error()
		} else {
			a.OK, a.LVS = true, b
		}
	}
	p.endHealth(ev.m.Seq, a)
}

// healthMissed answers for a checker part that has ended.
func (p *parent) healthMissed(why string) {
	for seq := range p.healths {
		p.endHealth(seq, Answer{Text: why})
	}
}

// giveHealth answers the parent.
func (c *childProcess) giveHealth(p part, seq int) {
	m := message{Kind: kindHealth, Seq: seq}
	file, err := healthFile(p)
	if err != nil {
		m.Text = err.Error()
	} else {
		defer file.Close()
	}
	if err := c.link.send(m, file); err != nil {
		c.log.Warn(fmt.Sprintf("message to the parent: %v", err))
	}
}

func healthFile(p part) (*os.File, error) {
	checkers, ok := p.(*checkerPart)
	if !ok {
		return nil, errors.New("this process has no virtual servers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthPatience)
	defer cancel()
	snap, err := checkers.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	h := snap.Health()
	h.NetNamespace, h.Pid = ipvsNamespace(checkers.cfg.Load()), os.Getpid()
	b, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return memoryFile(b)
}
