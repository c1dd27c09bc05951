package nft

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/ipvs"
)

// The names of chains say what they are, and the comment of their last rule holds what the rules do not show, so that the
// table in the kernel is the whole memory of the plane: a successor reads it and goes on.

// protocols by the word in names.
var protocols = map[ipvs.Protocol]string{ipvs.TCP: "tcp", ipvs.UDP: "udp", ipvs.SCTP: "sctp"}

// addrName writes an address so that the nft tool takes it as part of an identifier.
func addrName(a netip.Addr) string { return strings.ReplaceAll(a.WithZone("").String(), ":", "_") }

func parseAddr(s string) (netip.Addr, error) {
	return netip.ParseAddr(strings.ReplaceAll(s, "_", ":"))
}

// serviceName is the name of a service's chain and counter: tcp-192.168.56.10-80, udp-2001_db8__1-53, fwm-7-ipv6.
func serviceName(k ipvs.ServiceKey) string {
	if k.FWMark != 0 {
		if k.Family == ipvs.IPv6 {
			return fmt.Sprintf("fwm-%d-ipv6", k.FWMark)
		}
		return fmt.Sprintf("fwm-%d-ipv4", k.FWMark)
	}
	return fmt.Sprintf("%s-%s-%d", protocols[k.Protocol], addrName(k.Addr), k.Port)
}

// destName is the name of a destination's chain and counter: the service's, a slash, address and port.
func destName(service string, d ipvs.DestKey) string {
	return fmt.Sprintf("%s/%s-%d", service, addrName(d.Addr), d.Port)
}

// clientsName is the name of the map of a persistent service's clients.
func clientsName(service string) string { return service + "/clients" }

func parseServiceName(s string) (k ipvs.ServiceKey, ok bool) {
	f := strings.Split(s, "-")
	if len(f) != 3 {
		return k, false
	}
	if f[0] == "fwm" {
		n, err := strconv.ParseUint(f[1], 10, 32)
		if err != nil || n == 0 || f[2] != "ipv4" && f[2] != "ipv6" {
			return k, false
		}
		k.FWMark, k.Family = uint32(n), ipvs.IPv4
		if f[2] == "ipv6" {
			k.Family = ipvs.IPv6
		}
		return k, true
	}
	for p, name := range protocols {
		if name == f[0] {
			k.Protocol = p
		}
	}
	a, err := parseAddr(f[1])
	port, err2 := strconv.ParseUint(f[2], 10, 16)
	if k.Protocol == 0 || err != nil || err2 != nil {
		return k, false
	}
	k.Addr, k.Port, k.Family = a, uint16(port), familyOf(a)
	return k, true
}

func parseDestName(s string) (service string, d ipvs.DestKey, ok bool) {
	service, rest, ok := strings.Cut(s, "/")
	if !ok {
		return "", d, false
	}
	addr, p, ok := strings.Cut(rest, "-")
	if !ok {
		return "", d, false
	}
	a, err := parseAddr(addr)
	port, err2 := strconv.ParseUint(p, 10, 16)
	if err != nil || err2 != nil {
		return "", d, false
	}
	return service, ipvs.DestKey{Addr: a, Port: uint16(port)}, true
}

func familyOf(a netip.Addr) ipvs.Family {
	if a.Is4() {
		return ipvs.IPv4
	}
	return ipvs.IPv6
}

// serviceComment holds the options of a service; at most 128 bytes, the limit of the nft tool.
func serviceComment(s *ipvs.Service) string {
	return fmt.Sprintf("scheduler=%s flags=%d timeout=%d granularity=%d engine=%s",
		s.Scheduler, s.Flags, int(s.Timeout/time.Second), s.Granularity, s.Engine)
}

func parseServiceComment(c string, s *ipvs.Service) bool {
	v := fields(c)
	flags, ok1 := v.num("flags", 32)
	timeout, ok2 := v.num("timeout", 32)
	gran, ok3 := v.num("granularity", 8)
	s.Scheduler, s.Engine = v["scheduler"], v["engine"]
	s.Flags, s.Timeout, s.Granularity = ipvs.Flags(flags), time.Duration(timeout)*time.Second, uint8(gran)
	return ok1 && ok2 && ok3 && s.Scheduler != ""
}

// destComment holds what is not in the name of a destination; id is its number in the map of clients.
func destComment(d *ipvs.Dest, id uint32) string {
	return fmt.Sprintf("weight=%d upper=%d lower=%d id=%d", d.Weight, d.Upper, d.Lower, id)
}

func parseDestComment(c string, d *ipvs.Dest) (id uint32, ok bool) {
	v := fields(c)
	weight, ok1 := v.num("weight", 16)
	upper, ok2 := v.num("upper", 32)
	lower, ok3 := v.num("lower", 32)
	n, ok4 := v.num("id", 32)
	d.Weight, d.Upper, d.Lower = int(weight), uint32(upper), uint32(lower)
	return uint32(n), ok1 && ok2 && ok3 && ok4 && n > 0
}

type values map[string]string

func fields(s string) values {
	v := values{}
	for _, f := range strings.Fields(s) {
		if key, val, ok := strings.Cut(f, "="); ok {
			v[key] = val
		}
	}
	return v
}

func (v values) num(key string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(v[key], 10, bits)
	return n, err == nil
}

// commentOf takes the comment out of a rule's user data (libnftnl's type, length, value; type 0).
func commentOf(udata []byte) string {
	for len(udata) >= 2 && 2+int(udata[1]) <= len(udata) {
		v := udata[2 : 2+int(udata[1])]
		if udata[0] == 0 {
			return text(v)
		}
		udata = udata[2+len(v):]
	}
	return ""
}

func userData(comment string) []byte {
	b := append([]byte{0, byte(len(comment) + 1)}, comment...)
	return append(b, 0)
}
