package vrrp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/wire"
)

func TestTheReportSaysWhatWouldChangeAState(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	base := func(change func(*InstanceSnapshot)) InstanceSnapshot {
		is := InstanceSnapshot{Config: &InstanceConfig{Name: "VI_1", Iface: "eth0", VRID: 51, Priority: 100}, Priority: 100, State: Backup,
			DownInterval: 3609375 * time.Microsecond, Source: netip.MustParseAddr("192.0.2.1"), Master: peer, MasterPriority: 150}
		change(&is)
		return is
	}
	for name, c := range map[string]struct {
		in   InstanceSnapshot
		want []string
	}{
		"a backup waits": {base(func(*InstanceSnapshot) {}), []string{"becomes MASTER when no advert comes for 3.609s"}},
		"a backup that preempts": {base(func(is *InstanceSnapshot) { is.MasterPriority = 90 }),
			[]string{"becomes MASTER when no advert comes for 3.609s", "preempts 192.0.2.2, whose priority 90 is lower"}},
		"a backup that may not": {base(func(is *InstanceSnapshot) { is.MasterPriority, is.Config.NoPreempt = 90, true }),
			[]string{"becomes MASTER when no advert comes for 3.609s", "does not preempt 192.0.2.2, whose priority 90 is lower: nopreempt"}},
		"a backup that waits before it does": {base(func(is *InstanceSnapshot) { is.MasterPriority, is.Config.PreemptDelay = 90, 5*time.Second }),
			[]string{"becomes MASTER when no advert comes for 3.609s", "preempts 192.0.2.2, whose priority 90 is lower, after preempt_delay 5s"}},
		"a backup that heard nobody": {base(func(is *InstanceSnapshot) { is.Master, is.MasterPriority = netip.Addr{}, 0 }),
			[]string{"becomes MASTER when no advert comes for 3.609s"}},
		"a master": {base(func(is *InstanceSnapshot) { is.State, is.Priority = Master, 80 }),
			[]string{"gives way to adverts of a priority above 80, or of 80 from an address above 192.0.2.1"}},
		"an owner": {base(func(is *InstanceSnapshot) { is.State, is.Priority, is.Config.Priority = Master, 255, 255 }),
			[]string{"stays MASTER: it owns the addresses (priority 255)"}},
		"a fault": {base(func(is *InstanceSnapshot) {
			is.State, is.Faults = Fault, []string{"script web", "interface eth0 is down"}
		}),
			[]string{"leaves FAULT when this is over: interface eth0 is down", "leaves FAULT when this is over: script web"}},
		"before the start": {base(func(is *InstanceSnapshot) { is.State = Init }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Snapshot{Config: &Config{}, Instances: []InstanceSnapshot{c.in}}
			if got := s.Report().Instances[0].Next; !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			s.Config.Groups = []*GroupConfig{{Name: "G", Members: []string{"VI_0", "VI_1"}}}
			r := s.Report().Instances[0]
			if follows := strings.Contains(strings.Join(r.Next, "\n"), "sync group G"); r.Group != "G" || follows != (c.in.State != Fault) {
				t.Errorf("in a group: %+v", r)
			}
		})
	}
}

// TestTheReportOfAMemberThatFollowsNamesWhomItFollows into FAULT.
func TestTheReportOfAMemberThatFollowsNamesWhomItFollows(t *testing.T) {
	s := &Snapshot{Config: &Config{Groups: []*GroupConfig{{Name: "G", Members: []string{"A", "B"}}}}, Instances: []InstanceSnapshot{
		{Config: &InstanceConfig{Name: "A"}, State: Fault, Faults: []string{"script web"}}, {Config: &InstanceConfig{Name: "B"}, State: Fault}}}
	r := s.Report()
	if got, want := r.Instances[1].Next, []string{"leaves FAULT with sync group G, when this is over: script web of A"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	a := &instance{cfg: s.Instances[0].Config, faults: map[string]bool{"script web": true}}
	b := &instance{cfg: s.Instances[1].Config}
	g := &group{members: []*instance{a, b}}
	for _, c := range []struct {
		to   machine.State
		want string
	}{{machine.Fault, " (A: script web)"}, {machine.Backup, ""}} {
		if got := g.trouble(b, c.to); got != c.want {
			t.Errorf("to %v: %q, want %q", c.to, got, c.want)
		}
	}
}

func TestTheReportCountsWhatWasNotAccepted(t *testing.T) {
	is := InstanceSnapshot{Config: &InstanceConfig{Name: "VI_1", Priority: 150}, State: Master, Priority: 130, Weights: map[string]int{"script b": -20, "script a": 0},
		History: []Transition{{From: Init, To: Backup, Cause: "start"}, {From: Backup, To: Master, Cause: "no advert within 3s"}}}
	is.Stats.AdvertSent, is.Stats.AdvertRcvd, is.Stats.SendFailed = 7, 3, 1
	is.Stats.Rejected = map[wire.Reason]uint64{wire.BadTTL: 2, wire.AuthFailed: 1}
	r := (&Snapshot{Instances: []InstanceSnapshot{is}, UnknownVRID: 4}).Report()
	in := r.Instances[0]
	if r.UnknownVRID != 4 || in.Sent != 7 || in.Received != 3 || in.Unsent != 1 || len(in.NotAccepted) != 2 ||
		in.NotAccepted["invalid TTL or hop limit"] != 2 || in.NotAccepted["invalid password"] != 1 {
		t.Errorf("%+v", in)
	}
	if !slices.Equal(in.Tracked, []TrackedShare{{"script a", 0}, {"script b", -20}}) || in.Configured != 150 || in.Priority != 130 {
		t.Errorf("priority: %+v", in)
	}
	if in.Because != "no advert within 3s" || len(in.History) != 2 || in.History[0].To != "BACKUP" {
		t.Errorf("history: %+v", in)
	}
}
