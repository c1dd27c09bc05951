package confparse

import (
	"net/netip"
	"time"

	"releve/bfd"
	"releve/healthcheck"
	"releve/ipvs"
	"releve/script"
	"releve/vrrp"
	"releve/vrrp/vip"
)

// The raw types hold what was written, with its place; what is absent differs from what is zero. The checked types of the rooms
// are made of them when everything has been read, because defaults may stand behind their users.

type rawConfig struct {
	global      rawGlobal
	instances   []*rawInstance
	groups      []*rawGroup
	scripts     []*rawScript
	files       []*rawTrackFile
	processes   []*rawTrackProcess
	bfds        []*rawBFD
	garps       []*rawGARPGroup
	inGARPGroup map[string]bool
	vmacNames   map[string]string // the instances by the names of their virtual MAC interfaces
	tgroups     []*rawTrackGroup
	servers     []*rawVS
	vsgroups    []*rawVSGroup
	ssl         *healthcheck.SSLConfig

	staticAddrs  []rawAddress
	staticRoutes []rawRoute
	staticRules  []rawRule
	linkbeat     []vrrp.Linkbeat
	delays       map[string]vrrp.IfaceDelay
	delayPos     map[string]Pos

	byInstance map[string]*rawInstance
	byGroup    map[string]*rawGroup
	byScript   map[string]*rawScript
	byFile     map[string]*rawTrackFile
	byProcess  map[string]*rawTrackProcess
	byBFD      map[string]*rawBFD
	byVSGroup  map[string]*rawVSGroup
	byTGroup   map[string]*rawTrackGroup
}

func newRaw() *rawConfig {
	return &rawConfig{
		byInstance: map[string]*rawInstance{},
		byGroup:    map[string]*rawGroup{},
		byScript:   map[string]*rawScript{},
		byFile:     map[string]*rawTrackFile{},
		byProcess:  map[string]*rawTrackProcess{},
		byBFD:      map[string]*rawBFD{},
		byVSGroup:  map[string]*rawVSGroup{},
		byTGroup:   map[string]*rawTrackGroup{},
		delays:     map[string]vrrp.IfaceDelay{},
		delayPos:   map[string]Pos{},
	}
}

// rawGlobal is global_defs. What concerns the daemon as a whole is put into Global at once; the rest are defaults of instances
// and virtual servers.
type rawGlobal struct {
	g Global

	smtpAlert, smtpAlertVRRP, smtpAlertChecker     field[bool]
	mcast4, mcast6                                 field[netip.Addr]
	defaultIface                                   field[string]
	version                                        field[int]
	strict                                         field[bool]
	skipCheckAdvAddr                               field[bool]
	checkUnicastSrc                                field[bool]
	lowerPrioNoAdvert, higherPrioSendAdvert        field[bool]
	v3ChecksumAsV2                                 field[bool]
	ownerIgnoreAdverts                             field[bool]
	downTimerAdverts                               field[int]
	garp                                           rawGARP
	garpInterval, gnaInterval                      field[time.Duration]
	minGARP                                        field[bool]
	notifyPrioChanges                              field[bool]
	scriptUser                                     field[string]
	scriptSecurity                                 field[bool]
	sync                                           field[rawSync]
	vmacPrefix, vmacAddrPrefix                     field[string]
	startupDelay, delayAfterBoot                   field[time.Duration]
	dynamicIfaces                                  field[bool]
	smtpServer                                     Pos
	ipvsNamespace                                  string
	startupTimeout, shutdownTimeout                time.Duration
	allowIfChanges, logUnknownVRIDs                bool
	timeouts                                       ipvs.Timeouts
	flush, flushOnStop, flushOnStopVS              bool
	noCheckerEmails, rsInitNotifies, checkerLogAll bool
	nftIPVS                                        string
	nftIPVSMark                                    uint32
	nftIPVSPriority                                int
	scripts                                        []scriptUse
}

// rawSync is lvs_sync_daemon.
type rawSync struct {
	d        ipvs.SyncDaemon
	instance string
	hasID    bool
}

// rawGARP is the garp_* family, global or of an instance.
type rawGARP struct {
	delay, refresh, lowerDelay         field[time.Duration]
	repeat, refreshRepeat, lowerRepeat field[int]
	extraIf                            field[time.Duration]
	extraIfAll                         bool
}

// scriptUse is a configured command and where it was written.
type scriptUse struct {
	what string // "vrrp script chk", "notify_master of VI_1"
	cmd  *script.Command
	pos  Pos
	// unset drops the command; called when it cannot be run.
	unset func()
}

type rawNotify struct {
	owner string
	c     vrrp.NotifyConfig
	smtp  field[bool]
	prio  field[bool]
	uses  []scriptUse
}

type rawTrack struct {
	ifaces, scripts, files, processes, bfds []rawTrackRef
}

type rawTrackRef struct {
	r   vrrp.TrackRef
	pos Pos
}

type rawAddress struct {
	a   vip.Address
	pos Pos
}

type rawRoute struct {
	r   vip.Route
	pos Pos
}

type rawRule struct {
	r   vip.Rule
	pos Pos
}

type rawPeer struct {
	vrrp.Peer
	pos Pos
}

// rawInstance is a vrrp_instance.
type rawInstance struct {
	name string
	pos  Pos
	open Pos

	// c takes what needs no default from elsewhere.
	c vrrp.InstanceConfig

	state            field[string]
	iface            field[string]
	vrid             field[int]
	priority         field[int]
	advert           field[time.Duration]
	version          field[int]
	src              field[netip.Addr]
	srcUnicast       bool
	mcastDst         field[netip.Addr]
	peers            []rawPeer
	unicast          field[bool] // a unicast_peer block was there
	vrfPos           Pos
	unicastWord      Pos // another word that is for unicast only
	checkUnicastSrc  field[bool]
	authType         field[string]
	authPass         field[string]
	hmac             *vrrp.HMACConfig
	hmacPos          Pos
	active           field[int]
	vips, evips      []rawAddress
	badVIPs          bool // some could not be read
	routes           []rawRoute
	rules            []rawRule
	noPreempt        field[bool]
	preemptDelay     field[time.Duration]
	downTimerAdverts field[int]
	strict           field[bool]
	skipCheckAdvAddr field[bool]
	accept           field[bool]
	lowerPrio        field[bool]
	higherPrio       field[bool]
	v3ChecksumAsV2   field[bool]
	ownerIgnore      field[bool]
	nativeIPv6       field[bool]
	garp             rawGARP
	vmac             *vrrp.VMACConfig
	vmacPos          Pos
	xmitBase         field[bool]
	addrVMAC         field[bool]
	track            rawTrack
	notify           rawNotify
	noVIPs           field[bool]

	ipv6 bool
	cfg  *vrrp.InstanceConfig
	// built says that it is part of the Config.
	built bool
	sg    *rawGroup
}

// rawGroup is a vrrp_sync_group.
type rawGroup struct {
	name    string
	pos     Pos
	members []Word
	track   rawTrack
	notify  rawNotify
	weights field[bool]
}

type rawScript struct {
	c        vrrp.ScriptConfig
	pos      Pos
	cmd      field[*script.Command]
	interval field[time.Duration]
	timeout  field[time.Duration]
	user     field[string]
	group    string
	used     bool
	drop     bool
}

type rawTrackFile struct {
	c      vrrp.FileConfig
	pos    Pos
	weight field[bool]
}

type rawTrackProcess struct {
	c   vrrp.ProcessConfig
	pos Pos
}

type rawBFD struct {
	c        bfd.Config
	mute     bool // there can be no session
	pos      Pos
	neighbor field[netip.Addr]
	src      field[netip.Addr]
	ttl      field[int]
}

type rawGARPGroup struct {
	c   vrrp.GARPGroup
	pos Pos
}

type rawTrackGroup struct {
	name    string
	pos     Pos
	members []Word
}

type rawVSGroup struct {
	name    string
	pos     Pos
	members []rawVSGroupMember
	used    int
}

type rawVSGroupMember struct {
	first, last netip.Addr
	port        uint16
	mark        uint32
	family      ipvs.Family
	pos         Pos
}

// rawForward is lvs_method with its tunnel.
type rawForward struct {
	f     ipvs.Forward
	typ   ipvs.TunnelType
	port  uint16
	flags ipvs.TunnelFlags
}

// rawCheckDefaults is what flows from the virtual server to the real server to the checker.
type rawCheckDefaults struct {
	alpha          field[bool]
	connectTimeout field[time.Duration]
	retry          field[int]
	beforeRetry    field[time.Duration]
	warmup         field[time.Duration]
	delayLoop      field[time.Duration]
}

// inherit fills what is absent from outer.
func (c *rawCheckDefaults) inherit(outer *rawCheckDefaults) {
	take(&c.alpha, &outer.alpha)
	take(&c.connectTimeout, &outer.connectTimeout)
	take(&c.retry, &outer.retry)
	take(&c.beforeRetry, &outer.beforeRetry)
	take(&c.warmup, &outer.warmup)
	take(&c.delayLoop, &outer.delayLoop)
}

func take[T any](in, out *field[T]) {
	if !in.set() {
		*in = *out
	}
}

// rawVS is a virtual_server.
type rawVS struct {
	pos      Pos
	addr     netip.Addr
	port     uint16
	mark     uint32
	hasMark  bool
	group    string
	grp      *rawVSGroup
	groupNth int

	rawCheckDefaults
	scheduler   field[string]
	flags       ipvs.Flags
	method      field[rawForward]
	protocol    field[ipvs.Protocol]
	family      field[ipvs.Family]
	persistence field[time.Duration]
	granularity field[uint8]
	granV4      bool
	engine      field[string]
	hashed      field[bool]
	ops         field[bool]
	omega       field[bool]
	quorum      field[int]
	hysteresis  field[int]
	up, down    field[*script.Command]
	haSuspend   field[bool]
	virtualHost field[string]
	snmpName    field[string]
	smtpAlert   field[bool]
	weight      field[int]
	inhibit     field[bool]

	servers      []*rawRS
	sorry        field[netip.AddrPort]
	sorryPort    bool
	sorryMethod  field[rawForward]
	sorryInhibit field[bool]
}

// rawRS is a real_server.
type rawRS struct {
	pos  Pos
	addr netip.Addr
	port uint16
	has  bool // a port was written

	rawCheckDefaults
	method       field[rawForward]
	weight       field[int]
	upper, lower field[int]
	inhibit      field[bool]
	up, down     field[*script.Command]
	virtualHost  field[string]
	snmpName     field[string]
	smtpAlert    field[bool]
	checkers     []*rawChecker
}

// rawChecker is one checker of a real server.
type rawChecker struct {
	pos   Pos
	typ   healthcheck.Type
	outer *rawChecker // the SMTP_CHECK around a host block

	rawCheckDefaults
	ip       field[netip.Addr]
	port     field[int]
	bind     field[netip.Addr]
	bindPort field[int]
	bindIf   field[string]
	mark     field[int]
	logAll   field[bool]

	virtualHost  field[string]
	protocol     field[string]
	fastRecovery field[bool]
	sni          field[bool]
	sniName      field[string]
	tls          field[bool]
	urls         []*rawURL

	helo  field[string]
	hosts []*rawChecker

	cmd     field[*script.Command]
	timeout field[time.Duration]
	dynamic field[bool]
	user    field[string]
	group   string

	name  field[string]
	qtype field[uint16]

	payload      field[[]byte]
	requireReply field[bool]
	reply, mask  []byte
	minLen       field[int]
	maxLen       field[int]

	trackFile field[string]
	weight    field[int]
	reverse   bool
}

type rawURL struct {
	pos    Pos
	c      healthcheck.URL
	path   field[string]
	digest field[string]
	regex  *healthcheck.Regex
	tls    bool
}
