package confparse

import (
	"strconv"
	"strings"

	"releve/healthcheck"
)

// urlTable is url of HTTP_GET and SSL_GET.
var urlTable = &Table{Name: "url", rows: func() []Keyword {
	return []Keyword{
		{Name: "path", Args: args(word("PATH")), Default: "/", Room: roomCheck, Missing: ExitStop, Help: "page to ask for", set: func(p *interp, u *usage) { p.url.path.put(u.str(0), u.at(0)) }},
		{Name: "digest", Args: args(word("MD5")), Room: roomCheck, Missing: ExitStop, Help: "MD5 of the page, 32 hexadecimal digits as genhash prints", set: func(p *interp, u *usage) {
			d := strings.ToLower(u.str(0))
			if len(d) != 32 || strings.Trim(d, "0123456789abcdef") != "" {
				p.bad(u.at(0), "bad-digest", "digest %q: want 32 hexadecimal digits", u.str(0))
				return
			}
			p.url.digest.put(d, u.at(0))
		}},
		{Name: "status_code", Args: args(word("CODE"), rest("CODE")), Default: "200-299", Room: roomCheck, Missing: missingNote, Help: "good status codes and ranges", set: setStatusCode},
		{Name: "virtualhost", Args: args(word("NAME")), Default: "the checker's", Room: roomCheck, Missing: ExitConfig, Help: "host name in the request", set: func(p *interp, u *usage) { p.url.c.VirtualHost = u.str(0) }},
		{Name: "regex", Args: args(word("PATTERN")), Room: roomCheck, Missing: missingNote, Build: "regex", Help: "pattern that the answer must match", set: func(p *interp, u *usage) { p.url.re().Pattern = u.str(0) }},
		{Name: "regex_no_match", Room: roomCheck, Build: "regex", Help: "a match is a failure", set: func(p *interp, u *usage) { p.url.re().NoMatch = true }},
		{Name: "regex_options", Args: args(word("OPTION"), rest("OPTION")), Room: roomCheck, Build: "regex", Missing: missingNote, Help: "PCRE2 options by name", set: func(p *interp, u *usage) {
			for _, w := range u.rest() {
				if !oneOf(w.Text, regexOptions) {
					p.note(w.Pos, "invalid-value", "regex_options: unknown option %q", w.Text).Suggest = nearest(w.Text, regexOptions)
					continue
				}
				p.url.re().Options = append(p.url.re().Options, w.Text)
			}
		}},
		{Name: "regex_stack", Args: args(word("START"), word("MAX")), Room: roomCheck, Build: "regex", Missing: missingNote, Help: "first and largest stack of the matcher in bytes", set: func(p *interp, u *usage) {
			a, err1 := strconv.ParseUint(u.str(0), 10, 31)
			b, err2 := strconv.ParseUint(u.str(1), 10, 31)
			if err1 != nil || err2 != nil {
				p.note(u.at(0), "invalid-number", "regex_stack: want two numbers of bytes")
				return
			}
			p.url.re().Stack = [2]int{int(a), int(b)}
		}},
		{Name: "regex_min_offset", Args: args(word("OFFSET")), Default: "0", Room: roomCheck, Build: "regex", Missing: missingNote, Help: "where the search begins", set: func(p *interp, u *usage) { p.url.re().MinOffset = p.offset(u) }},
		{Name: "regex_max_offset", Args: args(word("OFFSET")), Default: "no limit", Room: roomCheck, Build: "regex", Missing: missingNote, Help: "where a match must begin at the latest", set: func(p *interp, u *usage) { p.url.re().MaxOffset = p.offset(u) }},
		{Name: "tls_compliant", Args: args(boolean().opt()), Room: roomCheck, Since: "2.2.8", Help: "end with close_notify", set: func(p *interp, u *usage) { p.ck.tls.put(u.orTrue(), u.pos()) }},
	}
}}

// regexOptions are the options of pcre2api(3) that may be given.
var regexOptions = []string{"allow_empty_class", "alt_bsux", "auto_callout", "caseless", "dollar_endonly", "dotall", "dupnames", "extended", "firstline",
	"match_unset_backref", "multiline", "never_ucp", "never_utf", "no_auto_capture", "no_auto_possess", "no_dotstar_anchor", "no_start_optimize", "ucp",
	"ungreedy", "utf", "never_backslash_c", "alt_circumflex", "alt_verbnames", "use_offset_limit"}

func oneOf(s string, list []string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func (p *interp) offset(u *usage) int {
	n, err := strconv.ParseUint(u.str(0), 10, 31)
	if err != nil {
		p.note(u.at(0), "invalid-number", "%s %q: want a number of bytes", u.k.Name, u.str(0))
		return 0
	}
	return int(n)
}

func (r *rawURL) re() *healthcheck.Regex {
	if r.regex == nil {
		r.regex = &healthcheck.Regex{}
	}
	return r.regex
}

func setStatusCode(p *interp, u *usage) {
	for _, w := range u.rest() {
		lo, hi, isRange := strings.Cut(w.Text, "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || a < 100 || b > 599 || a > b {
			p.bad(w.Pos, "bad-status-code", "status_code %q: want 100..599, alone or as a range", w.Text)
			continue
		}
		p.url.c.Status = append(p.url.c.Status, healthcheck.StatusRange{From: uint16(a), To: uint16(b)})
	}
}
