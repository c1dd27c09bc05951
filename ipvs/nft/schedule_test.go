package nft

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"releve/ipvs"
)

func of(sched string, weights ...int) *ipvs.Service {
	s := &ipvs.Service{Scheduler: sched}
	for i, w := range weights {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i + 1)})
		s.Dests = append(s.Dests, ipvs.Dest{DestKey: ipvs.DestKey{Addr: a, Port: 80}, Weight: w})
	}
	return s
}

func TestSlotsFollowTheSchedulersOfTheKernel(t *testing.T) {
	for _, c := range []struct {
		what string
		s    *ipvs.Service
		want []int
	}{
		{"rr ignores weights", of("rr", 3, 1, 2), []int{2, 1, 0}},
		{"rr leaves out weight 0", of("rr", 3, 0, 2), []int{2, 0}},
		{"wrr goes down from the greatest weight", of("wrr", 3, 1, 1), []int{0, 0, 2, 1, 0}},
		{"wrr divides by the common divisor", of("wrr", 300, 100), []int{0, 0, 1, 0}},
		{"wlc is served by weight", of("wlc", 2, 1), []int{0, 1, 0}},
		{"lc is served in turn", of("lc", 9, 1), []int{1, 0}},
		{"fo takes the greatest", of("fo", 1, 5, 5), []int{1}},
		{"no server", of("wrr"), nil},
		{"all drained", of("wrr", 0, 0), nil},
		{"all drained under fo", of("fo", 0), nil},
		{"all drained under a hash", of("sh", 0, 0), nil},
	} {
		if got := schedule(c.s).slots; !slices.Equal(got, c.want) {
			t.Errorf("%s: slots %v, want %v", c.what, got, c.want)
		}
	}
}

func TestGreatWeightsAreRoundedButNobodyLosesAll(t *testing.T) {
	c := schedule(of("wrr", 65535, 65534, 1))
	n := map[int]int{}
	for _, i := range c.slots {
		n[i]++
	}
	if !c.rounded || len(c.slots) > maxSlots || n[2] == 0 || n[0] < 2000 || n[1] < 2000 {
		t.Errorf("%d slots, shares %v", len(c.slots), n)
	}
	many := make([]int, 5000)
	for i := range many {
		many[i] = 1 + i%2*65534
	}
	if c := schedule(of("wrr", many...)); len(c.slots) < 5000 || len(c.slots) > 10000 {
		t.Errorf("%d slots for 5000 servers", len(c.slots))
	}
}

func TestAHashIsFairByWeightAndMovesFewClients(t *testing.T) {
	share := func(slots []int) map[int]int {
		n := map[int]int{}
		for _, i := range slots {
			n[i]++
		}
		return n
	}
	before := schedule(of("mh", 2, 1, 1, 1)).slots
	n := share(before)
	if f := float64(n[0]) / float64(n[1]); f < 1.9 || f > 2.1 {
		t.Errorf("weights 2, 1, 1, 1 have shares %v", n)
	}
	after := schedule(of("mh", 2, 1, 1, 0)).slots
	moved := 0
	for i := range before {
		if before[i] != 3 && before[i] != after[i] {
			moved++
		}
	}
	if moved*5 > len(before) {
		t.Errorf("%d of %d slots moved although their server stayed", moved, len(before))
	}
	s := of("mh", 1, 2, 3)
	slices.Reverse(s.Dests)
	for i, d := range schedule(s).slots {
		if want := schedule(of("mh", 1, 2, 3)).slots[i]; 2-d != want {
			t.Fatalf("the order of the servers decides: slot %d is of %d, was of %d", i, 2-d, want)
		}
	}
}

func TestNamesAndCommentsHoldTheWholeService(t *testing.T) {
	for _, k := range []ipvs.ServiceKey{
		{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("192.168.56.10"), Port: 80},
		{Family: ipvs.IPv6, Protocol: ipvs.UDP, Addr: netip.MustParseAddr("2001:db8::1"), Port: 53},
		{Family: ipvs.IPv6, Protocol: ipvs.SCTP, Addr: netip.MustParseAddr("::"), Port: 0},
		{Family: ipvs.IPv4, FWMark: 1<<32 - 1},
		{Family: ipvs.IPv6, FWMark: 7},
	} {
		name := serviceName(k)
		if got, ok := parseServiceName(name); !ok || got != k {
			t.Errorf("%s read as %+v %v, want %+v", name, got, ok, k)
		}
		d := ipvs.DestKey{Addr: netip.MustParseAddr("fd00::1:2"), Port: 8080}
		if s, got, ok := parseDestName(destName(name, d)); !ok || s != name || got != d {
			t.Errorf("%s read as %s %+v %v", destName(name, d), s, got, ok)
		}
	}
	s := ipvs.Service{Scheduler: "lblcr", Flags: 0x3f, Timeout: 1<<31*time.Second - time.Second, Granularity: 128, Engine: "sip"}
	var back ipvs.Service
	c := serviceComment(&s)
	if !parseServiceComment(commentOf(userData(c)), &back) || !reflect.DeepEqual(s, back) || len(c) > 127 {
		t.Errorf("%q read as %+v", c, back)
	}
	d := ipvs.Dest{Weight: 65535, Upper: 1<<32 - 1, Lower: 1<<32 - 2}
	var dback ipvs.Dest
	c = destComment(&d, 1<<32-1)
	if id, ok := parseDestComment(c, &dback); !ok || id != 1<<32-1 || dback != d || len(c) > 127 {
		t.Errorf("%q read as %+v %d", c, dback, id)
	}
}

func TestCheckNamesWhatIsOtherThanInIPVS(t *testing.T) {
	s := of("wlc", 1, 1)
	s.ServiceKey = ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}
	s.Dests[0].Forward, s.Dests[1].Upper = ipvs.DR, 5
	s.Engine, s.Flags = "sip", ipvs.OnePacket
	want := []string{
		"scheduler false nftables does not count connections: scheduler wlc works as wrr",
		"persistence-engine false nftables has no persistence engine sip: persistence is by client address",
		"one-packet false nftables follows connections: one-packet scheduling keeps a flow on its server",
		"thresholds false nftables does not count connections: thresholds are ignored",
		"forwarding true nftables cannot forward by DR: real server [10.1.0.1]:80 left out",
	}
	var got []string
	for _, l := range Check(s) {
		got = append(got, fmt.Sprint(l.Feature, " ", l.Refuse, " ", l.Text))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.Protocol = 51
	if got := Check(s); len(got) != 1 || !got[0].Refuse || got[0].Dest != nil {
		t.Errorf("protocol 51: %+v", got)
	}
}

func TestEveryFeatureThatCheckReportsIsInTheTable(t *testing.T) {
	for _, f := range []ipvs.Feature{Protocols, Families, Marks, Forwarding, Scheduling, Weights, SchedFlags, Persistence, Engine,
		OnePacket, Thresholds, Established, LocalClients, Refusal, Counting, Connections, TimeoutsSet, SyncDaemons} {
		if !slices.ContainsFunc(Capabilities, func(c Capability) bool { return c.Feature == f }) {
			t.Errorf("%s has no row", f)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("tcp-192.168.56.10-80/10.1.0.1-80", "weight=3 upper=0 lower=0 id=1")
	f.Add("fwm-7-ipv6", "scheduler=wrr flags=1 timeout=300 granularity=32 engine=")
	f.Fuzz(func(t *testing.T, name, comment string) {
		if k, ok := parseServiceName(name); ok {
			if again, ok := parseServiceName(serviceName(k)); !ok || again != k {
				t.Errorf("%q is %+v, written %q", name, k, serviceName(k))
			}
		}
		if s, d, ok := parseDestName(name); ok {
			if s2, d2, ok := parseDestName(destName(s, d)); !ok || s2 != s || d2.Port != d.Port {
				t.Errorf("%q is %s %+v, written %q", name, s, d, destName(s, d))
			}
		}
		parseServiceComment(comment, &ipvs.Service{})
		parseDestComment(comment, &ipvs.Dest{})
	})
}

// FuzzAnswers feeds what a kernel could say to the decoders: they must not panic.
func FuzzAnswers(f *testing.F) {
	var e enc
	e.nest(1, func() { e.bytes(1, []byte{10, 0, 0, 1}) })
	e.nest(2, func() { verdict(&e, -4, "tcp-10.0.0.1-80") })
	f.Add(e.b)
	f.Add(userData("weight=1"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseElem(b)
		parseTracked(b)
		parseCounts(b)
		commentOf(b)
	})
}
