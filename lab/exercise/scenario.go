// Package exercise runs the exercises of the course: a scenario is a small text file with a topology, configurations, steps, and
// what must be seen after each. The exercises that come with the program are files of the same form; docs/labs describes it.
package exercise

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"embed"
)

//go:embed labs/*.lab
var files embed.FS

// Names lists the exercises that come with the program.
func Names() (out []string) {
	all, _ := fs.Glob(files, "labs/*.lab")
	for _, f := range all {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(f, "labs/"), ".lab"))
	}
	return out
}

// Builtin gives the text of an exercise that comes with the program.
func Builtin(name string) ([]byte, error) { return files.ReadFile("labs/" + name + ".lab") }

// Scenario is a scenario file.
type Scenario struct {
	Name  string
	Title string
	Goal  []string
	// Needs are what the machine must have: ipvs, dhcpd, ...
	Needs     []string
	Bridges   []string
	Hosts     []*Host
	Configs   []*Config
	Steps     []*Step
	Questions []Question
	// Limit bounds a run.
	Limit time.Duration
}

// Host is a machine of the scenario.
type Host struct {
	Name   string
	Ports  []Port
	Routes [][2]string
	Sysctl [][2]string
	Webs   []Service
	Echos  []Service
	// Serves are the other servers: the kind in Text's first word.
	Serves []Server
}

// Server is a server of a host that speaks smtp, tls, dns or udp.
type Server struct{ Kind, Addr, Text string }

// Port is an interface of a host.
type Port struct {
	Iface, Bridge string
	Addrs         []string
}

// Service is a server of a host and what it answers.
type Service struct{ Addr, Text string }

// Config is a file that is written on a host before the first step; keepalived.conf unless a path is given.
type Config struct {
	Host, Path string
	Mode       fs.FileMode
	Text       string
	Line       int
}

// Step is a step: what is done and what must be seen then.
type Step struct {
	Title   string
	Line    int
	Actions []Action
}

// Action is a line of a step.
type Action struct {
	Line int
	Text string
	Verb string
	Args []string
	// Expect tells a check from a deed; Within is how long it may take, Hold how long it must stay so.
	Expect       bool
	Within, Hold time.Duration
}

// Question is asked at the end, its answer folded away.
type Question struct{ Ask, Answer string }

// Host finds a host.
func (s *Scenario) Host(name string) *Host {
	if i := slices.IndexFunc(s.Hosts, func(h *Host) bool { return h.Name == name }); i >= 0 {
		return s.Hosts[i]
	}
	return nil
}

// Config finds the keepalived.conf of a host.
func (s *Scenario) Config(host string) *Config {
	if i := slices.IndexFunc(s.Configs, func(c *Config) bool { return c.Host == host && c.Path == confPath }); i >= 0 {
		return s.Configs[i]
	}
	return nil
}

// confPath is where a host has its configuration.
const confPath = "/run/lab/keepalived.conf"

// The forms of lines: the words that must follow, H a host, I an interface of that host, D a duration, N a number, A an address,
// T any text, * any further words.
var (
	settings = map[string]string{"title": "*", "goal": "*", "needs": "*", "limit": "D", "bridge": "T", "host": "T T T *", "route": "H T T", "sysctl": "H T T", "web": "H T T",
		"echo": "H T", "serve": "H T T *", "config": "H *", "file": "H T *", "question": "T T"}
	deeds = map[string]string{"start": "H", "term": "H", "kill": "H", "reload": "H", "freeze": "H", "thaw": "H", "cut": "H I", "heal": "H I", "partition": "H I", "oneway": "H I",
		"bothways": "H I", "stopweb": "H", "startweb": "H", "stopserve": "H T", "startserve": "H T", "slowweb": "H D", "text": "H T", "run": "H T *", "spawn": "H T *", "killspawned": "H T", "write": "H T *", "config": "H *",
		"remove": "H T", "client": "H T *", "stopclient": "", "connect": "H T *", "wait": "D", "say": "*", "pingflood": "H A", "dhcp": "H N *"}
	checks = map[string]string{"holds": "H A", "free": "H A", "onlyholder": "A *", "answer": "T", "answers": "T *", "share": "T *", "rotation": "N T *", "gap": "T *", "lost": "N *",
		"noanswer": "", "table": "H *", "weight": "H A N", "frame": "T", "noframe": "T", "log": "H T", "syncdaemon": "H T", "alive": "H", "dead": "H", "status": "H T *",
		"connection": "T *", "file": "H T T", "leases": "N *", "clean": "H"}
)

// Error is a mistake in a scenario file.
type Error struct {
	File      string
	Line, Col int
	Msg       string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg) }

// word is a word of a line with its column.
type word struct {
	text string
	col  int
}

// split takes a line apart: words at blanks, quoted words with \" and \\.
func split(line string) (out []word, col int, err string) {
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ' ' || c == '\t':
			i++
		case c == '#':
			return out, 0, ""
		case c == '"':
			start := i
			var b strings.Builder
			for i++; i < len(line) && line[i] != '"'; i++ {
				if line[i] == '\\' && i+1 < len(line) && (line[i+1] == '"' || line[i+1] == '\\') {
					i++
				}
				b.WriteByte(line[i])
			}
			if i >= len(line) {
				return nil, start + 1, "a quotation mark without an end"
			}
			i++
			out = append(out, word{b.String(), start + 1})
		default:
			start := i
			for i < len(line) && line[i] != ' ' && line[i] != '\t' {
				i++
			}
			out = append(out, word{line[start:i], start + 1})
		}
	}
	return out, 0, ""
}

// parser reads a scenario file.
type parser struct {
	s     *Scenario
	file  string
	lines []string
	at    int
	step  *Step
}

// Parse reads a scenario. name is how it is called, file how errors call it.
func Parse(name, file string, text []byte) (*Scenario, error) {
	p := &parser{s: &Scenario{Name: name, Limit: 10 * time.Minute}, file: file, lines: strings.Split(string(text), "\n")}
	for p.at < len(p.lines) {
		line := p.lines[p.at]
		p.at++
		words, col, bad := split(line)
		if bad != "" {
			return nil, p.bad(col, "%s", bad)
		}
		if len(words) == 0 {
			continue
		}
		if err := p.line(line, words); err != nil {
			return nil, err
		}
	}
	if p.s.Title == "" || len(p.s.Steps) == 0 || len(p.s.Hosts) == 0 {
		return nil, p.bad(1, "a scenario needs a title, a host and a step")
	}
	return p.s, nil
}

func (p *parser) bad(col int, format string, a ...any) error {
	return &Error{p.file, p.at, max(col, 1), fmt.Sprintf(format, a...)}
}

func (p *parser) line(line string, w []word) error {
	head := w[0]
	if head.text == "step" {
		if len(w) < 2 {
			return p.bad(head.col, "step needs a title")
		}
		p.step = &Step{Title: rest(line, w), Line: p.at}
		p.s.Steps = append(p.s.Steps, p.step)
		return nil
	}
	if form, ok := settings[head.text]; ok && (p.step == nil || head.text == "question") {
		args, err := p.args(form, w)
		if err != nil {
			return err
		}
		return p.setting(line, w, args)
	}
	if p.step == nil {
		return p.bad(head.col, "%q is not known here%s", head.text, guess(head.text, settings))
	}
	a := Action{Line: p.at, Text: strings.TrimSpace(line), Verb: head.text}
	table, what := deeds, w
	if head.text == "expect" {
		a.Expect, a.Within = true, 10*time.Second
		if len(w) < 2 {
			return p.bad(head.col, "expect what?")
		}
		table, what = checks, w[1:]
		a.Verb = what[0].text
		for len(what) >= 3 && (what[len(what)-2].text == "within" || what[len(what)-2].text == "for") {
			d, err := time.ParseDuration(what[len(what)-1].text)
			if err != nil || d <= 0 {
				return p.bad(what[len(what)-1].col, "%q is not a time such as 3s or 500ms", what[len(what)-1].text)
			}
			if what[len(what)-2].text == "within" {
				a.Within = d
			} else {
				a.Hold = d
			}
			what = what[:len(what)-2]
		}
	}
	form, ok := table[what[0].text]
	if !ok {
		return p.bad(what[0].col, "%q is not known here%s", what[0].text, guess(what[0].text, table))
	}
	args, err := p.args(form, what)
	if err != nil {
		return err
	}
	a.Args = args
	if a.Verb == "say" {
		a.Args = []string{rest(line, w)}
	}
	if (a.Verb == "write" || a.Verb == "config") && !a.Expect {
		if a.Args, err = p.content(a.Args, what); err != nil {
			return err
		}
	}
	p.step.Actions = append(p.step.Actions, a)
	return nil
}

// rest is the line behind its first word, as it stands there.
func rest(line string, w []word) string {
	if len(w) < 2 {
		return ""
	}
	if len(w) == 2 {
		return w[1].text
	}
	return strings.TrimSpace(line[w[1].col-1:])
}

// args checks the words of a line against their form.
func (p *parser) args(form string, w []word) (out []string, err error) {
	kinds := strings.Fields(form)
	var host *Host
	for i, k := range kinds {
		if k == "*" {
			for _, x := range w[min(len(w), i+1):] {
				out = append(out, x.text)
			}
			return out, nil
		}
		if i+1 >= len(w) {
			return nil, p.bad(w[len(w)-1].col+len(w[len(w)-1].text), "%s wants %s", w[0].text, inWords(kinds))
		}
		x := w[i+1]
		switch k {
		case "H":
			if host = p.s.Host(x.text); host == nil {
				return nil, p.bad(x.col, "%q is not a host of this lab", x.text)
			}
		case "I":
			if !slices.ContainsFunc(host.Ports, func(q Port) bool { return q.Iface == x.text }) {
				return nil, p.bad(x.col, "%s has no interface %s", host.Name, x.text)
			}
		case "D":
			if d, err := time.ParseDuration(x.text); err != nil || d < 0 {
				return nil, p.bad(x.col, "%q is not a time such as 3s or 500ms", x.text)
			}
		case "N":
			if _, err := strconv.Atoi(x.text); err != nil {
				return nil, p.bad(x.col, "%q is not a number", x.text)
			}
		case "A":
			if _, err := netip.ParseAddr(x.text); err != nil {
				if _, err := netip.ParseAddrPort(x.text); err != nil {
					return nil, p.bad(x.col, "%q is not an address", x.text)
				}
			}
		}
		out = append(out, x.text)
	}
	if len(w) > len(kinds)+1 {
		return nil, p.bad(w[len(kinds)+1].col, "%q is one word too many: %s wants %s", w[len(kinds)+1].text, w[0].text, inWords(kinds))
	}
	return out, nil
}

func inWords(kinds []string) string {
	if len(kinds) == 0 {
		return "nothing"
	}
	names := map[string]string{"H": "a host", "I": "its interface", "D": "a time", "N": "a number", "A": "an address", "T": "a word", "*": "more"}
	var out []string
	for _, k := range kinds {
		out = append(out, names[k])
	}
	return strings.Join(out, ", ")
}

// heredoc reads the lines up to one that is >>.
func (p *parser) heredoc() (string, error) {
	begin := p.at
	for i := p.at; i < len(p.lines); i++ {
		if strings.TrimSpace(p.lines[i]) == ">>" {
			text := dedent(p.lines[begin:i])
			p.at = i + 1
			return text, nil
		}
	}
	return "", p.bad(1, "<< without >>")
}

func dedent(lines []string) string {
	cut := 1 << 10
	for _, l := range lines {
		if t := strings.TrimLeft(l, " \t"); t != "" {
			cut = min(cut, len(l)-len(t))
		}
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l[min(cut, len(l)):] + "\n")
	}
	return b.String()
}

// content reads what a file is to hold: a text between << and >>, or that of another host with words replaced.
func (p *parser) content(args []string, w []word) ([]string, error) {
	last := ""
	if len(args) > 0 {
		last = args[len(args)-1]
	}
	if last == "<<" {
		text, err := p.heredoc()
		if err != nil {
			return nil, err
		}
		return append(args[:len(args)-1], text), nil
	}
	if len(args) >= 3 && args[1] == "like" {
		c := p.s.Config(args[2])
		if c == nil {
			return nil, p.bad(w[3].col, "%s has no configuration yet", args[2])
		}
		if len(args)%2 == 0 {
			return nil, p.bad(w[len(w)-1].col, "words to replace come in pairs: old, new")
		}
		text := c.Text
		for i := 3; i+1 < len(args); i += 2 {
			if !strings.Contains(text, args[i]) {
				return nil, p.bad(w[i+1].col, "%q does not stand in the configuration of %s", args[i], args[2])
			}
			text = strings.ReplaceAll(text, args[i], args[i+1])
		}
		return []string{args[0], text}, nil
	}
	if w[0].text == "write" && len(args) == 3 {
		return []string{args[0], args[1], args[2] + "\n"}, nil
	}
	return nil, p.bad(w[len(w)-1].col, "write << and the text, or like HOST with words to replace")
}

func (p *parser) setting(line string, w []word, args []string) (err error) {
	s := p.s
	switch w[0].text {
	case "title":
		s.Title = rest(line, w)
	case "goal":
		s.Goal = append(s.Goal, rest(line, w))
	case "needs":
		s.Needs = append(s.Needs, args...)
	case "limit":
		s.Limit, _ = time.ParseDuration(args[0])
	case "bridge":
		s.Bridges = append(s.Bridges, args[0])
	case "host":
		if !slices.Contains(s.Bridges, args[2]) {
			return p.bad(w[3].col, "%q is not a bridge of this lab", args[2])
		}
		if len(args[0]) > 12 || len(args[1]) > 15 {
			return p.bad(w[1].col, "the name of a host has up to 12 letters, that of an interface 15")
		}
		for i, a := range args[3:] {
			if _, err := netip.ParsePrefix(a); err != nil {
				return p.bad(w[4+i].col, "%q is not an address with its length, such as 10.0.0.1/24", a)
			}
		}
		h := s.Host(args[0])
		if h == nil {
			h = &Host{Name: args[0]}
			s.Hosts = append(s.Hosts, h)
		}
		h.Ports = append(h.Ports, Port{args[1], args[2], args[3:]})
	case "route":
		h := s.Host(args[0])
		h.Routes = append(h.Routes, [2]string{args[1], args[2]})
	case "sysctl":
		h := s.Host(args[0])
		h.Sysctl = append(h.Sysctl, [2]string{args[1], args[2]})
	case "web":
		h := s.Host(args[0])
		h.Webs = append(h.Webs, Service{args[1], args[2]})
	case "echo":
		h := s.Host(args[0])
		h.Echos = append(h.Echos, Service{args[1], ""})
	case "serve":
		if !slices.Contains([]string{"smtp", "tls", "dns", "udp"}, args[1]) {
			return p.bad(w[2].col, "%q is not smtp, tls, dns or udp", args[1])
		}
		h := s.Host(args[0])
		h.Serves = append(h.Serves, Server{args[1], args[2], strings.Join(args[3:], " ")})
	case "config":
		at := p.at
		if args, err = p.content(args, w); err != nil {
			return err
		}
		s.Configs = append(s.Configs, &Config{Host: args[0], Path: confPath, Mode: 0o600, Text: args[1], Line: at})
	case "file":
		at, mode := p.at, fs.FileMode(0o644)
		if len(args) > 3 && args[2] == "exec" {
			mode, args = 0o755, append(args[:2:2], args[3:]...)
		}
		if args, err = p.content(args, w); err != nil {
			return err
		}
		s.Configs = append(s.Configs, &Config{Host: args[0], Path: args[1], Mode: mode, Text: args[2], Line: at})
	case "question":
		if args[1] != "<<" {
			return p.bad(w[2].col, "the answer begins with << at the end of this line")
		}
		text, err := p.heredoc()
		if err != nil {
			return err
		}
		s.Questions = append(s.Questions, Question{args[0], strings.TrimSpace(text)})
	}
	return nil
}

// guess names the nearest known word.
func guess(word string, table map[string]string) string {
	best, dist := "", 3
	for _, k := range slices.Sorted(keys(table)) {
		if d := distance(word, k); d < dist {
			best, dist = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, row[j], row[j+1])
			}
			diag, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
