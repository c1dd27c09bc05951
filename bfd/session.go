package bfd

import "time"

// slowTx is the least interval of a session that is not up (RFC 5880 §6.8.3).
const slowTx = time.Second

// session is the state machine of RFC 5880 §6.8 in asynchronous mode, without echo and authentication. It is pure: it is told the time and
// leaves packets and changes for its owner.
type session struct {
	cfg   *Config
	state State
	diag  Diag
	// mine and yours are the discriminators; yours is 0 while unknown.
	mine, yours uint32

	// desiredTx and requiredRx are what packets say, activeTx and activeRx what counts until a poll has made the other side agree.
	desiredTx, requiredRx time.Duration
	activeTx, activeRx    time.Duration
	polling               bool

	remoteState        State
	remoteDiag         Diag
	remoteTx, remoteRx time.Duration
	remoteMult         uint8
	remoteDemand       bool
	// random is uniform in [0,1) for the jitter.
	random func() float64

	sendAt   time.Time // zero: not
	expireAt time.Time // zero: not
	lastSeen time.Time
	since    time.Time

	out outcome
}

// outcome is what an event asks the owner to do.
type outcome struct {
	packets []Packet
	// change is set when the state went from from to the present one.
	change  bool
	from    State
	overdue time.Duration // of an expiry
	detect  time.Duration // the detection time that expired
}

// newSession begins in state Down.
func newSession(cfg *Config, discr uint32, random func() float64, now time.Time) *session {
	s := &session{cfg: cfg, state: Down, remoteState: Down, mine: discr, remoteRx: time.Microsecond, random: random, since: now}
	s.desiredTx, s.requiredRx = s.idle(), cfg.MinRx
	s.activeTx, s.activeRx = s.desiredTx, s.requiredRx
	if !cfg.Passive {
		s.sendAt = now
	}
	return s
}

func (s *session) idle() time.Duration { return max(s.cfg.IdleTx, slowTx) }

// take returns and clears what is to be done.
func (s *session) take() outcome {
	o := s.out
	s.out = outcome{}
	return o
}

// next is the time of the next timer, zero if none is set.
func (s *session) next() time.Time {
	if s.sendAt.IsZero() || !s.expireAt.IsZero() && s.expireAt.Before(s.sendAt) {
		return s.expireAt
	}
	return s.sendAt
}

// detectTime is §6.8.4: the other side's multiplier times the slower of what we take and what it sends.
func (s *session) detectTime() time.Duration {
	return time.Duration(s.remoteMult) * max(s.activeRx, s.remoteTx)
}

// txInterval is §6.8.2 without jitter; zero: nothing may be sent periodically.
func (s *session) txInterval() time.Duration {
	switch {
	case s.remoteRx == 0, s.cfg.Passive && s.yours == 0:
		return 0
	case s.remoteDemand && s.state == Up && s.remoteState == Up && !s.polling:
		return 0
	}
	return max(s.activeTx, s.remoteRx)
}

// arm sets the time of the next packet, counted from now, with the jitter of §6.8.7: up to a quarter less, and never more than 90 % with a
// multiplier of 1.
func (s *session) arm(now time.Time) {
	d := s.txInterval()
	if d == 0 {
		s.sendAt = time.Time{}
		return
	}
	share := 0.75 + 0.25*s.random()
	if s.cfg.Multiplier == 1 {
		share = 0.75 + 0.15*s.random()
	}
	s.sendAt = now.Add(time.Duration(float64(d) * share))
}

// hurry arms again where the interval became shorter than what is left, or sending is possible only now.
func (s *session) hurry(now time.Time) {
	d := s.txInterval()
	if d == 0 {
		s.sendAt = time.Time{}
	} else if s.sendAt.IsZero() || s.sendAt.Sub(now) > d {
		s.arm(now)
	}
}

func (s *session) packet(final bool) Packet {
	return Packet{Diag: s.diag, State: s.state, Poll: s.polling && !final, Final: final, DetectMult: s.cfg.Multiplier, MyDiscr: s.mine, YourDiscr: s.yours,
		DesiredTx: s.desiredTx, RequiredRx: s.requiredRx, ControlIndependent: true}
}

// send leaves a packet for the owner.
func (s *session) send(final bool) { s.out.packets = append(s.out.packets, s.packet(final)) }

// enter changes the state and tells the other side at once (§6.8.7).
func (s *session) enter(st State, d Diag, now time.Time) {
	if s.state == st {
		return
	}
	if !s.out.change {
		s.out.change, s.out.from = true, s.state
	}
	s.state, s.diag, s.since = st, d, now
	tx := s.idle()
	if st == Up {
		tx = s.cfg.MinTx
	}
	s.propose(tx, s.cfg.MinRx)
	if s.txInterval() > 0 {
		s.send(false)
	}
	s.arm(now)
}

// propose sets the intervals of packets. While up a change is polled; a longer own interval and a shorter wait count only after that (§6.8.3).
func (s *session) propose(tx, rx time.Duration) {
	if tx == s.desiredTx && rx == s.requiredRx {
		if s.state != Up {
			s.polling = false
			s.agree()
		}
		return
	}
	s.desiredTx, s.requiredRx = tx, rx
	if s.state != Up {
		s.polling = false
		s.agree()
		return
	}
	s.polling = true
	s.activeTx = min(s.activeTx, tx)
	s.activeRx = max(s.activeRx, rx)
}

func (s *session) agree() { s.activeTx, s.activeRx = s.desiredTx, s.requiredRx }

// receive takes a packet that belongs to the session (§6.8.6).
func (s *session) receive(p *Packet, now time.Time) {
	s.yours, s.remoteState, s.remoteDiag, s.remoteDemand = p.MyDiscr, p.State, p.Diag, p.Demand
	s.remoteRx, s.remoteTx, s.remoteMult = p.RequiredRx, p.DesiredTx, p.DetectMult
	s.lastSeen = now
	if s.polling && p.Final {
		s.polling = false
		s.agree()
	}
	if s.state == AdminDown {
		return
	}
	switch {
	case p.State == AdminDown:
		if s.state != Down {
			s.enter(Down, DiagSignaled, now)
		}
	case s.state == Down && p.State == Down:
		s.enter(Init, DiagNone, now)
	case s.state == Down && p.State == Init, s.state == Init && p.State >= Init:
		s.enter(Up, DiagNone, now)
	case s.state == Up && p.State == Down:
		s.enter(Down, DiagSignaled, now)
	}
	s.expireAt = now.Add(s.detectTime())
	s.hurry(now)
	if p.Poll {
		s.send(true)
	}
}

// tick does what is due.
func (s *session) tick(now time.Time) {
	if !s.expireAt.IsZero() && !now.Before(s.expireAt) {
		s.out.overdue, s.out.detect = now.Sub(s.expireAt), s.detectTime()
		s.expireAt = time.Time{}
		s.yours, s.remoteState, s.remoteDemand, s.remoteRx = 0, Down, false, time.Microsecond
		if s.state == Init || s.state == Up {
			s.enter(Down, DiagExpired, now)
		}
		s.hurry(now)
	}
	if !s.sendAt.IsZero() && !now.Before(s.sendAt) {
		s.send(false)
		s.arm(now)
	}
}

// reconfigure goes over to other intervals without a change of state.
func (s *session) reconfigure(cfg *Config, now time.Time) {
	s.cfg = cfg
	tx := s.idle()
	if s.state == Up {
		tx = cfg.MinTx
	}
	s.propose(tx, cfg.MinRx)
	if !s.expireAt.IsZero() {
		s.expireAt = s.lastSeen.Add(max(s.detectTime(), now.Sub(s.lastSeen)))
	}
	s.hurry(now)
}

// stop says goodbye: the other side need not wait for the detection time.
func (s *session) stop(now time.Time) {
	if s.yours != 0 {
		s.enter(AdminDown, DiagAdminDown, now)
	}
	s.state, s.sendAt, s.expireAt = AdminDown, time.Time{}, time.Time{}
}
