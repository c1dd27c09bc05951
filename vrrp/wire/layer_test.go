package wire

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"releve/internal/testneed"
)

// frame wraps a golden packet in Ethernet and IP by way of gopacket's layers.
func frame(t testing.TB, i int) []byte {
	t.Helper()
	g := goldens[i]
	l := &Layer{Advert: g.want}
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	var ip gopacket.SerializableLayer
	if g.src.Is4() {
		eth.EthernetType, eth.DstMAC = layers.EthernetTypeIPv4, net.HardwareAddr{1, 0, 0x5e, 0, 0, 0x12}
		v4 := &layers.IPv4{Version: 4, TOS: TOS, TTL: TTL, Id: 1, Protocol: layers.IPProtocolVRRP, SrcIP: g.src.AsSlice(), DstIP: g.dst.AsSlice()}
		ip = v4
		if err := l.SetNetworkLayerForChecksum(v4); err != nil {
			t.Fatal(err)
		}
	} else {
		eth.EthernetType, eth.DstMAC = layers.EthernetTypeIPv6, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0x12}
		v6 := &layers.IPv6{Version: 6, TrafficClass: TOS, HopLimit: TTL, NextHeader: layers.IPProtocolVRRP, SrcIP: g.src.AsSlice(), DstIP: g.dst.AsSlice()}
		ip = v6
		if err := l.SetNetworkLayerForChecksum(v6); err != nil {
			t.Fatal(err)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, l); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestLayerReadsWhatItWrote(t *testing.T) {
	Register()
	layers.IPProtocolMetadata[layers.IPProtocolVRRP] = layers.EnumMetadata{DecodeWith: Decoder, Name: "VRRP", LayerType: LayerTypeVRRP}
	for i, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			b := frame(t, i)
			if !bytes.Contains(b, unhex(t, g.hex)) {
				t.Fatalf("frame %x does not hold the golden packet", b)
			}
			p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			l, ok := p.Layer(LayerTypeVRRP).(*Layer)
			if !ok {
				t.Fatalf("no VRRP layer in %v", p)
			}
			if !reflect.DeepEqual(l.Advert, g.want) || l.Type != TypeAd || l.IPv6 != g.src.Is6() {
				t.Errorf("%+v", l)
			}
			if !l.ChecksumGood(g.src, g.dst) {
				t.Error("checksum not good")
			}
		})
	}
}

func TestLayerReportsTruncation(t *testing.T) {
	Register()
	layers.IPProtocolMetadata[layers.IPProtocolVRRP] = layers.EnumMetadata{DecodeWith: Decoder, Name: "VRRP", LayerType: LayerTypeVRRP}
	b := frame(t, 0)
	for n := 34; n < 34+24; n++ { // gopacket pads to 60
		if p := gopacket.NewPacket(b[:n], layers.LayerTypeEthernet, gopacket.Default); !p.Metadata().Truncated {
			t.Errorf("%d of %d bytes: not truncated", n, len(b))
		}
	}
}

func TestTsharkReadsOurFramesAsWeMeantThem(t *testing.T) {
	testneed.Need(t, "tshark")
	path := filepath.Join(t.TempDir(), "vrrp.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i := range goldens {
		b := frame(t, i)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(b), Length: len(b)}, b); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	args := []string{"-r", path, "-T", "fields", "-E", "separator=|"}
	for _, name := range []string{"vrrp.version", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.addr_count", "vrrp.ip_addr", "vrrp.ipv6_addr", "vrrp.adver_int",
		"vrrp.short_adver_int", "vrrp.auth_type", "vrrp.auth_string", "vrrp.checksum.status", "ip.ttl", "ip.dsfield", "ip.id"} {
		args = append(args, "-e", name)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	want := []string{
		"2|51|100|2|10.9.0.100,10.9.0.101||1||0||1|255|0xc0|0x0001",
		"2|51|100|1|10.9.0.100||3||1|secret|1|255|0xc0|0x0001",
		"3|51|150|1|10.9.0.100|||100|||1|255|0xc0|0x0001",
		"3|51|100|2||fe80::64,2001:db8::64||10|||1|||",
	}
	if got := strings.Split(strings.TrimRight(string(out), "\n"), "\n"); !reflect.DeepEqual(got, want) {
		t.Errorf("tshark says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
