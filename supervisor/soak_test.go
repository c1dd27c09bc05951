package supervisor_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/supervisor"
	"releve/vrrp/wire"
)

// soak is how many rounds a test runs: few, or all of them with RELEVE_SOAK.
func soak(few, all int) int {
	if os.Getenv("RELEVE_SOAK") != "" {
		return all
	}
	if testing.Short() {
		return max(few/4, 2)
	}
	return few
}

// seeded gives random numbers that a failed run can be repeated with (RELEVE_SEED).
func seeded(t *testing.T, stream uint64) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("RELEVE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("RELEVE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, stream))
}

// askFor runs a subcommand with --json and reads the answer.
func askFor(t *testing.T, args ...string) (status int, a supervisor.Answer) {
	t.Helper()
	status, out := releve(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("releve %v: status %d, %v: %q", args, status, err, out)
	}
	return status, a
}

// ear hears the adverts on v1, the other end of the daemon's wire.
type ear struct {
	mu   sync.Mutex
	last time.Time
	gap  time.Duration // longest between two adverts since reset
	n    int
	zero int // adverts of priority 0
	prio uint8
}

// listen hears the adverts of a virtual router until the test ends.
func listen(t *testing.T, vrid uint8) *ear {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0x0008) // ETH_P_IP, swapped
	if err != nil {
		t.Fatal(err)
	}
	v1, err := net.InterfaceByName("v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: 0x0008, Ifindex: v1.Index}); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "ear")
	t.Cleanup(func() { f.Close() })
	e := &ear{}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			if n < 28 || buf[9] != wire.Protocol || buf[21] != vrid {
				continue
			}
			e.mu.Lock()
			now := time.Now()
			if !e.last.IsZero() {
				e.gap = max(e.gap, now.Sub(e.last))
			}
			e.last, e.prio = now, buf[22]
			e.n++
			if e.prio == 0 {
				e.zero++
			}
			e.mu.Unlock()
		}
	}()
	return e
}

// reset begins a new stretch and returns what was heard in the last one; it includes the silence up to now.
func (e *ear) reset() (gap time.Duration, adverts, zeroes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gap, adverts, zeroes = e.gap, e.n, e.zero
	if !e.last.IsZero() {
		gap = max(gap, time.Since(e.last))
	}
	e.gap, e.n, e.zero = 0, 0, 0
	return gap, adverts, zeroes
}

// TestBrokenVariantsCostAMasterNothing sends SIGHUP after SIGHUP with files that are not sound to a MASTER: no state changes, the VIP stays,
// adverts come in time for any backup, and the reason has a place in the file.
func TestBrokenVariantsCostAMasterNothing(t *testing.T) {
	network(t)
	const advert = 100 * time.Millisecond
	text := "global_defs {\n  router_id R\n}\n" + strings.ReplaceAll(owner, "  priority 255", "  priority 150\n  version 3\n  advert_int 0.1\n  garp_master_delay 1")
	text += "virtual_server 10.9.0.1 80 {\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n  real_server 10.9.0.51 80 {\n    weight 1\n  }\n}\n"
	conf := config(t, text)
	d := foreground(t, ours(), conf)
	eventually(t, "it is master", hasVIP)
	heard := listen(t, 51)
	changes := monitor(t)
	eventually(t, "it is heard", func() bool { _, n, _ := heard.reset(); return n > 0 })
	seed := seeded(t, 1).Uint64()
	pids := [3]int{pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid"), pidIn("/run/checkers.pid")}
	const down = 3 * advert // a backup takes over after three intervals and the skew
	// round sends the variants once. still says that the machine stood still for long enough to disturb a master, gap how long no advert was
	// heard.
	round := func() (still bool, gap time.Duration) {
		eventually(t, "it is master", hasVIP)
		time.Sleep(2 * advert)
		heard.reset()
		r := rand.New(rand.NewPCG(seed, 1))
		before, said := len(changes.String()), len(d.log.String())
		want, sound := soak(60, 200), 0
		for i, refused := 0, 0; refused < want; i++ {
			if i > 40*want {
				t.Fatalf("only %d of %d variants were refused", refused, i)
			}
			guarded := r.IntN(2) == 0
			broken := variant(r, text)
			if guarded {
				broken = "global_defs {\n  reload_guard\n}\n" + broken
			}
			write(t, conf+".variant", broken)
			status, a := askFor(t, "plan", conf+".variant")
			if status != 2 {
				sound++
				continue // a configuration all the same
			}
			if a.Text == "" {
				t.Fatalf("variant %d is refused without a reason\n%s", i, broken)
			}
			write(t, conf, broken)
			n := strings.Count(d.log.String(), "Reload refused")
			kill(t, d.pid(), syscall.SIGHUP)
			eventually(t, "it is refused", func() bool { return strings.Count(d.log.String(), "Reload refused") > n })
			refused++
			if now := [3]int{pidIn("/run/keepalived.pid"), pidIn("/run/vrrp.pid"), pidIn("/run/checkers.pid")}; now != pids || !alive(d.pid()) {
				t.Fatalf("variant %d: processes %v became %v\n%s", i, pids, now, broken)
			}
			there := hasVIP()
			if strings.Contains(d.log.String()[said:], "timer noticed") {
				return true, 0
			}
			if !there {
				t.Fatalf("variant %d: the VIP is gone\n%s", i, broken)
			}
		}
		gap, adverts, zeroes := heard.reset()
		t.Logf("%d refused, %d sound ones left out; %d adverts, the longest gap %v", want, sound, adverts, gap)
		if strings.Contains(d.log.String()[said:], "timer noticed") {
			return true, gap
		}
		if zeroes > 0 {
			t.Errorf("%d adverts of priority 0", zeroes)
		}
		if n := strings.Count(d.log.String()[said:], "Entering "); n != 0 {
			t.Errorf("%d changes of state", n)
		}
		if list := moved(changes.String()[before:]); len(list) > 0 {
			t.Errorf("addresses changed: %q", list)
		}
		return false, gap
	}
	for n := 1; ; n++ { // a file that holds up the adverts does so each time, a machine that stands still does not
		still, gap := round()
		if !still && gap < down || t.Failed() {
			break
		}
		if n == 10 {
			t.Errorf("the longest gap between adverts is %v, also when the same is done again: a backup takes over after %v", gap, down)
			break
		}
	}
	if strings.Contains(d.log.String(), "died") {
		t.Error("a part died")
	}
	// The right file is still taken.
	write(t, conf, text)
	if status, out := releve(t, "reload"); status != 0 {
		t.Errorf("the right file: status %d, %q", status, out)
	}
	d.stop()
	if out, _ := exec.Command("ip", "-o", "-4", "addr", "show", "dev", "v0").Output(); strings.Count(string(out), "\n") != 1 {
		t.Errorf("left on the interface:\n%s", out)
	}
}

// anyConfig is a valid configuration of up to five instances with up to four addresses, groups, scripts, virtual servers and BFD sessions;
// addrs are those that belong on v0 once every instance is MASTER.
//
// Routes and rules in tables of their own are part of it; what is to be seen of them is in addrs as well.
func anyConfig(r *rand.Rand) (text string, addrs map[string]bool) {
	var b strings.Builder
	addrs = map[string]bool{"10.9.0.2/24": true}
	script := r.IntN(2) == 0
	b.WriteString("global_defs {\n  enable_script_security\n  script_user root\n")
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, "  router_id R%d\n", r.IntN(3))
	}
	b.WriteString("}\n")
	if script {
		fmt.Fprintf(&b, "vrrp_script chk {\n  script /bin/true\n  interval %d\n  weight %d\n}\n", 1+r.IntN(2), 1+r.IntN(2))
	}
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, "bfd_instance B {\n  neighbor_ip 10.9.0.%d\n  source_ip 10.9.0.2\n}\n", 90+r.IntN(2))
	}
	list := r.Perm(5)[:r.IntN(6)]
	for _, i := range list {
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n  interface v0\n  virtual_router_id %d\n  priority 255\n  version 3\n  advert_int 0.%d\n", i, 10+i, 5+r.IntN(5))
		if script && r.IntN(2) == 0 {
			b.WriteString("  track_script {\n    chk\n  }\n")
		}
		b.WriteString("  virtual_ipaddress {\n")
		for _, k := range r.Perm(4)[:1+r.IntN(4)] {
			fmt.Fprintf(&b, "    10.9.%d.%d/24\n", i+1, k+1)
			addrs[fmt.Sprintf("10.9.%d.%d/24", i+1, k+1)] = true
		}
		b.WriteString("  }\n")
		if r.IntN(2) == 0 {
			b.WriteString("  virtual_routes {\n")
			for _, k := range r.Perm(3)[:1+r.IntN(3)] {
				metric := 10 + r.IntN(2)
				fmt.Fprintf(&b, "    10.7%d.%d.0/24 dev v0 table 77 metric %d\n", i, k, metric)
				addrs[fmt.Sprintf("route 10.7%d.%d.0/24 metric %d", i, k, metric)] = true
			}
			b.WriteString("  }\n")
		}
		if r.IntN(2) == 0 {
			b.WriteString("  virtual_rules {\n")
			for _, k := range r.Perm(3)[:1+r.IntN(3)] {
				fmt.Fprintf(&b, "    from 10.7%d.%d.0/24 table 77 priority %d\n", i, k, 20000+10*i+k)
				addrs[fmt.Sprintf("rule %d", 20000+10*i+k)] = true
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	if len(list) > 1 && r.IntN(5) == 0 {
		fmt.Fprintf(&b, "vrrp_sync_group G {\n  group {\n    VI_%d\n    VI_%d\n  }\n}\n", list[0], list[1])
	}
	for v := range r.IntN(4) {
		fmt.Fprintf(&b, "virtual_server 10.9.%d.1 80 {\n  lb_algo %s\n  lb_kind NAT\n  protocol TCP\n  delay_loop 60\n", v+1, []string{"rr", "wrr"}[r.IntN(2)])
		for _, k := range r.Perm(4)[:1+r.IntN(4)] {
			fmt.Fprintf(&b, "  real_server 10.9.0.%d 80 {\n    weight %d\n", 50+k, 1+r.IntN(3))
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "    TCP_CHECK {\n      connect_timeout %d\n      warmup 60\n    }\n", 2+r.IntN(2))
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String(), addrs
}

// addresses are those on v0, and the routes and rules of anyConfig.
func addresses() map[string]bool {
	out, _ := exec.Command("ip", "-o", "-4", "addr", "show", "dev", "v0").Output()
	have := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		have[strings.Fields(line)[3]] = true
	}
	out, _ = exec.Command("ip", "-4", "route", "show", "table", "77").Output()
	for line := range strings.Lines(string(out)) {
		_, metric, _ := strings.Cut(line, " metric ")
		have["route "+strings.Fields(line)[0]+" metric "+strings.Fields(metric + " none")[0]] = true
	}
	out, _ = exec.Command("ip", "-4", "rule").Output()
	for line := range strings.Lines(string(out)) {
		if number, rest, _ := strings.Cut(line, ":"); strings.Contains(rest, "lookup 77") {
			have["rule "+number] = true
		}
	}
	return have
}

// routed counts what happened to routes and rules of table 77 by the words of `ip monitor`.
func routed(text string) map[string]int {
	n := map[string]int{}
	for line := range strings.Lines(text) {
		verb, kind := "add", "route"
		if strings.HasPrefix(line, "Deleted ") {
			verb, line = "remove", strings.TrimPrefix(line, "Deleted ")
		}
		switch {
		case strings.Contains(line, "lookup 77"):
			kind = "rule"
		case !strings.Contains(line, "table 77"):
			continue
		}
		n[verb+" "+kind]++
	}
	return n
}

// table is what the data plane holds, a line an entry, sorted.
func table(t *testing.T) []string {
	t.Helper()
	_, out := releve(t, "lvs", "-S")
	return entries(strings.Split(out, "\n"))
}

// entries are the lines that are entries of a table, sorted.
func entries(lines []string) (out []string) {
	for _, l := range lines {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "-A ") || strings.HasPrefix(l, "-a ") {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return out
}

// perform does a plan's writes to a table.
func perform(have, writes []string) []string {
	key := func(l string) string {
		f := strings.Fields(l)
		if len(f) > 4 && f[3] == "-r" {
			return strings.Join(f[1:5], " ")
		}
		return strings.Join(f[1:3], " ")
	}
	m := map[string]string{}
	for _, l := range have {
		m[key(l)] = l
	}
	for _, w := range writes {
		k := key(w)
		switch w[1] {
		case 'A', 'a':
			m[k] = w
		case 'E', 'e':
			m[k] = map[byte]string{'E': "-A", 'e': "-a"}[w[1]] + w[2:]
		case 'd':
			delete(m, k)
		case 'D':
			for o := range m {
				if o == k || strings.HasPrefix(o, k+" ") {
					delete(m, o)
				}
			}
		}
	}
	return entries(slices.Collect(maps.Values(m)))
}

// moved is what happened at v0 since a mark in the monitor's output, as a plan words it.
func moved(text string) (out []string) {
	for line := range strings.Lines(text) {
		verb := "add"
		if strings.HasPrefix(line, "Deleted ") {
			verb, line = "remove", strings.TrimPrefix(line, "Deleted ")
		}
		if f := strings.Fields(line); len(f) > 3 && f[1] == "v0" && f[2] == "inet" {
			out = append(out, verb+" address "+f[3]+" dev v0")
		}
	}
	return out
}

// status is the daemon's own account of its parts.
func parts(t *testing.T) map[string]supervisor.PartStatus {
	t.Helper()
	_, a := askFor(t, "status")
	m := map[string]supervisor.PartStatus{}
	if a.Status != nil {
		for _, p := range a.Status.Parts {
			m[p.Name] = p
		}
	}
	return m
}

// TestRandomReloadsDoWhatTheirPlansSayAndEndWhereAFreshStartWould: valid configuration after valid configuration. The addresses written must be
// those of the plan made before, in its order; the table must be the old one with the plan's writes; both must be those of a start
// with the new file; goroutines and descriptors must not grow.
func TestRandomReloadsDoWhatTheirPlansSayAndEndWhereAFreshStartWould(t *testing.T) {
	network(t)
	rounds := soak(40, 500)
	conf := config(t, empty)
	d := foreground(t, ours(), conf, "--all")
	eventually(t, "it is up", d.log.has("Startup complete"))
	changes := monitor(t)
	routes := &output{}
	watch := exec.Command("ip", "-o", "-4", "monitor", "route", "rule")
	watch.Stdout = routes
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watch.Process.Kill(); watch.Wait() })
	eventually(t, "it listens", func() bool {
		for _, what := range []string{"add", "del"} {
			exec.Command("ip", "rule", what, "from", "10.250.0.0/24", "lookup", "250", "priority", "30000").Run()
		}
		return strings.Contains(routes.String(), "10.250.0.0/24")
	})
	r := seeded(t, 2)
	pids := [2]int{pidIn("/run/vrrp.pid"), pidIn("/run/checkers.pid")}
	type count struct{ goroutines, files int }
	idle := func() map[string]count { // with nothing configured
		write(t, conf, empty)
		if status, out := releve(t, "reload"); status != 0 {
			t.Fatalf("an empty configuration: %d %q", status, out)
		}
		eventually(t, "all addresses are gone", func() bool { return len(addresses()) == 1 })
		time.Sleep(100 * time.Millisecond) // what was stopped ends in its own time
		if status, out := releve(t, "reload"); status != 0 {
			t.Fatalf("an empty configuration again: %d %q", status, out)
		}
		m := map[string]count{}
		for name, p := range parts(t) {
			m[name] = count{p.Goroutines, p.Files}
		}
		return m
	}
	var first map[string]count
	disturbed := 0
	have := []string{}
	for i := range rounds {
		if i == rounds/4 {
			first = idle()
			have = []string{}
		}
		text, want := anyConfig(r)
		write(t, conf, text)
		status, a := askFor(t, "plan")
		if status != 0 && status != 1 || a.Plan == nil {
			t.Fatalf("reload %d: no plan, status %d: %+v\n%s", i, status, a, text)
		}
		mark, said, told := len(changes.String()), len(d.log.String()), len(routes.String())
		status, b := askFor(t, "reload")
		if status != 0 {
			t.Fatalf("reload %d: %d %+v\n%s", i, status, b, text)
		}
		if a.Plan.LVS != nil && b.Plan.LVS != nil && !slices.Equal(a.Plan.LVS.Writes, b.Plan.LVS.Writes) {
			t.Fatalf("reload %d: planned %q, done %q", i, a.Plan.LVS.Writes, b.Plan.LVS.Writes)
		}
		if a.Plan.VRRP != nil { // all of them are address owners or start when their script has run, soon after
			var planned []string
			plannedRoutes := map[string]int{}
			for _, w := range a.Plan.VRRP.Writes {
				if f := strings.Fields(w.String()); len(f) > 1 && (f[1] == "route" || f[1] == "rule") {
					plannedRoutes[f[0]+" "+f[1]]++
				}
				if strings.HasPrefix(w.What, "address ") {
					planned = append(planned, w.String())
				}
			}
			later := strings.Contains(text, "track_script") // or as group members, by their timers
			for _, in := range a.Plan.VRRP.Instances {
				later = later || in.To == "BACKUP"
			}
			agree := func() bool {
				if got := routed(routes.String()[told:]); !later && !maps.Equal(got, plannedRoutes) {
					return false
				}
				got := moved(changes.String()[mark:])
				return slices.Equal(got, planned) || later && len(got) >= len(planned) && slices.Equal(got[:len(planned)], planned)
			}
			for end := time.Now().Add(30 * time.Second); !agree(); time.Sleep(5 * time.Millisecond) {
				if strings.Contains(d.log.String()[said:], "timer noticed") {
					disturbed++ // the machine stood still for longer than the down timer: the states are not those of the plan
					break
				}
				if time.Now().After(end) {
					t.Fatalf("reload %d wrote\n%q and %v\nplanned was\n%q and %v\n%s\n%s", i, moved(changes.String()[mark:]), routed(routes.String()[told:]), planned, plannedRoutes, routes.String()[told:], text)
				}
			}
		}
		settled := func() bool { return maps.Equal(addresses(), want) }
		for end := time.Now().Add(30 * time.Second); !settled(); time.Sleep(5 * time.Millisecond) { // a new group settles by its timers
			if time.Now().After(end) {
				t.Fatalf("reload %d: the addresses are\n%v\nnot\n%v\n%s", i, addresses(), want, text)
			}
		}
		if a.Plan.LVS != nil {
			have = perform(have, a.Plan.LVS.Writes)
		}
		if got := table(t); !slices.Equal(got, have) {
			t.Fatalf("reload %d: the table is\n%q\nplanned\n%q\nby %q\n%s", i, got, have, a.Plan.LVS.Writes, text)
		}
		_, fresh := askFor(t, "plan", "--no-daemon", conf)
		if got, want := table(t), entries(fresh.Plan.LVS.Writes); !slices.Equal(got, want) {
			t.Fatalf("reload %d: the table is\n%q\nafter a fresh start it would be\n%q\n%s", i, got, want, text)
		}
		if status, again := askFor(t, "plan"); status != 0 {
			t.Fatalf("reload %d: the same again would change %+v\n%s", i, again.Plan, text)
		}
	}
	last := idle()
	t.Logf("%d reloads, %d on a machine that stood still; routes and rules %v; goroutines and files %v at a quarter, %v at the end", rounds, disturbed, routed(routes.String()), first, last)
	if len(routed(routes.String())) != 4 {
		t.Errorf("routes and rules have not come and gone: %v", routed(routes.String()))
	}
	for name, a := range first {
		if b := last[name]; b.goroutines > a.goroutines+2 || b.files > a.files+2 {
			t.Errorf("%s: %d goroutines and %d files, at first %d and %d", name, b.goroutines, b.files, a.goroutines, a.files)
		}
	}
	if now := [2]int{pidIn("/run/vrrp.pid"), pidIn("/run/checkers.pid")}; now != pids {
		t.Errorf("the parts were %v and are %v", pids, now)
	}
}
