package track

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProcessesAreToldByNameAndCommandLine(t *testing.T) {
	proc := t.TempDir()
	for pid, p := range map[string][2]string{
		"1":   {"init", "/sbin/init"},
		"20":  {"haproxy", "/usr/sbin/haproxy -f /etc/a.cfg -db"},
		"21":  {"haproxy", "/usr/sbin/haproxy -f /etc/b.cfg"},
		"30":  {"a-very-long-nam", "/opt/a-very-long-name-indeed"},
		"40":  {"kworker", ""},
		"net": {"", ""},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmdline := strings.ReplaceAll(p[1], " ", "\x00")
		if cmdline != "" {
			cmdline += "\x00"
		}
		for name, text := range map[string]string{"comm": p[0] + "\n", "cmdline": cmdline} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		p    Process
		want int
	}{
		{"by name", Process{Path: "haproxy"}, 2},
		{"by path, of which the name counts", Process{Path: "/usr/sbin/haproxy"}, 2},
		{"a long name is cut as the kernel cuts it", Process{Path: "a-very-long-name-indeed"}, 1},
		{"a kernel thread has a name but no command line", Process{Path: "kworker"}, 1},
		{"by full command", Process{Path: "/usr/sbin/haproxy", Full: true}, 2},
		{"by full command of another path", Process{Path: "/usr/local/sbin/haproxy", Full: true}, 0},
		{"with all parameters", Process{Path: "haproxy", Params: []string{"-f", "/etc/b.cfg"}}, 1},
		{"with the first parameters", Process{Path: "haproxy", Params: []string{"-f"}, Match: "initial"}, 2},
		{"with the beginning of a parameter", Process{Path: "haproxy", Params: []string{"-f", "/etc/"}, Match: "partial"}, 2},
		{"not there", Process{Path: "nginx"}, 0},
	} {
		if got := c.p.Count(proc); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestQuorumOfProcesses(t *testing.T) {
	for _, c := range []struct {
		p    Process
		n    int
		want bool
	}{
		{Process{}, 0, false}, {Process{}, 1, true}, {Process{Min: 2}, 1, false}, {Process{Min: 1, Max: 2, HasMax: true}, 3, false},
		{Process{HasMax: true}, 0, true}, {Process{HasMax: true}, 1, false},
	} {
		if got := c.p.enough(c.n); got != c.want {
			t.Errorf("%+v with %d: %v", c.p, c.n, got)
		}
	}
}
