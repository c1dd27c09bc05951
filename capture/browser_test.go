package capture_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"releve/capture"
	"releve/internal/testneed"
)

// A browser opens the page of a capture: its script runs without a complaint, all frames are in the diagram, and a click on one
// shows its fields and bytes. What routine frames leave free when they are hidden is closed up.
func TestABrowserShowsTheDiagram(t *testing.T) {
	testneed.Need(t, "chromium")
	const look = `<script>
	addEventListener("error", function (e) { console.error("ERROR " + e.message); });
	addEventListener("load", function () {
		var say = function (k, v) { document.body.setAttribute("data-" + k, v); };
		var high = function () { return document.getElementById("diagram").getBoundingClientRect().height; };
		var box = document.getElementById("routine"), g = document.querySelectorAll("g.frame")[3];
		say("frames", document.querySelectorAll("g.frame").length);
		box.checked = true; box.dispatchEvent(new Event("change"));
		var all = high();
		box.checked = false; box.dispatchEvent(new Event("change"));
		say("closed", high() < all);
		g.dispatchEvent(new MouseEvent("click", {bubbles: true}));
		say("fields", document.querySelectorAll("#details tr").length);
		say("bytes", document.querySelector("#details pre").textContent.slice(0, 4));
	});</script>`
	dir := t.TempDir()
	for _, path := range []string{"testdata/failover.pcapng", "testdata/dhcp.pcapng"} {
		k := annotate(t, path)
		var b bytes.Buffer
		p := &capture.Page{W: &b}
		for i := range k.frames {
			if err := p.Frame(k.frames[i], &k.notes[i], nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(k.last); err != nil {
			t.Fatal(err)
		}
		frames := strings.Count(b.String(), `<g class="frame `)
		page := filepath.Join(dir, filepath.Base(path)+".html")
		if err := os.WriteFile(page, []byte(strings.Replace(b.String(), "</body>", look+"</body>", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(dir, "profile"), "--enable-logging=stderr", "--dump-dom", "file://"+page)
		var errs bytes.Buffer
		c.Stderr = &errs
		out, err := c.Output()
		cancel()
		if err != nil {
			t.Fatalf("%v\n%s", err, &errs)
		}
		if console := regexp.MustCompile(`(?m)^.*CONSOLE.*$`).FindString(errs.String()); console != "" {
			t.Errorf("%s: %s", path, console)
		}
		body := regexp.MustCompile(`<body[^>]*>`).FindString(string(out))
		for _, want := range []string{fmt.Sprintf(`data-frames="%d"`, frames), `data-closed="true"`, `data-bytes="0000"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the browser says %s, want %s", path, body, want)
			}
		}
		if strings.Contains(body, `data-fields="0"`) {
			t.Errorf("%s: a click shows no fields: %s", path, body)
		}
	}
}

// On paper each page says whose lanes these are.
func TestPrintedPagesAllNameTheHosts(t *testing.T) {
	testneed.Need(t, "chromium", "pdftotext")
	k := annotate(t, "testdata/failover.pcapng")
	var b bytes.Buffer
	p := &capture.Page{W: &b}
	for i := range k.frames {
		n := k.notes[i]
		n.Kind = capture.Change // hidden frames are not printed: enough for several pages
		if err := p.Frame(k.frames[i], &n, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(k.last); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page, pdf := filepath.Join(dir, "page.html"), filepath.Join(dir, "page.pdf")
	if err := os.WriteFile(page, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+filepath.Join(dir, "profile"), "--print-to-pdf="+pdf, "file://"+page).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := exec.CommandContext(ctx, "pdftotext", "-layout", pdf, "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	hosts := regexp.MustCompile(`<g class="lane"><text[^>]*><title>[^<]*</title>([^<]*)</text>`).FindAllStringSubmatch(b.String(), -1)
	pages := strings.Split(strings.TrimSuffix(string(text), "\f"), "\f")
	if len(pages) < 2 || len(hosts) < 2 {
		t.Fatalf("%d pages, %d hosts", len(pages), len(hosts))
	}
	for i, text := range pages {
		for _, h := range hosts {
			if !strings.Contains(strings.ReplaceAll(text, " ", ""), strings.ReplaceAll(h[1], " ", "")) {
				t.Errorf("page %d of %d does not name %s:\n%s", i+1, len(pages), h[1], text[:min(len(text), 400)])
			}
		}
	}
}
