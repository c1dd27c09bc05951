package supervisor

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// background starts the daemon in a session of its own and waits until it says that it is up, or why it is not. Its status is
// what the shell or the init system sees.
func background(o *Options, stderr io.Writer) int {
	r, w, err := os.Pipe()
	if err != nil {
		fmt.Fprintf(stderr, "%s: pipe to the daemon: %v\n", o.Name(), err)
		return exitFatal
	}
	p, err := start(o.Argv, partDaemon, []*os.File{os.Stdin, os.Stdout, os.Stderr, w}, "", &syscall.SysProcAttr{Setsid: true})
	w.Close()
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", o.Name(), err)
		return exitFatal
	}
	var status [1]byte
	if n, _ := r.Read(status[:]); n == 1 {
		return int(status[0])
	}
	// The daemon ended without a word.
	st, err := p.wait()
	if err != nil || st.ExitStatus() <= 0 {
		fmt.Fprintf(stderr, "%s: the daemon ended at once: %s\n", o.Name(), ending(st))
		return exitFatal
	}
	return st.ExitStatus()
}

// tellStarter lets the starter go with a status. The pipe is closed: there is only one such word.
func tellStarter(status int) {
	syscall.Write(fdUp, []byte{byte(status)})
	syscall.Close(fdUp)
}
