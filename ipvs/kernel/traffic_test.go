package kernel_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
)

func TestIPVSNATTraffic(t *testing.T) {
	p := open(t)
	l := newLab(t, 3)
	l.serve(80)
	weights := func(v string, at func(i, port int) string, scheduler string, proto ipvs.Protocol, w ...int) ipvs.Service {
		s := service(proto, v, scheduler)
		for i, weight := range w {
			s.Dests = append(s.Dests, dest(at(i+1, 80), weight))
		}
		return s
	}
	to, to6 := vip+":80", "["+vip6+"]:80"
	for _, c := range []struct {
		name string
		s    ipvs.Service
		do   func() map[string]int
		want map[string]int
	}{
		{"round robin gives each its turn", weights(to, l.at, "rr", ipvs.TCP, 1, 1, 1), func() map[string]int { return l.spread(to, 9) }, map[string]int{"s1": 3, "s2": 3, "s3": 3}},
		{"weighted round robin goes by weight", weights(to, l.at, "wrr", ipvs.TCP, 1, 2, 3), func() map[string]int { return l.spread(to, 18) }, map[string]int{"s1": 3, "s2": 6, "s3": 9}},
		{"weight 0 gets nothing new", weights(to, l.at, "wrr", ipvs.TCP, 0, 1, 1), func() map[string]int { return l.spread(to, 6) }, map[string]int{"s2": 3, "s3": 3}},
		{"source hash stays with one", weights(to, l.at, "sh", ipvs.TCP, 1, 1, 1), func() map[string]int { return only(l.spread(to, 6)) }, map[string]int{"one": 6}},
		{"IPv6 round robin", weights(to6, l.at6, "rr", ipvs.TCP, 1, 1, 1), func() map[string]int { return l.spread(to6, 9) }, map[string]int{"s1": 3, "s2": 3, "s3": 3}},
		{"IPv6 by weight", weights(to6, l.at6, "wrr", ipvs.TCP, 3, 1, 0), func() map[string]int { return l.spread(to6, 8) }, map[string]int{"s1": 6, "s2": 2}},
		{"UDP from one port stays with one server", weights(to, l.at, "rr", ipvs.UDP, 1, 1, 1), func() map[string]int { return only(l.ask(to, 6)) }, map[string]int{"one": 6}},
		{"UDP one packet at a time takes turns", with(weights(to, l.at, "rr", ipvs.UDP, 1, 1, 1), func(s *ipvs.Service) { s.Flags = ipvs.OnePacket }),
			func() map[string]int { return l.ask(to, 6) }, map[string]int{"s1": 2, "s2": 2, "s3": 2}},
		{"persistence keeps a client with its server", with(weights(to, l.at, "rr", ipvs.TCP, 1, 1, 1), func(s *ipvs.Service) { s.Flags, s.Timeout = ipvs.Persistent, 60*time.Second }),
			func() map[string]int { return only(l.spread(to, 6)) }, map[string]int{"one": 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			become(t, p, ipvs.Table{})
			become(t, p, table(c.s))
			if got := c.do(); !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v\n%s", got, c.want, ipvsadm(t, "-Ln"))
			}
		})
	}
}

// only merges the counts of a single server, whichever it is.
func only(seen map[string]int) map[string]int {
	if len(seen) == 1 {
		for _, n := range seen {
			return map[string]int{"one": n}
		}
	}
	return seen
}

func TestIPVSAnEstablishedConnectionSurvivesWhatHappensToTheTable(t *testing.T) {
	p := open(t)
	l := newLab(t, 3)
	l.serve(80)
	s := service(ipvs.TCP, vip+":80", "rr", dest(l.at(1, 80), 1))
	become(t, p, table(s))
	c, err := l.dial("", vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []ipvs.Table{
		table(service(ipvs.TCP, vip+":80", "rr", dest(l.at(1, 80), 1), dest(l.at(2, 80), 1), dest(l.at(3, 80), 1))),
		table(service(ipvs.TCP, vip+":80", "wlc", dest(l.at(1, 80), 5), dest(l.at(3, 80), 1))),
		table(with(service(ipvs.TCP, vip+":80", "sh", dest(l.at(1, 80), 0), dest(l.at(3, 80), 1)), func(s *ipvs.Service) { s.Flags = ipvs.SchedFlag2 })),
		table(service(ipvs.UDP, vip+":53", "rr"), service(ipvs.TCP, vip+":80", "rr", dest(l.at(2, 80), 1), dest(l.at(1, 80), 0))),
	} {
		become(t, p, want)
		if err := c.echo(fmt.Sprintf("after change %d", i)); err != nil {
			t.Fatalf("after change %d to\n%s: %v", i, want, err)
		}
	}
	// Drained: everything new goes to the other one.
	if got := l.spread(vip+":80", 4); got["s2"] != 4 {
		t.Errorf("with s1 at weight 0: %v, want all at s2", got)
	}
	// A crash is only that nobody holds the table: a new process takes it over.
	p2 := openAgain(t)
	become(t, p2, table(service(ipvs.TCP, vip+":80", "rr", dest(l.at(2, 80), 1), dest(l.at(1, 80), 1))))
	if err := c.echo("after a new process took over"); err != nil {
		t.Fatal(err)
	}
	have := read(t, p)
	for _, d := range have.Services[0].Dests {
		if d.DestKey == dest(l.at(1, 80), 1).DestKey && d.Active != 1 {
			t.Errorf("%s has %d active connections, want 1", d.DestKey, d.Active)
		}
	}
}

func TestIPVSThresholds(t *testing.T) {
	p := open(t)
	l := newLab(t, 2)
	l.serve(81) // not 80: the kernel remembers connections of a destination that was removed
	limited := with(dest(l.at(1, 81), 100), func(d *ipvs.Dest) { d.Upper, d.Lower = 2, 1 })
	become(t, p, table(service(ipvs.TCP, vip+":81", "wrr", limited, dest(l.at(2, 81), 1))))
	seen := map[string]int{}
	for range 6 {
		c, err := l.dial("", vip+":81") // stays open
		if err != nil {
			t.Fatal(err)
		}
		seen[c.server]++
	}
	if seen["s1"] != 2 || seen["s2"] != 4 {
		t.Errorf("%v, want 2 at s1, its upper threshold, and the others at s2", seen)
	}
}

func TestIPVSFirewallMarkJoinsPorts(t *testing.T) {
	testneed.Need(t, "nft-tool")
	p := open(t)
	l := newLab(t, 2)
	l.serve(80)
	l.serve(443)
	run(t, "nft", "add table inet rlvmark; add chain inet rlvmark pre { type filter hook prerouting priority -150; }; "+
		"add rule inet rlvmark pre ip daddr "+vip+" tcp dport { 80, 443 } meta mark set 7; "+
		"add rule inet rlvmark pre ip6 daddr "+vip6+" tcp dport { 80, 443 } meta mark set 7")
	t.Cleanup(func() { run(t, "nft", "delete table inet rlvmark") })
	four := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "rr", Flags: ipvs.Persistent, Timeout: time.Minute,
		Dests: []ipvs.Dest{dest(l.at(1, 0), 1), dest(l.at(2, 0), 1)}}
	six := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv6, FWMark: 7}, Scheduler: "rr",
		Dests: []ipvs.Dest{dest(l.at6(1, 0), 1), dest(l.at6(2, 0), 1)}}
	become(t, p, table(four, six))
	first := l.spread(vip+":80", 3)
	second := l.spread(vip+":443", 3)
	if len(first) != 1 || !maps.Equal(first, second) {
		t.Errorf("port 80 went to %v, port 443 to %v; want one server for both", first, second)
	}
	if got := l.spread("["+vip6+"]:443", 4); !maps.Equal(got, map[string]int{"s1": 2, "s2": 2}) {
		t.Errorf("IPv6: %v, want two each", got)
	}
}

func TestIPVSDirectRoutingAndTunnels(t *testing.T) {
	p := open(t)
	l := newLab(t, 2)
	l.serve(80)
	// The servers hold the virtual address without saying so, and answer the client directly.
	l.inServers(`for i in all default eth0; do echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter; done
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
ip addr add 10.9.1.100/32 dev lo
ip addr add fd09:1::100/128 dev lo nodad
ip route add 10.9.1.0/24 dev eth0
ip -6 route add fd09:1::/64 dev eth0
for d in tunl0 gre0; do ip link set $d up; echo 0 >/proc/sys/net/ipv4/conf/$d/rp_filter; done
ip fou add port 6080 gue`)
	kind := func(f ipvs.Forward, t ipvs.TunnelType, port uint16, flags ipvs.TunnelFlags) func(at string) ipvs.Dest {
		return func(at string) ipvs.Dest {
			return with(dest(at, 1), func(d *ipvs.Dest) { d.Forward, d.TunnelType, d.TunnelPort, d.TunnelFlags = f, t, port, flags })
		}
	}
	for _, c := range []struct {
		name string
		dest func(at string) ipvs.Dest
		six  bool
	}{
		{"direct routing", kind(ipvs.DR, 0, 0, 0), false},
		{"direct routing over IPv6", kind(ipvs.DR, 0, 0, 0), true},
		{"tunnel ipip", kind(ipvs.TUN, ipvs.IPIP, 0, 0), false},
		{"tunnel gre", kind(ipvs.TUN, ipvs.GRE, 0, 0), false},
		{"tunnel gue", kind(ipvs.TUN, ipvs.GUE, 6080, ipvs.NoCsum), false},
		{"tunnel gue with checksum", kind(ipvs.TUN, ipvs.GUE, 6080, ipvs.Csum), false},
		{"tunnel gue with remote checksum", kind(ipvs.TUN, ipvs.GUE, 6080, ipvs.RemCsum), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			to, at := vip+":80", l.at
			if c.six {
				to, at = "["+vip6+"]:80", l.at6
			}
			become(t, p, table(service(ipvs.TCP, to, "rr", c.dest(at(1, 80)), c.dest(at(2, 80)))))
			if got := l.spread(to, 4); !maps.Equal(got, map[string]int{"s1": 2, "s2": 2}) {
				t.Errorf("%v, want two each\n%s", got, ipvsadm(t, "-Ln --stats"))
			}
		})
	}
}

func TestIPVSCountersAreRead(t *testing.T) {
	p := open(t)
	l := newLab(t, 2)
	l.serve(82)
	become(t, p, table(service(ipvs.TCP, vip+":82", "rr", dest(l.at(1, 82), 1), dest(l.at(2, 82), 1))))
	l.spread(vip+":82", 10)
	deadline := time.Now().Add(patience)
	for {
		s := read(t, p).Services[0]
		if s.Stats.Conns == 10 && s.Dests[0].Stats.Conns == 5 && s.Dests[1].Stats.Conns == 5 && s.Stats.InBytes > 1000 && s.Stats.OutBytes > 1000 &&
			s.Stats.InPkts == s.Dests[0].Stats.InPkts+s.Dests[1].Stats.InPkts && s.Dests[0].Inactive+s.Dests[0].Active == 5 && s.Stats.InBPS > 0 {
			return
		}
		if time.Now().After(deadline) { // the kernel refreshes them every 2 s
			t.Fatalf("counters %+v, %+v\n%s", s.Stats, s.Dests, ipvsadm(t, "-Ln --stats"))
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func TestIPVSASyncedConnectionSurvivesADirectorsDeath(t *testing.T) {
	p := open(t)
	l := newLab(t, 1)
	l.serve(80)
	// A second director with the same table stands beside the first.
	setup(t, `ip netns add rlv-k-second
ip link add second type veth peer name eth0 netns rlv-k-second
ip link set second master br0 up
ip -n rlv-k-second addr add 10.9.1.4/24 dev eth0
ip -n rlv-k-second addr add 10.9.2.4/24 dev eth0
ip -n rlv-k-second link set lo up
ip -n rlv-k-second link set eth0 up
ip netns exec rlv-k-second sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects; echo 0 >/proc/sys/net/ipv4/conf/eth0/send_redirects; echo 1 >/proc/sys/net/ipv4/vs/sync_threshold'`)
	t.Cleanup(func() { setup(t, "ip netns del rlv-k-second") })
	run(t, "sysctl", "-qw", "net.ipv4.vs.sync_threshold=1 10")
	second := openAt(t, "/run/netns/rlv-k-second")
	ctx := context.Background()
	want := table(service(ipvs.TCP, vip+":80", "rr", dest(l.at(1, 80), 1)))
	become(t, p, want)
	become(t, second, want)
	if err := p.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "br0", ID: 5}); err != nil {
		t.Fatal(err)
	}
	defer p.StopSync(ctx, ipvs.SyncMaster)
	if err := second.StartSync(ctx, ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "eth0", ID: 5}); err != nil {
		t.Fatal(err)
	}
	defer second.StopSync(ctx, ipvs.SyncBackup)
	c, err := l.dial("", vip+":80")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := c.echo(fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	synced := func() uint32 {
		s := read(t, second).Services[0].Dests[0]
		return s.Active + s.Inactive
	}
	for deadline := time.Now().Add(patience); synced() == 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second director has not heard of the connection")
		}
	}
	// The first loses the addresses, the second takes them; both sides' neighbours are told.
	setup(t, `ip addr del 10.9.1.100/32 dev br0
ip addr del 10.9.2.1/24 dev br0
ip addr del 10.9.1.1/24 dev br0
ip -n rlv-k-second addr add 10.9.1.100/32 dev eth0
ip -n rlv-k-second addr add 10.9.2.1/24 dev eth0
ip -n rlv-k-client neigh flush all
ip -n rlv-k-s1 neigh flush all`)
	if err := p.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := c.echo(fmt.Sprint("after ", i)); err != nil {
			t.Fatalf("through the second director: %v\n%s", err, run(t, "ip", "netns", "exec", "rlv-k-second", "ipvsadm", "-Lnc"))
		}
	}
}
