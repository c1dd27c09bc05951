package vrrp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestTwoMastersThatMeetLeaveNoNeighbourBehind heals partitions at random moments: whichever master speaks first, the better one announces
// the address, so that the hosts that knew the worse one follow at once and not when their caches expire.
func TestTwoMastersThatMeetLeaveNoNeighbourBehind(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	engine := func(i int, prio uint8) *node {
		c := testInstance("VI_1", 51, prio, "10.9.0.100/24")
		c.Version, c.AdvertInt = 3, 200*time.Millisecond
		c.GARP.Delay = 0 // the first burst has to do
		return l.start(i, &Config{Instances: []*InstanceConfig{c}}, Options{})
	}
	a, b := engine(1, 100), engine(2, 150)
	l.in(3, "sysctl -qw net.ipv4.neigh.eth0.locktime=0")
	mac := func(i int) string { return strings.TrimSpace(l.in(i, "cat /sys/class/net/eth0/address")) }
	mine, theirs := mac(1), mac(2)
	knows := func(mac string) bool {
		out, _ := l.try("ip -n %s neigh show 10.9.0.100 dev eth0", l.ns(3))
		return strings.Contains(out, mac)
	}
	l.eventually("the better one is master", 6*time.Second, func() bool { return b.state("VI_1") == Master && a.state("VI_1") == Backup })
	for round, tries := 0, 0; round < 8; tries++ {
		if tries == 40 {
			t.Fatalf("only %d rounds without a standstill of the machine", round)
		}
		l.eventually("the better one is master still, or again", 4*time.Second, func() bool { return b.state("VI_1") == Master && a.state("VI_1") == Backup })
		suspensions := a.suspensions() + b.suspensions()
		l.run("ip link set %s nomaster", l.port(2))
		l.eventually("two masters", 4*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
		l.run("ip -n %s neigh replace 10.9.0.100 lladdr %s dev eth0 nud reachable", l.ns(3), mine)
		time.Sleep(rand.N(200 * time.Millisecond)) // any moment between two adverts
		l.run("ip link set %s master %s", l.port(2), l.bridge())
		l.eventually("one master", 4*time.Second, func() bool { return a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
		if a.suspensions()+b.suspensions() > suspensions {
			continue // two masters did not meet
		}
		l.eventually(fmt.Sprintf("the host follows in round %d", round), 2*time.Second, func() bool { return knows(theirs) })
		round++
	}
}

// TestTheReferenceAnnouncesAfterOurLastWord heals partitions between us, the worse router, and the reference.
func TestTheReferenceAnnouncesAfterOurLastWord(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Version, c.AdvertInt = 3, 200*time.Millisecond
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.keepalived(2, conf(150, "version 3\n advert_int 0.2\n garp_master_delay 0\n virtual_ipaddress { 10.9.0.100/24 }"))
	l.in(3, "sysctl -qw net.ipv4.neigh.eth0.locktime=0")
	mac := func(i int) string { return strings.TrimSpace(l.in(i, "cat /sys/class/net/eth0/address")) }
	mine, theirs := mac(1), mac(2)
	l.eventually("the reference is master", 8*time.Second, func() bool { return l.has(2, "10.9.0.100") && a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
	for round, tries := 0, 0; round < 6; tries++ {
		if tries == 30 {
			t.Fatalf("only %d rounds without a standstill of the machine", round)
		}
		l.eventually("the reference is master still, or again", 8*time.Second, func() bool { return l.has(2, "10.9.0.100") && a.state("VI_1") == Backup })
		suspensions := a.suspensions()
		l.run("ip link set %s nomaster", l.port(2))
		l.eventually("two masters", 4*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
		l.run("ip -n %s neigh replace 10.9.0.100 lladdr %s dev eth0 nud reachable", l.ns(3), mine)
		time.Sleep(rand.N(200 * time.Millisecond))
		l.run("ip link set %s master %s", l.port(2), l.bridge())
		l.eventually("one master", 4*time.Second, func() bool { return a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
		if a.suspensions() > suspensions {
			continue // it left without a last word
		}
		l.eventually(fmt.Sprintf("the host follows in round %d", round), 2*time.Second, func() bool {
			out, _ := l.try("ip -n %s neigh show 10.9.0.100 dev eth0", l.ns(3))
			return strings.Contains(out, theirs)
		})
		round++
	}
}

// TestARefreshBoundsWhatASilentLoserLeaves: a reference that is the worse of two masters and hears us first gives way without a frame. Then
// only a refresh brings the hosts back that followed it.
func TestARefreshBoundsWhatASilentLoserLeaves(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	c := testInstance("VI_1", 51, 150, "10.9.0.100/24")
	c.Version, c.AdvertInt, c.GARP.Delay, c.GARP.Refresh = 3, 200*time.Millisecond, 0, time.Second
	l.keepalived(1, conf(100, "version 3\n advert_int 0.2\n garp_master_delay 0\n virtual_ipaddress { 10.9.0.100/24 }"))
	b := l.start(2, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.in(3, "sysctl -qw net.ipv4.neigh.eth0.locktime=0")
	mac := func(i int) string { return strings.TrimSpace(l.in(i, "cat /sys/class/net/eth0/address")) }
	theirs, mine := mac(1), mac(2)
	l.eventually("we are master", 8*time.Second, func() bool { return b.state("VI_1") == Master && l.has(2, "10.9.0.100") && !l.has(1, "10.9.0.100") })
	for round := range 4 {
		l.run("ip link set %s nomaster", l.port(2))
		l.eventually("two masters", 4*time.Second, func() bool { return l.has(1, "10.9.0.100") && l.has(2, "10.9.0.100") })
		l.run("ip -n %s neigh replace 10.9.0.100 lladdr %s dev eth0 nud reachable", l.ns(3), theirs)
		time.Sleep(rand.N(200 * time.Millisecond))
		l.run("ip link set %s master %s", l.port(2), l.bridge())
		l.eventually("one master", 4*time.Second, func() bool { return !l.has(1, "10.9.0.100") })
		l.eventually(fmt.Sprintf("the host follows in round %d", round), 2*time.Second, func() bool {
			out, _ := l.try("ip -n %s neigh show 10.9.0.100 dev eth0", l.ns(3))
			return strings.Contains(out, mine)
		})
		if why := b.left("VI_1"); why != nil {
			t.Fatalf("the better one gave way: %q", why)
		}
	}
}
