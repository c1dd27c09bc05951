package vrrp

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
	"releve/vrrp/wire"
)

// packet is a sound version 2 advert from src, but for what change does.
func packet(src string, change func(a *wire.Advert)) []byte {
	a := wire.Advert{Version: 2, VRID: 51, Priority: 50, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.100")}}
	if change != nil {
		change(&a)
	}
	from := netip.MustParseAddr(src)
	p := a.Append(nil, from, wire.Group4, wire.ChecksumDefault)
	return append(wire.AppendIPv4(nil, from, wire.Group4, 255, 9, len(p)), p...)
}

func TestAddressesThatCannotBeAddedCostOnlyThemselves(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.in(1, "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1")
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Excluded = []vip.Address{{Prefix: netip.MustParsePrefix("fd09::100/64")}, {Prefix: netip.MustParsePrefix("10.9.0.101/24")}}
	c.Routes = []vip.Route{{Text: "unreachable", Dst: netip.MustParsePrefix("10.77.0.0/24"), Via: netip.MustParseAddr("192.0.2.1")}}
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master with the others", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") && l.has(1, "10.9.0.101") })
	l.eventually("each failure is said", 4*time.Second, func() bool {
		return a.log.has("Netlink: add address fd09::100/64") && a.log.has("Netlink: add route unreachable")
	})
	time.Sleep(500 * time.Millisecond)
	said := strings.Count(a.log.all(), "Netlink: add address fd09::100/64")
	if why := a.left("VI_1"); said == 0 || said > a.went("VI_1", Master) || why != nil {
		t.Errorf("said %d times, master %d times, left for %q", said, a.went("VI_1", Master), why)
	}
}

func TestOwnPacketsAndStrangersWithOurVRID(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	a.patient()
	// The kernel drops packets with our own source that come in by the LAN as martians; where it does not, the engine does.
	l.in(1, "sysctl -qw net.ipv4.conf.eth0.accept_local=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0")
	for range 3 {
		l.inject(2, packet("10.9.0.1", func(a *wire.Advert) { a.Priority = 200 }))
	}
	l.eventually("own packets are counted and not believed", 4*time.Second, func() bool {
		s := a.snapshot().Instances[0]
		return s.Stats.Rejected[wire.Own] == 3 && s.State == Master
	})
	for range 5 {
		l.inject(2, packet("10.9.0.2", func(a *wire.Advert) { a.Addrs = []netip.Addr{netip.MustParseAddr("10.9.0.200")} }))
	}
	l.eventually("another virtual router with our number is counted", 4*time.Second, func() bool {
		return a.snapshot().Instances[0].Stats.Counter("addr_list_err") == 5
	})
	const other = "received advertisement from 10.9.0.2 with other virtual addresses"
	l.eventually("it is said", 4*time.Second, func() bool { return a.log.has(other) })
	if n := strings.Count(a.log.all(), other); n != 1 {
		t.Errorf("said %d times", n)
	}
	if a.state("VI_1") != Master {
		t.Errorf("state %s", a.state("VI_1"))
	}
}

func TestAFloodOfAdvertsDisturbsNobody(t *testing.T) { attempts(t, floodOfBadAdverts) }

func floodOfBadAdverts(t *testing.T) (disturbed bool) {
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Version, c.AdvertInt = 3, 300*time.Millisecond
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	sound := packet("10.9.0.2", func(a *wire.Advert) { a.Version, a.Interval, a.Priority = 3, 300*time.Millisecond, 200 })
	bad := slices.Clone(sound)
	bad[26] ^= 1                                                                       // the checksum
	strange := packet("10.9.0.2", func(a *wire.Advert) { a.VRID = 99 })                // nobody's
	short := append(slices.Clone(sound[:2]), append([]byte{0, 24}, sound[4:24]...)...) // cut
	before := a.snapshot().Instances[0].Stats.AdvertSent
	const seconds, rate = 2, 50000
	l.inNamespace(2, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		_ = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(dev.Index)})
		to := &unix.SockaddrInet4{Addr: [4]byte(sound[16:20])}
		begin := time.Now()
		for i := range seconds * rate {
			if i%500 == 0 {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / rate)))
			}
			_ = unix.Sendto(fd, [][]byte{bad, strange, short}[i%3], 0, to)
		}
	})
	s := a.snapshot()
	in := s.Instances[0]
	if a.wasSuspended() {
		a.stop()
		return true
	}
	if in.State != Master || in.Stats.BecomeMaster != 1 {
		t.Errorf("state %s, master %d times", in.State, in.Stats.BecomeMaster)
	}
	if in.Stats.Rejected[wire.BadChecksum] == 0 || s.UnknownVRID == 0 {
		t.Errorf("nothing was counted: %v, %d", in.Stats.Rejected, s.UnknownVRID)
	}
	if sent := in.Stats.AdvertSent - before; sent < 3*seconds/2 {
		if stoodStill() {
			a.stop()
			return true
		}
		t.Errorf("%d adverts during the flood", sent)
	}
	if n := len(strings.Split(a.log.all(), "\n")); n > 200 {
		t.Errorf("%d log lines", n)
	}
	return false
}

func TestAMasterThatWasSuspendedStepsDownAndLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}
		e, d := fakeEngine(t, cfg, Options{})
		stop := run(t, e)
		time.Sleep(3700 * time.Millisecond)
		d.take()
		if err := e.call(t.Context(), func() { time.Sleep(10 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var got []string
		for _, line := range d.take() {
			if !strings.Contains(line, "announcements") {
				got = append(got, line)
			}
		}
		expect(t, got, "13.7s del 10.9.0.100/24", "13.7s INSTANCE VI_1 BACKUP 100")
		time.Sleep(3700 * time.Millisecond)
		if got := d.take(); !slices.Contains(got, "17.309s INSTANCE VI_1 MASTER 100") {
			t.Errorf("nobody was heard, but %q", got)
		}
		stop()
	})
}
