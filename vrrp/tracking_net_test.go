package vrrp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"releve/vrrp/vip"
)

// weighed waits until the instance has a priority.
func (n *node) weighed(what string, prio uint8) {
	n.l.t.Helper()
	n.l.eventually(fmt.Sprintf("priority %d with %s", prio, what), 4*time.Second, func() bool { return n.snapshot().Instances[0].Priority == prio })
}

func TestTrackedInterfacesChangeThePriorityOrMeanFault(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	l.plug(1, "eth1", "")
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Version, c.AdvertInt = 3, 100*time.Millisecond
	c.Track = &TrackConfig{Ifaces: []TrackRef{{Name: "eth1", Weight: -20, HasWeight: true}}}
	a := l.start(1, &Config{DynamicInterfaces: true, Instances: []*InstanceConfig{c}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	link := func(up bool) {
		l.run("ip link set %sn %s", l.port(1), map[bool]string{true: "up", false: "down"}[up])
	}
	for _, c := range []struct {
		ref      TrackRef
		up, down uint8 // priority; 0: fault
	}{
		{TrackRef{Weight: -20, HasWeight: true}, 100, 80},
		{TrackRef{Weight: 20, HasWeight: true}, 120, 100},
		{TrackRef{Weight: -20, HasWeight: true, Reverse: true}, 80, 100},
		{TrackRef{Weight: 0, HasWeight: true}, 100, 0},
		{TrackRef{Weight: 0, HasWeight: true, Reverse: true}, 0, 100},
	} {
		if err := a.e.Reload(context.Background(), &Config{DynamicInterfaces: true, Instances: []*InstanceConfig{a.with(c.ref)}}); err != nil {
			t.Fatal(err)
		}
		for _, up := range []bool{true, false, true} {
			link(up)
			want := c.up
			if !up {
				want = c.down
			}
			what := fmt.Sprintf("%+v and the link up %v", c.ref, up)
			if want == 0 {
				l.eventually("fault with "+what, 4*time.Second, func() bool { return a.state("VI_1") == Fault })
				continue
			}
			a.weighed(what, want)
			l.eventually("no fault with "+what, 4*time.Second, func() bool { return a.state("VI_1") != Fault })
		}
	}
	link(false) // with the last one that is no fault
	l.eventually("no fault", 4*time.Second, func() bool { return a.state("VI_1") != Fault })
	l.run("ip link del %sn", l.port(1))
	l.eventually("an interface that is gone is down", 4*time.Second, func() bool { return a.snapshot().Instances[0].Priority == 100 && a.state("VI_1") != Fault })
}

// with is the configuration of the first instance with another tracked interface.
func (n *node) with(r TrackRef) *InstanceConfig {
	d := *n.snapshot().Instances[0].Config
	r.Name = "eth1"
	d.Track = &TrackConfig{Ifaces: []TrackRef{r}}
	return &d
}

func TestTrackedFilesChangeThePriorityOrMeanFault(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	path := filepath.Join(l.dir, "number")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	c.Track = &TrackConfig{Files: []TrackRef{{Name: "f"}}}
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}, Files: []*FileConfig{{Name: "f", Path: path, Weight: 2, InitValue: 5, HasInit: true}}}, Options{})
	a.weighed("the initial value, which is written into the file", 110)
	l.eventually("the file is there", 4*time.Second, func() bool { b, err := os.ReadFile(path); return err == nil && string(b) == "5\n" })
	for _, s := range []struct {
		text string
		prio uint8
	}{{"10\n", 120}, {"-10", 80}, {"100", 254}, {"-50", 1}, {"", 100}, {"7", 114}} {
		write(s.text)
		a.weighed(fmt.Sprintf("%q in the file", s.text), s.prio)
	}
	if err := os.WriteFile(path+".new", []byte("3"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	a.weighed("a file that was renamed into place", 106)
	write("-127")
	l.eventually("-254 is a fault", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	write("0")
	l.eventually("which ends", 4*time.Second, func() bool { return a.state("VI_1") != Fault })
	write("12")
	a.weighed("12 in the file", 124)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	a.weighed("no file, which counts as 0", 100)
}

func TestAnInstanceWithoutAnInterfaceSpeaksUnicast(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	make := func(src, peer string, prio uint8) *Config {
		c := testInstance("VI_1", 51, prio)
		c.Iface, c.Version, c.AdvertInt, c.Unicast = "", 3, 200*time.Millisecond, true
		c.VIPs = []vip.Address{{Prefix: netip.MustParsePrefix("10.9.0.100/24"), Dev: "eth0"}}
		c.Peers = []Peer{{Addr: netip.MustParseAddr(peer)}}
		if src != "" {
			c.Src = netip.MustParseAddr(src)
		}
		return &Config{Instances: []*InstanceConfig{c}}
	}
	a := l.start(1, make("", "10.9.0.2", 100), Options{}) // the way to the peer tells the source
	b := l.start(2, make("10.9.0.2", "10.9.0.1", 150), Options{})
	l.eventually("the better one is master", 6*time.Second, func() bool { return b.state("VI_1") == Master && l.has(2, "10.9.0.100") && a.state("VI_1") == Backup })
	if s := a.snapshot().Instances[0]; s.Source != netip.MustParseAddr("10.9.0.1") || s.Stats.AdvertRcvd == 0 {
		t.Errorf("source %s, %d adverts", s.Source, s.Stats.AdvertRcvd)
	}
	b.stop()
	l.eventually("the other one takes over", 4*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, "10.9.0.100") })
	a.stop()
	if l.has(1, "10.9.0.100") {
		t.Error("address left behind")
	}
	if got := a.got(); !slices.Contains(got, "INSTANCE VI_1 MASTER 100") {
		t.Errorf("events %q", got)
	}
}

func TestKeysAreChangedWithoutAStateChange(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	key := func(id uint8) HMACKey { return HMACKey{ID: id, Secret: slices.Repeat([]byte{'a' + id}, 32)} }
	cfg := func(prio, active uint8, keys ...HMACKey) *Config {
		c := testInstance("VI_1", 51, prio, "10.9.0.100/24")
		c.Version, c.AdvertInt, c.DownTimerAdverts = 3, 200*time.Millisecond, 100 // which does not care whether the machine stands still
		c.HMAC = &HMACConfig{Keys: keys, ActiveKey: active}
		return &Config{Instances: []*InstanceConfig{c}}
	}
	a, b := l.start(1, cfg(100, 1, key(1)), Options{}), l.start(2, cfg(150, 1, key(1)), Options{Resume: map[string]bool{"VI_1": true}})
	l.eventually("the better one is master", 6*time.Second, func() bool { return b.state("VI_1") == Master && a.state("VI_1") == Backup })
	reload := func(n *node, prio, active uint8, keys ...HMACKey) {
		t.Helper()
		if err := n.e.Reload(context.Background(), cfg(prio, active, keys...)); err != nil {
			t.Fatal(err)
		}
		heard := a.snapshot().Instances[0].Stats.AdvertRcvd
		l.eventually("adverts are still heard", 4*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertRcvd > heard+2 })
	}
	reload(a, 100, 1, key(1), key(2)) // the new key is learnt everywhere,
	reload(b, 150, 1, key(1), key(2))
	reload(b, 150, 2, key(1), key(2)) // then used,
	reload(a, 100, 2, key(1), key(2))
	reload(a, 100, 2, key(2)) // then the old one forgotten
	reload(b, 150, 2, key(2))
	for _, n := range []*node{a, b} {
		if s := n.snapshot().Instances[0]; s.Stats.Counter("auth_ext_invalid_hmac")+s.Stats.Counter("auth_ext_unknown_key")+s.Stats.Counter("auth_ext_replay") > 0 {
			t.Errorf("rejected %v", s.Stats.Rejected)
		}
	}
	if got := a.got(); len(got) != 1 {
		t.Errorf("events of the backup: %q", got)
	}
}
