package main

import (
	"errors"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// frame is an advert or a gratuitous ARP that came in.
type frame struct {
	at   time.Time
	id   int // of the instance: interface and VRID, for an ARP the address
	prio int // -1: no advert
	arp  bool
}

// ear is a socket in a namespace that hears what comes in by any interface. Frames wait in its buffer until they are read, so that
// reading does not disturb what is measured.
type ear struct{ fd int }

// listen opens an ear.
func listen(ns string) (*ear, error) {
	type result struct {
		e   *ear
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		at, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(at, unix.CLONE_NEWNET)
			unix.Close(at)
		}
		fd := -1
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0x0300)
		}
		if err == nil {
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 512<<20), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
				unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		}
		done <- result{&ear{fd}, err}
	}()
	r := <-done
	return r.e, r.err
}

func (e *ear) close() { unix.Close(e.fd) }

func (e *ear) discard() { e.read() }

// read gives what has come in since the last call.
func (e *ear) read() []frame {
	var list []frame
	var buf, oob [2048]byte
	for {
		n, on, _, from, err := unix.Recvmsg(e.fd, buf[:], oob[:], unix.MSG_DONTWAIT)
		if err != nil {
			return list
		}
		sa, ok := from.(*unix.SockaddrLinklayer)
		if !ok || sa.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		f := frame{prio: -1}
		if msgs, err := unix.ParseSocketControlMessage(oob[:on]); err == nil {
			for _, m := range msgs {
				if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
					ts := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
					f.at = time.Unix(ts.Unix())
				}
			}
		}
		switch b := buf[:n]; {
		case sa.Protocol == 0x0008 && n >= 28 && b[9] == 112:
			f.prio, f.id = int(b[22]), sa.Ifindex<<8|int(b[21])
		case sa.Protocol == 0x0608 && n >= 28 && string(b[14:18]) == string(b[24:28]):
			f.arp, f.id = true, int(b[14])<<24|int(b[15])<<16|int(b[16])<<8|int(b[17])
		default:
			continue
		}
		list = append(list, f)
	}
}
