package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// busyText is a configuration of 100 instances at 0.1 s and 200 scripts that run every second; n changes one priority in it.
func busyText(n int) string {
	var b strings.Builder
	b.WriteString("global_defs {\n script_user root\n enable_script_security\n}\n")
	for i := range 200 {
		fmt.Fprintf(&b, "vrrp_script s%d {\n script /bin/true\n interval 1\n weight 1\n}\n", i)
	}
	for i := range 100 {
		prio := 20
		if i == 99 {
			prio += n % 2
		}
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n interface e0\n virtual_router_id %d\n priority %d\n version 3\n advert_int 0.1\n", i, i+1, prio)
		if i == 0 {
			b.WriteString(" track_script {\n")
			for s := range 200 {
				fmt.Fprintf(&b, "  s%d\n", s)
			}
			b.WriteString(" }\n")
		}
		fmt.Fprintf(&b, " virtual_ipaddress {\n  10.20.%d.1/32\n }\n}\n", i)
	}
	return b.String()
}

// busy measures how even adverts are while scripts run, while the file is reloaded again and again, and in a flood of adverts.
func busy(bin, kind string) error {
	serial++
	ns := [2]string{fmt.Sprintf("m%d", serial), fmt.Sprintf("b%d", serial)}
	for i := range ns {
		if err := errors.Join(sh("ip netns add %s", ns[i]), sh("ip -n %s link set lo up", ns[i])); err != nil {
			return err
		}
		defer func() { _ = sh("ip netns del %s", ns[i]) }()
	}
	if err := sh("ip link add e0 netns %s type veth peer name e0 netns %s", ns[0], ns[1]); err != nil {
		return err
	}
	for i := range ns {
		if err := errors.Join(sh("ip -n %s addr add 10.9.0.%d/24 dev e0", ns[i], i+1), sh("ip -n %s link set e0 up", ns[i])); err != nil {
			return err
		}
	}
	ear, err := listen(ns[1])
	if err != nil {
		return err
	}
	defer ear.close()
	conf := fmt.Sprintf("/run/%s.conf", ns[0])
	if err := os.WriteFile(conf, []byte(busyText(0)), 0o644); err != nil {
		return err
	}
	c := exec.Command("ip", "netns", "exec", ns[0], bin, "-n", "-G", "-P", "-f", conf, "-p", conf+".p", "-r", conf+".r", "-c", conf+".c", "-b", conf+".b")
	if err := c.Start(); err != nil {
		return err
	}
	defer func() { killAll(c); _ = c.Wait() }()
	time.Sleep(8 * time.Second)
	for _, phase := range []struct {
		name string
		work func() error
	}{
		{"200 scripts a second", func() error { time.Sleep(4 * time.Second); return nil }},
		{"and a reload a second", func() error {
			for n := range 4 {
				if err := os.WriteFile(conf, []byte(busyText(n+1)), 0o644); err != nil {
					return err
				}
				_ = c.Process.Signal(syscall.SIGHUP)
				time.Sleep(time.Second)
			}
			return nil
		}},
		{"and 50,000 adverts a second", func() error { return flood(ns[1], 50000, 3*time.Second) }},
	} {
		ear.discard()
		before, begin := cpu(c.Process.Pid), time.Now()
		if err := phase.work(); err != nil {
			return err
		}
		took := time.Since(begin)
		used := cpu(c.Process.Pid) - before
		frames := ear.read()
		other, adverts := frames[:0:0], 0
		for _, f := range frames {
			if f.prio >= 0 {
				adverts++
			}
			if f.prio < 0 || f.id&0xff == 1 || f.id&0xff == 100 {
				continue // those whose priority changes
			}
			other = append(other, f)
		}
		p99, most, _ := jitter(other, 100*time.Millisecond)
		fmt.Printf("%-28s %-11s %10s %10s %10.1f %% of a processor %8d adverts of %d\n", phase.name, kind, show(p99), show(most), 100*used.Seconds()/took.Seconds(), adverts, 1000*int(took)/int(time.Second))
	}
	return nil
}

// flood sends adverts that nobody can want from a namespace: wrong checksum, unknown virtual router, cut.
func flood(ns string, rate int, d time.Duration) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			at, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(at)
			if err := unix.Setns(at, unix.CLONE_NEWNET); err != nil {
				return err
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			dev, err := net.InterfaceByName("e0")
			if err != nil {
				return err
			}
			if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(dev.Index)}); err != nil {
				return err
			}
			packet := func(vrid byte, body ...byte) []byte {
				p := []byte{0x45, 0xc0, 0, 0, 0, 9, 0, 0, 255, 112, 0, 0, 10, 9, 0, 2, 224, 0, 0, 18, 0x31, vrid, 200, 1}
				p = append(p, body...)
				binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
				return p
			}
			list := [][]byte{packet(2, 0, 10, 1, 2, 10, 20, 1, 1), packet(200, 0, 10, 1, 2, 10, 20, 1, 1), packet(3, 0, 10, 1)}
			to := &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}}
			begin := time.Now()
			for n := 0; time.Since(begin) < d; n++ {
				if n%100 == 0 {
					time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
				}
				_ = unix.Sendto(fd, list[n%len(list)], 0, to)
			}
			return nil
		}()
	}()
	return <-done
}
