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
