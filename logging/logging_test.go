package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestConsoleLineIsTheReferencesLineWithoutAttributes(t *testing.T) {
	var out bytes.Buffer
	l := New(Options{Console: &out})
	l.Slog().With("instance", "VI_1").WithGroup("g").Info("(VI_1) Entering MASTER STATE", "vrid", 51)
	l.Close(30 * time.Second)
	if want := regexp.MustCompile(`^[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \d{4}: \(VI_1\) Entering MASTER STATE\n$`); !want.MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

func TestDetailDecidesWhatIsPrinted(t *testing.T) {
	for detail, want := range []string{"info", "info detail", "info detail more"} {
		var out bytes.Buffer
		l := New(Options{Console: &out, Detail: detail})
		s := l.Slog()
		s.Info("info")
		s.Log(t.Context(), LevelDetail, "detail")
		s.Log(t.Context(), LevelMore, "more")
		l.Close(30 * time.Second)
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, strings.TrimSpace(line[strings.LastIndex(line, ": ")+2:]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("-D %d times: got %q, want %q", detail, got, want)
		}
	}
}

func TestSyslogDatagramCarriesIdentPidAndFacility(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := New(Options{Syslog: true, Socket: path, Ident: "Keepalived_vrrp", Pid: 4711, Facility: Local0 + 3})
	l.Slog().Warn("Startup complete")
	l.Close(30 * time.Second)
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if want := regexp.MustCompile(`^<158>[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d Keepalived_vrrp\[4711\]: Startup complete$`); !want.Match(buf[:n]) {
		t.Errorf("got %q", buf[:n])
	}
}

// stuck is a console that takes nothing until it is let go.
type stuck struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func TestNobodyWaitsForAConsoleThatDoesNotRead(t *testing.T) {
	c := &stuck{}
	c.mu.Lock()
	l := New(Options{Console: c})
	s := l.Slog()
	const lines = queueLen + 1000
	for i := range lines {
		s.Info(fmt.Sprint("line ", i))
	}
	lost := l.Dropped()
	if lost < 900 || lost > 1000 {
		t.Errorf("lost %d lines, want about 1000: all that did not fit the queue", lost)
	}
	c.mu.Unlock()
	l.Close(30 * time.Second)
	if want := fmt.Sprintf("%d log messages lost", lost); !strings.Contains(c.out.String(), want) {
		t.Errorf("the loss is not reported as %q", want)
	}
}

func TestSyslogThatNobodyReadsLosesLinesButHoldsUpNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out bytes.Buffer
	l := New(Options{Syslog: true, Socket: path, Console: &out})
	s := l.Slog()
	for i := range 1000 {
		s.Info(fmt.Sprint("line ", i))
	}
	l.Close(time.Minute)
	if n := strings.Count(out.String(), ": line "); n != 1000 {
		t.Errorf("the console got %d of 1000 lines", n)
	}
	if l.Dropped() == 0 {
		t.Error("no loss counted although the receiver reads nothing")
	}
}

func TestWithoutAnySyslogNothingIsCountedAsLost(t *testing.T) {
	l := New(Options{Syslog: true, Socket: filepath.Join(t.TempDir(), "none")})
	for range 100 {
		l.Slog().Info("x")
	}
	l.Close(30 * time.Second)
	if l.Dropped() != 0 {
		t.Errorf("%d lost", l.Dropped())
	}
}

func BenchmarkInfo(b *testing.B) {
	l := New(Options{Console: discard{}})
	s := slog.New(handler{l})
	b.ReportAllocs()
	for b.Loop() {
		s.Info("(VI_1) Entering MASTER STATE", "instance", "VI_1")
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
