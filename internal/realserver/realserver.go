// Package realserver starts web, mail and name servers of Debian's packages for tests: with configuration and folders of their own, in
// the network namespace of the test, and never as services of the machine. They end with the test.
package realserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// What the servers listen on, at every address of their namespace.
const (
	Web     = 8080 // plain pages
	TLS     = 8443 // pages over TLS that say the name sent in the handshake
	Client  = 8444 // wants a client's certificate, signed by Files.CA
	Expired = 8445 // TLS 1.2 only, with an expired certificate of another name
	Modern  = 8446 // TLS 1.3 only
	Mail    = 2525
	MailTLS = 4650 // speaks TLS first, so it never greets who does not
	Name    = 5353
)

// Page is what the web server has at /page.
const Page = "hello from a real server\n"

// VirtualPage is what it has there for the host www.example.org.
const VirtualPage = "hello from www.example.org\n"

// child is a server that was started.
type child struct {
	cmd  *exec.Cmd
	log  *log
	done chan struct{}
}

// log gathers what a server says.
type log struct {
	mu sync.Mutex
	b  []byte
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b[:min(len(b), 1<<16-min(len(l.b), 1<<16))]...)
	return len(b), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// start runs a server until the test ends.
func start(t testing.TB, flags uintptr, args ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(args[0], args[1:]...), log: &log{}, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.done:
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", args[0])
			_ = c.cmd.Process.Kill()
			<-c.done
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(args[0]), c.log)
		}
	})
	return c
}

// up waits until the server takes connections at a port, or says why it never will.
func (c *child) up(t testing.TB, port int) {
	t.Helper()
	for range 600 {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-c.done:
			t.Fatalf("%s ended:\n%s", c.cmd.Path, c.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen on port %d:\n%s", c.cmd.Path, port, c.log)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const nginxConf = `user root;
worker_processes 1;
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log;
events {
  worker_connections 512;
}
http {
  log_format seen '$server_port|$request|$http_host|$http_connection|$ssl_server_name|$ssl_session_reused|$status';
  access_log DIR/access.log seen;
  client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
  default_type text/plain;
  server_tokens off;
  keepalive_timeout 30;
  ssl_certificate DIR/good.pem;
  ssl_certificate_key DIR/good.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:S:1m;
  server {
    listen 8080 default_server;
    listen [::]:8080 default_server;
    root DIR/www;
    location = /missing { return 404 "nothing here\n"; }
    location = /moved { return 302 /page; }
    location = /teapot { return 418 "short and stout\n"; }
    location = /gone { return 444; }
    location = /slow { limit_rate 400; }
    location = /included { ssi on; ssi_types *; }
  }
  server {
    listen 8080;
    listen [::]:8080;
    server_name www.example.org;
    root DIR/virtual;
  }
  server {
    listen 8443 ssl default_server;
    listen [::]:8443 ssl default_server;
    root DIR/www;
    location = /name { return 200 "name=$ssl_server_name protocol=$ssl_protocol\n"; }
  }
  server {
    listen 8444 ssl;
    ssl_client_certificate DIR/ca.pem;
    ssl_verify_client on;
    root DIR/www;
  }
  server {
    listen 8445 ssl;
    ssl_protocols TLSv1.2;
    ssl_certificate DIR/expired.pem;
    ssl_certificate_key DIR/expired.key;
    root DIR/www;
  }
  server {
    listen 8446 ssl;
    ssl_protocols TLSv1.3;
    root DIR/www;
  }
}
`

// WebServer starts nginx and returns the folder with its access.log and its certificates (see Certificates).
func WebServer(t testing.TB) (dir string) {
	t.Helper()
	testneed.Need(t, "root", "nginx")
	dir = t.TempDir()
	Certificates(t, dir)
	for name, text := range map[string]string{"www/page": Page, "virtual/page": VirtualPage, "www/slow": strings.Repeat("slow\n", 120), "www/piece": "a piece\n",
		"www/large": strings.Repeat("0123456789abcde\n", 1<<16), "www/included": "begin\n<!--# include virtual=\"/piece\" -->end\n", "www/empty": ""} {
		write(t, filepath.Join(dir, name), text)
	}
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.ReplaceAll(nginxConf, "DIR", dir))
	start(t, 0, "nginx", "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log")).up(t, Modern)
	return dir
}

// MailServer starts OpenSMTPD, which introduces itself as mail.example.org.
func MailServer(t testing.TB) {
	t.Helper()
	testneed.Need(t, "root", "netns", "smtpd")
	dir := t.TempDir()
	Certificates(t, dir)
	conf := filepath.Join(dir, "smtpd.conf")
	if err := os.Chmod(filepath.Join(dir, "good.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, conf, strings.ReplaceAll(`pki mail.example.org cert "DIR/good.pem"
pki mail.example.org key "DIR/good.key"
listen on 0.0.0.0 port 2525 hostname mail.example.org
listen on :: port 2525 hostname mail.example.org
listen on 0.0.0.0 port 4650 smtps pki mail.example.org hostname mail.example.org
action "here" mbox
match from any for local action "here"
`, "DIR", dir))
	// Its queue and its control socket are where it was built to have them: in a mount namespace of its own nobody meets them.
	start(t, syscall.CLONE_NEWNS, "sh", "-ec", `mount --make-rprivate /; mount -t tmpfs run /run; mount -t tmpfs spool /var/spool; exec smtpd -d -f "$1"`, "sh", conf).up(t, Mail)
}

// NameServer starts unbound, which knows example.org and the root, both without asking anybody, and answers nobody at 127.0.0.66.
func NameServer(t testing.TB) {
	t.Helper()
	testneed.Need(t, "root", "unbound")
	dir := t.TempDir()
	conf := filepath.Join(dir, "unbound.conf")
	write(t, conf, strings.ReplaceAll(`server:
  verbosity: 1
  use-syslog: no
  logfile: ""
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "DIR"
  num-threads: 1
  interface: 0.0.0.0@5353
  interface: ::0@5353
  interface-automatic: no
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  access-control: 127.0.0.66/32 refuse
  access-control: 127.0.0.67/32 deny
  module-config: "iterator"
  local-zone: "." static
  local-data: ". SOA a.root. b.root. 1 3600 600 86400 3600"
  local-data: ". NS a.root."
  local-data: "www.example.org. A 192.0.2.1"
  local-data: "www.example.org. AAAA 2001:db8::1"
  local-data: "www.example.org. TXT text"
  local-data: "example.org. MX 10 mail.example.org."
  local-data: "alias.example.org. CNAME www.example.org."
remote-control:
  control-enable: no
`, "DIR", dir))
	start(t, 0, "unbound", "-d", "-c", conf).up(t, Name)
}
