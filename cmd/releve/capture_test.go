package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/lab"
)

func captureRun(args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	status := runCapture(args, &out, &errs)
	return status, out.String(), errs.String()
}

const someFrames = "../../capture/testdata/failover.pcapng"

func TestCaptureReadsAFileIntoEveryForm(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	status, out, errs := captureRun("-r", someFrames, "-w", at("o.pcapng"), "--html", at("o.html"), "--json", at("o.json"), "--name", "192.168.56.11=web1", "--color", "always")
	if status != 0 || !strings.Contains(out, "web1 is master of VRID 10") || !strings.Contains(out, "\x1b[") {
		t.Fatalf("status %d, %s, %.300s", status, errs, out)
	}
	for _, n := range []string{"o.pcapng", "o.html", "o.json"} {
		info, err := os.Stat(at(n))
		if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", n, info, err)
		}
	}
	status, brief, _ := captureRun("-r", at("o.pcapng"), "-b", "-n", "40")
	if status != 0 || strings.Contains(brief, "\x1b[") || strings.Count(brief, "\n") > 41 {
		t.Errorf("status %d:\n%s", status, brief)
	}
	conf := at("keepalived.conf")
	if err := os.WriteFile(conf, []byte("vrrp_instance floating {\n interface eth0\n virtual_router_id 10\n virtual_ipaddress {\n 192.168.56.10\n }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, named, _ := captureRun("-r", someFrames, "-f", conf); !strings.Contains(named, "is master of floating (VRID 10)") {
		t.Error("the instance has no name")
	}
}

func TestCaptureSaysWhatItCannotDo(t *testing.T) {
	cut := filepath.Join(t.TempDir(), "cut.pcapng")
	b, err := os.ReadFile(someFrames)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, b[:len(b)-17], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		say    string
	}{
		{nil, 2, "name interfaces with -i, or a file with -r"},
		{[]string{"-r", "a", "-i", "b"}, 2, "name interfaces with -i, or a file with -r"},
		{[]string{"-r", "/nonexistent"}, 1, "no such file"},
		{[]string{"-r", "capture.go"}, 1, "not a capture that can be read"},
		{[]string{"-r", cut, "-q"}, 1, "ends in the middle of a frame"},
		{[]string{"-r", someFrames, "--name", "here=there"}, 2, "write ADDRESS=HOST"},
		{[]string{"-r", someFrames, "--color", "red"}, 2, "not auto, always or never"},
		{[]string{"-r", someFrames, "-w", "/nonexistent/x"}, 1, "no such file"},
		{[]string{"--lab", "nothing-runs"}, 2, "no lab named nothing-runs runs"},
		{[]string{"-i", "nosuch0"}, 1, "nosuch0"},
	} {
		if status, _, errs := captureRun(c.args...); status != c.status || !strings.Contains(errs, c.say) {
			t.Errorf("%v: status %d, %s", c.args, status, errs)
		}
	}
}

// A live capture on an interface of a lab sees what passes, and ends when the interface vanishes.
func TestALiveCaptureEndsWithItsInterface(t *testing.T) {
	testneed.Need(t, "root", "netns")
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	br, err := l.Bridge("lan")
	if err != nil {
		t.Fatal(err)
	}
	var hosts []*lab.Host
	for _, n := range []string{"a", "b"} {
		h, err := l.Host(n)
		if err == nil {
			err = l.Plug(h, "eth0", br, map[string]string{"a": "10.0.0.1/24", "b": "10.0.0.2/24"}[n])
		}
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	if _, err := hosts[1].Web(":80", "b"); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	ended := make(chan int, 1)
	if err := hosts[0].Thread(func() {
		ended <- runCapture([]string{"-i", "eth0", "--all", "--name", "10.0.0.1=a", "--name", "10.0.0.2=b"}, &out, &errs)
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	traffic, err := hosts[0].Traffic("10.0.0.2:80", 50*time.Millisecond, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(traffic.Since(time.Time{}).By) == 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	traffic.Stop()
	if err := hosts[0].Unplug("eth0"); err != nil {
		t.Fatal(err)
	}
	select {
	case status := <-ended:
		if status != 0 || !strings.Contains(errs.String(), "eth0 is gone") || !strings.Contains(out.String(), "a asks b:80 for a page") {
			t.Errorf("status %d, %s\n%s", status, &errs, &out)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on without its interface")
	}
}
