package vrrp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"releve/vrrp/vip"
)

// randomConfig draws from few names, so that two draws have much in common.
func randomConfig(r *rand.Rand) *Config {
	c := &Config{}
	for i := range 6 {
		if r.IntN(3) == 0 {
			continue
		}
		in := &InstanceConfig{Name: fmt.Sprintf("VI_%d", i), Iface: "eth0", VRID: uint8(10*i + 1 + r.IntN(2)), Version: 3, Priority: uint8([]int{90, 100, 255}[r.IntN(3)]),
			AdvertInt: time.Second, Accept: r.IntN(3) > 0, StartMaster: r.IntN(2) == 0, DownTimerAdverts: 3}
		for k := range 4 {
			if r.IntN(2) == 0 {
				in.VIPs = append(in.VIPs, vip.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.%d/24", 20+i, k+1))})
			}
		}
		r.Shuffle(len(in.VIPs), func(a, b int) { in.VIPs[a], in.VIPs[b] = in.VIPs[b], in.VIPs[a] })
		if r.IntN(3) == 0 {
			in.Excluded = append(in.Excluded, vip.Address{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.1.1/32", 20+i))})
		}
		if r.IntN(4) == 0 {
			in.Track = &TrackConfig{Scripts: []TrackRef{{Name: "chk", Weight: r.IntN(3) - 1, HasWeight: true}}}
		}
		c.Instances = append(c.Instances, in)
	}
	if n := len(c.Instances); n > 1 && r.IntN(2) == 0 {
		c.Groups = append(c.Groups, &GroupConfig{Name: "G", Members: []string{c.Instances[0].Name, c.Instances[n-1].Name}})
	}
	r.Shuffle(len(c.Instances), func(a, b int) { c.Instances[a], c.Instances[b] = c.Instances[b], c.Instances[a] })
	return c
}

// TestTheWritesOfAReloadAreThoseOfItsPlan: random pairs of configurations. The plan must name the changes at addresses in their order, the
// states after it and the resignations, and making it must change nothing.
func TestTheWritesOfAReloadAreThoseOfItsPlan(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 5))
	synctest.Test(t, func(t *testing.T) {
		cfg := randomConfig(r)
		e, d := fakeEngine(t, cfg, Options{})
		e.links = func() (map[int]*iface, error) {
			i := &iface{index: 2, name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, up: true, addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}
			d.mu.Lock()
			defer d.mu.Unlock()
			for p, there := range d.addrs {
				if there {
					i.addrs = append(i.addrs, p)
				}
			}
			return map[int]*iface{2: i}, nil
		}
		e.promoting = func(string) bool { return true } // the kernel of this test takes nothing along
		stop := run(t, e)
		states := func() map[string]string {
			s, err := e.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := map[string]string{}
			for i := range s.Instances {
				m[s.Instances[i].Config.Name] = fmt.Sprint(s.Instances[i].State, s.Instances[i].Priority)
			}
			return m
		}
		routines := runtime.NumGoroutine()
		for n := range 300 {
			time.Sleep(time.Duration(r.IntN(6000)) * time.Millisecond) // some are masters by now
			synctest.Wait()
			if err := e.call(t.Context(), func() { // what the watcher would have reported
				table, _ := e.links()
				e.replaceTable(table)
			}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			d.take()
			before := states()
			next := randomConfig(r)
			if r.IntN(10) == 0 {
				next = cfg
			}
			p, err := e.Plan(t.Context(), next)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if after, did := states(), d.take(); !maps.Equal(before, after) || len(did) > 0 {
				t.Fatalf("reload %d: planning changed something: %v became %v, %q", n, before, after, did)
			}
			if next == cfg && !p.Empty() {
				t.Fatalf("reload %d: the plan of no change is %+v", n, p)
			}
			if err := e.Reload(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			if err := e.call(t.Context(), e.settleAll); err != nil { // also what is kept back for an advert that is just due
				t.Fatal(err)
			}
			synctest.Wait()
			var writes, want, resigned []string
			for _, l := range d.take() {
				_, l, _ = strings.Cut(l, " ")
				switch {
				case strings.HasPrefix(l, "add "), strings.HasPrefix(l, "del "):
					writes = append(writes, l)
				case strings.Contains(l, " prio 0 "):
					resigned = append(resigned, l)
				}
			}
			for _, w := range p.Writes {
				if a, ok := strings.CutPrefix(w.What, "address "); ok {
					want = append(want, map[string]string{"add": "add ", "remove": "del "}[w.Verb]+a)
				}
			}
			if !slices.Equal(writes, want) {
				t.Fatalf("reload %d\nplan  %q\nwrote %q", n, want, writes)
			}
			wantStates := maps.Clone(before)
			resigns := 0
			for _, ip := range p.Instances {
				if ip.Resigns {
					resigns++
				}
				if ip.Change == Removed {
					delete(wantStates, ip.Name)
					continue
				}
				state := map[string]State{"INIT": Init, "BACKUP": Backup, "MASTER": Master, "FAULT": Fault}[ip.To]
				wantStates[ip.Name] = fmt.Sprint(state, ip.PriorityTo)
			}
			if got := states(); !maps.Equal(got, wantStates) {
				t.Fatalf("reload %d\nplan  %v\nstate %v", n, wantStates, got)
			}
			// Nothing is left behind, and nothing is missing.
			owned := map[netip.Prefix]bool{}
			for _, in := range next.Instances {
				if strings.HasPrefix(wantStates[in.Name], "MASTER") {
					for _, a := range slices.Concat(in.VIPs, in.Excluded) {
						owned[a.Prefix] = true
					}
				}
			}
			d.mu.Lock()
			for a, there := range d.addrs {
				if there != owned[a] {
					t.Errorf("reload %d: %s is there: %v; wanted: %v", n, a, there, owned[a])
				}
			}
			d.mu.Unlock()
			if resigns != len(resigned) {
				t.Fatalf("reload %d: %d resignations planned, sent %q", n, resigns, resigned)
			}
			if p.Unchanged+len(p.Instances) < len(next.Instances) {
				t.Fatalf("reload %d: %d unchanged and %d others of %d instances", n, p.Unchanged, len(p.Instances), len(next.Instances))
			}
			cfg = next
		}
		if n := runtime.NumGoroutine(); n > routines+5 {
			t.Errorf("%d goroutines, %d at first", n, routines)
		}
		stop()
	})
}

func TestAPlanTellsOfAddressesThatTheKernelTakesAlong(t *testing.T) {
	for _, promotes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			one, two := testInstance("VI_1", 51, 100, "10.9.1.1/24"), testInstance("VI_2", 52, 100, "10.9.1.2/24")
			e, _ := fakeEngine(t, &Config{Instances: []*InstanceConfig{one, two}}, Options{})
			e.promoting = func(string) bool { return promotes }
			stop := run(t, e)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if err := e.call(t.Context(), func() { // what the watcher would have reported
				for _, a := range []string{"10.9.1.1/24", "10.9.1.2/24"} {
					e.onAddr(vip.Present{Index: 2, Prefix: netip.MustParsePrefix(a)}, true)
				}
			}); err != nil {
				t.Fatal(err)
			}
			p, err := e.Plan(t.Context(), &Config{Instances: []*InstanceConfig{two}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range p.Writes {
				got = append(got, w.String())
			}
			if promotes {
				expect(t, got, "remove address 10.9.1.1/24 dev eth0")
			} else {
				expect(t, got, "remove address 10.9.1.2/24 dev eth0", "remove address 10.9.1.1/24 dev eth0")
			}
			told := slices.ContainsFunc(p.Instances, func(ip InstancePlan) bool {
				return ip.Name == "VI_2" && strings.Contains(ip.Expect, "loses 10.9.1.2/24")
			})
			if told == promotes {
				t.Errorf("promote_secondaries %v: %+v", promotes, p.Instances)
			}
			stop()
		})
	}
}
