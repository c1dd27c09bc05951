package confparse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lintOf checks a text with lint and returns "line:code" of what is beyond the reference's complaints, which must be absent.
func lintOf(t *testing.T, text string, mode os.FileMode) (*Config, []string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := errors.Join(os.WriteFile(name, []byte(text), mode), os.Chmod(name, mode)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	src, diags := Load(name, LoadOptions{})
	cfg, more := Check(src, CheckOptions{NoHost: true, Lint: true})
	diags = append(diags, more...).Sorted(src)
	if code := diags.ExitCode(); code != 0 {
		t.Fatalf("exit code %d: %v", code, diags)
	}
	return cfg, placedCodes(diags)
}

func placedCodes(d Diagnostics) []string {
	var list []string
	for _, x := range d {
		list = append(list, fmt.Sprintf("%d:%s", x.Pos.Line, x.Code))
	}
	return list
}

// pairInstance is an instance with what the cases change put in.
func pairInstance(priority int, more string) string {
	return fmt.Sprintf("vrrp_instance VI_1 {\n  interface eth0\n  virtual_router_id 51\n  priority %d\n%s\n  virtual_ipaddress {\n    10.9.0.100/24\n  }\n}\n", priority, more)
}

func TestLintOfOneFile(t *testing.T) {
	chk := "vrrp_script chk {\n  script \"/usr/bin/true\"\n  interval 2\n%s}\n"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want []string
	}{
		"a plain file is fine":               {pairInstance(100, ""), 0o644, nil},
		"a password that everybody can read": {pairInstance(100, "  authentication {\n    auth_type PASS\n    auth_pass secret\n  }"), 0o644, []string{"7:secret-readable"}},
		"a password that few can read":       {pairInstance(100, "  authentication {\n    auth_type PASS\n    auth_pass secret\n  }"), 0o640, nil},
		"adverts every ten seconds":          {pairInstance(100, "  advert_int 10"), 0o600, []string{"5:slow-failover"}},
		"a script that may hang for long":    {fmt.Sprintf(chk, "  timeout 5\n"), 0o600, []string{"4:timeout-above-interval"}},
		"a script with a timeout that fits":  {fmt.Sprintf(chk, "  timeout 2\n") + pairInstance(100, "  track_script {\n    chk\n  }"), 0o600, nil},
		"a weight at the bound":              {fmt.Sprintf(chk, "  weight 10\n") + pairInstance(254, "  track_script {\n    chk\n  }"), 0o600, []string{"11:weight-without-effect"}},
		"a weight with nopreempt":            {fmt.Sprintf(chk, "  weight -10\n") + pairInstance(100, "  nopreempt\n  track_script {\n    chk\n  }"), 0o600, []string{"12:weight-with-nopreempt"}},
		"refresh before the second burst":    {pairInstance(100, "  garp_master_refresh 2"), 0o600, []string{"1:refresh-before-repeat"}},
		"a regex that does not compile": {"virtual_server 10.9.0.1 80 {\n  protocol TCP\n  lvs_sched rr\n  lvs_method NAT\n  real_server 10.8.0.1 80 {\n    HTTP_GET {\n      url {\n        path /\n        regex \"alive (now\"\n      }\n    }\n  }\n}\n",
			0o600, []string{"7:regex-invalid"}},
		"an SSL block whose key is not there": {"SSL {\n  key /nonexistent\n}\nvirtual_server 10.9.0.1 80 {\n  protocol TCP\n  lvs_sched rr\n  lvs_method NAT\n  real_server 10.8.0.1 80 {\n    SSL_GET {\n      url {\n        path /\n      }\n    }\n  }\n}\n",
			0o600, []string{"9:ssl-files"}},
		"a check that waits longer than its period": {"virtual_server 10.9.0.1 80 {\n  protocol TCP\n  lvs_sched rr\n  lvs_method NAT\n  delay_loop 2\n  real_server 10.8.0.1 80 {\n    TCP_CHECK {\n      connect_timeout 5\n    }\n  }\n}\n",
			0o600, []string{"1:timeout-above-interval"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := lintOf(t, c.text, c.mode)
			got = slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, ":script-unused") })
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLintIsNotPartOfAConfigurationTest(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(name, []byte(pairInstance(100, "  advert_int 10")), 0o644); err != nil {
		t.Fatal(err)
	}
	src, _ := Load(name, LoadOptions{})
	if cfg, d := Check(src, CheckOptions{NoHost: true, Test: true}); len(d) != 0 || cfg.places != nil {
		t.Errorf("%v %v", d, cfg.places)
	}
}

// The weights are those of threads in which people asked why nothing happened.
func TestComparePair(t *testing.T) {
	script := "vrrp_script chk {\n  script \"/usr/bin/true\"\n  weight %d\n}\n"
	track := "  track_script {\n    chk\n  }"
	weigh := func(prio, weight int, more string) string {
		return fmt.Sprintf(script, weight) + pairInstance(prio, track+more)
	}
	pass := func(p string) string {
		return pairInstance(100, "  authentication {\n    auth_type PASS\n    auth_pass "+p+"\n  }")
	}
	v3 := pairInstance(90, "  version 3")
	uni := func(prio int, own, peer string) string {
		return pairInstance(prio, "  unicast_src_ip "+own+"\n  unicast_peer {\n    "+peer+"\n  }")
	}
	for name, c := range map[string]struct {
		a, b         string
		wantA, wantB []string
	}{
		"a good pair":                           {pairInstance(150, ""), pairInstance(100, ""), nil, nil},
		"103-2 stays above 100":                 {weigh(103, -2, ""), weigh(100, -2, ""), []string{"10:pair-weight-never"}, nil},
		"102-2 equals 100, which is not enough": {weigh(102, -2, ""), weigh(100, -2, ""), []string{"10:pair-weight-never"}, nil},
		"101-2 is below 100":                    {weigh(101, -2, ""), weigh(100, -2, ""), nil, nil},
		"a bonus of 20 over a gap of 50":        {weigh(150, 20, ""), weigh(100, 20, ""), []string{"10:pair-weight-never"}, nil},
		"a bonus of 60 over a gap of 50":        {weigh(150, 60, ""), weigh(100, 60, ""), nil, nil},
		"only the master has the bonus":         {weigh(90, 20, ""), pairInstance(100, ""), nil, nil},
		"the other does not preempt":            {weigh(101, -2, ""), weigh(100, -2, "\n  nopreempt"), []string{"10:pair-nopreempt"}, []string{"10:weight-with-nopreempt"}},
		"weight 0 always fails over":            {weigh(150, 0, ""), weigh(100, 0, ""), nil, nil},
		"one priority for both":                 {pairInstance(100, ""), pairInstance(100, ""), []string{"4:pair-equal-priority"}, nil},
		"two owners":                            {pairInstance(255, ""), pairInstance(255, ""), []string{"4:pair-owners"}, []string{"4:pair-owners"}},
		"two passwords":                         {pass("hunter1"), strings.Replace(pass("hunter2"), "100", "90", 1), []string{"6:pair-auth"}, []string{"6:pair-auth"}},
		"two versions":                          {pairInstance(100, ""), v3, []string{"1:pair-version"}, []string{"5:pair-version"}},
		"two intervals":                         {pairInstance(100, ""), pairInstance(90, "  advert_int 2"), []string{"1:pair-advert-int"}, []string{"5:pair-advert-int"}},
		"two addresses":                         {pairInstance(100, ""), strings.Replace(pairInstance(90, ""), "10.9.0.100", "10.9.0.101", 1), []string{"7:pair-vips"}, []string{"7:pair-vips"}},
		"two VRIDs":                             {pairInstance(100, ""), strings.Replace(pairInstance(90, ""), "51", "52", 1), []string{"3:pair-vrid"}, []string{"3:pair-vrid"}},
		"an instance that the other lacks":      {pairInstance(100, "") + strings.NewReplacer("VI_1", "VI_2", "51", "52", "10.9", "10.8").Replace(pairInstance(100, "")), pairInstance(90, ""), []string{"10:pair-instance-missing"}, nil},
		"peers that meet":                       {uni(100, "10.9.0.1", "10.9.0.2"), uni(90, "10.9.0.2", "10.9.0.1"), nil, nil},
		"a peer that is somebody else":          {uni(100, "10.9.0.1", "10.9.0.3"), uni(90, "10.9.0.2", "10.9.0.1"), []string{"6:pair-peers"}, nil},
		"unicast and multicast":                 {uni(100, "10.9.0.1", "10.9.0.2"), pairInstance(90, ""), []string{"6:pair-peers"}, []string{"1:pair-peers"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, lintA := lintOf(t, c.a, 0o600)
			b, lintB := lintOf(t, c.b, 0o600)
			forA, forB := ComparePair(a, b, "a.conf", "b.conf")
			if got := append(lintA, placedCodes(forA)...); !slices.Equal(got, c.wantA) {
				t.Errorf("first file: got %q, want %q", got, c.wantA)
			}
			if got := append(lintB, placedCodes(forB)...); !slices.Equal(got, c.wantB) {
				t.Errorf("second file: got %q, want %q", got, c.wantB)
			}
			for _, d := range append(forA, forB...) {
				if strings.Contains(d.Message, "hunter") {
					t.Errorf("a password is in %q", d.Message)
				}
			}
		})
	}
}

func TestThePageOfLintCodesIsFresh(t *testing.T) {
	var b bytes.Buffer
	if err := WriteLintPage(&b); err != nil {
		t.Fatal(err)
	}
	const page = "../docs/check.md"
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, _ := os.ReadFile(page); !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is stale: go test ./confparse -run LintCodes -update", page)
	}
}
