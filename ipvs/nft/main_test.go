package nft_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain runs the tests in network and mount namespaces of their own, so that nothing of the machine is in reach.
func TestMain(m *testing.M) {
	if os.Getenv("RELEVE_NETNS") == "" {
		exe, err := os.Executable()
		if err == nil {
			c := exec.Command(exe, os.Args[1:]...)
			c.Env, c.Stdout, c.Stderr = append(os.Environ(), "RELEVE_NETNS=1"), os.Stdout, os.Stderr
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
			if err = c.Start(); err == nil {
				err = c.Wait()
				if c.ProcessState != nil {
					os.Exit(c.ProcessState.ExitCode())
				}
			}
		}
		fmt.Fprintln(os.Stderr, "without namespaces of its own:", err)
	}
	os.Exit(m.Run())
}
