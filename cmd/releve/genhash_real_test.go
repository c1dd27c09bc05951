package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/realserver"
	"releve/internal/testneed"
)

// TestGenhashOfRealAndOddServers compares digests, output and exit status with the reference's on nginx, and on servers that do what they
// should not.
func TestGenhashOfRealAndOddServers(t *testing.T) {
	testneed.Need(t, "root", "netns", "keepalived", "nginx", "ip")
	if os.Getenv("RELEVE_NETNS") == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		c.Env = append(os.Environ(), "RELEVE_NETNS=1")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("in a namespace: %v\n%s", err, out)
		}
		return
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	realserver.WebServer(t)
	odd := map[string]string{ // by port from 9000 on, sorted
		"/plain": "HTTP/1.0 200 OK\r\n\r\nhello\n", "/status": "XYZ 200\r\n\r\nhello\n", "/nothing": "", "/nohead": "HTTP/1.0 200 OK\r\nhello\n", "/bare": "HTTP/1.0 200 OK\n\nhello\n",
		"/nobody": "HTTP/1.0 200 OK\r\n\r\n", "/long": "HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhello\n", "/short": "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhello\n",
		"/lower": "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nhello\n", "/blank": "HTTP/1.0 200 OK\r\nContent-Length: 3 \r\n\r\nhello\n", "/x": "HTTP/1.0 200 OK\r\nX-Content-Length: 3\r\n\r\nhello\n",
		"/plus": "HTTP/1.0 200 OK\r\nContent-Length: +3\r\n\r\nhello\n", "/minus": "HTTP/1.0 200 OK\r\nContent-Length: -3\r\n\r\nhello\n", "/zero": "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nhello\n",
		"/chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n0\r\n\r\n", "/broken": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
		"/binary": "HTTP/1.0 200 OK\r\n\r\n\x00\x01\xfe\xff\x00", "/header": "HTTP/1.0 200 OK\r\n" + strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyy\r\n", 100) + "\r\nhello\n",
		"/large": "HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("0123456789abcdef", 20000),
	}
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1024)
				n, _ := c.Read(b)
				f := strings.Fields(string(b[:n]))
				if len(f) < 2 {
					return
				}
				path, pieces := strings.CutSuffix(f[1], "/pieces")
				text := odd[path]
				if pieces {
					for i := 0; i < len(text); i += 7 {
						_, _ = c.Write([]byte(text[i:min(i+7, len(text))]))
						time.Sleep(5 * time.Millisecond)
					}
					return
				}
				_, _ = c.Write([]byte(text))
			}()
		}
	}()
	calls := []string{}
	for path := range odd {
		calls = append(calls, "-s 127.0.0.1 -p 9000 -u "+path)
		if len(odd[path]) < 1000 {
			calls = append(calls, "-s 127.0.0.1 -p 9000 -u "+path+"/pieces")
		}
	}
	for _, path := range []string{"/page", "/large", "/missing", "/moved", "/gone", "/included", "/empty"} {
		for _, protocol := range []string{"1.0", "1.0c", "1.1"} {
			calls = append(calls, fmt.Sprintf("-s 127.0.0.1 -p %d -u %s -P %s", realserver.Web, path, protocol))
		}
		calls = append(calls, fmt.Sprintf("-s 127.0.0.1 -p %d -u %s -S", realserver.TLS, path))
	}
	calls = append(calls, "-s ::1 -p 8080 -u /page", "-s 127.0.0.1 -p 8080 -u /page -V www.example.org", "-s 127.0.0.1 -p 8443 -u /name -S -I -V www.example.org", "-s 127.0.0.1 -p 8443 -u /name -S -V www.example.org",
		"-s 127.0.0.1 -p 8445 -u /page -S", "-s 127.0.0.1 -p 8446 -u /page -S", "-s 127.0.0.1 -p 8444 -u /page -S", "-s 127.0.0.1 -p 8080 -u /page -m 7", "-s 127.0.0.1 -p 8080 -u /page -v", "-s ::1 -p 8080 -u /missing -v",
		"-s 192.0.2.1 -p 80 -u /", "-s 127.0.0.1 -p 8080 -u /page -S -t 2")
	for _, args := range calls {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(args)
			var want, wantErr, out, errs bytes.Buffer
			c := exec.Command("keepalived", append([]string{"--genhash"}, words...)...)
			c.Stdout, c.Stderr = &want, &wantErr
			_ = c.Run()
			code := genhashFace("genhash", words, &out, &errs)
			if code != c.ProcessState.ExitCode() {
				t.Errorf("exit status %d, the reference's is %d\n%s%s", code, c.ProcessState.ExitCode(), &errs, &wantErr)
			}
			a, b := micros.ReplaceAllString(out.String(), "= N usecs"), micros.ReplaceAllString(want.String(), "= N usecs")
			b = strings.Replace(b, "HTTP_CHECK - network", "HTTP/SSL_CHECK - network", 1) // newer versions of the reference say it so
			if a != b {
				t.Errorf("got\n%s\nthe reference prints\n%s", cut(a), cut(b))
			}
			if (errs.Len() > 0) != (wantErr.Len() > 0) {
				t.Errorf("standard error %q, the reference's %q", &errs, &wantErr)
			}
		})
	}
}

func cut(s string) string { return s[:min(len(s), 2000)] }
