package ipvs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"releve/ipvs"
	"releve/ipvs/memory"
)

func service(proto ipvs.Protocol, at string, dests ...ipvs.Dest) ipvs.Service {
	ap := netip.MustParseAddrPort(at)
	family := ipvs.IPv4
	if ap.Addr().Is6() {
		family = ipvs.IPv6
	}
	return ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: family, Protocol: proto, Addr: ap.Addr(), Port: ap.Port()}, Scheduler: "rr", Dests: dests}
}

func dest(at string, weight int) ipvs.Dest {
	ap := netip.MustParseAddrPort(at)
	return ipvs.Dest{DestKey: ipvs.DestKey{Addr: ap.Addr(), Port: ap.Port()}, Weight: weight}
}

func with[T any](v T, f func(*T)) T { f(&v); return v }

func lines(ops []ipvs.Op) string {
	var out []string
	for _, op := range ops {
		out = append(out, op.String())
	}
	return strings.Join(out, "\n")
}

func TestDiff(t *testing.T) {
	web := service(ipvs.TCP, "10.0.0.1:80", dest("10.1.0.1:80", 1), dest("10.1.0.2:80", 2))
	dns := service(ipvs.UDP, "10.0.0.1:53", dest("10.1.0.1:53", 1))
	for _, c := range []struct {
		name       string
		have, want []ipvs.Service
		ops        string
	}{
		{"nothing of nothing", nil, nil, ""},
		{"the same is left alone, whatever the order and the counters", []ipvs.Service{dns, web}, []ipvs.Service{
			with(web, func(s *ipvs.Service) {
				s.Dests = []ipvs.Dest{dest("10.1.0.2:80", 2), with(dest("10.1.0.1:80", 1), func(d *ipvs.Dest) { d.Active = 7 })}
			}), dns}, ""},
		{"a service comes before its destinations", nil, []ipvs.Service{web},
			"-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m -w 1\n-a -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 2"},
		{"a service goes with all in it", []ipvs.Service{web, dns}, []ipvs.Service{web}, "-D -u 10.0.0.1:53"},
		{"additions and edits come first, destinations that go then, services last", []ipvs.Service{dns, web}, []ipvs.Service{
			service(ipvs.TCP, "10.0.0.1:80", dest("10.1.0.3:80", 1), dest("10.1.0.2:80", 5)), service(ipvs.SCTP, "10.0.0.1:99")},
			"-a -t 10.0.0.1:80 -r 10.1.0.3:80 -m -w 1\n-e -t 10.0.0.1:80 -r 10.1.0.2:80 -m -w 5\n-A --sctp-service 10.0.0.1:99 -s rr\n" +
				"-d -t 10.0.0.1:80 -r 10.1.0.1:80\n-D -u 10.0.0.1:53"},
		{"another scheduler is an edit", []ipvs.Service{dns}, []ipvs.Service{with(dns, func(s *ipvs.Service) {
			s.Scheduler, s.Flags, s.Timeout, s.Granularity = "sh", ipvs.Persistent|ipvs.SchedFlag2, 300*time.Second, 24
		})}, "-E -u 10.0.0.1:53 -s sh -p 300 -M 255.255.255.0 -b sh-port"},
		{"another method or tunnel is an edit of the destination", []ipvs.Service{dns}, []ipvs.Service{
			service(ipvs.UDP, "10.0.0.1:53", with(dest("10.1.0.1:53", 1), func(d *ipvs.Dest) {
				d.Forward, d.TunnelType, d.TunnelPort, d.TunnelFlags, d.Upper, d.Lower = ipvs.TUN, ipvs.GUE, 6080, ipvs.RemCsum, 9, 3
			}))}, "-e -u 10.0.0.1:53 -r 10.1.0.1:53 -i -w 1 -x 9 -y 3 --tun-type gue --tun-port 6080 --tun-remcsum"},
		{"a persistence time without persistence, the hashed flag and default granularities say nothing",
			[]ipvs.Service{with(dns, func(s *ipvs.Service) { s.Flags, s.Granularity, s.Timeout = ipvs.Hashed, 32, time.Hour })},
			[]ipvs.Service{dns}, ""},
		{"a mark has no address, and a family", []ipvs.Service{{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "rr"}},
			[]ipvs.Service{{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, FWMark: 7}, Scheduler: "rr"},
				{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv6, FWMark: 7}, Scheduler: "wlc"}}, "-A -f 7 -6 -s wlc"},
		{"of a service named twice the first counts", nil, []ipvs.Service{service(ipvs.TCP, "[fd00::1]:80"), service(ipvs.TCP, "[fd00::1]:80", dest("[fd00::2]:80", 1))},
			"-A -t [fd00::1]:80 -s rr"},
		{"a destination that the kernel calls local is left alone", []ipvs.Service{service(ipvs.TCP, "10.0.0.1:80", with(dest("10.0.0.1:80", 1), func(d *ipvs.Dest) { d.Forward = ipvs.Local }))},
			[]ipvs.Service{service(ipvs.TCP, "10.0.0.1:80", with(dest("10.0.0.1:80", 1), func(d *ipvs.Dest) { d.Forward = ipvs.DR }))}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lines(ipvs.Diff(ipvs.Table{Services: c.have}, ipvs.Table{Services: c.want})); got != c.ops {
				t.Errorf("got\n%s\nwant\n%s", got, c.ops)
			}
		})
	}
}

// random gives a table in which collisions with another one are likely: few addresses, few options.
func random(r *rand.Rand) ipvs.Table {
	var t ipvs.Table
	for _, key := range r.Perm(12)[:r.IntN(8)] {
		s := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: []ipvs.Protocol{ipvs.TCP, ipvs.UDP, ipvs.SCTP}[key%3],
			Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(key)}), Port: uint16(key % 2 * 80)}}
		switch key {
		case 9, 10:
			s.ServiceKey = ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: uint32(key)}
		case 11:
			s.ServiceKey = ipvs.ServiceKey{Family: ipvs.IPv6, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("fd00::1"), Port: 80}
		}
		s.Scheduler = []string{"rr", "wrr", "sh"}[r.IntN(3)]
		s.Flags = []ipvs.Flags{0, ipvs.Persistent, ipvs.SchedFlag1, ipvs.OnePacket}[r.IntN(4)]
		if s.Flags&ipvs.Persistent != 0 {
			s.Timeout, s.Granularity = time.Duration(r.IntN(3)+1)*time.Minute, uint8(r.IntN(3)*8+16)
		}
		for _, k := range r.Perm(6)[:r.IntN(6)] {
			d := ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(k)}), Port: 80}, Weight: r.IntN(3), Upper: uint32(r.IntN(2))}
			d.Forward = []ipvs.Forward{ipvs.NAT, ipvs.TUN, ipvs.DR}[r.IntN(3)]
			if d.Forward == ipvs.TUN {
				d.TunnelType = ipvs.TunnelType(r.IntN(3))
				if d.TunnelType == ipvs.GUE {
					d.TunnelPort = uint16(r.IntN(2) + 6080)
				}
			}
			s.Dests = append(s.Dests, d)
		}
		t.Services = append(t.Services, s)
	}
	return t
}

// sorted prints a table in an order that does not depend on the order of writing.
func sorted(t ipvs.Table) string {
	l := strings.Split(t.String(), "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}

func TestAnyTableBecomesAnyOther(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 5000 {
		have, want := random(r), random(r)
		var p memory.Plane
		if errs := p.Apply(context.Background(), ipvs.Diff(ipvs.Table{}, have)); errs != nil {
			t.Fatalf("%d: from nothing: %v", i, errs)
		}
		ops := ipvs.Diff(have, want)
		if errs := p.Apply(context.Background(), ops); errs != nil {
			t.Fatalf("%d: %v\nfrom\n%s\nto\n%s\nby\n%s", i, errs, have, want, lines(ops))
		}
		got, _ := p.Read(context.Background())
		if sorted(got) != sorted(want) {
			t.Fatalf("%d: got\n%s\nwant\n%s\nby\n%s", i, got, want, lines(ops))
		}
		if again := ipvs.Diff(got, want); len(again) > 0 {
			t.Fatalf("%d: a second difference: %s", i, lines(again))
		}
		if first := slices.IndexFunc(ops, func(o ipvs.Op) bool { return o.Kind == ipvs.DelDest || o.Kind == ipvs.DelService }); first >= 0 {
			for _, o := range ops[first:] {
				if o.Kind != ipvs.DelDest && o.Kind != ipvs.DelService {
					t.Fatalf("%d: %s comes after a removal:\n%s", i, o, lines(ops))
				}
			}
		}
	}
}

// big is a table of n services with m destinations each, as large directors have it.
func big(n, m int) ipvs.Table {
	var t ipvs.Table
	for i := range n {
		s := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80}, Scheduler: "wlc"}
		for j := range m {
			s.Dests = append(s.Dests, ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)}), Port: 80}, Weight: 1})
		}
		t.Services = append(t.Services, s)
	}
	return t
}

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000, 8000} { // linear: the time for an entry stays the same
		have, want := big(n, 10), big(n, 10)
		for i := range have.Services {
			have.Services[i].Dests[i%10].Weight = 5
		}
		b.Run(fmt.Sprintf("%dx10 a weight each", n), func(b *testing.B) {
			for b.Loop() {
				if len(ipvs.Diff(have, want)) != n {
					b.Fatal("wrong difference")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(11*n), "ns/entry")
		})
	}
	want := big(1000, 10)
	same := big(1000, 10)
	slices.Reverse(same.Services)
	shuffled := big(1000, 10)
	for i := range shuffled.Services {
		slices.Reverse(shuffled.Services[i].Dests)
		shuffled.Services[i].Dests[0].Weight = 5
	}
	for _, c := range []struct {
		name string
		have ipvs.Table
	}{{"same", same}, {"other order and a weight each", shuffled}, {"from nothing", ipvs.Table{}}} {
		b.Run(fmt.Sprintf("1000x10 %s", c.name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ipvs.Diff(c.have, want)
			}
		})
	}
}
