package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/nft"
	"releve/lab"
)

// The two floating addresses.
var (
	public  = netip.MustParseAddr("192.168.56.10")
	private = netip.MustParseAddr("192.168.200.250")
)

// directory of the configuration, pid files and whatever else a director writes; each host has a /run of its own.
const directory = "/run/demo"

// director is one of the two, with what was last seen of it.
type director struct {
	*lab.Host
	priority int
	from     [2]netip.Addr // its own addresses, public and private side
	plane    ipvs.Plane

	mu    sync.Mutex
	proc  *lab.Process
	down  bool    // it was killed or stopped on purpose
	holds [2]bool // the floating addresses
	table ipvs.Table
	// advert is the last one of each side, index as holds.
	advert [2]lab.Advert
}

// web is a server and the name under which it shows up.
type web struct {
	*lab.Web
	name, answer string
	addr         netip.Addr
	up           bool
}

// stage is everything that was put up.
type stage struct {
	lab       *lab.Lab
	view      *view
	o         Options
	client    *lab.Host
	directors [2]*director
	webs      [3]*web
	noIPVS    error // why not, nil if the kernel has it
	stops     []func()
	watched   chan struct{} // closed to end the watcher
	watching  sync.WaitGroup
}

func setUp(v *view, o Options) (*stage, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	s := &stage{lab: l, view: v, o: o, watched: make(chan struct{})}
	if err := s.build(); err != nil {
		return s, err
	}
	s.watching.Add(1)
	go s.watch()
	return s, nil
}

func (s *stage) build() error {
	left, err := s.lab.Bridge("public")
	if err != nil {
		return err
	}
	right, err := s.lab.Bridge("private")
	if err != nil {
		return err
	}
	if s.client, err = s.lab.Host("client"); err != nil {
		return err
	}
	if err := s.lab.Plug(s.client, "enp0s3", left, "192.168.56.1/24"); err != nil {
		return err
	}
	for i := range s.directors {
		if s.directors[i], err = s.director(i, left, right); err != nil {
			return err
		}
	}
	for i := range s.webs {
		h, err := s.lab.Host(fmt.Sprintf("web%d", i+1))
		if err != nil {
			return err
		}
		addr := fmt.Sprintf("192.168.200.1%d", i+1)
		w := &web{name: h.Name, answer: fmt.Sprintf("Web %d", i+1), addr: netip.MustParseAddr(addr), up: true}
		err = errors.Join(s.lab.Plug(h, "enp0s3", right, addr+"/24"), h.Route("default", private.String()))
		if err != nil {
			return err
		}
		if w.Web, err = h.Web(":80", w.answer); err != nil {
			return err
		}
		s.webs[i] = w
	}
	for side, b := range []*lab.Bridge{left, right} {
		stop, err := b.Adverts(func(a lab.Advert) { s.heard(side, a) })
		if err != nil {
			return err
		}
		s.stops = append(s.stops, stop)
	}
	return nil
}

func (s *stage) director(i int, left, right *lab.Bridge) (*director, error) {
	name := fmt.Sprintf("lb%d", i+1)
	h, err := s.lab.Host(name)
	if err != nil {
		return nil, err
	}
	d := &director{Host: h, priority: 150 - 50*i}
	for side, a := range []string{fmt.Sprintf("192.168.56.1%d", i+1), fmt.Sprintf("192.168.200.25%d", i+1)} {
		d.from[side] = netip.MustParseAddr(a)
	}
	err = errors.Join(
		h.Sysctl("net.ipv4.ip_forward", "1"),
		h.Sysctl("net.ipv4.conf.all.send_redirects", "0"),
		h.Sysctl("net.ipv4.conf.default.send_redirects", "0"),
		s.lab.Plug(h, "enp0s3", left, d.from[0].String()+"/24"),
		s.lab.Plug(h, "enp0s8", right, d.from[1].String()+"/24"),
	)
	if err != nil {
		return nil, err
	}
	conf, err := fs.ReadFile(s.o.Config, name+".conf")
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", name, err)
	}
	err = h.Do(func() error {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(directory+"/keepalived.conf", conf, 0o644); err != nil {
			return err
		}
		p, err := kernel.Open("")
		if err == nil {
			d.plane = p
			return nil
		}
		s.noIPVS = err
		n, nerr := nft.Open("")
		if nerr != nil {
			return errors.Join(err, nerr)
		}
		d.plane = n
		return nil
	})
	return d, err
}

// planeText says which data plane the directors have.
func (s *stage) planeText() string {
	if s.noIPVS == nil {
		return "the kernel's IPVS"
	}
	why := s.noIPVS
	if errors.Is(why, kernel.ErrNoIPVS) {
		why = kernel.ErrNoIPVS
	}
	return fmt.Sprintf("nftables: %v", why)
}

// startDirector runs the daemon on a director.
func (s *stage) startDirector(d *director) error {
	argv := []string{"keepalived", "-n", "-l", "-D", "-f", directory + "/keepalived.conf",
		"-p", directory + "/keepalived.pid", "-r", directory + "/vrrp.pid", "-c", directory + "/checkers.pid", "-b", directory + "/bfd.pid"}
	p, err := d.Start(s.o.Binary, argv, func(line string) {
		if s.o.Log {
			s.view.event(d.Name, line)
		}
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.proc, d.down, d.advert = p, false, [2]lab.Advert{}
	d.mu.Unlock()
	return nil
}

// alive tells whether the daemon runs.
func (d *director) alive() bool {
	d.mu.Lock()
	p := d.proc
	d.mu.Unlock()
	return running(p)
}

func running(p *lab.Process) bool {
	if p == nil {
		return false
	}
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// master: it runs, holds both addresses, and was the last to say so on both wires.
func (d *director) master() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return running(d.proc) && d.holds == [2]bool{true, true} && d.advert[0].Priority > 0 && d.advert[1].Priority > 0
}

// backup: it runs and holds neither.
func (d *director) backup() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return running(d.proc) && d.holds == [2]bool{}
}

// service gives the virtual server as the kernel of the director has it, nil if it has none.
func (d *director) service() *ipvs.Service {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.table.Services, func(s ipvs.Service) bool { return s.Addr == public && s.Port == 80 })
	if i < 0 {
		return nil
	}
	s := d.table.Services[i]
	return &s
}

// serves tells whether exactly these servers are in the table, with a weight above 0.
func (s *stage) serves(d *director, servers ...int) bool {
	svc := d.service()
	if svc == nil {
		return false
	}
	n := 0
	for _, r := range svc.Dests {
		if r.Weight == 0 {
			continue
		}
		if !slices.ContainsFunc(servers, func(i int) bool { return s.webs[i].addr == r.Addr }) {
			return false
		}
		n++
	}
	return n == len(servers)
}

func (s *stage) bothServe(servers ...int) func() bool {
	return func() bool { return s.serves(s.directors[0], servers...) && s.serves(s.directors[1], servers...) }
}

// heard takes an advertisement from the wire.
func (s *stage) heard(side int, a lab.Advert) {
	for i, d := range s.directors {
		if d == nil || d.from[side] != a.Src {
			continue
		}
		d.mu.Lock()
		before := d.advert[side]
		d.advert[side] = a
		d.mu.Unlock()
		switch {
		case a.Priority == 0 && before.Priority != 0:
			s.view.event(d.Name, fmt.Sprintf("resigns on the %s side (advert with priority 0)", sides[side]))
		case a.Priority != 0 && (before.Priority == 0 || a.At.Sub(before.At) > 3*time.Second || s.laterThan(1-i, side, before.At)):
			s.view.event(d.Name, fmt.Sprintf("announces itself on the %s side, priority %d", sides[side], a.Priority))
		}
	}
}

// laterThan tells whether the other director has announced itself since.
func (s *stage) laterThan(i, side int, t time.Time) bool {
	d := s.directors[i]
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.advert[side].Priority != 0 && d.advert[side].At.After(t)
}

var sides = [2]string{"public", "private"}

// watch looks at the directors until the stage is taken down.
func (s *stage) watch() {
	defer s.watching.Done()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		for _, d := range s.directors {
			s.look(d, n%3 == 0)
		}
		select {
		case <-s.watched:
			return
		case <-tick.C:
		}
	}
}

// look reads the addresses of a director, and its table if that is due: counting its connections is not cheap.
func (s *stage) look(d *director, tables bool) {
	addrs, err := d.Addrs()
	if err != nil {
		return
	}
	var holds [2]bool
	for _, p := range addrs {
		for side, a := range []netip.Addr{public, private} {
			holds[side] = holds[side] || p.Addr() == a
		}
	}
	var table ipvs.Table
	if tables {
		err = d.Do(func() (err error) { table, err = d.plane.Read(context.Background()); return })
		tables = err == nil
	}
	d.mu.Lock()
	before, old := d.holds, d.table
	d.holds = holds
	if tables {
		d.table = table
	}
	d.mu.Unlock()
	for side, a := range []netip.Addr{public, private} {
		switch {
		case holds[side] && !before[side]:
			s.view.event(d.Name, fmt.Sprintf("has the %s address %v", sides[side], a))
		case !holds[side] && before[side]:
			s.view.event(d.Name, fmt.Sprintf("gave up the %s address %v", sides[side], a))
		}
	}
	if tables {
		s.compare(d.Name, old, table)
	}
}

// compare tells what changed in a table.
func (s *stage) compare(who string, old, now ipvs.Table) {
	for _, op := range ipvs.Diff(old, now) {
		name := s.serverName(op.Dest.Addr)
		switch op.Kind {
		case ipvs.AddService:
			s.view.event(who, fmt.Sprintf("virtual server %v:%d in, %s", op.Service.Addr, op.Service.Port, op.Service.Scheduler))
		case ipvs.DelService:
			s.view.event(who, fmt.Sprintf("virtual server %v:%d out", op.Service.Addr, op.Service.Port))
		case ipvs.AddDest:
			s.view.event(who, fmt.Sprintf("%s in, weight %d", name, op.Dest.Weight))
		case ipvs.EditDest:
			s.view.event(who, fmt.Sprintf("%s has weight %d", name, op.Dest.Weight))
		case ipvs.DelDest:
			s.view.event(who, name+" out")
		}
	}
}

func (s *stage) serverName(a netip.Addr) string {
	for _, w := range s.webs {
		if w != nil && w.addr == a {
			return w.name
		}
	}
	return a.String()
}

// logs gives the last lines of a director's log, for a failure.
func (d *director) logs(n int) []string {
	d.mu.Lock()
	p := d.proc
	d.mu.Unlock()
	if p == nil {
		return nil
	}
	lines := p.Lines()
	return lines[max(0, len(lines)-n):]
}

// kill ends it as a crash does.
func (d *director) kill() error {
	d.mu.Lock()
	d.down = true
	d.mu.Unlock()
	return d.Kill()
}

// powerOff ends everything on it and pulls its cables. powerOn is the machine after its start: cables in, no addresses but its
// own, no table.
func (d *director) powerOff() error {
	return errors.Join(d.kill(), d.Cut("enp0s3"), d.Cut("enp0s8"))
}

func (d *director) powerOn() error {
	var errs error
	for side, a := range []string{public.String() + "/24", private.String() + "/24"} {
		if d.Has([]netip.Addr{public, private}[side]) {
			errs = errors.Join(errs, d.DelAddr([]string{"enp0s3", "enp0s8"}[side], a))
		}
	}
	errs = errors.Join(errs, d.Do(func() error { return d.plane.Flush(context.Background()) }))
	return errors.Join(errs, d.Heal("enp0s3"), d.Heal("enp0s8"))
}

// terminate asks a director to stop and gives its exit status; -1 if it has to be killed.
func (d *director) terminate(within time.Duration) int {
	d.mu.Lock()
	p := d.proc
	d.down = true
	d.mu.Unlock()
	if !running(p) {
		return -1
	}
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done():
		if p.Err() == nil {
			return 0
		}
		return 1
	case <-time.After(within):
		return -1
	}
}

func (s *stage) close() error {
	for _, stop := range s.stops {
		stop()
	}
	select {
	case <-s.watched:
	default:
		close(s.watched)
	}
	s.watching.Wait()
	for _, d := range s.directors {
		if d != nil && d.plane != nil {
			_ = d.plane.Close()
		}
	}
	return s.lab.Close()
}

// find gives a host's director or web server by name.
func (s *stage) find(name string) (d *director, w *web) {
	for _, x := range s.directors {
		if x.Name == name {
			return x, nil
		}
	}
	for _, x := range s.webs {
		if x.name == name {
			return nil, x
		}
	}
	return nil, nil
}

// weights is a table on one line: web1 3, web2 1.
func (s *stage) weights(d *director) string {
	svc := d.service()
	if svc == nil {
		return "no virtual server"
	}
	if len(svc.Dests) == 0 {
		return "no server left"
	}
	var out []string
	dests := slices.SortedFunc(slices.Values(svc.Dests), func(a, b ipvs.Dest) int { return a.Addr.Compare(b.Addr) })
	for i := range dests {
		r := &dests[i]
		out = append(out, fmt.Sprintf("%s weight %d: %d", s.serverName(r.Addr), r.Weight, r.Stats.Conns))
	}
	return strings.Join(out, "   ")
}
