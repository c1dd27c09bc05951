package healthcheck

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// everyConnect are the checkers that reach a server, set upon servers at 10.1.0.1.
func everyConnect(t *testing.T) (cfgs map[Type]*Config, from func() net.Addr) {
	t.Helper()
	seen := make(chan net.Addr, 16)
	tcp := func(p play) netip.AddrPort {
		l, err := net.Listen("tcp", "10.1.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				seen <- c.RemoteAddr()
				go func() { defer c.Close(); p(c, nil) }()
			}
		}()
		return netip.MustParseAddrPort(l.Addr().String())
	}
	udp, err := net.ListenPacket("udp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			seen <- from
			if n > 2 {
				b[2] |= 0x80 // a good answer, should it be a question
			}
			_, _ = udp.WriteTo(b[:n], from)
		}
	}()
	cert := certificate(t, "x", time.Now().Add(time.Hour), false)
	page := func(c net.Conn, o <-chan struct{}) { say("HTTP/1.0 200 OK\r\n\r\n")(c, o) }
	udpAddr := netip.MustParseAddrPort(udp.LocalAddr().String())
	http := &HTTPConfig{URLs: []URL{{}}}
	cfgs = map[Type]*Config{
		TypeTCP:  {Connect: Connect{Addr: tcp(func(c net.Conn, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, c) })}},
		TypeHTTP: {Connect: Connect{Addr: tcp(page)}, HTTP: http},
		TypeSSL:  {Connect: Connect{Addr: tcp(overTLS(tlsWith(cert), page))}, HTTP: http},
		TypeSMTP: {Connect: Connect{Addr: tcp(dialogue("220 x\r\n", "250 x\r\n", "221 x\r\n"))}},
		TypeDNS:  {Connect: Connect{Addr: udpAddr}},
		TypeUDP:  {Connect: Connect{Addr: udpAddr}, UDP: &UDPConfig{RequireReply: true}},
	}
	for typ, c := range cfgs {
		c.Type, c.Timeout = typ, ample
	}
	return cfgs, func() net.Addr {
		select {
		case a := <-seen:
			return a
		case <-time.After(time.Minute):
			return &net.IPAddr{}
		}
	}
}

// TestWayToTheServer is fwmark, bindto, bind_port and bind_if of every checker that has them.
func TestWayToTheServer(t *testing.T) {
	if inNamespace(t) {
		return
	}
	sh(t, `ip link set lo up; ip addr add 10.1.0.1/32 dev lo; ip addr add 10.1.0.77/32 dev lo
ip link add v1 type veth peer name v2; ip link set v1 up; ip link set v2 up
ip rule add pref 1 not fwmark 77 to 10.1.0.1 oif v1 lookup 99
ip rule add pref 2 fwmark 66 lookup 66; ip rule add pref 10 lookup local; ip rule del pref 0; ip route add unreachable 10.1.0.1 table 66`)
	cfgs, from := everyConnect(t)
	for typ, cfg := range cfgs {
		t.Run(typ.String(), func(t *testing.T) {
			with := func(set func(*Connect)) *Config {
				c := *cfg
				set(&c.Connect)
				return &c
			}
			verdict(t, check(t, with(func(*Connect) {})), "good")
			from()
			verdict(t, check(t, with(func(c *Connect) { c.BindAddr = netip.MustParseAddr("10.1.0.77") })), "good")
			if a := from().String(); !strings.HasPrefix(a, "10.1.0.77:") {
				t.Errorf("bindto 10.1.0.77, and the server saw %s", a)
			}
			verdict(t, check(t, with(func(c *Connect) { c.BindAddr, c.BindPort = netip.MustParseAddr("10.1.0.77"), 12345 })), "good")
			if a := from().String(); a != "10.1.0.77:12345" {
				t.Errorf("bind_port 12345, and the server saw %s", a)
			}
			verdict(t, check(t, with(func(c *Connect) { c.BindIf = "lo" })), "good")
			from()
			verdict(t, check(t, with(func(c *Connect) { c.FWMark = 5 })), "good")
			from()
			// A mark that is routed elsewhere.
			verdict(t, check(t, with(func(c *Connect) { c.FWMark = 66 })), "no route to host")
			out := check(t, with(func(c *Connect) { c.BindIf, c.Timeout = "v1", 200*time.Millisecond }))
			if out.ok {
				t.Errorf("bind_if of an interface that leads nowhere: %+v", out)
			}
		})
	}
}

// TestICMPErrorsAreToldInWords is what routers and firewalls say to UDP_CHECK, DNS_CHECK and PING_CHECK.
func TestICMPErrorsAreToldInWords(t *testing.T) {
	testneed.Need(t, "nft", "nft-tool")
	if inNamespace(t) {
		return
	}
	sh(t, `ip link set lo up
for i in 1 2 3 4; do ip addr add 10.1.0.$i/32 dev lo; ip addr add fd01::$i/128 dev lo nodad; done
nft -f - <<'X'
table inet r {
 chain i { type filter hook input priority 0;
  ip daddr 10.1.0.2 meta l4proto udp reject with icmp type host-unreachable
  ip daddr 10.1.0.3 meta l4proto udp reject with icmp type admin-prohibited
  ip daddr 10.1.0.4 meta l4proto udp drop
  ip6 daddr fd01::2 meta l4proto udp reject with icmpv6 type addr-unreachable
  ip6 daddr fd01::3 meta l4proto udp reject with icmpv6 type admin-prohibited
  ip6 daddr fd01::4 meta l4proto udp drop
  ip daddr 10.1.0.4 icmp type echo-request drop
  ip6 daddr fd01::4 icmpv6 type echo-request drop
 }
}
X`)
	for addr, want := range map[string]string{
		"10.1.0.1": "connection refused", "10.1.0.2": "no route to host", "10.1.0.3": "no route to host", "10.1.0.4": "good",
		"fd01::1": "connection refused", "fd01::2": "no route to host", "fd01::3": "permission denied", "fd01::4": "good",
	} {
		a := netip.AddrPortFrom(netip.MustParseAddr(addr), 9)
		expect(t, &Config{Type: TypeUDP, Connect: Connect{Addr: a}}, want)
		if out := check(t, &Config{Type: TypeDNS, Connect: Connect{Addr: a, Timeout: brief}}); out.ok || out.unsure {
			t.Errorf("DNS_CHECK of %s: %+v", addr, out)
		}
	}
	for _, rangeOf := range []string{"1 0", "0 0"} { // a raw socket, the kernel's ping socket
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(rangeOf), 0o644); err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]string{"10.1.0.1": "good", "fd01::1": "good", "10.1.0.4": "waiting for an echo reply: timeout after 300ms",
			"fd01::4": "waiting for an echo reply: timeout after 300ms"} {
			limit := ample
			if want != "good" {
				limit = brief
			}
			p, err := newPingProber(&Config{Type: TypePing, Connect: Connect{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Timeout: limit}})
			if err != nil {
				t.Fatal(err)
			}
			var at attempt
			for range 2 {
				verdict(t, p.probe(&at, 0), want)
			}
			if raw := rangeOf == "1 0"; p.raw != raw {
				t.Errorf("ping_group_range %q: raw socket %v", rangeOf, p.raw)
			}
			p.Close()
		}
	}
	// Without any privilege: only the ping socket is left.
	unprivileged(t, func() {
		verdict(t, check(t, &Config{Type: TypePing, Connect: Connect{Addr: netip.MustParseAddrPort("10.1.0.1:0"), Timeout: ample}}), "unsure: ")
	})
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 65535"), 0o644); err != nil {
		t.Fatal(err)
	}
	unprivileged(t, func() {
		for _, addr := range []string{"10.1.0.1", "fd01::1"} {
			verdict(t, check(t, &Config{Type: TypePing, Connect: Connect{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Timeout: ample}}), "good")
		}
	})
}

// unprivileged runs f as nobody; the whole process, which is the test's own.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if err := syscall.Setresgid(65534, 65534, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setresuid(65534, 65534, 0); err != nil {
		t.Fatal(err)
	}
	f()
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setresgid(0, 0, 0); err != nil {
		t.Fatal(err)
	}
}
