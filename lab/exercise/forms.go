package exercise

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The forms of lines: the words that must follow. H is a host, I an interface of that host, D a duration, N a number from 0 on, A an
// address, P an address with a port, T any text; with ? it may be missing, with + it may be repeated, * is any further words.
var (
	settings = sync.OnceValue(func() map[string]string {
		return map[string]string{"title": "T *", "goal": "T *", "needs": "T+", "limit": "D", "bridge": "T", "host": "T T T *", "route": "H T A", "sysctl": "H T T", "web": "H T T",
			"echo": "H T", "serve": "H T T *", "config": "H *", "file": "H T *", "question": "T T"}
	})
	deeds = sync.OnceValue(func() map[string]string {
		return map[string]string{"start": "H", "term": "H", "kill": "H", "reload": "H", "freeze": "H", "thaw": "H", "cut": "H I", "heal": "H I", "partition": "H I", "oneway": "H I",
			"bothways": "H I", "stopweb": "H", "startweb": "H", "stopserve": "H T", "startserve": "H T", "slowweb": "H D", "text": "H T", "run": "H T+", "spawn": "H T *", "killspawned": "H T", "write": "H T *", "config": "H *",
			"remove": "H T", "client": "H P *", "stopclient": "", "connect": "H P *", "wait": "D", "say": "T *", "dhcp": "H N *"}
	})
	checks = sync.OnceValue(func() map[string]string {
		return map[string]string{"holds": "H A", "free": "H A", "onlyholder": "A H?", "answer": "T", "answers": "T+", "share": "T+", "rotation": "N T+", "gap": "T T T?", "lost": "N",
			"noanswer": "", "table": "H *", "weight": "H A N", "frame": "T", "noframe": "T", "log": "H T", "syncdaemon": "H T", "alive": "H", "dead": "H",
			"connection": "T *", "file": "H T T", "leases": "N *", "clean": "H"}
	})
)

// Words are all words that a line of a scenario can begin with, or what can follow expect.
func Words() []string {
	out := []string{"step", "expect"}
	for _, t := range []map[string]string{settings(), deeds(), checks()} {
		out = slices.AppendSeq(out, maps.Keys(t))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kindNames are the kinds of words as a mistake is told.
var kindNames = [...]string{'H': "HOST", 'I': "INTERFACE", 'D': "TIME", 'N': "NUMBER", 'A': "ADDRESS", 'P': "ADDRESS:PORT", 'T': "TEXT", '*': "..."}

// shape is a line as it should be, in words.
func shape(verb, form string) string {
	out := []string{verb}
	for _, k := range strings.Fields(form) {
		name := kindNames[k[0]]
		switch {
		case strings.HasSuffix(k, "?"):
			name = "[" + name + "]"
		case strings.HasSuffix(k, "+"):
			name += " ..."
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// args checks the words of a line against their form.
func (p *parser) args(form string, w []word) (out []string, err error) {
	verb, left := w[0], w[1:]
	end := w[len(w)-1].col + len(w[len(w)-1].text)
	var host *Host
	for _, k := range strings.Fields(form) {
		if k == "*" {
			for _, x := range left {
				out = append(out, x.text)
			}
			return out, nil
		}
		if len(left) == 0 && strings.HasSuffix(k, "?") {
			return out, nil
		}
		if len(left) == 0 {
			return nil, p.bad(end, "%s: it should be %s", verb.text, shape(verb.text, form))
		}
		for first := true; first || strings.HasSuffix(k, "+") && len(left) > 0; first = false {
			x := left[0]
			left = left[1:]
			if host, err = p.kind(k[0], x, host); err != nil {
				return nil, err
			}
			out = append(out, x.text)
		}
	}
	if len(left) > 0 {
		return nil, p.bad(left[0].col, "%q is one word too many: it should be %s", left[0].text, shape(verb.text, form))
	}
	return out, nil
}

// kind checks a word; host is the one that was named before, or by this word.
func (p *parser) kind(k byte, x word, host *Host) (*Host, error) {
	switch k {
	case 'H':
		if host = p.s.Host(x.text); host == nil {
			return nil, p.bad(x.col, "%q is not a host of this lab", x.text)
		}
	case 'I':
		if !slices.ContainsFunc(host.Ports, func(q Port) bool { return q.Iface == x.text }) {
			return nil, p.bad(x.col, "%s has no interface %s", host.Name, x.text)
		}
	case 'D':
		if d, err := time.ParseDuration(x.text); err != nil || d < 0 {
			return nil, p.bad(x.col, "%q is not a time such as 3s or 500ms", x.text)
		}
	case 'N':
		if n, err := strconv.Atoi(x.text); err != nil || n < 0 {
			return nil, p.bad(x.col, "%q is not a number", x.text)
		}
	case 'A':
		if _, err := netip.ParseAddr(x.text); err != nil {
			return nil, p.bad(x.col, "%q is not an address", x.text)
		}
	case 'P':
		if _, err := netip.ParseAddrPort(x.text); err != nil {
			return nil, p.bad(x.col, "%q is not an address with a port, such as 10.0.0.1:80 or [fd00::1]:80", x.text)
		}
	}
	return host, nil
}

// sense checks what the form of a line does not tell. w is the verb and what follows.
func (p *parser) sense(a Action, w []word) error {
	wrong := func(i int, format string, x ...any) error {
		return p.bad(w[min(i+1, len(w)-1)].col, "%s", fmt.Sprintf(format, x...))
	}
	times := func(from int) error {
		for i := from; i < len(a.Args); i++ {
			if _, err := time.ParseDuration(a.Args[i]); err != nil {
				return wrong(i, "%q is not a time such as 3s or 500ms", a.Args[i])
			}
		}
		return nil
	}
	if !a.Expect {
		return p.deedSense(a, wrong)
	}
	switch a.Verb {
	case "answer", "answers", "noanswer", "share", "rotation", "gap", "lost":
		if p.clients == 0 {
			return wrong(-1, "%s is about what a client saw, and none has begun: client HOST ADDRESS:PORT", a.Verb)
		}
	}
	switch a.Verb {
	case "share":
		for i, x := range a.Args {
			at := strings.LastIndexByte(x, '=')
			if v, err := strconv.ParseFloat(x[at+1:], 64); at < 0 || err != nil || v <= 0 {
				return wrong(i, "%q should be TEXT=PART, such as \"Web 1=3\"", x)
			}
		}
	case "gap":
		if a.Args[0] == "below" || a.Args[0] == "above" {
			if len(a.Args) > 2 {
				return wrong(2, "%q is one word too many", a.Args[2])
			}
			return times(1)
		}
		if len(a.Args) > 2 {
			return wrong(2, "it should be gap below TIME, gap above TIME, or gap MIN MAX")
		}
		return times(0)
	case "connection":
		n := map[string]int{"alive": 1, "lost": 1, "trips": 2, "worst": 3}[a.Args[0]]
		if len(a.Args) != n {
			return wrong(0, "it should be connection alive, lost, trips NUMBER, or worst MIN MAX")
		}
		if a.Args[0] == "worst" {
			return times(1)
		}
		if n == 2 {
			if _, err := strconv.Atoi(a.Args[1]); err != nil {
				return wrong(1, "%q is not a number", a.Args[1])
			}
		}
	case "syncdaemon":
		if !slices.Contains([]string{"master", "backup", "none"}, a.Args[1]) {
			return wrong(1, "%q is not master, backup or none", a.Args[1])
		}
	case "table", "leases":
		for i, x := range a.Args[1:] {
			if a.Verb == "leases" && i == 0 && x == "from" {
				continue
			}
			if _, err := netip.ParseAddr(x); err != nil {
				return wrong(i+1, "%q is not an address", x)
			}
		}
	}
	return nil
}

func (p *parser) deedSense(a Action, wrong func(int, string, ...any) error) error {
	switch a.Verb {
	case "start":
		if p.s.Config(a.Args[0]) == nil {
			return wrong(0, "%s has no configuration: config %s << before the first step", a.Args[0], a.Args[0])
		}
	case "client", "connect":
		if a.Verb == "client" {
			p.clients++
		}
		for i := 2; i < len(a.Args); i += 2 {
			if a.Args[i] != "every" && (a.Args[i] != "timeout" || a.Verb == "connect") || i+1 >= len(a.Args) {
				return wrong(i, "%q should be every TIME%s", a.Args[i], map[string]string{"client": " or timeout TIME"}[a.Verb])
			}
			if d, err := time.ParseDuration(a.Args[i+1]); err != nil || d <= 0 {
				return wrong(i+1, "%q is not a time such as 3s or 500ms", a.Args[i+1])
			}
		}
	case "dhcp":
		if _, _, _, err := dhcpRange(a.Args[1:]); err != nil {
			return wrong(1, "%v", err)
		}
	case "stopserve", "startserve":
		if h := p.s.Host(a.Args[0]); !slices.ContainsFunc(h.Serves, func(s Server) bool { return s.Kind == a.Args[1] }) {
			return wrong(1, "%s serves no %s", h.Name, a.Args[1])
		}
	case "stopweb", "startweb", "slowweb", "text":
		if h := p.s.Host(a.Args[0]); len(h.Webs) == 0 {
			return wrong(0, "%s has no web server", h.Name)
		}
	case "killspawned":
		if !slices.ContainsFunc(append(p.s.Steps[:len(p.s.Steps):len(p.s.Steps)], p.step), func(s *Step) bool {
			return slices.ContainsFunc(s.Actions, func(x Action) bool { return x.Verb == "spawn" && x.Args[0] == a.Args[0] && x.Args[1] == a.Args[1] })
		}) {
			return wrong(1, "nothing called %s is spawned on %s before", a.Args[1], a.Args[0])
		}
	}
	return nil
}
