package bfd

import (
	"net/netip"
	"testing"
	"time"
)

// TestAPacketThatHasArrivedComesBeforeTheExpiry: when the process was late, the packets that it has not looked at yet say whether the session is up.
func TestAPacketThatHasArrivedComesBeforeTheExpiry(t *testing.T) {
	c := neighbor("127.0.0.1", "127.0.0.1")
	told := 0
	e := New([]*Config{c}, Options{Notify: func(Event) { told++ }})
	l, now := e.links[0], time.Now()
	s := l.s
	s.state, s.remoteState, s.yours, s.remoteMult, s.remoteTx, s.remoteRx = Up, Up, 7, 3, ms(50), 0
	s.sendAt, s.expireAt, l.tellBy, l.graced = time.Time{}, now.Add(-ms(1)), time.Time{}, true
	e.rx <- heard{from: netip.MustParseAddr("127.0.0.1"), ttl: 255, p: Packet{State: Up, DetectMult: 3, MyDiscr: 7, YourDiscr: s.mine, DesiredTx: ms(50)}}
	e.due()
	if s.state != Up || told > 0 || !s.expireAt.After(now) {
		t.Errorf("%v, told %d times, expires %v after", s.state, told, s.expireAt.Sub(now))
	}
	s.expireAt = time.Now().Add(-ms(1))
	l.graced = true
	if e.due(); s.state != Down || told != 1 {
		t.Errorf("without a packet it is %v, told %d times", s.state, told)
	}
}
