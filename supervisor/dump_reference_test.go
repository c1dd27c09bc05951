package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"releve/internal/testneed"
)

// differs are rows in which the two differ with good reason: what only one of them has (SNMP, D-Bus and pointers on their side), a
// password that they show, the flags line that they leave empty, and settings of the kernel that they read at another moment.
var differs = regexp.MustCompile(`^ *(SNMP|DBus|libnftnl|nftables|GARP next|GNA next|Next gratuitous|Seen up|Delayed state|VRRP owner|Gratuitous ARP lower|Rx buf size|Password|Flags|` +
	`(Not )?IPv6 forwarding|rp_filter|Original|Reset|Master down timer|NIC support|\w+ realtime limit|Router ID|current realtime|thread_|sands_|fd_out \d|` +
	`local disc|packets |VRRP instances :$|Email notification to:$)`)

// varies is what is another at every run.
var varies = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\d{10}\.\d{6} \([^)]*\)`), "TIME"},
	{regexp.MustCompile(`fd_in -?\d+,? fd_out( =)? -?\d+`), "FDS"},
	{regexp.MustCompile(`fe80::[0-9a-f:]+`), "LLA"},
	{regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`), "MAC"},
	{regexp.MustCompile(` \[installed ifindex \d+\]`), ""},
	{regexp.MustCompile(`index = \d+|ifindex \d+`), "INDEX"},
}

func dumpRows(text string) []string {
	var rows []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if differs.MatchString(line) {
			continue
		}
		for _, v := range varies {
			line = v.what.ReplaceAllString(line, v.by)
		}
		rows = append(rows, line)
	}
	return rows
}

// dumpFiles runs a program until it is up, asks for its data and stats and returns them.
func dumpFiles(t *testing.T, w which, text string) map[string]string {
	t.Helper()
	cleanRun(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	d := foreground(t, w, config(t, text))
	eventually(t, "it is master", func() bool { return hasVIP() && strings.Contains(d.log.String(), "Startup complete") })
	kill(t, d.pid(), syscall.SIGUSR1)
	kill(t, d.pid(), syscall.SIGUSR2)
	files := map[string]string{}
	for name, end := range map[string]string{"keepalived.data": "------< Interfaces >------", "keepalived.stats": "Priority Zero:", "keepalived_parent.data": " umask = "} {
		// The reference fills its files after they have their names.
		eventually(t, name, func() bool { return strings.Contains(read(filepath.Join(dir, name)), end) })
		last := ""
		eventually(t, name+" is complete", func() bool {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			done := last != "" && string(b) == last
			last = string(b)
			return done
		})
		files[name] = last
	}
	d.stop()
	return files
}

// missingRows says which row of the reference's files is not in ours: every row of theirs, in their order; ours may have more between them.
func missingRows(our, theirs map[string]string) string {
	for file := range theirs {
		got, want := dumpRows(our[file]), dumpRows(theirs[file])
		rest := got
		for i, row := range want {
			k := slices.Index(rest, row)
			if k < 0 {
				return fmt.Sprintf("%s: no row %q after %q in\n%s\nthe reference has\n%s", file, row, want[max(i-1, 0)], strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			rest = rest[k+1:]
		}
	}
	return ""
}

func TestC11EveryRowOfTheReferencesDumpsIsInOurs(t *testing.T) {
	testneed.Need(t, "keepalived")
	network(t)
	with := func(lines string) string {
		return strings.Replace(owner, "  priority 255\n", "  priority 255\n"+lines, 1)
	}
	globals := func(lines string) string { return "global_defs {\n" + lines + "}\n" + owner }
	for name, text := range map[string]string{
		"an address owner":  owner,
		"mail and defaults": globals("  router_id R\n  notification_email_from x@y.z\n  notification_email {\n    a@b.c\n    d@e.f\n  }\n  smtp_server 127.0.0.1 2525\n  smtp_helo_name h\n  smtp_connect_timeout 4\n  smtp_alert off\n  smtp_alert_vrrp on\n"),
		"ARP and adverts":   globals("  vrrp_garp_master_delay 2\n  vrrp_garp_master_repeat 3\n  vrrp_garp_master_refresh 60\n  vrrp_garp_master_refresh_repeat 2\n  vrrp_garp_lower_prio_delay 4\n  vrrp_garp_lower_prio_repeat 6\n  vrrp_garp_interval 0.01\n  vrrp_gna_interval 0.02\n  vrrp_lower_prio_no_advert true\n  vrrp_higher_prio_send_advert true\n  vrrp_down_timer_adverts 4\n  vrrp_version 3\n  vrrp_check_unicast_src\n  vrrp_skip_check_adv_addr all\n"),
		"processes":         globals("  vrrp_priority -4\n  checker_priority -5\n  bfd_priority -6\n  process_names\n  max_auto_priority 40\n  min_auto_priority_delay 200000\n  checker_cpu_affinity 1\n  umask 022\n"),
		"buffers":           globals("  vrrp_netlink_cmd_rcv_bufs 200000\n  vrrp_netlink_cmd_rcv_bufs_force true\n  process_monitor_rcv_bufs 300000\n  vrrp_rx_bufs_policy MTU\n  vrrp_rx_bufs_multiplier 4\n  rs_init_notifies\n  no_checker_emails\n  lvs_flush\n  lvs_flush_onstop VS\n  dynamic_interfaces allow_if_changes\n  disable_local_igmp\n  log_unknown_vrids\n  fifo_write_vrrp_states_on_reload\n"),
		"notify and script user": "global_defs {\n  enable_script_security\n  script_user root\n  notify_fifo /run/c11.fifo\n}\n" +
			with("  notify_master \"/usr/bin/true m\"\n  notify_backup \"/usr/bin/true b\" nobody\n  notify_fault \"/usr/bin/true f\"\n  notify_stop \"/usr/bin/true s\" nobody\n  notify \"/usr/bin/true a 'b c'\"\n  notify_master_rx_lower_pri \"/usr/bin/true r\"\n  notify_deleted\n  smtp_alert\n"),
		"routes and rules": with("  virtual_routes {\n    src 10.9.0.1 to 10.1.0.0/24 via 10.9.0.9 dev v0\n    10.2.0.0/24 dev v0 scope link\n    10.3.0.0/24 via 10.9.0.9 dev v0 table 100 metric 5\n    10.7.0.0/24 via 10.9.0.9 dev v0 mtu 1400 advmss 1300 hoplimit 5 window 1000 initcwnd 10 initrwnd 20 realms 1/2 tos 0x10 onlink\n    10.11.0.0/24 dev v0 mtu lock 1400 append\n  }\n" +
			"  virtual_rules {\n    from 10.9.0.1 lookup 100 priority 499\n    from 10.9.0.0/24 to 10.1.0.0/16 table 99 priority 500\n    not from 10.9.0.1 iif v0 fwmark 1/0xf lookup main preference 501\n    to 10.9.9.0/24 blackhole priority 502\n    from 10.1.1.1 goto 600 priority 504\n    from 10.1.1.2 nop priority 505\n    from 10.1.1.5 tos 0x10 prohibit priority 509\n  }\n"),
		"a file and a process": "track_file tf {\n  file /etc/hostname\n  weight 1\n}\nvrrp_track_process tp {\n  process none-of-that-name\n  weight 3\n  quorum 1\n}\n" + strings.ReplaceAll(owner, "10.9.0.1/24\n", "10.9.0.1/24\n    10.9.0.77 dev v0 label v0:7\n    10.9.0.78/24 brd 10.9.0.255 dev v1 scope link\n"),
		"unicast, version 3":   with("  version 3\n  advert_int 0.5\n  unicast_src_ip 10.9.0.2\n  unicast_peer {\n    10.9.0.3\n    10.9.0.4 min_ttl 5 max_ttl 200\n  }\n"),
		"static addresses":     "static_ipaddress {\n  10.55.0.1/24 dev v0\n  10.55.0.2 dev v0 scope host\n}\nstatic_routes {\n  10.56.0.0/24 dev v0\n}\nstatic_rules {\n  from 10.57.0.0/24 table 200 priority 700\n}\n" + owner,
		"a sync group":         "vrrp_sync_group G {\n  group {\n    VI_1\n    VI_2\n  }\n  notify_master /usr/bin/true\n  smtp_alert\n}\n" + owner + strings.NewReplacer("VI_1", "VI_2", "51", "52", "10.9.0.1/24", "10.9.0.99").Replace(owner),
		"no accept, delays":    "interface_up_down_delays {\n  v1 1.5 1.5\n}\n" + with("  garp_master_delay 1\n  lower_prio_no_advert\n  promote_secondaries\n  skip_check_adv_addr\n  kernel_rx_buf_size 123456\n"),
	} {
		t.Run(name, func(t *testing.T) {
			var lacks string
			for range 3 { // on a machine that stands still for a second one of them has sent an advert more: that is no difference
				theirs := dumpFiles(t, which{"reference", "/usr/sbin/keepalived"}, text)
				our := dumpFiles(t, ours(), text)
				if lacks = missingRows(our, theirs); lacks == "" {
					return
				}
			}
			t.Error(lacks)
		})
	}
}
