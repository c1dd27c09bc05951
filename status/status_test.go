package status

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"releve/confparse"
	"releve/director"
	"releve/healthcheck"
	"releve/ipvs"
	"releve/script"
	"releve/vrrp"
	"releve/vrrp/vip"
)

var at = time.Unix(1795223487, 700358000).UTC()

// one is a snapshot with a master of everything that dumps show.
func one() *vrrp.Snapshot {
	true_ := &script.Command{Args: []string{"/usr/bin/true", "a b"}}
	in := &vrrp.InstanceConfig{
		Name: "VI/1", Iface: "eth0", VRID: 51, Version: 2, Priority: 150, AdvertInt: time.Second, Auth: vrrp.AuthPass, Accept: true,
		DownTimerAdverts: 3, GARP: &vrrp.GARPConfig{Delay: 5 * time.Second, Repeat: 5, RefreshRepeat: 1, LowerPrioDelay: 5 * time.Second, LowerPrioRepeat: 5},
		VIPs:     []vip.Address{{Prefix: netip.MustParsePrefix("10.9.0.1/24"), Dev: "eth1", Label: "eth1:1"}, {Prefix: netip.MustParsePrefix("10.9.0.3/32")}},
		Excluded: []vip.Address{{Prefix: netip.MustParsePrefix("2001:db8::5/64")}, {Prefix: netip.MustParsePrefix("fe80::9/128")}},
		Group:    "G", Track: &vrrp.TrackConfig{Scripts: []vrrp.TrackRef{{Name: "chk"}}, Ifaces: []vrrp.TrackRef{{Name: "eth2", Weight: 5, HasWeight: true}}},
		Notify: &vrrp.NotifyConfig{Master: true_, Any: []*script.Command{true_}, SMTPAlert: true},
	}
	copy(in.AuthPass[:], "secret")
	cfg := &vrrp.Config{Instances: []*vrrp.InstanceConfig{in}, Scripts: []*vrrp.ScriptConfig{{Name: "chk", Command: *true_, Weight: -10, Rise: 1, Fall: 1, Interval: time.Second}},
		Groups: []*vrrp.GroupConfig{{Name: "G", Members: []string{"VI/1"}}}}
	return &vrrp.Snapshot{Time: at, Config: cfg, Scripts: map[string]vrrp.ObjectSnapshot{"chk": {Known: true, Up: true}}, Groups: []vrrp.GroupSnapshot{{Config: cfg.Groups[0], State: vrrp.Master}}, Instances: []vrrp.InstanceSnapshot{{
		Config: in, State: vrrp.Master, Want: vrrp.Master, Priority: 155, LastTransition: at, MasterInterval: time.Second,
		DownInterval: 3394531 * time.Microsecond, Source: netip.MustParseAddr("10.9.0.2"), VIPsSet: true, Weights: map[string]int{"eth2": 5},
		Stats: vrrp.Stats{AdvertRcvd: 3, AdvertSent: 4, BecomeMaster: 1}, In: 7, Out: 8,
	}}, Sockets: []vrrp.SocketSnapshot{{Iface: "eth0", In: 7, Out: 8, Instances: cfg.Instances}},
		Interfaces: []vrrp.IfaceSnapshot{{Name: "eth0", Index: 3, Kind: "ether", Flags: 0x1043, MTU: 1500, Users: []vrrp.IfaceUser{{Instance: "VI/1"}}}}}
}

func written(f func(w *bufio.Writer)) string {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	f(w)
	w.Flush()
	return b.String()
}

func TestC11DataHasTheLinesThatClientsLookFor(t *testing.T) {
	got := written(func(w *bufio.Writer) { Data(w, &confparse.Config{Global: confparse.Global{RouterID: "r"}}, one()) })
	const want = `------< VRRP Topology >------
 VRRP Instance = VI/1
   VRRP Version = 2
   Sync group = G
   State = MASTER
   Flags: none
   Wantstate = MASTER
`
	if !strings.HasPrefix(got, "------< Global definitions >------\n") || !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it\n%s", got, want)
	}
	for _, line := range []string{
		"   Interface = eth0", "   Gratuitous ARP delay = 5", "   Virtual Router ID = 51", "   Priority = 150", "   Effective priority = 155",
		"   Virtual IP (2):", "     10.9.0.1/24 dev eth1 scope global label eth1:1 set", "     10.9.0.3 dev eth0 scope global set",
		"   Virtual IP Excluded :", "     2001:db8::5/64 dev eth0 scope global preferred_lft forever set", "     fe80::9 dev eth0 scope global deprecated set",
		" VRRP Sync Group = G, MASTER", " VRRP Script = chk", "   Status = GOOD", "   State = idle", "   Authentication type = SIMPLE_PASSWORD", "   Password = ********",
		"   Master state transition script = '/usr/bin/true' 'a b', uid:gid 0:0",
		"   fd_in 7, fd_out 8", "------< VRRP Sockpool >------", " fd_in 7 fd_out = 8", "     VI/1 vrid 51", "------< Interfaces >------", " Name = eth0",
		"   State = UP, RUNNING", "     VI/1, weight 0", "   Read timeout = DISABLED", " Default script uid:gid 0:0",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Error("C13: the password is shown")
	}
}

func TestC12StatsAreTheReferencesText(t *testing.T) {
	want := `VRRP Instance: VI/1
  Advertisements:
    Received: 3
    Sent: 4
  Became master: 1
  Released master: 0
  Packet Errors:
    Length: 0
    TTL: 0
    Invalid Type: 0
    Advertisement Interval: 0
    Address List: 0
  Authentication Errors:
    Invalid Type: 0
    Type Mismatch: 0
    Failure: 0
  Authentication Extension Errors:
    Missing: 0
    Malformed: 0
    Unknown Key: 0
    Invalid HMAC: 0
    Stale: 0
    Replay: 0
  Priority Zero:
    Received: 0
    Sent: 0
`
	if got := written(func(w *bufio.Writer) { Stats(w, one()) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestC12JSONIsTheReferencesInKeysOrderAndNumbers(t *testing.T) {
	want := `[{"data":{"iname":"VI\/1","dont_track_primary":0,"skip_check_adv_addr":0,"strict_mode":0,"vmac_ifname":"","ifp_ifname":"eth0",` +
		`"master_priority":0,"last_transition":1795223487.700358,"garp_delay":5,"garp_refresh":0,"garp_rep":5,"garp_refresh_rep":1,` +
		`"garp_lower_prio_delay":5,"garp_lower_prio_rep":5,"lower_prio_no_advert":0,"higher_prio_send_advert":0,"vrid":51,"base_priority":150,` +
		`"effective_priority":155,"vipset":true,"promote_secondaries":false,"adver_int":1,"master_adver_int":1,"accept":1,"nopreempt":false,` +
		`"preempt_delay":0,"state":2,"wantstate":2,"version":2,"smtp_alert":true,"notify_deleted":false,` +
		`"script_master":"'\/usr\/bin\/true' 'a b'","script":"'\/usr\/bin\/true' 'a b'",` +
		`"vips":["10.9.0.1\/24 dev eth1 scope global label eth1:1 set","10.9.0.3 dev eth0 scope global set"],` +
		`"evips":["2001:db8::5\/64 dev eth0 scope global preferred_lft forever set","fe80::9 dev eth0 scope global deprecated set"],` +
		`"track_ifp":["eth2"],"track_script":["'\/usr\/bin\/true' 'a b'"],"auth_type":1,"auth_data":"********"},` +
		`"stats":{"advert_rcvd":3,"advert_sent":4,"become_master":1,"release_master":0,"packet_len_err":0,"advert_interval_err":0,"ip_ttl_err":0,` +
		`"invalid_type_rcvd":0,"addr_list_err":0,"invalid_authtype":0,"authtype_mismatch":0,"auth_failure":0,"auth_ext_missing":0,` +
		`"auth_ext_malformed":0,"auth_ext_unknown_key":0,"auth_ext_invalid_hmac":0,"auth_ext_stale":0,"auth_ext_replay":0,` +
		`"pri_zero_rcvd":0,"pri_zero_sent":0}}]` + "\n"
	if got := written(func(w *bufio.Writer) { JSON(w, 1, one(), nil) }); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFractionsOfSecondsAreWrittenAsTheyAre(t *testing.T) {
	s := one()
	s.Instances[0].Config.AdvertInt = 10 * time.Millisecond
	if got := written(func(w *bufio.Writer) { JSON(w, 1, s, nil) }); !strings.Contains(got, `"adver_int":0.01,`) {
		t.Errorf("got %s", got)
	}
}

// lvs is a snapshot with one virtual server.
func lvs() *director.Snapshot {
	rs := &director.RealServer{Name: "[10.1.0.1]:tcp:8080", Addr: netip.MustParseAddrPort("10.1.0.1:8080"), Weight: 3,
		Checkers: []*healthcheck.Config{{Type: healthcheck.TypeTCP, ID: "c1"}}}
	vs := &director.VirtualServer{Name: "[10.2.0.1]:tcp:80", Key: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80},
		Scheduler: "wrr", Quorum: 1, RealServers: []*director.RealServer{rs}}
	return &director.Snapshot{Plane: "ipvs", Config: &director.Config{VirtualServers: []*director.VirtualServer{vs}},
		VirtualServers: []director.VirtualServerStatus{{Config: vs, QuorumUp: true, LiveWeight: 3,
			RealServers: []director.RealServerStatus{{Config: rs, Alive: true, InTable: true, Weight: 2, Checkers: []director.CheckerStatus{{ID: "c1", Up: true, Ran: true, At: at}}}}}}}
}

func TestE9WithoutVRRPVersion1IsAnEmptyListAndVersion2HoldsTheVirtualServers(t *testing.T) {
	if got := written(func(w *bufio.Writer) { JSON(w, 1, nil, Servers(lvs())) }); got != "[]\n" {
		t.Errorf("version 1: %q", got)
	}
	got := written(func(w *bufio.Writer) { JSON(w, 2, nil, Servers(lvs())) })
	var v struct {
		VRRP    []any `json:"vrrp"`
		Servers []struct {
			Name string `json:"name"`
			Real []struct {
				Alive    bool `json:"alive"`
				Weight   int  `json:"effective_weight"`
				Checkers []struct {
					HasRun bool `json:"has_run"`
				} `json:"checkers"`
			} `json:"real_servers"`
		} `json:"virtual_servers"`
	}
	if err := json.Unmarshal([]byte(got), &v); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if v.VRRP == nil || len(v.Servers) != 1 || v.Servers[0].Real[0].Weight != 2 || !v.Servers[0].Real[0].Checkers[0].HasRun {
		t.Errorf("got %s", got)
	}
}

func TestJSONIsValidWhateverIsInANameOrScript(t *testing.T) {
	s := one()
	s.Instances[0].Config.Name = "a\"b\\c/d\te\x01\xff\u2028é"
	for version := 1; version <= 2; version++ {
		if got := written(func(w *bufio.Writer) { JSON(w, version, s, Servers(lvs())) }); !json.Valid([]byte(got)) {
			t.Errorf("version %d: %s", version, got)
		}
	}
}

// TestScriptsAreShownByTheirRealPaths, as the reference shows them; one that is not there as it is written.
func TestScriptsAreShownByTheirRealPaths(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(dir, "real")
	if err := errors.Join(os.WriteFile(real, []byte("#!/bin/sh\n"), 0o755), os.Symlink("real", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	var p programs
	for name, want := range map[string]string{dir + "/link": real, dir + "/../" + filepath.Base(dir) + "/./link": real, "link": real, dir + "/none": dir + "/none", "none": "none"} {
		for range 2 {
			if got := p.command(&script.Command{Args: []string{name, "a b"}}); got != "'"+want+"' 'a b'" {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

func TestCheckDataHasTheReferencesLines(t *testing.T) {
	got := written(func(w *bufio.Writer) { CheckData(w, &confparse.Config{}, lvs()) })
	for _, line := range []string{"------< LVS Topology >------", " ------< Virtual server >------", " VS VIP = 10.2.0.1, VPORT = 80",
		"   ------< Real server >------", "   RIP = 10.1.0.1, RPORT = 8080, WEIGHT = 3 EFF WEIGHT = 2", "------< Health checkers >------",
		" [10.2.0.1]:tcp:80 -> [10.1.0.1]:tcp:8080"} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

func TestE8AFileIsFilledRenamedAndOnlyThenClosed(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "keepalived.data")
	if err := Write(path, 0o666, func(w *bufio.Writer) { w.WriteString("text\n") }); err != nil {
		t.Fatal(err)
	}
	var got []string
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	for buf := buf[:n]; len(buf) >= unix.SizeofInotifyEvent; {
		mask := *(*uint32)(ptr(buf[4:]))
		length := *(*uint32)(ptr(buf[12:]))
		name := string(bytes.TrimRight(buf[16:16+length], "\x00"))
		if strings.HasPrefix(name, "keepalived.data") && len(name) > len("keepalived.data") {
			name = "temporary"
		}
		words := map[uint32]string{unix.IN_CREATE: "create", unix.IN_MODIFY: "fill", unix.IN_MOVED_TO: "rename", unix.IN_CLOSE_WRITE: "close"}
		got = append(got, words[mask]+" "+name)
		buf = buf[16+length:]
	}
	want := "create temporary, fill temporary, rename keepalived.data, close keepalived.data"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

func TestC10ModeFollowsTheUmaskAndLinksAreReplaced(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o177))
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "keepalived.data")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	for umask, want := range map[int]os.FileMode{0o177: 0o600, 0o022: 0o644, 0: 0o666} {
		syscall.Umask(umask)
		if err := Write(path, 0o666, func(w *bufio.Writer) { w.WriteString("x") }); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Lstat(path); err != nil || st.Mode() != want {
			t.Errorf("umask %o: mode %v %v, want %v", umask, st.Mode(), err, want)
		}
	}
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the link was followed: %q", b)
	}
}

func TestAFileThatCannotBeWrittenLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), 0o666, func(w *bufio.Writer) { w.WriteString("x") }); err == nil {
		t.Error("no error for a folder")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestC10NamesOfTheDumpFiles(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, tmpdir string
		o            NamesOptions
		want         Names
	}{
		{"usual names", "", NamesOptions{}, Names{"/tmp/keepalived.data", "/tmp/keepalived_check.data", "/tmp/keepalived_bfd.data", "/tmp/keepalived_parent.data", "/tmp/keepalived.stats", "/tmp/keepalived.json"}},
		{"TMPDIR", dir, NamesOptions{}, Names{dir + "/keepalived.data", dir + "/keepalived_check.data", dir + "/keepalived_bfd.data", dir + "/keepalived_parent.data", dir + "/keepalived.stats", dir + "/keepalived.json"}},
		{"TMPDIR that is no folder", "/none", NamesOptions{}, Names{"/tmp/keepalived.data", "/tmp/keepalived_check.data", "/tmp/keepalived_bfd.data", "/tmp/keepalived_parent.data", "/tmp/keepalived.stats", "/tmp/keepalived.json"}},
		{"relative TMPDIR", "tmp", NamesOptions{}, Names{"/tmp/keepalived.data", "/tmp/keepalived_check.data", "/tmp/keepalived_bfd.data", "/tmp/keepalived_parent.data", "/tmp/keepalived.stats", "/tmp/keepalived.json"}},
		{"state_dump_file", "", NamesOptions{State: "/d/x.y", Stats: "/d/s", JSON: "/d/j"}, Names{"/d/x.y", "/d/x_check.y", "/d/x_bfd.y", "/d/x_parent.y", "/d/s", "/d/j"}},
		{"state_dump_file without extension", "", NamesOptions{State: "/d/x"}, Names{"/d/x", "/d/x_check", "/d/x_bfd", "/d/x_parent", "/tmp/keepalived.stats", "/tmp/keepalived.json"}},
		{"folders", "", NamesOptions{State: "/d/", Stats: "/e/", JSON: "/f/"}, Names{"/d/keepalived.data", "/d/keepalived_check.data", "/d/keepalived_bfd.data", "/d/keepalived_parent.data", "/e/keepalived.stats", "/f/keepalived.json"}},
		{"data_use_instance", "", NamesOptions{Tag: "NS_I"}, Names{"/tmp/keepalived.NS_I.data", "/tmp/keepalived_check.NS_I.data", "/tmp/keepalived_bfd.NS_I.data", "/tmp/keepalived_parent.NS_I.data", "/tmp/keepalived.stats", "/tmp/keepalived.json"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", tt.tmpdir)
			if got := FileNames(tt.o); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// many are the dumps of a large director.
func BenchmarkAllDumpsOf1000InstancesAnd10000Servers(b *testing.B) {
	s, l := one(), lvs()
	for i := range 999 {
		in := s.Instances[0]
		c := *in.Config
		c.Name = fmt.Sprint("VI_", i)
		in.Config = &c
		s.Instances = append(s.Instances, in)
		s.Config.Instances = append(s.Config.Instances, &c)
		v := l.VirtualServers[0]
		v.RealServers = nil
		for range 10 {
			v.RealServers = append(v.RealServers, l.VirtualServers[0].RealServers[0])
		}
		l.VirtualServers = append(l.VirtualServers, v)
	}
	g := &confparse.Config{}
	for b.Loop() {
		written(func(w *bufio.Writer) { Data(w, g, s) })
		written(func(w *bufio.Writer) { Stats(w, s) })
		written(func(w *bufio.Writer) { JSON(w, 2, s, Servers(l)) })
		written(func(w *bufio.Writer) { CheckData(w, g, l) })
	}
}

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(&b[0]) }
