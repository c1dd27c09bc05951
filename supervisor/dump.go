package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"releve/confparse"
	"releve/status"
	"releve/vrrp"
)

// dumpPatience bounds the wait for a snapshot.
const dumpPatience = 5 * time.Second

// serversPatience bounds the wait of the VRRP part for the checker part's half of the JSON.
const serversPatience = 500 * time.Millisecond

// dumpNames gives the files that a configuration wants its dumps in.
func dumpNames(o *Options, g *confparse.Global) status.Names {
	n := status.NamesOptions{State: g.StateDumpFile, Stats: g.StatsDumpFile, JSON: g.JSONDumpFile}
	if g.DataUseInstance {
		n.Tag = namespaceOf(o, g)
		if g.Instance != "" && n.Tag != "" {
			n.Tag += "_"
		}
		n.Tag += g.Instance
	}
	return status.FileNames(n)
}

// namespaceOf is the network namespace that the daemon runs in, empty for the one it was started in.
func namespaceOf(o *Options, g *confparse.Global) string {
	if o.Namespace != "" {
		return o.Namespace
	}
	return g.NetNamespace
}

// dumper writes the files that signals ask for, one after the other, in a goroutine of its own: a slow disk must not hold up
// whoever answers signals.
type dumper struct {
	queue chan os.Signal
	done  chan struct{}
}

func newDumper(write func(os.Signal)) *dumper {
	d := &dumper{queue: make(chan os.Signal, 16), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		for s := range d.queue {
			write(s)
		}
	}()
	return d
}

// ask queues a dump; with 16 waiting the one asked for is among them or soon replaced.
func (d *dumper) ask(s os.Signal) {
	select {
	case d.queue <- s:
	default:
	}
}

// close waits for the dump that is being written.
func (d *dumper) close() {
	close(d.queue)
	<-d.done
}

func report(log *slog.Logger, err error) {
	if err != nil {
		log.Error(err.Error())
	}
}

func (p *vrrpPart) dump(s os.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), dumpPatience)
	defer cancel()
	snap, err := p.engine.Snapshot(ctx)
	if err != nil {
		return // it is stopping
	}
	cfg := p.cfg.Load()
	g := &cfg.Global
	names, log, pid := dumpNames(p.env.o, g), p.env.log, os.Getpid()
	switch s {
	case syscall.SIGUSR1, toLog:
		report(log, p.engine.Interfaces(ctx, snap))
		writeData(log, s, "VRRP", names.Main, func(w *bufio.Writer) { status.Data(w, cfg, snap) })
	case syscall.SIGUSR2, sigStatsClear:
		log.Info(fmt.Sprintf("Printing VRRP stats for process(%d) on signal", pid))
		report(log, status.Write(names.Stats, 0o666, func(w *bufio.Writer) { status.Stats(w, snap) }))
		if s == sigStatsClear {
			report(log, p.engine.ClearStats(ctx))
		}
	case sigJSON, sigJSONMusl:
		log.Debug(fmt.Sprintf("Printing VRRP as JSON for process(%d) on signal", pid))
		var servers []byte
		if g.JSONVersion >= 2 && wants(p.env.o, p.cfg.Load(), partChecker) {
			servers = p.env.servers(ctx)
		}
		report(log, writeJSON(names.JSON, g, snap, servers))
	}
}

func (p *checkerPart) dump(s os.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), dumpPatience)
	defer cancel()
	cfg := p.cfg.Load()
	names, log, pid := dumpNames(p.env.o, &cfg.Global), p.env.log, os.Getpid()
	switch s {
	case syscall.SIGUSR1, toLog:
		snap, err := p.snapshot(ctx)
		if err != nil {
			return
		}
		writeData(log, s, "checker", names.Check, func(w *bufio.Writer) { status.CheckData(w, cfg, snap) })
	case sigJSON, sigJSONMusl:
		if wants(p.env.o, cfg, partVRRP) {
			return // the file is the VRRP part's
		}
		snap, err := p.snapshot(ctx)
		if err != nil {
			return
		}
		log.Debug(fmt.Sprintf("Printing checkers as JSON for process(%d) on signal", pid))
		report(log, writeJSON(names.JSON, &cfg.Global, nil, status.Servers(snap)))
	}
}

func (p *bfdPart) dump(s os.Signal) {
	if s != syscall.SIGUSR1 && s != toLog {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dumpPatience)
	defer cancel()
	sessions, _, err := p.engine.Snapshot(ctx)
	if err != nil {
		return
	}
	cfg := p.cfg.Load()
	writeData(p.env.log, s, "BFD", dumpNames(p.env.o, &cfg.Global).BFD, func(w *bufio.Writer) { status.BFDData(w, cfg, sessions) })
}

// servers is the list of virtual servers for the VRRP part's JSON.
func (p *checkerPart) servers() []byte {
	ctx, cancel := context.WithTimeout(context.Background(), serversPatience)
	defer cancel()
	snap, err := p.snapshot(ctx)
	if err != nil {
		return nil
	}
	return status.Servers(snap)
}

// writeJSON writes keepalived.json, which nobody else may read whatever the umask says.
func writeJSON(path string, g *confparse.Global, v *vrrp.Snapshot, servers []byte) error {
	return status.Write(path, 0o600, func(w *bufio.Writer) { status.JSON(w, g.JSONVersion, v, servers) })
}

// dumpParent writes keepalived_parent.data.
func (p *parent) dumpParent(s os.Signal) {
	cur := p.cfg.Load()
	writeData(p.log, s, "parent", dumpNames(p.o, &cur.Global).Parent, func(w *bufio.Writer) { status.Global(w, cur) })
}

// toLog asks a dumper to write its data into the log (-d) instead of a file.
const toLog = syscall.Signal(0)

// writeData puts data where s wants it.
func writeData(log *slog.Logger, s os.Signal, what, path string, fill func(w *bufio.Writer)) {
	if s != toLog {
		log.Info(fmt.Sprintf("Printing %s data for process(%d) on signal", what, os.Getpid()))
		report(log, status.Write(path, 0o666, fill))
		return
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	fill(w)
	w.Flush()
	for line := range strings.Lines(b.String()) {
		log.Info(strings.TrimSuffix(line, "\n"))
	}
}
