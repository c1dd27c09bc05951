package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// ErrPrivilege says that this user can make no namespaces, in words for the person at the keyboard.
var ErrPrivilege = errors.New("a lab needs root, or a kernel that lets users make namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)")

// userVar is set in the process that AsRoot starts.
const userVar = "RELEVE_LAB_USER"

// User is who started the lab: the effective user, or the one that AsRoot made root of a namespace.
func User() int {
	if u, err := strconv.Atoi(os.Getenv(userVar)); err == nil {
		return u
	}
	return os.Geteuid()
}

// AsRoot makes sure that labs can be made: for root it does nothing and gives again = false. For another user it runs the program
// once more, with the same arguments, as the root of a user namespace of its own, and gives that run's exit status with again =
// true.
func AsRoot() (status int, again bool, err error) {
	if os.Geteuid() == 0 {
		return 0, false, nil
	}
	if os.Getenv(userVar) != "" {
		return 0, false, ErrPrivilege
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	c := exec.Command(exe, os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), userVar+"="+strconv.Itoa(os.Geteuid()))
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGTERM,
	}
	// The terminal sends its signals to both; the child cleans up and this process waits for it.
	caught := make(chan os.Signal, 8)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(caught)
	if err := c.Start(); err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrPrivilege, err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-caught:
				if s != os.Interrupt {
					_ = c.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	err = c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, false, err
	}
	return max(c.ProcessState.ExitCode(), 0), true, nil
}
