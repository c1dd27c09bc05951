package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a machine of the lab.
type Host struct {
	Name  string
	lab   *Lab
	space *space
	ports map[string]port // by interface

	mu    sync.Mutex
	procs []*Process
	webs  []*Web
}

// port is the far end of an interface's cable.
type port struct {
	far    string
	bridge *Bridge
}

// Do runs f on a thread in the host's namespaces: sockets it opens and processes it starts belong to the host. It must not block
// for long, because everything the host does passes here.
func (h *Host) Do(f func() error) error { return h.space.do(f) }

// Thread runs f on a further thread in the host's network namespace, until it returns.
func (h *Host) Thread(f func()) error { return h.space.thread(f) }

// Sysctl sets a kernel setting of the host's network namespace.
func (h *Host) Sysctl(name, value string) error {
	return h.wrap("sysctl "+name, h.Do(func() error { return sysctl(name, value) }))
}

// Route adds a route; dst is a prefix or "default".
func (h *Host) Route(dst, via string) error {
	return h.wrap("route to "+dst, h.Do(func() error {
		r := &netlink.Route{Gw: net.ParseIP(via)}
		if dst != "default" {
			_, n, err := net.ParseCIDR(dst)
			if err != nil {
				return err
			}
			r.Dst = n
		}
		return netlink.RouteAdd(r)
	}))
}

// Addrs lists the addresses of all interfaces but lo.
func (h *Host) Addrs() (out []netip.Prefix, err error) {
	err = h.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Attrs().Flags&net.FlagLoopback != 0 {
				continue
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				out = append(out, prefixOf(a))
			}
		}
		return nil
	})
	return out, h.wrap("addresses", err)
}

// Has tells whether the host holds an address.
func (h *Host) Has(a netip.Addr) bool {
	addrs, err := h.Addrs()
	return err == nil && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// AddAddr gives an interface an address ("10.0.0.1/24") that works when it returns: an IPv6 address is set a moment before the
// host listens to its solicitations.
func (h *Host) AddAddr(iface, addr string) error {
	if err := h.addr(iface, addr, netlink.AddrAdd); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		ready := false
		err := h.addr(iface, addr, func(l netlink.Link, a *netlink.Addr) error {
			list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			ready = slices.ContainsFunc(list, func(x netlink.Addr) bool { return x.IP.Equal(a.IP) }) &&
				!slices.ContainsFunc(list, func(x netlink.Addr) bool { return x.Flags&unix.IFA_F_TENTATIVE != 0 })
			return err
		})
		if err != nil || ready {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("lab: %s: address %s stays tentative", h.Name, addr)
		}
	}
}

// DelAddr takes an address away.
func (h *Host) DelAddr(iface, addr string) error { return h.addr(iface, addr, netlink.AddrDel) }

func (h *Host) addr(iface, addr string, op func(netlink.Link, *netlink.Addr) error) error {
	return h.wrap("address "+addr, h.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		return op(link, a)
	}))
}

// Cut pulls the cable of an interface: the host sees its carrier go. Heal plugs it in again.
func (h *Host) Cut(iface string) error { return h.far(iface, netlink.LinkSetDown) }

// Heal undoes Cut and Partition.
func (h *Host) Heal(iface string) error {
	err := h.far(iface, func(l netlink.Link) error {
		br, err := netlink.LinkByName(h.ports[iface].bridge.name)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(l, br), netlink.LinkSetUp(l))
	})
	if err != nil {
		return err
	}
	return h.wrap(iface, h.carried(iface, h.ports[iface].far))
}

// Partition takes the interface's cable off its bridge: the host keeps its carrier and hears nobody.
func (h *Host) Partition(iface string) error { return h.far(iface, netlink.LinkSetNoMaster) }

func (h *Host) far(iface string, op func(netlink.Link) error) error {
	p, ok := h.ports[iface]
	if !ok {
		return fmt.Errorf("lab: %s has no interface %s", h.Name, iface)
	}
	return h.wrap(iface, h.lab.wires.do(func() error {
		l, err := netlink.LinkByName(p.far)
		if err != nil {
			return err
		}
		return op(l)
	}))
}

// Listen opens a listener in the host.
func (h *Host) Listen(network, addr string) (l net.Listener, err error) {
	err = h.Do(func() error {
		var lc net.ListenConfig
		l, err = lc.Listen(context.Background(), network, addr)
		return err
	})
	return l, h.wrap("listen", err)
}

// ListenPacket opens a packet socket (udp) in the host.
func (h *Host) ListenPacket(network, addr string) (c net.PacketConn, err error) {
	err = h.Do(func() error {
		var lc net.ListenConfig
		c, err = lc.ListenPacket(context.Background(), network, addr)
		return err
	})
	return c, h.wrap("listen", err)
}

// Dial connects from the host. addr holds an address, not a name.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	start := h.Thread(func() {
		defer close(done)
		var d net.Dialer
		c, err = d.DialContext(ctx, network, addr)
	})
	if start != nil {
		return nil, h.wrap("dial", start)
	}
	<-done
	return c, err
}

// Unplug takes an interface out of the host for good.
func (h *Host) Unplug(iface string) error {
	return h.wrap("unplug "+iface, h.Do(func() error {
		l, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
}

// MAC is the hardware address of an interface, empty if there is no such interface.
func (h *Host) MAC(iface string) (mac string) {
	_ = h.Do(func() error {
		l, err := netlink.LinkByName(iface)
		if err == nil {
			mac = l.Attrs().HardwareAddr.String()
		}
		return err
	})
	return mac
}

// Echo serves TCP connections that get back what they send, until stop is called.
func (h *Host) Echo(addr string) (stop func(), err error) {
	l, err := h.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return func() { l.Close() }, nil
}

// Pids lists the processes of the host, oldest first, without those of guests.
func (h *Host) Pids() []int { return h.pids() }

// pids is Pids.
func (h *Host) pids() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, dir := range dirs {
		var st unix.Stat_t
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || unix.Stat(dir+"/ns/net", &st) != nil {
			continue
		}
		if st.Ino == h.space.inode && !zombie(pid) && !guest(pid) {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// Kill ends all processes of the host with SIGKILL as a crash of the machine's software would: they are stopped first, so that
// none of them sees another one die and says good-bye.
func (h *Host) Kill() error {
	deadline := time.Now().Add(patience)
	for {
		pids := h.pids()
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGSTOP)
		}
		for _, pid := range pids { // a signal that arrives before the stop took hold would still be handled
			for !stopped(pid) && time.Now().Before(deadline) {
				time.Sleep(200 * time.Microsecond)
			}
		}
		for _, pid := range childrenFirst(pids) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: %s: processes %v survive SIGKILL", h.Name, pids)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// childrenFirst orders processes so that none comes after its parent. Where a parent dies first its stopped children are an orphaned
// process group, which the kernel wakes up (SIGHUP, SIGCONT): they would hear of the death and say good-bye.
func childrenFirst(pids []int) []int {
	parent := map[int]int{}
	for _, pid := range pids {
		if f := stat(pid); len(f) > 1 {
			parent[pid], _ = strconv.Atoi(f[1])
		}
	}
	depth := func(pid int) (n int) {
		for n = 0; n < len(pids) && parent[pid] != 0; n++ {
			pid = parent[pid]
		}
		return n
	}
	out := slices.Clone(pids)
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(depth(b), depth(a)) })
	return out
}

func (h *Host) close() error {
	h.mu.Lock()
	procs, webs := h.procs, h.webs
	h.procs, h.webs = nil, nil
	h.mu.Unlock()
	for _, p := range procs {
		p.Stop(2 * time.Second)
	}
	err := h.Kill()
	for _, p := range procs {
		<-p.Done()
	}
	for _, w := range webs {
		w.Stop()
	}
	h.space.close()
	return err
}

func (h *Host) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lab: %s: %s: %w", h.Name, what, err)
}

// NetNS is a path to the host's network namespace, for nsenter --net=PATH and the like.
func (h *Host) NetNS() string {
	path := ""
	_ = h.Do(func() error {
		path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		return nil
	})
	return path
}
