package nft_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/nft"
	"releve/lab"
)

func TestRoundRobinIsStrictAndInTheKernelSchedulersOrder(t *testing.T) {
	r := newRig(t)
	r.want(vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 7), rs("10.0.2.13:80", 1)))
	if got := r.gets("10.0.1.10:80", 9); got != "321321321" {
		t.Errorf("servers %s, want 321321321", got)
	}
}

func TestWeightedRoundRobinGivesEachItsWeight(t *testing.T) {
	r := newRig(t)
	r.want(vs("10.0.1.10:80", ipvs.TCP, "wrr", rs("10.0.2.11:80", 3), rs("10.0.2.12:80", 1), rs("10.0.2.13:80", 1)))
	if got := r.gets("10.0.1.10:80", 10); got != "1132111321" {
		t.Errorf("servers %s, want 1132111321", got)
	}
}

func TestTheClientsAddressReachesTheServer(t *testing.T) {
	r := newRig(t)
	r.want(vs("10.0.1.10:8080", ipvs.TCP, "rr", rs("10.0.2.11:80", 1)))
	if got, err := r.get(r.client, "10.0.1.10:8080", "/who"); err != nil || got != "Web 1 10.0.1.2" {
		t.Errorf("%q %v, want Web 1 10.0.1.2 through a translated port", got, err)
	}
}

func TestIPv6(t *testing.T) {
	r := newRig(t)
	r.want(vs("[fd00:1::10]:80", ipvs.TCP, "wrr", rs("[fd00:2::11]:80", 2), rs("[fd00:2::12]:80", 1)))
	if got := r.gets("[fd00:1::10]:80", 6); got != "121121" {
		t.Errorf("servers %s, want 121121", got)
	}
	r.want(vs("[fd00:1::10]:80", ipvs.TCP, "rr"))
	if _, err := r.get(r.client, "[fd00:1::10]:80", "/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a server: %v, want connection refused", err)
	}
}

func TestWithoutAServerTheClientIsRefused(t *testing.T) {
	r := newRig(t)
	s := vs("10.0.1.10:80", ipvs.TCP, "rr")
	r.want(s)
	refused := func(why string) {
		t.Helper()
		if _, err := r.get(r.client, "10.0.1.10:80", "/"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want connection refused", why, err)
		}
	}
	refused("no server")
	s.Dests = []ipvs.Dest{rs("10.0.2.11:80", 0)}
	r.want(s)
	refused("only a server of weight 0")
	s.Dests[0].Weight = 1
	r.want(s)
	if got := r.gets("10.0.1.10:80", 1); got != "1" {
		t.Errorf("got %s", got)
	}
}

// echo starts a server that answers each line with its name.
func (r *rig) echo(h *lab.Host, addr, name string) {
	l, err := h.Listen("tcp", addr)
	must(r, err)
	r.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				sc := bufio.NewScanner(c)
				for sc.Scan() {
					fmt.Fprintf(c, "%s %s\n", name, sc.Text())
				}
				c.Close()
			}()
		}
	}()
}

func TestAnEstablishedConnectionKeepsItsServerWhateverHappensToTheTable(t *testing.T) {
	r := newRig(t)
	for i, s := range r.servers {
		r.echo(s, ":7", fmt.Sprint(i+1))
	}
	s := vs("10.0.1.10:7", ipvs.TCP, "wrr", rs("10.0.2.12:7", 1))
	other := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1))
	r.want(s)
	c, err := r.client.Dial(t.Context(), "tcp", "10.0.1.10:7")
	must(t, err)
	defer c.Close()
	in := bufio.NewScanner(c)
	says := func(when string) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "%s\n", when)
		if !in.Scan() || in.Text() != "2 "+when {
			t.Fatalf("%s: %q %v", when, in.Text(), in.Err())
		}
	}
	says("at first")
	s.Dests = append(s.Dests, rs("10.0.2.11:7", 5), rs("10.0.2.13:7", 5))
	r.want(s)
	says("with more servers")
	s.Dests[0].Weight = 100
	s.Dests = s.Dests[:2]
	r.want(s, other)
	says("with other weights, one server less and another service")
	s.Scheduler = "sh"
	r.want(other, s)
	says("with another scheduler")
	s.Dests[0].Weight = 0
	r.want(s)
	says("drained")
	for range 3 {
		n, err := r.client.Dial(t.Context(), "tcp", "10.0.1.10:7")
		must(t, err)
		fmt.Fprintln(n, "x")
		got, _ := bufio.NewReader(n).ReadString('\n')
		n.Close()
		if got != "1 x\n" {
			t.Errorf("a new connection went to %q, want the server that is not drained", got)
		}
	}
	if tab := r.read(); tab.Services[0].Dests[0].Active != 1 {
		t.Errorf("drained server has %d active connections, want 1", tab.Services[0].Dests[0].Active)
	}
	s.Dests = s.Dests[1:]
	r.want(s)
	says("although its server is out of the table")
}

func TestUDPFlowsStayAndMoveWhenTheirServerIsRemoved(t *testing.T) {
	r := newRig(t)
	for i, s := range r.servers {
		pc, err := s.ListenPacket("udp", ":5353")
		must(t, err)
		t.Cleanup(func() { pc.Close() })
		go func() {
			b := make([]byte, 1500)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo(fmt.Appendf(nil, "%d %s", i+1, b[:n]), from)
			}
		}()
	}
	// The client speaks before there is a service: its flow is already tracked when the service comes.
	pc, err := r.client.ListenPacket("udp", "10.0.1.2:4000")
	must(t, err)
	defer pc.Close()
	vip := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.0.1.10:53"))
	asked := 0
	ask := func() string {
		t.Helper()
		asked++
		q := fmt.Sprint("q", asked)
		_, err := pc.WriteTo([]byte(q), vip)
		must(t, err)
		b := make([]byte, 1500)
		_ = pc.SetReadDeadline(time.Now().Add(patience))
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				t.Fatalf("%v\n%s", err, r.nft("list", "ruleset"))
			}
			if server, a, _ := strings.Cut(string(b[:n]), " "); a == q {
				if from.String() != vip.String() {
					t.Errorf("answer from %v, want %v", from, vip)
				}
				return server
			}
		}
	}
	r.want(vs("10.0.1.10:80", ipvs.TCP, "rr"))
	_, err = pc.WriteTo([]byte("nobody"), vip)
	must(t, err)
	s := vs("10.0.1.10:53", ipvs.UDP, "rr", rs("10.0.2.11:5353", 1), rs("10.0.2.12:5353", 1))
	r.want(s)
	first := ask()
	for range 4 {
		if got := ask(); got != first {
			t.Errorf("flow went from %s to %s", first, got)
		}
	}
	left := 0
	if first == "1" {
		left = 1
	}
	s.Dests = s.Dests[left : left+1]
	r.want(s)
	if got := ask(); got == first {
		t.Errorf("flow still goes to %s, which is gone", got)
	}
}

func TestServicesByMark(t *testing.T) {
	r := newRig(t)
	s := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "rr", Granularity: 32,
		Dests: []ipvs.Dest{rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 1)}}
	s6 := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv6, FWMark: 7}, Scheduler: "rr", Granularity: 128,
		Dests: []ipvs.Dest{rs("[fd00:2::13]:80", 1)}}
	r.want(s, s6)
	r.nft("add", "table", "inet", "marker")
	r.nft("add", "chain", "inet", "marker", "pre", "{ type filter hook prerouting priority mangle; }")
	r.nft("add", "rule", "inet", "marker", "pre", "tcp", "dport", "{8001, 8002}", "meta", "mark", "set", "7")
	got := r.gets("10.0.1.10:8001", 2) + r.gets("10.0.1.10:8002", 2) + r.gets("[fd00:1::10]:8001", 1)
	if got != "21213" {
		t.Errorf("servers %s, want 21213", got)
	}
	if tab := r.read(); tab.Services[0].Stats.Conns != 4 {
		t.Errorf("%d connections counted, want 4", tab.Services[0].Stats.Conns)
	}
	r.want()
	if out := r.nft("list", "tables"); strings.Contains(out, "releve") || !strings.Contains(out, "marker") {
		t.Errorf("tables after the last service left: %s", out)
	}
}

func TestSourceHashKeepsAClientAndPersistenceOutlivesMoreServers(t *testing.T) {
	r := newRig(t)
	all := []ipvs.Dest{rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 1), rs("10.0.2.13:80", 1)}
	sh := vs("10.0.1.10:80", ipvs.TCP, "sh", all...)
	p := vs("10.0.1.10:81", ipvs.TCP, "rr", all[0], all[1])
	p.Flags, p.Timeout = ipvs.Persistent, 300*time.Second
	r.want(sh, p)
	if got := r.gets("10.0.1.10:80", 6); strings.Count(got, got[:1]) != 6 {
		t.Errorf("source hash sent one client to %s", got)
	}
	got := r.gets("10.0.1.10:81", 5)
	if strings.Count(got, got[:1]) != 5 {
		t.Fatalf("persistent client went to %s", got)
	}
	p.Dests = all
	r.want(sh, p)
	if again := r.gets("10.0.1.10:81", 3); again != got[:3] {
		t.Errorf("with another server the client went to %s, was on %s", again, got[:1])
	}
	// A successor of the plane knows the client still.
	r.plane = r.open()
	p.Dests = []ipvs.Dest{rs("10.0.2.11:80", 2), all[1], all[2]}
	r.want(sh, p)
	if again := r.gets("10.0.1.10:81", 3); again != got[:3] {
		t.Errorf("after a restart the client went to %s, was on %s", again, got[:1])
	}
	// Its server leaves: it sticks to another one.
	i := int(got[0] - '1')
	p.Dests = append(append([]ipvs.Dest{}, p.Dests[:i]...), p.Dests[i+1:]...)
	r.want(sh, p)
	now := r.gets("10.0.1.10:81", 4)
	if now[0] == got[0] || strings.Count(now, now[:1]) != 4 {
		t.Errorf("when server %s left the client went to %s", got[:1], now)
	}
}

func TestAHashOfAddressAndPortSpreadsTheConnectionsOfOneClient(t *testing.T) {
	r := newRig(t)
	all := []ipvs.Dest{rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 1), rs("10.0.2.13:80", 1)}
	for port, scheduler := range map[int]string{80: "sh", 81: "mh"} {
		s := vs(fmt.Sprintf("10.0.1.10:%d", port), ipvs.TCP, scheduler, all...)
		s.Flags = ipvs.SchedFlag2 // sh-port, mh-port
		r.want(s)
		got := r.gets(fmt.Sprintf("10.0.1.10:%d", port), 20)
		if strings.Count(got, got[:1]) == len(got) {
			t.Errorf("%s with the port sent twenty connections of one client to %s", scheduler, got)
		}
	}
}

// As IPVS: a drained server keeps the clients that persistence has tied to it, and gets no others.
func TestADrainedServerKeepsItsPersistentClients(t *testing.T) {
	r := newRig(t)
	s := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 1))
	s.Flags, s.Timeout = ipvs.Persistent, 300*time.Second
	r.want(s)
	first := r.gets("10.0.1.10:80", 1)
	s.Dests[int(first[0]-'1')].Weight = 0
	r.want(s)
	if got := r.gets("10.0.1.10:80", 4); strings.Count(got, first) != 4 {
		t.Errorf("the client was on %s, went to %s after that was drained", first, got)
	}
	for range 4 { // the director is another client
		if got, err := r.get(r.director, "10.0.1.10:80", "/"); err != nil || got == "Web "+first {
			t.Errorf("a new client: %q %v, want the server that is not drained", got, err)
		}
	}
}

func TestASuccessorAdoptsTheTableWithItsCounters(t *testing.T) {
	r := newRig(t)
	want := []ipvs.Service{
		vs("10.0.1.10:80", ipvs.TCP, "wlc", rs("10.0.2.11:80", 1), rs("10.0.2.12:80", 0)),
		vs("10.0.1.10:53", ipvs.UDP, "rr"),
		vs("10.0.1.10:9", ipvs.SCTP, "rr", rs("10.0.2.11:9", 1)),
		vs("[fd00:1::10]:443", ipvs.TCP, "mh", rs("[fd00:2::11]:443", 65535)),
	}
	want[0].Flags, want[0].Timeout, want[0].Granularity = ipvs.Persistent|ipvs.SchedFlag1, 50*time.Second, 24
	want[0].Dests[0].Upper, want[0].Dests[0].Lower = 100, 50
	r.want(want...)
	r.gets("10.0.1.10:80", 3)
	if err := r.plane.Close(); err != nil {
		t.Error(err)
	}
	r.plane = r.open()
	if ops := ipvs.Diff(r.read(), ipvs.Table{Services: want}); len(ops) > 0 {
		t.Errorf("a successor would write %+v", ops)
	}
	r.want(want...)
	r.gets("10.0.1.10:80", 1)
	counted := func() (s, d ipvs.Stats) {
		tab := r.read()
		return tab.Services[0].Stats, tab.Services[0].Dests[0].Stats
	}
	s, d := counted()
	for end := time.Now().Add(patience); s != d && time.Now().Before(end); s, d = counted() { // the last words of a connection are on their way yet
		time.Sleep(10 * time.Millisecond)
	}
	if s.Conns != 4 || s != d {
		t.Errorf("service counted %+v, its only server %+v, want 4 connections", s, d)
	}
	// Each exchange is at least SYN, ACK, request, ACK, FIN in and SYN+ACK, answer, FIN out.
	if s.InPkts < 16 || s.OutPkts < 12 || s.InBytes < 40*s.InPkts || s.OutBytes < 40*s.OutPkts {
		t.Errorf("counted %+v for four exchanges", s)
	}
}

func TestAForeignTableIsLeftAloneAndAFlushedOneIsRestored(t *testing.T) {
	r := newRig(t)
	r.nft("add", "table", "inet", "foreign")
	r.nft("add", "chain", "inet", "foreign", "keep", "{ type filter hook input priority 0; }")
	r.nft("add", "rule", "inet", "foreign", "keep", "counter")
	s := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1))
	r.want(s)
	must(t, r.director.Do(func() error { return r.plane.Flush(t.Context()) }))
	if out := r.nft("list", "ruleset"); !strings.Contains(out, "foreign") || !strings.Contains(out, "counter packets") || strings.Contains(out, "releve") {
		t.Errorf("after a flush:\n%s", out)
	}
	r.want(s)
	r.nft("delete", "table", "inet", "releve")
	// A write that counts on what is gone fails by itself and does not stop the others.
	must(t, r.director.Do(func() error {
		ops := []ipvs.Op{
			{Kind: ipvs.AddDest, Service: s, Dest: rs("10.0.2.12:80", 1)},
			{Kind: ipvs.AddService, Service: vs("10.0.1.10:81", ipvs.TCP, "rr")},
		}
		errs := r.plane.Apply(t.Context(), ops)
		if len(errs) != 1 || errs[0].Op.Kind != ipvs.AddDest || !errors.Is(errs[0].Err, syscall.ESRCH) {
			return fmt.Errorf("failures %+v, want the first write only, with no such service", errs)
		}
		return nil
	}))
	r.want(s)
	if got := r.gets("10.0.1.10:80", 1); got != "1" {
		t.Errorf("got %s", got)
	}
}

func TestATableOfAnotherShapeIsMadeAnew(t *testing.T) {
	r := newRig(t)
	r.nft("add", "table", "inet", "releve")
	r.nft("add", "set", "inet", "releve", "addr4", "{ type ipv4_addr; }")
	r.nft("add", "chain", "inet", "releve", "prerouting", "{ type filter hook input priority 0; }")
	r.nft("add", "rule", "inet", "releve", "prerouting", "ip", "saddr", "@addr4", "drop")
	s := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1))
	r.want(s)
	if got := r.gets("10.0.1.10:80", 1); got != "1" {
		t.Errorf("got %s", got)
	}
}

func TestALocalClientIsServedAndAForeignAddressIsNotInTheWay(t *testing.T) {
	r := newRig(t)
	s := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1))
	// The second service's address belongs to web3: a director that only forwards to it must not catch it.
	r.want(s, vs("10.0.2.13:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1)))
	if got, err := r.get(r.director, "10.0.1.10:80", "/"); err != nil || got != "Web 1" {
		t.Errorf("from the director itself: %q %v", got, err)
	}
	must(t, r.client.Route("10.0.2.0/24", "10.0.1.1"))
	if got := r.gets("10.0.2.13:80", 1); got != "3" {
		t.Errorf("an address that is not local was caught: server %s", got)
	}
}

func TestWhatItRefuses(t *testing.T) {
	r := newRig(t)
	s := vs("10.0.1.10:80", ipvs.TCP, "rr")
	dr := rs("10.0.2.11:80", 1)
	dr.Forward = ipvs.DR
	odd := vs("10.0.1.10:80", 51, "rr")
	must(t, r.director.Do(func() error {
		errs := r.plane.Apply(t.Context(), []ipvs.Op{
			{Kind: ipvs.AddService, Service: odd},
			{Kind: ipvs.AddService, Service: s},
			{Kind: ipvs.AddService, Service: s},
			{Kind: ipvs.AddDest, Service: s, Dest: dr},
			{Kind: ipvs.AddDest, Service: s, Dest: rs("[fd00:2::11]:80", 1)},
			{Kind: ipvs.AddDest, Service: s, Dest: rs("10.0.2.12:80", 1)},
			{Kind: ipvs.DelDest, Service: s, Dest: rs("10.0.2.13:80", 1)},
		})
		var got []error
		for _, e := range errs {
			got = append(got, e.Err)
		}
		want := []error{syscall.EPROTONOSUPPORT, syscall.EEXIST, syscall.EOPNOTSUPP, syscall.EINVAL, syscall.ENOENT}
		for i, w := range want {
			if i >= len(got) || !errors.Is(got[i], w) {
				return fmt.Errorf("errors %v, want %v", got, want)
			}
		}
		return nil
	}))
	if got := r.gets("10.0.1.10:80", 2); got != "22" {
		t.Errorf("servers %s, want 22", got)
	}
	if tab := r.read(); len(tab.Services) != 1 || !reflect.DeepEqual(tab.Services[0].Dests[0].DestKey, rs("10.0.2.12:80", 1).DestKey) {
		t.Errorf("table %+v", tab)
	}
}

func TestTimeoutsAreThoseOfTrackedConnections(t *testing.T) {
	r := newRig(t)
	var first, second ipvs.Timeouts
	must(t, r.director.Do(func() (err error) {
		if first, err = r.plane.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: 900 * time.Second, UDP: 77 * time.Second}); err == nil {
			second, err = r.plane.SetTimeouts(t.Context(), first)
		}
		return err
	}))
	want := ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: first.TCPFin, UDP: 77 * time.Second}
	if first.TCP < time.Hour || second != want {
		t.Errorf("first %+v, then %+v, want %+v", first, second, want)
	}
}

func TestAPlaneOfAnotherNamespaceIsReachedByItsPath(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	r := newRig(t)
	var path string
	must(t, r.director.Do(func() error {
		path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		return nil
	}))
	p, err := nft.Open(path)
	must(t, err)
	defer p.Close()
	s := vs("10.0.1.10:80", ipvs.TCP, "rr", rs("10.0.2.11:80", 1))
	for _, e := range p.Apply(t.Context(), ipvs.Diff(ipvs.Table{}, ipvs.Table{Services: []ipvs.Service{s}})) {
		t.Fatal(e.Op, e.Err)
	}
	if got := r.gets("10.0.1.10:80", 1); got != "1" {
		t.Errorf("got %s", got)
	}
	if tab, err := p.Read(t.Context()); err != nil || tab.Services[0].Dests[0].Inactive != 1 {
		t.Errorf("%+v %v, want one connection that is over", tab, err)
	}
	if _, err := nft.Open("/run/netns/no-such-name"); err == nil {
		t.Error("a namespace that does not exist was opened")
	}
}
