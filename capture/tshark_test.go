package capture_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"releve/capture"
	"releve/internal/testneed"
)

// read decodes a file.
func read(t testing.TB, path string) (frames []*capture.Frame, points []capture.Point) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := capture.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var d capture.Decoder
	for {
		p, err := r.Next()
		if err == io.EOF {
			return frames, r.Points()
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, d.Decode(p))
	}
}

// same compares a value of ours with tshark's: numbers in any base, truths as 0 and 1 or words, else the text.
func same(ours, theirs string) bool {
	if ours == theirs {
		return true
	}
	norm := func(s string) string {
		switch strings.ToLower(s) {
		case "true", "set":
			return "1"
		case "false", "not set":
			return "0"
		}
		s = strings.ToLower(strings.ReplaceAll(s, ":", ""))
		if n, err := strconv.ParseUint(s, 0, 64); err == nil {
			return fmt.Sprint(n)
		}
		return s
	}
	return norm(ours) == norm(theirs)
}

func testdata(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.pcapng")
	if err != nil || len(all) < 5 {
		t.Fatalf("captures %v, %v", all, err)
	}
	return all
}

// rare writes a capture of what no capture of ours has: a connection of version 0 whose sequence numbers are adjusted, as NAT of FTP does.
func rare(t testing.TB) string {
	t.Helper()
	const sync0 = "01005e000051 020000000001 0800" + // to the group of the sync daemons
		"4500 0050 0000 0000 01 11 0000 0a000001 e0000051" + "d000 2290 003c 0000" +
		"01 0a 0034" + // one connection, id 10, 52 bytes
		"00 06 8001 0015 0015 c0000201 0a00000a c0a8c80b 0600 0001" + // TCP, ports, addresses, both sequences adjusted, established
		"11111111 00000002 00000001" + "22222222 00000004 00000003"
	b, err := hex.DecodeString(strings.ReplaceAll(sync0, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rare.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := capture.NewWriter(f)
	err = w.Write(capture.Packet{At: time.Unix(1000, 0), Data: b, Len: len(b)}, "")
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// tshark reads the same captures, and every field of ours that it has by that name must have the value that it sees, in every
// frame and as often.
func TestTsharkSeesTheSameFields(t *testing.T) {
	testneed.Need(t, "tshark")
	seen := map[string]int{}
	files := append(testdata(t), rare(t))
	for _, l := range linkForms {
		frames, _ := read(t, "testdata/failover.pcapng")
		files = append(files, classic(t, l.link, frames, 1<<16, l.form))
	}
	checks, _ := read(t, "testdata/checks.pcapng")
	files = append(files, classic(t, 1, slices.DeleteFunc(checks, func(f *capture.Frame) bool { return f.Proto == "tls" }), 96, func(f *capture.Frame) []byte { return f.Data }))
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			frames, _ := read(t, path)
			var names []string
			for _, f := range frames {
				for _, x := range f.Fields {
					if !slices.Contains(names, x.Name) && !strings.HasPrefix(x.Name, "releve.") {
						names = append(names, x.Name)
					}
				}
			}
			args := []string{"-r", path, "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "vrrp.v3_checksum_as_in_v2:FALSE", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=|"}
			for _, n := range names {
				args = append(args, "-e", n)
			}
			c := exec.Command("tshark", args...)
			var errs bytes.Buffer
			c.Stderr = &errs
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(lines) != len(frames) {
				t.Fatalf("tshark sees %d frames, we %d", len(lines), len(frames))
			}
			bad := 0
			for i, f := range frames {
				cols := strings.Split(lines[i], "\t")
				for c, n := range names {
					var ours, theirs []string
					for _, x := range f.Fields {
						if x.Name == n {
							ours = append(ours, x.Value)
						}
					}
					if c < len(cols) && cols[c] != "" {
						theirs = strings.Split(cols[c], "|")
					}
					if len(ours) == 0 {
						continue // a field that we do not read in this kind of frame
					}
					seen[n] += len(ours)
					if f.Proto == "icmp" && len(theirs) > len(ours) {
						theirs = theirs[:len(ours)] // the packet that an error is about follows
					}
					if !slices.EqualFunc(ours, theirs, same) {
						if bad++; bad < 20 {
							t.Errorf("frame %d (%s): %s is %q for us, %q for tshark", i+1, f.Proto, n, ours, theirs)
						}
					}
				}
			}
		})
	}
	for _, n := range []string{"vrrp.prio", "vrrp.ipv6_addr", "vrrp.short_adver_int", "vrrp.adver_int", "arp.src.proto_ipv4", "icmpv6.nd.na.target_address", "igmp.maddr", "igmp.record_type",
		"icmpv6.mldr.mar.multicast_address", "ipvs.caddr", "ipvs.timeout", "ipvs.flags.v1", "ipvs.flags", "ipvs.out_seq.delta", "bfd.sta", "bfd.my_discriminator", "dhcp.option.dhcp", "dhcp.ip.your", "dhcpfo.type", "dhcpfo.serverstatus",
		"dhcpfo.bindingstatus", "dhcpfo.assignedipaddress", "http.request.uri", "http.response.code", "http.user_agent", "smtp.req.command", "tls.handshake.type", "dns.qry.name", "icmp.type", "tcp.flags", "ah.spi", "ah.sequence", "sll.src.eth", "vlan.id"} {
		if seen[n] == 0 {
			t.Errorf("no capture has %s", n)
		}
	}
}

// What we write is read by tshark with the sentence as comment, and by ourselves with nothing lost.
func TestTheCommentsAreThere(t *testing.T) {
	testneed.Need(t, "tshark")
	path := filepath.Join(t.TempDir(), "out.pcapng")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("testdata/failover.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := capture.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	var notes keeper
	n, err := capture.Run(r, capture.Options{}, capture.File{W: capture.NewWriter(out), Done: out.Close}, &notes)
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("tshark", "-r", path, "-T", "fields", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != n {
		t.Fatalf("%d comments for %d frames", len(lines), n)
	}
	for i, l := range lines {
		if !strings.Contains(l, notes.notes[i].Text) || l == "" {
			t.Errorf("frame %d: comment %q, sentence %q", i+1, l, notes.notes[i].Text)
		}
	}
	before, points := read(t, "testdata/failover.pcapng")
	after, names := read(t, path)
	if !slices.Equal(points, names) {
		t.Errorf("interfaces %v, read again %v", points, names)
	}
	for i := range before {
		if !bytes.Equal(before[i].Data, after[i].Data) || !before[i].At.Equal(after[i].At) || before[i].Len != after[i].Len || before[i].Point != after[i].Point {
			t.Errorf("frame %d is another one when it is read again", i+1)
		}
	}
}

// keeper is a sink that keeps everything.
type keeper struct {
	frames []*capture.Frame
	notes  []capture.Note
	last   []capture.Event
}

func (k *keeper) Frame(f *capture.Frame, n *capture.Note, _ []capture.Point) error {
	k.frames, k.notes = append(k.frames, f), append(k.notes, *n)
	return nil
}

func (k *keeper) Close(last []capture.Event) error { k.last = last; return nil }
