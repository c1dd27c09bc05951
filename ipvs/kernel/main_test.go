package kernel_test

import (
	"bytes"
	"context"
	"errors"
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

// openAgain opens the table as it is.
func openAgain(t testing.TB) *kernel.Plane { return openAt(t, "") }

func openAt(t testing.TB, path string) *kernel.Plane {
	t.Helper()
	p, err := kernel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
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
