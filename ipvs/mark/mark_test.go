package mark

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
)

// inNamespace runs the named test of this binary again in a network of its own and reports whether the caller is the outer one.
func inNamespace(t *testing.T) (outer bool) {
	t.Helper()
	if os.Getenv("RELEVE_NETNS") != "" {
		return false
	}
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "RELEVE_NETNS=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return true
}

func listing(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestTheTableIsOfTheReferencesShape(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft", "nft-tool")
	if inNamespace(t) {
		return
	}
	m, other := &Marker{}, &Marker{}
	table := ipvs.MarkTable{Name: "kalvs", Priority: -1}
	a := netip.MustParseAddr
	targets := []ipvs.MarkTarget{
		{Protocol: ipvs.TCP, First: a("fd02::1"), Last: a("fd02::1"), Port: 80, Mark: 1000},
		{Protocol: ipvs.TCP, First: a("fd02::10"), Last: a("fd02::12"), Port: 80, Mark: 1000},
		{Protocol: ipvs.UDP, First: a("10.2.3.254"), Last: a("10.2.4.1"), Port: 0, Mark: 1001},
	}
	if err := m.Set(t.Context(), table, targets); err != nil {
		t.Fatal(err)
	}
	// Without a hint about the byte order, which the library does not write, nft shows a mark as if it were in network order.
	got := strings.NewReplacer("0xe8030000", "0x000003e8", "0xe9030000", "0x000003e9").Replace(listing(t))
	// The IPv6 half is the reference's, as nft lists it.
	for _, want := range []string{
		`table ip6 kalvs { map tcp_map { type ipv6_addr . inet_service : mark flags interval elements = { fd02::1 . 80 : 0x000003e8, fd02::10-fd02::12 . 80 : 0x000003e8 } } ` +
			`chain in { type filter hook input priority filter - 1; policy accept; meta mark set ip6 daddr . tcp dport map @tcp_map return } }`,
		`table ip kalvs { map udp_map { type ipv4_addr . inet_service : mark flags interval elements = { 10.2.3.254-10.2.4.1 . 0-65535 : 0x000003e9 } } `,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	traffic(t)
	// A successor takes the table over; a table of somebody else stays.
	if out, err := exec.Command("nft", "add table ip other").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := other.Set(t.Context(), table, targets[2:]); err != nil {
		t.Fatal(err)
	}
	if got := listing(t); strings.Contains(got, "ip6") || !strings.Contains(got, "udp_map") {
		t.Errorf("after the successor: %s", got)
	}
	if err := other.Set(t.Context(), table, nil); err != nil {
		t.Fatal(err)
	}
	if got := listing(t); got != "table ip other { }" {
		t.Errorf("at the end: %s", got)
	}
}

// traffic sends a datagram to a marked address and sees it carry its mark.
func traffic(t *testing.T) {
	t.Helper()
	out, err := exec.Command("sh", "-ec", `ip link set lo up; ip addr add 10.2.4.0/32 dev lo
nft 'add table ip probe; add chain ip probe in { type filter hook input priority 0; }; add rule ip probe in meta mark 1001 counter'`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := net.Dial("udp", "10.2.4.0:4711")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := ""
	for range 3000 { // a busy kernel delivers it later
		if got = listing(t); strings.Contains(got, "counter packets 1 ") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(got, "counter packets 1 ") {
		t.Errorf("the datagram carries no mark: %s", got)
	}
	if out, err := exec.Command("nft", "delete", "table", "ip", "probe").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestMarksThatSomebodyDeletedAreNoticedAndSetAgain(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft", "nft-tool")
	if inNamespace(t) {
		return
	}
	m := &Marker{}
	a := netip.MustParseAddr
	targets := []ipvs.MarkTarget{
		{Protocol: ipvs.TCP, First: a("fd02::1"), Last: a("fd02::1"), Port: 80, Mark: 1000},
		{Protocol: ipvs.UDP, First: a("10.2.3.1"), Last: a("10.2.3.1"), Port: 53, Mark: 1001},
	}
	want := ""
	for _, by := range []string{"", "flush ruleset", "delete table ip kalvs", "flush chain ip6 kalvs in"} {
		if by != "" {
			if out, err := exec.Command("nft", by).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if ok, err := m.Intact(t.Context()); ok || err != nil {
				t.Errorf("after %s: intact %v, %v", by, ok, err)
			}
		}
		if err := m.Set(t.Context(), ipvs.MarkTable{Name: "kalvs"}, targets); err != nil {
			t.Fatal(err)
		}
		if ok, err := m.Intact(t.Context()); !ok || err != nil {
			t.Errorf("set again after %q: intact %v, %v", by, ok, err)
		}
		if got := listing(t); by == "" {
			want = got
		} else if got != want {
			t.Errorf("after %s\n%s\nwant\n%s", by, got, want)
		}
	}
}
