package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/nft"
)

const lvsUsage = `Usage: releve lvs [OPTIONS]
Shows the virtual and real servers that are in place, as ipvsadm -Ln does: those of the kernel's IPVS or, where the kernel has
none, those that releve keeps in nftables.

`

const lvsMore = `
Exit status: 0; 1: wrong options; 2: the table could not be read.
`

// lvsPatience bounds the reading of a table.
const lvsPatience = 30 * time.Second

// lvsCommand is `releve lvs`.
var lvsCommand = subcommand{"lvs", "show the virtual and real servers in place, with connections and counters", runLVS}

// lvsOptions are the options of `releve lvs`.
type lvsOptions struct {
	list                          ipvs.ListOptions
	json, save, daemons, timeouts bool
	plane, netns                  string
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
		fmt.Fprintf(stderr, "releve lvs: %v\n\n%s%s", err, lvsUsage, flags.FlagUsages())
		return 1
	case help:
		fmt.Fprint(stdout, lvsUsage, flags.FlagUsages(), lvsMore)
		return 0
	}
	plane, err := openLVS(o.plane, o.netns)
	if err == nil {
		defer plane.Close()
		ctx, cancel := context.WithTimeout(context.Background(), lvsPatience)
		defer cancel()
		err = showLVS(ctx, stdout, plane, o)
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve lvs: %v\n", err)
		return 2
	}
	return 0
}

func openLVS(name, netns string) (ipvs.Plane, error) {
	if name == "nftables" {
		return nft.Open(netns)
	}
	k, err := kernel.Open(netns)
	if err == nil {
		return k, nil
	}
	if name == "auto" && errors.Is(err, kernel.ErrNoIPVS) {
		return nft.Open(netns)
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
	switch {
	case o.json:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Plane    string     `json:"plane"`
			Services ipvs.Table `json:"services"`
		}{p.Name(), t})
	case o.save:
		_, err = io.WriteString(w, t.Sorted().String())
		return err
	}
	return ipvs.List(w, t, o.list)
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
