package status

import (
	"bufio"
	"fmt"

	"releve/vrrp"
)

// Stats writes keepalived.stats. Exporters read it line by line: two spaces are a section or a value, four a value in a
// section, `key: integer`.
func Stats(w *bufio.Writer, s *vrrp.Snapshot) {
	for i := range s.Instances {
		in := &s.Instances[i]
		st := &in.Stats
		row := func(indent, key string, n uint64) { fmt.Fprintf(w, "%s%s: %d\n", indent, key, n) }
		fmt.Fprintf(w, "VRRP Instance: %s\n  Advertisements:\n", in.Config.Name)
		row("    ", "Received", st.AdvertRcvd)
		row("    ", "Sent", st.AdvertSent)
		row("  ", "Became master", st.BecomeMaster)
		row("  ", "Released master", st.ReleaseMaster)
		for _, section := range statSections {
			fmt.Fprintf(w, "  %s:\n", section.title)
			for _, c := range section.counters {
				row("    ", c.label, st.Counter(c.json))
			}
		}
		w.WriteString("  Priority Zero:\n")
		row("    ", "Received", st.PriZeroRcvd)
		row("    ", "Sent", st.PriZeroSent)
	}
}

// counter is a reason to drop an advert: its label in the text and its key in the JSON.
type counter struct{ label, json string }

// statSections are the error counters in the order of the text.
var statSections = []struct {
	title    string
	counters []counter
}{
	{"Packet Errors", []counter{{"Length", "packet_len_err"}, {"TTL", "ip_ttl_err"}, {"Invalid Type", "invalid_type_rcvd"},
		{"Advertisement Interval", "advert_interval_err"}, {"Address List", "addr_list_err"}}},
	{"Authentication Errors", []counter{{"Invalid Type", "invalid_authtype"}, {"Type Mismatch", "authtype_mismatch"}, {"Failure", "auth_failure"}}},
	{"Authentication Extension Errors", []counter{{"Missing", "auth_ext_missing"}, {"Malformed", "auth_ext_malformed"},
		{"Unknown Key", "auth_ext_unknown_key"}, {"Invalid HMAC", "auth_ext_invalid_hmac"}, {"Stale", "auth_ext_stale"}, {"Replay", "auth_ext_replay"}}},
}
