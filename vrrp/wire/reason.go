package wire

// Reason is why a received packet was not accepted. It is an error, so that decoders can return it as it is; Accepted is zero.
type Reason uint8

// Reasons, in the order in which they are looked for.
const (
	Accepted Reason = iota
	// Short: fewer bytes than the header or its address count need (RFC 9568 §7.1: verify that the packet is complete).
	Short
	// BadTTL: TTL or hop limit is not 255, or outside the peer's bounds (RFC 9568 §7.1, §5.1.1.3).
	BadTTL
	// BadVersion: another version than the instance's (RFC 9568 §7.1).
	BadVersion
	// HMACMissing: no trailer where auth_hmac enforces one.
	HMACMissing
	// HMACMalformed: trailer of a wrong type, length or with reserved bits set.
	HMACMalformed
	// HMACUnknownKey: the trailer names a key that is not configured.
	HMACUnknownKey
	// HMACInvalid: the signature does not fit.
	HMACInvalid
	// HMACStale: signed too long ago or too far in the future.
	HMACStale
	// HMACReplay: not newer than the last one accepted from this sender.
	HMACReplay
	// BadAuthType: a version 2 authentication type that does not exist (RFC 2338 §7.1).
	BadAuthType
	// AuthMismatch: another authentication type than configured (RFC 2338 §7.1).
	AuthMismatch
	// AuthFailed: wrong password (RFC 2338 §7.1).
	AuthFailed
	// AHInvalid: the signature of the authentication header does not fit (RFC 2402 §3.4.4).
	AHInvalid
	// AHReplay: the sequence number of the authentication header was there already (RFC 2402 §3.4.3).
	AHReplay
	// BadInterval: version 2 with another advert interval (RFC 3768 §7.1).
	BadInterval
	// BadType: not an advertisement (RFC 9568 §5.2.2).
	BadType
	// Long: more bytes than header, addresses and authentication account for (RFC 9568 §7.1).
	Long
	// BadChecksum (RFC 9568 §7.1).
	BadChecksum
	// BadDestination: multicast at a unicast instance or the reverse, or another group.
	BadDestination
	// BadSource: a unicast advert of somebody who is no configured peer, or an address that no router can have.
	BadSource
	// Own: a packet with our own source address: looped back, or a duplicate address on the LAN.
	Own
	// BadAddrs: other addresses than ours. The packet is accepted all the same, as the reference does; counted and logged.
	BadAddrs
	// UnknownVRID: no instance with this VRID here (RFC 9568 §7.1).
	UnknownVRID
	// InFault: the instance is in FAULT or not started and listens to nobody.
	InFault
	// NotIPv4 is a packet of a raw IPv4 socket whose IP header cannot be read.
	NotIPv4

	// Reasons is the number of reasons.
	Reasons
)

var reasons = [Reasons]struct{ text, counter string }{
	Accepted:       {"accepted", ""},
	Short:          {"packet too short", "packet_len_err"},
	BadTTL:         {"invalid TTL or hop limit", "ip_ttl_err"},
	BadVersion:     {"other VRRP version", ""},
	HMACMissing:    {"no authentication trailer", "auth_ext_missing"},
	HMACMalformed:  {"malformed authentication trailer", "auth_ext_malformed"},
	HMACUnknownKey: {"authentication trailer with unknown key", "auth_ext_unknown_key"},
	HMACInvalid:    {"invalid HMAC", "auth_ext_invalid_hmac"},
	HMACStale:      {"authentication trailer outside the time window", "auth_ext_stale"},
	HMACReplay:     {"authentication trailer replayed", "auth_ext_replay"},
	BadAuthType:    {"invalid authentication type", "invalid_authtype"},
	AuthMismatch:   {"other authentication type", "authtype_mismatch"},
	AuthFailed:     {"invalid password", "auth_failure"},
	AHInvalid:      {"invalid IPSEC HMAC-MD5 value", "auth_failure"},
	AHReplay:       {"IPSEC AH sequence number already processed", "auth_failure"},
	BadInterval:    {"other advert interval", ""},
	BadType:        {"invalid packet type", "invalid_type_rcvd"},
	Long:           {"packet too long", "packet_len_err"},
	BadChecksum:    {"invalid checksum", ""},
	BadDestination: {"multicast and unicast mixed", ""},
	BadSource:      {"sender is not a configured peer", ""},
	Own:            {"own source address", ""},
	BadAddrs:       {"other virtual addresses", "addr_list_err"},
	UnknownVRID:    {"virtual router ID not configured", ""},
	InFault:        {"instance is in FAULT", ""},
	NotIPv4:        {"unreadable IP header", "packet_len_err"},
}

// String says it in a few words.
func (r Reason) String() string {
	if r < Reasons {
		return reasons[r].text
	}
	return "unknown reason"
}

// Error makes a Reason an error.
func (r Reason) Error() string { return "VRRP packet rejected: " + r.String() }

// Counter is the name of the counter in keepalived.json, empty if the reference counts it nowhere.
func (r Reason) Counter() string {
	if r < Reasons {
		return reasons[r].counter
	}
	return ""
}
