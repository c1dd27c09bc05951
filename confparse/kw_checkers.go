package confparse

import (
	"strings"
	"sync"
	"time"

	"releve/healthcheck"
)

// checkerRows() are the checkers of a real server.
func checkerRows() []Keyword {
	return []Keyword{
		checker("TCP_CHECK", healthcheck.TypeTCP, tcpTable, "connects and closes"),
		checker("HTTP_GET", healthcheck.TypeHTTP, httpTable, "asks for pages"),
		checker("SSL_GET", healthcheck.TypeSSL, sslGetTable, "asks for pages over TLS"),
		checker("SMTP_CHECK", healthcheck.TypeSMTP, smtpTable, "greets a mail server"),
		checker("DNS_CHECK", healthcheck.TypeDNS, dnsTable, "asks a name server"),
		checker("MISC_CHECK", healthcheck.TypeMisc, miscTable, "runs a command"),
		checker("UDP_CHECK", healthcheck.TypeUDP, udpTable, "sends a datagram"),
		checker("PING_CHECK", healthcheck.TypePing, pingTable, "sends an echo request"),
		checker("FILE_CHECK", healthcheck.TypeFile, fileTable, "reads a track_file"),
		checker("BFD_CHECK", healthcheck.TypeBFD, bfdCheckTable, "follows a bfd_instance"),
	}
}

func checker(name string, t healthcheck.Type, block *Table, help string) Keyword {
	return Keyword{Name: name, Block: block, Room: roomCheck, Help: help,
		enter: func(p *interp, u *usage) bool {
			p.ck = &rawChecker{pos: u.pos(), typ: t, outer: p.ck}
			return true
		},
		leave: func(p *interp, _ *usage) {
			p.rs.checkers = append(p.rs.checkers, p.ck)
			p.ck = nil
		}}
}

// commonRows() are options of every checker but BFD_CHECK and FILE_CHECK.
func commonRows() []Keyword {
	return []Keyword{
		{Name: "alpha", Args: args(boolean().opt()), Default: "the real server's", Room: roomCheck, Help: "the server is down until checked", set: func(p *interp, u *usage) { p.ck.alpha.put(u.orTrue(), u.pos()) }},
		{Name: "retry", Args: args(num("COUNT", 0, 4294967295)), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "failures in a row that are forgiven", set: func(p *interp, u *usage) { p.ck.retry.put(u.int(0), u.pos()) }},
		{Name: "delay_before_retry", Args: args(secs("SECONDS", 0, 4000000000)), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "pause before a retry", set: func(p *interp, u *usage) { p.ck.beforeRetry.put(u.dur(0), u.pos()) }},
		{Name: "warmup", Args: args(secs("SECONDS", 0, 4000000000)), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "longest random delay before the first check", set: func(p *interp, u *usage) { p.ck.warmup.put(u.dur(0), u.pos()) }},
		{Name: "delay_loop", Args: args(secs("SECONDS", 0.000001, 4000000000)), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "time between two checks", set: func(p *interp, u *usage) { p.ck.delayLoop.put(u.dur(0), u.pos()) }},
		{Name: "log_all_failures", Args: args(boolean().opt()), Default: "checker_log_all_failures", Room: roomCheck, Help: "log every failure of a server that is up", set: func(p *interp, u *usage) { p.ck.logAll.put(u.orTrue(), u.pos()) }},
	}
}

// connectRows() say whom to reach and how.
func connectRows() []Keyword {
	return []Keyword{
		{Name: "connect_ip", Args: args(addr("ADDRESS")), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "address to connect to", set: func(p *interp, u *usage) { p.ck.ip.put(u.addr(0), u.at(0)) }},
		{Name: "connect_port", Args: args(num("PORT", 1, 65535)), Default: "the real server's", Room: roomCheck, Missing: ExitStop, Help: "port to connect to", set: func(p *interp, u *usage) { p.ck.port.put(u.int(0), u.at(0)) }},
		{Name: "bindto", Args: args(addr("ADDRESS")), Room: roomCheck, Missing: ExitStop, Help: "source address", set: func(p *interp, u *usage) { p.ck.bind.put(u.addr(0), u.at(0)) }},
		{Name: "bind_port", Args: args(num("PORT", 1, 65535)), Room: roomCheck, Missing: ExitStop, Help: "source port", set: func(p *interp, u *usage) { p.ck.bindPort.put(u.int(0), u.at(0)) }},
		{Name: "bind_if", Args: args(iface("INTERFACE")), Room: roomCheck, Missing: ExitStop, Help: "interface to leave by", set: func(p *interp, u *usage) { p.ck.bindIf.put(u.str(0), u.at(0)) }},
		{Name: "connect_timeout", Args: args(secs("SECONDS", 0.000001, 4294.967295)), Default: "the real server's, 5", Room: roomCheck, Missing: ExitStop, Help: "how long a connect or a wait for an answer may take", set: func(p *interp, u *usage) { p.ck.connectTimeout.put(u.dur(0), u.pos()) }},
		{Name: "fwmark", Args: args(num("MARK", 0, 4294967295)), Room: roomCheck, Missing: ExitStop, Help: "firewall mark of the packets sent", set: func(p *interp, u *usage) { p.ck.mark.put(u.int(0), u.at(0)) }},
	}
}

func rows(lists ...[]Keyword) []Keyword {
	var out []Keyword
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

var tcpTable = &Table{Name: "TCP_CHECK", rows: func() []Keyword { return rows(connectRows(), commonRows()) }}

var pingTable = &Table{Name: "PING_CHECK", rows: func() []Keyword { return rows(connectRows(), commonRows()) }}

var oldRetry = Keyword{Name: "nb_get_retry", Args: args(num("COUNT", 0, 4294967295)), Room: roomCheck, Missing: ExitStop, Deprecated: "write retry", Help: "old word for retry",
	set: func(p *interp, u *usage) { p.ck.retry.put(u.int(0), u.pos()) }}

func httpRows() []Keyword {
	return []Keyword{
		{Name: "http_protocol", Args: args(choice("PROTOCOL", "1.0", "1.0C", "1.0c", "1.1", "1.0K", "1.0k", "1.1K", "1.1k")), Default: "1.0", Room: roomCheck, Since: "2.1.0", Missing: ExitConfig,
			Help: "version in the request; C adds Connection: close, K Connection: keep-alive", set: func(p *interp, u *usage) { p.ck.protocol.put(strings.ToLower(u.str(0)), u.at(0)) }},
		{Name: "virtualhost", Args: args(word("NAME")), Default: "the real server's", Room: roomCheck, Missing: ExitConfig, Help: "host name in requests", set: func(p *interp, u *usage) { p.ck.virtualHost.put(u.str(0), u.pos()) }},
		{Name: "fast_recovery", Args: args(boolean().opt()), Room: roomCheck, Since: "2.1.0", Help: "no pause between the pages of a server that is coming back", set: func(p *interp, u *usage) { p.ck.fastRecovery.put(u.orTrue(), u.pos()) }},
		{Name: "url", Block: urlTable, Room: roomCheck, Help: "a page to ask for", enter: func(p *interp, u *usage) bool {
			p.url = &rawURL{pos: u.pos()}
			return true
		}, leave: func(p *interp, _ *usage) {
			p.ck.urls = append(p.ck.urls, p.url)
			p.url = nil
		}},
		oldRetry,
	}
}

func sniRows() []Keyword {
	return []Keyword{
		{Name: "enable_sni", Args: args(boolean().opt()), Room: roomCheck, Help: "send the host name in the TLS greeting", set: func(p *interp, u *usage) { p.ck.sni.put(u.orTrue(), u.pos()) }},
		{Name: "sni_name", Args: args(word("NAME")), Room: roomCheck, Since: "2.3.4", Missing: ExitStop, Help: "send this name in the TLS greeting", set: func(p *interp, u *usage) { p.ck.sniName.put(u.str(0), u.at(0)) }},
		{Name: "tls_compliant", Args: args(boolean().opt()), Room: roomCheck, Since: "2.2.8", Help: "end with close_notify", set: func(p *interp, u *usage) { p.ck.tls.put(u.orTrue(), u.pos()) }},
	}
}

var httpTable = &Table{Name: "HTTP_GET", rows: func() []Keyword { return rows(connectRows(), commonRows(), httpRows(), sniRows()) }}

var sslGetTable = &Table{Name: "SSL_GET", rows: func() []Keyword { return rows(connectRows(), commonRows(), httpRows(), sniRows()) }}

var smtpTable = &Table{Name: "SMTP_CHECK", rows: func() []Keyword {
	return rows(connectRows(), commonRows(), []Keyword{
		{Name: "helo_name", Args: args(word("NAME")), Default: "smtpchecker.keepalived.org", Room: roomCheck, Missing: ExitConfig, Help: "name in HELO", set: func(p *interp, u *usage) { p.ck.helo.put(u.str(0), u.at(0)) }},
		{Name: "host", Block: smtpHostTable, Room: roomCheck, Deprecated: "write one SMTP_CHECK for each host", mild: true, Help: "another host to check", enter: func(p *interp, u *usage) bool {
			p.ck = &rawChecker{pos: u.pos(), typ: healthcheck.TypeSMTP, outer: p.ck}
			return true
		}, leave: func(p *interp, _ *usage) {
			h := p.ck
			p.ck = h.outer
			p.ck.hosts = append(p.ck.hosts, h)
		}},
	})
}}

var smtpHostTable = &Table{Name: "host", rows: func() []Keyword { return rows(connectRows()) }}

var dnsTable = &Table{Name: "DNS_CHECK", rows: func() []Keyword {
	return rows(connectRows(), commonRows(), []Keyword{
		{Name: "type", Args: args(word("TYPE")), Default: "SOA", Room: roomCheck, Missing: ExitStop, Help: "record type to ask for: A, NS, CNAME, SOA, MX, TXT, AAAA", set: func(p *interp, u *usage) {
			t, ok := dnsTypes()[u.str(0)]
			if !ok {
				p.bad(u.at(0), "invalid-value", "type %q: want A, NS, CNAME, SOA, MX, TXT or AAAA", u.str(0)).Suggest = nearest(u.str(0), []string{"A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA"})
				return
			}
			p.ck.qtype.put(t, u.at(0))
		}},
		{Name: "name", Args: args(word("NAME")), Default: ".", Room: roomCheck, Missing: ExitStop, Help: "name to ask for", set: func(p *interp, u *usage) { p.ck.name.put(u.str(0), u.at(0)) }},
	})
}}

// dnsTypes are the record types of DNS_CHECK (RFC 1035 section 3.2.2, RFC 3596).
var dnsTypes = sync.OnceValue(func() map[string]uint16 {
	return map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28, "RRSIG": 46, "DNSKEY": 48}
})

var miscTable = &Table{Name: "MISC_CHECK", rows: func() []Keyword {
	return rows(commonRows(), []Keyword{
		{Name: "misc_path", Args: args(Arg{Name: "SCRIPT", Kind: Script}, rest("ARGUMENTS")), Room: roomCheck, Missing: missingNote, Help: "command to run; 0 is success", set: func(p *interp, u *usage) {
			p.ck.cmd.put(p.oneWordCommand(u), u.at(0))
		}},
		{Name: "misc_timeout", Args: args(num("SECONDS", 0, 4294)), Default: "delay_loop of the virtual server", Room: roomCheck, Missing: ExitStop, Help: "how long a run may take", set: func(p *interp, u *usage) { p.ck.timeout.put(u.secs(0), u.at(0)) }},
		{Name: "misc_dynamic", Room: roomCheck, Help: "exit status 2..255 sets the weight to two less", set: func(p *interp, u *usage) { p.ck.dynamic.put(true, u.pos()) }},
		{Name: "user", Args: args(Arg{Name: "USER", Kind: User}, Arg{Name: "GROUP", Kind: Group, Optional: true}), Default: "script_user", Room: "script", Missing: ExitConfig, Help: "who runs it", set: func(p *interp, u *usage) {
			if p.checkUser(u.at(0), u.str(0), u.strOr(1, "")) {
				p.ck.user.put(u.str(0), u.at(0))
				p.ck.group = u.strOr(1, "")
			}
		}},
	})
}}

var udpTable = &Table{Name: "UDP_CHECK", rows: func() []Keyword {
	return rows(connectRows(), commonRows(), []Keyword{
		{Name: "payload", Args: args(word("HEX"), rest("HEX")), Default: "32 bytes of text", Room: roomCheck, Missing: ExitConfig, Since: "2.2.5", Help: "bytes to send", set: func(p *interp, u *usage) {
			if b, _, ok := p.hex(u, false); ok {
				p.ck.payload.put(b, u.pos())
			}
		}},
		{Name: "require_reply", Args: args(rest("HEX")), Room: roomCheck, Since: "2.2.5", Help: "an answer must come, with these bytes; x stands for any digit", set: func(p *interp, u *usage) {
			p.ck.requireReply.put(true, u.pos())
			if len(u.rest()) > 0 {
				if b, m, ok := p.hex(u, true); ok {
					p.ck.reply, p.ck.mask = b, m
				}
			}
		}},
		{Name: "min_reply_length", Args: args(num("BYTES", 0, 65535)), Default: "0", Room: roomCheck, Missing: ExitStop, Since: "2.2.5", Help: "shortest answer", set: func(p *interp, u *usage) { p.ck.minLen.put(u.int(0), u.at(0)) }},
		{Name: "max_reply_length", Args: args(num("BYTES", 0, 65535)), Default: "255", Room: roomCheck, Missing: ExitStop, Since: "2.2.5", Help: "longest answer", set: func(p *interp, u *usage) { p.ck.maxLen.put(u.int(0), u.at(0)) }},
	})
}}

// hex reads bytes in hexadecimal: blanks end a byte, digits pair up from the left of each group, x is any digit if wild.
func (p *interp) hex(u *usage, wild bool) (b, mask []byte, ok bool) {
	for _, w := range u.rest() {
		for _, g := range strings.Fields(w.Text) {
			if len(g)%2 == 1 {
				g = g[:len(g)-1] + "0" + g[len(g)-1:]
			}
			for i := 0; i < len(g); i += 2 {
				var v, m byte
				for _, c := range []byte(g[i : i+2]) {
					v, m = v<<4, m<<4|0xf
					switch {
					case c >= '0' && c <= '9':
						v |= c - '0'
					case c|0x20 >= 'a' && c|0x20 <= 'f':
						v |= c | 0x20 - 'a' + 10
					case c|0x20 == 'x' && wild:
						m &^= 0xf
					default:
						p.bad(w.Pos, "invalid-value", "%s: %q is no hexadecimal digit", u.k.Name, string(rune(c)))
						return nil, nil, false
					}
				}
				b, mask = append(b, v), append(mask, m)
			}
		}
	}
	return b, mask, true
}

var fileTable = &Table{Name: "FILE_CHECK", rows: func() []Keyword {
	return []Keyword{
		{Name: "track_file", Args: args(word("NAME")), Room: roomCheck, Missing: ExitStop, Help: "the track_file to follow", set: func(p *interp, u *usage) {
			if p.raw.byFile[u.str(0)] == nil {
				p.bad(u.at(0), "track-file-undefined", "track_file %s is not defined above", u.str(0))
				return
			}
			p.ck.trackFile.put(u.str(0), u.at(0))
		}},
		{Name: "weight", Args: weightArgs(2147483647), Default: "the track_file's", Room: roomCheck, Missing: ExitStop, Help: "what the number is multiplied by", set: func(p *interp, u *usage) {
			p.ck.weight.put(u.int(0), u.at(0))
			p.ck.reverse = u.has(1) && u.int(1) == 0
		}},
	}
}}

var bfdCheckTable = &Table{Name: "BFD_CHECK", rows: func() []Keyword {
	return []Keyword{
		{Name: "name", Args: args(word("NAME")), Room: roomCheck, Missing: ExitStop, Help: "the bfd_instance to follow", set: func(p *interp, u *usage) {
			p.ck.name.put(u.str(0), u.at(0))
		}},
		{Name: "alpha", Args: args(boolean().opt()), Default: "the real server's", Room: roomCheck, Help: "the server is down until the session is up", set: func(p *interp, u *usage) { p.ck.alpha.put(u.orTrue(), u.pos()) }},
	}
}}

const defaultDelayLoop = 60 * time.Second
