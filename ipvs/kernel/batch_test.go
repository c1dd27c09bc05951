package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"releve/ipvs"
)

// message of a request as the other end of a fake socket sees it.
type request struct {
	seq   uint32
	flags uint16
	cmd   uint8
	body  []byte
}

// requests splits what came in one system call.
func requests(b []byte) (out []request) {
	for len(b) >= unix.NLMSG_HDRLEN+unix.GENL_HDRLEN {
		n := int(native.Uint32(b))
		out = append(out, request{native.Uint32(b[8:]), native.Uint16(b[6:]), b[unix.NLMSG_HDRLEN], b[unix.NLMSG_HDRLEN+unix.GENL_HDRLEN : n]})
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// pretender is a kernel that keeps destinations: which ones it was given, and in how many system calls.
type pretender struct {
	calls  [][]request
	refuse func(d ipvs.Dest) unix.Errno
	// stale is sent before each answer, together puts all answers to a call into one message of their own.
	stale, together bool
	ended           chan struct{}
}

func (k *pretender) serve(fd int) {
	defer close(k.ended)
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			return
		}
		call := requests(append([]byte(nil), buf[:n]...))
		k.calls = append(k.calls, call)
		var all []byte
		answer := func(seq uint32, e unix.Errno) {
			m := message(unix.NLMSG_ERROR, seq, native.AppendUint32(nil, uint32(-int32(e))))
			if k.together {
				all = append(all, m...)
				return
			}
			_, _ = unix.Write(fd, m)
		}
		if k.stale {
			answer(call[0].seq-1, unix.EEXIST)
			answer(call[0].seq+100000, unix.EEXIST)
		}
		for _, r := range call {
			var e unix.Errno
			if d, err := parseDest(r.body, ipvs.IPv4); err == nil && k.refuse != nil && r.cmd == cmdNewDest {
				e = k.refuse(d)
			}
			if e != 0 || r.flags&unix.NLM_F_ACK != 0 {
				answer(r.seq, e)
			}
		}
		if len(all) > 0 {
			_, _ = unix.Write(fd, all)
		}
	}
}

// pretend is a Plane in front of k.
func pretend(t *testing.T, k *pretender) *Plane {
	t.Helper()
	s, fd := fake(t)
	k.ended = make(chan struct{})
	go k.serve(fd)
	return &Plane{sock: s, family: 99}
}

func stop(p *Plane, k *pretender) {
	_ = unix.Shutdown(p.sock.fd, unix.SHUT_RDWR)
	<-k.ended
}

// many is a table as the writes that make it.
func many(services, dests int) []ipvs.Op {
	var t ipvs.Table
	for i := range services {
		s := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Port: 80}, Scheduler: "rr"}
		for j := range dests {
			s.Dests = append(s.Dests, ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.AddrFrom4([4]byte{10, byte(j + 1), byte(i >> 8), byte(i)}), Port: 80}, Weight: 1})
		}
		t.Services = append(t.Services, s)
	}
	return ipvs.Diff(ipvs.Table{}, t)
}

func TestManyWritesGoInOneSystemCall(t *testing.T) {
	k := &pretender{}
	p := pretend(t, k)
	ops := many(1000, 10)
	if errs := p.Apply(context.Background(), ops); len(errs) > 0 {
		t.Fatalf("%d of %d refused: %v", len(errs), len(ops), errs[0])
	}
	stop(p, k)
	n := 0
	for i, call := range k.calls {
		for j, r := range call {
			last := j == len(call)-1
			if r.seq != k.calls[0][0].seq+uint32(n) || last != (r.flags&unix.NLM_F_ACK != 0) {
				t.Fatalf("call %d message %d: number %d, flags %x; only the last one asks for an answer", i, j, r.seq, r.flags)
			}
			if op := ops[n]; op.Kind == ipvs.AddDest {
				if d, err := parseDest(r.body, ipvs.IPv4); err != nil || d.DestKey != op.Dest.DestKey {
					t.Fatalf("message %d is about %v, %v; want %v", n, d.DestKey, err, op.Dest.DestKey)
				}
			}
			n++
		}
	}
	if n != len(ops) || len(k.calls) > len(ops)/batchOps+1 {
		t.Errorf("%d messages in %d system calls, want %d in at most %d", n, len(k.calls), len(ops), len(ops)/batchOps+1)
	}
	t.Logf("%d messages in %d system calls", n, len(k.calls))
}

func TestARefusalIsMatchedWithItsObjectAndTheRestProceeds(t *testing.T) {
	bad := map[string]unix.Errno{"10.3.0.7": unix.EEXIST, "10.10.3.231": unix.EINVAL, "10.1.0.0": unix.ENOMEM, "10.4.1.200": unix.EEXIST}
	for _, c := range []struct {
		name string
		k    *pretender
	}{
		{"answers one by one", &pretender{}},
		{"answers in one piece", &pretender{together: true}},
		{"answers to requests that were given up", &pretender{stale: true}},
		{"all of it", &pretender{stale: true, together: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.k.refuse = func(d ipvs.Dest) unix.Errno { return bad[d.Addr.String()] }
			p := pretend(t, c.k)
			ops := many(1000, 10)
			errs := p.Apply(context.Background(), ops)
			stop(p, c.k)
			if len(errs) != len(bad) {
				t.Fatalf("%d reported, want %d: %v", len(errs), len(bad), errs)
			}
			for _, e := range errs {
				want := bad[e.Op.Dest.Addr.String()]
				if want == 0 || !errors.Is(e.Err, want) {
					t.Errorf("%s: %v, want %v", e.Op, e.Err, want)
				}
			}
			n := 0
			for _, call := range c.k.calls {
				n += len(call)
			}
			if n != len(ops) {
				t.Errorf("%d messages were sent, want all %d", n, len(ops))
			}
		})
	}
}

func TestOneChangedWeightIsOneMessage(t *testing.T) {
	k := &pretender{}
	p := pretend(t, k)
	op := many(1, 1)[1]
	op.Kind, op.Dest.Weight = ipvs.EditDest, 7
	if errs := p.Apply(context.Background(), []ipvs.Op{op}); len(errs) > 0 {
		t.Fatal(errs)
	}
	stop(p, k)
	if len(k.calls) != 1 || len(k.calls[0]) != 1 || k.calls[0][0].cmd != cmdSetDest {
		t.Errorf("sent %s", fmt.Sprint(k.calls))
	}
}
