package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// answerTimeout bounds the wait for one answer; the kernel gives it while it takes the request.
	answerTimeout = 3 * time.Second
	// receiveBuffer holds the answers to a batch in which every message fails: about 1 KiB each in the kernel's accounting.
	receiveBuffer = 1 << 20
)

var (
	errTimeout = errors.New("no answer from the kernel")
	errLost    = errors.New("answers from the kernel were lost (receive buffer overrun)")
)

// socket is a generic netlink socket in a network namespace, used by one goroutine.
type socket struct {
	fd  int
	seq uint32
	in  []byte
	out packer
}

// dial opens a socket in the namespace at path, or in the present one when path is empty.
func dial(path string) (*socket, error) {
	if path != "" {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		there, err := netns.GetFromPath(path)
		if err != nil {
			return nil, fmt.Errorf("network namespace %s: %w", path, err)
		}
		defer there.Close()
		here, err := netns.Get()
		if err != nil {
			return nil, fmt.Errorf("present network namespace: %w", err)
		}
		defer here.Close()
		if err := netns.Set(there); err != nil {
			return nil, fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		defer func() {
			if netns.Set(here) != nil {
				runtime.LockOSThread() // once more than it is unlocked: the thread is in the wrong namespace and ends with its goroutine
			}
		}()
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	s := &socket{fd: fd, seq: uint32(time.Now().UnixNano()), in: make([]byte, 64<<10)}
	if err := s.setup(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) setup() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("netlink bind", err)
	}
	tv := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return os.NewSyscallError("netlink timeout", err)
	}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return os.NewSyscallError("netlink timeout", err)
	}
	// An unprivileged reader gets what the system allows; refusals need not repeat the request in their answer.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

// next is the sequence number of a new message.
func (s *socket) next() uint32 {
	s.seq++
	return s.seq
}

// send writes what has been packed in one system call.
func (s *socket) send() error {
	for {
		_, err := unix.Write(s.fd, s.out.b) // a netlink socket that is not connected writes to the kernel
		switch err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EAGAIN:
			return errTimeout
		default:
			return os.NewSyscallError("netlink send", err)
		}
	}
}

// answer is one message from the kernel. body is the message behind its header and good until the next receive.
type answer struct {
	seq  uint32
	typ  uint16
	body []byte
}

// errno is the verdict of an NLMSG_ERROR (0: an acknowledgement) or NLMSG_DONE.
func (a answer) errno() unix.Errno {
	if len(a.body) < 4 {
		return 0
	}
	return unix.Errno(-int32(native.Uint32(a.body)))
}

// receive reads once and gives each message to f until f says that it has had enough.
func (s *socket) receive(f func(answer) (done bool, err error)) (done bool, err error) {
	n, flags := 0, 0
	for {
		n, _, flags, _, err = unix.Recvmsg(s.fd, s.in, nil, 0)
		if err != unix.EINTR {
			break
		}
	}
	switch err {
	case nil:
	case unix.EAGAIN:
		return false, errTimeout
	case unix.ENOBUFS:
		s.drain()
		return false, errLost
	default:
		return false, os.NewSyscallError("netlink receive", err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return false, errShort
	}
	for b := s.in[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(native.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false, errShort
		}
		a := answer{seq: native.Uint32(b[8:]), typ: native.Uint16(b[4:]), body: b[unix.NLMSG_HDRLEN:size]}
		if done, err := f(a); done || err != nil {
			return done, err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false, nil
}

// drain throws away what is left of the answers of which some were lost: while the buffer is full the kernel goes on losing.
func (s *socket) drain() {
	for range 2 * batchOps {
		if _, _, err := unix.Recvfrom(s.fd, s.in, unix.MSG_DONTWAIT); err == unix.EAGAIN {
			return
		}
	}
}

// dump sends the one request that has been packed with number seq and gives the attributes of each message of the answer to f.
// The loop ends with the kernel's last message, a timeout, or ctx.
func (s *socket) dump(ctx context.Context, seq uint32, f func(attrs []byte) error) error {
	if err := s.send(); err != nil {
		return err
	}
	return s.answers(ctx, seq, f)
}

// answers reads what dump has asked for.
func (s *socket) answers(ctx context.Context, seq uint32, f func(attrs []byte) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := s.receive(func(a answer) (bool, error) {
			if a.seq != seq {
				return false, nil // left over from a request that was given up
			}
			switch a.typ {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				if e := a.errno(); e != 0 {
					return true, e
				}
				return true, nil
			}
			if len(a.body) < unix.GENL_HDRLEN {
				return true, errShort
			}
			return false, f(a.body[unix.GENL_HDRLEN:])
		})
		if done || err != nil {
			return err
		}
	}
}

// familyID asks for the number of generic netlink family IPVS; asking makes the kernel load the module where it can.
func (s *socket) familyID(ctx context.Context) (uint16, error) {
	seq := s.next()
	s.out.b = s.out.b[:0]
	at := s.out.message(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, 1, unix.NLM_F_ACK, seq)
	s.out.text(unix.CTRL_ATTR_FAMILY_NAME, "IPVS")
	s.out.end(at)
	var id uint16
	err := s.dump(ctx, seq, func(attrs []byte) error {
		return eachAttr(attrs, func(typ uint16, v []byte) error {
			if typ == unix.CTRL_ATTR_FAMILY_ID {
				id = uint16(number(v))
			}
			return nil
		})
	})
	if err == nil && id == 0 {
		err = errShort
	}
	return id, err
}
