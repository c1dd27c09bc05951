package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"releve/capture"
	"releve/confparse"
	"releve/healthcheck"
)

const captureUsage = `Usage: releve capture -i INTERFACE [-i INTERFACE...] [OPTIONS]
       releve capture --lab NAME [OPTIONS]
       releve capture -r FILE [OPTIONS]
Reads frames from interfaces, or from a pcap or pcapng file, and says of each what it is, why it was sent and what it makes the
receiver do: VRRP, ARP and neighbour discovery, IGMP and MLD, the IPVS sync daemon, BFD, health checks, DHCP and its failover.

`

const captureMore = `
Exit status: 0; 1 if the capture could not be read to its end or a file not be written; 2 for wrong options.
`

// captureCommand is `releve capture`.
var captureCommand = subcommand{"capture", "frames of the wire with a sentence on each", runCapture}

// capturing are the options of a capture.
type capturing struct {
	ifaces, names           []string
	read, write, html, json string
	config, title           string
	count                   int
	duration                time.Duration
	all, brief, quiet       bool
	follow                  bool
	lab                     string
	places                  []capture.Place
	colour                  string
}

func runCapture(args []string, stdout, stderr io.Writer) int {
	var c capturing
	flags := pflag.NewFlagSet("capture", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	flags.StringSliceVarP(&c.ifaces, "interface", "i", nil, "listen on this `interface`, or any; may be repeated")
	flags.StringVar(&c.lab, "lab", "", "listen on all interfaces of all hosts of this running `lab`")
	flags.StringVarP(&c.read, "read", "r", "", "read this pcap or pcapng `file`; - is the standard input")
	flags.StringVarP(&c.write, "write", "w", "", "write pcapng into this `file`, the sentence as comment of each packet")
	flags.StringVar(&c.html, "html", "", "write a page with a sequence diagram into this `file`")
	flags.StringVar(&c.json, "json", "", "write JSON lines into this `file`; - is the standard output, instead of the timeline")
	flags.StringVar(&c.title, "title", "", "`title` of the page")
	flags.StringVarP(&c.config, "config", "f", "", "keepalived.conf: names of instances, virtual servers, health checks and their digests are taken from this `file`")
	flags.StringSliceVar(&c.names, "name", nil, "call an address so: `ADDRESS=HOST`, IP or hardware address; may be repeated")
	flags.IntVarP(&c.count, "count", "n", 0, "end after this `number` of frames")
	flags.DurationVarP(&c.duration, "duration", "d", 0, "end after this `time`: 30s, 5m")
	flags.BoolVar(&c.all, "all", false, "on interfaces: all frames, not only those of the protocols that matter")
	flags.BoolVarP(&c.brief, "brief", "b", false, "leave frames out that say that nothing changed")
	flags.BoolVar(&c.follow, "follow", false, "with -r: wait for what is added to the file, until Ctrl-C")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "no timeline")
	flags.StringVar(&c.colour, "color", "auto", "`when` to use colour: auto, always or never")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	if err == nil && *help {
		fmt.Fprint(stdout, captureUsage, flags.FlagUsages(), captureMore)
		return 0
	}
	switch {
	case err != nil:
	case len(c.ifaces) > 0 && c.read != "" || c.lab != "" && (c.read != "" || len(c.ifaces) > 0) || len(c.ifaces) == 0 && c.read == "" && c.lab == "":
		err = errors.New("name interfaces with -i, or a file with -r, or a lab with --lab")
	case flags.NArg() > 0:
		err = fmt.Errorf("%q is out of place", flags.Arg(0))
	case c.colour != "auto" && c.colour != "always" && c.colour != "never":
		err = fmt.Errorf("--color %s: not auto, always or never", c.colour)
	case c.count < 0 || c.duration < 0:
		err = errors.New("--count and --duration are above 0")
	}
	var know capture.Knowledge
	if err == nil {
		know, err = c.knowledge()
	}
	if err != nil {
		return wrongUse(stderr, "capture", err)
	}
	if err := c.run(know, stdout, stderr); err != nil {
		if exe, eerr := os.Executable(); eerr == nil && errors.Is(err, capture.ErrPrivilege) {
			err = fmt.Errorf("%w (sudo setcap cap_net_raw+ep %s)", err, exe)
		}
		fmt.Fprintf(stderr, "releve capture: %v\n", err)
		return 1
	}
	return 0
}

func (c *capturing) run(know capture.Knowledge, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if c.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	src, err := c.source(ctx, know, stderr)
	if err != nil {
		return err
	}
	sinks, err := c.sinks(stdout)
	if err != nil {
		return err
	}
	n, err := capture.Run(src, capture.Options{Knowledge: know, Count: c.count}, sinks...)
	if l, ok := src.(*capture.Live); ok {
		l.Close()
		for _, e := range l.Lost() {
			fmt.Fprintf(stderr, "releve capture: %v\n", e)
		}
		missed := ""
		if l.Missed() > 0 {
			missed = fmt.Sprintf("; %d more came too fast and were missed", l.Missed())
		}
		fmt.Fprintf(stderr, "releve capture: %d frames%s\n", n, missed)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s ends in the middle of a frame; what came before was read", c.read)
	}
	return err
}

func (c *capturing) source(ctx context.Context, know capture.Knowledge, stderr io.Writer) (capture.Source, error) {
	if c.read != "" {
		in := os.Stdin
		if c.read != "-" {
			f, err := os.Open(c.read)
			if err != nil {
				return nil, err
			}
			in = f // open until the program ends
		}
		var from io.Reader = in
		if c.follow {
			from = follower{ctx, in}
		}
		r, err := capture.NewReader(from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.read, err)
		}
		return r, nil
	}
	places := c.places
	for _, i := range c.ifaces {
		places = append(places, capture.Place{Iface: i, Groups: true})
		if ifi, err := net.InterfaceByName(i); err == nil && ifi.Flags&net.FlagUp == 0 {
			fmt.Fprintf(stderr, "releve capture: %s is down: its frames come when it is up\n", i)
		}
	}
	var filter []bpf.RawInstruction
	if !c.all && c.lab == "" {
		ports := []uint16{know.SyncPort}
		for _, v := range know.Virtuals {
			ports = append(ports, v.Port())
		}
		for _, k := range know.Checks {
			ports = append(ports, k.Target.Port())
		}
		var err error
		if filter, err = capture.Relevant(ports); err != nil {
			return nil, err
		}
	}
	return capture.Listen(ctx, places, filter)
}

// follower reads a file that grows.
type follower struct {
	ctx context.Context
	f   *os.File
}

func (f follower) Read(b []byte) (int, error) {
	for {
		n, err := f.f.Read(b)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *capturing) sinks(stdout io.Writer) ([]capture.Sink, error) {
	var out []capture.Sink
	source, _ := os.Stat(c.read) // nil for none, and for the standard input
	create := func(name string) (*os.File, error) {
		if info, err := os.Stat(name); err == nil && source != nil && os.SameFile(info, source) {
			return nil, fmt.Errorf("%s is what is being read", name)
		}
		return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // frames may hold what is not for everybody
	}
	if !c.quiet && c.json != "-" {
		out = append(out, &capture.Timeline{W: stdout, Brief: c.brief, Colour: c.colour == "always" || c.colour == "auto" && terminal(stdout)})
	}
	switch c.json {
	case "":
	case "-":
		out = append(out, capture.JSONLines{W: stdout})
	default:
		f, err := create(c.json)
		if err != nil {
			return nil, err
		}
		w := bufio.NewWriter(f)
		out = append(out, jsonFile{capture.JSONLines{W: w}, w, f})
	}
	if c.write != "" {
		f, err := create(c.write)
		if err != nil {
			return nil, err
		}
		out = append(out, capture.File{W: capture.NewWriter(f), Done: f.Close})
	}
	if c.html != "" {
		f, err := create(c.html)
		if err != nil {
			return nil, err
		}
		out = append(out, &capture.Page{W: f, Title: c.title, Done: f.Close})
	}
	return out, nil
}

// jsonFile flushes its file when nothing happens, and closes it at the end.
type jsonFile struct {
	capture.JSONLines
	w *bufio.Writer
	f *os.File
}

func (j jsonFile) Flush() error { return j.w.Flush() }

func (j jsonFile) Close(last []capture.Event) error {
	return errors.Join(j.JSONLines.Close(last), j.w.Flush(), j.f.Close())
}

// terminal tells whether a writer is a terminal that wants colour.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// knowledge is what the options and the configuration tell about the frames.
func (c *capturing) knowledge() (capture.Knowledge, error) {
	k := capture.Knowledge{Hosts: map[string]string{}}
	host, _ := os.Hostname()
	if slices.Contains(c.ifaces, "any") {
		all, err := net.Interfaces()
		if err != nil {
			return k, err
		}
		c.ifaces = nil
		for _, i := range all {
			if i.Flags&net.FlagUp != 0 {
				c.ifaces = append(c.ifaces, i.Name)
			}
		}
	}
	for _, name := range c.ifaces {
		if len(c.names) > 0 {
			break // who names hosts names this one too
		}
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			continue // said when it is opened
		}
		if len(ifi.HardwareAddr) > 0 {
			k.Hosts[ifi.HardwareAddr.String()] = host
		}
	}
	if c.lab != "" {
		places, err := labPlaces(c.lab, k.Hosts)
		if err != nil {
			return k, err
		}
		c.places = places
	}
	for _, n := range c.names {
		addr, name, ok := strings.Cut(n, "=")
		_, ipErr := netip.ParseAddr(addr)
		_, macErr := net.ParseMAC(addr)
		if !ok || name == "" || ipErr != nil && macErr != nil {
			return k, fmt.Errorf("--name %s: write ADDRESS=HOST", n)
		}
		k.Hosts[addr] = name
	}
	if c.config == "" {
		return k, nil
	}
	src, diags := confparse.Load(c.config, confparse.LoadOptions{Streams: true})
	for _, d := range diags {
		if d.FatalAtStart && d.Pos == (confparse.Pos{}) { // there is no such file, or it cannot be read
			return k, errors.New(d.Message)
		}
	}
	conf, _ := confparse.Check(src, confparse.CheckOptions{NoHost: true, Test: true})
	addKnowledge(&k, conf, "")
	return k, nil
}

// maxVirtuals bounds the addresses that ranges stand for.
const maxVirtuals = 1 << 14

// addKnowledge takes from a configuration what explains frames; host is whose it is, empty if that is not known.
func addKnowledge(k *capture.Knowledge, conf *confparse.Config, host string) {
	switch {
	case conf.LVS.SyncDaemon != nil:
		k.SyncPort = conf.LVS.SyncDaemon.Port
	case conf.VRRP.SyncDaemon != nil:
		k.SyncPort = conf.VRRP.SyncDaemon.Port
	}
	for _, i := range conf.VRRP.Instances {
		k.Instances = append(k.Instances, capture.Instance{VRID: i.VRID, V6: i.IPv6, Name: i.Name, Host: host, Priority: i.Priority, DownAdverts: i.DownTimerAdverts})
	}
	for _, v := range conf.LVS.VirtualServers {
		if v.Group != nil {
			for _, m := range v.Group.Members {
				for a := m.First; a.IsValid() && !m.Last.Less(a) && len(k.Virtuals) < maxVirtuals; a = a.Next() {
					k.Virtuals = append(k.Virtuals, netip.AddrPortFrom(a, m.Port))
				}
			}
		} else if v.Key.Addr.IsValid() {
			k.Virtuals = append(k.Virtuals, netip.AddrPortFrom(v.Key.Addr, v.Key.Port))
		}
		for _, rs := range v.RealServers {
			for _, ch := range rs.Checkers {
				x := capture.Check{Target: ch.Addr, Kind: ch.Type.String()}
				if ch.HTTP != nil && len(ch.HTTP.URLs) > 0 {
					u := ch.HTTP.URLs[0]
					x.Path = u.Path
					if len(ch.HTTP.URLs) == 1 && ch.Type == healthcheck.TypeHTTP {
						x.Digest = u.Digest
					}
				}
				if x.Target.Addr().IsValid() {
					k.Checks = append(k.Checks, x)
				}
			}
		}
	}
}
