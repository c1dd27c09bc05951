package supervisor_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// exporter gives a program that scripts/exporters has built.
func exporter(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "build", "exporters", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs %s: run scripts/exporters", path)
	}
	return path
}

// psOfHere is a folder with a ps that tells of this network namespace only: other tests on this machine have daemons of the same name.
func psOfHere(t *testing.T) string {
	t.Helper()
	testneed.Need(t, "ps")
	ps, err := exec.LookPath("ps")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "#!/bin/sh\n" + ps + ` "$@" | while read -r pid rest; do
	case $pid in
	*[!0-9]*) ;;
	*) [ /proc/$pid/ns/net -ef /proc/self/ns/net ] || continue ;;
	esac
	echo "$pid $rest"
done
`
	if err := os.WriteFile(filepath.Join(dir, "ps"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// scrape starts an exporter and gives what it serves.
func scrape(t *testing.T, port int, path string, args ...string) func() string {
	t.Helper()
	c := exec.Command(path, args...)
	log := &output{}
	c.Stdout, c.Stderr = log, log
	c.Env = append(os.Environ(), "PATH="+bin+":"+psOfHere(t)+":"+os.Getenv("PATH"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("the exporter says:\n%s", log)
		}
	})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	eventually(t, "the exporter serves", func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return func() string {
		r, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// The exporters are other people's programs, unmodified, beside our daemon under the name keepalived.
func TestMetricsOfTheExportersThatExist(t *testing.T) {
	testneed.Need(t, "netns")
	const conf = "global_defs {\n  enable_script_security\n  script_user root\n}\nvrrp_script chk {\n  script /usr/bin/true\n  interval 1\n}\n" +
		"vrrp_instance VI_1 {\n  interface v0\n  virtual_router_id 51\n  priority 200\n  advert_int 1\n  track_script {\n    chk\n  }\n" +
		"  virtual_ipaddress {\n    10.9.0.1/24\n  }\n  virtual_ipaddress_excluded {\n    10.9.0.77\n  }\n}\n"
	for _, tt := range []struct {
		name, program string
		port          int
		args          []string
		want          []string
	}{
		{"mehdy, text files", "keepalived-exporter", 9165, nil, []string{
			"keepalived_up 1", `keepalived_vrrp_state{iname="VI_1",intf="v0",ip_address="10.9.0.1/24",vrid="51"} 2`,
			`keepalived_advertisements_sent_total{iname="VI_1",intf="v0",vrid="51"}`, `keepalived_become_master_total{iname="VI_1",intf="v0",vrid="51"} 1`,
			`keepalived_script_status{name="chk"} 1`, `keepalived_script_state{name="chk"}`, `keepalived_vrrp_excluded_state`,
		}},
		{"mehdy, JSON", "keepalived-exporter", 9166, []string{"--ka.json", "--web.listen-address=:9166"}, []string{
			"keepalived_up 1", `keepalived_vrrp_state{iname="VI_1",intf="v0",ip_address="10.9.0.1/24",vrid="51"} 2`,
			`keepalived_become_master_total{iname="VI_1",intf="v0",vrid="51"} 1`,
		}},
		{"gen2brain", "keepalived_exporter", 9650, nil, []string{
			"keepalived_up 1", `keepalived_vrrp_become_master`, `name="VI_1"`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := exporter(t, tt.program)
			network(t)
			cleanRun(t)
			for _, name := range []string{"data", "stats", "json"} { // of another test
				os.Remove("/tmp/keepalived." + name)
			}
			d := foreground(t, ours(), config(t, conf))
			eventually(t, "it is master", hasVIP)
			eventually(t, "it counts that", d.log.has("setting VIPs."))
			get := scrape(t, tt.port, path, tt.args...)
			eventually(t, "they find all that they look for", func() bool { // they read right after the signal: at first there may be nothing yet
				got := get()
				return !slices.ContainsFunc(tt.want, func(want string) bool { return !strings.Contains(got, want) })
			})
			for range 20 { // once is luck
				time.Sleep(20 * time.Millisecond)
				got := get()
				for _, want := range tt.want {
					if !strings.Contains(got, want) {
						t.Fatalf("no %s in\n%s", want, got)
					}
				}
			}
			kill(t, d.pid(), syscall.SIGTERM)
			d.wait()
		})
	}
}
