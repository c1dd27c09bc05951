package supervisor

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a listener that fails a few times before it is closed.
type failing []error

func (f *failing) AcceptUnix() (*net.UnixConn, error) {
	if len(*f) == 0 {
		return nil, net.ErrClosed
	}
	err := (*f)[0]
	*f = (*f)[1:]
	return nil, err
}

func TestTheControlSocketOutlivesAShortageOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start, f := time.Now(), &failing{syscall.EMFILE, syscall.EMFILE, syscall.ENFILE}
		acceptClients(f, slog.New(slog.NewTextHandler(&out, nil)), func(*net.UnixConn) {})
		if len(*f) != 0 {
			t.Error("it hears nobody any more")
		}
		if n := strings.Count(out.String(), "too many open files"); n != 1 {
			t.Errorf("%d lines in the log for one shortage:\n%s", n, &out)
		}
		if spent := time.Since(start); spent != 3*acceptPause {
			t.Errorf("it tried again at once: three failures in %v", spent)
		}
	})
}

func TestAClientBesideManySilentOnesIsToldSoAtOnce(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "p.pid")
	c, err := openControl(SocketPath(pidFile), slog.New(slog.DiscardHandler), func(request) Answer { return Answer{OK: true} })
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	silent := make([]net.Conn, controlClients)
	var a *Answer
	for range 10 {
		begin := time.Now()
		for i := range silent {
			if silent[i], err = net.Dial("unix", c.path); err != nil {
				t.Fatal(err)
			}
			defer silent[i].Close()
		}
		a, err = Ask(pidFile, "status")
		if err == nil && !a.OK && strings.Contains(a.Text, "try again") {
			break
		}
		if time.Since(begin) < controlPatience/2 { // for longer nobody may be silent: the machine stood still
			t.Fatalf("%+v, %v", a, err)
		}
		for _, s := range silent {
			s.Close()
		}
	}
	silent[0].Close()
	for range 6000 { // until its place is free
		if a, err = Ask(pidFile, "status"); err == nil && a.OK {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("a place that is free again is not given away: %+v, %v", a, err)
}

// OpenShift's keepalived container has a socket of its own at /var/run/keepalived/keepalived.sock, beside the pid files of use_pid_dir.
func TestTheControlSocketOfAnotherProgramIsLeftAlone(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "keepalived.sock")
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	other.SetUnlinkOnClose(false)
	if c, err := openControl(path, log, nil); err == nil {
		c.close()
		t.Fatal("it took the socket away from somebody who listens")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("nobody finds the other program any more: %v", err)
	}
	conn.Close()
	other.Close() // as one that was killed leaves it
	c, err := openControl(path, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.close()
}
