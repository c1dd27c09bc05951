package nft

import (
	"fmt"
	"slices"

	"releve/ipvs"
)

// Support says how well this plane does something that IPVS does.
type Support uint8

// Degrees of support.
const (
	Full     Support = iota // as IPVS
	Degraded                // it works, otherwise than in IPVS
	Ignored                 // the setting has no effect
	Refused                 // the service or destination is left out
)

// String gives yes, degraded, ignored, refused.
func (s Support) String() string {
	return [...]string{"yes", "degraded", "ignored", "refused"}[min(s, Refused)]
}

// Features by which limits are reported.
const (
	Protocols    ipvs.Feature = "protocol"
	Families     ipvs.Feature = "family"
	Marks        ipvs.Feature = "fwmark"
	Forwarding   ipvs.Feature = "forwarding"
	Scheduling   ipvs.Feature = "scheduler"
	Weights      ipvs.Feature = "weight"
	SchedFlags   ipvs.Feature = "scheduler-flags"
	Persistence  ipvs.Feature = "persistence"
	Engine       ipvs.Feature = "persistence-engine"
	OnePacket    ipvs.Feature = "one-packet"
	Thresholds   ipvs.Feature = "thresholds"
	Established  ipvs.Feature = "established-connections"
	LocalClients ipvs.Feature = "local-clients"
	Refusal      ipvs.Feature = "no-server"
	Counting     ipvs.Feature = "counters"
	Connections  ipvs.Feature = "connection-counts"
	TimeoutsSet  ipvs.Feature = "timeouts"
	SyncDaemons  ipvs.Feature = "sync-daemon"
)

// Capability is a row of the table of what this plane does of what IPVS does.
type Capability struct {
	Feature ipvs.Feature
	// Setting is how keepalived.conf calls it.
	Setting string
	Support Support
	Text    string
}

// Capabilities is the whole table, for documentation; Check is made from the same facts.
var Capabilities = []Capability{
	{Protocols, "protocol TCP, UDP, SCTP", Full, "any mix of services"},
	{Families, "IPv4 and IPv6", Full, "real servers of the family of their service; mixed families need tunnels and are refused"},
	{Marks, "virtual_server fwmark N", Full, "packets must be marked in prerouting or output before the priority of destination NAT"},
	{Forwarding, "lvs_method NAT", Full, "destination NAT; the client's address is kept, answers must pass through the director"},
	{Forwarding, "lvs_method DR", Refused, "nftables in NAT mode cannot send a packet on unchanged"},
	{Forwarding, "lvs_method TUN", Refused, "nftables in NAT mode cannot encapsulate"},
	{Scheduling, "rr, wrr", Full, "in turn, in the kernel scheduler's order"},
	{Scheduling, "random", Full, "at random by weight; IPVS has no such scheduler"},
	{Scheduling, "twos", Degraded, "at random by weight: the load of two servers is not compared"},
	{Scheduling, "sh, mh, dh", Full, "hash over a Maglev table: a server that comes or goes moves few clients"},
	{Scheduling, "fo", Full, "the greatest weight takes everything"},
	{Scheduling, "lc, nq", Degraded, "connections are not counted when a server is chosen: lc works as rr, nq as wrr"},
	{Scheduling, "wlc, sed, ovf", Degraded, "connections are not counted when a server is chosen: works as wrr"},
	{Scheduling, "lblc, lblcr", Degraded, "works as dh"},
	{SchedFlags, "sh-port, mh-port", Full, "the client's port is hashed too"},
	{SchedFlags, "sh-fallback, mh-fallback", Full, "always on: a server of weight 0 is never chosen"},
	{Weights, "weight 0 to 65535", Full, fmt.Sprintf("0 takes no new connections; weights whose sum, divided by their common divisor, is above %d are rounded", maxSlots)},
	{Persistence, "persistence_timeout", Full, "by client address; the time runs from the client's last new connection, not from the end of its connections"},
	{Persistence, "persistence_granularity", Full, "prefix length or netmask of the client's address"},
	{Engine, "persistence_engine sip", Degraded, "persistence is by client address"},
	{OnePacket, "ops", Degraded, "a UDP flow keeps its server while it goes on"},
	{Thresholds, "uthreshold, lthreshold", Ignored, "connections are not limited"},
	{Established, "change of a weight, of a scheduler, of other servers", Full, "established connections stay where they are"},
	{Established, "removal of a server", Full, "its TCP connections go on as long as it answers (IPVS drops their packets); its UDP flows go to another server at once"},
	{LocalClients, "connections from the director itself", Full, "when the address is local; IPVS also catches those of a backup director to an address it does not hold"},
	{Refusal, "no server left", Full, "ICMP port unreachable"},
	{Counting, "statistics", Full, "connections, packets and bytes by service and server; services by mark or without a port count connections only; no rates"},
	{Connections, "ActiveConn, InActConn", Degraded, fmt.Sprintf("read from connection tracking while it holds at most %d connections, else 0; 0 for services by mark", countLimit)},
	{TimeoutsSet, "lvs_timeouts", Degraded, "sets the timeouts of all tracked connections"},
	{SyncDaemons, "lvs_sync_daemon", Ignored, "connections do not survive the change of the director; conntrackd can do that"},
}

// Check names what this plane cannot do of a service.
func (p *Plane) Check(s *ipvs.Service) []ipvs.Limit { return Check(s) }

// Check names what the nftables plane cannot do of a service; it needs no open Plane.
func Check(s *ipvs.Service) []ipvs.Limit {
	var out []ipvs.Limit
	say := func(f ipvs.Feature, refuse bool, d *ipvs.DestKey, format string, a ...any) {
		out = append(out, ipvs.Limit{Feature: f, Text: "nftables " + fmt.Sprintf(format, a...), Refuse: refuse, Dest: d})
	}
	if err := writable(s.ServiceKey); err != nil {
		say(Protocols, true, nil, "cannot serve %s: %v", serviceText(s.ServiceKey), err)
		return out
	}
	switch s.Scheduler {
	case "rr", "wrr", "random", "sh", "mh", "dh", "fo":
	case "twos":
		say(Scheduling, false, nil, "does not count connections: scheduler twos chooses at random by weight")
	case "lc":
		say(Scheduling, false, nil, "does not count connections: scheduler lc works as rr")
	case "wlc", "sed", "nq", "ovf":
		say(Scheduling, false, nil, "does not count connections: scheduler %s works as wrr", s.Scheduler)
	case "lblc", "lblcr":
		say(Scheduling, false, nil, "does not count connections: scheduler %s works as dh", s.Scheduler)
	default:
		say(Scheduling, false, nil, "does not know scheduler %s: works as wrr", s.Scheduler)
	}
	if c := schedule(s); c.rounded {
		say(Weights, false, nil, "has %d slots at most: weights are rounded", maxSlots)
	}
	if s.Engine != "" {
		say(Engine, false, nil, "has no persistence engine %s: persistence is by client address", s.Engine)
	}
	if s.Flags&ipvs.OnePacket != 0 {
		say(OnePacket, false, nil, "follows connections: one-packet scheduling keeps a flow on its server")
	}
	if slices.ContainsFunc(s.Dests, func(d ipvs.Dest) bool { return d.Upper > 0 || d.Lower > 0 }) {
		say(Thresholds, false, nil, "does not count connections: thresholds are ignored")
	}
	for i := range s.Dests {
		d := &s.Dests[i]
		switch {
		case !d.Addr.IsValid() || familyOf(d.Addr) != s.Family:
			say(Families, true, &d.DestKey, "cannot mix address families: real server %s left out", destText(d.DestKey))
		case d.Forward != ipvs.NAT && d.Forward != ipvs.Local:
			say(Forwarding, true, &d.DestKey, "cannot forward by %s: real server %s left out", forwardWord(d.Forward), destText(d.DestKey))
		}
	}
	return out
}

func serviceText(k ipvs.ServiceKey) string {
	if k.FWMark != 0 {
		return fmt.Sprintf("FWM %d", k.FWMark)
	}
	return fmt.Sprintf("[%v]:%d protocol %d", k.Addr, k.Port, k.Protocol)
}

func destText(d ipvs.DestKey) string { return fmt.Sprintf("[%v]:%d", d.Addr, d.Port) }
