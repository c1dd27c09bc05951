package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"releve/director"
	"releve/vrrp"
)

// reportPatience bounds the wait for a part's word on what it looks after.
const reportPatience = 10 * time.Second

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

// AskReasons asks the daemon whose parent has the given pid file why its VRRP instances are as they are.
func AskReasons(pidFile string) (*vrrp.Report, error) {
	a, err := ask(pidFile, request{Command: "why"})
	if err != nil {
		return nil, err
	}
	if !a.OK {
		return nil, errors.New(a.Text)
	}
	r := &vrrp.Report{}
	if err := json.Unmarshal(a.VRRP, r); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	return r, nil
}

// question is one of a client that a part answers.
type question struct {
	part  string
	reply chan<- Answer
}

// questionTexts are the answers where a part that could answer is not configured or not ready.
var questionTexts = map[string][2]string{
	partChecker: {"no virtual servers are configured", "the process of the virtual servers is not ready"},
	partVRRP:    {"no VRRP instances are configured", "the VRRP process is not ready"},
}

// passQuestion passes the question of a client on to a part. It runs in the parent's loop, as what follows.
func (p *parent) passQuestion(part string, reply chan<- Answer) {
	for _, c := range p.children {
		if c.part != part || c.proc == nil {
			continue
		}
		if why := c.silence(); why != "" { // asked once: it can be gone the next moment
			reply <- Answer{Text: why}
			return
		}
	}
	p.asked++
	seq := p.asked
	if !p.pass(part, message{Kind: kindWantReport, Seq: seq}, nil) {
		text := questionTexts[part][0]
		if wants(p.o, p.cur.cfg, part) {
			text = questionTexts[part][1]
		}
		reply <- Answer{Text: text}
		return
	}
	if p.questions == nil {
		p.questions = map[int]question{}
	}
	p.questions[seq] = question{part, reply}
	p.after(reportPatience, func() {
		for _, c := range p.children {
			if c.part == part && c.proc != nil {
				p.endQuestion(seq, Answer{Text: c.mute()})
			}
		}
		p.endQuestion(seq, Answer{Text: "the process does not answer"})
	})
}

func (p *parent) endQuestion(seq int, a Answer) {
	if q, ok := p.questions[seq]; ok {
		delete(p.questions, seq)
		q.reply <- a
	}
}

// poll is a client that wants to know how the parts are, which have a moment for a sign of life.
type poll struct {
	pending map[*child]uint64 // and their processor times when they were asked
	reply   chan<- Answer
}

func (p *parent) poll(reply chan<- Answer) {
	p.asked++
	seq, q := p.asked, &poll{map[*child]uint64{}, reply}
	for _, c := range p.children {
		if c.proc != nil && c.ready && c.silence() == "" {
			_, q.pending[c] = processState(c.pid)
			_ = c.link.send(message{Kind: kindPing, Seq: seq}, nil)
		}
	}
	if p.polls == nil {
		p.polls = map[int]*poll{}
	}
	p.polls[seq] = q
	p.ponged(nil, seq)
	if p.polls[seq] != nil {
		p.after(statusPatience, func() { p.endPoll(seq) })
	}
}

// ponged takes the sign of life of a part.
func (p *parent) ponged(c *child, seq int) {
	if q := p.polls[seq]; q != nil {
		delete(q.pending, c)
		if len(q.pending) == 0 {
			p.endPoll(seq)
		}
	}
}

// pollsMissed is for a part that has ended: there will be no sign of life, and its successor has not been asked for one.
func (p *parent) pollsMissed(c *child) {
	for seq, q := range p.polls {
		if _, asked := q.pending[c]; asked {
			p.ponged(c, seq)
		}
	}
}

func (p *parent) endPoll(seq int) {
	if q := p.polls[seq]; q != nil {
		delete(p.polls, seq)
		silent := map[*child]bool{}
		for c, was := range q.pending {
			state, now := processState(c.pid)
			silent[c] = state != 'R' && now == was // who works will answer
		}
		q.reply <- Answer{OK: true, Status: p.report(silent)}
	}
}

// reported takes a part's answer, which came with a memory file.
func (p *parent) reported(ev childMessage) {
	a := Answer{Text: ev.m.Text}
	if ev.file != nil {
		b, err := readMemoryFile(ev.file)
		switch {
		case err != nil:
			a.Text = err.Error()
		case p.questions[ev.m.Seq].part == partVRRP:
			a.OK, a.VRRP = true, b
		default:
			a.OK, a.LVS = true, b
		}
	}
	p.endQuestion(ev.m.Seq, a)
}

// questionsMissed answers for a part that has ended.
func (p *parent) questionsMissed(part, why string) {
	for seq, q := range p.questions {
		if q.part == part {
			p.endQuestion(seq, Answer{Text: why})
		}
	}
}

// giveReport answers the parent.
func (c *childProcess) giveReport(p part, seq int) {
	m := message{Kind: kindReport, Seq: seq}
	file, err := reportFile(p)
	if err != nil {
		m.Text = err.Error()
	} else {
		defer file.Close()
	}
	if err := c.link.send(m, file); err != nil {
		c.log.Warn(fmt.Sprintf("message to the parent: %v", err))
	}
}

func reportFile(p part) (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), reportPatience)
	defer cancel()
	var r any
	switch p := p.(type) {
	case *checkerPart:
		snap, err := p.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		h := snap.Health()
		h.NetNamespace, h.Pid = ipvsNamespace(p.cfg.Load()), os.Getpid()
		r = h
	case *vrrpPart:
		snap, err := p.engine.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		r = snap.Report()
	default:
		return nil, errors.New("this process has nothing to report")
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return memoryFile(b)
}
