// Package machine decides for VRRP instances and sync groups: an event and a time go in, actions come out, in the order in which
// they have to be carried out. No socket, no clock, no goroutine. The rules are RFC 3768 §6.4 for version 2 and RFC 9568 §6.4 for
// version 3; where keepalived departs from them so does this, and the place says so.
package machine

import (
	"net/netip"
	"time"
)

// State of an instance or group (RFC 9568 §6.3, and FAULT of the reference), numbered as in keepalived.json.
type State uint8

// States.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String gives the reference's words.
func (s State) String() string { return [...]string{"INIT", "BACKUP", "MASTER", "FAULT"}[s&3] }

// Config is what the decisions of one instance depend on.
type Config struct {
	Version int // 2 or 3
	// Interval is the own advert interval.
	Interval time.Duration
	// DownAdverts is down_timer_adverts: how many silent intervals make a master dead. The RFCs know only 3, which zero means.
	DownAdverts  int
	PreemptDelay time.Duration
	// TimerExpiredPrio is the highest priority that another router may have, for TimerExpiredBackup; zero: 254.
	TimerExpiredPrio int

	// Addr is the own primary address, which decides between two masters of equal priority.
	Addr netip.Addr

	// AnnounceDelay is the time from becoming master to the second burst of announcements; zero: no second burst. The same for
	// LowerDelay after an advert of lower priority, where NoLower forbids announcements altogether.
	AnnounceDelay, LowerDelay time.Duration
	// Refresh announces every so often, first at AnnounceDelay + Refresh; zero: never.
	Refresh time.Duration
	// Extra announces the addresses on other interfaces every so often (garp_extra_if); zero: never.
	Extra time.Duration

	Priority uint8 // 1..255, before tracking
	// StartMaster starts as master without waiting. The reference does so only for the address owner (priority 255).
	StartMaster bool
	NoPreempt   bool

	LowerPrioNoAdvert    bool
	HigherPrioSendAdvert bool
	// LastWord makes a master that gives way to another master say so by an advert of its own priority, as HigherPrioSendAdvert does,
	// unless the other's advert is its first: of two masters that meet, as after a healed partition, the better one may be the first
	// to speak, and would never learn that there was another one whose hosts have to be told of it.
	LastWord           bool
	OwnerIgnoreAdverts bool
	TimerExpiredBackup bool
	NoLower            bool
}

// Machine is one instance. It is made by New and used by one goroutine.
type Machine struct {
	ID  int // the owner's index, carried in actions
	cfg Config
	// heard is Master_Adver_Interval (RFC 9568 §6.1): that of the master last heard.
	heard time.Duration
	// preemptAt is when preempt_delay ends; zero: not begun.
	preemptAt time.Time
	group     *Group
	state     State
	prio      uint8
	wants     bool // would be master if the group let it
	fault     bool
	garpLower bool // the pending second burst follows a lower priority advert
	spread    bool // its beat is where it belongs, see Share
}

// Group is a vrrp_sync_group: its members change state together.
type Group struct {
	ID      int
	Members []*Machine
	state   State
	owes    bool // the word that it begins in FAULT, which follows that of its last member
}

// New makes an instance in state INIT.
func New(id int, cfg Config) *Machine {
	return &Machine{ID: id, cfg: cfg, prio: cfg.Priority, heard: cfg.Interval, wants: cfg.StartMaster}
}

// NewGroup ties members together. They must not have started.
func NewGroup(id int, members ...*Machine) *Group {
	g := &Group{ID: id, Members: members}
	for _, m := range members {
		m.group = g
	}
	return g
}

// Clone is a machine in the same state, without a group.
func (m *Machine) Clone() *Machine {
	c := *m
	c.group = nil
	return &c
}

// Clone is a group in the same state of the machines that of has for this one's members.
func (g *Group) Clone(of map[*Machine]*Machine) *Group {
	c := &Group{ID: g.ID, state: g.state, owes: g.owes}
	for _, m := range g.Members {
		if o := of[m]; o != nil {
			o.group = c
			c.Members = append(c.Members, o)
		}
	}
	return c
}

// State of the instance.
func (m *Machine) State() State { return m.state }

// Wants is the state that the instance is heading for.
func (m *Machine) Wants() State {
	if m.state != Fault && m.wants {
		return Master
	}
	return m.state
}

// Priority is the effective one, after tracking.
func (m *Machine) Priority() uint8 { return m.prio }

// Config gives the configuration in force.
func (m *Machine) Config() Config { return m.cfg }

// MasterInterval is the interval that the down timer counts with.
func (m *Machine) MasterInterval() time.Duration {
	if m.cfg.Version == 3 {
		return m.heard
	}
	return m.cfg.Interval
}

// Group is the sync group, nil without.
func (m *Machine) Group() *Group { return m.group }

// State of the group.
func (g *Group) State() State { return g.state }

// Skew is Skew_Time: version 2 (256 - priority) / 256 s (RFC 3768 §6.1), version 3 that part of the master's interval (RFC 9568 §6.1).
func (m *Machine) Skew() time.Duration {
	unit := time.Second
	if m.cfg.Version == 3 {
		unit = m.heard
	}
	return time.Duration(256-int(m.prio)) * unit / 256
}

// DownInterval is Master_Down_Interval (Active_Down_Interval of RFC 9568 §6.1).
func (m *Machine) DownInterval() time.Duration {
	n := m.cfg.DownAdverts
	if n == 0 {
		n = 3
	}
	return time.Duration(n)*m.MasterInterval() + m.Skew()
}

// EventKind is what happened.
type EventKind uint8

// Events.
const (
	// Start begins in BACKUP, MASTER or FAULT.
	Start EventKind = iota
	// Resume begins as the master that a predecessor was until it died.
	Resume
	// Heard is an accepted advert: Src, Prio, Interval.
	Heard
	// Due is the main timer, Late behind its time; Share is the instance's in the spread of the masters' beats.
	Due
	// AnnounceDue is the timer of the second burst, RefreshDue that of the refresh.
	AnnounceDue
	RefreshDue
	// ExtraDue is the timer of the announcements on other interfaces.
	ExtraDue
	// Failed and Recovered: something that the instance cannot do without.
	Failed
	Recovered
	// NewPriority is the effective priority Prio.
	NewPriority
	// AddrLost: somebody removed a virtual address.
	AddrLost
	// Stop ends the instance.
	Stop
)

// Event is one input.
type Event struct {
	Kind     EventKind
	Now      time.Time
	Late     time.Duration
	Src      netip.Addr
	Prio     uint8
	Interval time.Duration
	First    bool // Heard: the advert is the first that its sender's instance ever sent
	Share    time.Duration
	Delayed  bool // Start: even an owner waits
}

// ActionKind is what has to be done.
type ActionKind uint8

// Actions.
const (
	// Send one advert with priority Prio.
	Send ActionKind = iota
	// Arm sets timer Timer to go off After from now; Disarm stops it.
	Arm
	Disarm
	// Shift moves a timer that is set by After, which may be negative.
	Shift
	// Enter is a change of state, From to State, to be logged and counted.
	Enter
	// Take and Release the virtual addresses, routes and rules.
	Take
	Release
	// Announce the addresses on the LAN; Burst says on which occasion.
	Announce
	// Notify whoever wants to know that M is in State; NotifyGroup the same for G; NotifyLower MASTER_RX_LOWER_PRI.
	Notify
	NotifyGroup
	NotifyLower
	// Say is a remark for the log.
	Say
)

// Timer names a timer of an instance.
type Timer uint8

// Timers.
const (
	Main Timer = iota
	Second
	Refresh
	Extra
	Timers
)

// Burst is the occasion of an announcement.
type Burst uint8

// Bursts.
const (
	Takeover Burst = iota
	TakeoverSecond
	Lower
	LowerSecond
	Refreshing
	ExtraIf
)

// Remark is the reason of a state change or something worth a line.
type Remark uint8

// Remarks.
const (
	NoRemark Remark = iota
	Starting
	Resuming
	AdvertTimeout
	HigherPrio    // master heard a higher priority
	HigherAddr    // master heard an equal priority from a higher address
	LowerPrio     // master heard a lower priority or address
	LowerPrioSeen // backup heard a lower priority and preempts
	PrioZeroMaster
	PrioZeroBackup
	PreemptDelayed // preempt_delay begins
	GroupWaits     // the timer ran out but another member hears a master
	GroupFollows   // another member of the sync group changed
	Suspended      // the timer was noticed too late to be believed
	FaultSeen
	FaultOver
	AddressGone
	Stopping
)

// Action is one output. Which fields count depends on Kind.
type Action struct {
	Kind        ActionKind
	From, State State
	Prio        uint8
	Timer       Timer
	Burst       Burst
	Why         Remark
	M           *Machine
	G           *Group
	After       time.Duration
	Src         netip.Addr
	Late        time.Duration
}
