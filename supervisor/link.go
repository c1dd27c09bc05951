package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kind says what a message between parent and child is about.
type kind string

const (
	// Parent to child.
	kindStart   kind = "start"   // first message: what the child needs besides the configuration
	kindReload  kind = "reload"  // comes with a memory file holding the new configuration: take it over at once
	kindRead    kind = "read"    // the same file: parse it, an order about it with the same number will probably follow
	kindPlan    kind = "plan"    // the same file: what would a reload change? Nothing is changed
	kindPrepare kind = "prepare" // the same file: make everything ready, change nothing
	kindCommit  kind = "commit"  // take over what was prepared
	kindAbort   kind = "abort"   // give it up

	// Child to parent.
	kindReady    kind = "ready"    // everything is set up, the part runs
	kindFailed   kind = "failed"   // cannot run; Status is final, Text says why
	kindReloaded kind = "reloaded" // the new configuration is in force
	kindPlanned  kind = "planned"  // with a memory file: the plan that was asked for
	kindPrepared kind = "prepared" // with a memory file: ready, and this is what will be done
	kindRefused  kind = "refused"  // the old configuration stays, Text says why
	kindWantLoad kind = "wantload" // somebody sent SIGHUP to the child
	kindStates   kind = "states"   // states of VRRP instances that changed

	// From the VRRP child by way of the parent to the checker child, and back with a memory file: the virtual servers as JSON.
	kindWantServers kind = "wantservers"
	kindServers     kind = "servers"

	// Parent to a child, and back with a memory file: how its servers are (director.Health), why its instances are as they are
	// (vrrp.Report).
	kindWantReport kind = "wantreport"
	kindReport     kind = "report"

	// Parent to a child, and back at once whatever else the child is doing: a sign of life.
	kindPing kind = "ping"
	kindPong kind = "pong"

	// BFD child to parent, parent to the VRRP and checker children.
	kindBFD kind = "bfd" // sessions that went up or down
)

// message is what parent and child say to each other: one JSON object a packet, the bulk in a memory file beside it.
type message struct {
	Kind       kind              `json:"kind"`
	Seq        int               `json:"seq,omitempty"` // of a reload; the answer carries the same
	Status     int               `json:"status,omitempty"`
	Text       string            `json:"text,omitempty"`
	States     map[string]string `json:"states,omitempty"` // instance name to state word
	BFD        []bfdState        `json:"bfd,omitempty"`
	Resume     bool              `json:"resume,omitempty"`     // what the predecessor put up is still there
	Killed     bool              `json:"killed,omitempty"`     // an earlier daemon left its pid file, and what else it left nobody knows
	Dir        string            `json:"dir,omitempty"`        // where the daemon was started
	Taken      int               `json:"taken,omitempty"`      // with commit: the number of reloads taken, this one included
	Goroutines int               `json:"goroutines,omitempty"` // of the child, with ready and reloaded
	Again      bool              `json:"again,omitempty"`      // not the first start of this part
}

// bfdState is what became of a BFD session, and who should know.
type bfdState struct {
	Name    string `json:"name"`
	Up      bool   `json:"up,omitempty"`
	VRRP    bool   `json:"vrrp,omitempty"`
	Checker bool   `json:"checker,omitempty"`
}

// maxMessage bounds a packet: the names of a thousand instances fit several times.
const maxMessage = 1 << 18

// sendPatience bounds the wait for room at the other end: neither side may stand still because the other one does.
const sendPatience = time.Second

// link is one end of the socket pair between parent and child.
type link struct{ f *os.File }

// newLink makes a connected pair: the parent's end and the file that the child inherits.
func newLink() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair to a child: %w", err)
	}
	unix.SetNonblock(fds[0], true)
	for _, fd := range fds {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, maxMessage)
	}
	return &link{os.NewFile(uintptr(fds[0]), "link")}, os.NewFile(uintptr(fds[1]), "link"), nil
}

// inheritedLink is the child's end.
func inheritedLink(fd int) (*link, error) {
	if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("descriptor %d is no link to a parent", fd)
	}
	unix.CloseOnExec(fd)
	unix.SetNonblock(fd, true)
	return &link{os.NewFile(uintptr(fd), "link")}, nil
}

// send writes one message; file, if any, goes along.
func (l *link) send(m message, file *os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("message %s of %d bytes is too long", m.Kind, len(b))
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	raw, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	l.f.SetWriteDeadline(time.Now().Add(sendPatience))
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sendErr, syscall.EAGAIN)
	})
	return errors.Join(err, sendErr)
}

// receive waits for the next message and the file that came with it; io.EOF when the other side is gone.
func (l *link) receive() (message, *os.File, error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return message{}, nil, err
	}
	var buf, oob []byte
	var n, oobn int
	var recvErr error
	err = raw.Read(func(fd uintptr) bool {
		// How long is it? Nearly all are short, and room for the longest would be most of what a process needs at its start.
		if n, _, recvErr = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_TRUNC); recvErr == nil && n > 0 {
			buf, oob = make([]byte, n), make([]byte, unix.CmsgSpace(4))
			n, oobn, _, _, recvErr = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		}
		return !errors.Is(recvErr, syscall.EAGAIN) && !errors.Is(recvErr, syscall.EINTR)
	})
	switch err := errors.Join(err, recvErr); {
	case errors.Is(err, syscall.ECONNRESET), err == nil && n == 0:
		return message{}, nil, io.EOF
	case err != nil:
		return message{}, nil, err
	}
	var file *os.File
	if cmsgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
		for _, c := range cmsgs {
			fds, err := unix.ParseUnixRights(&c)
			if err == nil && len(fds) > 0 {
				file = os.NewFile(uintptr(fds[0]), "configuration")
			}
		}
	}
	var m message
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		return message{}, file, fmt.Errorf("message: %w", err)
	}
	return m, file, nil
}

func (l *link) close() { l.f.Close() }

// memoryFile holds b in memory, to be inherited or sent.
func memoryFile(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("configuration", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "configuration")
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("memory file: %w", err)
	}
	return f, nil
}

// readMemoryFile reads all of f from its start; the offset, which both sides share, is left alone.
func readMemoryFile(f *os.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}
