package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"releve/capture"
	"releve/lab"
)

// labDir is where running labs are registered.
func labDir() string {
	user := lab.User()
	if user == 0 {
		return "/run/releve-lab"
	}
	return filepath.Join(os.TempDir(), "releve-lab-"+strconv.Itoa(user))
}

// registered is a running lab: the locked file says who runs it and how to enter its hosts.
type registered struct {
	file *os.File
	path string
}

type registration struct {
	Pid   int               `json:"pid"`
	Hosts map[string]string `json:"hosts"` // a thread that lives in the host's namespaces
}

// register takes the name of a lab; it fails if a lab of that name runs.
func register(name string) (*registered, error) {
	if name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is not a name for a lab", name)
	}
	if err := os.MkdirAll(labDir(), 0o700); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(labDir(), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("%s is not a folder that only this user may write to: remove it", labDir())
	}
	path := filepath.Join(labDir(), name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		r, _ := readRegistration(path)
		return nil, fmt.Errorf("a lab named %s runs already (process %d): end it with `releve lab down %s`, or give this one another name with --as", name, r.Pid, name)
	}
	r := &registered{f, path}
	return r, r.write(registration{Pid: os.Getpid()})
}

func (r *registered) write(v registration) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(b, 0)
	return err
}

// built notes the hosts, when they are there.
func (r *registered) built(hosts map[string]*lab.Host) error {
	v := registration{Pid: os.Getpid(), Hosts: map[string]string{}}
	for name, h := range hosts {
		v.Hosts[name] = strings.TrimSuffix(h.NetNS(), "/ns/net")
	}
	return r.write(v)
}

func (r *registered) release() {
	os.Remove(r.path)
	r.file.Close()
}

func readRegistration(path string) (v registration, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err
}

// running tells whether somebody holds the lock of a registration.
func running(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// labShell is `releve lab shell NAME HOST [COMMAND...]`: a shell, or a command, in the namespaces of a host of a running lab.
func labShell(args []string, stderr io.Writer) int {
	v, err := readRegistration(filepath.Join(labDir(), filepath.Base(args[0])))
	if err != nil || !running(filepath.Join(labDir(), filepath.Base(args[0]))) {
		fmt.Fprintf(stderr, "releve lab: no lab named %s runs (releve lab list says which do)\n", args[0])
		return 2
	}
	dir, ok := v.Hosts[args[1]]
	if !ok {
		var all []string
		for h := range v.Hosts {
			all = append(all, h)
		}
		slices.Sort(all)
		fmt.Fprintf(stderr, "releve lab: %s has no host %s; its hosts are %s\n", args[0], args[1], strings.Join(all, ", "))
		return 2
	}
	argv := args[2:]
	if len(argv) == 0 {
		shell := os.Getenv("SHELL")
		if shell == "" {
			shell = "/bin/sh"
		}
		argv = []string{shell}
	}
	if os.Geteuid() != 0 { // the hosts are in a user namespace, which a program with threads cannot enter
		argv = append([]string{"nsenter", "--preserve-credentials", "--user=" + dir + "/ns/user", "--net=" + dir + "/ns/net", "--mount=" + dir + "/ns/mnt", "--"}, argv...)
	}
	path, err := exec.LookPath(argv[0])
	if err == nil && os.Geteuid() == 0 {
		err = enter(dir)
	}
	if err == nil {
		err = syscall.Exec(path, argv, append(os.Environ(), "PS1="+args[1]+"# ", lab.GuestVar+"="+args[1]))
	}
	fmt.Fprintf(stderr, "releve lab: %v\n", err)
	return 2
}

// enter moves the calling thread, which never leaves it again, into the namespaces of another one.
func enter(dir string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	var files []*os.File
	for _, ns := range []string{"net", "mnt"} {
		f, err := os.Open(filepath.Join(dir, "ns", ns))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for i, kind := range []int{unix.CLONE_NEWNET, unix.CLONE_NEWNS} {
		if err := unix.Setns(int(files[i].Fd()), kind); err != nil {
			return fmt.Errorf("enter the host: %w", err)
		}
		files[i].Close()
	}
	return nil
}

// labDown is `releve lab down [NAME]`: ends running labs, and what killed ones left behind.
func labDown(names []string, stdout, stderr io.Writer) int {
	if len(names) == 0 {
		all, _ := os.ReadDir(labDir())
		for _, f := range all {
			names = append(names, f.Name())
		}
	}
	status := 0
	for _, n := range names {
		path := filepath.Join(labDir(), filepath.Base(n))
		v, err := readRegistration(path)
		if err != nil {
			fmt.Fprintf(stderr, "releve lab: no lab named %s runs, and none was left behind\n", n)
			status = 2
			continue
		}
		if running(path) && v.Pid > 1 {
			_ = unix.Kill(v.Pid, unix.SIGTERM)
			for end := time.Now().Add(15 * time.Second); running(path) && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			if running(path) {
				fmt.Fprintf(stderr, "releve lab: %s (process %d) does not end\n", n, v.Pid)
				status = 1
				continue
			}
			fmt.Fprintf(stdout, "%s is down\n", n)
		} else {
			os.Remove(path)
			fmt.Fprintf(stdout, "%s had been left behind\n", n)
		}
	}
	if left := lab.Sweep(); left > 0 {
		fmt.Fprintf(stdout, "%d processes of dead labs ended\n", left)
	}
	return status
}

// labPlaces are the interfaces of all hosts of a running lab; their addresses get the hosts' names.
func labPlaces(name string, hosts map[string]string) ([]capture.Place, error) {
	path := filepath.Join(labDir(), filepath.Base(name))
	v, err := readRegistration(path)
	if err != nil || !running(path) {
		return nil, fmt.Errorf("no lab named %s runs (releve lab list says which do)", name)
	}
	var out []capture.Place
	for _, host := range slices.Sorted(maps.Keys(v.Hosts)) {
		in := inNetwork(filepath.Join(v.Hosts[host], "ns", "net"))
		err := in(func() error {
			ifs, err := net.Interfaces()
			for _, i := range ifs {
				if i.Flags&net.FlagLoopback != 0 {
					continue
				}
				out = append(out, capture.Place{Name: host + " " + i.Name, Iface: i.Name, In: in})
				hosts[i.HardwareAddr.String()] = host
				addrs, _ := i.Addrs()
				for _, a := range addrs {
					if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
						hosts[p.Addr().String()] = host
					}
				}
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", host, name, err)
		}
	}
	return out, nil
}

// inNetwork runs functions in a network namespace, each on a thread that ends with it.
func inNetwork(path string) func(func() error) error {
	return func(f func() error) error {
		done := make(chan error, 1)
		lab.Apart(func() {
			ns, err := os.Open(path)
			if err == nil {
				err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
				ns.Close()
			}
			if err == nil {
				err = f()
			}
			done <- err
		})
		return <-done
	}
}
