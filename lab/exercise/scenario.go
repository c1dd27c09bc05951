// Package exercise runs the exercises of the course: a scenario is a small text file with a topology, configurations, steps, and
// what must be seen after each. The exercises that come with the program are files of the same form; docs/labs describes it.
package exercise

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
	"time"
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
	Routes []Pair
	Sysctl []Pair
	Webs   []Service
	Echos  []Service
	// Serves are the other servers.
	Serves []Server
}

// Pair is a route (destination, gateway) or a kernel setting (name, value), and the line where it stands.
type Pair struct {
	A, B string
	Line int
}

// Server is a server of a host that speaks smtp, tls, dns or udp.
type Server struct {
	Kind, Addr, Text string
	Line             int
}

// Port is an interface of a host.
type Port struct {
	Iface, Bridge string
	Addrs         []string
	Line          int
}

// Service is a server of a host and what it answers.
type Service struct {
	Addr, Text string
	Line       int
}

// Config is a file that is written on a host before the first step; keepalived.conf unless a path is given.
type Config struct {
	Host, Path string
	Mode       fs.FileMode
	Text       string
	// Line is where it begins in the scenario; Like is the host whose configuration it was made of, if it was.
	Line int
	Like string
}

// Daemon tells whether it is the keepalived.conf of its host.
func (c *Config) Daemon() bool { return c.Path == confPath }

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
