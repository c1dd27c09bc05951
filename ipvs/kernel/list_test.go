package kernel_test

import (
	"strings"
	"testing"

	"releve/ipvs"
)

func TestIPVSListIsThatOfIpvsadm(t *testing.T) {
	p := open(t)
	want := everything()
	for i := range want.Services {
		if ds := want.Services[i].Dests; len(ds) > 1 && ds[0].Addr.Is6() != ds[len(ds)-1].Addr.Is6() {
			want.Services[i].Dests = ds[:1] // of mixed families ipvsadm has an order of its own
		}
	}
	become(t, p, want)
	have := read(t, p)
	for _, c := range []struct {
		option string
		o      ipvs.ListOptions
	}{
		{"", ipvs.ListOptions{}},
		{"--stats", ipvs.ListOptions{View: ipvs.ViewStats}},
		{"--stats --exact", ipvs.ListOptions{View: ipvs.ViewStats, Exact: true}},
		{"--rate", ipvs.ListOptions{View: ipvs.ViewRate}},
		{"--thresholds", ipvs.ListOptions{View: ipvs.ViewThresholds}},
		{"--persistent-conn", ipvs.ListOptions{View: ipvs.ViewPersistent}},
		{"--tun-info", ipvs.ListOptions{View: ipvs.ViewTunnels}},
	} {
		t.Run("ipvsadm -Ln "+c.option, func(t *testing.T) {
			var b strings.Builder
			if err := ipvs.List(&b, have, c.o); err != nil {
				t.Fatal(err)
			}
			_, judge, _ := strings.Cut(ipvsadm(t, "-Ln "+c.option), "\n")
			if b.String() != judge {
				t.Errorf("got\n%s\nwant\n%s", b.String(), judge)
			}
		})
	}
}
