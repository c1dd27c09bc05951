package supervisor_test

import (
	"bufio"
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

	"releve/internal/testneed"
)

// postOffice is an SMTP server in this namespace; got are the whole dialogues, a mail each.
type postOffice struct {
	mu  sync.Mutex
	got []string
}

func (p *postOffice) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

func openPostOffice(t *testing.T, addr string) *postOffice {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &postOffice{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *postOffice) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 ready\r\n")
	var said strings.Builder
	data := false
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		said.WriteString(line)
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case data && line == ".\r\n":
			data = false
			fmt.Fprint(c, "250 queued\r\n")
		case data:
		case verb == "DATA":
			data = true
			fmt.Fprint(c, "354 go on\r\n")
		case verb == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			p.mu.Lock()
			p.got = append(p.got, said.String())
			p.mu.Unlock()
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

var mailDate = regexp.MustCompile(`(?m)^Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d [+-]\d{4}\r$`)

// The same events on both sides: the dialogues are the same, byte for byte but for the time of day, the fold between two recipients, which
// came after 2.2.7, and the mails about the stop, which 2.2.7 does not get to sending.
func TestMailsAboutTheSameEventsAreTheReferences(t *testing.T) {
	testneed.Need(t, "keepalived")
	const conf = `global_defs {
  router_id lb7
  notification_email {
    root@example.org
    second@example.org
  }
  notification_email_from director@example.org
  smtp_server 127.0.0.1 2525
  smtp_helo_name lb7.example.org
  smtp_connect_timeout 5
  %s
}
vrrp_sync_group G {
  group {
    VI_1
  }
  smtp_alert
}
vrrp_instance VI_1 {
  interface v0
  virtual_router_id 51
  priority 200
  advert_int 1
  smtp_alert
  virtual_ipaddress {
    10.9.0.1/24
  }
}
`
	for _, global := range []string{""} {
		t.Run(global, func(t *testing.T) {
			dialogues := map[string][]string{}
			both(t, func(t *testing.T, w which) {
				network(t)
				office := openPostOffice(t, "127.0.0.1:2525")
				d := foreground(t, w, config(t, fmt.Sprintf(conf, global)))
				eventually(t, "it is master", hasVIP)
				link := func(state string) {
					if out, err := exec.Command("ip", "link", "set", "v1", state).CombinedOutput(); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				link("down")
				eventually(t, "it is at fault", d.log.has("Entering FAULT STATE"))
				link("up")
				eventually(t, "it is master again", func() bool { return strings.Count(d.log.String(), "(VI_1) Entering MASTER STATE") == 2 })
				// The last one that is sent before the stop, and those that were begun before it.
				eventually(t, "both MASTER states are mailed", func() bool {
					all := strings.Join(office.list(), "")
					return strings.Count(all, "VRRP Instance VI_1 - Entering MASTER state") == 2 && strings.Count(all, "VRRP Group G - Entering MASTER state") == 2
				})
				time.Sleep(150 * time.Millisecond) // for one too many
				d.stop()
				for _, m := range office.list() {
					if !mailDate.MatchString(m) {
						t.Errorf("no date in\n%s", m)
					}
					if strings.Contains(m, " - Stopping") {
						continue
					}
					m = strings.Replace(m, "root@example.org,\r\n ", "root@example.org, ", 1)
					dialogues[w.name] = append(dialogues[w.name], mailDate.ReplaceAllString(m, "Date: then\r"))
				}
			})
			ours, theirs := dialogues["releve"], dialogues["reference"]
			for _, m := range theirs {
				if i := slices.Index(ours, m); i >= 0 {
					ours = slices.Delete(ours, i, i+1)
				} else {
					t.Errorf("only the reference sends\n%s", m)
				}
			}
			for _, m := range ours {
				t.Errorf("the reference does not send\n%s", m)
			}
		})
	}
}

// What a script finds: arguments, environment, standard input, folder, signals, group, limits. Later references than 2.2.7 take IFS,
// LD_LIBRARY_PATH and NOTIFY_SOCKET out of the environment and clear supplementary groups; package script has tests of that.
func TestScriptsFindWhatTheyFindUnderTheReference(t *testing.T) {
	testneed.Need(t, "keepalived")
	found := map[string]string{}
	both(t, func(t *testing.T, w which) {
		network(t)
		dir := t.TempDir()
		out := filepath.Join(dir, "found")
		script := write(t, filepath.Join(dir, "notify.sh"), `#!/bin/sh
{
	echo "arguments: $*"
	env -0 | sort -z | tr '\0\n' '\n ' | grep -v -E '^(_|SHLVL|PWD|OLDPWD|IFS|LD_LIBRARY_PATH|NOTIFY_SOCKET)='
	readlink /proc/$$/fd/0
	grep -E '^(SigBlk|Umask|Uid|Gid|NoNewPrivs|CapEff)' /proc/self/status
	[ "$(ps -o pgid= -p $$ | tr -d ' ')" = $$ ] && echo own group
	pwd
	ulimit -c
	nice
} >"$0.out" 2>&1
mv "$0.out" "`+out+`.$5"
`)
		if err := os.Chmod(script, 0o755); err != nil {
			t.Fatal(err)
		}
		conf := config(t, "global_defs {\n  script_user root\n}\n"+strings.Replace(owner, "priority 255", "priority 255\n  notify \""+script+" 'two words' three\"", 1))
		d := &daemon{t: t, log: &output{}, done: make(chan struct{})}
		d.cmd = exec.Command("nice", "-n", "5", w.path, "-n", "-l", "-D", "-G", "-f", conf)
		d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
		d.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nowhere", "FOO=a b", "IFS=x", "LD_LIBRARY_PATH=/nowhere", "NOTIFY_SOCKET=/nowhere", "LANG=C", "EMPTY=", "SHELL=/bin/sh"}
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { d.cmd.Wait(); close(d.done) }()
		t.Cleanup(func() { d.cmd.Process.Signal(syscall.SIGTERM); <-d.done })
		eventually(t, "the script has run", func() bool { return exists(out + ".MASTER") })
		found[w.name] = strings.ReplaceAll(read(out+".MASTER"), dir, "DIR")
		d.cmd.Process.Signal(syscall.SIGTERM)
		<-d.done
	})
	if found["releve"] != found["reference"] || found["releve"] == "" {
		t.Errorf("ours\n%s\nthe reference's\n%s", found["releve"], found["reference"])
	}
}
