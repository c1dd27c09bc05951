package supervisor_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"releve/internal/testneed"
)

// TestAChangedScriptUserReachesWhatRunsAlready: checkers and tracking scripts that a reload leaves as they are run as the new
// script_user from then on.
func TestAChangedScriptUserReachesWhatRunsAlready(t *testing.T) {
	testneed.Need(t, "root", "netns", "ip", "nft")
	cleanRun(t)
	network(t)
	const misc, track = "/run/c6.misc", "/run/c6.track"
	users := func(file, as string) func() bool {
		return func() bool {
			b, _ := os.ReadFile(file)
			return strings.HasSuffix(string(b), as+"\n")
		}
	}
	text := func(user string) string {
		return "global_defs {\n  script_user " + user + "\n}\nvrrp_script who {\n  script \"/run/c6.sh " + track + "\"\n  interval 1\n}\n" +
			"vrrp_instance VI {\n  interface v0\n  virtual_router_id 51\n  virtual_ipaddress {\n    10.9.0.51\n  }\n  track_script {\n    who\n  }\n}\n" +
			"virtual_server 10.9.0.60 80 {\n  delay_loop 1\n  lb_kind NAT\n  protocol TCP\n  real_server 10.9.0.61 80 {\n    MISC_CHECK {\n      misc_path \"/run/c6.sh " + misc +
			"\"\n      warmup 0\n    }\n  }\n}\n"
	}
	write(t, "/run/c6.sh", "#!/bin/sh\nid -u >>$1\n")
	if err := os.Chmod("/run/c6.sh", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{misc, track} {
		write(t, f, "")
		if err := os.Chmod(f, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	conf := config(t, text("root"))
	d := foreground(t, ours(), conf)
	eventually(t, "the checker runs as root", users(misc, "0"))
	eventually(t, "the tracking script runs as root", users(track, "0"))
	write(t, conf, text("nobody"))
	kill(t, d.pid(), syscall.SIGHUP)
	eventually(t, "the checker runs as nobody", users(misc, "65534"))
	eventually(t, "the tracking script runs as nobody", users(track, "65534"))
}
