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
	"syscall"
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
	// Groups makes the interface hear all multicast groups for as long as it is listened to, not only those that the host has joined.
	Groups bool
}

// Live listens on interfaces. It is a Source; Next gives frames in the order of their times.
type Live struct {
	points []Point
	in     chan Packet
	gone   chan error
	ports  []*port
	wg     sync.WaitGroup
	queue  packets
	left   int
	timer  *time.Timer
	ctx    context.Context
	lost   []error
	missed uint
	stop   sync.Once
}

// port is a socket on an interface. Where the link is not Ethernet, raw is set: packets come without their link's header.
type port struct {
	*os.File
	raw bool
}

// ErrIdle is what Live.Next gives when nothing was heard for a while.
var ErrIdle = errors.New("nothing was heard for a while")

// idle is the while of ErrIdle, and how often it is looked whether an interface that is down has vanished.
const idle = 250 * time.Millisecond

// settle is how long a frame waits for earlier ones of other interfaces.
const settle = 20 * time.Millisecond

// ErrPrivilege is the cause if the program may not listen.
var ErrPrivilege = errors.New("listening needs root, or a program with CAP_NET_RAW")

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
		var f *port
		if err := in(func() (err error) { f, err = listen(p, filter); return err }); err != nil {
			l.Close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				err = ErrPrivilege
			}
			return nil, fmt.Errorf("capture on %s: %w", p.Name, err)
		}
		l.points, l.ports = append(l.points, Point{p.Name}), append(l.ports, f)
		l.wg.Add(1)
		go l.read(i, p.Name, f)
	}
	return l, nil
}

func listen(p Place, filter []bpf.RawInstruction) (*port, error) {
	ifi, err := net.InterfaceByName(p.Iface)
	if err != nil {
		return nil, errors.New("there is no such interface")
	}
	kind, raw := unix.SOCK_RAW, len(ifi.HardwareAddr) != 6 && ifi.Flags&net.FlagLoopback == 0
	if raw { // a tunnel or the like: the filter, which counts from an Ethernet header, does not fit
		kind, filter = unix.SOCK_DGRAM, nil
	}
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "frames of "+p.Iface)
	fail := func(err error) (*port, error) {
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
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1) // the VLAN tag, which the kernel takes out of the frame
	if p.Groups {
		_ = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_ALLMULTI})
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		return fail(err)
	}
	return &port{f, raw}, nil
}

// vanished tells whether the interface does not exist any more: the kernel forgets it, while one that is only down comes back.
func vanished(raw syscall.RawConn) (gone bool) {
	err := raw.Control(func(fd uintptr) {
		at, err := unix.Getsockname(int(fd))
		ll, ok := at.(*unix.SockaddrLinklayer)
		gone = err != nil || !ok || ll.Ifindex <= 0
	})
	return gone || err != nil
}

func (l *Live) read(point int, name string, f *port) {
	defer l.wg.Done()
	raw, err := f.SyscallConn()
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for err == nil {
		var n, on int
		var from unix.Sockaddr
		var rerr error
		err = raw.Read(func(fd uintptr) bool {
			n, on, _, from, rerr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_TRUNC)
			return rerr != unix.EAGAIN
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !vanished(raw):
			err = f.SetReadDeadline(time.Now().Add(idle))
			continue
		case err == nil && rerr == unix.ENETDOWN && !vanished(raw): // said once; when it vanishes nothing is said any more
			err = f.SetReadDeadline(time.Now().Add(idle))
			continue
		case err == nil && rerr == unix.EINTR:
			continue
		case err == nil:
			err = rerr
		}
		if err != nil {
			break
		}
		p := Packet{Point: point, Data: slices.Clone(buf[:min(n, len(buf))]), Len: n}
		var tag []byte
		p.At, tag = aside(oob[:on])
		if ll, ok := from.(*unix.SockaddrLinklayer); f.raw && ok {
			head := binary.NativeEndian.AppendUint16(make([]byte, 12, 14+len(p.Data)), ll.Protocol) // it is in network order
			p.Data = append(head, p.Data...)
			p.Len += 14
			p.Cooked = true
		}
		if len(tag) > 0 && len(p.Data) >= 12 {
			p.Data = slices.Insert(p.Data, 12, tag...)
			p.Len += len(tag)
		}
		select {
		case l.in <- p:
		case <-l.ctx.Done():
			return
		}
	}
	if errors.Is(err, os.ErrClosed) {
		err = nil
	} else if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ENETDOWN) {
		err = fmt.Errorf("%s is gone", name)
	} else {
		err = fmt.Errorf("%s: %w", name, err)
	}
	l.gone <- err
}

// aside reads what the kernel tells beside a packet: when it saw it, and the VLAN tag (4 bytes) that it took out.
func aside(oob []byte) (at time.Time, tag []byte) {
	msgs, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16:
			at = time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		case m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20: // struct tpacket_auxdata
			if status := binary.NativeEndian.Uint32(m.Data); status&unix.TP_STATUS_VLAN_VALID != 0 {
				kind := uint16(etherVLAN)
				if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
					kind = binary.NativeEndian.Uint16(m.Data[18:])
				}
				tag = be.AppendUint16(be.AppendUint16(nil, kind), binary.NativeEndian.Uint16(m.Data[16:]))
			}
		}
	}
	if at.IsZero() {
		at = time.Now()
	}
	return at, tag
}

// Points are the interfaces.
func (l *Live) Points() []Point { return l.points }

// Lost are the interfaces that vanished while they were listened to.
func (l *Live) Lost() []error { return l.lost }

// Missed is how many frames the kernel threw away because nobody read them in time; it is known after Close.
func (l *Live) Missed() uint { return l.missed }

// Next waits for a frame. Where none comes for a while it gives ErrIdle. At the end of ctx, or when all interfaces are gone, it
// gives what is left and then io.EOF.
func (l *Live) Next() (Packet, error) {
	for {
		if len(l.queue) > 0 && (time.Since(l.queue[0].At) > settle || l.left == 0 || l.ctx.Err() != nil && len(l.in) == 0) {
			return heap.Pop(&l.queue).(Packet), nil
		}
		if len(l.queue) == 0 && (l.left == 0 || l.ctx.Err() != nil) && len(l.in) == 0 {
			l.Close()
			return Packet{}, io.EOF
		}
		wait := settle
		if len(l.queue) == 0 {
			wait = idle
		}
		if l.timer == nil {
			l.timer = time.NewTimer(wait)
		} else {
			l.timer.Reset(wait)
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
		case <-l.timer.C:
			if len(l.queue) == 0 {
				return Packet{}, ErrIdle
			}
		case <-done:
		}
	}
}

// Close stops listening.
func (l *Live) Close() {
	l.stop.Do(func() {
		for _, f := range l.ports {
			if raw, err := f.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) {
					if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
						l.missed += uint(st.Drops)
					}
				})
			}
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
	for _, p := range []uint32{112, 2, 1, 51} {
		v4 = append(v4, always(p)...)
	}
	v4ports := append([]bpf.Instruction{bpf.LoadMemShift{Off: 14}}, portTest([]bpf.Instruction{bpf.LoadIndirect{Off: 14, Size: 2}, bpf.LoadIndirect{Off: 16, Size: 2}})...)
	v4 = append(v4, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 17, SkipTrue: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 1}, bpf.RetConstant{Val: no})
	v4 = append(v4, v4ports...)
	v6 := []bpf.Instruction{bpf.LoadAbsolute{Off: 20, Size: 1}}
	for _, p := range []uint32{112, 58, 0, 51} {
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
