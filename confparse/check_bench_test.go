package confparse

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyInstances is a file of n instances, 250 on each interface.
func manyInstances(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "vrrp_instance VI_%d {\n\tinterface eth%d\n\tvirtual_router_id %d\n\tpriority 100\n\tvirtual_ipaddress {\n\t\t10.%d.%d.1/24\n\t}\n}\n",
			i, i/250, i%250+1, i/250, i%250)
	}
	return b.String()
}

// manyServers is a file of n virtual servers with ten real servers each.
func manyServers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.1 80 {\n\tlvs_sched rr\n\tlvs_method NAT\n\tprotocol TCP\n", i/250, i%250)
		for j := range 10 {
			fmt.Fprintf(&b, "\treal_server 10.%d.%d.%d 80 {\n\t\tweight 1\n\t\tTCP_CHECK {\n\t\t\tconnect_timeout 3\n\t\t}\n\t}\n", i/250, i%250, j+10)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func sourceOf(t testing.TB, text string) *Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, d := Load(path, LoadOptions{})
	if len(d) > 0 {
		t.Fatalf("load: %v", short(d))
	}
	return s
}

func TestFifteenThousandInstancesAndTenThousandServersAreTaken(t *testing.T) {
	c, d := Check(sourceOf(t, manyInstances(15000)), CheckOptions{NoHost: true})
	if len(d) > 0 || len(c.VRRP.Instances) != 15000 {
		t.Errorf("%d instances, diagnostics %v", len(c.VRRP.Instances), short(d[:min(len(d), 5)]))
	}
	c, d = Check(sourceOf(t, manyServers(1000)), CheckOptions{NoHost: true})
	n := 0
	for _, vs := range c.LVS.VirtualServers {
		n += len(vs.RealServers)
	}
	if len(d) > 0 || n != 10000 {
		t.Errorf("%d real servers, diagnostics %v", n, short(d[:min(len(d), 5)]))
	}
}

// BenchmarkCheck gives the time for each instance or real server, which should not grow with their number.
func BenchmarkCheck(b *testing.B) {
	for _, x := range []struct {
		name string
		n    int
		text string
	}{
		{"1000 instances", 1000, manyInstances(1000)}, {"15000 instances", 15000, manyInstances(15000)},
		{"1000 real servers", 1000, manyServers(100)}, {"10000 real servers", 10000, manyServers(1000)},
	} {
		b.Run(x.name, func(b *testing.B) {
			s := sourceOf(b, x.text)
			for b.Loop() {
				Check(s, CheckOptions{NoHost: true})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(x.n), "ns/each")
		})
	}
}
