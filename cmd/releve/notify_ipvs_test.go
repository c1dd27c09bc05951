package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"releve/internal/testneed"
	"releve/lab"
)

// tellConf is two virtual servers that tell everybody everything: one with scripts, mails and a sorry server, one with ha_suspend, whose address
// is not there at the start.
const tellConf = `
global_defs {
  notification_email {
    admin@example.com
  }
  notification_email_from lvs@example.com
  smtp_server 127.0.0.1 2525
  smtp_connect_timeout 5
  router_id R1
  lvs_notify_fifo DIR/fifo
  rs_init_notifies
  MORE
  script_user root
}
virtual_server 10.2.0.1 80 {
  delay_loop 1
  warmup 0
  retry 1
  delay_before_retry 0.2
  lb_algo rr
  lb_kind NAT
  protocol TCP
  quorum 2
  smtp_alert
  sorry_server 10.1.0.99 80
  quorum_up "DIR/script quorum up"
  quorum_down "DIR/script quorum down"
  real_server 10.1.0.1 80 {
    smtp_alert
    notify_up "DIR/script one up"
    notify_down "DIR/script one down"
    TCP_CHECK {
    }
  }
  real_server 10.1.0.2 80 {
    smtp_alert
    notify_up "DIR/script two up"
    notify_down "DIR/script two down"
    TCP_CHECK {
    }
  }
}
virtual_server 10.2.0.2 80 {
  ha_suspend
  omega
  delay_loop 1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  smtp_alert
  quorum_down "DIR/script second down"
  real_server 10.1.0.3 80 {
    smtp_alert
    notify_down "DIR/script three down"
    TCP_CHECK {
      retry 1
      delay_before_retry 0.2
    }
  }
  real_server 10.1.0.4 80 {
  }
}
`

// audience hears what a daemon tells.
type audience struct {
	mu    sync.Mutex
	fifo  string
	mails []string
	log   string // of the scripts
}

func (a *audience) lines() string { a.mu.Lock(); defer a.mu.Unlock(); return a.fifo }

// mail takes one connection of a mailer: the subject and the text of each message.
func (a *audience) mail(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 hello\r\n")
	in := bufio.NewScanner(c)
	subject, text, data := "", "", false
	for in.Scan() {
		l := strings.TrimRight(in.Text(), "\r")
		switch {
		case data && l == ".":
			a.mu.Lock()
			a.mails = append(a.mails, subject+" | "+text)
			a.mu.Unlock()
			data = false
			fmt.Fprint(c, "250 ok\r\n")
		case data && strings.HasPrefix(l, "Subject: "):
			subject = l
		case data && strings.HasPrefix(l, "=>"):
			text = l
		case data:
		case strings.HasPrefix(l, "DATA"):
			data = true
			fmt.Fprint(c, "354 go on\r\n")
		case strings.HasPrefix(l, "QUIT"):
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

// tale plays the scenes with one program and gives what the fifo, the mailer (sorted) and the scripts (sorted: they run side by side) heard.
func tale(t *testing.T, more, path string, argv ...string) (fifo, mails, scripts string) {
	t.Helper()
	l, err := lab.New()
	check(t, err)
	defer func() { check(t, l.Close()) }()
	h, err := l.Host("director")
	check(t, err)
	for i := 1; i <= 4; i++ {
		check(t, h.AddAddr("lo", fmt.Sprintf("10.1.0.%d/32", i)))
	}
	check(t, h.AddAddr("lo", "10.2.0.1/32"))
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o755))
	a := &audience{log: filepath.Join(dir, "log")}
	check(t, os.WriteFile(filepath.Join(dir, "script"), []byte("#!/bin/sh\necho \"$@\" >>"+a.log+"\n"), 0o755))
	conf := filepath.Join(dir, "keepalived.conf")
	check(t, os.WriteFile(conf, []byte(strings.NewReplacer("DIR", dir, "MORE", more).Replace(tellConf)), 0o644))
	name := filepath.Join(dir, "fifo")
	check(t, unix.Mkfifo(name, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			a.mu.Lock()
			a.fifo += strings.ReplaceAll(string(b[:n]), "\x00", "")
			a.mu.Unlock()
		}
	}()
	post, err := h.Listen("tcp", "127.0.0.1:2525")
	check(t, err)
	defer post.Close()
	go func() {
		for {
			c, err := post.Accept()
			if err != nil {
				return
			}
			go a.mail(c)
		}
	}()
	web := map[int]*lab.Web{}
	for i := 1; i <= 2; i++ {
		web[i], err = h.Web(fmt.Sprintf("10.1.0.%d:80", i), "web")
		check(t, err)
	}
	p, err := h.Start(path, append(argv, "-f", conf), nil)
	check(t, err)
	await := func(what string, n int) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if strings.Count(a.lines(), what+"\n") >= n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not %d times %q in\n%s\nlog\n%s", argv[0], n, what, a.lines(), strings.Join(p.Lines(), "\n"))
			}
		}
	}
	const first, second, three = "VS [10.2.0.1]:tcp:80", "VS [10.2.0.2]:tcp:80", "RS [10.1.0.3]:tcp:80 [10.2.0.2]:tcp:80"
	await(first+" UP", 1)
	await(second+" UP", 1)
	time.Sleep(2 * time.Second) // first checks; the second's are suspended
	web[1].Stop()
	await(first+" DOWN", 1)
	check(t, web[1].Start())
	await(first+" UP", 2)
	web[2].Stop()
	await(first+" DOWN", 2)
	check(t, h.AddAddr("lo", "10.2.0.2/32")) // the address comes: the dead server is found
	await(three+" DOWN", 1)
	check(t, h.DelAddr("lo", "10.2.0.2/32"))
	time.Sleep(time.Second)
	web[3], err = h.Web("10.1.0.3:80", "web")
	check(t, err)
	time.Sleep(2 * time.Second) // suspended again: nobody notices
	if strings.Contains(a.lines(), three+" UP\n"+three) || strings.HasSuffix(a.lines(), three+" UP\n") {
		t.Errorf("%s: a suspended server came back:\n%s", argv[0], a.lines())
	}
	check(t, h.AddAddr("lo", "10.2.0.2/32"))
	await(three+" UP", 2)
	quiet(time.Second, func() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.mails) }) // its mail is the last
	check(t, p.Signal(syscall.SIGTERM))
	select {
	case <-p.Done():
	case <-time.After(40 * time.Second):
		t.Fatalf("%s does not end", argv[0])
	}
	await(second+" DOWN", 1) // omega
	quiet(500*time.Millisecond, func() int { b, _ := os.ReadFile(a.log); return len(b) })
	b, _ := os.ReadFile(a.log)
	said := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(said)
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.mails)
	// The reference ends before it has sent the mails about its stop; ours are sent.
	a.mails = slices.DeleteFunc(a.mails, func(m string) bool { return strings.HasSuffix(m, "=> Shutting down <=") })
	return a.fifo, strings.Join(a.mails, "\n"), strings.Join(said, "\n")
}

// quiet waits, for half a minute at the most, until a number has been the same for so long.
func quiet(long time.Duration, number func() int) {
	was, since := number(), time.Now()
	for end := since.Add(30 * time.Second); time.Since(since) < long && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if n := number(); n != was {
			was, since = n, time.Now()
		}
	}
}

func TestIPVSFifoMailsAndScriptsAreTheReferences(t *testing.T) {
	testneed.Need(t, "root", "netns", "ipvs", "keepalived")
	t.Setenv(beReleve, "1")
	exe, err := os.Executable()
	check(t, err)
	ref, err := exec.LookPath("keepalived")
	check(t, err)
	settings := []string{""}
	if os.Getenv("RELEVE_LONG") != "" {
		settings = append(settings, "no_checker_emails")
	}
	for _, more := range settings {
		fifo, mails, scripts := tale(t, more, ref, "keepalived", "-n", "-l", "-D")
		ourFifo, ourMails, ourScripts := tale(t, more, exe, "keepalived", "-n", "-l", "-D")
		for _, c := range []struct{ what, theirs, ours string }{{"fifo", fifo, ourFifo}, {"mails", mails, ourMails}, {"scripts", scripts, ourScripts}} {
			if c.theirs != c.ours || c.theirs == "" {
				t.Errorf("%s: %s of the reference\n%s\nours\n%s", more, c.what, c.theirs, c.ours)
			}
		}
	}
}
