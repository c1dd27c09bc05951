package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pageServer answers every request with a page and closes.
func pageServer(t *testing.T, page string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1024)
			_, _ = c.Read(b)
			fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// deadPort is a port of 127.0.0.1 that refuses connections and that nobody else can take until the test ends.
func deadPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(name.(*unix.SockaddrInet4).Port)
}

func TestProbeSaysWhatEachCheckSaw(t *testing.T) {
	port := pageServer(t, "hello\n")
	dead := deadPort(t)
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	conf := fmt.Sprintf(`global_defs {
    script_user root
}
virtual_server 10.0.0.1 80 {
    protocol TCP
    real_server 127.0.0.1 %[1]s {
        TCP_CHECK {
        }
        HTTP_GET {
            url {
                path /
                digest b1946ac92492d2347c6235b4d2611184
            }
        }
        MISC_CHECK {
            misc_path "/bin/sh -c 'exit 20'"
            misc_dynamic
        }
    }
}
virtual_server 10.0.0.2 80 {
    protocol TCP
    real_server 127.0.0.1 %[2]s {
        TCP_CHECK {
        }
    }
}
virtual_server 10.0.0.3 80 {
    protocol TCP
    real_server 127.0.0.1 %[1]s {
        HTTP_GET {
            url {
                path /x
                digest 00000000000000000000000000000000
            }
        }
    }
}
`, port, dead)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	probe := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := runProbe(args, &out, &errs)
		return status, out.String(), errs.String()
	}
	status, out, errs := probe(file, "10.0.0.1")
	for _, want := range []string{"TCP_CHECK: ok", "connect to 127.0.0.1:" + port, "status 200, 6 bytes, digest b1946ac92492d2347c6235b4d2611184, as configured", "weight 18"} {
		if !strings.Contains(out, want) {
			t.Errorf("nobody says %q:\n%s%s", want, out, errs)
		}
	}
	if status != 0 {
		t.Errorf("status %d", status)
	}
	status, out, _ = probe(file)
	if status != 1 || !strings.Contains(out, "! connect to 127.0.0.1:"+dead+": ") || !strings.Contains(out, "MD5 digest b1946ac92492d2347c6235b4d2611184, wanted 0000") || !strings.Contains(out, "retry 1, 1s apart") || !strings.Contains(out, "2 of 5 checks failed") {
		t.Errorf("status %d:\n%s", status, out)
	}
	status, out, _ = probe("--json", file, "10.0.0.2", "127.0.0.1")
	var v probed
	if err := json.Unmarshal([]byte(out), &v); status != 1 || err != nil || v.OK || v.Check != "TCP_CHECK" {
		t.Errorf("status %d, %v:\n%s", status, err, out)
	}
	for _, c := range []struct {
		args []string
		say  string
	}{{nil, "name a file"}, {[]string{"/nonexistent"}, "no such file"}, {[]string{file, "10.9.9.9"}, "no health check of that name"}} {
		if status, _, errs := probe(c.args...); status != 2 || !strings.Contains(errs, c.say) {
			t.Errorf("%v: status %d, %s", c.args, status, errs)
		}
	}
}
