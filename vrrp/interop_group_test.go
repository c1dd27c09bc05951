package vrrp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// twin is a configuration of two instances in a sync group, for the reference as router 2.
func twin(prio int) string {
	one := func(name string, vrid int, vip string) string {
		return fmt.Sprintf("vrrp_instance %s {\n interface eth0\n virtual_router_id %d\n priority %d\n version 3\n advert_int 0.3\n virtual_ipaddress { %s }\n}\n", name, vrid, prio, vip)
	}
	return "vrrp_sync_group G { group {\n A\n B\n } }\n" + one("A", 51, "10.9.0.100/24") + one("B", 52, "10.9.0.101/24")
}

func ourTwin(prio uint8) *Config {
	a, b := testInstance("A", 51, prio, "10.9.0.100/24"), testInstance("B", 52, prio, "10.9.0.101/24")
	for _, c := range []*InstanceConfig{a, b} {
		c.Version, c.AdvertInt, c.Group = 3, 300*time.Millisecond, "G"
	}
	return &Config{Instances: []*InstanceConfig{a, b}, Groups: []*GroupConfig{{Name: "G", Members: []string{"A", "B"}}}}
}

func (l *lan) both(i int, has bool) func() bool {
	return func() bool { return l.has(i, "10.9.0.100") == has && l.has(i, "10.9.0.101") == has }
}

func TestInteropSyncGroupsMoveAsOneInBothOrders(t *testing.T) {
	t.Parallel()
	attempts(t, syncGroupsMove)
}

func syncGroupsMove(t *testing.T) (disturbed bool) {
	l := newLAN(t, 2)
	a := l.start(1, ourTwin(100), Options{})
	l.eventually("our group leads while it is alone", 6*time.Second, l.both(1, true))
	ref := l.keepalived(2, twin(150))
	l.eventually("the reference's group takes over", 8*time.Second, func() bool { return l.both(2, true)() && l.both(1, false)() })
	ref.kill()
	l.eventually("we take over from a killed reference", 8*time.Second, l.both(1, true))
	again := a.wasSuspended() || a.went("A", Master) > 2 && stoodStill()
	a.stop()
	if again {
		return true
	}
	want := []string{"GROUP G BACKUP 0", "INSTANCE A BACKUP 100", "INSTANCE B BACKUP 100", "INSTANCE A MASTER 100", "INSTANCE B MASTER 100", "GROUP G MASTER 0",
		"INSTANCE A BACKUP 100", "INSTANCE B BACKUP 100", "GROUP G BACKUP 0", "INSTANCE A MASTER 100", "INSTANCE B MASTER 100", "GROUP G MASTER 0", "INSTANCE A STOP 100", "INSTANCE B STOP 100", "GROUP G STOP 0"}
	got := slices.DeleteFunc(a.got(), func(s string) bool { return strings.Contains(s, "RX_LOWER") })
	for i := 0; i+1 < len(got); i++ { // which member is the first to change depends on who hears what first
		if b, ok := strings.CutPrefix(got[i], "INSTANCE B "); ok && got[i+1] == "INSTANCE A "+b {
			got[i], got[i+1] = got[i+1], got[i]
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%q, want\n%q", got, want)
	}
	return false
}

func TestInteropAMemberThatFailsTakesItsGroupToTheReference(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	l.run("ip -n %s link add eth9 type veth peer name eth8", l.ns(1))
	l.run("ip -n %s link set eth9 up", l.ns(1))
	l.run("ip -n %s link set eth8 up", l.ns(1))
	l.keepalived(2, twin(100))
	l.eventually("the reference's group leads while it is alone", 6*time.Second, l.both(2, true))
	cfg := ourTwin(150)
	cfg.Instances[1].Track = &TrackConfig{Ifaces: []TrackRef{{Name: "eth9", HasWeight: true}}}
	a := l.start(1, cfg, Options{})
	l.eventually("our better group takes over", 8*time.Second, func() bool { return l.both(1, true)() && l.both(2, false)() })
	l.run("ip -n %s link set eth8 down", l.ns(1))
	l.eventually("both go when one fails", 6*time.Second, func() bool { return l.both(2, true)() && l.both(1, false)() })
	if a.state("A") != Fault || a.state("B") != Fault {
		t.Errorf("states %s and %s", a.state("A"), a.state("B"))
	}
	l.run("ip -n %s link set eth8 up", l.ns(1))
	l.eventually("both come back", 8*time.Second, func() bool { return l.both(1, true)() && l.both(2, false)() })
}

func TestInteropPreemptionAsEachSideIsTold(t *testing.T) {
	block := "version 3\n advert_int 0.3\n virtual_ipaddress { 10.9.0.100/24 }"
	our := func(prio uint8, change func(*InstanceConfig)) *Config {
		c := testInstance("VI_1", 51, prio, "10.9.0.100/24")
		c.Version, c.AdvertInt = 3, 300*time.Millisecond
		change(c)
		return &Config{Instances: []*InstanceConfig{c}}
	}
	t.Run("we leave a worse reference alone with nopreempt", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t, 2)
		ref := l.keepalived(2, conf(100, block))
		l.eventually("the reference leads", 6*time.Second, func() bool { return l.has(2, "10.9.0.100") })
		a := l.start(1, our(150, func(c *InstanceConfig) { c.NoPreempt, c.DownTimerAdverts = true, 30 }), Options{})
		l.eventually("we hear it", 4*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertRcvd > 8 })
		if a.state("VI_1") != Backup || !l.has(2, "10.9.0.100") {
			t.Errorf("state %s", a.state("VI_1"))
		}
		ref.term()
		l.eventually("but take over when it resigns", 4*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	})
	t.Run("the reference leaves us alone with nopreempt", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t, 2)
		a := l.start(1, our(100, func(*InstanceConfig) {}), Options{})
		l.eventually("we lead", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
		a.patient()
		l.keepalived(2, conf(150, "state BACKUP\n nopreempt\n down_timer_adverts 30\n "+block))
		sent := a.snapshot().Instances[0].Stats.AdvertSent
		l.eventually("we go on", 8*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertSent > sent+12 })
		if a.state("VI_1") != Master || l.has(2, "10.9.0.100") {
			t.Errorf("state %s", a.state("VI_1"))
		}
		a.stop()
		l.eventually("it takes over when we resign", 4*time.Second, func() bool { return l.has(2, "10.9.0.100") })
	})
	t.Run("we wait for preempt_delay", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t, 2)
		l.keepalived(2, conf(100, block))
		l.eventually("the reference leads", 6*time.Second, func() bool { return l.has(2, "10.9.0.100") })
		begin := time.Now()
		a := l.start(1, our(150, func(c *InstanceConfig) { c.PreemptDelay = 3 * time.Second }), Options{})
		l.eventually("we take over", 10*time.Second, func() bool { return l.has(1, "10.9.0.100") && !l.has(2, "10.9.0.100") })
		if d := time.Since(begin); d < 3*time.Second {
			t.Errorf("after %s", d)
		}
		l.eventually("the delay is said", 4*time.Second, func() bool { return a.log.has("(VI_1) start preempt delay (3 secs left)") })
	})
	t.Run("equal priorities: the higher address wins on both sides", func(t *testing.T) {
		t.Parallel()
		l := newLAN(t, 2)
		l.run("ip link set %s nomaster", l.port(2))
		a := l.start(1, our(100, func(*InstanceConfig) {}), Options{})
		l.keepalived(2, conf(100, block))
		l.eventually("two masters, apart", 8*time.Second, func() bool { return l.has(1, "10.9.0.100") && l.has(2, "10.9.0.100") })
		l.run("ip link set %s master %s", l.port(2), l.bridge())
		l.eventually("the higher address stays", 4*time.Second, func() bool { return !l.has(1, "10.9.0.100") && l.has(2, "10.9.0.100") })
		l.eventually("we are backup", 4*time.Second, func() bool { return a.state("VI_1") == Backup })
	})
}
