package kernel_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// lab is a client and some servers on one bridge, which is in the namespace of the test, the director. The client has 10.9.1.2 and
// 10.9.1.3, the director 10.9.1.1 and 10.9.2.1 and the virtual address 10.9.1.100, server i (from 1) 10.9.2.1i with the director
// as its router; and the same with fd09:1:: and fd09:2::. Nobody sends or follows redirects: all are neighbours, but answers must
// go through the director.
type lab struct {
	t       testing.TB
	servers int
}

const (
	vip  = "10.9.1.100"
	vip6 = "fd09:1::100"
)

func newLab(t testing.TB, servers int) *lab {
	t.Helper()
	namespaces(t)
	script := `echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
ip link add br0 type bridge
echo 0 >/proc/sys/net/ipv4/conf/br0/send_redirects
ip addr add 10.9.1.1/24 dev br0
ip addr add 10.9.2.1/24 dev br0
ip addr add 10.9.1.100/32 dev br0
ip addr add fd09:1::1/64 dev br0 nodad
ip addr add fd09:2::1/64 dev br0 nodad
ip addr add fd09:1::100/128 dev br0 nodad
ip link set br0 up
`
	add := func(name, four, six, router4, router6 string) {
		script += strings.NewReplacer("NAME", name, "FOUR", four, "SIX", six, "ROUTER4", router4, "ROUTER6", router6).Replace(`ip netns add rlv-k-NAME
ip netns exec rlv-k-NAME sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_redirects; echo 0 >/proc/sys/net/ipv6/conf/all/accept_redirects'
ip link add NAME type veth peer name eth0 netns rlv-k-NAME
ip link set NAME master br0 up
ip -n rlv-k-NAME addr add FOUR/24 dev eth0
ip -n rlv-k-NAME addr add SIX/64 dev eth0 nodad
ip -n rlv-k-NAME link set lo up
ip -n rlv-k-NAME link set eth0 up
ip -n rlv-k-NAME route add default via ROUTER4
ip -n rlv-k-NAME -6 route add default via ROUTER6
`)
	}
	add("client", "10.9.1.2", "fd09:1::2", "10.9.1.1", "fd09:1::1")
	script += "ip -n rlv-k-client addr add 10.9.1.3/24 dev eth0\n"
	cleanup := "ip netns del rlv-k-client; ip link del client; ip link del br0;"
	for i := 1; i <= servers; i++ {
		name := fmt.Sprintf("s%d", i)
		add(name, fmt.Sprintf("10.9.2.1%d", i), fmt.Sprintf("fd09:2::1%d", i), "10.9.2.1", "fd09:2::1")
		cleanup += fmt.Sprintf("ip netns del rlv-k-%s; ip link del %s;", name, name)
	}
	t.Cleanup(func() { _ = exec.Command("sh", "-c", cleanup).Run() })
	setup(t, script)
	return &lab{t, servers}
}

// at is address and port of server i.
func (l *lab) at(i, port int) string { return fmt.Sprintf("10.9.2.1%d:%d", i, port) }

// at6 is the same for IPv6.
func (l *lab) at6(i, port int) string { return fmt.Sprintf("[fd09:2::1%d]:%d", i, port) }

// serve makes every server tell its name to whoever connects to a TCP port or sends to that UDP port, and echo what comes then.
func (l *lab) serve(port int) {
	l.t.Helper()
	for i := 1; i <= l.servers; i++ {
		name := fmt.Sprintf("s%d", i)
		inside(l.t, "rlv-k-"+name, func() {
			ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				l.t.Errorf("%s: %v", name, err)
				return
			}
			l.t.Cleanup(func() { ln.Close() })
			go serveTCP(ln, name)
			pc, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
			if err != nil {
				l.t.Errorf("%s: %v", name, err)
				return
			}
			l.t.Cleanup(func() { pc.Close() })
			go serveUDP(pc, name)
		})
	}
}

func serveTCP(ln net.Listener, name string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, name)
			_, _ = io.Copy(c, c)
		}()
	}
}

func serveUDP(pc net.PacketConn, name string) {
	b := make([]byte, 2000)
	for {
		_, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo([]byte(name), from)
	}
}

// patience is for answers that must come; an emulated machine that is held up takes its time.
const patience = time.Minute

// connection is one of the client's.
type connection struct {
	net.Conn
	r      *bufio.Reader
	server string
}

// dial connects from the client (from: its address, or empty) and learns which server answers.
func (l *lab) dial(from, to string) (*connection, error) {
	l.t.Helper()
	var c net.Conn
	err := errors.New("no namespace")
	inside(l.t, "rlv-k-client", func() {
		d := net.Dialer{Timeout: patience}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		c, err = d.Dial("tcp", to)
	})
	if err != nil {
		return nil, err
	}
	l.t.Cleanup(func() { c.Close() })
	conn := &connection{Conn: c, r: bufio.NewReader(c)}
	_ = c.SetDeadline(time.Now().Add(patience))
	line, err := conn.r.ReadString('\n')
	conn.server = strings.TrimSpace(line)
	return conn, err
}

// echo sends a line and wants it back.
func (c *connection) echo(line string) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	got, err := c.r.ReadString('\n')
	if err != nil {
		return err
	}
	if strings.TrimSpace(got) != line {
		return fmt.Errorf("sent %q, got back %q", line, got)
	}
	return nil
}

// spread makes n connections one after the other and counts the servers.
func (l *lab) spread(to string, n int) map[string]int {
	l.t.Helper()
	seen := map[string]int{}
	for range n {
		c, err := l.dial("", to)
		if err != nil {
			l.t.Errorf("connect to %s: %v", to, err)
			return seen
		}
		seen[c.server]++
		c.Close()
	}
	return seen
}

// ask sends n datagrams from one port and counts the servers that answer, from whatever address: the kernel does not translate
// the answers of a one-packet service back.
func (l *lab) ask(to string, n int) map[string]int {
	l.t.Helper()
	var c net.PacketConn
	err := errors.New("no namespace")
	inside(l.t, "rlv-k-client", func() { c, err = net.ListenPacket("udp", "10.9.1.2:0") })
	if err != nil {
		l.t.Fatalf("%s: %v", to, err)
	}
	defer c.Close()
	seen := map[string]int{}
	b := make([]byte, 100)
	for range n {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			l.t.Fatalf("%s: %v", to, err)
		}
		got, _, err := c.ReadFrom(b)
		if err != nil {
			l.t.Errorf("%s: %v", to, err)
			return seen
		}
		seen[string(b[:got])]++
	}
	return seen
}

// inServers runs a script in every server.
func (l *lab) inServers(script string) {
	l.t.Helper()
	for i := 1; i <= l.servers; i++ {
		run(l.t, "ip", "netns", "exec", fmt.Sprintf("rlv-k-s%d", i), "sh", "-ec", script)
	}
}
