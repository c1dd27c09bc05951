package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

// TestMain runs the tests in a network namespace of their own.
func TestMain(m *testing.M) {
	exe, err := os.Executable()
	if os.Getenv("RELEVE_NETNS") != "" || os.Geteuid() != 0 || err != nil {
		os.Exit(m.Run())
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		os.Exit(m.Run())
	}
	if c.Wait() != nil {
		os.Exit(max(c.ProcessState.ExitCode(), 1))
	}
}

func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// open opens a kernel with a pair of interfaces, v0 and v1.
func open(t *testing.T) (*Kernel, Links) {
	t.Helper()
	testneed.Need(t, "root", "netns", "ip")
	if os.Getenv("RELEVE_NETNS") == "" {
		t.Skip("not in a namespace of its own")
	}
	ip(t, "link set lo up")
	ip(t, "link add v0 type veth peer name v1")
	t.Cleanup(func() { ip(t, "link del v0") })
	ip(t, "link set v0 up")
	ip(t, "link set v1 up")
	ip(t, "addr add 10.9.0.1/24 dev v0")
	ip(t, "addr add fd09::1/64 dev v0 nodad")
	k, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	l := Links{Index: map[string]int{}}
	for _, n := range []string{"v0", "v1"} {
		i, err := net.InterfaceByName(n)
		if err != nil {
			t.Fatal(err)
		}
		l.Index[n] = i.Index
	}
	return k, l
}

// do applies one change in both directions twice: the second time nothing is left to do and nothing is wrong.
func do(t *testing.T, k *Kernel, c Change) {
	t.Helper()
	for range 2 {
		for _, err := range k.Apply([]Change{c}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func TestAddressesAsIPShowsThem(t *testing.T) {
	k, l := open(t)
	for _, c := range []struct {
		a    Address
		want string
	}{
		{Address{Prefix: prefix("10.9.0.100/24")}, "inet 10.9.0.100/24 scope global secondary v0 valid_lft forever preferred_lft forever"},
		{Address{Prefix: prefix("10.9.7.100/32"), Label: "v0:7", Broadcast: addr("10.9.7.255"), Scope: unix.RT_SCOPE_LINK},
			"inet 10.9.7.100/32 brd 10.9.7.255 scope link v0:7 valid_lft forever preferred_lft forever"},
		{Address{Prefix: prefix("10.9.8.1/32"), Peer: prefix("10.9.8.2/32")}, "inet 10.9.8.1 peer 10.9.8.2/32 scope global v0 valid_lft forever preferred_lft forever"},
		{Address{Prefix: prefix("10.9.9.1/24"), NoPrefixRoute: true}, "inet 10.9.9.1/24 scope global noprefixroute v0 valid_lft forever preferred_lft forever"},
		{Address{Prefix: prefix("fd09::100/128"), NoDAD: true}, "inet6 fd09::100/128 scope global nodad deprecated valid_lft forever preferred_lft 0sec"},
		{Address{Prefix: prefix("fd09::101/128"), NoDAD: true, HasPreferredLft: true, PreferredLft: 1<<63 - 1}, "inet6 fd09::101/128 scope global nodad valid_lft forever preferred_lft forever"},
		{Address{Prefix: prefix("fd09::102/64"), NoDAD: true}, "inet6 fd09::102/64 scope global nodad valid_lft forever preferred_lft forever"},
	} {
		want := strings.Join(strings.Fields(c.want), " ")
		do(t, k, Change{Add: true, Index: l.Index["v0"], Addr: &c.a})
		if got := strings.Join(strings.Fields(ip(t, "addr show dev v0")), " "); !strings.Contains(got, want) {
			t.Errorf("%s: ip shows\n%s\nwithout\n%s", c.a.Prefix, got, want)
		}
		list, err := k.List()
		found := false
		for _, p := range list {
			found = found || p.Prefix.Addr() == c.a.Prefix.Addr() && p.Proto == Protocol
		}
		if err != nil || !found {
			t.Errorf("%s: not listed with our protocol: %v", c.a.Prefix, err)
		}
		do(t, k, Change{Index: l.Index["v0"], Addr: &c.a})
		if got := ip(t, "-o addr show dev v0"); strings.Contains(got, c.a.Prefix.Addr().String()+"/") || strings.Contains(got, c.a.Prefix.Addr().String()+" ") {
			t.Errorf("%s is still there", c.a.Prefix)
		}
	}
}

func TestRoutesAsIPShowsThem(t *testing.T) {
	k, l := open(t)
	for _, c := range []struct {
		r    Route
		show string
		want string
	}{
		{Route{Dst: prefix("192.0.2.0/24"), Via: addr("10.9.0.254"), Dev: "v0"}, "route show 192.0.2.0/24", "192.0.2.0/24 via 10.9.0.254 dev v0 proto keepalived"},
		{Route{Dst: prefix("192.0.2.0/24"), Dev: "v0", Src: addr("10.9.0.1"), HasMetric: true, Metric: 50}, "route show 192.0.2.0/24", "192.0.2.0/24 dev v0 proto keepalived scope link src 10.9.0.1 metric 50"},
		{Route{Dst: prefix("0.0.0.0/0"), Via: addr("10.9.0.254"), Dev: "v0", Table: 100, HasTable: true}, "route show table 100", "default via 10.9.0.254 dev v0 proto keepalived"},
		{Route{Dst: prefix("192.0.2.0/24"), Via: addr("10.9.0.254"), Dev: "v0", Table: 1000, HasTable: true}, "route show table 1000", "192.0.2.0/24 via 10.9.0.254 dev v0 proto keepalived"},
		{Route{Dst: prefix("192.0.2.7/32"), Type: unix.RTN_BLACKHOLE}, "route show 192.0.2.7", "blackhole 192.0.2.7 proto keepalived"},
		{Route{Dst: prefix("192.0.2.0/24"), Via: addr("203.0.113.1"), Dev: "v0", OnLink: true}, "route show 192.0.2.0/24", "192.0.2.0/24 via 203.0.113.1 dev v0 proto keepalived onlink"},
		{Route{Dst: prefix("192.0.2.0/24"), Via: addr("10.9.0.254"), Dev: "v0", Metrics: RouteMetrics{MTU: 1400, AdvMSS: 1300, Lock: 1 << unix.RTAX_MTU, InitCwnd: 20, HasQuickAck: true, QuickAck: 1, CongCtl: "reno"}},
			"route show 192.0.2.0/24", "192.0.2.0/24 via 10.9.0.254 dev v0 proto keepalived mtu lock 1400 advmss 1300 initcwnd 20 quickack 1 congctl reno"},
		{Route{Dst: prefix("192.0.2.0/24"), NextHops: []NextHop{{Via: addr("10.9.0.253"), Dev: "v0", Weight: 2}, {Via: addr("10.9.0.254"), Dev: "v0", Weight: 1}}},
			"route show 192.0.2.0/24", "192.0.2.0/24 proto keepalived nexthop via 10.9.0.253 dev v0 weight 2 nexthop via 10.9.0.254 dev v0 weight 1"},
		{Route{IPv6: true, Dst: prefix("2001:db8::/32"), Via: addr("fd09::fe"), Dev: "v0", HasMetric: true, Metric: 77, HasPref: true, Pref: 1}, "-6 route show 2001:db8::/32", "2001:db8::/32 via fd09::fe dev v0 proto keepalived metric 77 pref high"},
		{Route{Dst: prefix("192.0.2.0/24"), Via: addr("fd09::fe"), Dev: "v0"}, "route show 192.0.2.0/24", "192.0.2.0/24 via inet6 fd09::fe dev v0 proto keepalived"},
	} {
		c.r.Text = c.want
		do(t, k, Change{Add: true, Route: &c.r, Links: l})
		if got := strings.Join(strings.Fields(ip(t, c.show)), " "); got != c.want {
			t.Errorf("ip %s\n%s\nwant\n%s", c.show, got, c.want)
		}
		do(t, k, Change{Route: &c.r, Links: l})
		if out, _ := exec.Command("ip", strings.Fields(c.show)...).Output(); len(strings.TrimSpace(string(out))) > 0 {
			t.Errorf("still there: %s", out)
		}
	}
	bad := Route{Text: "x", Dst: prefix("192.0.2.0/24"), Dev: "none0"}
	if err := k.Apply([]Change{{Add: true, Route: &bad, Links: l}})[0]; err == nil || err.Error() != "add route x: interface none0 does not exist" {
		t.Errorf("%v", err)
	}
}

func TestARouteBesideTheKernelsOwn(t *testing.T) {
	k, l := open(t)
	const own, kernels = "10.9.0.0/24 dev v0 proto keepalived scope link src 10.9.0.1 ", "10.9.0.0/24 dev v0 proto kernel scope link src 10.9.0.1 "
	for _, c := range []struct {
		name string
		r    Route
		want string
	}{
		{"goes before it", Route{}, own + kernels},
		{"goes behind it with append", Route{Append: true}, kernels + own},
		{"is not there with add", Route{Exclusive: true}, kernels},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Dst, c.r.Dev, c.r.Src, c.r.Text = prefix("10.9.0.0/24"), "v0", addr("10.9.0.1"), c.name
			show := func() string { return strings.Join(strings.Fields(ip(t, "route show 10.9.0.0/24")), " ") + " " }
			do(t, k, Change{Add: true, Route: &c.r, Links: l})
			if got := show(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			do(t, k, Change{Route: &c.r, Links: l})
			if got := show(); got != kernels {
				t.Errorf("after the removal: %s", got)
			}
		})
	}
}

func TestRulesAsIPShowsThem(t *testing.T) {
	k, l := open(t)
	for _, c := range []struct {
		r    Rule
		want string
	}{
		{Rule{Priority: 500, From: prefix("10.9.0.100/32"), Table: 100}, "500: from 10.9.0.100 lookup 100 proto keepalived"},
		{Rule{Priority: 501, To: prefix("192.0.2.0/24"), Table: 1000}, "501: from all to 192.0.2.0/24 lookup 1000 proto keepalived"},
		{Rule{Priority: 502, Not: true, Iif: "v0", Table: 254}, "502: not from all iif v0 lookup main proto keepalived"},
		{Rule{Priority: 503, HasFWMark: true, FWMark: 7, FWMask: 0xff, Table: 100, HasSuppressPrefixLen: true}, "503: from all fwmark 0x7/0xff lookup 100 suppress_prefixlength 0 proto keepalived"},
		{Rule{Priority: 504, From: prefix("10.9.0.0/24"), Action: nl.FR_ACT_UNREACHABLE}, "504: from 10.9.0.0/24 unreachable proto keepalived"},
		{Rule{Priority: 505, IPProto: 6, HasDPorts: true, DPorts: [2]uint16{80, 443}, Table: 100, HasUIDs: true, UIDs: [2]uint32{0, 99}}, "505: from all uidrange 0-99 ipproto tcp dport 80-443 lookup 100 proto keepalived"},
		{Rule{Priority: 506, IPv6: true, From: prefix("fd09::/64"), Table: 100}, "506: from fd09::/64 lookup 100 proto keepalived"},
	} {
		c.r.Text = c.want
		show := fmt.Sprintf("rule show priority %d", c.r.Priority)
		if c.r.IPv6 {
			show = "-6 " + show
		}
		do(t, k, Change{Add: true, Rule: &c.r, Links: l})
		if got := strings.Join(strings.Fields(ip(t, show)), " "); got != c.want {
			t.Errorf("ip %s\n%s\nwant\n%s", show, got, c.want)
		}
		do(t, k, Change{Rule: &c.r, Links: l})
		if got := strings.TrimSpace(ip(t, show)); got != "" {
			t.Errorf("still there: %s", got)
		}
	}
}

func TestATinyReceiveBufferLosesNothing(t *testing.T) {
	k, l := open(t)
	k.SetReceiveBuffer(1, false)
	var add, del []Change
	for i := range 3 * batchSize {
		r := Route{Text: "r", Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2 + byte(i>>8), byte(i)}), 32), Via: addr("203.0.113.9"), Dev: "v0"}
		add = append(add, Change{Add: true, Route: &r, Links: l})
		del = append(del, Change{Route: &r, Links: l})
	}
	// Each of them fails, which is answered one by one: no interface leads to the gateway.
	for i, err := range k.Apply(add) {
		if !errors.Is(err, unix.ENETUNREACH) {
			t.Fatalf("route %d: %v", i, err)
		}
	}
	for _, err := range k.Apply(del) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.List(); err != nil {
		t.Error(err)
	}
}

func TestManyAddressesInOneGoKeepTheirErrorsApart(t *testing.T) {
	k, l := open(t)
	var list []Change
	for i := range 600 {
		c := Change{Add: true, Index: l.Index["v1"], Addr: &Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}), 32)}}
		if i == 300 {
			c.Index = 99999
		}
		list = append(list, c)
	}
	began := time.Now()
	for i, err := range k.Apply(list) {
		if (err != nil) != (i == 300) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	t.Logf("600 addresses in %s", time.Since(began))
	if n := strings.Count(ip(t, "-o addr show dev v1"), "10.77."); n != 599 {
		t.Errorf("%d addresses, want 599", n)
	}
}
