package lab

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAStandstillIsNoTimeThatPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		time.Sleep(3 * time.Second)
		w := NewStopwatch(from)
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			w.Ran()
		}
		if got := w.Ran(); got != 4*time.Second {
			t.Errorf("ran %s, want 4s", got)
		}
		time.Sleep(time.Minute) // nobody looks
		if got := w.Ran(); got != 5*time.Second {
			t.Errorf("ran %s with a standstill, want 5s", got)
		}
	})
}
