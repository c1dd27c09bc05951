package vrrp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/vrrp/vip"
	"releve/vrrp/wire"
)

func TestTwoEnginesElectTheBetterAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	b := l.start(2, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 150, "10.9.0.100/24")}}, Options{})
	l.eventually("router 2 is master with the address", 6*time.Second, func() bool { return b.state("VI_1") == Master && l.has(2, "10.9.0.100") })
	l.eventually("router 1 is backup without it", 2*time.Second, func() bool { return a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
	b.patient()
	if a.went("VI_1", Master) > 0 && !stoodStill() {
		t.Error("the worse one was master")
	}
	b.stop()
	if l.has(2, "10.9.0.100") {
		t.Error("router 2 has the address after its end")
	}
	l.eventually("router 1 takes over after the skew", 2*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	want := []string{"INSTANCE VI_1 BACKUP 150", "INSTANCE VI_1 MASTER 150", "INSTANCE VI_1 STOP 150"}
	if got := b.got(); !slices.Equal(got, want) {
		t.Errorf("events of router 2: %q, want %q", got, want)
	}
}

// inject sends an IP packet from router i, by a raw socket that writes the header itself.
func (l *lan) inject(i int, packets ...[]byte) {
	l.t.Helper()
	l.inNamespace(i, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			l.t.Error(err)
			return
		}
		defer unix.Close(fd)
		dev, err := net.InterfaceByName("eth0")
		if err != nil {
			l.t.Error(err)
			return
		}
		_ = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(dev.Index)})
		for _, p := range packets {
			to := &unix.SockaddrInet4{Addr: [4]byte(p[16:20])}
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				l.t.Errorf("inject %x: %v", p, err)
			}
		}
	})
}

func TestForeignAndBrokenAdvertsAreCountedAndDropped(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Auth = AuthPass
	copy(c.AuthPass[:], "secret")
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}, LogUnknownVRIDs: true}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	a.patient()

	src := netip.MustParseAddr("10.9.0.2")
	good := wire.Advert{Version: 2, VRID: 51, Priority: 200, AuthType: 1, Auth: c.AuthPass, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr("10.9.0.100")}}
	make := func(ttl uint8, change func(a *wire.Advert), bend func(p []byte) []byte) []byte {
		ad := good
		if change != nil {
			change(&ad)
		}
		p := ad.Append(nil, src, wire.Group4, wire.ChecksumDefault)
		if bend != nil {
			p = bend(p)
		}
		return append(wire.AppendIPv4(nil, src, wire.Group4, ttl, 9, len(p)), p...)
	}
	sound := make(255, nil, nil)
	var cut [][]byte
	for n := 8; n < len(sound)-20; n++ {
		cut = append(cut, append(wire.AppendIPv4(nil, src, wire.Group4, 255, 9, n), sound[20:20+n]...))
	}
	for _, c := range []struct {
		name    string
		packets [][]byte
		reason  wire.Reason
	}{
		{"every truncation behind the header", cut, wire.Short},
		{"TTL 254", [][]byte{make(254, nil, nil)}, wire.BadTTL},
		{"version 3", [][]byte{make(255, func(a *wire.Advert) { a.Version = 3 }, nil)}, wire.BadVersion},
		{"an unknown authentication type", [][]byte{make(255, func(a *wire.Advert) { a.AuthType = 7 }, nil)}, wire.BadAuthType},
		{"no authentication", [][]byte{make(255, func(a *wire.Advert) { a.AuthType = 0 }, nil)}, wire.AuthMismatch},
		{"a wrong password", [][]byte{make(255, func(a *wire.Advert) { a.Auth[0] = 'x' }, nil)}, wire.AuthFailed},
		{"another interval", [][]byte{make(255, func(a *wire.Advert) { a.Interval = 2 * time.Second }, nil)}, wire.BadInterval},
		{"another type", [][]byte{make(255, nil, func(p []byte) []byte { p[0] = 0x22; return p })}, wire.BadType},
		{"bytes behind the end", [][]byte{make(255, nil, func(p []byte) []byte { return append(p, 1, 2, 3, 4) })}, wire.Long},
		{"a wrong checksum", [][]byte{make(255, nil, func(p []byte) []byte { p[6] ^= 1; return p })}, wire.BadChecksum},
	} {
		before := a.snapshot().Instances[0].Stats.Rejected[c.reason]
		l.inject(2, c.packets...)
		l.eventually(c.name, 2*time.Second, func() bool {
			return a.snapshot().Instances[0].Stats.Rejected[c.reason] == before+uint64(len(c.packets))
		})
	}
	unknown := a.snapshot().UnknownVRID
	l.inject(2, make(255, func(a *wire.Advert) { a.VRID = 99 }, nil))
	l.eventually("another VRID", 2*time.Second, func() bool { return a.snapshot().UnknownVRID == unknown+1 })
	l.inject(2, make(255, func(a *wire.Advert) { a.VRID = 99 }, nil))
	l.eventually("a second time", 2*time.Second, func() bool { return a.snapshot().UnknownVRID == unknown+2 })
	const stranger = "Unknown VRID(99) received on interface(eth0) from 10.9.0.2. ignoring..."
	l.eventually("a stranger is named", 2*time.Second, func() bool { return a.log.has(stranger) })
	if n := strings.Count(a.log.all(), stranger); n != 1 {
		t.Errorf("a stranger is named %d times, want once", n)
	}
	s := a.snapshot().Instances[0]
	if s.State != Master || s.Stats.AdvertRcvd != 0 {
		t.Errorf("state %s, %d adverts accepted", s.State, s.Stats.AdvertRcvd)
	}
	l.inject(2, sound)
	l.eventually("a sound advert with a higher priority is believed", 2*time.Second, func() bool { return a.state("VI_1") == Backup && !l.has(1, "10.9.0.100") })
}

func TestADeadLinkIsAFaultAndRecovers(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	l.run("ip link set %s down", l.port(1))
	l.eventually("fault", 2*time.Second, func() bool { return a.state("VI_1") == Fault && !l.has(1, "10.9.0.100") })
	l.run("ip link set %s up", l.port(1))
	l.eventually("backup", 2*time.Second, func() bool { return a.went("VI_1", Backup) >= 2 })
	l.eventually("master again", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	l.in(1, "ip addr del 10.9.0.1/24 dev eth0")
	l.eventually("fault without an address of its own", 2*time.Second, func() bool { return a.state("VI_1") == Fault })
	before := a.went("VI_1", Backup)
	l.in(1, "ip addr add 10.9.0.1/24 dev eth0")
	l.eventually("backup again", 2*time.Second, func() bool { return a.went("VI_1", Backup) > before })
	for _, want := range []string{"Netlink reports eth0 down", "(VI_1) Entering FAULT STATE", "Netlink reports eth0 up", "(VI_1) Entering BACKUP STATE (init)", "(VI_1) removing VIPs."} {
		if !a.log.has(want) {
			t.Errorf("no line %q", want)
		}
	}
}

// Adverts to a group cannot be heard or sent there, as the reference says; those to peers can.
func TestALinkWithoutMulticastIsAFaultUnlessThereArePeers(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	group, peers := testInstance("VI_1", 51, 100, "10.9.0.100/24"), testInstance("VI_2", 52, 100, "10.9.0.101/24")
	peers.Unicast, peers.Peers = true, []Peer{{Addr: netip.MustParseAddr("10.9.0.9")}}
	l.in(1, "ip link set eth0 multicast off")
	a := l.start(1, &Config{Instances: []*InstanceConfig{group, peers}}, Options{})
	l.eventually("master of the one with peers only", 6*time.Second, func() bool { return l.has(1, "10.9.0.101") })
	if s := a.snapshot().Instances[0]; s.State != Fault || !slices.Equal(s.Faults, []string{"link eth0 does not support multicast"}) {
		t.Errorf("state %s, faults %q", s.State, s.Faults)
	}
	l.in(1, "ip link set eth0 multicast on")
	l.eventually("master once there is multicast", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	l.in(1, "ip link set eth0 multicast off")
	l.eventually("fault", 2*time.Second, func() bool { return a.state("VI_1") == Fault && !l.has(1, "10.9.0.100") })
	if why := a.left("VI_2"); why != nil {
		t.Errorf("the one with peers was no master for a while: %q", why)
	}
}

func TestARemovedAddressCostsTheMastershipUnlessNotTracked(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24", "10.9.0.101/24")
	c.VIPs[1].NoTrack = true
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return l.has(1, "10.9.0.101") })
	l.in(1, "ip addr del 10.9.0.101/24 dev eth0")
	time.Sleep(200 * time.Millisecond)
	if why := a.left("VI_1"); why != nil {
		t.Errorf("an address with no_track was missed: %q", why)
	}
	l.eventually("still master, or again", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	l.in(1, "ip addr del 10.9.0.100/24 dev eth0")
	l.eventually("backup", 2*time.Second, func() bool {
		return slices.Contains(a.left("VI_1"), "virtual address, route or rule was removed by somebody else")
	})
	l.eventually("master again with both", 6*time.Second, func() bool { return l.has(1, "10.9.0.100") && l.has(1, "10.9.0.101") })
}

func TestLeftoversOfAKilledPredecessorAreRemoved(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.in(1, "ip addr add 10.9.0.100/24 dev eth0")
	l.inNamespace(1, func() { // as the predecessor would have
		k, err := vip.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()
		dev, _ := net.InterfaceByName("eth0")
		for _, err := range k.Apply([]vip.Change{{Add: true, Index: dev.Index, Addr: &vip.Address{Prefix: netip.MustParsePrefix("10.9.0.77/24")}}}) {
			if err != nil {
				t.Error(err)
			}
		}
	})
	l.in(1, "ip addr add 10.9.0.78/24 dev eth0")
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{Reclaim: true})
	l.eventually("own address and tagged address are gone", 2*time.Second, func() bool { return !l.has(1, "10.9.0.100") && !l.has(1, "10.9.0.77") })
	if !l.has(1, "10.9.0.78") || !l.has(1, "10.9.0.1") {
		t.Error("somebody else's address was removed")
	}
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
}

func TestAMissingInterfaceIsSaidBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Iface = "none0"
	l.inNamespace(1, func() {
		_, err := New(&Config{Instances: []*InstanceConfig{c}}, Options{})
		var se *SetupError
		if !errors.As(err, &se) || se.Kind != NoInterface || err.Error() != "(VI_1) find the interface on interface none0: it does not exist" {
			t.Errorf("%v", err)
		}
	})
}

func TestWhatTheLANSeesOfATakeover(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	stop := l.capture(1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24", "10.9.0.101/32")
	c.GARP.Delay = 500 * time.Millisecond
	c.DownTimerAdverts = 8 // that the machine stands still for a few seconds costs no second takeover
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("both bursts", 12*time.Second, func() bool { return a.snapshot().Instances[0].Stats.Announced == 20 })
	time.Sleep(300 * time.Millisecond)
	a.stop()
	path := stop()
	mac := l.in(1, "cat /sys/class/net/eth0/address")
	var want []string
	for range 10 {
		for _, v := range []string{"10.9.0.100", "10.9.0.101"} {
			want = append(want, fmt.Sprintf("1|%s|%s|%s|ff:ff:ff:ff:ff:ff|ff:ff:ff:ff:ff:ff|42", v, v, strings.TrimSpace(mac)))
		}
	}
	got := l.tshark(path, "arp.src.proto_ipv4 == 10.9.0.100 || arp.src.proto_ipv4 == 10.9.0.101", "arp.opcode", "arp.src.proto_ipv4", "arp.dst.proto_ipv4", "arp.src.hw_mac", "arp.dst.hw_mac", "eth.dst", "frame.len")
	if !slices.Equal(got, want) {
		t.Errorf("gratuitous ARPs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	ids := l.tshark(path, "vrrp", "ip.id", "frame.len", "vrrp.prio")
	for i, s := range ids {
		prio := 100
		if i == len(ids)-1 {
			prio = 0
		}
		if w := fmt.Sprintf("0x%04x|58|%d", i+1, prio); s != w {
			t.Errorf("advert %d is %s, want %s", i, s, w)
		}
	}
	first := l.tshark(path, "vrrp || arp.isgratuitous", "_ws.col.Protocol")
	if len(first) == 0 || first[0] != "VRRP" {
		t.Errorf("the advert comes first, not %q", first[:min(1, len(first))])
	}
}

func TestAVirtualMACCarriesTheAddressAndTheAdverts(t *testing.T) {
	t.Parallel()
	for _, base := range []bool{false, true} {
		l := newLAN(t, 2)
		stop := l.capture(1)
		c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
		c.VMAC = &VMACConfig{XmitBase: base}
		a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
		if out := l.run("ip -n %s -d link show vrrp.51", l.ns(1)); !strings.Contains(out, "00:00:5e:00:01:33") || !strings.Contains(out, "macvlan mode private") {
			t.Errorf("a backup has its VMAC, too: %s", out)
		}
		l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
		a.patient()
		l.answers(2, "10.9.0.100")
		l.answers(2, "10.9.0.1")
		l.eventually("two adverts", 4*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertSent >= 2 })
		neigh := l.run("ip -n %s neigh show", l.ns(2))
		mac := strings.TrimSpace(l.in(1, "cat /sys/class/net/eth0/address"))
		if !strings.Contains(neigh, "10.9.0.100 dev eth0 lladdr 00:00:5e:00:01:33") || !strings.Contains(neigh, "10.9.0.1 dev eth0 lladdr "+mac) {
			t.Errorf("neighbours of router 2: %s", neigh)
		}
		a.stop()
		if _, err := l.try("ip -n %s link show vrrp.51", l.ns(1)); err == nil {
			t.Error("the VMAC is still there")
		}
		want := "00:00:5e:00:01:33"
		if base {
			want = mac
		}
		lines := l.tshark(stop(), "vrrp", "eth.src", "ip.src", "vrrp.checksum.status")
		for _, got := range lines {
			if got != want+"|10.9.0.1|1" {
				t.Errorf("advert %s, want from %s", got, want)
			}
		}
		if len(lines) < 2 {
			t.Errorf("%d adverts", len(lines))
		}
	}
}

func TestSignedAdvertsBetweenTwoEngines(t *testing.T) {
	t.Parallel()
	for _, v6 := range []bool{false, true} {
		l := newLAN(t, 2)
		make := func(prio uint8, key byte) *Config {
			c := testInstance("VI_1", 51, prio, "10.9.0.100/24")
			if v6 {
				c = testInstance("VI_1", 51, prio, "fe80::100/64")
				c.IPv6 = true
			}
			c.Version, c.AdvertInt = 3, 300*time.Millisecond
			c.HMAC = &HMACConfig{ActiveKey: 1, Keys: []HMACKey{{ID: 1, Secret: bytes.Repeat([]byte{key}, 32)}}}
			return &Config{Instances: []*InstanceConfig{c}}
		}
		a := l.start(1, make(150, 'k'), Options{})
		b := l.start(2, make(100, 'k'), Options{})
		l.eventually("the better one leads and is heard", 5*time.Second, func() bool {
			return a.state("VI_1") == Master && b.state("VI_1") == Backup && b.snapshot().Instances[0].Stats.AdvertRcvd > 3
		})
		if r := b.snapshot().Instances[0].Stats.Rejected; len(r) != 0 {
			t.Errorf("rejected %v", r)
		}
		b.stop()
		c := l.start(2, make(100, 'x'), Options{})
		l.eventually("another key is refused and counted", 5*time.Second, func() bool {
			s := c.snapshot().Instances[0].Stats
			return s.Counter("auth_ext_invalid_hmac") > 1 && s.AdvertRcvd == 0
		})
	}
}

// answers waits until an address answers a ping of router i.
func (l *lan) answers(i int, addr string) {
	l.t.Helper()
	l.eventually(addr+" answers", 6*time.Second, func() bool {
		_, err := l.try("ip netns exec %s ping -c 1 -W 1 %s", l.ns(i), addr)
		return err == nil
	})
}

func TestNoAcceptAnswersARPAndNothingElse(t *testing.T) {
	testneed.Need(t, "nft")
	t.Parallel()
	l := newLAN(t, 2)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Accept = false
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
	a.patient()
	l.eventually("ARP is answered, and nothing else", 4*time.Second, func() bool {
		if _, err := l.try("ip netns exec %s ping -c 1 -W 1 10.9.0.100", l.ns(2)); err == nil {
			t.Fatal("the virtual address answers")
		}
		return strings.Contains(l.run("ip -n %s neigh show", l.ns(2)), "10.9.0.100 dev eth0 lladdr")
	})
	l.answers(2, "10.9.0.1")
	a.stop()
	if out, _ := l.try("ip netns exec %s nft list tables", l.ns(1)); strings.Contains(out, "keepalived") {
		t.Errorf("left behind: %s", out)
	}
}

func TestTrackSrcIPIsAFaultWhileTheAddressIsMissing(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Src, c.TrackSrcIP = netip.MustParseAddr("10.9.0.7"), true
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("fault", 2*time.Second, func() bool { return a.state("VI_1") == Fault })
	l.in(1, "ip addr add 10.9.0.7/24 dev eth0")
	l.eventually("backup", 2*time.Second, func() bool { return a.went("VI_1", Backup) > 0 })
}
