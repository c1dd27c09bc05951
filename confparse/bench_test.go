package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// generated makes a configuration of about n lines as real directors have them: instances, virtual servers, real servers with
// checkers, comments.
func generated(n int) string {
	var b strings.Builder
	b.WriteString("! generated\nglobal_defs {\n    router_id lb1\n}\n\n")
	for i, lines := 0, 5; lines < n; i++ {
		if i%8 == 0 {
			fmt.Fprintf(&b, "vrrp_instance VI_%d {\n    state BACKUP\n    interface eth0\n    virtual_router_id %d\n    priority 100\n"+
				"    advert_int 1\n    authentication {\n        auth_type PASS\n        auth_pass secret%d\n    }\n"+
				"    virtual_ipaddress {\n        10.0.%d.1/24 dev eth0\n    }\n}\n\n", i, i%255+1, i%10, i%256)
			lines += 15
		}
		fmt.Fprintf(&b, "# service %d\nvirtual_server 10.%d.%d.1 80 {\n    delay_loop 6\n    lb_algo wrr\n    lb_kind DR\n    protocol TCP\n", i, i/256, i%256)
		lines += 6
		for r := range 4 {
			fmt.Fprintf(&b, "    real_server 192.168.%d.%d 80 {\n        weight %d\n        TCP_CHECK {\n            connect_timeout 3\n"+
				"            retry 3\n            delay_before_retry 3\n        }\n    }\n", i%256, r+1, r+1)
			lines += 8
		}
		b.WriteString("}\n\n")
		lines += 2
	}
	return b.String()
}

func benchmarkFile(b *testing.B, text string) (string, int) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "k.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path, strings.Count(text, "\n")
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		path, lines := benchmarkFile(b, generated(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Load(path, LoadOptions{ConfigID: "x"})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		path, lines := benchmarkFile(b, generated(n))
		src, _ := Load(path, LoadOptions{ConfigID: "x"})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(src)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
		})
	}
}

// BenchmarkSequence expands one instance to 10,000 and 20,000: twice the instances take twice the time.
func BenchmarkSequence(b *testing.B) {
	for _, n := range []int{10_000, 20_000} {
		path, _ := benchmarkFile(b, fmt.Sprintf("$VI= \\\nvrrp_instance VI_${N}_${ID} { \\\n interface eth${N} \\\n virtual_router_id ${ID} \\\n"+
			" priority 100 \\\n virtual_ipaddress { \\\n  10.0.${N}.${ID}/24 \\\n } \\\n}\n~SEQ(N,1,%d) ~SEQ(ID,1,250) $VI\n", n/250))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				src, _ := Load(path, LoadOptions{ConfigID: "x"})
				Parse(src)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/instance")
		})
	}
}

func BenchmarkHandOver(b *testing.B) {
	path, lines := benchmarkFile(b, generated(100_000))
	src, _ := Load(path, LoadOptions{ConfigID: "x"})
	b.ReportAllocs()
	var size int
	for b.Loop() {
		data, _ := src.MarshalBinary()
		size = len(data)
		if _, err := UnmarshalSource(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/line")
	b.ReportMetric(float64(size), "bytes")
}
