package vrrp

import (
	"strings"
	"testing"
	"time"

	"releve/vrrp/track"
)

func TestAShortLossOfTheLinkIsForgivenALongOneIsNot(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}, IfaceDelays: map[string]IfaceDelay{"eth0": {Down: 1500 * time.Millisecond, Up: 500 * time.Millisecond}}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	reports := func(what string) int { return strings.Count(a.log.all(), "Netlink reports eth0 "+what) }
	for try := 1; ; try++ {
		down, up, left, begin := reports("down"), reports("up"), len(a.left("VI_1")), time.Now()
		l.run("ip link set %s down", l.port(1))
		l.eventually("the kernel reports the loss", 2*time.Second, func() bool { return reports("down") > down })
		l.run("ip link set %s up", l.port(1))
		l.eventually("and the return", 2*time.Second, func() bool { return reports("up") > up })
		short := time.Since(begin) < 1500*time.Millisecond
		if why := a.left("VI_1"); short && len(why) > left {
			t.Fatalf("left for %q", why)
		}
		if short {
			break
		}
		if try == 10 {
			t.Fatal("no loss was short, so busy is the machine")
		}
		l.eventually("master again", 8*time.Second, func() bool { return a.state("VI_1") == Master })
	}
	l.eventually("master, or again after a standstill", 8*time.Second, func() bool { return a.state("VI_1") == Master })
	l.run("ip link set %s down", l.port(1))
	begin := time.Now()
	l.eventually("fault", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	if d := time.Since(begin); d < time.Second {
		t.Errorf("fault after %s, want the delay to pass", d)
	}
	l.run("ip link set %s up", l.port(1))
	l.eventually("master again", 8*time.Second, func() bool { return a.state("VI_1") == Master })
}

func TestThePolledLinkCounts(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	c := testInstance("VI_1", 51, 100, "10.9.0.100/24")
	a := l.start(1, &Config{Instances: []*InstanceConfig{c}, Linkbeat: []Linkbeat{{Iface: "eth0", Method: track.MII}}}, Options{})
	l.eventually("master", 6*time.Second, func() bool { return a.state("VI_1") == Master })
	l.eventually("it is said that veth has no MII", 4*time.Second, func() bool { return a.log.has("(eth0): Configured linkbeat type MII not supported, using ETHTOOL") })
	l.run("ip link set %s down", l.port(1))
	l.eventually("fault", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
	l.eventually("polling has found it", 4*time.Second, func() bool { return a.log.has("Linkbeat reports eth0 down") })
	l.run("ip link set %s up", l.port(1))
	l.eventually("master again", 8*time.Second, func() bool { return a.state("VI_1") == Master })
	err := a.e.Reload(t.Context(), &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}})
	if err != nil {
		t.Fatal(err)
	}
	l.run("ip link set %s down", l.port(1))
	l.eventually("fault without polling", 4*time.Second, func() bool { return a.state("VI_1") == Fault })
}

func TestLinksAreAskedInEveryWayTheDriverKnows(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 1)
	for _, up := range []bool{true, false} {
		if !up {
			l.run("ip link set %s down", l.port(1))
			l.linkIs(1, "eth0", false) // IFF_RUNNING follows when the kernel tells of it
		}
		l.inNamespace(1, func() {
			b, err := track.OpenLinkbeat()
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			for method, want := range map[string]string{track.Ethtool: track.Ethtool, track.Ioctl: track.Ioctl, "": track.Ethtool} {
				if got, used, err := b.Probe("eth0", method); err != nil || got != up || used != want {
					t.Errorf("%q: %v by %s, %v; want %v by %s", method, got, used, err, up, want)
				}
			}
			if _, _, err := b.Probe("none", ""); err == nil {
				t.Error("an interface that does not exist could be asked")
			}
		})
	}
}
