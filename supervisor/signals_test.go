package supervisor

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestAStopIsHeardBehindAFloodOfOtherSignals(t *testing.T) {
	s := catchSignals(&Options{})
	defer signal.Reset()
	send := func(n syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), n); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; len(s.others) < cap(s.others); n++ { // nobody takes them meanwhile
		if n == 30000 {
			t.Fatal("they are not delivered")
		}
		send(syscall.SIGHUP)
		time.Sleep(time.Millisecond)
	}
	send(syscall.SIGTERM)
	select {
	case <-s.stop:
	case <-time.After(30 * time.Second):
		t.Error("SIGTERM is lost")
	}
}
