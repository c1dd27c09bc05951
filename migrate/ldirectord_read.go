package migrate

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"releve/internal/nearest"
)

// ldValue is a setting of ldirectord.cf.
type ldValue struct {
	Origin
	text string
}

// ldVirtual is a virtual server of ldirectord.cf with its indented lines.
type ldVirtual struct {
	ldValue
	v6    bool
	set   map[string]ldValue
	reals []ldValue
}

// ldFile is ldirectord.cf.
type ldFile struct {
	name     string
	set      map[string]ldValue
	virtuals []*ldVirtual
	// again are the lines that a later one of the same key replaces, with the number of that one.
	again map[Origin]int
}

// The keys that ldirectord knows: in the file, and in a virtual server.
var (
	ldGlobal = sync.OnceValue(func() []string {
		return strings.Fields(`checktimeout connecttimeout negotiatetimeout checkinterval checkcount failurecount fallback fallback6 fallbackcommand
		autoreload callback logfile execute fork supervised quiescent readdquiescent emailalert emailalertfreq emailalertstatus emailalertfrom cleanstop smtp
		maintenancedir timeout`)
	})
	ldLocal = sync.OnceValue(func() []string {
		return strings.Fields(`request receive checktype checkcommand checktimeout connecttimeout negotiatetimeout checkcount failurecount checkinterval
		checkport login passwd database secret load scheduler persistent schedflags netmask protocol ops service httpmethod virtualhost fallback fallback6
		fallbackcommand quiescent emailalert emailalertfreq emailalertstatus monitorfile cleanstop smtp servicename comment`)
	})
	ldSecret = []string{"login", "passwd", "database", "secret"}
)

// parseLdirectord reads ldirectord.cf.
func parseLdirectord(in Input, r *report) (*ldFile, error) {
	f := &ldFile{name: in.Name, set: map[string]ldValue{}, again: map[Origin]int{}}
	var v *ldVirtual
	keep := func(set map[string]ldValue, key string, val ldValue) {
		if old, twice := set[key]; twice {
			f.again[old.Origin] = val.Line
		}
		set[key] = val
	}
	for i, raw := range strings.Split(string(in.Text), "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		if strings.HasPrefix(strings.TrimSpace(raw), "#") {
			continue
		}
		text := strings.ReplaceAll(raw, "\t", "    ")
		inside := v != nil && strings.HasPrefix(text, "    ")
		if cut := strings.IndexByte(text, '#'); cut >= 0 && inside {
			text = text[:cut]
		}
		if strings.TrimSpace(text) == "" {
			v = nil
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(text), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		o := Origin{in.Name, i + 1, shown(text)}
		if slices.Contains(ldSecret, key) {
			o.Text = key + " = (not shown)"
			if in.Mode.Perm()&0o077 != 0 && (key == "passwd" || key == "secret") {
				r.fault(o, "chmod 600 "+in.path()+", and change the password", "mode %#o lets others read a password", in.Mode.Perm())
			}
		}
		val := ldValue{o, value}
		switch {
		case !inside && text[0] == ' ':
			r.fault(o, "indent the lines of a virtual server by 4 spaces or a tab, without an empty line between", "an indented line that belongs to no virtual server")
		case !inside && (key == "virtual" || key == "virtual6"):
			v = &ldVirtual{val, key == "virtual6", map[string]ldValue{}, nil}
			f.virtuals = append(f.virtuals, v)
		case !inside && slices.Contains(ldGlobal(), key):
			v = nil
			keep(f.set, key, val)
		case inside && (key == "real" || key == "real6"):
			if (key == "real6") != v.v6 {
				r.fault(o, "", "%s in a virtual server of the other family", key)
				continue
			}
			v.reals = append(v.reals, val)
		case inside && slices.Contains(ldLocal(), key):
			keep(v.set, key, val)
		default:
			r.fault(o, nearestOf(key, append(slices.Clone(ldGlobal()), ldLocal()...)), "%q is not a key of ldirectord.cf in this place: ldirectord stops at it", shown(key))
			if !inside {
				v = nil
			}
		}
	}
	if len(f.virtuals) == 0 {
		return nil, fmt.Errorf("%s: no virtual server: there is nothing to migrate", in.Name)
	}
	return f, nil
}

// silent reports the lines that nothing was said of. served tells whether a virtual server became one.
func (f *ldFile) silent(r *report, served map[*ldVirtual]bool) {
	said := map[int]bool{}
	for _, x := range r.found {
		if x.File == f.name {
			said[x.Line] = true
		}
	}
	for _, o := range slices.SortedFunc(maps.Keys(f.again), func(x, y Origin) int { return x.Line - y.Line }) {
		if !said[o.Line] {
			r.none(o, "line %d says it again, and that one counts", f.again[o])
			said[o.Line] = true
		}
	}
	rest := func(all map[string]ldValue, why string) {
		for _, x := range slices.SortedFunc(maps.Values(all), func(x, y ldValue) int { return x.Line - y.Line }) {
			if !said[x.Line] {
				r.none(x.Origin, "%s", why)
			}
		}
	}
	rest(f.set, "nothing here makes use of it")
	for _, v := range f.virtuals {
		if served[v] {
			rest(v.set, "nothing here makes use of it")
			continue
		}
		rest(v.set, "left out with its virtual server")
		for _, x := range v.reals {
			if !said[x.Line] {
				r.none(x.Origin, "left out with its virtual server")
			}
		}
	}
}

// nearestOf is advice for a misspelt word, empty if none is like it.
func nearestOf(word string, all []string) string {
	slices.Sort(all)
	if best := nearest.Word(word, all); best != "" {
		return "did you mean " + best + "?"
	}
	return ""
}

// unquoted leaves out the quotation marks around a value.
func unquoted(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// number reads the first digits of a value, as ldirectord does, or gives dflt.
func (v ldValue) number(dflt int, r *report) int {
	if v.File == "" {
		return dflt
	}
	n, err := strconv.Atoi(strings.TrimSpace(v.text))
	if err != nil || n < 0 {
		r.fault(v.Origin, "", "%q is not a number", shown(v.text))
		return dflt
	}
	return n
}

// yes reads yes or no.
func (v ldValue) yes(dflt bool, r *report) bool {
	switch {
	case v.File == "":
		return dflt
	case v.text == "yes" || v.text == "no":
		return v.text == "yes"
	}
	r.fault(v.Origin, "", "%q is neither yes nor no", shown(v.text))
	return dflt
}

// hostPort splits NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT.
func hostPort(s string) (host, port string) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, port, _ = strings.Cut(rest, "]")
		return host, strings.TrimPrefix(port, ":")
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port
}

// resolver finds addresses and ports by name.
type resolver func(host string, v6 bool) (netip.Addr, error)

func (l resolver) addr(host string, v6 bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(host)
	if err != nil && l != nil && host != "" && !strings.HasPrefix(host, "-") {
		a, err = l(host, v6)
	}
	if err != nil {
		return a, fmt.Errorf("%q is not an address and no name that can be resolved here", shown(host))
	}
	if a = a.Unmap(); a.Is6() != v6 || a.Zone() != "" {
		return a, fmt.Errorf("%s is of the wrong family", a)
	}
	return a, nil
}

// port reads a number or the name of a service.
func servicePort(s, proto string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil {
		return uint16(n), nil
	}
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return 0, fmt.Errorf("%q is not a port", shown(s))
	}
	p, err := net.LookupPort(strings.ToLower(proto), s)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a port nor the name of a service", shown(s))
	}
	return uint16(p), nil
}
