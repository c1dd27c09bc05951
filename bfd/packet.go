package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// State is the state of a session (RFC 5880 §4.1).
type State uint8

// States, with the numbers of the wire.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String gives the reference's words.
func (s State) String() string {
	switch s {
	case AdminDown:
		return "AdminDown"
	case Down:
		return "Down"
	case Init:
		return "Init"
	case Up:
		return "Up"
	}
	return "unknown"
}

// Diag says why a session changed its state last (RFC 5880 §4.1).
type Diag uint8

// Diagnostics used here.
const (
	DiagNone      Diag = 0
	DiagExpired   Diag = 1
	DiagSignaled  Diag = 3
	DiagAdminDown Diag = 7
)

var diagNames = [...]string{"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down",
	"Forwarding Plane Reset", "Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down"}

// String gives the words of RFC 5880 as the reference logs them.
func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("Diagnostic %d", uint8(d))
}

// Packet is a control packet without authentication (RFC 5880 §4.1).
type Packet struct {
	Diag                  Diag
	State                 State
	Poll, Final           bool
	ControlIndependent    bool
	Demand                bool
	DetectMult            uint8
	MyDiscr, YourDiscr    uint32
	DesiredTx, RequiredRx time.Duration // whole microseconds
	RequiredEchoRx        time.Duration
}

// PacketLen is the length of a packet without authentication.
const PacketLen = 24

const (
	version     = 1
	flagPoll    = 0x20
	flagFinal   = 0x10
	flagControl = 0x08
	flagAuth    = 0x04
	flagDemand  = 0x02
	flagMulti   = 0x01
)

// Why a packet is dropped; each has a counter (RFC 5880 §6.8.6).
var (
	ErrVersion       = errors.New("wrong version")
	ErrLength        = errors.New("wrong length")
	ErrMultiplier    = errors.New("detection multiplier is zero")
	ErrMultipoint    = errors.New("multipoint bit is set")
	ErrDiscriminator = errors.New("discriminator is zero")
	ErrAuth          = errors.New("authentication is not in use")
	ErrUnknown       = errors.New("no such session")
	ErrTTL           = errors.New("too many hops")
)

// Append encodes p behind b. Intervals above 71 minutes are cut to that.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State)<<6 | 0
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.ControlIndependent, flagControl}, {p.Demand, flagDemand}} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diag)&0x1f, flags, p.DetectMult, PacketLen)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscr)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscr)
	b = binary.BigEndian.AppendUint32(b, micros(p.DesiredTx))
	b = binary.BigEndian.AppendUint32(b, micros(p.RequiredRx))
	return binary.BigEndian.AppendUint32(b, micros(p.RequiredEchoRx))
}

func micros(d time.Duration) uint32 {
	return uint32(max(0, min(d.Microseconds(), 1<<32-1)))
}

// Decode checks and reads a packet, in the order of RFC 5880 §6.8.6 up to where a session is needed.
func Decode(b []byte) (p Packet, err error) {
	if len(b) < PacketLen {
		return p, ErrLength
	}
	if b[0]>>5 != version {
		return p, ErrVersion
	}
	flags, length := b[1], int(b[3])
	if length < PacketLen || flags&flagAuth != 0 && length < PacketLen+2 || length > len(b) {
		return p, ErrLength
	}
	u := func(i int) time.Duration { return time.Duration(binary.BigEndian.Uint32(b[i:])) * time.Microsecond }
	p = Packet{Diag: Diag(b[0] & 0x1f), State: State(flags >> 6), Poll: flags&flagPoll != 0, Final: flags&flagFinal != 0,
		ControlIndependent: flags&flagControl != 0, Demand: flags&flagDemand != 0, DetectMult: b[2],
		MyDiscr: binary.BigEndian.Uint32(b[4:]), YourDiscr: binary.BigEndian.Uint32(b[8:]),
		DesiredTx: u(12), RequiredRx: u(16), RequiredEchoRx: u(20)}
	switch {
	case p.DetectMult == 0:
		return p, ErrMultiplier
	case flags&flagMulti != 0:
		return p, ErrMultipoint
	case p.MyDiscr == 0, p.YourDiscr == 0 && p.State != Down && p.State != AdminDown:
		return p, ErrDiscriminator
	case flags&flagAuth != 0:
		return p, ErrAuth
	}
	return p, nil
}
