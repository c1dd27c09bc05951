package kernel

import "golang.org/x/sys/unix"

// ErrLost is what a write is reported with when the kernel's verdict was lost.
var ErrLost = errLost

// ShrinkReceiveBuffer makes the kernel lose answers.
func (p *Plane) ShrinkReceiveBuffer() error {
	return unix.SetsockoptInt(p.sock.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
}
