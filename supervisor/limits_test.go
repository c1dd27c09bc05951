package supervisor

import (
	"log/slog"
	"slices"
	"testing"
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
