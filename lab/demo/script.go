package demo

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"releve/lab"
)

const (
	askEvery   = 50 * time.Millisecond
	askTimeout = 500 * time.Millisecond
)

// script is what happens. Limits are what the configuration allows, with some room for a busy machine.
func (d *demo) script() error {
	for _, part := range []func() error{d.begin, d.shares, d.deadServer, d.serverBack, d.deadMaster, d.masterBack,
		d.noPower, d.powerBack, d.end} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) begin() error {
	lb1, lb2 := d.directors[0], d.directors[1]
	if err := d.step("start both directors"); err != nil {
		return err
	}
	from := time.Now()
	for _, x := range d.directors {
		if err := d.startDirector(x); err != nil {
			return err
		}
	}
	// 3 adverts missed and the skew of priority 150.
	err := d.expectSince(from, "lb1 becomes master of both addresses", 6*time.Second, func() bool { return lb1.master() && lb2.backup() }, nil)
	if err != nil {
		return err
	}
	if err := d.expect("both directors have the three servers in their table", 3*time.Second, d.bothServe(0, 1, 2)); err != nil {
		return err
	}
	d.asking = time.Now()
	if d.traf, err = d.client.Traffic(public.String()+":80", askEvery, askTimeout); err != nil {
		return err
	}
	return d.expect("the client is answered", 2*time.Second, func() bool { return d.answers(from) > 0 })
}

// shares: with weights 3, 1, 1 each round of five requests has its order.
func (d *demo) shares() error {
	if err := d.step("50 requests, weights 3, 1 and 1"); err != nil {
		return err
	}
	from := time.Now()
	if err := d.expect("50 requests are answered", 10*time.Second, func() bool { return d.answers(from) >= 50 }); err != nil {
		return err
	}
	r := d.traf.Since(from)
	ok := r.Failed == 0
	for i, w := range d.webs {
		n, want := r.By[w.answer], r.Asked/5
		if i == 0 {
			want = r.Asked * 3 / 5
		}
		ok = ok && n >= want-2 && n <= want+2
	}
	d.fact("three of five answers are web1's, one each web2's and web3's, none fails", ok, d.distribution(r))
	return nil
}

func (d *demo) deadServer() error {
	w := d.webs[1]
	if err := d.step("web2's server dies"); err != nil {
		return err
	}
	from := time.Now()
	w.Stop()
	w.up = false
	// delay_loop 1, one retry after 1 s.
	err := d.expectSince(from, "both directors take web2 out", 4*time.Second, d.bothServe(0, 2), func() string {
		r := d.traf.Since(from)
		return fmt.Sprintf("%d of %d requests failed meanwhile", r.Failed, r.Asked)
	})
	if err != nil {
		return err
	}
	out := time.Now()
	if err := d.expect("20 more requests are answered", 4*time.Second, func() bool { return d.answers(out) >= 20 }); err != nil {
		return err
	}
	r := d.traf.Since(out)
	d.fact("nobody is sent to web2 any more", r.Failed == 0 && r.By[w.answer] == 0, d.distribution(r))
	return nil
}

func (d *demo) serverBack() error {
	w := d.webs[1]
	if err := d.step("web2's server comes back"); err != nil {
		return err
	}
	from := time.Now()
	if err := w.Start(); err != nil {
		return err
	}
	w.up = true
	// A server returns after its page was good twice, a second apart.
	if err := d.expect("both directors take web2 in again", 4*time.Second, d.bothServe(0, 1, 2)); err != nil {
		return err
	}
	if err := d.expect("web2 answers again", 2*time.Second, func() bool { return d.traf.Since(from).By[w.answer] > 0 }); err != nil {
		return err
	}
	r := d.traf.Since(from)
	d.fact("no request fails on the way", r.Failed == 0, d.distribution(r))
	return nil
}

// takeover: 3 adverts missed and the skew of priority 100, 3.61 s after the last advert at most, and room for a busy machine.
const takeover = 4500 * time.Millisecond

func (d *demo) deadMaster() error {
	if err := d.step("lb1's processes are killed with SIGKILL, all of them: no good-bye"); err != nil {
		return err
	}
	from := time.Now()
	if err := d.directors[0].kill(); err != nil {
		return err
	}
	d.view.event("lb1", "is silent; its kernel still has the addresses and the table, and serves")
	return d.lb2TakesOver(from)
}

func (d *demo) lb2TakesOver(from time.Time) error {
	if err := d.expectSince(from, "lb2 becomes master of both addresses", takeover, d.directors[1].master, nil); err != nil {
		return err
	}
	took := time.Now()
	if err := d.expect("all three servers answer through lb2", 3*time.Second, func() bool { return len(d.traf.Since(took).By) == 3 }); err != nil {
		return err
	}
	r := d.traf.Since(from)
	d.fact("the client waits no longer than that", r.Longest() < d.within(takeover), d.outage(r))
	return nil
}

func (d *demo) masterBack() error {
	if err := d.step("lb1's processes are started again: its priority is higher"); err != nil {
		return err
	}
	return d.lb1TakesBack()
}

func (d *demo) lb1TakesBack() error {
	lb1, lb2 := d.directors[0], d.directors[1]
	from := time.Now()
	if err := d.startDirector(lb1); err != nil {
		return err
	}
	err := d.expectSince(from, "lb1 takes both addresses back and lb2 gives them up", 6*time.Second,
		func() bool { return lb1.master() && lb2.backup() }, nil)
	if err != nil {
		return err
	}
	if err := d.expect("both tables are complete", 2*time.Second, d.bothServe(0, 1, 2)); err != nil {
		return err
	}
	back := time.Now()
	if err := d.expect("20 more requests are answered", 4*time.Second, func() bool { return d.answers(back) >= 20 }); err != nil {
		return err
	}
	r := d.traf.Since(from)
	d.fact("the client hardly notices", r.Longest() < d.within(700*time.Millisecond), d.outage(r))
	return nil
}

func (d *demo) noPower() error {
	if err := d.step("lb1 loses its power: processes and cables at once"); err != nil {
		return err
	}
	from := time.Now()
	if err := d.directors[0].powerOff(); err != nil {
		return err
	}
	return d.lb2TakesOver(from)
}

func (d *demo) powerBack() error {
	if err := d.step("lb1 has power again and starts"); err != nil {
		return err
	}
	if err := d.directors[0].powerOn(); err != nil {
		return err
	}
	return d.lb1TakesBack()
}

// within is a limit for this machine.
func (d *demo) within(limit time.Duration) time.Duration {
	return time.Duration(float64(limit) * cmp.Or(d.o.Patience, 1))
}

func (d *demo) outage(r lab.Report) string {
	return fmt.Sprintf("%d ms without service, %d of %d requests failed", r.Lost().Milliseconds(), r.Failed, r.Asked)
}

func (d *demo) end() error {
	if err := d.step("both directors are asked to stop"); err != nil {
		return err
	}
	d.traf.Stop()
	d.asked = time.Now()
	from := d.asked
	status := [2]int{-1, -1}
	done := make(chan int, 2)
	for i, x := range d.directors {
		go func() {
			status[i] = x.terminate(8 * time.Second)
			done <- i
		}()
	}
	left := 2
	err := d.expectSince(from, "they end", 5*time.Second, func() bool {
		for {
			select {
			case <-done:
				left--
			default:
				return left == 0
			}
		}
	}, nil)
	if err != nil {
		return err
	}
	d.fact("with status 0", status == [2]int{}, fmt.Sprintf("lb1 %d, lb2 %d", status[0], status[1]))
	return d.expect("they leave neither addresses nor virtual servers behind", 2*time.Second, func() bool {
		for _, x := range d.directors {
			x.mu.Lock()
			clean := x.holds == [2]bool{} && len(x.table.Services) == 0
			x.mu.Unlock()
			if !clean {
				return false
			}
		}
		return true
	})
}

// answers counts answered requests started since.
func (d *demo) answers(from time.Time) int {
	if d.traf == nil {
		return 0
	}
	r := d.traf.Since(from)
	return r.Asked - r.Failed
}

func (d *demo) distribution(r lab.Report) string {
	var out []string
	for _, w := range d.webs {
		out = append(out, fmt.Sprintf("%s %d", w.name, r.By[w.answer]))
	}
	return strings.Join(out, ", ") + fmt.Sprintf(", failed %d", r.Failed)
}

// panel is what the terminal shows all the time.
func (d *demo) panel() []string {
	var out []string
	for _, x := range d.directors {
		role := d.view.paint(dim, "down  ")
		switch {
		case x.master():
			role = d.view.paint(green, "MASTER")
		case x.alive():
			role = d.view.paint(yellow, "BACKUP")
		}
		out = append(out, fmt.Sprintf(" %s %s  priority %d   %s", d.view.who(x.Name), role, x.priority, d.weights(x)))
	}
	if d.traf == nil {
		return append(out, " "+d.view.who("client")+" waits")
	}
	r := d.traf.Since(d.start)
	bars := ""
	for _, w := range d.webs {
		n := r.By[w.answer]
		bars += fmt.Sprintf("%s %s %d   ", w.name, d.view.paint(green, strings.Repeat("▪", min(20, n/20))), n)
	}
	out = append(out, fmt.Sprintf(" %s %d requests   %s", d.view.who("client"), r.Asked, bars))
	lost := fmt.Sprintf("%d failed   %d ms without service", r.Failed, r.Lost().Milliseconds())
	if r.Failed > 0 {
		lost = d.view.paint(red, lost)
	}
	return append(out, "         "+lost)
}

func (d *demo) summary() {
	v := d.view
	v.line("")
	v.line(v.paint(bold, "What was expected"))
	missed, step := 0, ""
	for _, c := range d.checks {
		if c.step != step {
			step = c.step
			v.line("  " + step)
		}
		v.line("    " + v.verdict(c))
		if c.verdict() != "seen" {
			missed++
		}
	}
	if d.traf != nil {
		r := d.traf.Between(d.asking, d.until())
		v.line("")
		v.line(v.paint(bold, "What the client saw"))
		v.line(fmt.Sprintf("  %d requests in %.1f s: %s", r.Asked, r.Time.Seconds(), d.distribution(r)))
		for _, g := range r.Gaps {
			v.line(fmt.Sprintf("  from %.2f s: %d ms without service, %d requests", g.Start.Sub(d.start).Seconds(), g.Length.Milliseconds(), g.Requests))
		}
		v.line(fmt.Sprintf("  in all %d ms without service, available %.2f %% of the time", r.Lost().Milliseconds(), 100*r.Availability()))
	}
	v.line("  data plane: " + d.planeText())
	v.line("")
	if len(d.checks) == 0 {
		v.line("Nothing was looked at.")
		return
	}
	if missed == 0 {
		v.line(v.paint(green, fmt.Sprintf("All %d expectations were met.", len(d.checks))))
		return
	}
	v.line(v.paint(red, fmt.Sprintf("%d of %d expectations were not met.", missed, len(d.checks))))
	for _, x := range d.directors {
		for _, l := range x.logs(15) {
			v.line("  " + x.Name + " | " + l)
		}
	}
}

// step announces a step, and waits for the person at the keyboard if there is one.
func (d *demo) step(text string) error {
	d.now = text
	if d.lines == nil {
		d.view.step(text)
		return d.ctx.Err()
	}
	d.view.line("")
	d.view.line("next: " + text + "   (Enter goes on, help shows what else can be done)")
	for {
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case l, ok := <-d.lines:
			if !ok || l == "" {
				d.view.step(text)
				return nil
			}
			if err := d.command(strings.Fields(l)); err != nil {
				return err
			}
		}
	}
}

func readLines(r io.Reader) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(r); s.Scan(); {
			c <- strings.TrimSpace(s.Text())
		}
	}()
	return c
}

// command does what the person asks for between two steps.
func (d *demo) command(words []string) error {
	if len(words) == 0 {
		return nil
	}
	say := func(err error) {
		if err != nil {
			d.view.line("  " + err.Error())
		}
	}
	name := ""
	if len(words) > 1 {
		name = words[1]
	}
	dir, w := d.find(name)
	switch verb := words[0]; {
	case verb == "quit":
		return errStopped
	case verb == "status":
		for _, l := range d.panel() {
			d.view.line(l)
		}
	case verb == "stop" && w != nil:
		w.Stop()
		w.up = false
	case verb == "start" && w != nil && !w.up:
		say(w.Start())
		w.up = true
	case verb == "start" && dir != nil && !dir.alive():
		say(d.startDirector(dir))
	case verb == "stop" && dir != nil:
		d.view.line(fmt.Sprintf("  status %d", dir.terminate(8*time.Second)))
	case verb == "kill" && dir != nil:
		say(dir.kill())
	case verb == "off" && dir != nil:
		say(dir.powerOff())
	case verb == "on" && dir != nil && !dir.alive():
		say(dir.powerOn())
		say(d.startDirector(dir))
	case verb == "cut" && dir != nil && len(words) == 3:
		say(dir.Cut(words[2]))
	case verb == "heal" && dir != nil && len(words) == 3:
		say(dir.Heal(words[2]))
	case verb == "log" && dir != nil:
		for _, l := range dir.logs(20) {
			d.view.line("  " + l)
		}
	default:
		d.view.line("  status | stop web2 | start web2 | stop lb1 | kill lb1 | start lb1 | off lb1 | on lb1 | log lb1 | cut lb1 enp0s3 | heal lb1 enp0s3 | quit")
		d.view.line(fmt.Sprintf("  from another terminal: releve lab shell %s lb1, or releve capture --lab %s", d.o.Name, d.o.Name))
	}
	return nil
}

// until is the end of the client's time: now, as long as it asks.
func (d *demo) until() time.Time {
	if d.asked.IsZero() {
		return time.Now()
	}
	return d.asked
}
