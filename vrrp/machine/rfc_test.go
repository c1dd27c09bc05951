package machine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The events of RFC 3768 §6.4 and RFC 9568 §6.4 in every state, and the reference's own, with all that is ordered and all timers. Where
// the reference departs from the RFCs the row says so with "reference:", and the reference is followed.
//
// Priority 100 unless said, address 10.0.0.5. Version 2: interval 1 s, skew 156/256 s. Version 3: own interval 200 ms, skew 121.875 ms;
// adverts of others carry 500 ms, with which the skew is 304.6875 ms and the down interval 1.8046875 s. Announcements: a second
// burst after 5 s, no refresh.

// rfcCase is an event in a state: what has to be done in version 2 and version 3.
type rfcCase struct {
	rule   string
	change func(*Config)
	before []Event // after the state was reached
	ev     Event
	v2, v3 string
}

func rfcConfig(version int, change func(*Config)) Config {
	c := Config{Version: version, Priority: 100, Interval: time.Second, Addr: own, AnnounceDelay: 5 * time.Second, LowerDelay: 5 * time.Second}
	if version == 3 {
		c.Interval = 200 * ms
	}
	if change != nil {
		change(&c)
	}
	return c
}

// inState brings a machine into a state.
func inState(s State, c Config) *Machine {
	m := New(0, c)
	if s == Init {
		return m
	}
	if s == Fault {
		m.Step(Event{Kind: Failed}, nil)
	}
	m.Step(Event{Kind: Start, Now: epoch}, nil)
	if s == Master && m.State() != Master {
		m.Step(Event{Kind: Due, Now: epoch}, nil)
	}
	return m
}

var timerWords = [Timers]string{"main", "second", "refresh", "extra"}

// words are actions as the table has them. What is only said is left out.
func words(actions []Action) string {
	var out []string
	for i, a := range actions {
		switch a.Kind {
		case Send:
			out = append(out, fmt.Sprintf("send %d", a.Prio))
		case Arm:
			out = append(out, fmt.Sprintf("arm %s %s", timerWords[a.Timer], a.After))
		case Shift:
			out = append(out, fmt.Sprintf("shift %s by %s", timerWords[a.Timer], a.After))
		case Disarm:
			if a.Timer == Main && i+1 < len(actions) && actions[i+1].Kind == Disarm {
				out = append(out, "disarm all")
			} else if i == 0 || actions[i-1].Kind != Disarm {
				out = append(out, "disarm "+timerWords[a.Timer])
			}
		case Enter:
			out = append(out, a.From.String()+" to "+a.State.String())
		case Take:
			out = append(out, "take")
		case Release:
			out = append(out, "release")
		case Announce:
			out = append(out, "announce "+[...]string{"takeover", "again", "lower", "lower again", "refresh", "elsewhere"}[a.Burst])
		case Notify:
			out = append(out, "notify "+a.State.String())
		case NotifyLower:
			out = append(out, "notify lower")
		}
	}
	return strings.Join(out, ", ")
}

func advert(prio uint8, src string) Event {
	return Event{Kind: Heard, Prio: prio, Src: netip.MustParseAddr(src), Interval: 500 * ms}
}

const (
	lowAddr, highAddr = "10.0.0.1", "10.0.0.9"
	toBackup2         = "disarm all, arm main 3.609375s, MASTER to BACKUP, release, notify BACKUP"
	toBackup3         = "disarm all, arm main 1.8046875s, MASTER to BACKUP, release, notify BACKUP"
	lead2             = "send 100, arm main 1s, BACKUP to MASTER, take, announce takeover, arm second 5s, notify MASTER"
	lead3             = "send 100, arm main 200ms, BACKUP to MASTER, take, announce takeover, arm second 5s, notify MASTER"
)

func at(after time.Duration, ev Event) Event {
	ev.Now = epoch.Add(after)
	return ev
}

func firstOf(ev Event) Event {
	ev.First = true
	return ev
}

func owner(c *Config)        { c.Priority, c.StartMaster = 255, true }
func ownerIgnores(c *Config) { c.Priority, c.StartMaster, c.OwnerIgnoreAdverts = 255, true, true }
func noPreempt(c *Config)    { c.NoPreempt = true }
func delayed(c *Config)      { c.PreemptDelay = 3 * time.Second }

var rfcCases = map[State][]rfcCase{
	Init: {
		{"6.4.1: below 255 the start is BACKUP for the down interval", nil, nil, Event{Kind: Start},
			"arm main 3.609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 721.875ms, INIT to BACKUP, release, notify BACKUP"},
		{"6.4.1: an address owner leads at once; reference: the advert leaves before the addresses are set and announced", owner, nil, Event{Kind: Start},
			"send 255, arm main 1s, INIT to MASTER, take, announce takeover, arm second 5s, notify MASTER",
			"send 255, arm main 200ms, INIT to MASTER, take, announce takeover, arm second 5s, notify MASTER"},
		{"reference: 255 with state BACKUP waits the down interval", func(c *Config) { c.Priority = 255 }, nil, Event{Kind: Start},
			"arm main 3.00390625s, INIT to BACKUP, release, notify BACKUP",
			"arm main 600.78125ms, INIT to BACKUP, release, notify BACKUP"},
		{"down_timer_adverts instead of 3", func(c *Config) { c.DownAdverts = 5 }, nil, Event{Kind: Start},
			"arm main 5.609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 1.121875s, INIT to BACKUP, release, notify BACKUP"},
		{"the lowest priority has the longest skew", func(c *Config) { c.Priority = 1 }, nil, Event{Kind: Start},
			"arm main 3.99609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 799.21875ms, INIT to BACKUP, release, notify BACKUP"},
		{"nopreempt does not matter at the start", noPreempt, nil, Event{Kind: Start},
			"arm main 3.609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 721.875ms, INIT to BACKUP, release, notify BACKUP"},
		{"preempt_delay does not matter at the start", delayed, nil, Event{Kind: Start},
			"arm main 3.609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 721.875ms, INIT to BACKUP, release, notify BACKUP"},
		{"reference: something that is missing means FAULT", nil, []Event{{Kind: Failed}}, Event{Kind: Start},
			"INIT to FAULT, release, notify FAULT",
			"INIT to FAULT, release, notify FAULT"},
		{"an owner with a fault waits in FAULT, too", owner, []Event{{Kind: Failed}}, Event{Kind: Start},
			"INIT to FAULT, release, notify FAULT",
			"INIT to FAULT, release, notify FAULT"},
		{"a fault that ended before the start", nil, []Event{{Kind: Failed}, {Kind: Recovered}}, Event{Kind: Start},
			"arm main 3.609375s, INIT to BACKUP, release, notify BACKUP",
			"arm main 721.875ms, INIT to BACKUP, release, notify BACKUP"},
		{"the master that a predecessor was goes on", nil, nil, Event{Kind: Resume},
			"send 100, arm main 1s, INIT to MASTER, take, announce takeover, arm second 5s, notify MASTER",
			"send 100, arm main 200ms, INIT to MASTER, take, announce takeover, arm second 5s, notify MASTER"},
		{"but not with a fault", nil, []Event{{Kind: Failed}}, Event{Kind: Resume},
			"INIT to FAULT, release, notify FAULT",
			"INIT to FAULT, release, notify FAULT"},
		{"adverts are not heard", nil, nil, advert(150, highAddr), "", ""},
		{"nor resignations", nil, nil, advert(0, highAddr), "", ""},
		{"no timer runs", nil, nil, Event{Kind: Due}, "", ""},
		{"no second burst", nil, nil, Event{Kind: AnnounceDue}, "", ""},
		{"no refresh", nil, nil, Event{Kind: RefreshDue}, "", ""},
		{"nothing elsewhere", nil, nil, Event{Kind: ExtraDue}, "", ""},
		{"a fault is remembered", nil, nil, Event{Kind: Failed}, "", ""},
		{"the end of one, too", nil, []Event{{Kind: Failed}}, Event{Kind: Recovered}, "", ""},
		{"a priority is remembered", nil, nil, Event{Kind: NewPriority, Prio: 50}, "", ""},
		{"and counts at the start", nil, []Event{{Kind: NewPriority, Prio: 50}}, Event{Kind: Start},
			"arm main 3.8046875s, INIT to BACKUP, release, notify BACKUP",
			"arm main 760.9375ms, INIT to BACKUP, release, notify BACKUP"},
		{"nothing is there to be lost", nil, nil, Event{Kind: AddrLost}, "", ""},
		{"6.4.1 knows no shutdown before the start", nil, nil, Event{Kind: Stop}, "", ""},
	},
	Backup: {
		{"a second start is none", nil, nil, Event{Kind: Start}, "", ""},
		{"nor is a resumption", nil, nil, Event{Kind: Resume}, "", ""},
		{"6.4.2: the down timer: advert, addresses, announcement, advert timer", nil, nil, Event{Kind: Due}, lead2, lead3},
		{"the down timer under nopreempt", noPreempt, nil, Event{Kind: Due}, lead2, lead3},
		{"the down timer under preempt_delay", delayed, nil, Event{Kind: Due}, lead2, lead3},
		{"an owner that started as backup leads with 255", func(c *Config) { c.Priority = 255 }, nil, Event{Kind: Due},
			"send 255, arm main 1s, BACKUP to MASTER, take, announce takeover, arm second 5s, notify MASTER",
			"send 255, arm main 200ms, BACKUP to MASTER, take, announce takeover, arm second 5s, notify MASTER"},
		{"no second burst where it is off, refreshes begin after it", func(c *Config) { c.AnnounceDelay, c.Refresh, c.Extra = 0, 30*time.Second, 7*time.Second }, nil, Event{Kind: Due},
			"send 100, arm main 1s, BACKUP to MASTER, take, announce takeover, arm refresh 30s, arm extra 7s, notify MASTER",
			"send 100, arm main 200ms, BACKUP to MASTER, take, announce takeover, arm refresh 30s, arm extra 7s, notify MASTER"},
		{"the down timer noticed late, by less than the down interval", nil, nil, Event{Kind: Due, Late: 700 * ms}, lead2, lead3},
		{"noticed later than that nothing is known about the master: listen once more", nil, nil, Event{Kind: Due, Late: 3700 * ms},
			"arm main 3.609375s",
			"arm main 721.875ms"},
		{"6.4.2: priority 0 leaves the skew", nil, nil, advert(0, highAddr),
			"arm main 609.375ms",
			"arm main 121.875ms"},
		{"priority 0 from a lower address", nil, nil, advert(0, lowAddr),
			"arm main 609.375ms",
			"arm main 121.875ms"},
		{"priority 0 under nopreempt", noPreempt, nil, advert(0, highAddr),
			"arm main 609.375ms",
			"arm main 121.875ms"},
		{"priority 0 under preempt_delay", delayed, nil, advert(0, highAddr),
			"arm main 609.375ms",
			"arm main 121.875ms"},
		{"9568 6.1: the skew after priority 0 is that of the master that resigned", nil, []Event{advert(150, highAddr)}, advert(0, highAddr),
			"arm main 609.375ms",
			"arm main 304.6875ms"},
		{"6.4.2: a higher priority restarts the down timer, in version 3 with the interval of the advert", nil, nil, advert(150, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"the highest", nil, nil, advert(255, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"6.4.2: an equal priority too, from a higher address", nil, nil, advert(100, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"and from a lower one: the address decides between masters only", nil, nil, advert(100, lowAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"6.4.2: a lower priority is discarded if Preempt_Mode is true", nil, nil, advert(50, highAddr), "", ""},
		{"and does not teach its interval", nil, []Event{advert(50, highAddr)}, advert(150, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"one below is lower", nil, nil, advert(99, highAddr), "", ""},
		{"6.4.2: with Preempt_Mode false a lower priority restarts the timer", noPreempt, nil, advert(50, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"the lowest", noPreempt, nil, advert(1, lowAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"reference: preempt_delay begins with the first lower priority, which is respected", delayed, nil, advert(50, highAddr),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"during it", delayed, []Event{advert(50, highAddr)}, at(2900*ms, advert(50, highAddr)),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"after it the rest of the down timer runs", delayed, []Event{advert(50, highAddr)}, at(3000*ms, advert(50, highAddr)), "", ""},
		{"a better master forgets it", delayed, []Event{advert(50, highAddr), at(1000*ms, advert(150, highAddr))}, at(3100*ms, advert(50, highAddr)),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"a resignation forgets it", delayed, []Event{advert(50, highAddr), at(1000*ms, advert(0, highAddr))}, at(3100*ms, advert(50, highAddr)),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"a first advert is like any other", nil, nil, firstOf(advert(150, highAddr)),
			"arm main 3.609375s",
			"arm main 1.8046875s"},
		{"no second burst", nil, nil, Event{Kind: AnnounceDue}, "", ""},
		{"no refresh", func(c *Config) { c.Refresh = time.Second }, nil, Event{Kind: RefreshDue}, "", ""},
		{"nothing elsewhere", func(c *Config) { c.Extra = time.Second }, nil, Event{Kind: ExtraDue}, "", ""},
		{"reference: FAULT, without a word", nil, nil, Event{Kind: Failed},
			"disarm main, BACKUP to FAULT, notify FAULT",
			"disarm main, BACKUP to FAULT, notify FAULT"},
		{"what was learnt is forgotten in FAULT", nil, []Event{advert(150, highAddr), {Kind: Failed}}, Event{Kind: Recovered},
			"arm main 3.609375s, FAULT to BACKUP, notify BACKUP",
			"arm main 721.875ms, FAULT to BACKUP, notify BACKUP"},
		{"there is no fault", nil, nil, Event{Kind: Recovered}, "", ""},
		{"reference: a changed priority moves the end of the timer", nil, nil, Event{Kind: NewPriority, Prio: 200}, "shift main by -390.625ms", "shift main by -78.125ms"},
		{"it decides who is better from then on", nil, []Event{{Kind: NewPriority, Prio: 200}}, advert(150, highAddr), "", ""},
		{"and makes the skew", nil, []Event{{Kind: NewPriority, Prio: 200}}, advert(250, highAddr),
			"arm main 3.21875s",
			"arm main 1.609375s"},
		{"nothing is there to be lost", nil, nil, Event{Kind: AddrLost}, "", ""},
		{"6.4.2: shutdown cancels the timer", nil, nil, Event{Kind: Stop},
			"disarm all, release, notify INIT",
			"disarm all, release, notify INIT"},
	},
	Master: {
		{"a second start is none", nil, nil, Event{Kind: Start}, "", ""},
		{"nor is a resumption", nil, nil, Event{Kind: Resume}, "", ""},
		{"6.4.3: the advert timer", nil, nil, Event{Kind: Due},
			"send 100, arm main 1s",
			"send 100, arm main 200ms"},
		{"what waking up takes does not move the beat", nil, nil, Event{Kind: Due, Late: 150 * time.Microsecond},
			"send 100, arm main 999.85ms",
			"send 100, arm main 199.85ms"},
		{"6.4.3: after a late one the timer is set to an interval, but for that", nil, nil, Event{Kind: Due, Late: 150 * ms},
			"send 100, arm main 999.8ms",
			"send 100, arm main 199.8ms"},
		{"after more than an interval, too: what was missed is not sent", nil, nil, Event{Kind: Due, Late: 450 * ms},
			"send 100, arm main 999.8ms",
			"send 100, arm main 199.8ms"},
		{"later than the down interval: step down first, then look", nil, nil, Event{Kind: Due, Late: 3700 * ms},
			toBackup2,
			"disarm all, arm main 721.875ms, MASTER to BACKUP, release, notify BACKUP"},
		{"an owner, too", owner, nil, Event{Kind: Due, Late: 3700 * ms},
			"disarm all, arm main 3.00390625s, MASTER to BACKUP, release, notify BACKUP",
			"disarm all, arm main 600.78125ms, MASTER to BACKUP, release, notify BACKUP"},
		{"timer_expired_backup counts with the best of the others", func(c *Config) { c.TimerExpiredBackup, c.TimerExpiredPrio = true, 200 }, nil, Event{Kind: Due, Late: 2220 * ms},
			toBackup2,
			"disarm all, arm main 721.875ms, MASTER to BACKUP, release, notify BACKUP"},
		{"the own priority is in the advert, as tracking has it now", nil, []Event{{Kind: NewPriority, Prio: 70}}, Event{Kind: Due},
			"send 70, arm main 1s",
			"send 70, arm main 200ms"},
		{"the own interval counts, whatever was learnt before", nil, nil, Event{Kind: Due},
			"send 100, arm main 1s",
			"send 100, arm main 200ms"},
		{"6.4.3: priority 0 is answered and restarts the timer", nil, nil, advert(0, highAddr),
			"send 100, arm main 1s",
			"send 100, arm main 200ms"},
		{"without an announcement, from a lower address too", nil, nil, advert(0, lowAddr),
			"send 100, arm main 1s",
			"send 100, arm main 200ms"},
		{"an owner answers it", owner, nil, advert(0, highAddr),
			"send 255, arm main 1s",
			"send 255, arm main 200ms"},
		{"6.4.3: a higher priority makes a backup; in version 3 with the interval of the advert", nil, nil, advert(150, lowAddr), toBackup2, toBackup3},
		{"one above is higher", nil, nil, advert(101, lowAddr), toBackup2, toBackup3},
		{"nopreempt of the loser does not matter", noPreempt, nil, advert(150, lowAddr), toBackup2, toBackup3},
		{"nor does preempt_delay", delayed, nil, advert(150, lowAddr), toBackup2, toBackup3},
		{"higher_prio_send_advert says so before", func(c *Config) { c.HigherPrioSendAdvert = true }, nil, advert(150, lowAddr),
			"send 100, " + toBackup2,
			"send 100, " + toBackup3},
		{"here: the last word is the default of the engine", func(c *Config) { c.LastWord = true }, nil, advert(150, lowAddr),
			"send 100, " + toBackup2,
			"send 100, " + toBackup3},
		{"here: it is not said to one that speaks for the first time", func(c *Config) { c.LastWord = true }, nil, firstOf(advert(150, lowAddr)), toBackup2, toBackup3},
		{"higher_prio_send_advert says it to everybody", func(c *Config) { c.HigherPrioSendAdvert = true }, nil, firstOf(advert(150, lowAddr)),
			"send 100, " + toBackup2,
			"send 100, " + toBackup3},
		{"6.4.3: an equal priority from a higher address makes a backup", nil, nil, advert(100, highAddr), toBackup2, toBackup3},
		{"6.4.3 discards an equal priority from a lower address; reference: like a lower priority", nil, nil, advert(100, lowAddr),
			"send 100, arm main 1s, announce lower, arm second 5s, notify lower",
			"send 100, arm main 200ms, announce lower, arm second 5s, notify lower"},
		{"6.4.3 discards a lower priority; reference: it is answered with an advert and announcements", nil, nil, advert(50, highAddr),
			"send 100, arm main 1s, announce lower, arm second 5s, notify lower",
			"send 100, arm main 200ms, announce lower, arm second 5s, notify lower"},
		{"lower_prio_no_advert: as 9568 6.4.3 has it, but for the announcements", func(c *Config) { c.LowerPrioNoAdvert = true }, nil, advert(50, highAddr),
			"announce lower, arm second 5s, notify lower",
			"announce lower, arm second 5s, notify lower"},
		{"strict mode: discarded", func(c *Config) { c.LowerPrioNoAdvert, c.NoLower = true, true }, nil, advert(50, highAddr),
			"notify lower",
			"notify lower"},
		{"garp_lower_prio_delay 0: one burst", func(c *Config) { c.LowerDelay = 0 }, nil, advert(50, highAddr),
			"send 100, arm main 1s, announce lower, notify lower",
			"send 100, arm main 200ms, announce lower, notify lower"},
		{"a lowered priority loses", nil, []Event{{Kind: NewPriority, Prio: 70}}, advert(100, lowAddr),
			"disarm all, arm main 3.7265625s, MASTER to BACKUP, release, notify BACKUP",
			"disarm all, arm main 1.86328125s, MASTER to BACKUP, release, notify BACKUP"},
		{"an owner hears a lower priority", owner, nil, advert(254, highAddr),
			"send 255, arm main 1s, announce lower, arm second 5s, notify lower",
			"send 255, arm main 200ms, announce lower, arm second 5s, notify lower"},
		{"two owners: the lower address gives way", owner, nil, advert(255, highAddr),
			"disarm all, arm main 3.00390625s, MASTER to BACKUP, release, notify BACKUP",
			"disarm all, arm main 1.501953125s, MASTER to BACKUP, release, notify BACKUP"},
		{"two owners: the higher address stays", owner, nil, advert(255, lowAddr),
			"send 255, arm main 1s, announce lower, arm second 5s, notify lower",
			"send 255, arm main 200ms, announce lower, arm second 5s, notify lower"},
		{"owner_ignore_adverts", ownerIgnores, nil, advert(255, highAddr), "", ""},
		{"owner_ignore_adverts at a resignation", ownerIgnores, nil, advert(0, highAddr), "", ""},
		{"reference: the second burst", nil, nil, Event{Kind: AnnounceDue},
			"announce again",
			"announce again"},
		{"that after a lower priority", nil, []Event{advert(50, highAddr)}, Event{Kind: AnnounceDue},
			"announce lower again",
			"announce lower again"},
		{"a refresh arms the next", func(c *Config) { c.Refresh = 30 * time.Second }, nil, Event{Kind: RefreshDue},
			"announce refresh, arm refresh 30s",
			"announce refresh, arm refresh 30s"},
		{"one that was configured away", nil, nil, Event{Kind: RefreshDue}, "", ""},
		{"elsewhere arms the next", func(c *Config) { c.Extra = 7 * time.Second }, nil, Event{Kind: ExtraDue},
			"announce elsewhere, arm extra 7s",
			"announce elsewhere, arm extra 7s"},
		{"elsewhere that was configured away", nil, nil, Event{Kind: ExtraDue}, "", ""},
		{"reference: FAULT resigns twice", nil, nil, Event{Kind: Failed},
			"send 0, send 0, disarm all, MASTER to FAULT, release, notify FAULT",
			"send 0, send 0, disarm all, MASTER to FAULT, release, notify FAULT"},
		{"an owner in FAULT, too", owner, nil, Event{Kind: Failed},
			"send 0, send 0, disarm all, MASTER to FAULT, release, notify FAULT",
			"send 0, send 0, disarm all, MASTER to FAULT, release, notify FAULT"},
		{"there is no fault", nil, nil, Event{Kind: Recovered}, "", ""},
		{"a changed priority waits for the next advert", nil, nil, Event{Kind: NewPriority, Prio: 50}, "", ""},
		{"reference: a lost address resigns and waits the down interval", nil, nil, Event{Kind: AddrLost},
			"send 0, " + toBackup2,
			"send 0, disarm all, arm main 721.875ms, MASTER to BACKUP, release, notify BACKUP"},
		{"6.4.3: shutdown cancels the timer and sends priority 0; the advert leaves before the addresses go", nil, nil, Event{Kind: Stop},
			"send 0, disarm all, release, notify INIT",
			"send 0, disarm all, release, notify INIT"},
		{"an owner, too", owner, nil, Event{Kind: Stop},
			"send 0, disarm all, release, notify INIT",
			"send 0, disarm all, release, notify INIT"},
	},
	Fault: {
		{"a second start is none", nil, nil, Event{Kind: Start}, "", ""},
		{"nor is a resumption", nil, nil, Event{Kind: Resume}, "", ""},
		{"adverts are not heard", nil, nil, advert(150, highAddr), "", ""},
		{"nor lower ones", nil, nil, advert(50, highAddr), "", ""},
		{"nor resignations", nil, nil, advert(0, highAddr), "", ""},
		{"no timer runs", nil, nil, Event{Kind: Due}, "", ""},
		{"no second burst", nil, nil, Event{Kind: AnnounceDue}, "", ""},
		{"no refresh", func(c *Config) { c.Refresh = time.Second }, nil, Event{Kind: RefreshDue}, "", ""},
		{"nothing elsewhere", func(c *Config) { c.Extra = time.Second }, nil, Event{Kind: ExtraDue}, "", ""},
		{"a further fault", nil, nil, Event{Kind: Failed}, "", ""},
		{"reference: the end of the fault is BACKUP for the down interval", nil, nil, Event{Kind: Recovered},
			"arm main 3.609375s, FAULT to BACKUP, notify BACKUP",
			"arm main 721.875ms, FAULT to BACKUP, notify BACKUP"},
		{"for an owner, too", owner, nil, Event{Kind: Recovered},
			"arm main 3.00390625s, FAULT to BACKUP, notify BACKUP",
			"arm main 600.78125ms, FAULT to BACKUP, notify BACKUP"},
		{"a priority is remembered", nil, nil, Event{Kind: NewPriority, Prio: 200}, "", ""},
		{"and makes the skew afterwards", nil, []Event{{Kind: NewPriority, Prio: 200}}, Event{Kind: Recovered},
			"arm main 3.21875s, FAULT to BACKUP, notify BACKUP",
			"arm main 643.75ms, FAULT to BACKUP, notify BACKUP"},
		{"nothing is there to be lost", nil, nil, Event{Kind: AddrLost}, "", ""},
		{"shutdown is silent", nil, nil, Event{Kind: Stop},
			"disarm all, release, notify INIT",
			"disarm all, release, notify INIT"},
	},
}

func TestEveryEventInEveryState(t *testing.T) {
	for state := Init; state <= Fault; state++ {
		seen := map[EventKind]bool{}
		for _, c := range rfcCases[state] {
			seen[c.ev.Kind] = true
			for version, want := range map[int]string{2: c.v2, 3: c.v3} {
				t.Run(fmt.Sprintf("%s, version %d: %s", state, version, c.rule), func(t *testing.T) {
					m := inState(state, rfcConfig(version, c.change))
					if m.State() != state {
						t.Fatalf("the machine is in %s", m.State())
					}
					for _, ev := range c.before {
						if ev.Now.IsZero() {
							ev.Now = epoch
						}
						m.Step(ev, nil)
					}
					ev := c.ev
					if ev.Now.IsZero() {
						ev.Now = epoch
					}
					if got := words(m.Step(ev, nil)); got != want {
						t.Errorf("\ngot  %s\nwant %s", got, want)
					}
				})
			}
		}
		for k := Start; k <= Stop; k++ {
			if !seen[k] {
				t.Errorf("event %d in %s has no row", k, state)
			}
		}
	}
}

// TestSkewAndDownInterval: RFC 3768 §6.1 and RFC 9568 §6.1 for every priority, exactly. Neither is rounded to the unit of the version.
func TestSkewAndDownInterval(t *testing.T) {
	for prio := 1; prio <= 255; prio++ {
		for _, every := range []time.Duration{10 * ms, 100 * ms, time.Second, 40950 * ms} {
			for _, n := range []int{0, 1, 3, 100} {
				count := time.Duration(n)
				if n == 0 {
					count = 3
				}
				v2 := New(0, Config{Version: 2, Priority: uint8(prio), Interval: time.Second, DownAdverts: n})
				v3 := New(0, Config{Version: 3, Priority: uint8(prio), Interval: every, DownAdverts: n})
				for _, x := range []struct {
					name      string
					got, want time.Duration
				}{
					{"skew of version 2", v2.Skew(), time.Second * time.Duration(256-prio) / 256},
					{"down interval of version 2", v2.DownInterval(), count*time.Second + time.Second*time.Duration(256-prio)/256},
					{"skew of version 3", v3.Skew(), every * time.Duration(256-prio) / 256},
					{"down interval of version 3", v3.DownInterval(), count*every + every*time.Duration(256-prio)/256},
				} {
					if x.got != x.want {
						t.Errorf("priority %d, %s, %d adverts: %s %s, want %s", prio, every, n, x.name, x.got, x.want)
					}
				}
			}
		}
	}
	for prio, want := range map[uint8]time.Duration{1: 996093750, 50: 804687500, 100: 609375000, 254: 7812500, 255: 3906250} {
		if got := New(0, Config{Version: 2, Priority: prio, Interval: time.Second}).Skew(); got != want {
			t.Errorf("priority %d: %s, want %s", prio, got, want)
		}
	}
}
