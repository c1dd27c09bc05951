package vrrp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
)

// setup is a configuration made ready: everything that can fail has been done, nothing has been changed.
type setup struct {
	cfg     *Config
	table   map[int]*iface
	sockets map[socketKey]*socket // opened for it
	ground  map[string]footing    // by instance, of those that stand on more than their interface
	serial  int                   // of the last interface that went before the table was read
	made    []string              // VMAC interfaces made for it
	lacks   []*SetupError         // what could not be made: the instances concerned are in FAULT
}

// footing is what an instance stands on besides its interface: its virtual MAC interface, those that carry single addresses elsewhere,
// and without an interface the address that the way to the first peer begins with.
type footing struct {
	own   *iface
	addrs map[vmacPlace]*iface
	src   netip.Addr
	given netip.Addr // the link-local address that own was given
}

// vmacPlace is an interface on which an instance has addresses of a family with a virtual MAC.
type vmacPlace struct {
	dev string
	v6  bool
}

// haves are what the owner has when preparations begin.
type haves struct {
	sockets map[socketKey]bool
	serial  int
	// lacking are the instances that do without their virtual MAC interface; nil at the start.
	lacking map[string]bool
}

// preparing is one call of prepare.
type preparing struct {
	*setup
	e       *Engine
	have    haves
	lenient bool
	same    bool            // the configuration is the one that runs
	taken   map[string]bool // names of VMAC interfaces
}

// prepare checks cfg and opens the sockets that have is lacking, in the engine's namespace. It does not touch the owner's data.
// What needs an interface that does not exist is left out with dynamic_interfaces, and if lenient; else that is an error.
func (e *Engine) prepare(cfg *Config, have haves, lenient bool) (_ *setup, err error) {
	if err := validate(cfg); err != nil {
		return nil, err
	}
	table, err := e.links()
	if err != nil {
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "read interfaces", Err: err}
	}
	p := &preparing{setup: &setup{cfg: cfg, table: table, sockets: map[socketKey]*socket{}, ground: map[string]footing{}, serial: have.serial}, e: e, have: have,
		lenient: lenient || cfg.DynamicInterfaces, same: lenient, taken: map[string]bool{}}
	err = e.place.do(func() error {
		for _, c := range cfg.Instances {
			if err := p.instance(c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.discard(p.setup)
		return nil, err
	}
	return p.setup, nil
}

// discard gives up a setup that is not taken.
func (e *Engine) discard(s *setup) {
	if !e.vmacs.dry {
		e.vmacs.remove(s.made...)
	}
	for _, o := range s.sockets {
		o.close()
	}
}

func (p *preparing) instance(c *InstanceConfig) error {
	for a := range c.addresses() {
		if a.Dev != "" && byName(p.table, a.Dev) == nil && !p.lenient {
			return &SetupError{Kind: NoInterface, Instance: c.Name, Op: fmt.Sprintf("place %s", a.Prefix), Iface: a.Dev, Err: errNoInterface}
		}
	}
	dev := c.device()
	set := footing{}
	if c.Iface == "" && !c.Src.IsValid() && len(c.Peers) > 0 {
		set.src = sourceTo(c.Peers[0].Addr, c.VRF)
		p.stand(c, set)
	}
	if dev == "" {
		if err := p.addrVMACs(c); err != nil {
			return err
		}
		return p.open(c, c.socketOn(0), "")
	}
	i := byName(p.table, dev)
	if i == nil {
		if p.lenient {
			return nil
		}
		return &SetupError{Kind: NoInterface, Instance: c.Name, Op: "find the interface", Iface: dev, Err: errNoInterface}
	}
	if c.ownVMAC() {
		v, err := p.make(c, i, vmacMAC(c, c.IPv6), true)
		if err != nil {
			return err
		}
		set.own = v
		if v != nil && c.IPv6 {
			set.given = vmacSource(c, i)
		}
	}
	p.stand(c, set)
	if err := p.addrVMACs(c); err != nil {
		return err
	}
	if c.ownVMAC() && !c.VMAC.XmitBase {
		if set.own == nil {
			return nil
		}
		return p.open(c, c.socketOn(set.own.index), set.own.name)
	}
	return p.open(c, c.socketOn(i.index), i.name)
}

// sourceTo is the address that the kernel would send from, in a routing domain if one is given; invalid if there is no route.
func sourceTo(peer netip.Addr, vrf string) netip.Addr {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		if vrf == "" {
			return nil
		}
		var err error
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, vrf) }); e != nil {
			return e
		}
		return err
	}}
	c, err := d.Dial("udp", netip.AddrPortFrom(peer, 9).String())
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

var errNoInterface = errors.New("it does not exist")

// open opens a socket unless there is one.
func (p *preparing) open(c *InstanceConfig, key socketKey, name string) error {
	if p.have.sockets[key] || p.sockets[key] != nil {
		return nil
	}
	sock, err := p.e.open(key, name)
	if err != nil {
		if se := (*SetupError)(nil); errors.As(err, &se) {
			se.Instance = c.Name
		}
		return err
	}
	p.sockets[key] = sock
	return nil
}

// make makes a VMAC interface or finds the one that is there; nil if that is not possible.
func (p *preparing) make(c *InstanceConfig, base *iface, mac []byte, own bool) (*iface, error) {
	v, err := p.e.vmacs.make(c, p.cfg, base, mac, own, p.taken, &p.made)
	if err != nil {
		err := &SetupError{Kind: socketErrorKind(err), Instance: c.Name, Iface: base.name, Op: "prepare the virtual MAC address", Err: err}
		// At the start it is a fault of this instance. A reload must not bring that upon one that runs, or add one like that.
		if err.Kind == NoPermission || p.have.lacking != nil && !p.have.lacking[c.Name] && !p.same {
			return nil, err
		}
		p.lacks = append(p.lacks, err)
		return nil, nil
	}
	p.taken[v.name] = true
	if known := p.table[v.index]; known != nil {
		known.up, known.mac = v.up, v.mac
		return known, nil
	}
	p.table[v.index] = v
	return v, nil
}

// addrVMACs makes the interfaces of addresses that want a virtual MAC somewhere else than on the instance's own interface.
func (p *preparing) addrVMACs(c *InstanceConfig) error {
	set := p.ground[c.Name]
	for a := range c.addresses() {
		at, ok := c.addrVMAC(a)
		if !ok || set.addrs[at] != nil {
			continue
		}
		base := byName(p.table, at.dev)
		if base == nil {
			continue
		}
		v, err := p.make(c, base, vmacMAC(c, at.v6), false)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		if set.addrs == nil {
			set.addrs = map[vmacPlace]*iface{}
		}
		set.addrs[at] = v
	}
	p.stand(c, set)
	return nil
}

// stand keeps what an instance stands on, unless that is nothing but its interface.
func (p *preparing) stand(c *InstanceConfig, set footing) {
	if set.own != nil || set.addrs != nil || set.src.IsValid() || set.given.IsValid() {
		p.ground[c.Name] = set
	}
}

// socketOn is the socket that the instance shares with others on an interface.
func (c *InstanceConfig) socketOn(index int) socketKey {
	return socketKey{index, c.IPv6, c.Auth == AuthAH && c.Version == 2}
}

// device is the interface of the socket: the instance's, or the VRF of one without; empty: any.
func (c *InstanceConfig) device() string {
	if c.Iface == "" {
		return c.VRF
	}
	return c.Iface
}

// addrVMAC tells whether an address needs a virtual MAC of its own, and where: use_vmac at an address that names an interface, and
// use_vmac_addr for all that are on another interface, or of another family, than the instance.
func (c *InstanceConfig) addrVMAC(a *vip.Address) (vmacPlace, bool) {
	at := vmacPlace{a.Dev, a.Prefix.Addr().Is6()}
	if at.dev == "" {
		at.dev = c.Iface
	}
	if at.dev == "" {
		return at, false
	}
	own := at.dev == c.Iface && at.v6 == c.IPv6
	switch {
	case own && (c.ownVMAC() || !a.UseVMAC):
		return at, false // it is on the instance's own VMAC, or on none
	case a.UseVMAC:
		return at, true
	}
	return at, c.VMAC != nil && c.VMAC.AddrVMAC
}

// ownVMAC tells whether the instance itself has a virtual MAC interface.
func (c *InstanceConfig) ownVMAC() bool { return c.VMAC != nil && !c.VMAC.OnlyAddr }

func byName(table map[int]*iface, name string) *iface {
	if name == "" {
		return nil
	}
	for _, i := range table {
		if i.name == name {
			return i
		}
	}
	return nil
}

// validate checks what does not depend on the machine.
func validate(cfg *Config) error {
	names := make(map[string]bool, len(cfg.Instances))
	type slot struct {
		iface string
		v6    bool
		vrid  uint8
		group netip.Addr
		peers bool
	}
	slots := make(map[slot]string, len(cfg.Instances))
	for _, c := range cfg.Instances {
		fail := func(format string, args ...any) error {
			return &SetupError{Kind: BadConfig, Instance: c.Name, Op: "check the configuration", Err: fmt.Errorf(format, args...)}
		}
		if names[c.Name] {
			return fail("two instances with this name")
		}
		names[c.Name] = true
		switch {
		case c.VRID == 0:
			return fail("virtual_router_id is missing, want 1..255")
		case c.Priority == 0:
			return fail("priority 0, want 1..255")
		case c.Version != 2 && c.Version != 3 || c.IPv6 && c.Version != 3:
			return fail("VRRP version %d, want 2 or 3 for IPv4, 3 for IPv6", c.Version)
		case c.Version == 2 && (c.AdvertInt < time.Second || c.AdvertInt > 255*time.Second || c.AdvertInt%time.Second != 0):
			return fail("advert_int %s, want whole seconds from 1 to 255 in version 2", c.AdvertInt)
		case c.Version == 3 && (c.AdvertInt < 10*time.Millisecond || c.AdvertInt > 40950*time.Millisecond):
			return fail("advert_int %s, want 10 ms to 40.95 s in version 3", c.AdvertInt)
		case len(c.VIPs) > 255:
			return fail("%d virtual addresses, at most 255 fit into an advert", len(c.VIPs))
		}
		for _, a := range c.VIPs {
			if a.Prefix.Addr().Is6() != c.IPv6 {
				return fail("virtual address %s is not of the family of the instance", a.Prefix)
			}
		}
		k := slot{c.Iface, c.IPv6, c.VRID, c.McastDst, c.unicast()}
		if o, dup := slots[k]; dup {
			return fail("virtual_router_id %d is that of %s on the same interface", c.VRID, o)
		}
		slots[k] = c.Name
	}
	for _, g := range cfg.Groups {
		for _, m := range g.Members {
			if !names[m] {
				return &SetupError{Kind: BadConfig, Instance: g.Name, Op: "check the configuration", Err: fmt.Errorf("sync group member %s does not exist", m)}
			}
		}
	}
	return nil
}
