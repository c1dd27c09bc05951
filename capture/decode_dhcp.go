package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// DHCP is a message of DHCP (RFC 2131).
type DHCP struct {
	Kind    uint8 // option 53: 1 DISCOVER, 2 OFFER, ...
	XID     uint32
	Secs    uint16
	Client  MAC
	Yours   netip.Addr // yiaddr
	Relay   netip.Addr // giaddr
	Server  netip.Addr // option 54
	Asked   netip.Addr // option 50
	Lease   time.Duration
	Current netip.Addr // ciaddr
}

var dhcpKinds = [...]string{"BOOTP", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}

// Name is the kind of the message.
func (d *DHCP) Name() string {
	if int(d.Kind) < len(dhcpKinds) {
		return dhcpKinds[d.Kind]
	}
	return fmt.Sprint("DHCP ", d.Kind)
}

func (f *Frame) dhcp(b []byte) {
	f.Proto = "dhcp"
	if len(b) < 240 {
		f.Fault = "shorter than a DHCP message"
		return
	}
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	d := &DHCP{XID: be.Uint32(b[4:]), Secs: be.Uint16(b[8:]), Current: at(12), Yours: at(16), Relay: at(24), Client: MAC(b[28:34])}
	f.Msg = d
	f.add("dhcp.type", "%d", b[0])
	f.add("dhcp.id", "%#08x", d.XID)
	f.add("dhcp.secs", "%d", d.Secs)
	f.add("dhcp.ip.client", "%s", d.Current)
	f.add("dhcp.ip.your", "%s", d.Yours)
	f.add("dhcp.ip.relay", "%s", d.Relay)
	f.add("dhcp.hw.mac_addr", "%s", d.Client)
	if be.Uint32(b[236:]) != 0x63825363 {
		return
	}
	for o := b[240:]; len(o) > 0 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || len(o) < 2+int(o[1]) {
			f.Fault = "a DHCP option is cut"
			return
		}
		v := o[2 : 2+int(o[1])]
		switch {
		case o[0] == 53 && len(v) == 1:
			d.Kind = v[0]
			f.add("dhcp.option.dhcp", "%d", v[0])
		case o[0] == 54 && len(v) == 4:
			d.Server = netip.AddrFrom4([4]byte(v))
			f.add("dhcp.option.dhcp_server_id", "%s", d.Server)
		case o[0] == 50 && len(v) == 4:
			d.Asked = netip.AddrFrom4([4]byte(v))
			f.add("dhcp.option.requested_ip_address", "%s", d.Asked)
		case o[0] == 51 && len(v) == 4:
			d.Lease = time.Duration(be.Uint32(v)) * time.Second
			f.add("dhcp.option.ip_address_lease_time", "%d", be.Uint32(v))
		}
		o = o[2+int(o[1]):]
	}
}

// Failover is what a segment of a DHCP failover connection holds (draft-ietf-dhc-failover-12, as ISC dhcpd speaks it).
type Failover struct{ Messages []FailoverMessage }

// FailoverMessage is one message of it.
type FailoverMessage struct {
	Type, XID     uint32
	State         uint8 // option 24, 0 without
	Binding       uint8 // option 3, 0 without
	Reject        uint8 // option 21, 0 without
	Addr          netip.Addr
	MCLT          uint32
	Relationship  string
	Transferred   uint32
	HasMCLT       bool
	HashBuckets   []byte
	StartupServer bool // option 23 bit 0
}

var failoverTypes = [...]string{"", "POOLREQ", "POOLRESP", "BNDUPD", "BNDACK", "CONNECT", "CONNECTACK", "UPDREQALL", "UPDDONE", "UPDREQ", "STATE", "CONTACT", "DISCONNECT"}
var failoverStates = [...]string{"", "startup", "normal", "communications-interrupted", "partner-down", "potential-conflict", "recover", "paused", "shutdown", "recover-done", "resolution-interrupted", "conflict-done"}
var bindingStates = [...]string{"", "free", "active", "expired", "released", "abandoned", "reset", "backup"}

// rejectReasons are those of draft-ietf-dhc-failover-12, section 12.21.
var rejectReasons = [...]string{"", "the address is in no pool", "a fatal conflict: the address is in use by another client", "binding information is missing", "the clocks differ too much", "an invalid MCLT",
	"an unknown reason", "a second connection", "an invalid partner", "no TLS", "TLS is not configured", "TLS is required", "no message digests", "message digests are not configured", "another version of the protocol",
	"its information is outdated", "its information matters less than the peer's", "no traffic for too long", "the shares of the clients conflict", "the address is not reserved there"}

func nameOf(names []string, n int) string {
	if n > 0 && n < len(names) {
		return names[n]
	}
	return fmt.Sprint(n)
}

func (m *FailoverMessage) Name() string        { return nameOf(failoverTypes[:], int(m.Type)) }
func (m *FailoverMessage) StateName() string   { return nameOf(failoverStates[:], int(m.State)) }
func (m *FailoverMessage) BindingName() string { return nameOf(bindingStates[:], int(m.Binding)) }

// failover reads the messages of a segment, which may begin in the one before and end in the next one.
func (d *Decoder) failover(f *Frame, p []byte) {
	src, dst := f.ends()
	at := flow{src, dst}
	if rest := d.streams[at]; len(rest) > 0 {
		p = append(slices.Clone(rest), p...)
		delete(d.streams, at)
	}
	m := &Failover{}
	for len(p) >= 12 {
		n := int(be.Uint16(p))
		if n < 12 || n > 4096 || p[2] == 0 || int(p[3]) > n {
			f.Fault = "not a failover message"
			break
		}
		if n > len(p) {
			break
		}
		m.Messages = append(m.Messages, f.failoverMessage(p[:n]))
		p = p[n:]
	}
	if len(p) > 0 && f.Fault == "" && f.missing == 0 && len(p) <= maxStream && len(d.streams) < maxStreams {
		if d.streams == nil {
			d.streams = map[flow][]byte{}
		}
		d.streams[at] = slices.Clone(p)
	}
	if len(m.Messages) > 0 || f.Fault != "" {
		f.Proto, f.Msg = "dhcpfo", m
	}
}

func (f *Frame) failoverMessage(p []byte) FailoverMessage {
	m := FailoverMessage{Type: uint32(p[2]), XID: be.Uint32(p[8:])}
	f.add("dhcpfo.length", "%d", be.Uint16(p))
	f.add("dhcpfo.type", "%d", p[2])
	f.add("dhcpfo.xid", "%#08x", m.XID)
	for o := p[max(12, int(p[3])):]; len(o) >= 4; {
		code, n := be.Uint16(o), int(be.Uint16(o[2:]))
		if 4+n > len(o) {
			f.Fault = "an option of a failover message is cut"
			break
		}
		v := o[4 : 4+n]
		switch {
		case code == 24 && n == 1:
			m.State = v[0]
			f.add("dhcpfo.serverstatus", "%d", v[0])
		case code == 3 && n == 1:
			m.Binding = v[0]
			f.add("dhcpfo.bindingstatus", "%d", v[0])
		case code == 21 && n >= 1:
			m.Reject = v[0]
			f.add("dhcpfo.rejectreason", "%d", v[0])
		case code == 2 && n == 4:
			m.Addr = netip.AddrFrom4([4]byte(v))
			f.add("dhcpfo.assignedipaddress", "%s", m.Addr)
		case code == 15 && n == 4:
			m.MCLT, m.HasMCLT = be.Uint32(v), true
			f.add("dhcpfo.mclt", "%d", m.MCLT)
		case code == 1 && n == 4:
			m.Transferred = be.Uint32(v)
			f.add("dhcpfo.addressestransferred", "%d", m.Transferred)
		case code == 11:
			m.HashBuckets = slices.Clone(v)
			f.add("dhcpfo.hashbucketassignment", "%s", hexColons(v))
		case code == 22:
			m.Relationship = printable(string(v))
		case code == 23 && n == 1:
			m.StartupServer = v[0]&1 != 0
			f.add("dhcpfo.serverflag", "%d", v[0])
		}
		o = o[4+n:]
	}
	return m
}

func hexColons(b []byte) string {
	var s strings.Builder
	for _, x := range b {
		fmt.Fprintf(&s, "%02x", x)
	}
	return s.String()
}
