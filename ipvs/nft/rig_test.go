package nft_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"releve/internal/testneed"
	"releve/ipvs"
	"releve/ipvs/nft"
	"releve/lab"
)

// rig is a client, a director with a plane, and three servers behind it.
type rig struct {
	*testing.T
	lab      *lab.Lab
	client   *lab.Host
	director *lab.Host
	servers  []*lab.Host
	plane    *nft.Plane
}

func newRig(t *testing.T) *rig {
	t.Helper()
	testneed.Need(t, "root", "netns", "nft")
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	r := &rig{T: t, lab: l}
	public, err := l.Bridge("public")
	must(t, err)
	private, err := l.Bridge("private")
	must(t, err)
	r.client, err = l.Host("client")
	must(t, err)
	must(t, l.Plug(r.client, "eth0", public, "10.0.1.2/24", "10.0.1.3/24", "fd00:1::2/64"))
	r.director, err = l.Host("director")
	must(t, err)
	must(t, r.director.Sysctl("net.ipv4.ip_forward", "1"))
	must(t, r.director.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	must(t, l.Plug(r.director, "eth0", public, "10.0.1.1/24", "10.0.1.10/24", "fd00:1::1/64", "fd00:1::10/64"))
	must(t, l.Plug(r.director, "eth1", private, "10.0.2.1/24", "fd00:2::1/64"))
	for i := 1; i <= 3; i++ {
		s, err := l.Host(fmt.Sprintf("web%d", i))
		must(t, err)
		must(t, l.Plug(s, "eth0", private, fmt.Sprintf("10.0.2.1%d/24", i), fmt.Sprintf("fd00:2::1%d/64", i)))
		must(t, s.Route("default", "10.0.2.1"))
		must(t, s.Route("::/0", "fd00:2::1"))
		_, err = s.Web(":80", fmt.Sprintf("Web %d", i))
		must(t, err)
		r.servers = append(r.servers, s)
	}
	r.plane = r.open()
	return r
}

func (r *rig) open() *nft.Plane {
	r.Helper()
	var p *nft.Plane
	must(r, r.director.Do(func() (err error) { p, err = nft.Open(""); return }))
	r.Cleanup(func() { p.Close() })
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) read() ipvs.Table {
	r.Helper()
	var tab ipvs.Table
	must(r, r.director.Do(func() (err error) { tab, err = r.plane.Read(r.Context()); return }))
	return tab
}

// want brings the table to the services given, as a director does: read, compare, write the difference, and compare again.
func (r *rig) want(services ...ipvs.Service) {
	r.Helper()
	t := ipvs.Table{Services: services}
	must(r, r.director.Do(func() error {
		have, err := r.plane.Read(r.Context())
		if err != nil {
			return err
		}
		for _, e := range r.plane.Apply(r.Context(), ipvs.Diff(have, t)) {
			return fmt.Errorf("%+v: %w", e.Op, e.Err)
		}
		return nil
	}))
	if ops := ipvs.Diff(r.read(), t); len(ops) > 0 {
		r.Fatalf("the table read back differs from the one applied: %+v\n%s", ops, r.nft("list", "ruleset"))
	}
}

// nft runs the nft tool in the director, for messages.
func (r *rig) nft(args ...string) string {
	var out []byte
	_ = r.director.Do(func() (err error) { out, err = exec.Command("nft", args...).CombinedOutput(); return })
	return string(out)
}

func vs(addr string, proto ipvs.Protocol, sched string, dests ...ipvs.Dest) ipvs.Service {
	ap := netip.MustParseAddrPort(addr)
	f, gran := ipvs.IPv4, uint8(32)
	if ap.Addr().Is6() {
		f, gran = ipvs.IPv6, 128
	}
	return ipvs.Service{
		ServiceKey: ipvs.ServiceKey{Family: f, Protocol: proto, Addr: ap.Addr(), Port: ap.Port()},
		Scheduler:  sched, Granularity: gran, Dests: dests,
	}
}

func rs(addr string, weight int) ipvs.Dest {
	ap := netip.MustParseAddrPort(addr)
	return ipvs.Dest{DestKey: ipvs.DestKey{Addr: ap.Addr(), Port: ap.Port()}, Weight: weight}
}

// patience is for answers that must come.
const patience = 30 * time.Second

// get asks once and gives the body, or the error.
func (r *rig) get(from *lab.Host, addr, path string) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", path)
	b, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	_, body, _ := strings.Cut(string(b), "\r\n\r\n")
	return strings.TrimSpace(body), nil
}

// gets asks n times and gives the servers as digits.
func (r *rig) gets(addr string, n int) string {
	r.Helper()
	out := ""
	for range n {
		body, err := r.get(r.client, addr, "/")
		if err != nil {
			r.Fatalf("after %q: %v\n%s", out, err, r.nft("list", "ruleset"))
		}
		out += strings.TrimPrefix(body, "Web ")
	}
	return out
}
