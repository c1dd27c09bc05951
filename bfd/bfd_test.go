package bfd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for l := range strings.Lines(s) {
		l, _, _ = strings.Cut(l, "#")
		b.WriteString(strings.Join(strings.Fields(l), ""))
	}
	out, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const poll = `   # 10.0.0.1 > 10.0.0.2, TTL 255, UDP 57684 > 3784, as the reference sends it
20 e0 03 18        # version 1, no diagnostic; Up, poll; multiplier 3, 24 bytes
b928f1e3 5f2ba3ea  # my and your discriminator
0000c350 0000c350  # desired 50 ms, required 50 ms
00000000           # no echo`

func TestPacketBytes(t *testing.T) {
	b := unhex(t, poll)
	p, err := Decode(b)
	want := Packet{State: Up, Poll: true, DetectMult: 3, MyDiscr: 0xb928f1e3, YourDiscr: 0x5f2ba3ea, DesiredTx: 50 * time.Millisecond, RequiredRx: 50 * time.Millisecond}
	if err != nil || p != want {
		t.Errorf("got %+v, %v", p, err)
	}
	if got := p.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("encoded %x, want %x", got, b)
	}
}

func TestPacketsAreDroppedForAReason(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"short":                        {func(b []byte) []byte { return b[:23] }, ErrLength},
		"version 0":                    {func(b []byte) []byte { b[0] = 0; return b }, ErrVersion},
		"a length below 24":            {func(b []byte) []byte { b[3] = 23; return b }, ErrLength},
		"a length above the payload":   {func(b []byte) []byte { b[3] = 25; return b }, ErrLength},
		"multiplier 0":                 {func(b []byte) []byte { b[2] = 0; return b }, ErrMultiplier},
		"multipoint":                   {func(b []byte) []byte { b[1] |= flagMulti; return b }, ErrMultipoint},
		"no discriminator":             {func(b []byte) []byte { clear(b[4:8]); return b }, ErrDiscriminator},
		"up without our discriminator": {func(b []byte) []byte { clear(b[8:12]); return b }, ErrDiscriminator},
		"authentication too short":     {func(b []byte) []byte { b[1] |= flagAuth; return b }, ErrLength},
		"authentication": {func(b []byte) []byte {
			b[1] |= flagAuth
			b[3] = 26
			return append(b, 1, 2)
		}, ErrAuth},
	} {
		if _, err := Decode(c.change(unhex(t, poll))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, poll))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if err != nil {
			return
		}
		q, err := Decode(p.Append(nil))
		if err != nil || p != q {
			t.Errorf("%+v becomes %+v, %v", p, q, err)
		}
	})
}

func conf(tx, rx int, mult uint8) *Config {
	return &Config{Name: "B", Neighbor: netip.MustParseAddr("10.0.0.2"), MinTx: time.Duration(tx) * time.Millisecond, MinRx: time.Duration(rx) * time.Millisecond,
		IdleTx: time.Second, Multiplier: mult, TTL: 255}
}

// wire joins two sessions over a simulated path with delay.
type wire struct {
	t     *testing.T
	now   time.Time
	s     [2]*session
	delay time.Duration
	cut   [2]bool // packets of this side are lost
	fly   []flight
	log   []string
	sent  [2]int
	begin time.Time
}

type flight struct {
	at time.Time
	to int
	p  Packet
}

func newWire(t *testing.T, a, b *Config) *wire {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := &wire{t: t, now: now, begin: now, delay: time.Millisecond}
	rnd := rand.New(rand.NewPCG(1, 2))
	w.s = [2]*session{newSession(a, 1, rnd.Float64, now), newSession(b, 2, rnd.Float64, now.Add(300*time.Millisecond))}
	return w
}

func (w *wire) act(i int) {
	o := w.s[i].take()
	for _, p := range o.packets {
		w.sent[i]++
		if !w.cut[i] {
			w.fly = append(w.fly, flight{w.now.Add(w.delay), 1 - i, p})
		}
	}
	if o.change {
		w.log = append(w.log, fmt.Sprintf("%v %c %v>%v", w.now.Sub(w.begin).Truncate(time.Millisecond), 'A'+i, o.from, w.s[i].state))
	}
}

// run lets time pass.
func (w *wire) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		next, what := end, -1
		for i, s := range w.s {
			if n := s.next(); !n.IsZero() && n.Before(next) {
				next, what = n, i
			}
		}
		if len(w.fly) > 0 && !w.fly[0].at.After(next) {
			f := w.fly[0]
			w.fly = w.fly[1:]
			w.now = f.at
			w.s[f.to].receive(&f.p, w.now)
			w.act(f.to)
			continue
		}
		if what < 0 {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		w.s[what].tick(w.now)
		w.act(what)
	}
}

func (w *wire) last() string {
	if len(w.log) == 0 {
		return ""
	}
	return w.log[len(w.log)-1]
}

func TestASessionComesUpAndAgreesOnItsIntervals(t *testing.T) {
	w := newWire(t, conf(50, 100, 3), conf(20, 10, 4))
	w.run(5 * time.Second)
	for i, s := range w.s {
		if s.state != Up || s.polling || s.diag != DiagNone {
			t.Fatalf("%c is %v, polling %v; %q", 'A'+i, s.state, s.polling, w.log)
		}
	}
	// A takes a packet every 100 ms, so B sends no faster; B may get one every 50 ms.
	if tx := w.s[0].txInterval(); tx != 50*time.Millisecond {
		t.Errorf("A sends every %v", tx)
	}
	if tx := w.s[1].txInterval(); tx != 100*time.Millisecond {
		t.Errorf("B sends every %v", tx)
	}
	if d := w.s[0].detectTime(); d != 400*time.Millisecond {
		t.Errorf("A detects in %v, want 4 x 100 ms", d)
	}
	if d := w.s[1].detectTime(); d != 150*time.Millisecond {
		t.Errorf("B detects in %v, want 3 x 50 ms", d)
	}
	w.sent = [2]int{}
	w.run(10 * time.Second)
	for i, want := range []int{200, 100} { // the jitter takes up to a quarter
		if n := w.sent[i]; n < want || n > want*4/3+1 {
			t.Errorf("%c sent %d packets in 10 s", 'A'+i, n)
		}
	}
	if len(w.log) > 4 {
		t.Errorf("flapped: %q", w.log)
	}
}

func TestALostPathIsNoticedWithinTheDetectionTime(t *testing.T) {
	w := newWire(t, conf(50, 50, 3), conf(50, 50, 3))
	w.run(5 * time.Second)
	w.cut[0] = true
	at := w.now
	w.run(160 * time.Millisecond)
	if s := w.s[1]; s.state != Down || s.diag != DiagExpired || s.since.Sub(at) > 151*time.Millisecond {
		t.Errorf("B is %v since %v (%v)", s.state, s.since.Sub(at), s.diag)
	}
	if s := w.s[0]; s.state == Up || s.diag != DiagSignaled {
		t.Errorf("A was not told: %v, %v; %q", s.state, s.diag, w.log)
	}
	w.cut[0] = false
	w.run(5 * time.Second)
	if w.s[0].state != Up || w.s[1].state != Up {
		t.Errorf("not up again: %q", w.log)
	}
}

func TestAPassiveSessionWaitsForTheOther(t *testing.T) {
	a, b := conf(50, 50, 3), conf(50, 50, 3)
	a.Passive, b.Passive = true, true
	w := newWire(t, a, b)
	w.run(time.Minute)
	if w.sent != [2]int{} {
		t.Errorf("passive sessions sent %v", w.sent)
	}
	b.Passive = false
	w = newWire(t, a, b)
	w.run(5 * time.Second)
	if w.s[0].state != Up {
		t.Errorf("not up: %q", w.log)
	}
}

func TestAStoppedSessionTakesLeave(t *testing.T) {
	w := newWire(t, conf(50, 50, 3), conf(50, 50, 3))
	w.run(5 * time.Second)
	w.s[0].stop(w.now)
	w.act(0)
	at := w.now
	w.run(2 * time.Millisecond)
	if s := w.s[1]; s.state != Down || s.diag != DiagSignaled || s.remoteDiag != DiagAdminDown {
		t.Errorf("B %v after it: %v, %v/%v", w.now.Sub(at), s.state, s.diag, s.remoteDiag)
	}
	n := w.sent[0]
	w.run(5 * time.Second)
	if w.sent[0] != n || !strings.Contains(w.last(), "B") {
		t.Errorf("A went on: %q", w.log)
	}
}

func TestNewIntervalsAreAgreedOnWithoutAFlap(t *testing.T) {
	w := newWire(t, conf(50, 50, 3), conf(50, 50, 3))
	w.run(5 * time.Second)
	changes := len(w.log)
	for _, c := range []*Config{conf(200, 300, 3), conf(10, 10, 5), conf(100, 10, 2)} {
		w.s[0].reconfigure(c, w.now)
		w.act(0)
		w.run(5 * time.Second)
		s := w.s[0]
		if s.polling || s.activeTx != c.MinTx || s.activeRx != c.MinRx || w.s[1].remoteTx != c.MinTx {
			t.Errorf("not agreed on %+v: polling %v, tx %v rx %v", c, s.polling, s.activeTx, s.activeRx)
		}
	}
	if len(w.log) != changes {
		t.Errorf("flapped: %q", w.log)
	}
}

func TestARemoteThatWantsNothingGetsNothingPeriodic(t *testing.T) {
	now := time.Now()
	s := newSession(conf(50, 50, 3), 1, rand.Float64, now)
	s.tick(now)
	s.take()
	s.receive(&Packet{State: Down, DetectMult: 3, MyDiscr: 9, DesiredTx: time.Second, RequiredRx: 0}, now)
	if !s.sendAt.IsZero() {
		t.Errorf("sends at %v", s.sendAt.Sub(now))
	}
	s.take()
	s.receive(&Packet{State: Init, Poll: true, DetectMult: 3, MyDiscr: 9, YourDiscr: 1, DesiredTx: time.Second}, now)
	if o := s.take(); len(o.packets) != 1 || !o.packets[0].Final || o.packets[0].Poll {
		t.Errorf("a poll was answered with %+v", o.packets)
	}
}

// TestRandomWalkStaysSane throws losses and reconfigurations at two sessions; with a sound path they must end up.
func TestRandomWalkStaysSane(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	pick := func() *Config { return conf(1+rnd.IntN(300), 1+rnd.IntN(300), uint8(1+rnd.IntN(5))) }
	for range 50 {
		w := newWire(t, pick(), pick())
		for range 40 {
			w.cut = [2]bool{rnd.IntN(3) == 0, rnd.IntN(3) == 0}
			if rnd.IntN(4) == 0 {
				i := rnd.IntN(2)
				w.s[i].reconfigure(pick(), w.now)
				w.act(i)
			}
			w.run(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		}
		w.cut = [2]bool{}
		w.run(20 * time.Second)
		n := len(w.log)
		w.run(20 * time.Second)
		if w.s[0].state != Up || w.s[1].state != Up || len(w.log) != n && w.s[0].cfg.Multiplier > 1 && w.s[1].cfg.Multiplier > 1 {
			t.Fatalf("A %v, B %v, %q\n%+v\n%+v", w.s[0].state, w.s[1].state, w.log[max(0, len(w.log)-10):], *w.s[0].cfg, *w.s[1].cfg)
		}
	}
}
