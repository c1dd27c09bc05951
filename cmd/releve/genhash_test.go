package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"releve/internal/testneed"
)

func webServer(t *testing.T, h http.HandlerFunc) (host, port string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header()["Date"] = nil
	if r.URL.Path == "/missing" {
		w.WriteHeader(404)
	}
	if r.URL.Path == "/empty" {
		return
	}
	fmt.Fprintf(w, "hello %s %s %s %s\n", r.Host, r.Proto, r.Header["Connection"], strings.Repeat("x", 40))
}

var micros = regexp.MustCompile(`= \d+ usecs`)

// TestGenhashPrintsWhatTheReferencePrints runs both on the same pages and mistakes: the standard output is the same to the byte
// (but for the time it took) and so is the exit status; usage goes to the standard error.
func TestGenhashPrintsWhatTheReferencePrints(t *testing.T) {
	testneed.Need(t, "keepalived")
	host, port := webServer(t, hello)
	web := "-s " + host + " -p " + port
	for _, args := range []string{
		web + " -u /", web + " -u / -v", web + " -u /missing", web + " -u /missing -v", web + " -u /empty -v", web + " -u / -V www.example.org",
		web + " -u / -P 1.0c -v", web + " -u / -P 1.1 -v", web + " --url=/ --protocol=1.1", "-p" + port + " -s" + host + " -u/", web + " -vu /",
		web + " -u / -t 5 -I -V x", "-s 127.0.0.1 -p 1 -u /", "-S " + web + " -u / -t 2",
		"", "-h", web, web + " -u", web + " -u / extra", "--bogus", "-s localhost -p 1 -u /", "-s 127.0.0.1 -p 70000 -u /",
		web + " -u / -P 2.0", web + " -u / -t x", web + " -u / -m x",
	} {
		t.Run(args, func(t *testing.T) {
			words := strings.Fields(args)
			var want, wantErr bytes.Buffer
			c := exec.Command("keepalived", append([]string{"--genhash"}, words...)...)
			c.Stdout, c.Stderr = &want, &wantErr
			_ = c.Run()
			var out, errs bytes.Buffer
			code := genhashFace("genhash", words, &out, &errs)
			if code != c.ProcessState.ExitCode() {
				t.Errorf("exit status %d, the reference's is %d\n%s%s", code, c.ProcessState.ExitCode(), &errs, &wantErr)
			}
			a, b := micros.ReplaceAllString(out.String(), "= N usecs"), micros.ReplaceAllString(want.String(), "= N usecs")
			if a != b {
				t.Errorf("got\n%s\nthe reference prints\n%s", a, b)
			}
			if (errs.Len() > 0) != (wantErr.Len() > 0) {
				t.Errorf("standard error %q, the reference's %q", &errs, &wantErr)
			}
		})
	}
}

func TestReleveGenhashIsHonest(t *testing.T) {
	var n atomic.Int64
	host, port := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stable":
			fmt.Fprint(w, "same")
		case "/counter":
			fmt.Fprint(w, 1000+n.Add(1))
		case "/time":
			fmt.Fprintf(w, "page made at %s\n", time.Now().Format(time.TimeOnly))
		case "/chunks":
			for i := range 3 {
				fmt.Fprint(w, "hello, "+"world"[:i+int(n.Add(1))%2])
				w.(http.Flusher).Flush()
			}
		case "/cookie":
			w.Header().Set("Set-Cookie", "a=b")
			fmt.Fprint(w, 1000+n.Add(1))
		case "/longer":
			fmt.Fprint(w, strings.Repeat("x", int(n.Add(1))))
		default:
			w.WriteHeader(503)
		}
	})
	for name, c := range map[string]struct {
		args       string
		code       int
		out, error string // what must be contained
	}{
		"a page that stays":                   {"-u /stable", 0, "51037a4a37730f52c8732586d3aaa316\n", ""},
		"a page that changes":                 {"-u /counter", 0, "\n", "not stable: asked a second time, other bytes came, first at byte "},
		"a page that says what time it is":    {"-u /time", 0, "\n", "(a date or a time); status_code"},
		"a page in chunks of other sizes":     {"-u /chunks -P 1.1", 0, "\n", "(chunked: the sizes of the chunks are hashed too)"},
		"a page that changes with a cookie":   {"-u /cookie", 0, "\n", "it sets a cookie"},
		"a page that changes its length":      {"-u /longer", 0, "\n", "bytes"},
		"an error page":                       {"-u /error", 0, "d41d8cd98f00b204e9800998ecf8427e\n", "hint: the answer has status 503"},
		"--digest-only gives no hints":        {"-u /counter --digest-only", 0, "\n", ""},
		"a wrong option":                      {"-u /x --bogus", 2, "", "unknown flag: --bogus (releve genhash --help says more)"},
		"a server that is not there":          {"-u / -p 1", 1, "", "connection refused"},
		"a server that does not speak TLS":    {"-u / -S -t 2", 1, "", "TLS handshake failed"},
		"a port that is no number is no zero": {"-u / -p 0", 2, "", "invalid port number"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			args := append([]string{"genhash", "-s", host, "-p", port}, strings.Fields(c.args)...)
			if code := run(append([]string{"releve"}, args...), &out, &errs); code != c.code {
				t.Errorf("exit status %d, want %d", code, c.code)
			}
			if !strings.Contains(out.String(), c.out) || c.out == "" && out.Len() > 0 {
				t.Errorf("standard output %q, want %q", &out, c.out)
			}
			if !strings.Contains(errs.String(), c.error) || c.error == "" && errs.Len() > 0 {
				t.Errorf("standard error %q, want %q", &errs, c.error)
			}
		})
	}
}
