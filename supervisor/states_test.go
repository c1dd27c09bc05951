package supervisor

import (
	"fmt"
	"maps"
	"testing"
)

func TestTheNewestStateOfEveryInstanceIsReported(t *testing.T) {
	got, messages := map[string]string{}, 0
	r := newStateReports(func(m map[string]string) {
		if len(m) > maxStates {
			t.Errorf("%d instances in a message", len(m))
		}
		maps.Copy(got, m)
		messages++
	})
	for i := range 1000 {
		r.add(fmt.Sprint("VI_", i), "BACKUP")
		r.add(fmt.Sprint("VI_", i), "MASTER")
	}
	r.flush()
	r.flush()
	if len(got) != 1000 || messages != 4 {
		t.Errorf("%d instances in %d messages", len(got), messages)
	}
	for name, state := range got {
		if state != "MASTER" {
			t.Errorf("%s %s", name, state)
		}
	}
}
