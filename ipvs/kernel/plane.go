// Package kernel drives the kernel's IPVS over generic netlink, in the present network namespace or another one. The connection
// timeouts are github.com/moby/ipvs's business; beside it stands what that lacks: writes in batches, the sync daemon, tunnels,
// destinations of another family than their service, 64-bit counters, and a module that comes and goes.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	moby "github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// ErrNoIPVS says that the kernel has no IPVS and none could be loaded.
var ErrNoIPVS = errors.New("this kernel has no IPVS (module ip_vs)")

// Plane is the IPVS table of one network namespace.
type Plane struct {
	path   string
	sock   *socket
	family uint16
	handle *moby.Handle // opened by the first call that needs it
	// preloaded has the schedulers whose module has been asked for.
	preloaded map[string]bool
}

var (
	_ ipvs.Plane     = (*Plane)(nil)
	_ ipvs.Syncer    = (*Plane)(nil)
	_ ipvs.Piecewise = (*Plane)(nil)
)

// Open connects to the IPVS of the network namespace at path (/run/netns/NAME), or of the present one when path is empty. The
// module is loaded by asking the kernel for it, then by modprobe; the error is ErrNoIPVS when neither helps.
func Open(path string) (*Plane, error) {
	s, err := dial(path)
	if err != nil {
		return nil, err
	}
	p := &Plane{path: path, sock: s}
	if err := p.resolve(context.Background()); err != nil {
		s.close()
		return nil, err
	}
	return p, nil
}

// resolve finds the number of the netlink family and loads the module if need be.
func (p *Plane) resolve(ctx context.Context) error {
	id, err := p.sock.familyID(ctx)
	if errors.Is(err, unix.ENOENT) {
		out, merr := exec.CommandContext(ctx, "modprobe", "ip_vs").CombinedOutput()
		if id, err = p.sock.familyID(ctx); errors.Is(err, unix.ENOENT) {
			if merr != nil {
				if text := strings.TrimSpace(string(out)); text != "" {
					merr = errors.New(text)
				}
				return fmt.Errorf("%w; modprobe ip_vs: %w", ErrNoIPVS, merr)
			}
			return ErrNoIPVS
		}
	}
	if err != nil {
		return fmt.Errorf("look for IPVS in the kernel: %w", err)
	}
	p.family = id
	return nil
}

// Name is "ipvs".
func (p *Plane) Name() string { return "ipvs" }

// AllPorts is the feature of a service without a port.
const AllPorts ipvs.Feature = "all-ports"

// Check finds what the kernel takes but does not serve: all ports without persistence. What this kernel does not know (a scheduler, a kind of
// tunnel) it says when it is written.
func (p *Plane) Check(s *ipvs.Service) []ipvs.Limit {
	if s.FWMark == 0 && s.Port == 0 && s.Flags&ipvs.Persistent == 0 {
		return []ipvs.Limit{{Feature: AllPorts, Refuse: true, Text: fmt.Sprintf("IPVS serves all ports (port 0) with persistence only: %s left out", s.ServiceKey)}}
	}
	return nil
}

// Close leaves the table as it is.
func (p *Plane) Close() error {
	if p.handle != nil {
		p.handle.Close()
	}
	return p.sock.close()
}

// moby gives the handle of github.com/moby/ipvs. That package runs modprobe and reports on the global logger when it is first
// used; the module is known to be there by now, so its opinion is not wanted.
func (p *Plane) moby() (*moby.Handle, error) {
	if p.handle == nil {
		logrus.SetOutput(io.Discard)
		h, err := moby.New(p.path)
		if err != nil {
			return nil, err
		}
		p.handle = h
	}
	return p.handle, nil
}

// Flush empties the whole table, foreign services too.
func (p *Plane) Flush(ctx context.Context) error {
	err := p.again(ctx, func() error { return p.ask(ctx, cmdFlush, nil) })
	if err != nil {
		return fmt.Errorf("flush the IPVS table: %w", inWords(err))
	}
	return nil
}

// again does f, and once more when the module went or came back under another number.
func (p *Plane) again(ctx context.Context, f func() error) error {
	err := f()
	if errors.Is(err, unix.ENOENT) {
		if err = p.resolve(ctx); err == nil {
			err = f()
		}
	}
	return err
}

// ask sends one request, with what pack adds to it, and waits for the verdict.
func (p *Plane) ask(ctx context.Context, cmd uint8, pack func(*packer)) error {
	return p.askFor(ctx, cmd, pack, func([]byte) error { return nil })
}

// askFor gives the attributes of the answer before the verdict to f.
func (p *Plane) askFor(ctx context.Context, cmd uint8, pack func(*packer), f func(attrs []byte) error) error {
	seq := p.sock.next()
	o := &p.sock.out
	o.b = o.b[:0]
	at := o.message(p.family, cmd, genlVersion, unix.NLM_F_ACK, seq)
	if pack != nil {
		pack(o)
	}
	o.end(at)
	return p.sock.dump(ctx, seq, f)
}

// Read returns all services of the namespace in the order of family, mark, protocol, address and port, with their destinations in
// the order in which they were added.
func (p *Plane) Read(ctx context.Context) (ipvs.Table, error) {
	var t ipvs.Table
	err := p.again(ctx, func() (err error) { t, err = p.read(ctx); return err })
	if err != nil {
		return ipvs.Table{}, fmt.Errorf("read the IPVS table: %w", err)
	}
	return t, nil
}

func (p *Plane) read(ctx context.Context) (t ipvs.Table, err error) {
	if t.Services, err = p.services(ctx); err != nil {
		return t, err
	}
	for i := range t.Services {
		s := &t.Services[i]
		if s.Dests, err = p.dests(ctx, s.ServiceKey); err != nil {
			return t, err
		}
	}
	return t, nil
}

// Services is Read without the destinations.
func (p *Plane) Services(ctx context.Context) (list []ipvs.Service, err error) {
	if err = p.again(ctx, func() (err error) { list, err = p.services(ctx); return err }); err != nil {
		return nil, fmt.Errorf("read the IPVS table: %w", err)
	}
	return list, nil
}

func (p *Plane) services(ctx context.Context) ([]ipvs.Service, error) {
	var list []ipvs.Service
	seq := p.request(cmdGetService, nil)
	err := p.sock.dump(ctx, seq, func(b []byte) error {
		s, err := parseService(b)
		if err == nil {
			list = append(list, s)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	slices.SortFunc(list, func(a, b ipvs.Service) int { return a.Compare(b.ServiceKey) })
	return list, nil
}

// Dests are the destinations of one service, none if there is no such service.
func (p *Plane) Dests(ctx context.Context, k ipvs.ServiceKey) (list []ipvs.Dest, err error) {
	if err = p.again(ctx, func() (err error) { list, err = p.dests(ctx, k); return err }); err != nil {
		return nil, fmt.Errorf("read the IPVS table: %w", err)
	}
	return list, nil
}

func (p *Plane) dests(ctx context.Context, k ipvs.ServiceKey) ([]ipvs.Dest, error) {
	var list []ipvs.Dest
	seq := p.request(cmdGetDest, &k)
	err := p.sock.dump(ctx, seq, func(b []byte) error {
		d, err := parseDest(b, k.Family)
		if err == nil {
			list = append(list, d)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("destinations of %s: %w", k, err)
	}
	slices.Reverse(list) // the kernel puts the newest first
	return list, nil
}

// request packs a dump request, of all or for one service, and returns its number.
func (p *Plane) request(cmd uint8, key *ipvs.ServiceKey) uint32 {
	seq := p.sock.next()
	o := &p.sock.out
	o.b = o.b[:0]
	at := o.message(p.family, cmd, genlVersion, unix.NLM_F_DUMP, seq)
	if key != nil {
		n := o.nest(attrService)
		packKey(o, *key)
		o.endNest(n)
	}
	o.end(at)
	return seq
}

// A batch is what goes to the kernel in one system call: few enough that all answers fit into the receive buffer when every
// message is refused, and that the kernel takes the request in one piece.
const (
	batchOps   = 256
	batchBytes = 48 << 10
)

// Piece is how many writes go to the kernel in one system call.
func (p *Plane) Piece() int { return batchOps }

// Apply writes ops in their order, many in each system call. The kernel goes on after a refusal, and says which it refused.
func (p *Plane) Apply(ctx context.Context, ops []ipvs.Op) []ipvs.OpError {
	p.preload(ctx, ops)
	var failed []ipvs.OpError
	for len(ops) > 0 {
		if err := ctx.Err(); err != nil {
			return append(failed, all(ops, err)...)
		}
		n, errs, err := p.batch(ops)
		if len(errs) == n && allENOENT(errs) { // the module went, or came back under another number
			was := p.family
			if err = p.resolve(ctx); err == nil && p.family != was {
				n, errs, err = p.batch(ops)
			}
		}
		if err != nil {
			// Which of them were done is not known: a later Read tells.
			failed = append(failed, all(ops[:n], err)...)
			if errors.Is(err, ErrNoIPVS) {
				return append(failed, all(ops[n:], err)...)
			}
		} else {
			for _, e := range errs {
				failed = append(failed, ipvs.OpError{Op: ops[e.index], Err: reason(ops[e.index], e.errno)})
			}
		}
		ops = ops[n:]
	}
	return failed
}

// preload loads the scheduler modules that the kernel had better not load by itself: it does so holding the IPVS lock, lblc and lblcr
// register with every network namespace when loaded, and the removal of a namespace, when one is going on, waits for the IPVS lock
// while it holds that of the namespaces: all of them then wait for ever. What cannot be loaded is left to the kernel to refuse.
func (p *Plane) preload(ctx context.Context, ops []ipvs.Op) {
	for i := range ops {
		s := ops[i].Service.Scheduler
		if ops[i].Kind > ipvs.EditService || s != "lblc" && s != "lblcr" || p.preloaded[s] {
			continue
		}
		if p.preloaded == nil {
			p.preloaded = map[string]bool{}
		}
		p.preloaded[s] = true
		if _, err := os.Stat("/sys/module/ip_vs_" + s); err != nil {
			_ = exec.CommandContext(ctx, "modprobe", "-q", "ip_vs_"+s).Run()
		}
	}
}

func all(ops []ipvs.Op, err error) []ipvs.OpError {
	failed := make([]ipvs.OpError, len(ops))
	for i, op := range ops {
		failed[i] = ipvs.OpError{Op: op, Err: err}
	}
	return failed
}

// refusal is the kernel's answer to the message with this index in a batch.
type refusal struct {
	index int
	errno unix.Errno
}

func allENOENT(errs []refusal) bool {
	return len(errs) > 0 && !slices.ContainsFunc(errs, func(r refusal) bool { return r.errno != unix.ENOENT })
}

// batch sends the first n of ops in one system call. Only the last asks for an answer when all is well; a refused one is answered
// anyway, before the last.
func (p *Plane) batch(ops []ipvs.Op) (n int, refused []refusal, err error) {
	o := &p.sock.out
	o.b = o.b[:0]
	first := p.sock.seq + 1
	last := 0
	for n < len(ops) && n < batchOps && len(o.b) < batchBytes {
		last = len(o.b)
		packOp(o, p.family, p.sock.next(), ops[n])
		n++
	}
	native.PutUint16(o.b[last+6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := p.sock.send(); err != nil {
		return n, nil, err
	}
	for deadline := time.Now().Add(2 * answerTimeout); time.Now().Before(deadline); {
		done, err := p.sock.receive(func(a answer) (bool, error) {
			i := int(a.seq - first)
			if a.typ != unix.NLMSG_ERROR || i < 0 || i >= n {
				return false, nil // left over from a request that was given up
			}
			if e := a.errno(); e != 0 {
				refused = append(refused, refusal{i, e})
			}
			return i == n-1, nil
		})
		if done || err != nil {
			return n, refused, err
		}
	}
	return n, refused, errTimeout
}
