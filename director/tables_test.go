package director_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/director"
	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/mark"
)

// tables are the configurations of testdata/tables: each what a daemon starts with, and what it is reloaded with. The nth has the virtual
// addresses 10.2.n.0/24 and fd02::n:0/112 and marks of its own, so that all fit into one file.
func tables(t *testing.T) (names []string, configs [][2]string) {
	t.Helper()
	files, err := filepath.Glob("testdata/tables/*.conf")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		first, second, ok := strings.Cut(string(b), "--- after a reload\n")
		if !ok {
			t.Fatalf("%s has no second half", f)
		}
		names, configs = append(names, strings.TrimSuffix(filepath.Base(f), ".conf")), append(configs, [2]string{first, second})
	}
	return names, configs
}

// foreign is a service of somebody else, which must be there before, during and after unless the table is flushed.
const foreign = "ipvsadm -A -t 10.9.9.9:99 -s rr; ipvsadm -a -t 10.9.9.9:99 -r 10.9.9.8:99 -m"

// stage is one configuration file and what runs on it.
type stage struct {
	t    *testing.T
	file string
	args []string // further options
}

// entries is what is in the kernel, one a line: as ipvsadm saves it, as it lists it with flags and thresholds, timeouts, sync daemons, and marks.
// Nft shows those as if in network order without a hint about it.
func entries(t *testing.T) []string {
	t.Helper()
	out := sh(t, `ipvsadm -S -n; ipvsadm -Ln | awk '/^[A-Z][A-Z]/ && !/^IP/ {s=$0; print "list " s; next} /->/ && s {print "list " s " " $2 " " $3 " " $4}'
ipvsadm -Ln --thresholds | awk '/^[A-Z][A-Z]/ && !/^IP/ {s=$1 " " $2 " " $3} /->/ && s {print "thresholds " s " " $2 " " $3 " " $4}'
ipvsadm -L --timeout; ipvsadm -Ln --daemon; nft list ruleset
[ ! -e /run/netns/rlvx ] || ip netns exec rlvx ipvsadm -S -n | sed 's/^/rlvx /'`)
	var l []string
	for line := range strings.Lines(out) {
		line = strings.Join(strings.Fields(line), " ")
		if line != "" {
			l = append(l, strings.NewReplacer("0xe8030000", "0x000003e8", "0xe9030000", "0x000003e9", "0xea030000", "0x000003ea").Replace(line))
		}
	}
	slices.Sort(l)
	return l
}

// glance is what is in the table and beside it, cheaply: to see that something goes on.
func glance(t *testing.T) string {
	t.Helper()
	path := ""
	if _, err := os.Stat("/run/netns/rlvx"); err == nil {
		path = "/run/netns/rlvx"
	}
	plane, err := kernel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	table, err := plane.Read(t.Context())
	timeouts, err2 := plane.SetTimeouts(t.Context(), ipvs.Timeouts{})
	daemons, err3 := plane.SyncState(t.Context())
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(table, timeouts, daemons)
}

// busy reports whether a process or a child of it runs, would like to, or waits for the kernel.
func busy(t *testing.T, pid int) bool {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(strings.Fields(string(children)), fmt.Sprint(pid)) {
		b, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			return true // a child that has just ended
		}
		_, state, _ := strings.Cut(string(b), ") ")
		if !strings.HasPrefix(state, "S") {
			return true
		}
	}
	return false
}

// steady waits until something has changed since the glance before and nothing did for a while, in which the process at work rested.
func steady(t *testing.T, pid int, before string) []string {
	t.Helper()
	last, same := before, 0
	for range 600 {
		time.Sleep(200 * time.Millisecond)
		now := glance(t)
		switch {
		case now == before, now != last, busy(t, pid):
			same = 0
		default:
			same++
		}
		if last = now; same == 4 {
			break
		}
	}
	return entries(t)
}

// reference runs keepalived on both configurations and gives what is there after start, reload (empty without one) and stop, and its log.
func (s *stage) reference(first, second string) (seen [3][]string, log string) {
	s.t.Helper()
	before := glance(s.t)
	s.write(first)
	ref := exec.Command("keepalived", append([]string{"-n", "-l", "-D", "-C", "-f", s.file}, s.args...)...)
	var mu sync.Mutex
	var b bytes.Buffer
	ref.Stderr = writer(func(p []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return b.Write(p) })
	ref.Stdout = ref.Stderr
	if err := ref.Start(); err != nil {
		s.t.Fatal(err)
	}
	seen[0] = steady(s.t, ref.Process.Pid, before)
	if second != "" {
		before = glance(s.t)
		s.write(second)
		_ = ref.Process.Signal(syscall.SIGHUP)
		seen[1] = steady(s.t, ref.Process.Pid, before)
	}
	_ = ref.Process.Signal(syscall.SIGTERM)
	_ = ref.Wait()
	seen[2] = entries(s.t)
	return seen, b.String()
}

// ours is the same with a Director.
func (s *stage) ours(first, second string, opt director.Options) (seen [3][]string, log string) {
	s.t.Helper()
	opt.Marks, opt.RepairEvery = &mark.Marker{}, -1
	o := run(s.t, load(s.t, first), opt)
	seen[0] = entries(s.t)
	if second != "" {
		if err := o.d.Reload(s.t.Context(), load(s.t, second)); err != nil {
			s.t.Error(err)
		}
		seen[1] = entries(s.t)
	}
	o.end()
	seen[2] = entries(s.t)
	return seen, o.log.String()
}

func (s *stage) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// compare reports what only one has.
func compare(t *testing.T, theirs, ours [3][]string, ref, own string) {
	t.Helper()
	for i, when := range []string{"start", "reload", "stop"} {
		missing := false
		for _, l := range theirs[i] {
			if !slices.Contains(ours[i], l) {
				t.Errorf("after the %s only the reference: %s", when, l)
				missing = true
			}
		}
		for _, l := range ours[i] {
			if !slices.Contains(theirs[i], l) {
				t.Errorf("after the %s only we: %s", when, l)
				missing = true
			}
		}
		if !missing && len(theirs[i]) != len(ours[i]) {
			t.Errorf("after the %s the reference has %d entries, we have %d", when, len(theirs[i]), len(ours[i]))
		}
	}
	if t.Failed() {
		t.Logf("log of the reference:\n%s\nours:\n%s", ref, own)
	}
}

// prepare makes the namespace a director's.
func prepare(t *testing.T) {
	t.Helper()
	sh(t, "mount --make-rprivate /; mount -t tmpfs run /run; ip link set lo up; ip addr add 10.2.0.250/32 dev lo; ip -6 addr add fd02::250/128 dev lo")
}

func TestIPVSTablesAreTheReferencesEntryByEntry(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm", "keepalived", "nft-tool")
	if inNamespace(t) {
		return
	}
	prepare(t)
	s := &stage{t: t, file: filepath.Join(t.TempDir(), "keepalived.conf")}
	names, configs := tables(t)
	if os.Getenv("RELEVE_EACH") != "" { // the longer form
		for i, c := range configs {
			t.Run(names[i], func(t *testing.T) {
				s.t = t
				theirs, ref := s.reference(c[0], c[1])
				sh(t, "ipvsadm -C")
				ours, own := s.ours(c[0], c[1], director.Options{})
				compare(t, theirs, ours, ref, own)
				sh(t, "ipvsadm -C")
			})
		}
		return
	}
	var all [2]string
	for _, c := range configs {
		all[0] += c[0]
		all[1] += c[1]
	}
	sh(t, foreign)
	theirs, ref := s.reference(all[0], all[1])
	sh(t, "ipvsadm -C; "+foreign) // at the stop the reference may forget some
	ours, own := s.ours(all[0], all[1], director.Options{})
	compare(t, theirs, ours, ref, own)
	for i, least := range []int{300, 300, 4} {
		if len(theirs[i]) < least || !slices.Contains(ours[i], "-A -t 10.9.9.9:99 -s rr") {
			t.Errorf("step %d: %d entries", i, len(theirs[i]))
		}
	}
}

func TestIPVSGlobalSettingsAreTheReferences(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "ipvsadm", "keepalived", "nft", "nft-tool")
	if inNamespace(t) {
		return
	}
	prepare(t)
	sh(t, "ip link add rlvd0 type dummy; ip addr add 10.8.0.1/24 dev rlvd0; ip link set rlvd0 up")
	server := func(host, weight int) string {
		return fmt.Sprintf("virtual_server 10.2.0.%d 80 {\n protocol TCP\n lb_algo rr\n lb_kind NAT\n real_server 10.1.0.1 80 {\n weight %d\n }\n}\n", host, weight)
	}
	set := func(lines ...string) string { return "global_defs {\n " + strings.Join(lines, "\n ") + "\n}\n" }
	const sync = "lvs_sync_daemon rlvd0 id 9 maxlen 1000 port 9000 ttl 4 group 224.0.0.90"
	for _, c := range []struct {
		name, first, second string
		args                []string
		opt                 director.Options
	}{
		{"lvs_timeouts, lvs_sync_daemon without an instance, lvs_flush_on_stop", set("lvs_timeouts tcp 100 udp 33", sync, "lvs_flush_on_stop") + server(1, 1),
			set("lvs_timeouts tcp 200 tcpfin 20", sync, "lvs_flush_on_stop") + server(1, 2), nil, director.Options{}},
		{"lvs_flush, dont-release-ipvs", set("lvs_flush") + server(1, 1), "", []string{"-I"}, director.Options{LeaveTable: true}},
		{"lvs_flush_on_stop VS, nftables_ipvs", set("lvs_flush_on_stop VS", "nftables_ipvs kalvs") + server(1, 1) + server(2, 1) + marks, "", nil, director.Options{}},
		{"net_namespace_ipvs", "net_namespace_ipvs rlvx\n" + server(1, 1), "", nil, director.Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &stage{t: t, file: filepath.Join(t.TempDir(), "keepalived.conf"), args: c.args}
			if c.name == "net_namespace_ipvs" {
				sh(t, "ip netns add rlvx; ip -n rlvx link set lo up")
				defer sh(t, "ip netns del rlvx")
			}
			sh(t, "ipvsadm -C; "+foreign)
			theirs, ref := s.reference(c.first, c.second)
			sh(t, "ipvsadm -C; ipvsadm --set 900 120 300; "+foreign)
			ours, own := s.ours(c.first, c.second, c.opt)
			compare(t, theirs, ours, ref, own)
			sh(t, "ipvsadm -C; ipvsadm --set 900 120 300; nft flush ruleset")
		})
	}
}

// marks are groups that nftables marks.
const marks = `
virtual_server_group G4 {
  10.2.3.1 80
  10.2.3.5-7 8080
}
virtual_server_group G6 {
  fd02::1 80
  fd02::10-12 80
}
virtual_server group G4 {
  protocol TCP
  lb_algo rr
  lb_kind DR
  real_server 10.1.0.1 80 {
  }
}
virtual_server group G4 {
  protocol UDP
  lb_algo rr
  lb_kind NAT
  real_server 10.1.0.1 8080 {
  }
}
virtual_server group G6 {
  protocol TCP
  lb_algo wlc
  lb_kind NAT
  real_server fd01::1 8080 {
  }
}
`
