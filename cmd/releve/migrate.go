package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"releve/migrate"
)

const migrateUsage = `Usage: releve migrate heartbeat [OPTIONS]
       releve migrate ipvsadm [OPTIONS] [RULES]
       releve migrate ldirectord [OPTIONS] [FILE]
Reads the configuration of Heartbeat, of ipvsadm or of ldirectord and writes keepalived.conf, with the line of the source in a
comment on every line. The report, on the standard error or in --out, says what has no equivalent and what to do instead.

`

const migrateMore = `
Exit status: 0 all is mapped, 1 something has no equivalent or the source is wrong, 2 the source cannot be used.
`

// migrateCommand is `releve migrate`.
var migrateCommand = subcommand{"migrate", "keepalived.conf from Heartbeat, ipvsadm or ldirectord", runMigrate}

// migration is one run of `releve migrate`.
type migration struct {
	out, report, scriptDir    string
	force                     bool
	dir, hacf, resources      string
	authkeys, auth            string
	nodes, addresses          []string
	gateway                   string
	timing                    bool
	defaults, check, instance string
}

func runMigrate(args []string, stdout, stderr io.Writer) int {
	var m migration
	flags := pflag.NewFlagSet("migrate", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	flags.StringVarP(&m.out, "out", "o", "", "write keepalived.conf, scripts and report.txt into this `folder`, or a folder in it for each node")
	flags.StringVar(&m.report, "report", "", "write the report into this `file`")
	flags.BoolVar(&m.force, "force", false, "replace files that are there")
	flags.StringSliceVarP(&m.nodes, "node", "n", nil, "heartbeat: write for this `node`, or all; default is this machine's name")
	flags.StringVar(&m.dir, "dir", "/etc/ha.d", "heartbeat: `folder` of ha.cf, haresources and authkeys")
	flags.StringVar(&m.hacf, "ha-cf", "", "heartbeat: `file`, if elsewhere")
	flags.StringVar(&m.resources, "haresources", "", "heartbeat: `file`, if elsewhere")
	flags.StringVar(&m.authkeys, "authkeys", "", "heartbeat: `file`, if elsewhere")
	flags.StringVar(&m.auth, "auth", "hmac", "heartbeat: `kind` of authentication: hmac, pass (readable on the wire) or none")
	flags.BoolVar(&m.timing, "vrrp-timing", false, "heartbeat: dead after three adverts, not after deadtime")
	flags.StringSliceVar(&m.addresses, "address", nil, "heartbeat: `NODE=ADDRESS`, where the nodes talk by unicast")
	flags.StringVar(&m.gateway, "gateway", "", "heartbeat: default gateway `address`, for IPsrcaddr")
	flags.StringVar(&m.scriptDir, "script-dir", "/etc/keepalived", "heartbeat: `folder` that the scripts will lie in")
	flags.StringVar(&m.defaults, "default", "", "ipvsadm: `file` as /etc/default/ipvsadm")
	flags.StringVar(&m.check, "check", "", "ipvsadm: give every server a checker of this `kind`: tcp")
	flags.StringVar(&m.instance, "instance", "", "ipvsadm: VRRP `instance` that the sync daemon follows")
	help := flags.BoolP("help", "h", false, "this text")
	err := flags.Parse(args)
	if err == nil && *help {
		fmt.Fprint(stdout, migrateUsage, flags.FlagUsages(), migrateMore)
		return 0
	}
	switch {
	case err != nil:
	case flags.NArg() == 0:
		err = errors.New("say what to migrate: heartbeat, ipvsadm or ldirectord")
	case flags.NArg() == 2 && flags.Arg(0) == "heartbeat":
		err = fmt.Errorf("%q is out of place: --dir names the folder of Heartbeat's files", flags.Arg(1))
	case flags.NArg() > 2:
		err = fmt.Errorf("%q is out of place: one file at a time", flags.Arg(2))
	}
	if err == nil && !slices.Contains([]string{"hmac", "pass", "none"}, m.auth) {
		err = fmt.Errorf("--auth %s: not hmac, pass or none", m.auth)
	}
	if err == nil && m.check != "" && m.check != "tcp" {
		err = fmt.Errorf("--check %s: not tcp", m.check)
	}
	if err != nil {
		return wrongUse(stderr, "migrate", err)
	}
	res, err := m.run(flags.Arg(0), flags.Arg(1))
	if err == nil {
		err = m.write(res, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "releve migrate: %v\n", err)
		return 2
	}
	if !res.Complete() {
		return 1
	}
	return 0
}

func (m *migration) run(what, file string) (*migrate.Result, error) {
	switch what {
	case "heartbeat":
		return m.heartbeat()
	case "ipvsadm":
		in, err := readInput(cmp.Or(file, "/etc/ipvsadm.rules"))
		if err != nil {
			return nil, err
		}
		var defaults *migrate.Input
		if m.defaults != "" {
			d, err := readInput(m.defaults)
			if err != nil {
				return nil, err
			}
			defaults = &d
		}
		return migrate.IPVSAdm(in, defaults, migrate.IPVSAdmOptions{Check: m.check, Instance: m.instance, Lookup: lookup})
	case "ldirectord":
		in, err := readInput(cmp.Or(file, "/etc/ha.d/ldirectord.cf"))
		if err != nil {
			return nil, err
		}
		return migrate.Ldirectord(in, migrate.LdirectordOptions{Lookup: lookup, Path: withoutLinks})
	}
	return nil, fmt.Errorf("%q is not one of heartbeat, ipvsadm and ldirectord", what)
}

func (m *migration) heartbeat() (*migrate.Result, error) {
	in := migrate.HeartbeatInput{ReadFile: readInput}
	var err error
	if in.HaCF, err = readInput(cmp.Or(m.hacf, filepath.Join(m.dir, "ha.cf"))); err != nil {
		return nil, err
	}
	if in.Resources, err = readInput(cmp.Or(m.resources, filepath.Join(m.dir, "haresources"))); err != nil {
		return nil, err
	}
	keys, err := readInput(cmp.Or(m.authkeys, filepath.Join(m.dir, "authkeys")))
	switch {
	case err == nil:
		in.AuthKeys = &keys
	case m.authkeys != "" || !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	host, _ := os.Hostname()
	o := migrate.HeartbeatOptions{Nodes: m.nodes, Auth: m.auth, StandardTiming: m.timing, ScriptDir: m.scriptDir, HereName: host, Here: here(m.dir),
		Addresses: map[string]netip.Addr{}, Lookup: lookup, Path: withoutLinks, Ping: withoutLinks("/bin/ping")}
	switch {
	case len(m.nodes) == 0:
		o.Nodes = []string{host}
	case slices.Contains(m.nodes, "all"):
		o.Nodes = nil
	}
	for _, a := range m.addresses {
		node, text, _ := strings.Cut(a, "=")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--address %s: write NODE=ADDRESS", a)
		}
		o.Addresses[node] = addr
	}
	if m.gateway != "" {
		if o.Gateway, err = netip.ParseAddr(m.gateway); err != nil {
			return nil, fmt.Errorf("--gateway %s: not an address", m.gateway)
		}
	}
	return migrate.Heartbeat(in, o)
}

// withoutLinks is the path without symbolic links, or as it is if the file is not here.
func withoutLinks(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	if rest, ok := strings.CutPrefix(path, "/bin/"); ok {
		return "/usr/bin/" + rest
	}
	return path
}

// maxInput bounds a file of the source.
const maxInput = 16 << 20

// readInput reads a file of the source; - is the standard input.
func readInput(path string) (migrate.Input, error) {
	f := os.Stdin
	name := "standard input"
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return migrate.Input{}, err
		}
		defer f.Close()
		name = filepath.Base(path)
	}
	info, err := f.Stat()
	if err != nil {
		return migrate.Input{}, err
	}
	if info.IsDir() {
		return migrate.Input{}, fmt.Errorf("%s: a folder", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("%s: longer than %d MiB", path, maxInput>>20)
	}
	return migrate.Input{Name: name, Path: path, Text: text, Mode: info.Mode()}, err
}

// lookup resolves a name, for a few seconds at most.
func lookup(host string, v6 bool) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil || len(all) == 0 {
		return netip.Addr{}, cmp.Or(err, fmt.Errorf("%s has no address", host))
	}
	return all[0].Unmap(), nil
}

// here is what this machine knows of itself, should it be a node.
func here(dir string) migrate.Locale {
	type network struct {
		nic    string
		prefix netip.Prefix
	}
	var all []network
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, network{i.Name, p})
			}
		}
	}
	return migrate.Locale{
		Connected: func(a netip.Addr) (string, netip.Prefix, bool) {
			for _, n := range all {
				if n.prefix.Contains(a) && !n.prefix.IsSingleIP() {
					return n.nic, n.prefix, true
				}
			}
			return "", netip.Prefix{}, false
		},
		Own: func(a netip.Addr) bool {
			return slices.ContainsFunc(all, func(n network) bool { return n.prefix.Addr() == a })
		},
		Service: func(name string) bool {
			for _, p := range []string{filepath.Join(dir, "resource.d", name), "/etc/ha.d/resource.d/" + name, "/etc/init.d/" + name, "/etc/systemd/system/" + name + ".service",
				"/lib/systemd/system/" + name + ".service", "/usr/lib/systemd/system/" + name + ".service"} {
				if _, err := os.Stat(p); err == nil {
					return true
				}
			}
			return false
		},
		Gateway: defaultGateway(),
	}
}

// defaultGateway reads the default route of IPv4; the zero value if there is none.
func defaultGateway() netip.Addr {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var iface string
		var dst, gw uint32
		if n, _ := fmt.Sscanf(s.Text(), "%s %x %x", &iface, &dst, &gw); n == 3 && dst == 0 && gw != 0 {
			return netip.AddrFrom4([4]byte{byte(gw), byte(gw >> 8), byte(gw >> 16), byte(gw >> 24)})
		}
	}
	return netip.Addr{}
}

// write puts the result where it was asked for.
func (m *migration) write(res *migrate.Result, stdout, stderr io.Writer) error {
	if m.out == "" {
		files := 0
		secret := false
		for _, n := range res.Nodes {
			files += len(n.Files)
			secret = secret || slices.ContainsFunc(n.Files, func(f migrate.File) bool { return f.Secret })
		}
		switch {
		case files > 1:
			return errors.New("the result is several files: name a folder for them with --out")
		case secret:
			return errors.New("the result holds a secret, which does not belong on a screen: name a folder with --out, or take --auth=none")
		}
		if _, err := stdout.Write(res.Nodes[0].Files[0].Text); err != nil {
			return err
		}
		return m.writeReport(res, stderr)
	}
	for _, n := range res.Nodes {
		dir := m.out
		if len(res.Nodes) > 1 {
			dir = filepath.Join(dir, filepath.Base(n.Name))
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, f := range n.Files {
			if err := m.writeFile(filepath.Join(dir, f.Name), f.Text, f.Mode); err != nil {
				return err
			}
		}
	}
	if m.report == "" {
		m.report = filepath.Join(m.out, "report.txt")
	}
	if err := m.writeReport(res, stderr); err != nil {
		return err
	}
	text := strings.TrimSpace(res.Report())
	fmt.Fprintf(stderr, "%s\nThe report is in %s.\n", text[strings.LastIndexByte(text, '\n')+1:], m.report)
	return nil
}

func (m *migration) writeReport(res *migrate.Result, stderr io.Writer) error {
	if m.report == "" {
		_, err := io.WriteString(stderr, res.Report())
		return err
	}
	return m.writeFile(m.report, []byte(res.Report()), 0o644)
}

// writeFile makes a file, and replaces one only if that was asked for.
func (m *migration) writeFile(path string, text []byte, mode os.FileMode) error {
	if _, err := os.Lstat(path); err == nil && !m.force {
		return fmt.Errorf("%s is there already: name another folder, or say --force", path)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".releve-migrate-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
