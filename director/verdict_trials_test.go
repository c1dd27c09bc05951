package director_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"releve/healthcheck"
	"releve/internal/realserver"
)

// trial is a real server with its checkers, as the reference and we are set upon it. Its server counts the attempts from 1 and may treat
// each in another way.
type trial struct {
	check string // of the real server's block; ADDR is the server's address, DIR a folder
	tcp   func(c net.Conn, n int)
	udp   func(n int, q []byte) []byte // nil: silence
	// attempts is how many attempts are compared by the time between them; zero: only the verdicts, of one attempt.
	attempts int
	long     bool // many attempts, compared by the verdicts only: what is executed on an emulated processor takes its time
	ending   bool // how the checker closes the connection is compared
	// differs says why our verdicts are others than those of this version of the reference; they are not compared.
	differs string
}

// mood plays answer k to the attempts of which the k-th letter of order says so; the last letter holds for all further ones.
func mood(order string, answers map[byte]func(net.Conn)) func(net.Conn, int) {
	return func(c net.Conn, n int) { answers[order[min(n, len(order))-1]](c) }
}

func request(c net.Conn) {
	var all []byte
	b := make([]byte, 1024)
	for !strings.Contains(string(all), "\r\n\r\n") {
		n, err := c.Read(b)
		if all = append(all, b[:n]...); err != nil {
			return
		}
	}
}

// page answers a request with a text and closes.
func page(text string) func(net.Conn) {
	return func(c net.Conn) { request(c); _, _ = c.Write([]byte(text)) }
}

// inTwo answers in two segments.
func inTwo(one, two string) func(net.Conn) {
	return func(c net.Conn) {
		request(c)
		_, _ = c.Write([]byte(one))
		time.Sleep(300 * time.Millisecond)
		_, _ = c.Write([]byte(two))
	}
}

func hangs(c net.Conn) { request(c); time.Sleep(30 * time.Second) }

func always(f func(net.Conn)) func(net.Conn, int) { return func(c net.Conn, _ int) { f(c) } }

func mails(lines ...string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 512)
		for i, l := range lines {
			if i > 0 {
				if n, err := c.Read(b); n == 0 || err != nil {
					return
				}
			}
			if l == "hang" {
				time.Sleep(30 * time.Second)
			}
			_, _ = c.Write([]byte(l))
		}
	}
}

var web = map[byte]func(net.Conn){
	'g': page("HTTP/1.0 200 OK\r\n\r\nhello\n"), 'b': page("HTTP/1.0 500 No\r\n\r\nhello\n"), 'h': hangs, 'c': request,
}

var mail = map[byte]func(net.Conn){
	'g': mails("220 x\r\n", "250 y\r\n", "221 z\r\n"), 'b': mails("554 no\r\n"), 'h': mails("hang"),
}

// names answers a DNS question well (g), with a code (2, 3, 5), with an other id (x), with garbage (?) or not at all.
func names(order string) func(int, []byte) []byte {
	return func(n int, q []byte) []byte {
		if len(q) < 12 {
			return nil
		}
		a := slices.Clone(q)
		a[2] |= 0x80
		switch k := order[min(n, len(order))-1]; k {
		case 'g':
		case '2', '3', '5':
			a[3] |= k - '0'
		case 'x':
			a[0]++
		case '?':
			return []byte("garbage")
		default:
			return nil
		}
		return a
	}
}

const hash = "b1946ac92492d2347c6235b4d2611184" // of "hello\n"

func get(lines string) string { return "HTTP_GET {\n url {\n path /\n" + lines + " }\n}\n" }

// trials are named by what the server does.
func trials() map[string]trial {
	all := map[string]trial{
		// How often, and after how many failures.
		"web: good, then bad, then good":   {check: get(""), tcp: mood("ggbbbbggbg", web), attempts: 10},
		"web: bad from the start":          {check: get(""), tcp: mood("bbgg", web), attempts: 6},
		"web: hangs":                       {check: get(""), tcp: mood("ghhhg", web), attempts: 7},
		"web: two pages":                   {check: "HTTP_GET {\n url {\n path /a\n }\n url {\n path /b\n }\n}\n", tcp: mood("gggbbbggggg", web), attempts: 11},
		"web: two pages, fast_recovery":    {check: "HTTP_GET {\n fast_recovery\n url {\n path /a\n }\n url {\n path /b\n }\n}\n", tcp: mood("ggbbbbgggggg", web), attempts: 12},
		"web: alpha":                       {check: "HTTP_GET {\n alpha\n url {\n path /a\n }\n}\n", tcp: mood("bbgggg", web), attempts: 6},
		"web: retry and delays of its own": {check: "HTTP_GET {\n retry 1\n delay_before_retry 1.5\n delay_loop 0.6\n url {\n path /a\n }\n}\n", tcp: mood("ggbbbgg", web), attempts: 8},
		"mail: good, bad, good":            {check: "SMTP_CHECK {\n}\n", tcp: mood("ggbbbbbbgg", mail), attempts: 10},
		"mail: bad from the start":         {check: "SMTP_CHECK {\n}\n", tcp: mood("bbbbgg", mail), attempts: 7},
		"mail: hangs":                      {check: "SMTP_CHECK {\n connect_timeout 0.5\n}\n", tcp: mood("ghhhgg", mail), attempts: 7},
		"name: good, refuses, good":        {check: "DNS_CHECK {\n}\n", udp: names("gg5555gg"), attempts: 8},
		"name: silent":                     {check: "DNS_CHECK {\n connect_timeout 0.5\n}\n", udp: names("g....gg"), attempts: 7},
		"name: bad from the start":         {check: "DNS_CHECK {\n}\n", udp: names("22gg"), attempts: 5},
		"datagram: good, silent, good": {check: "UDP_CHECK {\n connect_timeout 0.5\n require_reply\n}\n", udp: func(n int, q []byte) []byte {
			if n > 2 && n < 7 {
				return nil
			}
			return q
		}, attempts: 9},
		"datagram: silence is good":     {check: "UDP_CHECK {\n connect_timeout 0.5\n}\n", udp: func(int, []byte) []byte { return nil }, attempts: 4},
		"script: good, bad, good":       {check: "MISC_CHECK {\n misc_path \"DIR/exits ADDR 0 0 1 1 1 1 0 0\"\n}\n", long: true},
		"script: retries":               {check: "MISC_CHECK {\n retry 0\n misc_path \"DIR/exits ADDR 0 1 0 7 0 0\"\n}\n", long: true},
		"script: bad from the start":    {check: "MISC_CHECK {\n misc_path \"DIR/exits ADDR 1 1 0 0\"\n}\n", long: true},
		"script: alpha":                 {check: "MISC_CHECK {\n alpha\n misc_path \"DIR/exits ADDR 0 1 1 1 0\"\n}\n", long: true},
		"script: killed by a signal":    {check: "MISC_CHECK {\n misc_path \"DIR/killed\"\n}\n"},
		"script: takes too long":        {check: "MISC_CHECK {\n misc_timeout 1\n misc_path \"/bin/sleep 30\"\n}\n"},
		"script: as somebody else":      {check: "MISC_CHECK {\n user nobody\n misc_path \"DIR/whoami nobody\"\n}\n"},
		"script: as script_user":        {check: "MISC_CHECK {\n misc_path \"DIR/whoami root\"\n}\n"},
		"two checkers, one of them bad": {check: get("") + "TCP_CHECK {\n connect_port 9\n}\n", tcp: always(web['g'])},
		"two checkers, both good":       {check: get("") + "TCP_CHECK {\n}\n", tcp: always(web['g'])},
		"nobody there":                  {check: "TCP_CHECK {\n}\n"},
		"nobody there, alpha":           {check: "TCP_CHECK {\n alpha\n}\n"},
		"a source that is not ours":     {check: "TCP_CHECK {\n bindto 192.0.2.7\n}\n", tcp: always(request)},
		"a source that is":              {check: "TCP_CHECK {\n bindto 10.2.0.250\n}\n", tcp: always(request)},
		"another address and port":      {check: "TCP_CHECK {\n connect_ip 127.0.0.1\n connect_port 8080\n}\n"},
		"an interface":                  {check: "TCP_CHECK {\n bind_if lo\n}\n", tcp: always(request)},
		"a mark without a route":        {check: "TCP_CHECK {\n fwmark 77\n connect_timeout 0.5\n}\n", tcp: always(request)},
		"ping":                          {check: "PING_CHECK {\n}\n"},
		"ping, nobody there":            {check: "PING_CHECK {\n connect_ip 10.9.9.9\n connect_timeout 0.5\n}\n"},
	}
	// One verdict each: what is a good answer.
	for name, s := range map[string]string{
		"plain":                          "HTTP/1.0 200 OK\r\n\r\nhello\n",
		"an odd first word":              "XYZ 200 OK\r\n\r\nhello\n",
		"no phrase":                      "HTTP/1.1 200 \r\n\r\nhello\n",
		"no phrase and no space":         "HTTP/1.1 200\r\n\r\nhello\n",
		"two spaces":                     "HTTP/1.1  200 OK\r\n\r\nhello\n",
		"four digits":                    "HTTP/1.1 2000 OK\r\n\r\nhello\n",
		"code 99":                        "HTTP/1.1 099 OK\r\n\r\nhello\n",
		"code 299":                       "HTTP/1.1 299 OK\r\n\r\nhello\n",
		"code 300":                       "HTTP/1.1 300 OK\r\n\r\nhello\n",
		"code 600":                       "HTTP/1.1 600 OK\r\n\r\nhello\n",
		"bare newlines":                  "HTTP/1.1 200 OK\n\nhello\n",
		"no header end":                  "HTTP/1.1 200 OK\r\nhello\n",
		"nothing":                        "",
		"no body":                        "HTTP/1.1 200 OK\r\n\r\n",
		"length too long":                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello\n",
		"length too short":               "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\nworld",
		"length in lower case":           "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhello\n",
		"length with a blank behind":     "HTTP/1.1 200 OK\r\nContent-Length: 3 \r\n\r\nhello\n",
		"length without a blank":         "HTTP/1.1 200 OK\r\nContent-Length:6\r\n\r\nhello\nworld",
		"length zero":                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nhello\n",
		"length negative":                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello\n",
		"length absurd":                  "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello\n",
		"length that is no number":       "HTTP/1.1 200 OK\r\nContent-Length: six\r\n\r\nhello\n",
		"a length without a line end":    "HTTP/1.1 200 OK\r\nX: y Content-Length: 3\r\n\r\nhello\n",
		"a length with a tab":            "HTTP/1.1 200 OK\r\nContent-Length:\t3\r\n\r\nhello\n",
		"a length with a plus":           "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nhello\n",
		"a length in hexadecimal":        "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nhello\n",
		"a length and bare newline":      "HTTP/1.1 200 OK\r\nContent-Length: 3\nX: y\r\n\r\nhello\n",
		"a length in the body":           "HTTP/1.1 200 OK\r\n\r\nContent-Length: 3\r\n",
		"two lengths":                    "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 8\r\n\r\nhello\nworld",
		"a length within another header": "HTTP/1.1 200 OK\r\nX-Content-Length: 3\r\n\r\nhello\n",
		"chunks":                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n0\r\n\r\n",
		"broken chunks":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\n",
		"garbage":                        "\x00\x01\xff\xfe\r\n\r\n",
	} {
		all["answer: "+name] = trial{check: get(""), tcp: always(page(s))}
		all["digest: "+name] = trial{check: get(" digest " + hash + "\n"), tcp: always(page(s))}
	}
	head, body := "HTTP/1.0 200 OK\r\nX-Mark: here\r\n\r\n", "hello world\n"
	for name, c := range map[string]struct {
		url    string
		answer func(net.Conn)
	}{
		"digest in capitals":                        {"digest " + strings.ToUpper(hash), page("HTTP/1.0 200 OK\r\n\r\nhello\n")},
		"a list of codes":                           {"status_code 404 300-302", page("HTTP/1.0 301 OK\r\n\r\n")},
		"a code that is not listed":                 {"status_code 404 300-302", page("HTTP/1.0 200 OK\r\n\r\n")},
		"code and digest":                           {"status_code 404\n digest " + hash, page("HTTP/1.0 404 OK\r\n\r\nhello\n")},
		"right code, wrong digest":                  {"status_code 404\n digest " + hash, page("HTTP/1.0 404 OK\r\n\r\nhullo\n")},
		"right digest, wrong code":                  {"digest " + hash, page("HTTP/1.0 404 OK\r\n\r\nhello\n")},
		"regex":                                     {"regex hel+o", page(head + body)},
		"regex, no match":                           {"regex hullo", page(head + body)},
		"regex_no_match":                            {"regex hullo\n regex_no_match", page(head + body)},
		"regex_no_match, it matches":                {"regex hello\n regex_no_match", page(head + body)},
		"regex, case":                               {"regex HELLO", page(head + body)},
		"regex, caseless":                           {"regex HELLO\n regex_options caseless", page(head + body)},
		"regex, look-behind":                        {"regex \"(?<=hello )world\"", page(head + body)},
		"regex in the header":                       {"regex X-Mark", page(head + body)},
		"regex in the header, apart":                {"regex X-Mark", inTwo(head, body)},
		"regex over two segments":                   {"regex \"lo wo\"", inTwo(head+"hello", " world\n")},
		"regex, offset in the body":                 {fmt.Sprintf("regex hello\n regex_min_offset %d", len(head)), page(head + body)},
		"regex, offset behind it":                   {fmt.Sprintf("regex hello\n regex_min_offset %d", len(head)+1), page(head + body)},
		"regex, offset far behind":                  {"regex hello\n regex_min_offset 5000", page(head + body)},
		"regex, max before it":                      {fmt.Sprintf("regex hello\n regex_max_offset %d", len(head)-1), page(head + body)},
		"regex, max at it":                          {fmt.Sprintf("regex hello\n regex_max_offset %d", len(head)), page(head + body)},
		"regex, max and min":                        {fmt.Sprintf("regex o\n regex_min_offset %d\n regex_max_offset %d", len(head)+5, len(head)+7), page(head + body)},
		"regex, max in two segments":                {"regex world\n regex_max_offset 3", inTwo(head+"hello", " world\n")},
		"regex, min in two segments":                {"regex world\n regex_min_offset 8", inTwo(head+"hello", " world\n")},
		"regex, stack":                              {"regex \"(a|b)*c\"\n regex_stack 1024 16777216", page(head + strings.Repeat("ab", 2000) + "c")},
		"regex_no_match, no body":                   {"regex hello\n regex_no_match", page(head)},
		"regex_no_match, apart":                     {"regex hullo\n regex_no_match", inTwo(head, body)},
		"regex_no_match, header":                    {"regex X-Mark\n regex_no_match", page(head + body)},
		"regex and digest":                          {"regex hello\n digest " + hash, page("HTTP/1.0 200 OK\r\n\r\nhello\n")},
		"regex and wrong digest":                    {"regex hello\n digest " + hash, page("HTTP/1.0 200 OK\r\n\r\nhello")},
		"regex behind a length":                     {"regex world", page("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\nworld")},
		"regex, dotall":                             {"regex hello.world\n regex_options dotall", page(head + "hello\nworld\n")},
		"regex, extended":                           {"regex \"h e l l o\"\n regex_options extended", page(head + body)},
		"regex, ungreedy and utf":                   {"regex \"h.+o w\"\n regex_options ungreedy utf", page(head + body)},
		"regex, firstline":                          {"regex hello\n regex_options firstline", page(head + body)},
		"regex, dollar_endonly":                     {"regex \"world$\"\n regex_options dollar_endonly", page(head + body)},
		"regex, dollar before a newline at the end": {"regex \"world$\"", page(head + body)},
		"regex, unset back reference":               {"regex \"(x)?hello\\\\1 w\"", page(head + body)},
		"regex, alt_bsux":                           {"regex \"h\\\\u0065llo\"\n regex_options alt_bsux", page(head + body)},
		"regex, allow_empty_class":                  {"regex \"hello|[]\"\n regex_options allow_empty_class", page(head + body)},
		"regex, empty class in vain":                {"regex \"[]x]hello\"\n regex_options allow_empty_class", page(head + "]hello")},
		"regex, match_unset_backref":                {"regex \"(x)?hello\\\\1 w\"\n regex_options match_unset_backref", page(head + body)},
		"regex, recursion in vain":                  {"regex \"^X(\\\\((?:[^()]|(?1))*\\\\))\"\n regex_options multiline", page(head + "\nX(a(b c)\n")},
		"regex, branch reset in vain":               {"regex \"(?|h(a)|w(u))l+\"", page(head + body)},
		"regex, recursion":                          {"regex \"^X(\\\\((?:[^()]|(?1))*\\\\))\"\n regex_options multiline", page(head + "\nX(a(b)c)\n")},
		"regex, branch reset":                       {"regex \"(?|h(e)|w(o))l+\"", page(head + body)},
		"regex, multiline":                          {"regex ^world\n regex_options multiline", page(head + "hello\nworld\n")},
		"regex, not multiline":                      {"regex ^world", page(head + "hello\nworld\n")},
		"regex, no body":                            {"regex X-Mark", page(head)},
		"regex, a body that is empty":               {"regex ^$", page(head)},
		"one byte a second": {"path /", func(c net.Conn) {
			request(c)
			for _, b := range []byte("HTTP/1.0 200 OK\r\n\r\n") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(150 * time.Millisecond)
			}
		}},
		"a complete answer, left open": {"path /", func(c net.Conn) {
			request(c)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"))
			time.Sleep(30 * time.Second)
		}},
		"a reset in the body": {"path /", func(c net.Conn) {
			request(c)
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\nhel"))
			time.Sleep(100 * time.Millisecond)
			_ = c.(*net.TCPConn).SetLinger(0)
		}},
		"closed without reading": {"path /", func(net.Conn) {}},
		"a megabyte":             {"path /", page("HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20))},
		"a long header":          {"path /", page("HTTP/1.0 200 OK\r\n" + strings.Repeat("X: yyyyyyyyyyyyyy\r\n", 180) + "\r\nhello\n")},
	} {
		all["page: "+name] = trial{check: get(" " + c.url + "\n"), tcp: always(c.answer)}
		if strings.Contains(name, "dollar before") {
			d := all["page: "+name]
			d.differs = "the reference lets a match that looks at the end of what came wait for more, and nothing more comes"
			all["page: "+name] = d
		}
	}
	for name, lines := range map[string][]string{
		"220 without a blank": {"220\r\n", "250 y\r\n", "221\r\n"}, "220 in lines": {"220-a\r\n220 b\r\n", "250 y\r\n", "221\r\n"},
		"250 in lines": {"220 a\r\n", "250-x\r\n250 y\r\n", "221\r\n"}, "nonsense to QUIT": {"220 a\r\n", "250 x\r\n", "nonsense\r\n"},
		"no answer to QUIT": {"220 a\r\n", "250 x\r\n"}, "all at once": {"220 a\r\n250 b\r\n221 c\r\n", "", ""}, "bare newlines": {"220 a\n", "250 x\n", "221 x\n"},
		"a line too many, then well": {"220 a\r\nmore\r\n", "250 x\r\n", "221 x\r\n"}, "250 comes early, and again": {"220 a\r\n250 b\r\n", "250 x\r\n", "221 x\r\n"},
		"501 to HELO": {"220 a\r\n", "501 x\r\n"}, "an endless line": {"220 " + strings.Repeat("x", 20000) + "\r\n", "250 x\r\n", "221 x\r\n"},
	} {
		all["mail: "+name] = trial{check: "SMTP_CHECK {\n connect_timeout 0.5\n}\n", tcp: always(mails(lines...))}
	}
	for name, order := range map[string]string{"NXDOMAIN": "3", "another id": "x", "garbage": "?"} {
		all["name: "+name] = trial{check: "DNS_CHECK {\n connect_timeout 0.5\n}\n", udp: names(order)}
	}
	for name, lines := range map[string]string{
		"any reply": "require_reply", "as wanted": "require_reply 70 6f 6e 67", "wildcards": "require_reply 7x xf 6e xx", "not as wanted": "require_reply 70 75",
		"wanted is longer": "require_reply 706f6e672121", "wanted is shorter": "require_reply 706f", "too short": "require_reply 70\n min_reply_length 5",
		"too long": "require_reply 70\n max_reply_length 3", "lengths without data": "require_reply\n min_reply_length 5",
	} {
		all["datagram: "+name] = trial{check: "UDP_CHECK {\n " + lines + "\n}\n", udp: func(int, []byte) []byte { return []byte("pong") }}
	}
	// How connections end: in good order or with a reset.
	for name, c := range map[string]struct {
		check string
		first func(net.Conn)
	}{
		"TCP_CHECK":                    {"TCP_CHECK {\n}\n", func(net.Conn) {}},
		"HTTP_GET without an answer":   {get(" path /\n"), request},
		"HTTP_GET with half an answer": {get(" path /\n"), func(c net.Conn) { request(c); _, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nhel")) }},
		"HTTP_GET, the server has said": {get(" path /\n"), func(c net.Conn) {
			request(c)
			_, _ = c.Write([]byte("HTTP/1.0 200 OK\r\n\r\nhello"))
			_ = c.(*net.TCPConn).CloseWrite()
		}},
		"SMTP_CHECK, good":         {"SMTP_CHECK {\n}\n", mails("220 a\r\n", "250 b\r\n", "221 c\r\n")},
		"SMTP_CHECK, refused":      {"SMTP_CHECK {\n}\n", mails("554 a\r\n")},
		"SMTP_CHECK without words": {"SMTP_CHECK {\n connect_timeout 1\n}\n", func(net.Conn) {}},
		"SSL_GET without words":    {"SSL_GET {\n url {\n path /\n }\n}\n", func(net.Conn) {}},
	} {
		all["end: "+name] = trial{check: c.check, tcp: always(c.first), ending: true}
	}
	// Nobody waits for the words of this one: the connection ends with a reset if they have come by then, for both.
	all["end: TCP_CHECK of one that talks"] = trial{check: "TCP_CHECK {\n}\n", tcp: always(func(c net.Conn) { _, _ = c.Write([]byte("hello\r\n")) })}
	// What routers and firewalls say, and what this host knows itself.
	for _, c := range []string{"UDP_CHECK", "DNS_CHECK", "TCP_CHECK"} {
		for name, addr := range map[string]string{"port": "10.7.0.1", "host": "10.7.0.2", "prohibited": "10.7.0.3", "an unreachable route": "10.7.0.4",
			"a prohibited route": "10.7.0.5", "a route that throws away": "10.7.0.6"} {
			all["unreachable: "+c+" "+name] = trial{check: c + " {\n connect_timeout 0.5\n retry 1\n connect_ip " + addr + "\n}\n"}
		}
	}
	// Real servers.
	for name, lines := range map[string]string{
		"page": "path /page", "virtual host": "path /page\n virtualhost www.example.org\n digest " + healthcheck.Hash([]byte(realserver.VirtualPage)), "missing": "path /missing",
		"moved": "path /moved", "gone": "path /gone", "large": "path /large\n digest " + healthcheck.Hash([]byte(strings.Repeat("0123456789abcde\n", 1<<16))), "slow": "path /slow",
		"included": "path /included\n digest " + healthcheck.Hash([]byte("begin\na piece\nend\n")),
	} {
		for i, more := range []string{"", "http_protocol 1.0c\n", "http_protocol 1.1\n"} {
			all[fmt.Sprintf("nginx: %s %d", name, i)] = trial{check: "HTTP_GET {\n connect_port 8080\n " + more + " url {\n " + lines + "\n }\n}\n"}
		}
	}
	for name, s := range map[string]string{
		"good": "connect_port 8443\n url {\n path /page\n", "no name": "connect_port 8443\n url {\n path /name\n digest " + healthcheck.Hash([]byte("name= protocol=TLSv1.3\n")) + "\n",
		"a name":                 "connect_port 8443\n enable_sni\n virtualhost www.example.org\n url {\n path /name\n digest " + healthcheck.Hash([]byte("name=www.example.org protocol=TLSv1.3\n")) + "\n",
		"a client's certificate": "connect_port 8444\n url {\n path /page\n", "expired": "connect_port 8445\n url {\n path /page\n", "TLS 1.3": "connect_port 8446\n url {\n path /page\n",
		"no TLS": "connect_port 8080\n url {\n path /page\n",
	} {
		all["nginx over TLS: "+name] = trial{check: "SSL_GET {\n connect_timeout 3\n " + s + " }\n}\n"}
	}
	all["smtpd"] = trial{check: "SMTP_CHECK {\n connect_timeout 3\n connect_port 2525\n}\n"}
	all["smtpd: a bad name"] = trial{check: "SMTP_CHECK {\n connect_timeout 3\n connect_port 2525\n helo_name what?\n}\n"}
	all["smtpd: TLS first"] = trial{check: "SMTP_CHECK {\n connect_timeout 0.5\n connect_port 4650\n}\n"}
	for i, lines := range []string{"", "type A\n name www.example.org", "type NS", "type CNAME\n name alias.example.org", "type SOA", "type MX\n name example.org", "type TXT\n name www.example.org",
		"type AAAA\n name www.example.org", "type RRSIG\n name www.example.org", "type DNSKEY\n name www.example.org", "type A\n name nobody.example.org"} {
		all[fmt.Sprintf("unbound %d", i)] = trial{check: "DNS_CHECK {\n connect_timeout 3\n connect_port 5353\n " + lines + "\n}\n"}
	}
	return all
}
