package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/kernel"
)

// TestMain moves the whole test binary into network and mount namespaces of its own, where it can.
func TestMain(m *testing.M) {
	if os.Getenv("RELEVE_NETNS") != "" {
		_ = exec.Command("ip", "link", "set", "lo", "up").Run() // without any address the kernel takes no address for unicast
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		os.Exit(m.Run())
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		os.Exit(m.Run())
	}
}

// open gives an empty table in the namespace of the test binary.
func open(t testing.TB) *kernel.Plane {
	t.Helper()
	testneed.Need(t, "root", "netns", "ipvs")
	p, err := kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs a command and fails the test if that fails.
func run(t testing.TB, command string, args ...string) string {
	t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ipvsadm runs one line of its arguments.
func ipvsadm(t testing.TB, line string) string {
	t.Helper()
	testneed.Need(t, "ipvsadm")
	return run(t, "ipvsadm", strings.Fields(line)...)
}

func apply(t testing.TB, p ipvs.Plane, ops []ipvs.Op) {
	t.Helper()
	for _, e := range p.Apply(context.Background(), ops) {
		t.Errorf("%v", e)
	}
}

// become brings the plane from what it has to want.
func become(t testing.TB, p ipvs.Plane, want ipvs.Table) []ipvs.Op {
	t.Helper()
	ops := ipvs.Diff(read(t, p), want)
	apply(t, p, ops)
	return ops
}

func read(t testing.TB, p ipvs.Plane) ipvs.Table {
	t.Helper()
	have, err := p.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// judged compares what ipvsadm saves with the table, as sets of lines.
func judged(t testing.TB, want ipvs.Table) {
	t.Helper()
	want.Services = slices.Clone(want.Services)
	for i := range want.Services {
		want.Services[i].Dests = slices.Clone(want.Services[i].Dests)
		for j := range want.Services[i].Dests {
			want.Services[i].Dests[j].Upper, want.Services[i].Dests[j].Lower = 0, 0 // ipvsadm does not save them
		}
	}
	got := sortedLines(ipvsadm(t, "-S -n"))
	if w := sortedLines(want.String()); got != w {
		t.Errorf("ipvsadm -S -n has\n%s\nwant\n%s", got, w)
	}
}

func sortedLines(s string) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	for i := range l {
		l[i] = strings.TrimSpace(l[i])
	}
	slices.Sort(l)
	return strings.Join(l, "\n")
}

// inside runs f on a thread in network namespace name.
func inside(t testing.TB, name string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		ns, err := netns.GetFromName(name)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("namespace %s: %v", name, err)
	}
}

// lab is a client and n web servers around the namespace of the test, which is the director.
type lab struct {
	client  string
	servers []string
}

// setup runs a script of ip and sysctl commands.
func setup(t testing.TB, script string) {
	t.Helper()
	c := exec.Command("sh", "-e")
	c.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out.String())
	}
}

// namespaces makes /run/netns one of our own, so that names are ours and all goes with us.
func namespaces(t testing.TB) {
	t.Helper()
	testneed.Need(t, "root", "netns", "ip")
	setup(t, `mount --make-rprivate /
mkdir -p /run/netns
grep -q ' /run/netns tmpfs' /proc/mounts || mount -t tmpfs ns /run/netns`)
}

// newLab builds it: the client has 10.9.1.2 and fd09:1::2, the director 10.9.1.1 towards it with 10.9.1.100 and fd09:1::100 as
// virtual addresses; server i (from 1) has 10.9.1i.2 and fd09:1i::2, the director as its router.
func newLab(t testing.TB, servers int) *lab {
	t.Helper()
	namespaces(t)
	l := &lab{client: "rlv-k-client"}
	script := `echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip netns add rlv-k-client
ip link add c0 type veth peer name eth0 netns rlv-k-client
ip addr add 10.9.1.1/24 dev c0
ip addr add 10.9.1.100/32 dev c0
ip -6 addr add fd09:1::1/64 dev c0 nodad
ip -6 addr add fd09:1::100/128 dev c0 nodad
ip link set c0 up
ip -n rlv-k-client addr add 10.9.1.2/24 dev eth0
ip -n rlv-k-client addr add 10.9.1.3/24 dev eth0
ip -n rlv-k-client -6 addr add fd09:1::2/64 dev eth0 nodad
ip -n rlv-k-client link set lo up
ip -n rlv-k-client link set eth0 up
`
	for i := 1; i <= servers; i++ {
		name := fmt.Sprintf("rlv-k-s%d", i)
		l.servers = append(l.servers, name)
		script += strings.NewReplacer("NAME", name, "I", fmt.Sprint(i)).Replace(`ip netns add NAME
ip link add sI type veth peer name eth0 netns NAME
ip addr add 10.9.1I.1/24 dev sI
ip -6 addr add fd09:1I::1/64 dev sI nodad
ip link set sI up
ip -n NAME addr add 10.9.1I.2/24 dev eth0
ip -n NAME -6 addr add fd09:1I::2/64 dev eth0 nodad
ip -n NAME link set lo up
ip -n NAME link set eth0 up
ip -n NAME route add default via 10.9.1I.1
ip -n NAME -6 route add default via fd09:1I::1
`)
	}
	t.Cleanup(func() {
		cleanup := "for n in rlv-k-client " + strings.Join(l.servers, " ") + "; do ip netns del $n; done\nip link del c0 2>/dev/null\n"
		for i := 1; i <= servers; i++ {
			cleanup += fmt.Sprintf("ip link del s%d 2>/dev/null\n", i)
		}
		_ = exec.Command("sh", "-c", cleanup).Run()
	})
	setup(t, script)
	return l
}
