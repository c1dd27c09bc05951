package vrrp

import (
	"net/netip"
	"testing"
	"time"
)

func TestAPeerWithTheOldChecksumIsAnsweredInKind(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	stop := l.capture(1)
	c := testInstance("VI_1", 51, 150, "10.9.0.100/24")
	c.Version, c.AdvertInt = 3, 300*time.Millisecond
	c.Src, c.Peers = netip.MustParseAddr("10.9.0.1"), []Peer{{Addr: netip.MustParseAddr("10.9.0.2")}}
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	o := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	o.Version, o.AdvertInt, o.OldUnicastChecksum, o.StartMaster = 3, 300*time.Millisecond, true, true
	o.Src, o.Peers = netip.MustParseAddr("10.9.0.2"), []Peer{{Addr: netip.MustParseAddr("10.9.0.1")}}
	o.Priority = 255 // it begins as master, so that we hear it
	b := l.start(2, &Config{Instances: []*InstanceConfig{o}}, Options{})
	l.eventually("it is heard and we follow", 6*time.Second, func() bool {
		return a.log.has("Setting unicast VRRPv3 checksum to old version") && a.state("VI_1") == Backup
	})
	b.stop()
	sent := a.snapshot().Instances[0].Stats.AdvertSent
	l.eventually("master again", 6*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertSent > sent+2 })
	lines := l.tshark(stop(), "vrrp && !icmp && ip.src == 10.9.0.1", "vrrp.checksum.status")
	if len(lines) < 4 || lines[0] != "1" || lines[len(lines)-1] != "0" {
		t.Errorf("checksums %q, want good ones first and old ones, which tshark calls bad, at the end", lines)
	}
}
