package vrrp

import (
	"slices"
	"testing"
	"time"
)

func TestTwoEnginesElectTheBetterAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 2)
	a := l.start(1, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 100, "10.9.0.100/24")}}, Options{})
	b := l.start(2, &Config{Instances: []*InstanceConfig{testInstance("VI_1", 51, 150, "10.9.0.100/24")}}, Options{})
	l.eventually("router 2 is master with the address", 6*time.Second, func() bool { return b.state("VI_1") == Master && l.has(2, "10.9.0.100") })
	if a.state("VI_1") != Backup || l.has(1, "10.9.0.100") {
		t.Errorf("router 1 is %s, has the address: %v", a.state("VI_1"), l.has(1, "10.9.0.100"))
	}
	b.stop()
	if l.has(2, "10.9.0.100") {
		t.Error("router 2 has the address after its end")
	}
	l.eventually("router 1 takes over after the skew", 2*time.Second, func() bool { return l.has(1, "10.9.0.100") })
	want := []string{"INSTANCE VI_1 BACKUP 150", "INSTANCE VI_1 MASTER 150", "INSTANCE VI_1 STOP 150"}
	if got := b.got(); !slices.Equal(got, want) {
		t.Errorf("events of router 2: %q, want %q", got, want)
	}
}
