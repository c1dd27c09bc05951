package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"releve/ipvs"
)

// understood is what a text means on a machine that has everything.
func understood(t *testing.T, text string, o CheckOptions) *Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	src, _ := Load(file, LoadOptions{})
	cfg, _ := Check(src, o)
	return cfg
}

func TestTheOldWayToNameTheSyncDaemonHasIDZero(t *testing.T) {
	instance := func(more string) string {
		return "vrrp_instance A {\n interface eth0\n virtual_router_id 10\n" + more + " virtual_ipaddress {\n  10.1.1.1/24\n }\n}\n"
	}
	if s := understood(t, instance(" lvs_sync_daemon_interface eth1\n"), CheckOptions{NoHost: true}).VRRP.SyncDaemon; s == nil || !s.HasID || s.ID != 0 {
		t.Errorf("of the instance: %+v", s)
	}
	if s := understood(t, "global_defs {\n lvs_sync_daemon eth1 A\n}\n"+instance(""), CheckOptions{NoHost: true}).VRRP.SyncDaemon; s == nil || s.HasID {
		t.Errorf("global: %+v, want the instance's", s)
	}
}

func TestTheFamilyOfAMark(t *testing.T) {
	const tunnel = "virtual_server fwmark 7 {\n lvs_sched rr\n lvs_method TUN\n"
	for _, c := range []struct {
		name, servers string
		want          ipvs.Family
	}{
		{"tunnelled servers of one family decide", " real_server fd01::1 {\n }\n real_server fd01::2 {\n }\n", ipvs.IPv6},
		{"tunnelled servers of both do not", " real_server fd01::1 {\n }\n real_server 10.1.0.1 {\n }\n", ipvs.IPv4},
		{"one that is not tunnelled does", " real_server 10.1.0.1 {\n }\n real_server fd01::1 {\n lvs_method NAT\n }\n", ipvs.IPv6},
		{"a sorry server of the other family is as a server of it", " sorry_server 10.1.0.9 80\n real_server fd01::1 {\n }\n", ipvs.IPv4},
		{"and the other way round", " sorry_server fd01::9 80\n real_server 10.1.0.1 {\n }\n", ipvs.IPv4},
		{"ip_family goes before all", " ip_family inet6\n sorry_server 10.1.0.9 80\n real_server 10.1.0.1 {\n }\n", ipvs.IPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := understood(t, tunnel+c.servers+"}\n", CheckOptions{NoHost: true})
			if n := len(cfg.LVS.VirtualServers); n != 1 {
				t.Fatalf("%d virtual servers", n)
			}
			if f := cfg.LVS.VirtualServers[0].Key.Family; f != c.want {
				t.Errorf("family %v, want %v", f, c.want)
			}
		})
	}
}

func TestAScriptUserWhoDoesNotExistRunsNothing(t *testing.T) {
	const text = "global_defs {\n script_user %s\n}\nvirtual_server 10.1.1.1 80 {\n lvs_sched rr\n lvs_method NAT\n protocol TCP\n quorum_up /bin/true\n real_server 10.1.1.2 80 {\n MISC_CHECK {\n misc_path /bin/true\n }\n }\n}\n"
	for user, runs := range map[string]bool{"root": true, "nobody-of-that-name": false} {
		vs := understood(t, fmt.Sprintf(text, user), CheckOptions{}).LVS.VirtualServers[0]
		if got := vs.QuorumUp != nil; got != runs {
			t.Errorf("script_user %s: quorum_up runs: %v, want %v", user, got, runs)
		}
		if got := len(vs.RealServers[0].Checkers) == 1; got != runs {
			t.Errorf("script_user %s: MISC_CHECK runs: %v, want %v", user, got, runs)
		}
	}
}

func TestARealServerOfAMarkHasNoProtocolInItsName(t *testing.T) {
	cfg := understood(t, "virtual_server fwmark 7 {\n lvs_sched rr\n lvs_method NAT\n real_server 10.1.0.1 80 {\n }\n}\n", CheckOptions{NoHost: true})
	if name := cfg.LVS.VirtualServers[0].RealServers[0].Name; name != "[10.1.0.1]:none:80" {
		t.Error(name)
	}
}
