package supervisor_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
)

// outcome is all that a program did with a configuration, sorted and without what is another at every run.
type outcome struct {
	Up     []string // the network while it ran: addresses, links, routes, rules, tables of nftables, group memberships
	Reload []string // the same after an unchanged reload
	Left   []string // the same after the stop, and the files in /run and /tmp
	Wire   []string // the different frames: adverts, ARP, neighbour advertisements, each with its interface
	Bye    []string // the different adverts after SIGTERM, and what groups are left
	States []string // what is logged of the states of instances, and of what they set and remove
	Starts []string // instances that start as BACKUP, in one row in the order of the log
	Calls  []string // arguments of the scripts
	Status int
	Log    string
}

// Comments of a configuration file of testdata/effects steer the run: "! until TEXT" waits for a line of the log, "! shell COMMAND" is
// done before the start, "! apart REGEXP" names rows that differ with good reason, which stands behind it.
var directive = regexp.MustCompile(`(?m)^! (until|shell|apart) (.*)$`)

func directives(text, name string) (out []string) {
	for _, m := range directive.FindAllStringSubmatch(text, -1) {
		if m[1] == name {
			out = append(out, m[2])
		}
	}
	return out
}

// TestTheNetworkIsWhatTheReferenceMakesOfIt runs both programs on each file, with two interfaces and somebody who listens behind them.
func TestTheNetworkIsWhatTheReferenceMakesOfIt(t *testing.T) {
	testneed.Need(t, "root", "netns", "ip", "nft-tool", "keepalived")
	files, err := filepath.Glob("testdata/effects/*.conf")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d configurations: %v", len(files), err)
	}
	reference, err := exec.LookPath("keepalived")
	if err != nil {
		t.Fatal(err)
	}
	type pair struct {
		got, want *outcome
		errs      [2]error
		done      sync.WaitGroup
	}
	busy := make(chan struct{}, 12) // they wait more than they work
	pairs := make([]pair, len(files))
	run := func(path, f string, e **outcome, err *error) func() {
		return func() {
			busy <- struct{}{}
			defer func() { <-busy }()
			*e, *err = effectsOf(path, f)
		}
	}
	for i, f := range files {
		p := &pairs[i]
		p.done.Go(run(ours().path, f, &p.got, &p.errs[0]))
		p.done.Go(run(reference, f, &p.want, &p.errs[1]))
	}
	for i := range pairs { // all of them, so that what runs again is alone
		pairs[i].done.Wait()
	}
	for i, f := range files {
		p := &pairs[i]
		t.Run(strings.TrimSuffix(filepath.Base(f), ".conf"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err := errors.Join(err, p.errs[0], p.errs[1]); err != nil {
				t.Fatal(err)
			}
			// A dozen of them at once is a busy machine, on which the kernel reports a group late or not at all and a second may be too short
			// for all that follows a change. What differs for another reason differs again when each is alone.
			differences := compareEffects(string(text), p.got, p.want)
			for range 3 {
				if len(differences) == 0 {
					break
				}
				t.Logf("once more, because of\n%s", strings.Join(differences, "\n"))
				for _, again := range []func(){run(ours().path, f, &p.got, &p.errs[0]), run(reference, f, &p.want, &p.errs[1])} {
					again()
				}
				if err := errors.Join(p.errs[:]...); err != nil {
					t.Fatal(err)
				}
				differences = compareEffects(string(text), p.got, p.want)
			}
			for _, d := range differences {
				t.Error(d)
			}
			if t.Failed() {
				t.Logf("our log:\n%s\nthe reference's:\n%s", p.got.Log, p.want.Log)
			}
		})
	}
}

// compareEffects says what differs.
func compareEffects(text string, got, want *outcome) (out []string) {
	differs := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	var apart []*regexp.Regexp
	for _, a := range directives(text, "apart") {
		apart = append(apart, regexp.MustCompile(a))
	}
	minus := func(a, b []string) (rows []string) {
		for _, r := range a {
			if !slices.Contains(b, r) && !slices.ContainsFunc(apart, func(x *regexp.Regexp) bool { return x.MatchString(r) }) {
				rows = append(rows, r)
			}
		}
		return rows
	}
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"while it runs", got.Up, want.Up}, {"after the stop", got.Left, want.Left}, {"on the wire", got.Wire, want.Wire},
		{"adverts at the end", got.Bye, want.Bye}, {"states", got.States, want.States}, {"order of the start", got.Starts, want.Starts},
		{"scripts", got.Calls, want.Calls},
	} {
		for _, r := range minus(c.want, c.got) {
			differs("%s, only the reference: %s", c.what, r)
		}
		for _, r := range minus(c.got, c.want) {
			differs("%s, only releve: %s", c.what, r)
		}
	}
	if got.Status != want.Status {
		differs("exit status %d, the reference's %d", got.Status, want.Status)
	}
	if !slices.Equal(got.Up, got.Reload) {
		differs("an unchanged reload changed something\nbefore %s\nafter  %s", strings.Join(minus(got.Up, got.Reload), "\n"), strings.Join(minus(got.Reload, got.Up), "\n"))
	}
	return out
}

const envEffects = "RELEVE_TEST_EFFECTS" // program, configuration

// effectsOf runs this test binary again, in namespaces of its own, to watch the program at path.
func effectsOf(path, conf string) (*outcome, error) {
	var stderr bytes.Buffer
	c := exec.Command("/proc/self/exe") // its path is hidden here
	c.Env, c.Stderr = append(os.Environ(), envEffects+"="+path+" "+conf), &stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	watchdog := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer watchdog.Stop()
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w: %s", path, conf, err, &stderr)
	}
	e := &outcome{}
	return e, json.Unmarshal(out, e)
}

// watchEffects is the process that effectsOf started.
func watchEffects() int {
	path, conf, _ := strings.Cut(os.Getenv(envEffects), " ")
	os.Unsetenv(envEffects)
	e, err := watch(path, conf)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// company tells whether another process than this one runs here; all of its namespace are seen in /proc.
func company() bool {
	all, _ := filepath.Glob("/proc/[0-9]*")
	return slices.ContainsFunc(all, func(dir string) bool {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		return pid != os.Getpid() && alive(pid)
	})
}

func shell(command string) (string, error) {
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return string(out), err
}

// stage makes what every run finds: the program as /mnt/keepalived, a script that notes its arguments, two interfaces and behind them
// namespace wire.
const stage = `set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
touch /mnt/keepalived /mnt/calls
mount --bind "$1" /mnt/keepalived
cp "$2" /mnt/conf
printf '#!/bin/sh\necho "$*" >>/mnt/calls\n' >/mnt/note
chmod 755 /mnt/note
chmod 666 /mnt/calls
mount -t tmpfs none /run
mount -t tmpfs -o mode=1777 none /tmp
mount -t proc none /proc
mount -t sysfs none /sys
for f in default all; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/$f/router_solicitations; done
ip netns add wire
ip -n wire link set lo up
ip netns exec wire sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
ip link set lo up
for i in 0 1; do
	ip link add eth$i address 02:00:00:00:01:0$i type veth peer name eth$i address 02:00:00:00:02:0$i netns wire
	ip -n wire link set eth$i up
	ip link set eth$i up
	ip addr add 10.9.$i.1/24 brd + dev eth$i
	ip addr add fd09:$i::1/64 dev eth$i nodad
	ip neigh add 10.9.$i.2 lladdr 02:00:00:00:03:0$i dev eth$i
	ip neigh add fd09:$i::2 lladdr 02:00:00:00:03:0$i dev eth$i
done
`

func watch(path, conf string) (*outcome, error) {
	text, err := os.ReadFile(conf)
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command("sh", "-c", stage, "sh", path, conf).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("set the stage: %w: %s", err, out)
	}
	w, err := tapWire()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	for _, s := range directives(string(text), "shell") {
		if _, err := shell(s); err != nil {
			return nil, err
		}
	}
	log := &output{}
	c := exec.Command("/mnt/keepalived", "-n", "-l", "-D", "-G", "-P", "-f", "/mnt/conf")
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ended:
		}
	}
	e := &outcome{Starts: []string{""}}
	for _, line := range directives(string(text), "until") {
		for end := time.Now().Add(30 * time.Second); !strings.Contains(log.String(), line); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				return nil, fmt.Errorf("not logged within 30 s: %s\n%s", line, log)
			}
		}
	}
	pause(time.Second) // what follows the last line: announcements, notifications
	e.Wire = w.frames("advert", "arp", "na")
	if e.Up, err = networkNow(); err != nil {
		return nil, err
	}
	c.Process.Signal(syscall.SIGHUP)
	pause(1500 * time.Millisecond)
	if e.Reload, err = networkNow(); err != nil {
		return nil, err
	}
	w.forget()
	c.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		c.Process.Kill()
		return nil, fmt.Errorf("not ended 30 s after SIGTERM\n%s", log)
	}
	for end := time.Now().Add(10 * time.Second); company() && time.Now().Before(end); { // the last script
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // the reports of the groups that were left
	e.Status, e.Log = c.ProcessState.ExitCode(), log.String()
	// At the end only what says goodbye counts: when the timer had an advert due is another at every run.
	e.Bye = append(slices.DeleteFunc(w.frames("advert"), func(f string) bool { return !strings.Contains(f, "priority 0 ") }), w.frames("left")...)
	if e.Left, err = networkNow(); err != nil {
		return nil, err
	}
	e.Left = slices.DeleteFunc(e.Left, func(row string) bool { return restored.MatchString(row) })
	files, err := shell("find /run /tmp -mindepth 1 -not -path '/run/netns*' -printf '%p %M %u\n' | sort")
	if err != nil {
		return nil, err
	}
	e.Left = append(e.Left, lines(files)...)
	calls, err := os.ReadFile("/mnt/calls")
	if err != nil {
		return nil, err
	}
	e.Calls = lines(string(calls))
	for l := range strings.Lines(e.Log) {
		if m := entering.FindString(l); m != "" {
			if strings.Contains(l, "(init)") {
				e.Starts[0] += m
			}
			e.States = append(e.States, strings.ToLower(m)) // an instance that starts in FAULT has another case in 2.2.7
		}
	}
	slices.Sort(e.States)
	slices.Sort(e.Calls)
	e.States, e.Calls = slices.Compact(e.States), slices.Compact(e.Calls)
	return e, nil
}

// restored are settings of the interface below a VMAC that 2.2.7 leaves as they are.
var restored = regexp.MustCompile(`^sysctl: ipv4/conf/\w+/arp_(filter|ignore):`)

var entering = regexp.MustCompile(`(?i)\(\w+\) (entering (master|backup|fault) state|(setting|removing) (E-)?(VIPs|Virtual (Routes|Rules)))|keepalived has no configuration to run`)

// unstable is what the kernel counts, and numbers of interfaces; nft prints the second half of a map of interfaces as it likes.
var unstable = regexp.MustCompile(`^\d+: |link-netns(id)? \S+|expires \S+|elements = \{ "vrrp.*`)

func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.Join(strings.Fields(unstable.ReplaceAllString(strings.TrimRight(l, "\n"), "")), " "); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// networkNow is the state of the network, each row with what it is about.
func networkNow() ([]string, error) {
	var out []string
	for _, c := range []struct{ what, command string }{
		{"address", "ip -o addr"}, {"link", "ip -d -o link | grep -o 'vrrp.*'; true"}, {"route", "ip -d route show table all"}, {"route6", "ip -d -6 route show table all"},
		{"rule", "ip rule"}, {"rule6", "ip -6 rule"}, {"nft", "nft list ruleset"}, {"group", "ip -o maddr | grep -E '224.0.0.18|ff02::12'; true"},
		{"sysctl", "cd /proc/sys/net && grep -s . ipv?/conf/*/*; true"},
	} {
		text, err := shell(c.command)
		if err != nil {
			return nil, err
		}
		rows := lines(text)
		slices.Sort(rows)
		for _, r := range rows {
			out = append(out, c.what+": "+r)
		}
	}
	return out, nil
}

// tap hears what arrives in namespace wire.
type tap struct {
	mu   sync.Mutex
	seen []string
}

func tapWire() (*tap, error) {
	w := &tap{}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread stays in the other namespace and ends with this function
		fd, names, err := func() (int, map[int]string, error) {
			ns, err := os.Open("/run/netns/wire")
			if err != nil {
				return 0, nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return 0, nil, err
			}
			names := map[int]string{}
			for _, n := range []string{"eth0", "eth1"} {
				i, err := net.InterfaceByName(n)
				if err != nil {
					return 0, nil, err
				}
				names[i.Index] = n
			}
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})))
			return fd, names, err
		}()
		result <- err
		if err != nil {
			return
		}
		buf := make([]byte, 9000)
		for {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if !ok || ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if s := describe(buf[:n]); s != "" {
				w.mu.Lock()
				w.seen = append(w.seen, names[ll.Ifindex]+" "+s)
				w.mu.Unlock()
			}
		}
	}()
	return w, <-result
}

// describe is a frame without what is another each time: identification and header checksum. Others than adverts and announcements have
// no description.
func describe(f []byte) string {
	if len(f) < 14+20 {
		return ""
	}
	head := fmt.Sprintf("%x > %x", f[6:12], f[:6])
	body := f[14:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_ARP:
		return "arp " + head + " " + hex.EncodeToString(body[:28])
	case unix.ETH_P_IP:
		n := int(body[0]&15) * 4
		if size := int(binary.BigEndian.Uint16(body[2:])); size <= len(body) {
			body = body[:size]
		}
		p := body[min(n, len(body)):]
		switch {
		case body[9] == 2 && len(p) > 8 && p[0] == 0x22: // RFC 3376 §4.2
			return left(head, net.IP(body[12:16]), p[8:], 4)
		case body[9] == 112 && len(p) > 2:
		case body[9] == 51 && len(p) > 26: // its sequence number and digest: another each time
			p = p[24:]
		default:
			return ""
		}
		return fmt.Sprintf("advert %s %v > %v tos %d ttl %d proto %d length %d priority %d %x", head, net.IP(body[12:16]), net.IP(body[16:20]), body[1], body[8], body[9], len(body), p[2], p)
	case unix.ETH_P_IPV6:
		if len(body) < 40+3 {
			return ""
		}
		p := body[40:]
		switch {
		case body[6] == 0 && len(p) > 16 && p[8] == 143: // RFC 3810 §5.2 behind a hop-by-hop header
			return left(head, net.IP(body[8:24]), p[16:], 16)
		case body[6] == 112:
			return fmt.Sprintf("advert %s %v > %v hops %d length %d priority %d %x", head, net.IP(body[8:24]), net.IP(body[24:40]), body[7], len(body), p[2], p)
		case body[6] == 58 && p[0] == 136:
			return fmt.Sprintf("na %s %v > %v hops %d %x", head, net.IP(body[8:24]), net.IP(body[24:40]), body[7], p)
		}
	}
	return ""
}

// left describes the report of groups that are left: their records say that nothing is heard any more (TO_IN, BLOCK) from nobody. Other
// records are nothing, and the groups of solicited nodes come and go with the addresses.
func left(head string, src net.IP, records []byte, size int) string {
	var groups []string
	for len(records) >= 4+size {
		kind, sources, group := records[0], int(binary.BigEndian.Uint16(records[2:])), net.IP(records[4:4+size])
		if (kind == 3 || kind == 6) && !strings.HasPrefix(group.String(), "ff02::1:ff") {
			groups = append(groups, group.String())
		}
		records = records[min(len(records), 4+size*(1+sources)+4*int(records[1])):]
	}
	if groups == nil {
		return ""
	}
	slices.Sort(groups)
	return fmt.Sprintf("left %s %v: %s", head, src, strings.Join(groups, " "))
}

// frames are the different ones of some kinds.
func (w *tap) frames(kinds ...string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, s := range w.seen {
		if slices.Contains(kinds, strings.Fields(s)[1]) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (w *tap) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}
