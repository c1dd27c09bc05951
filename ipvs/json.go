package ipvs

import "encoding/json"

// The JSON form of a table, for tools: names in lower case, what is not set left out, counters always there.
type (
	jsonService struct {
		Protocol    string     `json:"protocol,omitempty"`
		Address     string     `json:"address,omitempty"`
		Port        *uint16    `json:"port,omitempty"`
		FWMark      uint32     `json:"fwmark,omitempty"`
		Family      string     `json:"family"`
		Scheduler   string     `json:"scheduler"`
		SchedFlags  string     `json:"scheduler_flags,omitempty"`
		Persistence uint32     `json:"persistence_seconds,omitempty"`
		Granularity uint8      `json:"granularity,omitempty"`
		Engine      string     `json:"persistence_engine,omitempty"`
		OnePacket   bool       `json:"one_packet,omitempty"`
		Stats       jsonStats  `json:"stats"`
		Dests       []jsonDest `json:"destinations"`
		Health      any        `json:"health,omitempty"`
	}
	jsonDest struct {
		Address  string    `json:"address"`
		Port     uint16    `json:"port"`
		Forward  string    `json:"forward"`
		Tunnel   string    `json:"tunnel,omitempty"`
		Weight   int       `json:"weight"`
		Upper    uint32    `json:"upper_threshold,omitempty"`
		Lower    uint32    `json:"lower_threshold,omitempty"`
		Active   uint32    `json:"active"`
		Inactive uint32    `json:"inactive"`
		Persist  uint32    `json:"persistent"`
		Stats    jsonStats `json:"stats"`
		Health   any       `json:"health,omitempty"`
	}
	jsonStats struct {
		Conns    uint64 `json:"connections"`
		InPkts   uint64 `json:"in_packets"`
		OutPkts  uint64 `json:"out_packets"`
		InBytes  uint64 `json:"in_bytes"`
		OutBytes uint64 `json:"out_bytes"`
		CPS      uint64 `json:"connections_per_second"`
		InPPS    uint64 `json:"in_packets_per_second"`
		OutPPS   uint64 `json:"out_packets_per_second"`
		InBPS    uint64 `json:"in_bytes_per_second"`
		OutBPS   uint64 `json:"out_bytes_per_second"`
	}
)

// MarshalJSON writes the services as an array, sorted as List does it.
func (t Table) MarshalJSON() ([]byte, error) { return json.Marshal(Annotated{Table: t}) }

// Annotated is a table whose JSON has under "health" what is known of each entry beside what is in the table.
type Annotated struct {
	Table
	// Health gives it for a service (d is nil) and a destination, nil for nothing.
	Health func(s *Service, d *Dest) any
}

// MarshalJSON writes the services as Table does.
func (t Annotated) MarshalJSON() ([]byte, error) {
	health := t.Health
	if health == nil {
		health = func(*Service, *Dest) any { return nil }
	}
	services := []jsonService{}
	for _, s := range t.Table.Sorted().Services {
		j := jsonService{FWMark: s.FWMark, Family: "ipv4", Scheduler: s.Scheduler, SchedFlags: s.SchedFlags(), OnePacket: s.Flags&OnePacket != 0,
			Stats: jsonStats(s.Stats), Dests: []jsonDest{}, Health: health(&s, nil)}
		if s.Family == IPv6 {
			j.Family = "ipv6"
		}
		if s.FWMark == 0 {
			j.Protocol, j.Address, j.Port = s.Protocol.lower(), s.Addr.String(), &s.Port
		}
		if s.Flags&Persistent != 0 {
			j.Persistence, j.Granularity, j.Engine = s.Seconds(), s.Prefix(), s.Engine
		}
		for i := range s.Dests {
			d := &s.Dests[i]
			jd := jsonDest{Address: d.Addr.String(), Port: d.Port, Forward: d.Forward.lower(), Weight: d.Weight, Upper: d.Upper, Lower: d.Lower,
				Active: d.Active, Inactive: d.Inactive, Persist: d.Persist, Stats: jsonStats(d.Stats), Health: health(&s, d)}
			if d.Forward == TUN {
				jd.Tunnel = d.tunnel()
			}
			j.Dests = append(j.Dests, jd)
		}
		services = append(services, j)
	}
	return json.Marshal(services)
}

func (p Protocol) lower() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return p.String()
}

// lower is the method as a configuration has it.
func (f Forward) lower() string {
	switch f {
	case NAT:
		return "nat"
	case TUN:
		return "tun"
	case DR:
		return "dr"
	case Local:
		return "local"
	}
	return f.String()
}
