package vrrp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"releve/vrrp/vip"
)

// slowKernel takes its time for addresses, and the diary says what was done in which order.
type slowKernel struct {
	fakeKernel
	takes time.Duration
	diary *[]string
}

func (k *slowKernel) Apply(list []vip.Change) []error {
	time.Sleep(k.takes)
	for _, c := range list {
		*k.diary = append(*k.diary, "add "+c.Addr.Prefix.Addr().String())
	}
	return make([]error, len(list))
}

// TestAddressesComeBeforeTheEventsOfOthers gives an actuator the takeover of several instances, one every 10 ms while it is held.
func TestAddressesComeBeforeTheEventsOfOthers(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int
		takes time.Duration // for addresses
		want  []string
	}{
		{"nobody else waits", 2, time.Millisecond, []string{"add 10.0.0.0", "event 0", "add 10.0.0.1", "event 1"}},
		{"the second came while the first got its address", 2, 15 * time.Millisecond, []string{"add 10.0.0.0", "add 10.0.0.1", "event 0", "event 1"}},
		{"three more did", 4, 44 * time.Millisecond, []string{"add 10.0.0.0", "add 10.0.0.1", "add 10.0.0.2", "add 10.0.0.3", "event 0", "event 1", "event 2", "event 3"}},
		{"not for ever", 16, 44 * time.Millisecond, []string{
			"add 10.0.0.0", "add 10.0.0.1", "add 10.0.0.2", "add 10.0.0.3", "add 10.0.0.4", "add 10.0.0.5", "add 10.0.0.6", "add 10.0.0.7", "add 10.0.0.8",
			"event 0", "event 1", "event 2", "event 3", "event 4", "event 5", "event 6", "event 7", "event 8",
			"add 10.0.0.9", "add 10.0.0.10", "add 10.0.0.11", "add 10.0.0.12", "add 10.0.0.13", "add 10.0.0.14", "add 10.0.0.15",
			"event 9", "event 10", "event 11", "event 12", "event 13", "event 14", "event 15"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				a := newActuator(&slowKernel{takes: c.takes, diary: &got, fakeKernel: fakeKernel{d: &diary{begin: time.Now()}}},
					Options{Notify: func(ev Event) { got = append(got, "event "+ev.Name) }})
				a.log = slog.New(slog.DiscardHandler)
				var wg sync.WaitGroup
				wg.Go(a.run)
				a.hold()
				for i := range c.n {
					prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
					a.take(&plan{name: "VI", term: new(atomic.Uint64), add: []vip.Change{{Add: true, Addr: &vip.Address{Prefix: prefix}}}})
					a.notify(Event{Name: fmt.Sprint(i)})
					a.begin()
					time.Sleep(10 * time.Millisecond)
				}
				a.letGo()
				a.end()
				wg.Wait()
				if !slices.Equal(got, c.want) {
					t.Errorf("got  %q\nwant %q", got, c.want)
				}
			})
		})
	}
}

// TestAnActuatorThatIsHeldBeginsWithWhatItMay: jobs that follow are not begun before the end of the moment.
func TestAnActuatorThatIsHeldBeginsWithWhatItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		a := newActuator(&fakeKernel{}, Options{Notify: func(ev Event) { got = append(got, ev.Name) }})
		a.log = slog.New(slog.DiscardHandler)
		var wg sync.WaitGroup
		wg.Go(a.run)
		step := func(what string, want ...string) {
			t.Helper()
			if synctest.Wait(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		a.hold()
		a.notify(Event{Name: "1"})
		a.notify(Event{Name: "2"})
		step("held")
		a.begin()
		step("may begin", "1", "2")
		a.notify(Event{Name: "3"})
		step("the next one came later", "1", "2")
		a.letGo()
		step("the moment is over", "1", "2", "3")
		a.notify(Event{Name: "4"})
		step("not held", "1", "2", "3", "4")
		a.end()
		wg.Wait()
	})
}

// besideKernel takes 3 ms for addresses and 5 ms for announcements.
type besideKernel struct {
	fakeKernel
	mu     sync.Mutex
	queued int
	begin  time.Time
	got    []string
}

func (k *besideKernel) note(what string, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, fmt.Sprintf("%d ms: %s %d", time.Since(k.begin).Milliseconds(), what, n))
}

func (k *besideKernel) Apply(list []vip.Change) []error {
	what := "set"
	if !list[0].Add {
		what = "remove"
	}
	k.note(what, len(list))
	time.Sleep(3 * time.Millisecond)
	return make([]error, len(list))
}

func (k *besideKernel) Send([]byte, int) error { k.queued++; return nil }

func (k *besideKernel) Flush() error {
	n := k.queued
	k.queued = 0
	time.Sleep(5 * time.Millisecond)
	k.note("announced", n)
	return nil
}

// TestManyAreAnnouncedWhileOthersGetTheirAddresses gives an actuator two lots of instances that become master, the second while the first
// gets its addresses, and takes the second lot's away again.
func TestManyAreAnnouncedWhileOthersGetTheirAddresses(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  int // instances of the first lot; the second has 50
		remove bool
		want   []string
	}{
		{"many", 40, false, []string{"0 ms: set 40", "3 ms: set 50", "8 ms: announced 40", "13 ms: announced 50", "13 ms: event 50"}},
		{"a few wait for that", 10, false, []string{"0 ms: set 10", "8 ms: announced 10", "8 ms: set 50", "16 ms: announced 50", "16 ms: event 50"}},
		{"nothing is announced after it was removed", 40, true, []string{"0 ms: set 40", "8 ms: announced 40", "8 ms: remove 40", "11 ms: event 50"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &besideKernel{begin: time.Now()}
				a := newActuator(k, Options{Notify: func(ev Event) { k.note("event", 50) }})
				a.log = slog.New(slog.DiscardHandler)
				var wg sync.WaitGroup
				wg.Go(a.run)
				plans := func(from, n int) (list []*plan) {
					for i := range n {
						addr := netip.AddrFrom4([4]byte{10, 0, byte(from), byte(i)})
						list = append(list, &plan{name: "VI", term: new(atomic.Uint64), add: []vip.Change{{Add: true, Addr: &vip.Address{Prefix: netip.PrefixFrom(addr, 32)}}},
							frames: []announcement{{frame: []byte{0}, addr: addr, outlet: &outlet{}}}})
					}
					return list
				}
				lot := func(list []*plan) {
					a.hold()
					for _, p := range list {
						a.take(p)
						a.put(job{plan: p, rounds: 1})
					}
					a.letGo()
				}
				first := plans(0, c.first)
				lot(first)
				time.Sleep(time.Millisecond)
				if c.remove {
					a.hold()
					for _, p := range first {
						a.drop(p, false)
					}
				} else {
					a.hold()
					lot(plans(1, 50))
				}
				a.notify(Event{})
				a.letGo()
				a.end()
				wg.Wait()
				if !slices.Equal(k.got, c.want) {
					t.Errorf("got  %q\nwant %q", k.got, c.want)
				}
			})
		})
	}
}
