// Package testneed says what a test cannot do without: a privilege, a kernel feature, a tool. A lack is an honest skip that
// names what to install, and a failure where RELEVE_MUST (a comma-separated list, set by whoever promised it) names the thing.
package testneed

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// tools are the things that are programs, with the Debian package that holds them.
var tools = map[string][2]string{
	"keepalived": {"keepalived", "keepalived"},
	"tshark":     {"tshark", "tshark"},
	"ipvsadm":    {"ipvsadm", "ipvsadm"},
	"qemu":       {"qemu-system-x86_64", "qemu-system-x86"},
	"curl":       {"curl", "curl"},
	"bird":       {"bird", "bird2"},
	"dhcpd":      {"dhcpd", "isc-dhcp-server"},
	"ip":         {"ip", "iproute2"},
	"nft-tool":   {"nft", "nftables"},
	"nginx":      {"nginx", "nginx"},
	"smtpd":      {"smtpd", "opensmtpd"},
	"unbound":    {"unbound", "unbound"},
	"pcre2test":  {"pcre2test", "pcre2-utils"},
	"chromium":   {"chromium", "chromium"},
	"pdftotext":  {"pdftotext", "poppler-utils"},
	"groff":      {"groff", "groff-base"},
	"openssl":    {"openssl", "openssl"},
	"pidof":      {"pidof", "sysvinit-utils"},
	"ps":         {"ps", "procps"},
	"bash":       {"bash", "bash"},
}

var (
	mu    sync.Mutex
	known = map[string]error{}
)

// Need skips the test unless what is there: "root", "netns" (root and network namespaces), "nft" (nftables in the kernel), "ipvs"
// (IPVS in the kernel), "overlay" (that file system), "systemd" (its program, to be run in namespaces), or one of the tools by name.
func Need(t testing.TB, what ...string) {
	t.Helper()
	for _, w := range what {
		err := probe(w)
		if err == nil {
			continue
		}
		if slices.Contains(strings.Split(os.Getenv("RELEVE_MUST"), ","), w) {
			t.Fatalf("%s was promised by RELEVE_MUST but is missing: %v", w, err)
		}
		t.Skipf("needs %s: %v", w, err)
	}
}

func probe(what string) error {
	mu.Lock()
	defer mu.Unlock()
	if err, ok := known[what]; ok {
		return err
	}
	err := look(what)
	known[what] = err
	return err
}

func look(what string) error {
	if tool, ok := tools[what]; ok {
		if _, err := exec.LookPath(tool[0]); err != nil {
			return fmt.Errorf("%s not found: apt-get install %s", tool[0], tool[1])
		}
		return nil
	}
	switch what {
	case "systemd":
		if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
			return fmt.Errorf("%w: apt-get install systemd", err)
		}
		return nil
	case "overlay":
		b, err := os.ReadFile("/proc/filesystems")
		if err != nil || !strings.Contains(string(b), "\toverlay\n") {
			return fmt.Errorf("no overlay file system in this kernel")
		}
		return nil
	case "root":
		if os.Geteuid() != 0 {
			return fmt.Errorf("effective user is %d, not 0", os.Geteuid())
		}
		return nil
	case "netns":
		c := exec.Command("/bin/true")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
		if err := c.Run(); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		return nil
	case "nft":
		c := exec.Command("nft", "list", "tables")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft list tables: %w: %s", err, out)
		}
		return nil
	case "ipvs":
		if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
			return fmt.Errorf("no IPVS in this kernel: %w", err)
		}
		return nil
	}
	return fmt.Errorf("unknown need %q", what)
}
