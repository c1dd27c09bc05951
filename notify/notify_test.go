package notify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
)

// stage is a fake runner: it remembers begin and end of each script, which takes as long as its name says.
type stage struct {
	mu    sync.Mutex
	lines []string
	took  map[string]time.Duration
}

func (s *stage) say(l string) { s.mu.Lock(); defer s.mu.Unlock(); s.lines = append(s.lines, l) }

func (s *stage) run(ctx context.Context, c script.Command, _ int, extra ...string) (script.Exit, []byte, error) {
	line := strings.Join(append(slices.Clone(c.Args), extra...), " ")
	s.say("begin " + line)
	t := time.NewTimer(s.took[c.Args[0]])
	defer t.Stop()
	select {
	case <-t.C:
		s.say("end " + line)
	case <-ctx.Done():
		s.say("killed " + line)
	}
	return script.Exit{}, []byte("hello\n"), nil
}

func (s *stage) begun() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if b, ok := strings.CutPrefix(l, "begin "); ok {
			out = append(out, b)
		}
	}
	return out
}

func cmd(name string) *script.Command { return &script.Command{Args: []string{name}} }

func instance(name, group, state string) Event {
	return VRRPChange{Name: name, SyncGroup: group, State: state, Priority: 100, Script: cmd("notify_" + strings.ToLower(state)),
		Any: []*script.Command{cmd("notify")}}.Event()
}

func syncGroup(name, state string) Event {
	return VRRPChange{IsGroup: true, Name: name, State: state, Any: []*script.Command{cmd("notify")}}.Event()
}

func TestArgumentsAndOrderOfTheScriptsOfOneChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{took: map[string]time.Duration{"notify_master": time.Second}}
		d := New(Config{}, Options{Run: s.run})
		d.Send(instance("VI_1", "", "MASTER"))
		d.Send(VRRPChange{Name: "VI_1", State: "MASTER_RX_LOWER_PRI", Priority: 100, Script: cmd("lower"), Any: []*script.Command{cmd("notify")}}.Event())
		d.Send(syncGroup("G 1", "MASTER"))
		time.Sleep(10 * time.Second)
		d.Close(t.Context())
		want := []string{"notify GROUP G 1 MASTER 0", "notify_master", "notify INSTANCE VI_1 MASTER 100", "lower"}
		got := s.begun()
		slices.Sort(got[:2]) // group and instance have nothing to do with each other here
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestFiftyFlapsInASecondEndWithTheFinalState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{took: map[string]time.Duration{"notify_master": 150 * time.Millisecond, "notify_backup": 150 * time.Millisecond, "notify": 150 * time.Millisecond}}
		d := New(Config{}, Options{Run: s.run})
		for i := range 50 {
			d.Send(instance("VI_1", "", []string{"MASTER", "BACKUP"}[i%2]))
			time.Sleep(20 * time.Millisecond)
		}
		d.Close(t.Context())
		got := s.begun()
		if last := got[len(got)-1]; last != "notify INSTANCE VI_1 BACKUP 100" {
			t.Errorf("the last call was %q", last)
		}
		if len(got) < 4 || len(got) > 12 {
			t.Errorf("%d scripts ran: %q", len(got), got)
		}
		s.mu.Lock()
		for i := 0; i+1 < len(s.lines); i += 2 {
			if !strings.HasPrefix(s.lines[i], "begin") || !strings.HasPrefix(s.lines[i+1], "end") {
				t.Errorf("scripts of one object overlap: %q", s.lines)
				break
			}
		}
		s.mu.Unlock()
	})
}

func TestAGroupsScriptsKeepTheirPlaceAmongItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{took: map[string]time.Duration{"notify": time.Second, "notify_master": time.Second, "notify_backup": time.Second}}
		d := New(Config{}, Options{Run: s.run})
		for _, ev := range []Event{instance("VI_1", "G", "MASTER"), instance("VI_2", "G", "MASTER"), syncGroup("G", "MASTER"),
			instance("VI_1", "G", "BACKUP"), instance("VI_2", "G", "BACKUP"), syncGroup("G", "BACKUP")} {
			d.Send(ev)
			synctest.Wait()
		}
		d.Close(t.Context())
		got := s.begun()
		at := func(l string) int { return slices.Index(got, l) }
		// The first members ran beside each other; the group's MASTER was overtaken while it waited and is left out.
		if at("notify GROUP G BACKUP 0") != len(got)-1 || at("notify GROUP G MASTER 0") >= 0 {
			t.Errorf("got %q", got)
		}
		if at("notify INSTANCE VI_2 MASTER 100") > at("notify_backup") {
			t.Errorf("members do not run side by side: %q", got)
		}
	})
}

func TestAHungScriptIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{took: map[string]time.Duration{"notify_master": time.Hour}}
		d := New(Config{}, Options{Run: s.run})
		d.Send(instance("VI_1", "", "MASTER"))
		d.Send(instance("VI_1", "", "BACKUP"))
		time.Sleep(patience + time.Second)
		if got := s.begun(); !slices.Equal(got, []string{"notify_master", "notify INSTANCE VI_1 MASTER 100", "notify_backup", "notify INSTANCE VI_1 BACKUP 100"}) {
			t.Errorf("got %q", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d.Close(ctx) // kills it
		if got := s.lines[len(s.lines)-1]; got != "killed notify_master" {
			t.Errorf("at the end: %q", got)
		}
	})
}

// TestOrderNeverStallsAndNeverOverlaps throws random events at the order and finishes jobs at random.
func TestOrderNeverStallsAndNeverOverlaps(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	for range 200 {
		o := newOrder()
		var running []*job
		newest := map[string]int{}
		ran := map[string]int{}
		step := func() {
			for j := o.ready(); j != nil; j = o.ready() {
				for _, r := range running {
					if r.ev.Object == j.ev.Object || r.ev.Group == j.ev.Group && r.ev.Group != "" && (r.ev.IsGroup || j.ev.IsGroup) {
						t.Fatalf("%s runs beside %s", j.ev.Object, r.ev.Object)
					}
				}
				running = append(running, j)
				var n int
				fmt.Sscan(j.ev.Line, &n)
				if n < ran[j.ev.Object] {
					t.Fatal("an older event ran after a newer one")
				}
				ran[j.ev.Object] = n
			}
		}
		finish := func() {
			if len(running) > 0 {
				i := rnd.IntN(len(running))
				j := running[i]
				running = slices.Delete(running, i, i+1)
				o.finish(j)
			}
		}
		for n := range 300 {
			ev := Event{Object: fmt.Sprint("I", rnd.IntN(5)), Line: fmt.Sprint(n + 1)}
			switch rnd.IntN(4) {
			case 0:
				ev.Object, ev.Group, ev.IsGroup = "G", "G", true
			case 1, 2:
				ev.Object, ev.Group = "M"+ev.Object, "G"
			}
			newest[ev.Object] = n + 1
			o.add(ev)
			step()
			if rnd.IntN(2) == 0 {
				finish()
				step()
			}
		}
		for i := 0; i < 1000 && !o.idle(); i++ {
			finish()
			step()
		}
		if !o.idle() || len(o.objects)+len(o.groups)+len(o.queue) > 0 {
			t.Fatalf("stalled with %d jobs", o.waiting)
		}
		for obj, n := range newest {
			if ran[obj] != n {
				t.Errorf("%s: the newest event %d did not run, last was %d", obj, n, ran[obj])
			}
		}
	}
}

func drainFifo(t *testing.T, fd int) string {
	t.Helper()
	var out []byte
	b := make([]byte, 65536)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 || err != nil {
			return string(out)
		}
		out = append(out, b[:n]...)
	}
}

func TestFifoLinesByteForByte(t *testing.T) {
	dir := t.TempDir()
	all, vrrp, lvs := filepath.Join(dir, "all"), filepath.Join(dir, "vrrp"), filepath.Join(dir, "lvs")
	if err := errors.Join(unix.Mkfifo(vrrp, 0o640), os.Chmod(vrrp, 0o640)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	s := &stage{took: map[string]time.Duration{"reader": time.Hour}}
	d := New(Config{Fifos: []Fifo{{Path: all, Classes: Both, Script: cmd("reader")}, {Path: vrrp, Classes: VRRP}, {Path: lvs, Classes: LVS}}}, Options{Run: s.run})
	var fds []int
	for _, p := range []string{all, vrrp, lvs} {
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
		st, _ := os.Stat(p)
		if want := map[string]os.FileMode{all: 0o600, vrrp: 0o640, lvs: 0o600}[p]; st.Mode().Perm() != want {
			t.Errorf("%s has mode %v", p, st.Mode())
		}
	}
	d.Send(VRRPChange{Name: "VI_1", State: "MASTER", Priority: 100}.Event())
	d.Send(VRRPChange{IsGroup: true, Name: "G1", State: "MASTER", Priority: 7}.Event())
	d.Send(Event{Class: LVS, Line: "VS [10.2.0.1]:tcp:80 UP"})
	d.Reload(Config{Fifos: []Fifo{{Path: all, Classes: Both, Script: cmd("reader")}, {Path: vrrp, Classes: VRRP}, {Path: lvs, Classes: LVS}}})
	d.Send(VRRPChange{Name: "VI_1", State: "BACKUP", Priority: 90, NoFifo: true}.Event())
	d.Close(t.Context())
	v, l := "INSTANCE \"VI_1\" MASTER 100\nGROUP \"G1\" MASTER 0\n", "VS [10.2.0.1]:tcp:80 UP\n\x00"
	for i, want := range []string{v + l, v, l} {
		if got := drainFifo(t, fds[i]); got != want {
			t.Errorf("fifo %d: got %q, want %q", i, got, want)
		}
	}
	if got := s.begun(); !slices.Equal(got, []string{"reader " + all}) {
		t.Errorf("fifo script: %q", got)
	}
	for p, there := range map[string]bool{all: false, vrrp: true, lvs: false} {
		if _, err := os.Stat(p); (err == nil) != there {
			t.Errorf("%s after the end: %v", p, err)
		}
	}
}

// TestAFifoThatSomebodyElsePutThereStays: at the end, and when the fifo gets another script; a reload writes to what is there.
func TestAFifoThatSomebodyElsePutThereStays(t *testing.T) {
	dir := t.TempDir()
	replaced, rescripted, gone := filepath.Join(dir, "replaced"), filepath.Join(dir, "rescripted"), filepath.Join(dir, "gone")
	s := &stage{took: map[string]time.Duration{"reader": time.Hour}}
	cfg := Config{Fifos: []Fifo{{Path: replaced, Classes: VRRP}, {Path: rescripted, Classes: VRRP}, {Path: gone, Classes: VRRP}}}
	d := New(cfg, Options{Run: s.run})
	theirs := func(p string) int {
		if err := errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	fds := []int{theirs(replaced), theirs(rescripted)}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	again := Config{Fifos: []Fifo{{Path: replaced, Classes: VRRP}, {Path: rescripted, Classes: VRRP, Script: cmd("reader")}, {Path: gone, Classes: VRRP}}}
	d.Reload(again)
	d.Send(VRRPChange{Name: "VI_1", State: "MASTER", Priority: 100}.Event())
	d.Close(t.Context())
	for i, fd := range fds {
		if got := drainFifo(t, fd); got != "INSTANCE \"VI_1\" MASTER 100\n" {
			t.Errorf("fifo %d: %q", i, got)
		}
	}
	for p, there := range map[string]bool{replaced: true, rescripted: true, gone: false} { // the last was made again, so it is ours
		if _, err := os.Stat(p); (err == nil) != there {
			t.Errorf("%s after the end: %v", p, err)
		}
	}
}

func TestAFifoNobodyReadsHoldsNobodyUp(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	var log bytes.Buffer
	f, err := openFifo(Fifo{Path: p, Classes: VRRP}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	line := strings.Repeat("x", 99)
	for range 65536/100 + fifoBacklog + 500 {
		f.write(VRRP, line)
		f.flush()
	}
	if f.lost == 0 || !strings.Contains(log.String(), "full") {
		t.Errorf("lost %d, log %s", f.lost, log.String())
	}
	n := 0
	for i := 0; i < 1000; i++ {
		got := drainFifo(t, f.fd)
		n += strings.Count(got, line+"\n")
		if !f.flush() && got == "" {
			break
		}
	}
	if n < fifoBacklog || n > fifoBacklog+700 {
		t.Errorf("%d lines arrived", n)
	}
	if !strings.Contains(log.String(), "is read again") {
		t.Errorf("log %s", log.String())
	}
}

func TestWhatIsNoFifoIsLeftAlone(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := New(Config{Fifos: []Fifo{{Path: p, Classes: Both}}}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	d.Send(VRRPChange{Name: "VI_1", State: "MASTER"}.Event())
	d.Close(t.Context())
	if b, _ := os.ReadFile(p); string(b) != "precious" {
		t.Errorf("content %q", b)
	}
	if !strings.Contains(log.String(), "is no fifo") {
		t.Error(log.String())
	}
}

func TestAFifoScriptThatEndsIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{took: map[string]time.Duration{"reader": 10 * time.Second}}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		f := &fifo{cfg: Fifo{Path: "/f", Script: cmd("reader")}, log: slog.New(slog.DiscardHandler)}
		f.start(ctx, s.run, &wg)
		time.Sleep(25 * time.Second)
		cancel()
		wg.Wait()
		if got := s.begun(); len(got) != 3 {
			t.Errorf("begun %d times", len(got))
		}
	})
}

// postOffice is an SMTP server; it answers with the lines of replies by command.
type postOffice struct {
	mu      sync.Mutex
	got     []string
	replies map[string]string
}

func (p *postOffice) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	answer := func(verb, normal string) {
		if a, ok := p.replies[verb]; ok {
			normal = a
		}
		fmt.Fprintf(c, "%s\r\n", normal)
	}
	answer("", "220 ready")
	data := false
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		p.got = append(p.got, l)
		p.mu.Unlock()
		verb, _, _ := strings.Cut(strings.TrimSpace(l), " ")
		switch {
		case data && l == ".\r\n":
			data = false
			answer(".", "250 queued")
		case data:
		case verb == "DATA":
			data = true
			answer(verb, "354 go on")
		case verb == "QUIT":
			answer(verb, "221 bye")
			return
		default:
			answer(verb, "250-first\r\n250 second")
		}
	}
}

func (p *postOffice) mailer(log *bytes.Buffer) *mailer {
	m := newMailer(slog.New(slog.NewTextHandler(log, nil)))
	m.now = func() time.Time { return time.Date(2026, 11, 20, 22, 4, 15, 0, time.UTC) }
	m.dial = func(context.Context, string) (net.Conn, error) {
		a, b := net.Pipe()
		go p.serve(b)
		return a, nil
	}
	m.configure("lb1", SMTP{Server: "mx:25", HeloName: "lb1.example", From: "Keepalived <ka@example>", To: []string{"a@b.c", "Bob <bob@x.y>"}, NoFaults: true})
	return m
}

func TestMailAsTheReferenceSendsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &postOffice{}
		var log bytes.Buffer
		m := p.mailer(&log)
		for _, c := range []VRRPChange{{Name: "VI_1", State: "MASTER"}, {Name: "VI_1", State: "MASTER"}, {Name: "VI_1", State: "FAULT"}} {
			c.Mail = true
			m.send(*c.Event().Mail) // the second is the same again, the third is a fault
		}
		m.close(t.Context())
		want := `HELO lb1.example
MAIL FROM:<ka@example>
RCPT TO:<a@b.c>
RCPT TO:<bob@x.y>
DATA
Date: Fri, 20 Nov 2026 22:04:15 +0000
From: Keepalived <ka@example>
Subject: [lb1] VRRP Instance VI_1 - Entering MASTER state
X-Mailer: Keepalived
To: a@b.c,
 Bob <bob@x.y>

=> VRRP Instance is now owning VRRP VIPs <=

.
QUIT
`
		if got := strings.Join(p.got, ""); got != strings.ReplaceAll(want, "\n", "\r\n") {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestMailThatIsRefusedIsTriedAgainOnlyWhereThatMayHelp(t *testing.T) {
	for _, c := range []struct {
		name, verb, reply string
		tries             int
	}{
		{"for now", "RCPT", "451 greylisted", mailTries},
		{"for ever", "RCPT", "550 unknown", 1},
		{"nonsense", "", "hello", mailTries},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &postOffice{replies: map[string]string{c.verb: c.reply}}
				var log bytes.Buffer
				m := p.mailer(&log)
				n := 0
				dial := m.dial
				m.dial = func(ctx context.Context, a string) (net.Conn, error) { n++; return dial(ctx, a) }
				m.send(Mail{Subject: "s", Body: "b"})
				time.Sleep(time.Hour)
				m.close(t.Context())
				if n != c.tries || !strings.Contains(log.String(), "SMTP alert not sent") {
					t.Errorf("%d tries, log %s", n, log.String())
				}
			})
		})
	}
}

func TestAtTheStopAMailThatWaitsForAnotherTryHasItAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &postOffice{replies: map[string]string{"RCPT": "451 greylisted"}}
		var log bytes.Buffer
		m := p.mailer(&log)
		n := 0
		dial := m.dial
		m.dial = func(ctx context.Context, a string) (net.Conn, error) { n++; return dial(ctx, a) }
		m.send(Mail{Subject: "s", Body: "b"})
		synctest.Wait() // one try has failed
		begin := time.Now()
		m.close(t.Context())
		if n != 2 || time.Since(begin) != 0 {
			t.Errorf("%d tries, %v", n, time.Since(begin))
		}
	})
}

func TestASilentMailServerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := newMailer(slog.New(slog.NewTextHandler(&log, nil)))
		m.dial = func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		m.configure("r", SMTP{Server: "mx:25", To: []string{"a"}})
		begin := time.Now()
		for i := range 2 * mailBacklog {
			m.send(Mail{Subject: fmt.Sprint(i)})
		}
		if d := time.Since(begin); d != 0 || len(m.queue) > mailBacklog {
			t.Errorf("sending took %v, %d wait", d, len(m.queue))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m.close(ctx)
		synctest.Wait()
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("250-a\r\n250 b\r\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := readReply(bufio.NewReaderSize(bytes.NewReader(b), 16), "s", "x", 250)
		var refused *smtpError
		if err == nil && b[0] != '2' || errors.As(err, &refused) && refused.code/100 == 2 {
			t.Errorf("%q: %v", b, err)
		}
	})
}

func TestTheOutputOfAScriptIsLoggedAsAFewLinesOfPlainText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		out := "caf\u00e9\tau lait\n\n\x1b[2J\xff\x07gone\r\n" + strings.Repeat("y\n", 1000)
		d := New(Config{}, Options{Log: slog.New(slog.NewJSONHandler(&log, nil)), Run: func(context.Context, script.Command, int, ...string) (script.Exit, []byte, error) {
			return script.Exit{}, []byte(out), nil
		}})
		d.Send(Event{Object: "VI_1", Calls: []Call{{Command: cmd("talks")}}})
		d.Close(t.Context())
		for _, want := range []string{`"notify script talks says: café au lait"`, `"notify script talks says: ?[2J??gone"`, `"notify script talks says more than is logged"`} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("there is no %s", want)
			}
		}
		if n := strings.Count(log.String(), "says: "); n != maxLines {
			t.Errorf("%d lines of output, want %d:\n%s", n, maxLines, &log)
		}
	})
}
