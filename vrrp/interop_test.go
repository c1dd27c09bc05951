package vrrp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/vrrp/vip"
	"releve/vrrp/wire"
)

// kind is one way to speak VRRP, in our words and in those of keepalived.conf.
type kind struct {
	name   string
	vip    string // as `ip addr` prints it
	block  string // %s: nothing
	peers  [2]string
	change func(c *InstanceConfig)
	judge  []string // tshark fields of every advert of ours, and what they have to be
	want   string
}

func kinds() []kind {
	addr := func(c *InstanceConfig, list ...string) {
		c.VIPs = nil
		for _, a := range list {
			c.VIPs = append(c.VIPs, vip.Address{Prefix: netip.MustParsePrefix(a), NoDAD: true})
		}
	}
	return []kind{
		{name: "version 2", vip: "10.9.0.100", block: "advert_int 1\n virtual_ipaddress { 10.9.0.100/24\n 10.9.0.101 }",
			change: func(c *InstanceConfig) { addr(c, "10.9.0.100/24", "10.9.0.101/32") },
			judge:  []string{"vrrp.version", "vrrp.ip_addr", "vrrp.adver_int", "vrrp.auth_type", "vrrp.checksum.status", "ip.dst", "ip.ttl", "ip.dsfield", "eth.dst", "ip.flags.df"},
			want:   "2|10.9.0.100,10.9.0.101|1|0|1|224.0.0.18|255|0xc0|01:00:5e:00:00:12|0"},
		{name: "version 2 with a password", vip: "10.9.0.100", block: "advert_int 1\n authentication { auth_type PASS\n auth_pass secret }\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) { c.Auth = AuthPass; copy(c.AuthPass[:], "secret") },
			judge:  []string{"vrrp.version", "vrrp.auth_type", "vrrp.auth_string", "vrrp.checksum.status"}, want: "2|1|secret|1"},
		{name: "version 2 with an authentication header", vip: "10.9.0.100", block: "advert_int 1\n authentication { auth_type AH\n auth_pass secret12 }\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) { c.Auth = AuthAH; copy(c.AuthPass[:], "secret12") },
			judge:  []string{"vrrp.version", "vrrp.auth_type", "vrrp.checksum.status", "ip.proto", "ah.spi"}, want: "2|2|1|51|0x0a090001"},
		{name: "version 3", vip: "10.9.0.100", block: "version 3\n advert_int 0.3\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) { c.Version, c.AdvertInt = 3, 300*time.Millisecond },
			judge:  []string{"vrrp.version", "vrrp.short_adver_int", "vrrp.checksum.status"}, want: "3|30|1"},
		{name: "version 3 over IPv6", vip: "fd09::100", block: "version 3\n advert_int 0.3\n virtual_ipaddress { fe80::100/64\n fd09::100/64 }",
			change: func(c *InstanceConfig) {
				c.Version, c.AdvertInt, c.IPv6 = 3, 300*time.Millisecond, true
				addr(c, "fe80::100/64", "fd09::100/64")
			},
			judge: []string{"vrrp.version", "vrrp.ipv6_addr", "vrrp.short_adver_int", "vrrp.checksum.status", "ipv6.dst", "ipv6.hlim", "ipv6.tclass", "eth.dst"},
			want:  "3|fe80::100,fd09::100|30|1|ff02::12|255|0x000000c0|33:33:00:00:00:12"},
		{name: "unicast version 2", vip: "10.9.0.100", block: "advert_int 1\n unicast_src_ip 10.9.0.SELF\n unicast_peer { 10.9.0.PEER }\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) {
				c.Src, c.Peers = netip.MustParseAddr("10.9.0.1"), []Peer{{Addr: netip.MustParseAddr("10.9.0.2")}}
			},
			judge: []string{"vrrp.version", "vrrp.checksum.status", "ip.dst", "ip.ttl"}, want: "2|1|10.9.0.2|255"},
		{name: "unicast version 3", vip: "10.9.0.100", block: "version 3\n advert_int 0.3\n unicast_src_ip 10.9.0.SELF\n unicast_peer { 10.9.0.PEER }\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) {
				c.Version, c.AdvertInt = 3, 300*time.Millisecond
				c.Src, c.Peers = netip.MustParseAddr("10.9.0.1"), []Peer{{Addr: netip.MustParseAddr("10.9.0.2")}}
			},
			judge: []string{"vrrp.version", "vrrp.checksum.status", "ip.dst", "ip.ttl"}, want: "3|1|10.9.0.2|255"},
		{name: "a virtual MAC", vip: "10.9.0.100", block: "use_vmac\n advert_int 1\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) { c.VMAC = &VMACConfig{} },
			judge:  []string{"eth.src", "vrrp.checksum.status", "ip.src"}, want: "00:00:5e:00:01:33|1|10.9.0.1"},
		{name: "a virtual MAC over IPv6", vip: "fd09::100", block: "use_vmac\n version 3\n advert_int 0.3\n virtual_ipaddress { fe80::100/64\n fd09::100/64 }",
			change: func(c *InstanceConfig) {
				c.Version, c.AdvertInt, c.IPv6, c.VMAC = 3, 300*time.Millisecond, true, &VMACConfig{}
				addr(c, "fe80::100/64", "fd09::100/64")
			},
			judge: []string{"eth.src", "vrrp.checksum.status", "ipv6.dst"}, want: "00:00:5e:00:02:33|1|ff02::12"},
		{name: "a virtual MAC that adverts do not come from", vip: "10.9.0.100", block: "use_vmac\n vmac_xmit_base\n version 3\n advert_int 0.3\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) {
				c.Version, c.AdvertInt, c.VMAC = 3, 300*time.Millisecond, &VMACConfig{XmitBase: true}
			},
			judge: []string{"vrrp.version", "vrrp.checksum.status", "ip.src"}, want: "3|1|10.9.0.1"},
		{name: "unicast version 3 with the old checksum", vip: "10.9.0.100", block: "version 3\n advert_int 0.3\n old_unicast_checksum\n unicast_src_ip 10.9.0.SELF\n unicast_peer { 10.9.0.PEER }\n virtual_ipaddress { 10.9.0.100/24 }",
			change: func(c *InstanceConfig) {
				c.Version, c.AdvertInt, c.OldUnicastChecksum = 3, 300*time.Millisecond, true
				c.Src, c.Peers = netip.MustParseAddr("10.9.0.1"), []Peer{{Addr: netip.MustParseAddr("10.9.0.2")}}
			},
			judge: []string{"vrrp.version", "vrrp.checksum.status", "ip.dst"}, want: "3|0|10.9.0.2"},
	}
}

func (k *kind) ours(prio uint8) *Config {
	c := testInstance("VI_1", 51, prio, "10.9.0.100/24")
	k.change(c)
	return &Config{Instances: []*InstanceConfig{c}}
}

// theirs is the configuration for the reference as router 2.
func (k *kind) theirs(prio int) string {
	return conf(prio, strings.NewReplacer("SELF", "2", "PEER", "1").Replace(k.block))
}

// checksum is what tshark has to say of it: it knows no old one.
func (k *kind) checksum() string {
	if strings.Contains(k.block, "old_unicast_checksum") {
		return "0"
	}
	return "1"
}

// judgeFrames lets tshark look at every advert that router 1 sent.
func (k *kind) judgeFrames(l *lan, path string) {
	l.t.Helper()
	src := "ip.src == 10.9.0.1"
	if strings.Contains(k.vip, ":") {
		for _, w := range strings.Fields(l.in(1, "ip -6 -o addr show dev eth0 scope link")) {
			if strings.HasPrefix(w, "fe80::") && !strings.HasPrefix(w, "fe80::100/") {
				src = "ipv6.src == " + strings.TrimSuffix(w, "/64")
			}
		}
	}
	lines := l.tshark(path, "vrrp && !icmp && "+src, k.judge...)
	if len(lines) == 0 {
		l.t.Errorf("tshark finds no advert of ours")
	}
	for _, got := range lines {
		if got != k.want {
			l.t.Errorf("tshark reads %s, want %s", got, k.want)
		}
	}
}

func TestInteropTheReferenceWinsAndWeTakeOver(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			l := newLAN(t, 2)
			stop := l.capture(1)
			a := l.start(1, k.ours(100), Options{})
			l.eventually("we are master while we are alone", 6*time.Second, func() bool { return a.state("VI_1") == Master && l.has(1, k.vip) })
			ref := l.keepalived(2, k.theirs(150))
			l.eventually("keepalived takes over", 8*time.Second, func() bool { return l.has(2, k.vip) && !l.has(1, k.vip) })
			l.eventually("adverts are heard", 3*time.Second, func() bool { return a.snapshot().Instances[0].Stats.AdvertRcvd > 2 })
			rejected := a.snapshot().Instances[0].Stats.Rejected
			if rejected[wire.AHReplay] == 1 {
				delete(rejected, wire.AHReplay) // two masters that speak in the same moment have the same sequence number, once
			}
			if len(rejected) != 0 {
				t.Errorf("rejected %v", rejected)
			}
			l.eventually("we are backup", 3*time.Second, func() bool { return a.state("VI_1") == Backup })
			ref.term()
			l.eventually("we take over from a stopped keepalived", 3*time.Second, func() bool { return l.has(1, k.vip) && !l.has(2, k.vip) })
			k.judgeFrames(l, stop())
		})
	}
}

func TestInteropWeWinAndTheReferenceTakesOver(t *testing.T) {
	for _, k := range kinds() {
		scenario := func(t *testing.T) (disturbed bool) {
			l := newLAN(t, 2)
			stop := l.capture(1)
			ref := l.keepalived(2, k.theirs(100))
			l.eventually("keepalived is master while it is alone", 6*time.Second, func() bool { return l.has(2, k.vip) })
			a := l.start(1, k.ours(150), Options{})
			l.eventually("we take over", 8*time.Second, func() bool { return l.has(1, k.vip) && !l.has(2, k.vip) })
			if a.wasSuspended() {
				a.stop()
				ref.kill()
				return true
			}
			a.stop()
			l.eventually("keepalived takes over from us", 3*time.Second, func() bool { return l.has(2, k.vip) && !l.has(1, k.vip) })
			want := []string{"INSTANCE VI_1 BACKUP 150", "INSTANCE VI_1 MASTER 150", "INSTANCE VI_1 STOP 150"}
			if got := slices.DeleteFunc(a.got(), func(s string) bool { return strings.Contains(s, "RX_LOWER") }); !slices.Equal(got, want) {
				t.Errorf("events %q, want %q", got, want)
			}
			b := l.start(1, k.ours(90), Options{})
			l.eventually("we hear keepalived", 3*time.Second, func() bool { return b.snapshot().Instances[0].Stats.AdvertRcvd > 0 })
			ref.kill()
			l.eventually("we take over from a killed keepalived", 6*time.Second, func() bool { return l.has(1, k.vip) })
			resign := l.tshark(stop(), "vrrp.prio == 0 && !icmp && vrrp.checksum.status == "+k.checksum(), "vrrp.prio")
			if len(resign) != 1 {
				t.Errorf("%d resignations with the right checksum, want 1", len(resign))
			}
			b.stop()
			return false
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			attempts(t, scenario)
		})
	}
}
