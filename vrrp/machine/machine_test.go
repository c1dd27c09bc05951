package machine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// sim plays machines against a clock of its own and writes down what they order, with the time at which they order it.
type sim struct {
	now    time.Time
	ms     []*Machine
	due    map[*Machine]*[Timers]time.Time
	log    []string
	legal  bool
	failed []string
}

var epoch = time.Unix(1_000_000, 0)

func newSim(ms ...*Machine) *sim {
	s := &sim{now: epoch, ms: ms, due: map[*Machine]*[Timers]time.Time{}}
	for _, m := range ms {
		s.due[m] = &[Timers]time.Time{}
	}
	return s
}

func (s *sim) name(m *Machine) string {
	if len(s.ms) == 1 {
		return ""
	}
	return string(rune('a'+slices.Index(s.ms, m))) + " "
}

func (s *sim) step(m *Machine, ev Event) {
	ev.Now = s.now
	s.perform(m.Step(ev, nil))
}

func (s *sim) perform(actions []Action) {
	for _, a := range actions {
		text := ""
		switch a.Kind {
		case Arm:
			s.due[a.M][a.Timer] = s.now.Add(a.After)
			continue
		case Shift:
			s.due[a.M][a.Timer] = s.due[a.M][a.Timer].Add(a.After)
			continue
		case Disarm:
			s.due[a.M][a.Timer] = time.Time{}
			continue
		case Say:
			continue
		case Send:
			text = fmt.Sprintf("send %d", a.Prio)
		case Enter:
			text = "enter " + a.State.String()
		case Take:
			text = "take"
		case Release:
			text = "release"
		case Announce:
			text = "announce " + [...]string{"takeover", "takeover again", "lower", "lower again", "refresh", "elsewhere"}[a.Burst]
		case Notify:
			text = "notify " + a.State.String()
		case NotifyLower:
			text = "notify lower"
		case NotifyGroup:
			s.log = append(s.log, fmt.Sprintf("%v group %s", s.now.Sub(epoch), a.State))
			continue
		}
		s.log = append(s.log, fmt.Sprintf("%v %s%s", s.now.Sub(epoch), s.name(a.M), text))
	}
}

// until lets time pass.
func (s *sim) until(t time.Duration) {
	for {
		var m *Machine
		var tm Timer
		next := epoch.Add(t)
		for _, c := range s.ms {
			for k, d := range s.due[c] {
				if !d.IsZero() && !d.After(next) && (m == nil || d.Before(next)) {
					m, tm, next = c, Timer(k), d
				}
			}
		}
		s.now = next
		if m == nil {
			return
		}
		s.due[m][tm] = time.Time{}
		s.step(m, Event{Kind: [...]EventKind{Due, AnnounceDue, RefreshDue, ExtraDue}[tm]})
	}
}

// in is something that happens to machine m (0 for the first) at a time.
type in struct {
	at time.Duration
	m  int
	ev Event
}

func heard(prio uint8, src string) Event {
	return Event{Kind: Heard, Prio: prio, Src: netip.MustParseAddr(src), Interval: time.Second}
}

func heard3(prio uint8, every time.Duration) Event {
	return Event{Kind: Heard, Prio: prio, Src: netip.MustParseAddr("10.0.0.9"), Interval: every}
}

func expiredAt(prio int) func(*Config) {
	return func(c *Config) { c.TimerExpiredBackup, c.TimerExpiredPrio = true, prio }
}

func first(prio uint8) Event {
	ev := heard(prio, "10.0.0.9")
	ev.First = true
	return ev
}

const ms = time.Millisecond

var own = netip.MustParseAddr("10.0.0.5")

func v2(prio uint8, change ...func(*Config)) Config {
	c := Config{Version: 2, Priority: prio, Interval: time.Second, DownAdverts: 3, Addr: own, AnnounceDelay: 5 * time.Second, LowerDelay: 5 * time.Second}
	for _, f := range change {
		f(&c)
	}
	return c
}

func v3(prio uint8, every time.Duration, change ...func(*Config)) Config {
	c := v2(prio, change...)
	c.Version, c.Interval = 3, every
	return c
}

var start = Event{Kind: Start}

func TestScenarios(t *testing.T) {
	lead := func(at string, prio int) []string {
		return []string{at + " send " + fmt.Sprint(prio), at + " enter MASTER", at + " take", at + " announce takeover", at + " notify MASTER"}
	}
	begin := []string{"0s enter BACKUP", "0s release", "0s notify BACKUP"}
	for _, c := range []struct {
		name  string
		cfg   Config
		in    []in
		until time.Duration
		want  [][]string
	}{
		{"RFC 3768 6.4.1 and 6.4.2: nobody is heard for three intervals and the skew", v2(100), []in{{0, 0, start}}, 4700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4.609375s send 100"}}},
		{"RFC 9568 6.1: the skew of version 3 is a part of the interval", v3(100, 100*ms), []in{{0, 0, start}}, 480 * ms,
			[][]string{begin, lead("360.9375ms", 100), {"460.9375ms send 100"}}},
		{"down_timer_adverts counts more intervals", v2(100, func(c *Config) { c.DownAdverts = 5 }), []in{{0, 0, start}}, 5700 * ms,
			[][]string{begin, lead("5.609375s", 100)}},
		{"RFC 3768 6.4.1: an address owner leads at once", v2(255, func(c *Config) { c.StartMaster = true }), []in{{0, 0, start}}, 500 * ms,
			[][]string{lead("0s", 255)}},
		{"priority 255 without state MASTER waits the down timer", v2(255), []in{{0, 0, start}}, 3100 * ms,
			[][]string{begin, lead("3.00390625s", 255)}},
		{"a better master keeps a backup quiet", v2(100), []in{{0, 0, start}, {1000 * ms, 0, heard(150, "10.0.0.9")}, {3000 * ms, 0, heard(150, "10.0.0.9")}}, 6600 * ms,
			[][]string{begin}},
		{"an equal master keeps a backup quiet, even from a lower address", v2(100), []in{{0, 0, start}, {3000 * ms, 0, heard(100, "10.0.0.1")}}, 6600 * ms,
			[][]string{begin}},
		{"a worse master does not restart the timer of a backup that preempts", v2(100), []in{{0, 0, start}, {1000 * ms, 0, heard(50, "10.0.0.9")}, {3000 * ms, 0, heard(50, "10.0.0.9")}}, 4000 * ms,
			[][]string{begin, lead("3.609375s", 100)}},
		{"nopreempt respects a worse master", v2(100, func(c *Config) { c.NoPreempt = true }), []in{{0, 0, start}, {3000 * ms, 0, heard(50, "10.0.0.9")}}, 6600 * ms,
			[][]string{begin}},
		{"preempt_delay counts from the first worse advert, then what is left of the timer passes", v2(200, func(c *Config) { c.PreemptDelay = 3 * time.Second }),
			[]in{{0, 0, start}, {500 * ms, 0, heard(50, "10.0.0.9")}, {1500 * ms, 0, heard(50, "10.0.0.9")}, {2500 * ms, 0, heard(50, "10.0.0.9")}, {3500 * ms, 0, heard(50, "10.0.0.9")}, {4500 * ms, 0, heard(50, "10.0.0.9")}, {5500 * ms, 0, heard(50, "10.0.0.9")}}, 6000 * ms,
			[][]string{begin, lead("5.71875s", 200)}},
		{"preempt_delay does not delay taking over from a silent master", v2(200, func(c *Config) { c.PreemptDelay = 60 * time.Second }), []in{{0, 0, start}, {500 * ms, 0, heard(50, "10.0.0.9")}}, 4000 * ms,
			[][]string{begin, lead("3.71875s", 200)}},
		{"RFC 3768 6.4.2: priority 0 shortens the timer to the skew", v2(100), []in{{0, 0, start}, {1000 * ms, 0, heard(0, "10.0.0.9")}}, 2000 * ms,
			[][]string{begin, lead("1.609375s", 100)}},
		{"RFC 9568 6.4.2: version 3 learns the master's interval", v3(100, time.Second), []in{{0, 0, start}, {100 * ms, 0, heard3(150, 200*ms)}}, 900 * ms,
			[][]string{begin, lead("821.875ms", 100)}},
		{"version 3 uses its own interval again as master", v3(100, 300*ms), []in{{0, 0, start}, {100 * ms, 0, heard3(150, 100*ms)}}, 800 * ms,
			[][]string{begin, lead("460.9375ms", 100), {"760.9375ms send 100"}}},
		{"RFC 3768 6.4.3: a master answers priority 0 at once and without announcement", v2(100), []in{{0, 0, start}, {4000 * ms, 0, heard(0, "10.0.0.9")}}, 5100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100", "5s send 100"}}},
		{"RFC 3768 6.4.3: a master gives way to a higher priority without a word", v2(100), []in{{0, 0, start}, {4000 * ms, 0, heard(150, "10.0.0.1")}}, 7600 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"higher_prio_send_advert sends one more", v2(100, func(c *Config) { c.HigherPrioSendAdvert = true }), []in{{0, 0, start}, {4000 * ms, 0, heard(150, "10.0.0.1")}}, 7600 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100", "4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"a master that slept past the down timer of others steps down first", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 3700 * ms}}}, 4100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"one that slept for less goes on", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 3500 * ms}}}, 4000 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100"}}},
		{"timer_expired_backup: another router of the priority given may have taken over", v2(100, expiredAt(200)), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 2220 * ms}}}, 4100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"timer_expired_backup: not yet", v2(100, expiredAt(200)), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 2210 * ms}}}, 4000 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100"}}},
		{"timer_expired_backup without a priority counts with 254", v2(100, expiredAt(0)), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 2010 * ms}}}, 4100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"a backup that slept past its down timer listens once more", v2(100), []in{{0, 0, start}, {3000 * ms, 0, Event{Kind: Due, Late: 3700 * ms}}}, 7000 * ms,
			[][]string{begin, lead("6.609375s", 100)}},
		{"garp_extra_if announces elsewhere every so often", v2(100, func(c *Config) { c.Extra, c.Interval, c.AnnounceDelay = 4*time.Second, 10*time.Second, 0 }), []in{{0, 0, start}}, 39 * time.Second,
			[][]string{begin, lead("30.609375s", 100), {"34.609375s announce elsewhere", "38.609375s announce elsewhere"}}},
		{"of two masters that meet the worse one says that it was there", v2(100, func(c *Config) { c.LastWord = true }), []in{{0, 0, start}, {4000 * ms, 0, heard(150, "10.0.0.1")}}, 4100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100", "4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"but not to one that has only now become master for the first time", v2(100, func(c *Config) { c.LastWord = true }), []in{{0, 0, start}, {4000 * ms, 0, first(150)}}, 4100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"RFC 3768 6.4.3: of two equal masters the lower address gives way", v2(100), []in{{0, 0, start}, {4000 * ms, 0, heard(100, "10.0.0.9")}}, 7600 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"of two equal masters the higher address answers and announces", v2(100), []in{{0, 0, start}, {4000 * ms, 0, heard(100, "10.0.0.1")}}, 9100 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 100", "4s announce lower", "4s notify lower", "5s send 100", "6s send 100", "7s send 100", "8s send 100", "9s send 100", "9s announce lower again"}}},
		{"lower_prio_no_advert announces but does not answer", v2(100, func(c *Config) { c.LowerPrioNoAdvert = true }), []in{{0, 0, start}, {4000 * ms, 0, heard(50, "10.0.0.9")}}, 4700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s announce lower", "4s notify lower", "4.609375s send 100"}}},
		{"two owners: the lower address becomes backup", v2(255, func(c *Config) { c.StartMaster = true }), []in{{0, 0, start}, {1 * ms, 0, heard(255, "10.0.0.9")}}, 900 * ms,
			[][]string{lead("0s", 255), {"1ms enter BACKUP", "1ms release", "1ms notify BACKUP"}}},
		{"owner_ignore_adverts stays", v2(255, func(c *Config) { c.StartMaster, c.OwnerIgnoreAdverts = true, true }), []in{{0, 0, start}, {1 * ms, 0, heard(255, "10.0.0.9")}}, 900 * ms,
			[][]string{lead("0s", 255)}},
		{"the second burst follows after the delay, refreshes after that", v2(100, func(c *Config) { c.AnnounceDelay, c.Refresh = time.Second, 2*time.Second }), []in{{0, 0, start}}, 9 * time.Second,
			[][]string{begin, lead("3.609375s", 100), {"4.609375s send 100", "4.609375s announce takeover again", "5.609375s send 100", "6.609375s send 100", "6.609375s announce refresh",
				"7.609375s send 100", "8.609375s send 100", "8.609375s announce refresh"}}},
		{"a fault of a master resigns twice, recovery waits the down timer", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Failed}}, {5000 * ms, 0, Event{Kind: Recovered}}}, 8700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 0", "4s send 0", "4s enter FAULT", "4s release", "4s notify FAULT", "5s enter BACKUP", "5s notify BACKUP"}, lead("8.609375s", 100)}},
		{"an instance in FAULT hears nothing", v2(100), []in{{0, 0, Event{Kind: Failed}}, {0, 0, start}, {1000 * ms, 0, heard(0, "10.0.0.9")}}, 9000 * ms,
			[][]string{{"0s enter FAULT", "0s release", "0s notify FAULT"}}},
		{"a fault of a backup is silent", v2(100), []in{{0, 0, start}, {1000 * ms, 0, Event{Kind: Failed}}}, 9000 * ms,
			[][]string{begin, {"1s enter FAULT", "1s notify FAULT"}}},
		{"stop of a master resigns before the addresses go", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Stop}}}, 9000 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 0", "4s release", "4s notify INIT"}}},
		{"stop of a backup is silent", v2(100), []in{{0, 0, start}, {1000 * ms, 0, Event{Kind: Stop}}}, 9000 * ms,
			[][]string{begin, {"1s release", "1s notify INIT"}}},
		{"an address that somebody removed costs the mastership", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: AddrLost}}}, 7700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s send 0", "4s enter BACKUP", "4s release", "4s notify BACKUP"}, lead("7.609375s", 100)}},
		{"a raised priority preempts with what is left of the timer, which is shorter with it", v2(100), []in{{0, 0, start}, {1000 * ms, 0, heard(150, "10.0.0.9")}, {1500 * ms, 0, Event{Kind: NewPriority, Prio: 200}}, {2000 * ms, 0, heard(150, "10.0.0.9")}}, 4700 * ms,
			[][]string{begin, lead("4.21875s", 200)}},
		{"a lowered priority lets the timer run longer", v2(100), []in{{0, 0, start}, {1500 * ms, 0, Event{Kind: NewPriority, Prio: 36}}}, 3900 * ms,
			[][]string{begin, lead("3.859375s", 36)}},
		{"a delayed start makes an owner wait, too", v2(255), []in{{0, 0, Event{Kind: Start, Delayed: true}}}, 3100 * ms,
			[][]string{begin, lead("3.00390625s", 255)}},
		{"a lowered priority is in the next advert", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: NewPriority, Prio: 70}}}, 4700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4.609375s send 70"}}},
		{"a resumed master goes on at once", v2(100), []in{{0, 0, Event{Kind: Resume}}}, 1100 * ms,
			[][]string{lead("0s", 100), {"1s send 100"}}},
		{"a resumed master gives way to a better one", v2(100), []in{{0, 0, Event{Kind: Resume}}, {10 * ms, 0, heard(150, "10.0.0.9")}}, 1100 * ms,
			[][]string{lead("0s", 100), {"10ms enter BACKUP", "10ms release", "10ms notify BACKUP"}}},
		{"a master that was stopped for long steps down and looks", v2(100), []in{{0, 0, start}, {4000 * ms, 0, Event{Kind: Due, Late: 10 * time.Second}}}, 7000 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4s enter BACKUP", "4s release", "4s notify BACKUP"}}},
		{"a backup that was stopped for long looks first", v2(100), []in{{0, 0, start}, {1000 * ms, 0, Event{Kind: Due, Late: 10 * time.Second}}}, 4500 * ms,
			[][]string{begin}},
		{"a late advert does not move the beat", v2(100), []in{{0, 0, start}, {4700 * ms, 0, Event{Kind: NewPriority, Prio: 100}}}, 5700 * ms,
			[][]string{begin, lead("3.609375s", 100), {"4.609375s send 100", "5.609375s send 100"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, newSim(New(0, c.cfg)), c.in, c.until, c.want)
		})
	}
}

func play(t *testing.T, s *sim, ins []in, until time.Duration, want [][]string) {
	t.Helper()
	for _, i := range ins {
		s.until(i.at)
		s.step(s.ms[i.m], i.ev)
	}
	s.until(until)
	if w := slices.Concat(want...); !slices.Equal(s.log, w) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(s.log, "\n  "), strings.Join(w, "\n  "))
	}
}

func TestSyncGroups(t *testing.T) {
	two := func(a, b Config) *sim {
		x, y := New(0, a), New(1, b)
		NewGroup(0, x, y)
		return newSim(x, y)
	}
	begin := []string{"0s group BACKUP", "0s a enter BACKUP", "0s a release", "0s a notify BACKUP", "0s b enter BACKUP", "0s b release", "0s b notify BACKUP"}
	starts := []in{{0, 0, start}, {0, 1, start}}
	lead := func(at, who string, prio int) []string {
		p := at + " " + who + " "
		return []string{p + "send " + fmt.Sprint(prio), p + "enter MASTER", p + "take", p + "announce takeover", p + "notify MASTER"}
	}
	both := func(at string) [][]string {
		return [][]string{lead(at, "b", 90), lead(at, "a", 100), {at + " group MASTER"}}
	}
	for _, c := range []struct {
		name  string
		in    []in
		until time.Duration
		want  [][]string
	}{
		{"the group leads when its last member wants to, and that one comes first", starts, 4000 * ms,
			slices.Concat([][]string{begin}, both("3.6484375s"))},
		{"no member leads while another hears a better router", append(slices.Clone(starts), in{3 * time.Second, 1, heard(200, "10.0.0.9")}, in{6 * time.Second, 1, heard(200, "10.0.0.9")}), 9 * time.Second,
			[][]string{begin}},
		{"a member that gives way takes the others along", append(slices.Clone(starts), in{4 * time.Second, 0, heard(200, "10.0.0.9")}), 4500 * ms,
			slices.Concat([][]string{begin}, both("3.6484375s"), [][]string{{
				"4s a enter BACKUP", "4s a release", "4s a notify BACKUP", "4s b enter BACKUP", "4s b release", "4s b notify BACKUP", "4s group BACKUP"}})},
		{"a fault takes the others along: two resignations of the one, one of the other", append(slices.Clone(starts), in{4 * time.Second, 1, Event{Kind: Failed}}), 4500 * ms,
			slices.Concat([][]string{begin}, both("3.6484375s"), [][]string{{
				"4s b send 0", "4s b send 0", "4s b enter FAULT", "4s b release", "4s b notify FAULT",
				"4s a send 0", "4s a enter FAULT", "4s a release", "4s a notify FAULT", "4s group FAULT"}})},
		{"the group recovers with its last member", append(slices.Clone(starts), in{time.Second, 0, Event{Kind: Failed}}, in{time.Second, 1, Event{Kind: Failed}},
			in{2 * time.Second, 0, Event{Kind: Recovered}}, in{3 * time.Second, 1, Event{Kind: Recovered}}), 3500 * ms,
			[][]string{begin, {"1s a enter FAULT", "1s a notify FAULT", "1s b enter FAULT", "1s b notify FAULT", "1s group FAULT",
				"3s b enter BACKUP", "3s b notify BACKUP", "3s a enter BACKUP", "3s a notify BACKUP", "3s group BACKUP"}}},
		{"a group with a faulty member starts in FAULT", []in{{0, 1, Event{Kind: Failed}}, {0, 0, start}, {0, 1, start}}, 9 * time.Second,
			[][]string{{"0s a enter FAULT", "0s a release", "0s a notify FAULT", "0s b enter FAULT", "0s b release", "0s b notify FAULT", "0s group FAULT"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, two(v2(100), v2(90)), c.in, c.until, c.want)
		})
	}
}

func TestAnyEventInAnyStateKeepsTransitionsLegal(t *testing.T) {
	legal := map[[2]State]bool{
		{Init, Backup}: true, {Init, Master}: true, {Init, Fault}: true, {Backup, Master}: true, {Backup, Fault}: true,
		{Master, Backup}: true, {Master, Fault}: true, {Fault, Backup}: true, {Fault, Master}: true,
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := func(n int) int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int(seed>>33) % n
	}
	for range 300 {
		a, b, c := New(0, v2(100)), New(1, v3(200, 100*ms)), New(2, v2(255, func(c *Config) { c.StartMaster = true }))
		NewGroup(0, a, b)
		list := []*Machine{a, b, c}
		state := map[*Machine]State{}
		holds := map[*Machine]bool{}
		now := epoch
		for _, m := range list {
			for _, x := range m.Step(start, nil) {
				check(t, x, legal, state, holds)
			}
		}
		for range 200 {
			now = now.Add(time.Duration(rnd(1000)) * ms)
			m := list[rnd(3)]
			ev := Event{Kind: EventKind(rnd(int(Stop)-int(Heard)) + int(Heard)), Now: now, Prio: uint8(rnd(256)), Src: netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd(10))}),
				Interval: time.Duration(rnd(1000)) * ms, Late: time.Duration(rnd(5000)) * ms}
			if ev.Kind == NewPriority {
				ev.Prio = max(ev.Prio, 1)
			}
			for _, x := range m.Step(ev, nil) {
				check(t, x, legal, state, holds)
			}
			if a.State() != b.State() {
				t.Fatalf("group members differ: %s, %s", a.State(), b.State())
			}
		}
		for _, m := range list {
			for _, x := range m.Step(Event{Kind: Stop}, nil) {
				check(t, x, legal, state, holds)
			}
			if holds[m] {
				t.Fatal("stopped with addresses")
			}
		}
	}
}

func check(t *testing.T, x Action, legal map[[2]State]bool, state map[*Machine]State, holds map[*Machine]bool) {
	t.Helper()
	switch x.Kind {
	case Enter:
		if state[x.M] != x.From || !legal[[2]State{x.From, x.State}] {
			t.Fatalf("from %s (was %s) to %s", x.From, state[x.M], x.State)
		}
		state[x.M] = x.State
	case Take:
		holds[x.M] = true
	case Release:
		holds[x.M] = false
	case Arm:
		if x.After < 0 {
			t.Fatalf("timer %d armed for %s", x.Timer, x.After)
		}
	case Notify:
		if x.State != Init && holds[x.M] != (x.State == Master) {
			t.Fatalf("%s with addresses: %v", x.State, holds[x.M])
		}
	}
}

func BenchmarkHeardAsBackup(b *testing.B) {
	m := New(0, v2(100))
	out := m.Step(start, nil)
	ev := heard(150, "10.0.0.9")
	b.ReportAllocs()
	for b.Loop() {
		out = m.Step(ev, out[:0])
	}
}
