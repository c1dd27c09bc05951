package supervisor_test

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const planned = `virtual_server 10.9.0.1 80 {
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 10.9.0.51 80 {
    TCP_CHECK {
      warmup 60
    }
  }
  real_server 10.9.0.52 80 {
    weight 2
  }
}
`

func TestRelevePlanSaysWhatAReloadWouldChangeAndChangesNothing(t *testing.T) {
	network(t)
	text := owner + planned
	conf := config(t, text)
	other := filepath.Join(filepath.Dir(conf), "other.conf")
	if status, out := releve(t, "plan", conf); status != 3 || !strings.Contains(out, "no daemon answers at /run/keepalived.sock: none runs") {
		t.Errorf("without a daemon: status %d, %q", status, out)
	}
	if status, out := releve(t, "plan", "--no-daemon", conf); status != 1 || !strings.Contains(out, "VI_1: begins as BACKUP") && !strings.Contains(out, "VI_1: begins as MASTER") {
		t.Errorf("from nothing: status %d, %q", status, out)
	}
	foreground(t, ours(), conf).up()
	eventually(t, "it is master", hasVIP)
	eventually(t, "the table is there", func() bool { return len(table(t)) == 3 })
	for _, tt := range []struct {
		name, text string
		status     int
		says       []string
		never      []string
	}{
		{"the same", text, 0, []string{"Nothing would change."}, nil},
		{"another comment", "! hello\n" + text, 0, []string{"Nothing would change."}, nil},
		{"another priority and address", strings.NewReplacer("priority 255", "priority 150", "10.9.0.1/24", "10.9.0.7/24").Replace(text), 1, []string{
			"VI_1: changed", "priority 255 becomes 150", "VI_1: stays MASTER", "a router with a priority above 150",
			"remove address 10.9.0.1/24 dev v0  (VI_1)", "add address 10.9.0.7/24 dev v0  (VI_1)"}, []string{"Virtual servers"}},
		{"another virtual router", strings.ReplaceAll(text, "virtual_router_id 51", "virtual_router_id 52"), 1, []string{
			"VI_1: restarted because of virtual_router_id", "sends priority 0"}, nil},
		{"one weight", strings.ReplaceAll(text, "weight 2", "weight 3"), 1, []string{
			"Checkers that go on with their state: 1", "-e -t 10.9.0.1:80 -r 10.9.0.52:80 -m -w 3"}, []string{"VI_1", "-d ", "-a "}},
		{"a server more and one less", strings.ReplaceAll(text, "10.9.0.51", "10.9.0.53"), 1, []string{
			"servers added: [10.9.0.53]:tcp:80", "servers removed: [10.9.0.51]:tcp:80", "Checkers added:", "Checkers removed:",
			"-a -t 10.9.0.1:80 -r 10.9.0.53:80 -m -w 1\n  -d -t 10.9.0.1:80 -r 10.9.0.51:80"}, nil},
		{"nothing at all", "! nothing\n", 1, []string{"The VRRP process ends.", "The Healthcheck process ends.", "MASTER ends", "-D -t 10.9.0.1:80"}, nil},
		{"a password is not shown", strings.ReplaceAll(text, "  priority", "  authentication {\n    auth_type PASS\n    auth_pass geheim\n  }\n  priority"), 1,
			[]string{"auth_pass changes"}, []string{"geheim"}},
		{"a file that is not sound", strings.ReplaceAll(text, "interface v0", "interface none0"), 2, []string{other + ":2:", "none0", "would be refused"}, nil},
	} {
		write(t, other, tt.text)
		status, out := releve(t, "plan", other)
		if status != tt.status {
			t.Errorf("%s: status %d, want %d: %q", tt.name, status, tt.status, out)
		}
		for _, s := range tt.says {
			if !strings.Contains(out, s) {
				t.Errorf("%s: it does not say %q:\n%s", tt.name, s, out)
			}
		}
		for _, s := range tt.never {
			if strings.Contains(out, s) {
				t.Errorf("%s: it says %q:\n%s", tt.name, s, out)
			}
		}
	}
	if status, out := releveFed(t, strings.ReplaceAll(text, "weight 2", "weight 3"), "plan", "-"); status != 1 || !strings.Contains(out, "-m -w 3") || strings.Contains(out, "VI_1") {
		t.Errorf("from the standard input: status %d, %q", status, out)
	}
	if status, out := releveFed(t, strings.ReplaceAll(text, "interface v0", "interface none0"), "plan", "/dev/stdin"); status != 2 || !strings.Contains(out, "/dev/stdin:2:") {
		t.Errorf("from the standard input, not sound: status %d, %q", status, out)
	}
	if !hasVIP() || len(table(t)) != 3 {
		t.Error("planning changed something")
	}
	write(t, other, strings.ReplaceAll(text, "weight 2", "weight 3"))
	if status, out := releve(t, "plan", "--against", conf, other); status != 1 || !strings.Contains(out, "-w 3") || strings.Contains(out, "VI_1") {
		t.Errorf("one file against another: status %d, %q", status, out)
	}
}

// TestAPartThatCannotTakeANewConfigurationKeepsItFromAllOthers: the text is sound, what one part needs for it is not to be had.
func TestAPartThatCannotTakeANewConfigurationKeepsItFromAllOthers(t *testing.T) {
	network(t)
	text := owner + planned
	conf := config(t, text)
	d := foreground(t, ours(), conf)
	d.up()
	eventually(t, "it is master", hasVIP)
	eventually(t, "the table is there", func() bool { return len(table(t)) == 3 })
	before := table(t)
	// Another program has the port of BFD, and the name of the virtual MAC interface is somebody else's.
	port, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 3784})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if out, err := exec.Command("ip", "link", "add", "taken0", "type", "veth", "peer", "name", "taken1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer exec.Command("ip", "link", "del", "taken0").Run()
	for name, broken := range map[string]string{
		"VRRP cannot have its interface": strings.ReplaceAll(text, "  priority", "  use_vmac taken0\n  priority"),
		"BFD cannot have its port":       strings.ReplaceAll(text, "  priority", "  use_vmac made0\n  priority") + "bfd_instance B {\n  neighbor_ip 10.9.0.9\n}\n",
	} {
		broken = strings.ReplaceAll(broken, "weight 2", "weight 9")
		write(t, conf, broken)
		status, out := releve(t, "reload")
		if status != 1 {
			t.Errorf("%s: status %d, %q", name, status, out)
		}
		if !hasVIP() || !slices.Equal(table(t), before) {
			t.Errorf("%s: the VIP is there: %v, the table is %q", name, hasVIP(), table(t))
		}
		// The part is told to give up what it has prepared; nobody waits for that.
		eventually(t, name+": the interface that was made for it goes", func() bool { return exec.Command("ip", "link", "show", "made0").Run() != nil })
		if strings.Count(d.log.String(), "Entering MASTER") != 1 || strings.Contains(d.log.String(), "died") {
			t.Errorf("%s: something changed", name)
		}
	}
	write(t, conf, strings.ReplaceAll(text, "weight 2", "weight 9"))
	if status, out := releve(t, "reload"); status != 0 || slices.Equal(table(t), before) {
		t.Errorf("a sound one: status %d, %q", status, out)
	}
}
