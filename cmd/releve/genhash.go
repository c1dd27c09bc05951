package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"releve/healthcheck"
)

// genhashUsage is what -h and every mistake print on the standard error.
const genhashUsage = `Usage: %s -s ADDRESS -p PORT -u PATH [OPTIONS]
Prints the MD5 digest of a web page as a url block's "digest" compares it.

  -s, --server ADDRESS           IP address of the web server
  -p, --port PORT                its port
  -u, --url PATH                 the page
  -S, --use-ssl                  speak TLS
  -I, --use-sni                  send the name of -V in the TLS handshake
  -V, --use-virtualhost NAME     Host header, default ADDRESS:PORT
  -P, --protocol 1.0|1.0c|1.1    HTTP version; 1.0c is 1.0 with "Connection: close"
  -t, --timeout SECONDS          limit for the connect and for each wait
  -m, --fwmark NUMBER            mark of the packets
  -v, --verbose                  show header, body and digest
  -h, --help                     this text
`

const genhashMore = `      --digest-only              no hints, nothing but the digest

Exit status: 0 with a digest, 1 if the page could not be fetched, 2 for wrong options.
`

// genhashFace is genhash and keepalived --genhash: options, output and exit status as the reference has them. A page that cannot be
// fetched still ends with 0 there, and scripts may rely on it.
func genhashFace(name string, args []string, stdout, stderr io.Writer) int {
	return (&hasher{name: name, out: stdout, err: stderr, compatible: true}).run(args)
}

// genhashCommand is `releve genhash`: the same options, honest exit statuses, a time limit, and a hint if the digest will not hold.
var genhashCommand = subcommand{"genhash", "digest of a web page for a url block", func(args []string, stdout, stderr io.Writer) int {
	return (&hasher{name: "releve genhash", out: stdout, err: stderr}).run(args)
}}

type hasher struct {
	name       string
	out, err   io.Writer
	compatible bool // the reference's exit statuses, no hints

	req                       healthcheck.Request
	verbose, help, digestOnly bool
}

func (h *hasher) usage(problem string) int {
	switch {
	case h.compatible && problem != "":
		fmt.Fprintln(h.err, problem)
		fallthrough
	case h.compatible:
		fmt.Fprintf(h.err, genhashUsage, h.name)
		return 1
	case problem != "":
		return wrongUse(h.err, "genhash", errors.New(problem))
	}
	fmt.Fprintf(h.out, genhashUsage, h.name)
	fmt.Fprint(h.out, genhashMore)
	return 0
}

func (h *hasher) run(args []string) int {
	if problem, ok := h.parse(args); !ok {
		return h.usage(problem)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	first := &sample{}
	switch {
	case h.verbose:
		h.req.Tap = h.tap()
	case !h.compatible && !h.digestOnly:
		h.req.Tap = first.take
	}
	page, err := healthcheck.Fetch(ctx, h.req)
	if err != nil {
		return h.failed(err)
	}
	if h.verbose {
		h.verdict(page)
		return 0
	}
	fmt.Fprintln(h.out, page.Digest)
	if !h.compatible && !h.digestOnly {
		h.hint(ctx, page, first)
	}
	return 0
}

// parse reads the options; ok is false if usage must be shown.
func (h *hasher) parse(args []string) (problem string, ok bool) {
	f := pflag.NewFlagSet(h.name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	var server, port, url, vhost, protocol, timeout, mark string
	var ssl, sni bool
	f.StringVarP(&server, "server", "s", "", "")
	f.StringVarP(&port, "port", "p", "", "")
	f.StringVarP(&url, "url", "u", "", "")
	f.BoolVarP(&ssl, "use-ssl", "S", false, "")
	f.BoolVarP(&sni, "use-sni", "I", false, "")
	f.StringVarP(&vhost, "use-virtualhost", "V", "", "")
	f.StringVarP(&protocol, "protocol", "P", "1.0", "")
	f.StringVarP(&timeout, "timeout", "t", "", "")
	f.StringVarP(&mark, "fwmark", "m", "", "")
	f.BoolVarP(&h.verbose, "verbose", "v", false, "")
	f.BoolVarP(&h.help, "help", "h", false, "")
	if !h.compatible {
		f.BoolVar(&h.digestOnly, "digest-only", false, "")
	}
	if err := f.Parse(args); err != nil {
		return err.Error(), false
	}
	switch {
	case h.help:
		return "", false
	case f.NArg() > 0:
		return "Unexpected argument(s): " + strings.Join(f.Args(), " "), false
	case server == "" || port == "" || url == "":
		return "want a server, a port and a url: -s, -p and -u", false
	}
	addr, err := netip.ParseAddr(server)
	if err != nil {
		return "server should be an IP, not " + server, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Sprintf("invalid port number '%s'", port), false
	}
	protocol = strings.ToLower(protocol)
	switch protocol {
	case "1.0", "1.0c", "1.1":
	default:
		return fmt.Sprintf("invalid HTTP protocol version '%s'", protocol), false
	}
	h.req = healthcheck.Request{Addr: netip.AddrPortFrom(addr, uint16(n)), Path: url, VirtualHost: vhost, Protocol: protocol, TLS: ssl}
	if sni {
		h.req.ServerName = vhost
	}
	if timeout != "" {
		s, err := strconv.ParseFloat(timeout, 64)
		if err != nil || s <= 0 || s > 1e6 {
			return fmt.Sprintf("invalid timeout '%s'", timeout), false
		}
		h.req.Timeout = time.Duration(s * float64(time.Second))
	} else if !h.compatible {
		h.req.Timeout = 30 * time.Second
	}
	if mark != "" {
		m, err := strconv.ParseUint(mark, 0, 32)
		if err != nil {
			return fmt.Sprintf("invalid fwmark '%s'", mark), false
		}
		h.req.FWMark = uint32(m)
	}
	return "", true
}

// failed tells why there is no digest, in the reference's words and places, or better.
func (h *hasher) failed(err error) int {
	if !h.compatible {
		fmt.Fprintf(h.err, "%s: %s: %v\n", h.name, h.req.Addr, err)
		return 1
	}
	late := false
	if t, ok := err.(interface{ Timeout() bool }); ok {
		late = t.Timeout()
	}
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		fmt.Fprintln(h.out, "HTTP/SSL_CHECK - network unreachable")
	case errors.Is(err, healthcheck.ErrConnect) && late:
		fmt.Fprintln(h.out, "Timeout connecting")
	case errors.Is(err, healthcheck.ErrConnect):
		fmt.Fprintln(h.out, "Connection failed")
	case errors.Is(err, healthcheck.ErrTLS):
		fmt.Fprintln(h.out, "SSL handshake/communication error connecting to")
	case late:
		fmt.Fprintln(h.out, "Timeout WEB read")
	default:
		fmt.Fprintln(h.err, "no data received from remote webserver")
	}
	return 0
}

// ruler is a title line of the verbose output.
func (h *hasher) ruler(title string) {
	side := (27 - len(title)) / 2
	fmt.Fprintf(h.out, "-----------------------[%*s%s%*s]-----------------------\n", side, "", title, side, "")
}

func (h *hasher) tap() func(string, []byte) {
	body := false
	return func(part string, b []byte) {
		if part == "header" {
			h.ruler("HTTP Header Buffer")
			h.dump(b)
			h.ruler("HTTP Header Ascii Buffer")
			fmt.Fprintf(h.out, "%s\n", b)
			return
		}
		if !body {
			body = true
			h.ruler("HTML Buffer")
		}
		h.dump(b)
	}
}

func (h *hasher) verdict(page *healthcheck.Page) {
	fmt.Fprintln(h.out)
	h.ruler("HTML hash resulting")
	sum := make([]byte, 0, 16)
	for i := 0; i+2 <= len(page.Digest); i += 2 {
		n, _ := strconv.ParseUint(page.Digest[i:i+2], 16, 8)
		sum = append(sum, byte(n))
	}
	h.dump(sum)
	h.ruler("HTML hash final resulting")
	fmt.Fprintf(h.out, "%s\n\nGlobal response time for [%s] = %d usecs\n", page.Digest, h.req.Path, page.Latency.Microseconds())
}

// dump writes 16 bytes a line: decimal offset, hex in two halves, text.
func (h *hasher) dump(b []byte) {
	var line bytes.Buffer
	for at := 0; at < len(b); at += 16 {
		line.Reset()
		fmt.Fprintf(&line, "%04d  ", at)
		for i := at; i < at+16; i++ {
			if i < len(b) {
				fmt.Fprintf(&line, "%02x ", b[i])
			} else {
				line.WriteString("   ")
			}
			if i == at+7 {
				line.WriteString("- ")
			}
		}
		line.WriteString("  ")
		for i := at; i < at+16; i++ {
			switch {
			case i >= len(b):
				line.WriteByte(' ')
			case b[i] < ' ' || b[i] > '~':
				line.WriteByte('.')
			default:
				line.WriteByte(b[i])
			}
		}
		line.WriteByte('\n')
		h.out.Write(line.Bytes())
	}
}
