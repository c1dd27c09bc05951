package confparse

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ipNames are the numbers behind the names of iproute2: files of two folders, of which /etc wins, and what every kernel knows.
type ipNames struct {
	usr, etc string
	kinds    map[string]map[string]uint32
}

// What is known without any file (linux/rtnetlink.h).
var ipBuiltin = sync.OnceValue(func() map[string]map[string]uint32 {
	return map[string]map[string]uint32{
		"rt_tables": {"unspec": 0, "default": 253, "main": 254, "local": 255},
		"rt_scopes": {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255},
		"rt_protos": {"unspec": 0, "redirect": 1, "kernel": 2, "boot": 3, "static": 4, "gated": 8, "ra": 9, "mrt": 10, "zebra": 11, "bird": 12,
			"dnrouted": 13, "xorp": 14, "ntk": 15, "dhcp": 16, "keepalived": 18, "babel": 42, "bgp": 186, "isis": 187, "ospf": 188, "rip": 189, "eigrp": 192},
		"rt_realms": {"unknown": 0, "cosmos": 0},
		"rt_dsfield": {"default": 0, "AF11": 0x28, "AF12": 0x30, "AF13": 0x38, "AF21": 0x48, "AF22": 0x50, "AF23": 0x58, "AF31": 0x68, "AF32": 0x70, "AF33": 0x78,
			"AF41": 0x88, "AF42": 0x90, "AF43": 0x98, "CS1": 0x20, "CS2": 0x40, "CS3": 0x60, "CS4": 0x80, "CS5": 0xa0, "CS6": 0xc0, "CS7": 0xe0, "EF": 0xb8},
		"group": {"default": 0},
	}
})

// lookup finds the number of a name, or reads the number itself in any base.
func (n *ipNames) lookup(kind, name string, limit uint32) (uint32, bool) {
	if v, err := strconv.ParseUint(name, 0, 32); err == nil {
		return uint32(v), uint32(v) <= limit
	}
	if v, ok := ipBuiltin()[kind][name]; ok {
		return v, true
	}
	if n.kinds == nil {
		n.kinds = map[string]map[string]uint32{}
	}
	names, ok := n.kinds[kind]
	if !ok {
		names = map[string]uint32{}
		for _, dir := range []string{n.usr, n.etc} {
			readIPNames(filepath.Join(dir, kind), names)
			more, _ := filepath.Glob(filepath.Join(dir, kind+".d", "*.conf"))
			for _, m := range more {
				readIPNames(m, names)
			}
		}
		n.kinds[kind] = names
	}
	v, ok := names[name]
	return v, ok && v <= limit
}

// readIPNames adds the lines `NUMBER NAME` of a file; what is no such line is skipped.
func readIPNames(path string, into map[string]uint32) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		if v, err := strconv.ParseUint(w[0], 0, 32); err == nil {
			into[w[1]] = uint32(v)
		}
	}
}

// names is the tables of names, with the folders of global_defs if they were given before.
func (p *interp) names() *ipNames {
	g := &p.raw.global.g
	usr, etc := g.IPRouteUsrDir, g.IPRouteEtcDir
	if usr == "" {
		usr = "/usr/share/iproute2"
	}
	if etc == "" {
		etc = "/etc/iproute2"
	}
	if p.ipNames == nil || p.ipNames.usr != usr || p.ipNames.etc != etc {
		p.ipNames = &ipNames{usr: usr, etc: etc}
	}
	return p.ipNames
}

func (n *ipNames) scope(s string) (uint8, bool) {
	v, ok := n.lookup("rt_scopes", s, 255)
	return uint8(v), ok
}

// words reads the options of a line one after the other.
type words struct {
	p    *interp
	w    []Word
	i    int
	what string // "route 10.0.0.0/8"
	code Code
	bad  bool
}

func (o *words) more() bool  { return o.i < len(o.w) && !o.bad }
func (o *words) next() *Word { o.i++; return &o.w[o.i-1] }

// arg is the word behind option k. The reference ends for a missing one.
func (o *words) arg(k *Word) string {
	if o.i >= len(o.w) {
		if !o.bad {
			o.p.add(Diagnostic{Pos: k.Pos, Severity: Error, Code: "missing-parameter", Exit: ExitStop, FatalAtStart: true, Message: o.what + ": " + k.Text + " needs a value"})
		}
		o.bad = true
		return ""
	}
	return o.next().own()
}

// fail complains about the last word read; the line is dropped.
func (o *words) fail(want string, at *Word) {
	if o.bad {
		return
	}
	o.bad = true
	last := &o.w[min(o.i, len(o.w))-1]
	if last == at {
		o.p.bad(at.Pos, o.code, "%s: %s: want %s", o.what, at.Text, want)
		return
	}
	o.p.bad(last.Pos, o.code, "%s: %s %q: want %s", o.what, at.Text, last.Text, want)
}

// num reads a number in any base.
func (o *words) num(k *Word, lo, hi uint64) uint64 {
	s := o.arg(k)
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n < lo || n > hi {
		o.fail(strconv.FormatUint(lo, 10)+".."+strconv.FormatUint(hi, 10), k)
		return 0
	}
	return n
}

// named reads a name of iproute2 or a number.
func (o *words) named(k *Word, kind string, limit uint32) uint32 {
	s := o.arg(k)
	n, ok := o.p.names().lookup(kind, s, limit)
	if !ok {
		o.fail("a number or a name of "+kind, k)
	}
	return n
}

func (o *words) iface(k *Word) string {
	s := o.arg(k)
	if o.bad {
		return ""
	}
	if len(s) > maxIfName {
		o.fail("an interface name of up to "+strconv.Itoa(maxIfName)+" characters", k)
		return ""
	}
	o.p.needInterface(o.w[o.i-1].Pos, o.what, s)
	return s
}
