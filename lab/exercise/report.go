package exercise

import (
	"errors"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"

	"releve/capture"
)

const reportCSS = `:root{--ink:#1c2733;--soft:#6a7886;--line:#c7d0d9;--paper:#fff;--box:#f3f6f9}
@media (prefers-color-scheme:dark){:root{--ink:#e3e8ed;--soft:#93a1af;--line:#44505c;--paper:#14191f;--box:#1d242c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62em;margin:1.5em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.8em;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;width:100%}.steps td:nth-child(-n+2){width:3.5em}.steps tr td:first-child,th{white-space:nowrap;font-variant-numeric:tabular-nums}td,th{text-align:left;padding:.25em .7em .25em 0;vertical-align:top;border-bottom:1px solid var(--line)}
.ok{color:#2e9e5b;font-weight:600}.no{color:#d9534f;font-weight:600}.soft{color:var(--soft)}
pre{background:var(--box);padding:.7em 1em;overflow-x:auto;font-size:12.5px;line-height:1.4}
details{margin:.5em 0}summary{cursor:pointer}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .host{font-weight:600}
svg rect{fill:var(--box);stroke:var(--line)}svg .wire{stroke:var(--ink);stroke-width:3}svg line{stroke:var(--soft)}
a{color:#2467b3}code{font-size:13px}svg.topology{max-width:100%;height:auto}
@media (prefers-color-scheme:dark){a{color:#7db4f0}}
@media print{:root{--ink:#000;--soft:#555;--line:#bbb;--paper:#fff;--box:#f3f6f9}body{margin:0;max-width:none}tr,svg,summary{break-inside:avoid}h2{break-after:avoid}pre{white-space:pre-wrap}}`

// report writes report.html, report.txt, capture.pcapng and capture.html into the folder.
func (s *Stage) report(last []capture.Event) error {
	s.cap.mu.Lock()
	frames, points := s.cap.frames, s.cap.points
	s.cap.mu.Unlock()
	pf, err := os.OpenFile(filepath.Join(s.o.Report, "capture.pcapng"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	hf, err := os.OpenFile(filepath.Join(s.o.Report, "capture.html"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return errors.Join(err, pf.Close())
	}
	var story strings.Builder
	sinks := []capture.Sink{capture.File{W: capture.NewWriter(pf), Done: pf.Close}, &capture.Page{W: hf, Title: s.sc.Title, Max: 1500, Done: hf.Close}, &capture.Timeline{W: &story, Brief: true}}
	for _, k := range sinks {
		for i := range frames {
			if err := k.Frame(frames[i].f, &frames[i].n, points); err != nil {
				return err
			}
		}
		if err := k.Close(last); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.o.Report, "report.txt"), []byte(s.text()+"\n"+story.String()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.o.Report, "report.html"), []byte(s.html(story.String(), len(frames))), 0o644)
}

// verdict is how it went, in a sentence.
func (s *Stage) verdict() string {
	seen, missed := s.score()
	text := fmt.Sprintf("All %d expectations were met.", seen)
	switch {
	case s.chaos != "":
		text = s.chaos
	case seen+missed == 0:
		text = "Nothing was to be seen."
	case missed > 0:
		text = fmt.Sprintf("%d of %d expectations were met, %d missed.", seen, seen+missed, missed)
	case s.ended != "":
		text = fmt.Sprintf("%d expectations were met.", seen)
	}
	if s.ended != "" {
		text += " It ended early: " + s.ended + "."
	}
	return text
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// text is the report without its pictures.
func (s *Stage) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.sc.Name, s.sc.Title)
	for _, g := range s.sc.Goal {
		fmt.Fprintf(&b, "%s\n", g)
	}
	fmt.Fprintf(&b, "Data plane: %s. Run at %s.\n%s\n", s.plane, s.began.UTC().Format("2006-01-02 15:04:05 UTC"), s.verdict())
	step := -1
	for _, r := range s.res {
		if r.Step != step {
			step = r.Step
			fmt.Fprintf(&b, "\n%d. %s\n", step+1, s.sc.Steps[step].Title)
		}
		switch {
		case strings.HasPrefix(r.Text, "say "):
			fmt.Fprintf(&b, "   %s\n", strings.TrimPrefix(r.Text, "say "))
		case !r.Expect:
			fmt.Fprintf(&b, "   %7.2f  %s\n", r.At.Sub(s.began).Seconds(), r.Text)
		case r.OK:
			fmt.Fprintf(&b, "   %7.2f  seen    %s (%s)\n", r.At.Sub(s.began).Seconds(), r.Text, r.Seen)
		default:
			fmt.Fprintf(&b, "   %7.2f  MISSED  %s (%s)\n", r.At.Sub(s.began).Seconds(), r.Text, r.Seen)
		}
	}
	b.WriteByte('\n')
	for _, c := range s.all {
		fmt.Fprintf(&b, "%s.\n", capital(c.summary()))
	}
	return b.String()
}

func (s *Stage) html(story string, frames int) string {
	var b strings.Builder
	e := html.EscapeString
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title><meta name=\"viewport\" content=\"width=device-width\"><style>%s</style></head><body>\n<h1>%s: %s</h1>\n",
		e(s.sc.Title), reportCSS, e(s.sc.Name), e(s.sc.Title))
	for _, g := range s.sc.Goal {
		fmt.Fprintf(&b, "<p>%s</p>\n", e(g))
	}
	_, missed := s.score()
	class := "ok"
	if missed > 0 || s.ended != "" {
		class = "no"
	}
	fmt.Fprintf(&b, "<p class=\"%s\">%s</p>\n", class, e(s.verdict()))
	fmt.Fprintf(&b, "<p class=\"soft\">Data plane: %s. Run at %s.</p>\n<h2>Topology</h2>\n%s", e(s.plane), s.began.UTC().Format("2006-01-02 15:04:05 UTC"), s.sc.Topology())
	b.WriteString("<h2>What was done and seen</h2>\n<table class=\"steps\"><tr><th>time (s)</th><th></th><th>what</th></tr>\n")
	step := -1
	for _, r := range s.res {
		if r.Step != step {
			step = r.Step
			fmt.Fprintf(&b, "<tr><th colspan=\"3\">%d. %s</th></tr>\n", step+1, e(s.sc.Steps[step].Title))
		}
		at := fmt.Sprintf("%.2f", r.At.Sub(s.began).Seconds())
		switch {
		case strings.HasPrefix(r.Text, "say "):
			fmt.Fprintf(&b, "<tr><td></td><td></td><td class=\"soft\">%s</td></tr>\n", e(strings.TrimPrefix(r.Text, "say ")))
		case !r.Expect:
			fmt.Fprintf(&b, "<tr><td>%s</td><td></td><td><code>%s</code></td></tr>\n", at, e(r.Text))
		case r.OK:
			fmt.Fprintf(&b, "<tr><td>%s</td><td class=\"ok\">seen</td><td><code>%s</code><br><span class=\"soft\">%s</span></td></tr>\n", at, e(strings.TrimPrefix(r.Text, "expect ")), e(r.Seen))
		default:
			fmt.Fprintf(&b, "<tr><td>%s</td><td class=\"no\">missed</td><td><code>%s</code><br><span class=\"soft\">%s</span></td></tr>\n", at, e(strings.TrimPrefix(r.Text, "expect ")), e(r.Seen))
		}
	}
	b.WriteString("</table>\n")
	if len(s.all) > 0 {
		b.WriteString("<h2>What the client saw</h2>\n")
	}
	for _, c := range s.all {
		fmt.Fprintf(&b, "<p>%s.</p>\n", e(capital(c.summary())))
		if c.traffic == nil {
			continue
		}
		r := c.traffic.Between(c.began, c.until())
		if len(r.Gaps) == 0 {
			continue
		}
		b.WriteString("<table><tr><th>gap</th><th>began after</th><th>lasted</th><th>requests lost</th></tr>\n")
		for i, g := range r.Gaps {
			fmt.Fprintf(&b, "<tr><td>%d</td><td>%.2f s</td><td>%.0f ms</td><td>%d</td></tr>\n", i+1, g.Start.Sub(s.began).Seconds(), g.Length.Seconds()*1000, g.Requests)
		}
		b.WriteString("</table>\n")
	}
	if len(s.all) > 0 {
		b.WriteString("<p class=\"soft\">Five nines allow 5.26 minutes a year, 6.05 seconds a week; four nines 52.6 minutes, three nines 8.76 hours, two nines 3.65 days.</p>\n")
	}
	if len(s.sc.Questions) > 0 {
		b.WriteString("<h2>Questions</h2>\n")
		for _, q := range s.sc.Questions {
			fmt.Fprintf(&b, "<details><summary>%s</summary><p>%s</p></details>\n", e(q.Ask), e(q.Answer))
		}
	}
	fmt.Fprintf(&b, "<h2>Frames</h2>\n<p>%d frames: <a href=\"capture.html\">sequence diagram</a>, <a href=\"capture.pcapng\">capture.pcapng</a> with the same sentences as packet comments.</p>\n<details><summary>Timeline, without routine frames</summary><pre>%s</pre></details>\n", frames, e(story))
	b.WriteString("<h2>Configurations</h2>\n")
	for _, c := range s.sc.Configs {
		fmt.Fprintf(&b, "<details><summary>%s: %s</summary><pre>%s</pre></details>\n", e(c.Host), e(c.Path), e(c.Text))
	}
	b.WriteString("</body></html>\n")
	return b.String()
}

// Topology draws the bridges as lines with the hosts hanging on them, as SVG.
func (s *Scenario) Topology() string {
	const gap, line = 16, 15
	ports, chars := 1, 0
	label := func(p Port) string { return p.Iface + " " + strings.Join(p.Addrs, " ") }
	for _, h := range s.Hosts {
		ports = max(ports, len(h.Ports))
		for _, p := range h.Ports {
			chars = max(chars, len(label(p)))
		}
	}
	wide, high := max(120, 20+7*chars), 32+line*ports
	x := map[string]int{}
	width := 40
	for _, h := range s.Hosts {
		x[h.Name] = width
		width += wide + gap
	}
	// Hosts with one interface hang below their bridge; those with more stand between their bridges.
	var b strings.Builder
	y := 24
	wire := map[string]int{}
	for _, br := range s.Bridges {
		wire[br] = y
		y += high + 70
	}
	fmt.Fprintf(&b, "<svg class=\"topology\" xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, y-20, width, y-20)
	for _, br := range s.Bridges {
		fmt.Fprintf(&b, "<line class=\"wire\" x1=\"20\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"22\" y=\"%d\">%s</text>\n", wire[br], width-20, wire[br], wire[br]-6, html.EscapeString(br))
	}
	for _, h := range s.Hosts {
		top := wire[h.Ports[0].Bridge] + 36
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/><text class=\"host\" x=\"%d\" y=\"%d\">%s</text>\n", x[h.Name], top, wide, high, x[h.Name]+10, top+18, html.EscapeString(h.Name))
		for i, p := range h.Ports {
			at := x[h.Name] + 24 + i*min(50, (wide-40)/ports)
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\">%s</text>\n", x[h.Name]+10, top+18+line*(i+1), html.EscapeString(label(p)))
			if w := wire[p.Bridge]; w < top {
				fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", at, w, at, top)
			} else {
				fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", at, top+high, at, w)
			}
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
