package exercise

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"releve/internal/nearest"
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
	s       *Scenario
	file    string
	lines   []string
	at      int
	step    *Step
	clients int // so many lines begin a client
}

// Parse reads a scenario. name is how it is called, file how errors call it.
func Parse(name, file string, text []byte) (*Scenario, error) {
	p := &parser{s: &Scenario{Name: name, Limit: 10 * time.Minute}, file: file, lines: strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r == 0 || r == utf8.RuneError }); i >= 0 {
		p.at = 1 + bytes.Count(text[:i], []byte("\n"))
		return nil, p.bad(1, "this is no text")
	}
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
	var lack []string
	for what, has := range map[string]bool{"a title": p.s.Title != "", "a host": len(p.s.Hosts) > 0, "a step": len(p.s.Steps) > 0} {
		if !has {
			lack = append(lack, what)
		}
	}
	if slices.Sort(lack); len(lack) > 0 {
		return nil, p.bad(1, "the scenario lacks %s", strings.Join(lack, " and "))
	}
	return p.s, nil
}

// unknown refuses a word that is in no table.
func (p *parser) unknown(w word, table map[string]string) error {
	name, hint := w.text, ""
	if r := []rune(name); len(r) > 40 {
		name = string(r[:40]) + "..."
	}
	if near := nearest.Word(w.text, slices.Sorted(maps.Keys(table))); near != "" {
		hint = "; did you mean " + near + "?"
	}
	return p.bad(w.col, "%q is not known here%s", name, hint)
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
	if form, ok := settings()[head.text]; ok && (p.step == nil || head.text == "question") {
		args, err := p.args(form, w)
		if err != nil {
			return err
		}
		return p.setting(line, w, args)
	}
	if _, ok := deeds()[head.text]; p.step == nil && (ok || head.text == "expect") {
		return p.bad(head.col, "%s belongs to a step, and none has begun: write step TITLE before it", head.text)
	}
	if p.step == nil {
		return p.unknown(head, settings())
	}
	if _, ok := settings()[head.text]; ok && deeds()[head.text] == "" {
		return p.bad(head.col, "%s stands before the first step", head.text)
	}
	a := Action{Line: p.at, Text: strings.TrimSpace(line), Verb: head.text}
	table, what := deeds(), w
	if head.text == "expect" {
		a.Expect, a.Within = true, 10*time.Second
		if len(w) < 2 {
			return p.bad(head.col, "expect what?")
		}
		table, what = checks(), w[1:]
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
		return p.unknown(what[0], table)
	}
	args, err := p.args(form, what)
	if err != nil {
		return err
	}
	a.Args = args
	if err := p.sense(a, what); err != nil {
		return err
	}
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
		if slices.Contains(s.Bridges, args[0]) || len(args[0]) > 12 {
			return p.bad(w[1].col, "a bridge has a name of its own, of up to 12 letters")
		}
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
		if slices.ContainsFunc(h.Ports, func(q Port) bool { return q.Iface == args[1] }) {
			return p.bad(w[2].col, "%s has an interface %s already", h.Name, args[1])
		}
		h.Ports = append(h.Ports, Port{args[1], args[2], args[3:], p.at})
	case "route":
		h := s.Host(args[0])
		h.Routes = append(h.Routes, Pair{args[1], args[2], p.at})
	case "sysctl":
		h := s.Host(args[0])
		h.Sysctl = append(h.Sysctl, Pair{args[1], args[2], p.at})
	case "web":
		h := s.Host(args[0])
		h.Webs = append(h.Webs, Service{args[1], args[2], p.at})
	case "echo":
		h := s.Host(args[0])
		h.Echos = append(h.Echos, Service{args[1], "", p.at})
	case "serve":
		if !slices.Contains([]string{"smtp", "tls", "dns", "udp"}, args[1]) {
			return p.bad(w[2].col, "%q is not smtp, tls, dns or udp", args[1])
		}
		h := s.Host(args[0])
		h.Serves = append(h.Serves, Server{args[1], args[2], strings.Join(args[3:], " "), p.at})
	case "config":
		at, like := p.at, ""
		if len(args) > 2 && args[1] == "like" {
			like = args[2]
		}
		if args, err = p.content(args, w); err != nil {
			return err
		}
		s.Configs = append(s.Configs, &Config{Host: args[0], Path: confPath, Mode: 0o600, Text: args[1], Line: at, Like: like})
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
