package director_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/director"
	"releve/internal/testneed"
)

// drama is two virtual servers: one with a sorry server and weights, one under alpha with everything inhibited and a dynamic weight.
const drama = `
global_defs {
  lvs_notify_fifo FIFO
}
virtual_server 10.2.0.1 80 {
  delay_loop 1
  delay_before_retry 0.1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  quorum 2
  omega
  sorry_server 10.1.0.99 80
  real_server 10.1.0.1 80 {
    weight 3
    TCP_CHECK {
      connect_timeout 20
    }
  }
  real_server 10.1.0.2 80 {
    TCP_CHECK {
      connect_timeout 20
    }
  }
  real_server 10.1.0.3 80 {
    TCP_CHECK {
      connect_timeout 20
    }
  }
}
virtual_server 10.2.0.2 80 {
  delay_loop 1
  delay_before_retry 0.1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  alpha
  sorry_server 10.1.0.99 80
  sorry_server_inhibit
  real_server 10.1.0.4 80 {
    inhibit_on_failure
    TCP_CHECK {
      connect_timeout 20
    }
  }
  real_server 10.1.0.5 80 {
    MISC_CHECK {
      misc_path "SCRIPT"
      misc_timeout 20
      misc_dynamic
    }
  }
}
`

var told = regexp.MustCompile(`((Lost|Gained|Starting with) quorum|(Adding|Removing|Enabling|Disabling|Shutting down|Changing weight)[a-z0-9() ]*(service|sorry server|alive servers)).*`)

// story is what somebody said so far, of what both say.
func story(log string) (out []string) {
	for l := range strings.Lines(log) {
		if m := told.FindString(strings.ReplaceAll(l, `\"`, `"`)); m != "" {
			m, _, _ = strings.Cut(m, `" rs=`)
			out = append(out, strings.TrimRight(m, "\" \n"))
		}
	}
	return out
}

// play goes through the scenes: it sets the first, has the player start, and log gives what was said so far.
func play(t *testing.T, dir string, start func(), log func() string) {
	web := map[int]net.Listener{}
	open := func(n int) {
		l, err := net.Listen("tcp", fmt.Sprintf("10.1.0.%d:80", n))
		if err != nil {
			t.Fatal(err)
		}
		web[n] = l
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	misc := func(status int) {
		if err := os.WriteFile(filepath.Join(dir, "next"), []byte(fmt.Sprint(status)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "status")); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	await := func(last string) {
		t.Helper()
		for range 2400 {
			l := story(log())
			if i := slices.IndexFunc(l[min(seen, len(l)):], func(s string) bool { return strings.HasPrefix(s, last) }); i >= 0 {
				seen += i + 1
				time.Sleep(200 * time.Millisecond)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("never said %q; the log is\n%s", last, log())
	}
	t.Cleanup(func() {
		for _, l := range web {
			l.Close()
		}
	})
	for n := range 3 {
		open(n + 1)
	}
	misc(9)
	start()
	await("Enabling sorry server") // at the start
	await("Adding service [10.1.0.5]")
	open(4)
	await("Enabling service [10.1.0.4]")
	misc(4)
	await("Changing weight")
	web[2].Close()
	await("Removing service [10.1.0.2]")
	web[1].Close()
	await("Removing alive servers")
	web[3].Close()
	await("Removing service [10.1.0.3]")
	open(2)
	await("Adding service [10.1.0.2]")
	open(1)
	await("Adding alive servers")
	web[4].Close()
	await("Disabling service [10.1.0.4]")
	misc(1)
	await("Removing alive servers")
}

func TestIPVSStoryIsTheReferences(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "keepalived")
	if inNamespace(t) {
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, "mount --make-rprivate /; mount -t tmpfs run /run; ip link set lo up; for i in 1 2 3 4 99; do ip addr add 10.1.0.$i/32 dev lo; done; ip addr add 10.2.0.250/32 dev lo")
	script, fifo := filepath.Join(dir, "misc"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nread s <"+dir+"/status\nexit $s\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("FIFO", fifo, "SCRIPT", script).Replace(drama)
	file := filepath.Join(dir, "keepalived.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)

	var mu sync.Mutex
	var log bytes.Buffer
	ref := exec.Command("keepalived", "-n", "-l", "-D", "-C", "-f", file)
	ref.Stderr = writer(func(b []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return log.Write(b) })
	ref.Stdout = ref.Stderr
	t.Run("reference", func(t *testing.T) {
		started := false
		defer func() {
			if started {
				_ = ref.Process.Signal(syscall.SIGTERM)
				_ = ref.Wait()
			}
		}()
		play(t, dir, func() {
			if err := ref.Start(); err != nil {
				t.Fatal(err)
			}
			started = true
		}, func() string { mu.Lock(); defer mu.Unlock(); return log.String() })
	})
	b := make([]byte, 1<<16)
	n, _ := unix.Read(fd, b)
	theirs, theirFifo := story(log.String()), strings.ReplaceAll(string(b[:max(n, 0)]), "\x00", "")

	var o *ours
	t.Run("ours", func(t *testing.T) {
		defer func() {
			if o != nil {
				o.end()
			}
		}()
		play(t, dir, func() { o = run(t, load(t, text), director.Options{}) }, func() string { return o.text() })
	})
	if o == nil {
		return
	}
	ownStory, ourFifo := story(o.log.String()), strings.Join(o.fifo, "\n")+"\n"
	if !slices.Equal(ownStory, theirs) {
		t.Errorf("we said\n  %s\nthe reference\n  %s", strings.Join(ownStory, "\n  "), strings.Join(theirs, "\n  "))
	}
	if ourFifo != theirFifo {
		t.Errorf("our fifo\n%s\nthe reference's\n%s", ourFifo, theirFifo)
	}
	if len(theirs) < 30 {
		t.Errorf("a short story: %d lines", len(theirs))
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
