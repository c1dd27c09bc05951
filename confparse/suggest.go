package confparse

import near "releve/internal/nearest"

// nearest is the word of a list that is most like w, empty where none is near.
func nearest(w string, list []string) string { return near.Word(w, list) }

// meant are words that people write for others that look different.
var meant = map[string]string{
	"ICMP_CHECK": "PING_CHECK", "lvs_id": "router_id", "//": "#", ";": "#", "lvs_weight": "weight", "check_retry": "retry", "timeout": "connect_timeout",
}
