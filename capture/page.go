package capture

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"time"

	_ "embed"
)

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// Page collects frames and writes, at its end, a page with a sequence diagram: a lane for each host, time downwards, states as
// coloured bands, a click on a frame for its fields and bytes. It needs nothing but itself.
type Page struct {
	W     io.Writer
	Title string
	// Max bounds the frames of the diagram; 0 is 3,000. Beyond it routine frames are left out first.
	Max    int
	rows   []*pageRow
	lanes  []string
	left   int
	Done   func() error
	points []Point
}

// pageRow is a frame, or something that happened without one.
type pageRow struct {
	at       time.Time
	no       int
	src, dst string
	proto    string
	kind     Kind
	text     string
	fields   []Field
	data     []byte
	length   int
	point    string
	states   []Event
}

const (
	laneWidth = 130
	laneLeft  = 150
	textChars = 96
	lineHigh  = 15
	maxLanes  = 24
)

func (p *Page) lane(host string) int {
	if i := slices.Index(p.lanes, host); i >= 0 {
		return i
	}
	if len(p.lanes) >= maxLanes {
		return len(p.lanes) - 1
	}
	if len(p.lanes) == maxLanes-1 {
		host = "others"
	}
	p.lanes = append(p.lanes, host)
	return len(p.lanes) - 1
}

// Frame takes a frame into the diagram.
func (p *Page) Frame(f *Frame, n *Note, points []Point) error {
	p.points = points
	p.events(n.Events)
	most := p.Max
	if most == 0 {
		most = 3000
	}
	if n.Text == "the same frame, seen here too" {
		return nil // one arrow is enough
	}
	if len(p.rows) >= most {
		if n.Kind == Routine {
			p.left++
			return nil
		}
		if i := slices.IndexFunc(p.rows, func(r *pageRow) bool { return r.no > 0 && r.kind == Routine }); i >= 0 {
			p.rows = slices.Delete(p.rows, i, i+1)
			p.left++
		} else if len(p.rows) >= 2*most {
			p.left++
			return nil
		}
	}
	r := &pageRow{at: f.At, no: f.No, src: n.Src, dst: n.Dst, proto: f.Proto, kind: n.Kind, text: n.Text, fields: f.Fields, data: f.Data[:min(len(f.Data), 512)], length: f.Len}
	if len(points) > 1 && f.Point < len(points) {
		r.point = points[f.Point].Name
	}
	for _, e := range n.Events {
		if e.State != "" {
			r.states = append(r.states, e)
		}
	}
	p.rows = append(p.rows, r)
	return nil
}

func (p *Page) events(all []Event) {
	for _, e := range all {
		if e.State == "" {
			p.rows = append(p.rows, &pageRow{at: e.At, src: e.Host, kind: Alarm, text: e.Text})
		}
	}
}

// Close writes the page.
func (p *Page) Close(last []Event) error {
	p.events(last)
	slices.SortStableFunc(p.rows, func(x, y *pageRow) int { return x.at.Compare(y.at) })
	for _, r := range p.rows {
		for _, h := range []string{r.src, r.dst} {
			if h != "" {
				p.lane(h)
			}
		}
		for _, e := range r.states {
			p.lane(e.Host)
		}
	}
	title := p.Title
	if title == "" {
		title = "Captured frames"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title><meta name=\"viewport\" content=\"width=device-width\">\n<style>%s</style></head><body>\n", html.EscapeString(title), pageCSS)
	fmt.Fprintf(&b, "<h1>%s</h1>\n", html.EscapeString(title))
	p.summary(&b)
	b.WriteString(p.diagram())
	b.WriteString("<aside id=\"details\" hidden><button type=\"button\" id=\"close\" aria-label=\"close\">×</button><h2></h2><p></p><table></table><pre></pre></aside>\n")
	data, err := json.Marshal(p.details())
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "<script id=\"frames\" type=\"application/json\">%s</script>\n<script>%s</script>\n</body></html>\n", data, pageJS)
	if _, err := io.WriteString(p.W, b.String()); err != nil {
		return err
	}
	if p.Done != nil {
		return p.Done()
	}
	return nil
}

func (p *Page) summary(b *strings.Builder) {
	if len(p.rows) == 0 {
		b.WriteString("<p>No frames.</p>\n")
		return
	}
	n := 0
	for _, r := range p.rows {
		if r.no > 0 {
			n++
		}
	}
	first, last := p.rows[0].at, p.rows[len(p.rows)-1].at
	fmt.Fprintf(b, "<p class=\"about\">%d frames in %s, from %s.", n, span(last.Sub(first)), first.UTC().Format("2006-01-02 15:04:05.000 UTC"))
	if p.left > 0 {
		fmt.Fprintf(b, " %d routine frames are left out.", p.left)
	}
	b.WriteString(" <label class=\"noprint\"><input type=\"checkbox\" id=\"routine\" checked> show routine frames</label></p>\n<p class=\"legend\">")
	for _, s := range []struct{ class, text string }{{"s-master", "master"}, {"s-backup", "backup"}, {"s-gone", "gone"}, {"s-up", "up"}, {"s-down", "down, failed"}} {
		fmt.Fprintf(b, "<span class=\"key %s\"></span>%s ", s.class, s.text)
	}
	b.WriteString("</p>\n")
}

// stateClass is the colour of a state.
func stateClass(s string) string {
	switch strings.ToLower(s) {
	case "master":
		return "s-master"
	case "backup", "init":
		return "s-backup"
	case "gone":
		return "s-gone"
	case "up", "normal":
		return "s-up"
	case "down", "failed", "partner-down", "potential-conflict":
		return "s-down"
	}
	return "s-other"
}

// wrap breaks a sentence into lines.
func wrap(s string, width int) (out []string) {
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len([]rune(line))+1+len([]rune(w)) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(out, line)
}

// band is a state of a host from one height to another.
type band struct {
	host, object, state string
	from, to            int
}

func (p *Page) diagram() string {
	if len(p.rows) == 0 {
		return ""
	}
	x := func(i int) int { return laneLeft + i*laneWidth + laneWidth/2 }
	textAt := laneLeft + len(p.lanes)*laneWidth + 20
	width := textAt + textChars*8
	const top = 40
	y, begin, last := top+20, p.rows[0].at, p.rows[0].at
	var body strings.Builder
	var bands []*band
	open := map[string]*band{}
	for _, r := range p.rows {
		gap := r.at.Sub(last)
		switch {
		case gap > 1500*time.Millisecond:
			y += 26
			fmt.Fprintf(&body, "<g class=\"gap\"><line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">%s later</text></g>\n", laneLeft-10, y-14, textAt-20, y-14, 12, y-10, span(gap))
		case gap > 200*time.Millisecond:
			y += 10
		}
		last = r.at
		lines := wrap(r.text, textChars)
		for _, e := range r.states {
			key := e.Host + "\x00" + e.Object
			if o := open[key]; o != nil {
				o.to = y
			}
			open[key] = &band{e.Host, e.Object, e.State, y, 0}
			bands = append(bands, open[key])
		}
		p.row(&body, r, x, y, textAt, lines, begin)
		y += 8 + max(1, len(lines))*lineHigh
	}
	height := y + 20
	var b strings.Builder
	fmt.Fprintf(&b, "<svg id=\"diagram\" xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n", width, height, width, height)
	b.WriteString("<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0,0 L8,4 L0,8 z\"/></marker></defs>\n")
	for i, h := range p.lanes {
		fmt.Fprintf(&b, "<g class=\"lane\"><line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"%d\">%s</text></g>\n", x(i), top, x(i), height-10, x(i), top-12, html.EscapeString(shorten(h, 18)))
	}
	objects := map[string][]string{}
	for _, o := range bands {
		if !slices.Contains(objects[o.host], o.object) {
			objects[o.host] = append(objects[o.host], o.object)
		}
		if o.to == 0 {
			o.to = height - 10
		}
		at := x(p.lane(o.host)) - 5 + 12*slices.Index(objects[o.host], o.object)
		fmt.Fprintf(&b, "<rect class=\"band %s\" x=\"%d\" y=\"%d\" width=\"10\" height=\"%d\"><title>%s: %s is %s</title></rect>\n", stateClass(o.state), at, o.from, max(2, o.to-o.from),
			html.EscapeString(o.host), html.EscapeString(o.object), html.EscapeString(o.state))
	}
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// row draws a frame: its time, its arrow, its sentence.
func (p *Page) row(b *strings.Builder, r *pageRow, x func(int) int, y, textAt int, lines []string, begin time.Time) {
	class := "frame"
	if r.no == 0 {
		class = "event"
	}
	fmt.Fprintf(b, "<g class=\"%s k-%s\" data-no=\"%d\" tabindex=\"%d\">", class, r.kind, r.no, ifElse(r.no > 0, 0, -1))
	fmt.Fprintf(b, "<rect class=\"hit\" x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\"/>", y-11, textAt+textChars*8, 8+len(lines)*lineHigh)
	fmt.Fprintf(b, "<text class=\"time\" x=\"12\" y=\"%d\">%.6f</text>", y+4, r.at.Sub(begin).Seconds())
	if r.no > 0 {
		from := x(p.lane(r.src))
		switch {
		case r.dst != "" && r.dst != r.src:
			fmt.Fprintf(b, "<line class=\"arrow\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#tip)\"/>", from, y, x(p.lane(r.dst)), y)
		case len(p.lanes) > 1:
			if lo := x(0); lo < from {
				fmt.Fprintf(b, "<line class=\"arrow group\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#tip)\"/>", from, y, lo, y)
			}
			if hi := x(len(p.lanes) - 1); hi > from {
				fmt.Fprintf(b, "<line class=\"arrow group\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" marker-end=\"url(#tip)\"/>", from, y, hi, y)
			}
		}
		fmt.Fprintf(b, "<circle cx=\"%d\" cy=\"%d\" r=\"4\"/>", from, y)
		fmt.Fprintf(b, "<text class=\"proto\" x=\"%d\" y=\"%d\">%s</text>", laneLeft-14, y+4, html.EscapeString(r.proto))
	}
	fmt.Fprintf(b, "<text class=\"say\" x=\"%d\" y=\"%d\">", textAt, y+4)
	for i, l := range lines {
		fmt.Fprintf(b, "<tspan x=\"%d\" dy=\"%d\">%s</tspan>", textAt, ifElse(i == 0, 0, lineHigh), html.EscapeString(l))
	}
	b.WriteString("</text></g>\n")
}

// details is what a click shows.
func (p *Page) details() map[string]any {
	out := map[string]any{}
	for _, r := range p.rows {
		if r.no == 0 {
			continue
		}
		fields := make([][2]string, 0, len(r.fields))
		for _, f := range r.fields {
			fields = append(fields, [2]string{f.Name, f.Value})
		}
		out[fmt.Sprint(r.no)] = map[string]any{"t": r.at.UTC().Format("15:04:05.000000"), "p": r.proto, "w": r.point, "s": r.text, "n": r.length, "f": fields, "d": hex.EncodeToString(r.data)}
	}
	return out
}
