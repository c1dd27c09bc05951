package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"releve/director"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/nft"
	"releve/supervisor"
)

const lvsUsage = `Usage: releve lvs [OPTIONS]
Shows the virtual and real servers that are in place, as ipvsadm -Ln does: those of the kernel's IPVS or, where the kernel has
none, those that releve keeps in nftables. Where the daemon answers, its knowledge is joined in: whether the quorum is up, which
servers are down, since when and by which check, and what should be in the table but is not.

`

const lvsMore = `
Exit status: 0; 1: the table could not be read; 2: wrong options.
`

// lvsPatience bounds the reading of a table.
const lvsPatience = 30 * time.Second

// lvsCommand is `releve lvs`.
var lvsCommand = subcommand{"lvs", "show the virtual and real servers in place, with connections and counters", runLVS}

// lvsOptions are the options of `releve lvs`.
type lvsOptions struct {
	list                          ipvs.ListOptions
	json, save, daemons, timeouts bool
	plane, netns, pid             string
	bare                          bool
	health                        *director.Health // nil: the table alone
}

func parseLVS(args []string) (o lvsOptions, flags *pflag.FlagSet, help bool, err error) {
	flags = pflag.NewFlagSet("lvs", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	views := map[string]ipvs.View{"stats": ipvs.ViewStats, "rate": ipvs.ViewRate, "thresholds": ipvs.ViewThresholds,
		"persistent-conn": ipvs.ViewPersistent, "tun-info": ipvs.ViewTunnels}
	flags.Bool("stats", false, "connections, packets and bytes since the start")
	flags.Bool("rate", false, "the same per second")
	flags.Bool("thresholds", false, "connection thresholds")
	flags.Bool("persistent-conn", false, "persistent connections")
	flags.Bool("tun-info", false, "encapsulation of tunnels")
	flags.BoolVar(&o.list.Exact, "exact", false, "counters in full, not in thousands (K), millions (M) ...")
	flags.BoolVar(&o.json, "json", false, "everything, as JSON")
	flags.BoolVarP(&o.save, "save", "S", false, "as the arguments of ipvsadm that would make it")
	flags.BoolVar(&o.daemons, "daemon", false, "the connection synchronisation daemons instead")
	flags.BoolVar(&o.timeouts, "timeout", false, "the connection timeouts instead")
	flags.StringVar(&o.plane, "plane", "auto", "ipvs, nftables, or auto: ipvs where the kernel has it")
	flags.StringVar(&o.netns, "netns", "", "network namespace, by name or path")
	flags.StringVarP(&o.pid, "pid", "p", "", "pid file of the daemon to ask (default: where a daemon is found)")
	flags.BoolVar(&o.bare, "bare", false, "the table alone, as ipvsadm shows it")
	flags.BoolVarP(&help, "help", "h", false, "this text")
	if err = flags.Parse(args); err != nil || help {
		return o, flags, help, err
	}
	shown := 0
	for name, view := range views {
		if set, _ := flags.GetBool(name); set {
			o.list.View = view
			shown++
		}
	}
	for _, set := range []bool{o.json, o.save, o.daemons, o.timeouts} {
		if set {
			shown++
		}
	}
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case shown > 1:
		err = errors.New("more than one view asked for")
	case o.plane != "auto" && o.plane != "ipvs" && o.plane != "nftables":
		err = fmt.Errorf("--plane %q: want ipvs, nftables or auto", o.plane)
	}
	if o.netns != "" && !strings.ContainsRune(o.netns, '/') {
		o.netns = filepath.Join("/run/netns", o.netns)
	}
	return o, flags, help, err
}

func runLVS(args []string, stdout, stderr io.Writer) int {
	o, flags, help, err := parseLVS(args)
	switch {
	case err != nil:
		return wrongUse(stderr, "lvs", err)
	case help:
		fmt.Fprint(stdout, lvsUsage, flags.FlagUsages(), lvsMore)
		return 0
	}
	o.ask(stderr)
	plane, err := openLVS(o.plane, o.netns)
	if err == nil {
		defer plane.Close()
		ctx, cancel := context.WithTimeout(context.Background(), lvsPatience)
		defer cancel()
		err = showLVS(ctx, stdout, plane, o)
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve lvs: %v\n", err)
		return 1
	}
	return 0
}

// ask gets the daemon's word where it belongs to what is to be shown, and shows the data plane that the daemon drives.
func (o *lvsOptions) ask(stderr io.Writer) {
	if o.bare || o.save || o.daemons || o.timeouts || o.netns != "" && o.pid == "" {
		return
	}
	pid := pidFileOr(o.pid)
	if o.pid == "" && !exists(supervisor.SocketPath(pid)) {
		return // no daemon runs: the table is all there is
	}
	h, err := supervisor.AskHealth(pid)
	if err != nil {
		fmt.Fprintf(stderr, "releve lvs: the table alone: %v\n", err)
		return
	}
	o.health = h
	if o.plane == "auto" {
		o.plane = h.Plane
	}
	if o.netns == "" {
		o.netns = h.NetNamespace
	}
	if o.netns == "" {
		path := fmt.Sprintf("/proc/%d/ns/net", h.Pid)
		theirs, err := os.Readlink(path)
		if mine, mineErr := os.Readlink("/proc/self/ns/net"); err == nil && mineErr == nil && mine != theirs {
			o.netns = path
		}
	}
}

func openLVS(name, netns string) (ipvs.Plane, error) {
	nftables := func() (ipvs.Plane, error) {
		p, err := nft.Open(netns)
		if err != nil {
			return nil, err
		}
		p.ReadOnly()
		return p, nil
	}
	if name == "nftables" {
		return nftables()
	}
	k, err := kernel.Open(netns)
	if err == nil {
		return k, nil
	}
	if name == "auto" && errors.Is(err, kernel.ErrNoIPVS) {
		return nftables()
	}
	return nil, err
}

func showLVS(ctx context.Context, w io.Writer, p ipvs.Plane, o lvsOptions) error {
	switch {
	case o.daemons:
		return showDaemons(ctx, w, p)
	case o.timeouts:
		t, err := p.SetTimeouts(ctx, ipvs.Timeouts{})
		if err == nil {
			_, err = fmt.Fprintf(w, "Timeout (tcp tcpfin udp): %.0f %.0f %.0f\n", t.TCP.Seconds(), t.TCPFin.Seconds(), t.UDP.Seconds())
		}
		return err
	}
	t, err := p.Read(ctx)
	if err != nil {
		return err
	}
	var j *joined
	if o.health != nil {
		j = join(o.health)
		o.list.Note, o.list.More = j.note, j.more
	}
	switch {
	case o.json:
		out := struct {
			Plane    string         `json:"plane"`
			Services ipvs.Annotated `json:"services"`
			Health   *jsonHealth    `json:"health,omitempty"`
		}{Plane: p.Name(), Services: ipvs.Annotated{Table: t}}
		if j != nil {
			out.Services.Health, out.Health = j.annotate, j.json(t)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	case o.save:
		_, err = io.WriteString(w, t.Sorted().String())
		return err
	}
	if err := ipvs.List(w, t, o.list); err != nil || j == nil {
		return err
	}
	j.tail(w, t)
	return nil
}

func showDaemons(ctx context.Context, w io.Writer, p ipvs.Plane) error {
	s, ok := p.(ipvs.Syncer)
	if !ok {
		return fmt.Errorf("%s has no connection synchronisation", p.Name())
	}
	running, err := s.SyncState(ctx)
	if err != nil {
		return err
	}
	for _, d := range running {
		if _, err := fmt.Fprintln(w, d); err != nil {
			return err
		}
	}
	return nil
}
