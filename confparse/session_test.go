package confparse

import (
	"strings"
	"testing"
)

// TestABFDInstanceWithoutASessionIsKnownToWhatTracksIt: as with the reference it is down for ever, which is FAULT without a weight.
func TestABFDInstanceWithoutASessionIsKnownToWhatTracksIt(t *testing.T) {
	const tracked = "vrrp_instance V {\n interface eth0\n virtual_router_id 5\n track_bfd {\n  B\n }\n virtual_ipaddress {\n  10.1.0.77/24\n }\n}\n"
	for name, c := range map[string]struct {
		bfd      string
		sessions int
		tracks   int
		says     string
	}{
		"no neighbor_ip":            {"bfd_instance B {\n}\n", 0, 1, "bfd_instance B has no neighbor_ip: it never comes up"},
		"two families":              {"bfd_instance B {\n neighbor_ip 10.1.0.9\n source_ip fe80::1\n}\n", 0, 1, "different families: it never comes up"},
		"a neighbor_ip twice":       {"bfd_instance A {\n neighbor_ip 10.1.0.9\n}\nbfd_instance B {\n neighbor_ip 10.1.0.9\n}\n", 1, 1, "bfd_instance B has the neighbor_ip 10.1.0.9 of bfd_instance A"},
		"for the checkers only":     {"bfd_instance B {\n checker\n}\n", 0, 0, "bfd_instance B tells the checkers only"},
		"the name again, and whole": {"bfd_instance B {\n}\nbfd_instance B {\n neighbor_ip 10.1.0.9\n}\n", 1, 1, "has no neighbor_ip"},
		"whole":                     {"bfd_instance B {\n neighbor_ip 10.1.0.9\n}\n", 1, 1, ""},
	} {
		src, diags := LoadText("k.conf", c.bfd+tracked, LoadOptions{})
		cfg, more := Check(src, CheckOptions{NoHost: true, Test: true})
		diags = append(diags, more...)
		if got := cfg.VRRP.Instances[0].Track.OrNone().BFD; len(cfg.BFD) != c.sessions || len(got) != c.tracks {
			t.Errorf("%s: %d sessions, tracked %v", name, len(cfg.BFD), got)
		}
		said := ""
		for _, d := range diags {
			said += d.Message + "\n"
		}
		if !strings.Contains(said, c.says) || c.says == "" && said != "" {
			t.Errorf("%s: it says %q", name, said)
		}
		if want := map[bool]int{true: 5}[c.says != ""]; diags.ExitCode() != want {
			t.Errorf("%s: status %d", name, diags.ExitCode())
		}
	}
}

// TestAWordOfUnicastPutsTheAdvertsOfAVMACOnItsBase, with or without peers, as with the reference.
func TestAWordOfUnicastPutsTheAdvertsOfAVMACOnItsBase(t *testing.T) {
	for words, want := range map[string]bool{
		"": false, "unicast_src_ip 10.1.0.3": true, "unicast_peer {\n}": true, "unicast_peer {\n10.1.0.4\n}": true, "check_unicast_src": true,
		"unicast_fault_no_peer": true, "mcast_src_ip 10.1.0.3": false, "vmac_xmit_base": true,
	} {
		src, _ := LoadText("k.conf", "global_defs {\n vrrp_check_unicast_src\n}\nvrrp_instance V {\n interface eth0\n virtual_router_id 5\n use_vmac\n"+words+"\n virtual_ipaddress {\n  10.1.0.77/24\n }\n}\n", LoadOptions{})
		cfg, _ := Check(src, CheckOptions{NoHost: true, Test: true})
		if got := cfg.VRRP.Instances[0].VMAC.XmitBase; got != want {
			t.Errorf("%q: adverts from the base: %v", words, got)
		}
	}
}
