package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/lab"
)

// sickConf has a live and a dead server, a service below its quorum, and what one of the data planes cannot do.
const sickConf = `
virtual_server 10.2.0.1 80 {
  delay_loop 1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 10.1.0.1 80 {
    TCP_CHECK {
      connect_timeout 2
    }
  }
  real_server 10.1.0.2 80 {
    TCP_CHECK {
      connect_timeout 2
    }
  }
}
virtual_server 10.2.0.2 80 {
  delay_loop 1
  warmup 0
  lb_algo rr
  lb_kind NAT
  protocol TCP
  quorum 2
  sorry_server 10.1.0.99 80
  real_server 10.1.0.1 80 {
  }
  real_server 10.1.0.3 80 {
    TCP_CHECK {
      connect_timeout 2
    }
  }
}
virtual_server 10.2.0.3 80 {
  lb_algo rr
  lb_kind DR
  protocol TCP
  real_server 10.1.0.1 80 {
    lthreshold 5
  }
}
`

// TestHealthIsShownOfARunningDaemonOnNftablesAndIPVS runs on the data plane that the kernel has: nftables here, IPVS in the virtual machine.
func TestHealthIsShownOfARunningDaemonOnNftablesAndIPVS(t *testing.T) {
	testneed.Need(t, "root", "netns", "nft")
	_, err := os.Stat("/proc/net/ip_vs")
	inIPVS := err == nil
	t.Setenv(beReleve, "1")
	exe, err := os.Executable()
	check(t, err)
	l, err := lab.New()
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	h, err := l.Host("director")
	check(t, err)
	for _, a := range []string{"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1", "10.2.0.2", "10.2.0.3"} {
		check(t, h.AddAddr("lo", a+"/32"))
	}
	web, err := h.Web("10.1.0.1:80", "one")
	check(t, err)
	conf := filepath.Join(t.TempDir(), "keepalived.conf")
	check(t, os.WriteFile(conf, []byte(sickConf), 0o644))
	d, err := h.Start(exe, []string{"keepalived", "-n", "-l", "-D", "-f", conf}, nil)
	check(t, err)
	show := func(args ...string) string {
		var out bytes.Buffer
		c := exec.Command(exe, append([]string{"lvs"}, args...)...)
		c.Args[0], c.Stdout, c.Stderr = "releve", &out, &out
		check(t, h.Do(c.Start))
		hung := time.AfterFunc(60*time.Second, func() { _ = c.Process.Kill() })
		defer hung.Stop()
		if err := c.Wait(); err != nil {
			t.Fatalf("releve lvs %q: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	var out string
	until(t, "the dead servers are shown as such", func() bool {
		out = show()
		return strings.Contains(out, "-x 10.1.0.2:80                  out     down") && strings.Contains(out, "sorry server, serving")
	})
	t.Logf("%s", out)
	kept := []string{
		"TCP  10.2.0.1:80 ", "  quorum up ", ": weight 1, quorum 1\n",
		"  -x 10.1.0.2:80                  out     down ", "TCP_CHECK: ", "connection refused",
		"TCP  10.2.0.2:80 ", "  quorum lost ", ": weight 1, quorum 2\n",
		"  -x 10.1.0.1:80                  out     not checked, makes room for the sorry server\n",
	}
	if inIPVS {
		kept = append(kept, "Not in place:\n  -t 10.2.0.3:80 -r 10.1.0.1:80: refused", "lower connection threshold above the upper one")
	} else {
		kept = append(kept, "out     not checked, left out: see Limits\n", "Limits:\n", "nftables cannot forward by DR: real server [10.1.0.1]:80 left out")
	}
	for view, heads := range map[string]string{"": "Forward Weight ActiveConn", "--stats": "Conns   InPkts", "--rate": "CPS    InPPS"} {
		out := show(strings.Fields(view)...)
		for _, want := range append(kept, heads) {
			if !strings.Contains(out, want) {
				t.Errorf("releve lvs %s lacks %q:\n%s", view, want, out)
			}
		}
	}
	var j struct {
		Plane    string
		Services []struct {
			Address string
			Health  *jsonVirtual
			Dests   []struct {
				Address string
				Health  *jsonReal
			} `json:"destinations"`
		}
		Health *jsonHealth
	}
	until(t, "the live server has been checked, too", func() bool {
		j.Services = nil
		check(t, json.Unmarshal([]byte(show("--json")), &j))
		return len(j.Services) > 0 && len(j.Services[0].Dests) == 1 && j.Services[0].Dests[0].Health != nil &&
			len(j.Services[0].Dests[0].Health.Checkers) > 0 && j.Services[0].Dests[0].Health.Checkers[0].Tried
	})
	plane := map[bool]string{true: "ipvs", false: "nftables"}[inIPVS]
	if j.Plane != plane || len(j.Services) != 3 || j.Health == nil || len(j.Health.Missing)+len(j.Health.Limits) == 0 {
		t.Fatalf("JSON %+v", j)
	}
	one := j.Services[0]
	if r := one.Dests[0].Health; len(one.Dests) != 1 || !r.Up || !r.Checkers[0].Tried || r.Checkers[0].Since == nil {
		t.Errorf("a live server: %+v", one.Dests)
	}
	if r := one.Health.Out; len(r) != 1 || r[0].Up || r[0].Checkers[0].Type != "TCP_CHECK" || !strings.Contains(r[0].Checkers[0].Reason, "refused") || r[0].Since == nil {
		t.Errorf("a dead server: %+v", r)
	}
	if bare := show("--bare"); strings.Contains(bare, "quorum") || !strings.Contains(bare, "10.1.0.1:80") {
		t.Errorf("releve lvs --bare:\n%s", bare)
	}
	web.Stop()
	until(t, "the other one is shown as down", func() bool {
		return strings.Contains(show(), "-x 10.1.0.1:80                  out     down") && strings.Contains(show(), "quorum lost")
	})
	d.Stop(10 * time.Second)
	if left := show(); strings.Contains(left, "quorum") || strings.Contains(left, "10.2.0.1") {
		t.Errorf("without a daemon: %s", left)
	}
}
