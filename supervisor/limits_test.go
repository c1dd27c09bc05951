package supervisor

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"releve/confparse"
)

func TestLatenessRaisesThePriorityUpToTheLimit(t *testing.T) {
	var set []int
	a := newAutoPriority(slog.New(slog.DiscardHandler))
	a.set = func(prio int, limit time.Duration) error {
		if limit != 10*time.Millisecond {
			t.Errorf("limit %s", limit)
		}
		set = append(set, prio)
		return nil
	}
	a.configure(&confparse.Global{}, &confparse.Process{})
	a.late(time.Second) // without max_auto_priority nothing happens
	a.configure(&confparse.Global{MaxAutoPriority: 3}, &confparse.Process{RLimitRTTime: 10 * time.Millisecond})
	for range 5 {
		a.late(time.Second)
	}
	a.configure(&confparse.Global{MaxAutoPriority: 10}, &confparse.Process{RTPriority: 8, RLimitRTTime: 10 * time.Millisecond})
	a.late(time.Second)
	if want := []int{1, 2, 3, 9}; !slices.Equal(set, want) {
		t.Errorf("%v, want %v", set, want)
	}
}

// TestLatenessOfAProcessWithManyOwnersIsNoticed is about the parts whose timers belong to goroutines of their own: the checkers and BFD.
func TestLatenessOfAProcessWithManyOwnersIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAutoPriority(slog.New(slog.DiscardHandler))
		var set []int
		a.set = func(prio int, _ time.Duration) error {
			set = append(set, prio)
			return nil
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.watch(ctx) }()
		time.Sleep(time.Hour)
		a.configure(&confparse.Global{MaxAutoPriority: 2, MinAutoPriorityDelay: time.Second}, &confparse.Process{})
		time.Sleep(time.Minute) // on time
		synctest.Wait()
		if len(set) > 0 {
			t.Errorf("raised to %v without a reason", set)
		}
		a.configure(&confparse.Global{MaxAutoPriority: 2, MinAutoPriorityDelay: -1}, &confparse.Process{}) // everything is late
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(set, []int{1, 2}) {
			t.Errorf("raised to %v", set)
		}
		stop()
		<-ended
	})
}
