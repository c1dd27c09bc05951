package supervisor

import (
	"log/slog"
	"os"
	"testing"
)

func TestAPartThatEndsIsNotWaitedForByWhoAsksHowThePartsAre(t *testing.T) {
	ours, theirs, err := newLink()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.close()
	defer theirs.Close()
	pid := os.Getpid()
	c := &child{part: partVRRP, name: "VRRP", wanted: true, ready: true, run: 1, pid: pid, proc: &process{pid: pid}, link: ours}
	p := &parent{o: &Options{}, log: slog.New(slog.DiscardHandler), events: make(chan any, 16), ended: make(chan struct{}), children: []*child{c}}
	reply := make(chan Answer, 1)
	p.poll(reply)
	if len(reply) > 0 {
		t.Fatal("the part is not asked")
	}
	p.stopping = true
	p.childExited(childExit{c: c, run: 1})
	select {
	case a := <-reply:
		if s := a.Status; s == nil || len(s.Parts) != 1 || s.Parts[0].Pid != 0 || s.Parts[0].Silent != "" {
			t.Errorf("%+v", a)
		}
	default:
		t.Error("its answer is waited for")
	}
}
