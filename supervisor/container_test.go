package supervisor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"releve/internal/testneed"
)

// children are the processes whose parent is pid: their states and names, as /proc shows them.
func children(pid int) (list []string) {
	out, _ := exec.Command("ps", "-o", "stat=,comm=", "--ppid", strconv.Itoa(pid)).Output()
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

func zombies(pid int) (n int) {
	for _, c := range children(pid) {
		if strings.HasPrefix(c, "Z") {
			n++
		}
	}
	return n
}

// In a container the daemon is often the first process: what scripts leave behind becomes its child, and is not left a zombie for ever. The
// shell that became the daemon may have had children, too.
func TestChildrenThatTheDaemonNeverStartedAreWaitedFor(t *testing.T) {
	testneed.Need(t, "netns", "ps")
	both(t, func(t *testing.T, w which) {
		network(t)
		dir := t.TempDir()
		conf := config(t, owner)
		log := &output{}
		cmd := exec.Command("unshare", "-p", "--fork", "--mount-proc", "--kill-child", "sh", "-c", `sleep 0.2 & exec "$@"`, "sh",
			w.path, "-n", "-l", "-D", "-G", "-f", conf, "-p", dir+"/p", "-r", dir+"/r", "-c", dir+"/c")
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		t.Cleanup(func() { cmd.Process.Signal(syscall.SIGKILL); <-ended })
		eventually(t, "it is master", hasVIP)
		eventually(t, "it is up", log.has("Startup complete"))
		if got := strings.TrimSpace(read(dir + "/p")); got != "1" {
			t.Fatalf("the daemon is process %s of its namespace", got)
		}
		out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(cmd.Process.Pid)).Output()
		first, perr := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil || perr != nil {
			t.Fatal(err, perr)
		}
		for i := range 5 {
			// Somebody whose parent ends before him, beside a script of the daemon that does the same.
			if out, err := exec.Command("nsenter", "-t", fmt.Sprint(first), "-p", "sh", "-c", fmt.Sprintf("sleep 0.%d & sleep 0.%d & exit 0", i, i+1)).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		eventually(t, "nobody but its part is left", func() bool { return zombies(first) == 0 && len(children(first)) == 1 })
		// A part that dies among them is noticed all the same.
		exec.Command("nsenter", "-t", fmt.Sprint(first), "-p", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.01 & done; kill -KILL "+strings.TrimSpace(read(dir+"/r"))).Run()
		eventually(t, "it is started again", log.has("Respawning"))
		eventually(t, "nobody but its part is left", func() bool { return zombies(first) == 0 && len(children(first)) == 1 })
		if out, err := exec.Command("nsenter", "-t", fmt.Sprint(first), "-p", "kill", "-TERM", "1").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("it did not end within 30 s")
		}
		if hasVIP() || exists(dir+"/p") {
			t.Errorf("it did not end in good order:\n%s", log)
		}
	})
}

// What a container is left with: CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BROADCAST, with or without the usual ones, never CAP_SYS_ADMIN.
func TestTheCapabilitiesOfAContainerAreEnough(t *testing.T) {
	testneed.Need(t, "netns", "nft-tool")
	const net = "-all,+net_admin,+net_raw,+net_broadcast"
	for _, tt := range []struct{ name, caps, notified string }{
		{"the usual ones", net + ",+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+sys_chroot", "both"},
		{"none but the network's", net, "releve"}, // the reference wants to clear the groups of its own account first
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, w which) {
				network(t)
				dir := t.TempDir()
				note := filepath.Join(dir, "note")
				if err := os.WriteFile(note, []byte("#!/bin/sh\necho \"$@\" >>"+note+".out\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				conf := config(t, "vrrp_script s {\n script /bin/true\n interval 1\n user nobody\n}\n"+strings.Replace(owner, "priority 255",
					"priority 254\n  version 3\n  advert_int 0.2\n  no_accept\n  notify "+note+"\n  track_script {\n    s\n  }", 1))
				log := &output{}
				cmd := exec.Command("setpriv", "--bounding-set="+tt.caps, "--inh-caps="+tt.caps, w.path, "-n", "-l", "-D", "-G", "-f", conf)
				cmd.Stdout, cmd.Stderr = log, log
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{})
				go func() { cmd.Wait(); close(ended) }()
				t.Cleanup(func() {
					cmd.Process.Signal(syscall.SIGTERM)
					<-ended
					if t.Failed() {
						t.Logf("log of the daemon:\n%s", log)
					}
				})
				eventually(t, "it is master, though a script cannot be run", hasVIP)
				eventually(t, "nobody may use the address", func() bool {
					out, _ := exec.Command("nft", "list", "ruleset").Output()
					return strings.Contains(string(out), "10.9.0.1")
				})
				if tt.notified == "both" || tt.notified == w.name {
					eventually(t, "the notify script has run", func() bool { return strings.Contains(read(note+".out"), "INSTANCE VI_1 MASTER 254") })
				}
			})
		})
	}
}
