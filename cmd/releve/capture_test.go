package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/lab"
)

func captureRun(args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	status := runCapture(args, &out, &errs)
	return status, out.String(), errs.String()
}

const someFrames = "../../capture/testdata/failover.pcapng"

func TestCaptureReadsAFileIntoEveryForm(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	status, out, errs := captureRun("-r", someFrames, "-w", at("o.pcapng"), "--html", at("o.html"), "--json", at("o.json"), "--name", "192.168.56.11=web1", "--color", "always")
	if status != 0 || !strings.Contains(out, "web1 is master of VRID 10") || !strings.Contains(out, "\x1b[") {
		t.Fatalf("status %d, %s, %.300s", status, errs, out)
	}
	for _, n := range []string{"o.pcapng", "o.html", "o.json"} {
		info, err := os.Stat(at(n))
		if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", n, info, err)
		}
	}
	status, brief, _ := captureRun("-r", at("o.pcapng"), "-b", "-n", "40")
	if status != 0 || strings.Contains(brief, "\x1b[") || strings.Count(brief, "\n") > 41 {
		t.Errorf("status %d:\n%s", status, brief)
	}
	conf := at("keepalived.conf")
	if err := os.WriteFile(conf, []byte("vrrp_instance floating {\n interface eth0\n virtual_router_id 10\n virtual_ipaddress {\n 192.168.56.10\n }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, named, _ := captureRun("-r", someFrames, "-f", conf); !strings.Contains(named, "is master of floating (VRID 10)") {
		t.Error("the instance has no name")
	}
}

func TestCaptureSaysWhatItCannotDo(t *testing.T) {
	cut := filepath.Join(t.TempDir(), "cut.pcapng")
	b, err := os.ReadFile(someFrames)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, b[:len(b)-17], 0o600); err != nil {
		t.Fatal(err)
	}
	zipped := filepath.Join(t.TempDir(), "zipped")
	if err := os.WriteFile(zipped, []byte("\x1f\x8b\x08\x00rest"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		say    string
	}{
		{nil, 2, "name interfaces with -i, or a file with -r"},
		{[]string{"-r", "a", "-i", "b"}, 2, "name interfaces with -i, or a file with -r"},
		{[]string{"-r", "/nonexistent"}, 1, "no such file"},
		{[]string{"-r", "capture.go"}, 1, "not a capture that can be read"},
		{[]string{"-r", cut, "-q"}, 1, "ends in the middle of a frame"},
		{[]string{"-r", someFrames, "--name", "here=there"}, 2, "write ADDRESS=HOST"},
		{[]string{"-r", someFrames, "--color", "red"}, 2, "not auto, always or never"},
		{[]string{"-r", someFrames, "-w", "/nonexistent/x"}, 1, "no such file"},
		{[]string{"--lab", "nothing-runs"}, 2, "no lab named nothing-runs runs"},
		{[]string{"-i", "nosuch0"}, 1, "nosuch0: there is no such interface"},
		{[]string{"-r", cut, "-q", "-w", cut}, 1, "is what is being read"},
		{[]string{"-r", cut, "-q", "--html", cut}, 1, "is what is being read"},
		{[]string{"-r", someFrames, "-f", "/nonexistent.conf"}, 2, "no configuration file matches"},
		{[]string{"-r", "/"}, 1, "is a directory"},
		{[]string{"-r", zipped}, 1, "it is compressed"},
	} {
		if status, _, errs := captureRun(c.args...); status != c.status || !strings.Contains(errs, c.say) {
			t.Errorf("%v: status %d, %s", c.args, status, errs)
		}
	}
}

// twoHosts are two hosts on a bridge, of which b serves a page.
func twoHosts(t *testing.T) (a, b *lab.Host) {
	t.Helper()
	testneed.Need(t, "root", "netns")
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	br, err := l.Bridge("lan")
	if err != nil {
		t.Fatal(err)
	}
	var hosts []*lab.Host
	for _, n := range []string{"a", "b"} {
		h, err := l.Host(n)
		if err == nil {
			err = l.Plug(h, "eth0", br, map[string]string{"a": "10.0.0.1/24", "b": "10.0.0.2/24"}[n])
		}
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	if _, err := hosts[1].Web(":80", "b"); err != nil {
		t.Fatal(err)
	}
	return hosts[0], hosts[1]
}

// listening runs a live capture on a host.
type listening struct {
	mu        sync.Mutex
	out, errs bytes.Buffer
	ended     chan int
}

type locked struct {
	mu *sync.Mutex
	*bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func listen(t *testing.T, h *lab.Host, args ...string) *listening {
	t.Helper()
	l := &listening{ended: make(chan int, 1)}
	if err := h.Thread(func() {
		l.ended <- runCapture(append(args, "--name", "10.0.0.1=a", "--name", "10.0.0.2=b"), locked{&l.mu, &l.out}, locked{&l.mu, &l.errs})
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *listening) said(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.out.String(), text)
}

// ask makes a ask b for a page until a capture has seen it.
func (l *listening) ask(t *testing.T, from *lab.Host) {
	t.Helper()
	before := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Count(l.out.String(), "a asks b:80 for a page")
	}
	had := before()
	traffic, err := from.Traffic("10.0.0.2:80", 50*time.Millisecond, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer traffic.Stop()
	for end := time.Now().Add(30 * time.Second); before() == had; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no request is seen:\n%s", &l.out)
		}
	}
}

// A live capture on an interface of a lab sees what passes, waits while the interface is down, and ends when it vanishes.
func TestALiveCaptureEndsWithItsInterface(t *testing.T) {
	for _, down := range []bool{false, true} {
		a, _ := twoHosts(t)
		l := listen(t, a, "-i", "eth0", "--all")
		l.ask(t, a)
		updown := func(up bool) {
			if err := a.Do(func() error {
				link, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				if up {
					return netlink.LinkSetUp(link)
				}
				return netlink.LinkSetDown(link)
			}); err != nil {
				t.Fatal(err)
			}
		}
		updown(false)
		time.Sleep(300 * time.Millisecond)
		updown(true)
		l.ask(t, a)
		if down {
			updown(false)
			time.Sleep(100 * time.Millisecond)
		}
		if err := a.Unplug("eth0"); err != nil {
			t.Fatal(err)
		}
		select {
		case status := <-l.ended:
			if status != 0 || !strings.Contains(l.errs.String(), "eth0 is gone") || !strings.Contains(l.errs.String(), " frames") {
				t.Errorf("status %d, %s\n%s", status, &l.errs, &l.out)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("it goes on without its interface (down before: %v)", down)
		}
	}
}

// The kernel takes VLAN tags out of frames: they are put back. Frames of tunnels have no Ethernet header.
func TestALiveCaptureKnowsTagsAndTunnels(t *testing.T) {
	a, b := twoHosts(t)
	if err := a.Do(func() error {
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		for _, f := range tun.Fds { // it has a carrier while somebody holds it
			t.Cleanup(func() { f.Close() })
		}
		addr, err := netlink.ParseAddr("10.1.0.1/24")
		return errors.Join(err, netlink.AddrAdd(tun, addr), netlink.LinkSetUp(tun))
	}); err != nil {
		t.Skip("no tun interface here: ", err)
	}
	l := listen(t, a, "-i", "tun0", "-i", "eth0", "--all", "-d", "40s", "--json", "-")
	const tag, tunnel = `{"name":"vlan.id","value":"7"},{"name":"arp.opcode"`, `{"name":"ip.src","value":"10.1.0.1"}`
	for end := time.Now().Add(30 * time.Second); !l.said(tag) || !l.said(tunnel); time.Sleep(50 * time.Millisecond) {
		if err := b.Do(func() error { return tagged("eth0") }); err != nil {
			t.Fatal(err)
		}
		if c, err := a.Dial(t.Context(), "udp", "10.1.0.2:8848"); err == nil {
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
		if time.Now().After(end) {
			t.Fatalf("not seen: a datagram in the tunnel %v, a tagged frame %v", l.said(tunnel), l.said(tag))
		}
	}
}

// tagged sends an ARP request for 10.0.0.9 in VLAN 7.
func tagged(iface string) error {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	frame, err := hex.DecodeString("ffffffffffff" + "020000000002" + "81000007" + "0806" + "0001080006040001" + "020000000002" + "0a000002" + "000000000000" + "0a000009")
	if err != nil {
		return err
	}
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
}

// What a configuration tells of frames: groups are all their addresses, the sync daemon its port.
func TestACaptureKnowsGroupsAndTheSyncDaemonsPort(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(conf, []byte(`global_defs {
    lvs_sync_daemon lo id 3 port 9000
}
virtual_server_group G {
    10.2.0.1-3 80
    fwmark 7
}
virtual_server group G {
    protocol TCP
    real_server 10.1.0.1 80 {
        TCP_CHECK {
        }
    }
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := (&capturing{config: conf}).knowledge()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range k.Virtuals {
		got = append(got, v.String())
	}
	if want := "10.2.0.1:80 10.2.0.2:80 10.2.0.3:80"; strings.Join(got, " ") != want || k.SyncPort != 9000 {
		t.Errorf("virtual servers %v, sync port %d", got, k.SyncPort)
	}
}
