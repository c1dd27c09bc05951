package capture

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Place is an interface to listen on.
type Place struct {
	// Name is what the capture calls it; empty is Iface.
	Name  string
	Iface string
	// In runs a function where the interface is, in another network namespace for example; nil is here.
	In func(func() error) error
}

// Live listens on interfaces. It is a Source; Next gives frames in the order of their times.
type Live struct {
	points []Point
	in     chan Packet
	gone   chan error
	files  []*os.File
	wg     sync.WaitGroup
	queue  packets
	left   int
	timer  *time.Timer
	ctx    context.Context
	lost   []error
	stop   sync.Once
}

// settle is how long a frame waits for earlier ones of other interfaces.
const settle = 20 * time.Millisecond

// ErrPrivilege is the cause if the program may not listen.
var ErrPrivilege = errors.New("listening needs root or CAP_NET_RAW: sudo setcap cap_net_raw+ep FILE, or run it as root")

// Listen opens the places. filter is what the kernel lets through, nil is everything. It ends with ctx.
func Listen(ctx context.Context, places []Place, filter []bpf.RawInstruction) (*Live, error) {
	l := &Live{in: make(chan Packet, 4096), gone: make(chan error, len(places)), ctx: ctx, left: len(places)}
	for i, p := range places {
		in := p.In
		if in == nil {
			in = func(f func() error) error { return f() }
		}
		if p.Name == "" {
			p.Name = p.Iface
		}
		var f *os.File
		if err := in(func() (err error) { f, err = listen(p.Iface, filter); return err }); err != nil {
			l.Close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				err = ErrPrivilege
			}
			return nil, fmt.Errorf("capture on %s: %w", p.Name, err)
		}
		l.points, l.files = append(l.points, Point{p.Name}), append(l.files, f)
		l.wg.Add(1)
		go l.read(i, p.Name, f)
	}
	return l, nil
}

func listen(iface string, filter []bpf.RawInstruction) (*os.File, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "frames of "+iface)
	fail := func(err error) (*os.File, error) {
		f.Close()
		return nil, err
	}
	if len(filter) > 0 {
		prog := make([]unix.SockFilter, len(filter))
		for i, r := range filter {
			prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
		}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
			return fail(fmt.Errorf("filter: %w", err))
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fail(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return fail(err)
	}
	return f, nil
}

func (l *Live) read(point int, name string, f *os.File) {
	defer l.wg.Done()
	raw, err := f.SyscallConn()
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for err == nil {
		var n, on int
		var rerr error
		err = raw.Read(func(fd uintptr) bool {
			n, on, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_TRUNC)
			return rerr != unix.EAGAIN
		})
		if err == nil && rerr == unix.EINTR {
			continue
		}
		if err == nil {
			err = rerr
		}
		if err != nil {
			break
		}
		p := Packet{At: stamp(oob[:on]), Point: point, Data: slices.Clone(buf[:min(n, len(buf))]), Len: n}
		select {
		case l.in <- p:
		case <-l.ctx.Done():
			return
		}
	}
	if errors.Is(err, os.ErrClosed) {
		err = nil
	} else {
		err = fmt.Errorf("%s is gone: %w", name, err)
	}
	l.gone <- err
}

// stamp is the time at which the kernel saw a packet.
func stamp(oob []byte) time.Time {
	if msgs, err := unix.ParseSocketControlMessage(oob); err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

// Points are the interfaces.
func (l *Live) Points() []Point { return l.points }

// Lost are the interfaces that vanished while they were listened to.
func (l *Live) Lost() []error { return l.lost }

// Next waits for a frame. At the end of ctx, or when all interfaces are gone, it gives what is left and then io.EOF.
func (l *Live) Next() (Packet, error) {
	for {
		if len(l.queue) > 0 && (time.Since(l.queue[0].At) > settle || l.left == 0 || l.ctx.Err() != nil && len(l.in) == 0) {
			return heap.Pop(&l.queue).(Packet), nil
		}
		if len(l.queue) == 0 && (l.left == 0 || l.ctx.Err() != nil) && len(l.in) == 0 {
			l.Close()
			return Packet{}, io.EOF
		}
		var soon <-chan time.Time
		if len(l.queue) > 0 {
			if l.timer == nil {
				l.timer = time.NewTimer(settle)
			} else {
				l.timer.Reset(settle)
			}
			soon = l.timer.C
		}
		done := l.ctx.Done()
		if l.ctx.Err() != nil {
			done = nil
		}
		select {
		case p := <-l.in:
			heap.Push(&l.queue, p)
		case err := <-l.gone:
			l.left--
			if err != nil {
				l.lost = append(l.lost, err)
			}
		case <-soon:
		case <-done:
		}
	}
}

// Close stops listening.
func (l *Live) Close() {
	l.stop.Do(func() {
		for _, f := range l.files {
			f.Close()
		}
	})
}

// packets is a heap by time.
type packets []Packet

func (q packets) Len() int           { return len(q) }
func (q packets) Less(i, j int) bool { return q[i].At.Before(q[j].At) }
func (q packets) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)        { *q = append(*q, x.(Packet)) }
func (q *packets) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// Relevant is a filter for the kernel: the protocols that the annotator explains. TCP and UDP pass by port, those of the health
// checks and virtual servers among them; more than a hundred ports let all of TCP and UDP pass.
func Relevant(ports []uint16) ([]bpf.RawInstruction, error) {
	own := []uint16{8848, 3784, 4784, 67, 68, 647, 847}
	ports = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(ports), own...))))
	const yes, no = 0x40000, 0
	// The labels of jumps are instruction numbers, so blocks are built from the end.
	var prog []bpf.Instruction
	portTest := func(load []bpf.Instruction) []bpf.Instruction {
		if len(ports) > 100 {
			return []bpf.Instruction{bpf.RetConstant{Val: yes}}
		}
		var out []bpf.Instruction
		for _, l := range load {
			out = append(out, l)
			for _, p := range ports {
				out = append(out, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1}, bpf.RetConstant{Val: yes})
			}
		}
		return append(out, bpf.RetConstant{Val: no})
	}
	always := func(value uint32) []bpf.Instruction {
		return []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: 1}, bpf.RetConstant{Val: yes}}
	}
	v4 := []bpf.Instruction{bpf.LoadAbsolute{Off: 23, Size: 1}}
	for _, p := range []uint32{112, 2, 1} {
		v4 = append(v4, always(p)...)
	}
	v4ports := append([]bpf.Instruction{bpf.LoadMemShift{Off: 14}}, portTest([]bpf.Instruction{bpf.LoadIndirect{Off: 14, Size: 2}, bpf.LoadIndirect{Off: 16, Size: 2}})...)
	v4 = append(v4, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipTrue: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 1}, bpf.RetConstant{Val: no})
	v4 = append(v4, v4ports...)
	v6 := []bpf.Instruction{bpf.LoadAbsolute{Off: 20, Size: 1}}
	for _, p := range []uint32{112, 58, 0} {
		v6 = append(v6, always(p)...)
	}
	v6 = append(v6, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipTrue: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 1}, bpf.RetConstant{Val: no})
	v6 = append(v6, portTest([]bpf.Instruction{bpf.LoadAbsolute{Off: 54, Size: 2}, bpf.LoadAbsolute{Off: 56, Size: 2}})...)
	prog = append(prog, bpf.LoadAbsolute{Off: 12, Size: 2})
	prog = append(prog, always(etherARP)...)
	prog = append(prog, always(etherVLAN)...)
	prog = append(prog, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: etherIPv4, SkipTrue: 1}, bpf.Jump{Skip: 1}, bpf.Jump{Skip: uint32(len(v4))})
	prog = append(prog, v4...)
	prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: 1}, bpf.RetConstant{Val: no})
	prog = append(prog, v6...)
	return bpf.Assemble(prog)
}
