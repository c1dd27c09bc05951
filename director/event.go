package director

import (
	"time"

	"releve/healthcheck"
	"releve/script"
)

// EventKind says what an Event is about.
type EventKind uint8

// Kinds of events.
const (
	// RealServerEvent: a real server was put in or taken out; script and fifo line.
	RealServerEvent EventKind = iota + 1
	// VirtualServerEvent: the quorum of a virtual server was gained or lost; script, fifo line and mail.
	VirtualServerEvent
	// CheckerEvent: one checker changed its verdict; mail only.
	CheckerEvent
)

// Event is something to be told to scripts, fifos and mail. Events come in the order in which the reference reports them, each
// after the table change it speaks of was written.
type Event struct {
	Kind EventKind
	// VS and RS are the names used in fifo lines: "[10.2.0.1]:tcp:80". RS is empty for a VirtualServerEvent.
	VS, RS string
	Up     bool
	// Script is notify_up, notify_down, quorum_up or quorum_down; nil without. It gets no words but its own.
	Script *script.Command
	// Fifo asks for a line in the fifos; a CheckerEvent has none.
	Fifo bool
	// Mail asks for a mail, Body is its text without the arrows, as "TCP CHECK failed on service".
	Mail bool
	Body string
	// Reason is the checker's own words, empty where no checker was the cause.
	Reason string
}

// FifoLine is the text of the reference's notify fifos, without line end: "VS [10.2.0.1]:tcp:80 UP" or
// "RS [10.1.0.1]:tcp:80 [10.2.0.1]:tcp:80 DOWN". It is empty for events that have none.
func (e *Event) FifoLine() string {
	if !e.Fifo {
		return ""
	}
	if e.Kind == VirtualServerEvent {
		return "VS " + e.VS + " " + updown(e.Up)
	}
	return "RS " + e.RS + " " + e.VS + " " + updown(e.Up)
}

// MailSubject is the subject as the reference has it, without the router id in front.
func (e *Event) MailSubject() string {
	if e.Kind == VirtualServerEvent {
		return "Virtualserver " + e.VS + " - " + updown(e.Up)
	}
	return "Realserver " + e.RS + " of virtual server " + e.VS + " - " + updown(e.Up)
}

func updown(up bool) string {
	if up {
		return "UP"
	}
	return "DOWN"
}

// mailBody is the reference's text for a checker's change of state.
func mailBody(c *healthcheck.Config, up bool) string {
	word := "failed"
	if up {
		word = "succeed"
	}
	switch c.Type {
	case healthcheck.TypeTCP:
		return "TCP CHECK " + word + " on service"
	case healthcheck.TypeUDP:
		return "UDP CHECK " + word + " on service"
	case healthcheck.TypePing:
		return "ICMP CHECK " + word + " on service"
	case healthcheck.TypeDNS:
		return "DNS_CHECK: " + word + " on service"
	case healthcheck.TypeHTTP, healthcheck.TypeSSL:
		if up {
			return "CHECK succeed on service"
		}
		return "CHECK failed on service : HTTP/SSL request failed"
	case healthcheck.TypeMisc:
		if up {
			word = "succeeded"
		}
		return "MISC CHECK " + word + " on service"
	case healthcheck.TypeBFD:
		return "BFD CHECK " + c.BFD + " " + word + " on service"
	}
	return "CHECK " + word + " on service"
}

// checkState is what a pool knows of one checker.
type checkState struct {
	cfg *healthcheck.Config
	up  bool
	// ran is set by the first verdict.
	ran bool
	// diff is the checker's share in the dynamic weight, a difference to the configured one; or, if absolute is set
	// (misc_dynamic), the weight it wants.
	diff     int
	absolute bool
	// next is the same checker after a reload.
	next    *checkState
	reason  string
	at      time.Time
	latency time.Duration
	changes uint64
}
