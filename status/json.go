package status

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"releve/director"
	"releve/script"
	"releve/vrrp"
	"releve/vrrp/vip"
)

// JSON writes keepalived.json in one line: version 1 is a list with an object for each instance, version 2 an object that holds this
// list under "vrrp", the tracked processes and, where there is a director, its virtual servers as Servers gives them. Either half may
// be nil.
func JSON(w *bufio.Writer, version int, s *vrrp.Snapshot, servers []byte) {
	j := &jsonWriter{w: w, fresh: true}
	if version < 2 {
		j.instances(s)
		w.WriteByte('\n')
		return
	}
	j.open('{')
	j.key("vrrp")
	j.instances(s)
	if s != nil && len(s.Config.Processes) > 0 {
		j.key("track_process")
		j.open('[')
		for _, p := range s.Config.Processes {
			j.process(p, s.Processes[p.Name])
		}
		j.close(']')
	}
	if servers != nil {
		j.raw("virtual_servers", string(servers))
	}
	j.close('}')
	w.WriteByte('\n')
}

// Servers is the list of virtual servers for JSON, which may come from another process.
func Servers(s *director.Snapshot) []byte {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	(&jsonWriter{w: w, fresh: true}).virtualServers(s)
	w.Flush()
	return b.Bytes()
}

// jsonWriter writes JSON with keys in the order given and "/" escaped, as the reference's clients have always seen it.
type jsonWriter struct {
	w     *bufio.Writer
	fresh bool // nothing has been written in the present list or object
	keyed bool // a key waits for its value

	programs programs
}

func (j *jsonWriter) comma() {
	if j.keyed {
		j.keyed = false
		return
	}
	if !j.fresh {
		j.w.WriteByte(',')
	}
	j.fresh = false
}

func (j *jsonWriter) open(c byte) {
	j.comma()
	j.w.WriteByte(c)
	j.fresh = true
}

func (j *jsonWriter) close(c byte) {
	j.w.WriteByte(c)
	j.fresh = false
}

func (j *jsonWriter) key(name string) {
	j.comma()
	j.quote(name)
	j.w.WriteByte(':')
	j.keyed = true
}

func (j *jsonWriter) quote(s string) {
	j.w.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '/':
			j.w.WriteByte('\\')
			j.w.WriteByte(byte(r))
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(j.w, `\u%04x`, r)
		case r == utf8.RuneError:
			j.w.WriteString(`\ufffd`)
		default:
			j.w.WriteRune(r)
		}
	}
	j.w.WriteByte('"')
}

// raw writes a key and a value that needs no quotes.
func (j *jsonWriter) raw(key, value string) {
	j.key(key)
	j.keyed = false
	j.w.WriteString(value)
}

func (j *jsonWriter) int(key string, n int)            { j.raw(key, strconv.Itoa(n)) }
func (j *jsonWriter) count(key string, n uint64)       { j.raw(key, strconv.FormatUint(n, 10)) }
func (j *jsonWriter) bool(key string, b bool)          { j.raw(key, strconv.FormatBool(b)) }
func (j *jsonWriter) secs(key string, d time.Duration) { j.raw(key, seconds(d)) }

// flag is a bool that the reference writes as a number.
func (j *jsonWriter) flag(key string, b bool) { j.raw(key, yes(b, "1", "0")) }

func (j *jsonWriter) text(key, s string) {
	j.key(key)
	j.keyed = false
	j.quote(s)
}

// command is left out where there is none.
func (j *jsonWriter) command(key string, c *script.Command) {
	if !c.IsZero() {
		j.text(key, j.programs.command(c))
	}
}

// texts is left out where it is empty.
func (j *jsonWriter) texts(key string, list []string) {
	if len(list) == 0 {
		return
	}
	j.key(key)
	j.open('[')
	for _, s := range list {
		j.comma()
		j.quote(s)
	}
	j.close(']')
}

func (j *jsonWriter) instances(s *vrrp.Snapshot) {
	j.open('[')
	if s != nil {
		for i := range s.Instances {
			j.open('{')
			j.key("data")
			j.data(&s.Instances[i], s.Config)
			j.key("stats")
			j.stats(&s.Instances[i].Stats)
			j.close('}')
		}
	}
	j.close(']')
}

// data is an instance. The order of the keys is the reference's.
func (j *jsonWriter) data(in *vrrp.InstanceSnapshot, cfg *vrrp.Config) {
	c := in.Config
	j.open('{')
	j.text("iname", c.Name)
	j.flag("dont_track_primary", c.DontTrackPrimary)
	j.flag("skip_check_adv_addr", c.SkipCheckAdvAddr)
	j.flag("strict_mode", c.Strict)
	j.text("vmac_ifname", vmacOf(in))
	if name := c.Iface; name != "" {
		if c.VMAC != nil && !c.VMAC.OnlyAddr {
			name = vmacOf(in)
		}
		j.text("ifp_ifname", name)
	}
	j.int("master_priority", int(in.MasterPriority))
	j.raw("last_transition", stamp(in.LastTransition))
	garp := c.GARP.OrNone()
	j.secs("garp_delay", garp.Delay)
	j.secs("garp_refresh", garp.Refresh)
	j.int("garp_rep", garp.Repeat)
	j.int("garp_refresh_rep", garp.RefreshRepeat)
	j.secs("garp_lower_prio_delay", garp.LowerPrioDelay)
	j.int("garp_lower_prio_rep", garp.LowerPrioRepeat)
	j.flag("lower_prio_no_advert", c.LowerPrioNoAdvert)
	j.flag("higher_prio_send_advert", c.HigherPrioSendAdvert)
	j.int("vrid", int(c.VRID))
	j.int("base_priority", int(c.Priority))
	j.int("effective_priority", int(in.Priority))
	j.bool("vipset", in.VIPsSet)
	j.bool("promote_secondaries", c.PromoteSecondaries)
	j.secs("adver_int", c.AdvertInt)
	j.secs("master_adver_int", in.MasterInterval)
	j.flag("accept", c.Accept)
	j.bool("nopreempt", c.NoPreempt)
	j.secs("preempt_delay", c.PreemptDelay)
	j.int("state", int(in.State))
	j.int("wantstate", int(in.Want))
	j.int("version", c.Version)
	tell := c.Notify.OrNone()
	j.bool("smtp_alert", tell.SMTPAlert)
	j.bool("notify_deleted", tell.NotifyDeleted)
	j.command("script_backup", tell.Backup)
	j.command("script_master", tell.Master)
	j.command("script_fault", tell.Fault)
	j.command("script_stop", tell.Stop)
	j.command("script_deleted", tell.Deleted)
	if len(tell.Any) > 0 {
		j.command("script", tell.Any[0])
	}
	j.command("script_master_rx_lower_pri", tell.MasterRxLowerPri)
	j.texts("vips", addresses(in, c.VIPs))
	j.texts("evips", addresses(in, c.Excluded))
	var routes, rules []string
	for i := range c.Routes {
		routes = append(routes, Route(&c.Routes[i]))
	}
	for i := range c.Rules {
		rules = append(rules, Rule(&c.Rules[i]))
	}
	j.texts("vroutes", routes)
	j.texts("vrules", rules)
	track := c.Track.OrNone()
	j.texts("track_ifp", refNames(track.Ifaces))
	var scripts []string
	for _, r := range track.Scripts {
		for _, s := range cfg.Scripts {
			if s.Name == r.Name {
				scripts = append(scripts, j.programs.command(&s.Command))
			}
		}
	}
	j.texts("track_script", scripts)
	j.texts("track_process", refNames(track.Processes))
	j.int("auth_type", int(c.Auth))
	if c.Auth != vrrp.AuthNone {
		j.text("auth_data", masked)
	}
	j.close('}')
}

// jsonCounters are the counters behind become_master and release_master, in the order of the file.
var jsonCounters = []string{"packet_len_err", "advert_interval_err", "ip_ttl_err", "invalid_type_rcvd", "addr_list_err", "invalid_authtype",
	"authtype_mismatch", "auth_failure", "auth_ext_missing", "auth_ext_malformed", "auth_ext_unknown_key", "auth_ext_invalid_hmac",
	"auth_ext_stale", "auth_ext_replay"}

func (j *jsonWriter) stats(s *vrrp.Stats) {
	j.open('{')
	j.count("advert_rcvd", s.AdvertRcvd)
	j.count("advert_sent", s.AdvertSent)
	j.count("become_master", s.BecomeMaster)
	j.count("release_master", s.ReleaseMaster)
	for _, name := range jsonCounters {
		j.count(name, s.Counter(name))
	}
	j.count("pri_zero_rcvd", s.PriZeroRcvd)
	j.count("pri_zero_sent", s.PriZeroSent)
	j.close('}')
}

func addresses(in *vrrp.InstanceSnapshot, list []vip.Address) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = onDevice(in, &list[i])
	}
	return out
}

func refNames(refs []vrrp.TrackRef) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = r.Name
	}
	return out
}

// vmacName is the virtual interface of an instance, empty without.
func vmacName(c *vrrp.InstanceConfig) string {
	switch {
	case c.VMAC == nil, c.VMAC.OnlyAddr:
		return ""
	case c.VMAC.Name != "":
		return c.VMAC.Name
	}
	return "vrrp." + strconv.Itoa(int(c.VRID))
}

// process is a tracked process.
func (j *jsonWriter) process(p *vrrp.ProcessConfig, o vrrp.ObjectSnapshot) {
	j.open('{')
	j.text("process", p.Path)
	j.text("parameters", strings.Join(p.Params, " "))
	j.text("param_match", or(p.ParamMatch, "none"))
	j.int("min_processes", p.Quorum)
	if p.HasQuorumMax {
		j.int("max_processes", p.QuorumMax)
	}
	j.int("current_processes", o.Value)
	j.bool("have_quorum", o.Known && o.Up)
	j.int("weight", p.Weight)
	j.secs("terminate_delay", p.TerminateDelay)
	j.secs("fork_delay", p.ForkDelay)
	j.bool("full_command", p.FullCommand)
	j.close('}')
}

// virtualServers is what the reference's JSON never held: the table as the director wants it.
func (j *jsonWriter) virtualServers(s *director.Snapshot) {
	j.open('[')
	for i := range s.VirtualServers {
		v := &s.VirtualServers[i]
		j.open('{')
		j.text("name", v.Config.Name)
		j.text("scheduler", v.Config.Scheduler)
		j.int("quorum", v.Config.Quorum)
		j.int("hysteresis", v.Config.Hysteresis)
		j.bool("quorum_up", v.QuorumUp)
		j.bool("sorry_up", v.SorryUp)
		j.int("live_weight", v.LiveWeight)
		j.key("real_servers")
		j.open('[')
		for k := range v.RealServers {
			j.realServer(&v.RealServers[k])
		}
		j.close(']')
		j.close('}')
	}
	j.close(']')
}

func (j *jsonWriter) realServer(r *director.RealServerStatus) {
	j.open('{')
	j.text("name", r.Config.Name)
	j.bool("alive", r.Alive)
	j.bool("in_table", r.InTable)
	j.int("weight", r.Config.Weight)
	j.int("effective_weight", r.Weight)
	j.key("checkers")
	j.open('[')
	for i := range r.Checkers {
		c := &r.Checkers[i]
		j.open('{')
		j.text("id", c.ID)
		j.bool("has_run", c.Ran)
		j.bool("up", c.Up)
		j.text("reason", c.Reason)
		j.raw("since", stamp(c.At))
		j.raw("last_run", stamp(lastRun(c)))
		j.raw("next_run", stamp(c.Next))
		j.int("failures_in_a_row", c.Fails)
		j.int("attempts", int(c.Tries))
		j.int("failures", int(c.Failures))
		j.secs("latency", c.Latency)
		j.close('}')
	}
	j.close(']')
	j.close('}')
}
