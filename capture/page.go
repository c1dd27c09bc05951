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
	laneLeft  = 150
	textChars = 96
	lineHigh  = 15
	maxLanes  = 24
)

// laneWidth leaves room for the sentences: the more lanes there are, the narrower they get.
func (p *Page) laneWidth() int {
	switch n := len(p.lanes); {
	case n <= 5:
		return 130
	case n <= 9:
		return 105
	}
	return 85
}

// lane is the lane of a host; what stands behind " #" in its name tells those apart that share one.
func (p *Page) lane(host string) int {
	host, _, _ = strings.Cut(host, " #")
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

func (p *Page) most() int { return ifElse(p.Max > 0, p.Max, 3000) }

// Frame takes a frame into the diagram.
func (p *Page) Frame(f *Frame, n *Note, points []Point) error {
	p.points = points
	p.events(n.Events)
	most := p.most()
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
		if e.State == "" && len(p.rows) >= 2*p.most() {
			p.left++
		} else if e.State == "" {
			p.rows = append(p.rows, &pageRow{at: e.At, src: e.Host, kind: Alarm, text: e.Text})
		}
	}
}

// Close writes the page.
func (p *Page) Close(last []Event) error {
	p.events(last)
	slices.SortStableFunc(p.rows, func(x, y *pageRow) int { return x.at.Compare(y.at) })
	for _, routine := range []bool{false, true} { // hosts of which nothing but routine is seen stand on the right
		for _, r := range p.rows {
			if (r.kind == Routine) != routine {
				continue
			}
			for _, h := range []string{r.src, r.dst} {
				if h != "" {
					p.lane(h)
				}
			}
			for _, e := range r.states {
				p.lane(e.Host)
			}
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
	n, routine := 0, 0
	for _, r := range p.rows {
		if r.no > 0 {
			n++
			if r.kind == Routine {
				routine++
			}
		}
	}
	first, last := p.rows[0].at, p.rows[len(p.rows)-1].at
	fmt.Fprintf(b, "<p class=\"about\">%d frames in %s, from %s.", n, span(last.Sub(first)), first.UTC().Format("2006-01-02 15:04:05.000 UTC"))
	if p.left > 0 {
		fmt.Fprintf(b, " %d more are not on this page, the routine ones first.", p.left)
	}
	if routine > 0 {
		fmt.Fprintf(b, " <label class=\"noprint\"><input type=\"checkbox\" id=\"routine\"%s> show the %d routine frames</label>", ifElse(routine > 100 && routine > n/2, "", " checked"), routine)
	}
	b.WriteString("</p>\n<p class=\"legend\">")
	for _, s := range []struct{ class, text string }{{"s-master", "master"}, {"s-backup", "backup"}, {"s-gone", "gone"}, {"s-up", "up"}, {"s-down", "down, failed"}, {"s-other", "on the way from one to another"}} {
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

// band is a state of a host from one row to another; to is -1 where it lasts to the end.
type band struct {
	host, object, state string
	from, to            int
}

// partRows is how many rows an SVG of the diagram has: printers break pages between them.
const partRows = 8

// The place of a row's arrow below its upper edge, and the room for a note of the time that went by before it.
const (
	rowMiddle = 11
	gapHigh   = 32
)

// silence is the room above a row that comes some time after the one before.
func silence(gap time.Duration) int {
	switch {
	case gap > 1500*time.Millisecond:
		return gapHigh
	case gap > 200*time.Millisecond:
		return 10
	}
	return 0
}

// diagram draws the rows in parts that stand below each other without a seam, the rows of a table whose head has the names of the hosts:
// browsers repeat it on each page that they print. The script lays them out anew when routine frames
// are shown or hidden: its numbers are these.
func (p *Page) diagram() string {
	if len(p.rows) == 0 {
		return ""
	}
	laneWidth := p.laneWidth()
	x := func(i int) int { return laneLeft + i*laneWidth + laneWidth/2 }
	textAt := laneLeft + len(p.lanes)*laneWidth + 20
	width := textAt + textChars*8
	var b strings.Builder
	fmt.Fprintf(&b, "<table id=\"diagram\" data-text=\"%d\">\n<thead><tr><td><svg class=\"heads\" xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"30\" viewBox=\"0 0 %d 30\">", textAt, width, width)
	b.WriteString("<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0,0 L8,4 L0,8 z\"/></marker></defs>\n")
	for i, h := range p.lanes {
		fmt.Fprintf(&b, "<g class=\"lane\"><text x=\"%d\" y=\"18\"><title>%s</title>%s</text></g>\n", x(i), html.EscapeString(h), html.EscapeString(shorten(h, laneWidth/7)))
	}
	b.WriteString("</svg></td></tr></thead>\n<tbody>\n")
	bands := p.bands()
	objects := map[string][]string{}
	for _, o := range bands {
		if !slices.Contains(objects[o.host], o.object) {
			objects[o.host] = append(objects[o.host], o.object)
		}
	}
	begin, last := p.rows[0].at, p.rows[0].at
	for first := 0; first < len(p.rows); first += partRows {
		rows := p.rows[first:min(first+partRows, len(p.rows))]
		y, tops := 0, make([]int, len(rows))
		var body strings.Builder
		for i, r := range rows {
			gap := r.at.Sub(last)
			last = r.at
			y += silence(gap)
			tops[i] = y + rowMiddle
			lines := wrap(r.text, textChars)
			p.row(&body, r, x, tops[i], textAt, lines, begin, gap)
			y += 8 + max(1, len(lines))*lineHigh
		}
		fmt.Fprintf(&b, "<tr><td><svg class=\"part\" data-first=\"%d\" xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", first, width, y, width, y)
		for i := range p.lanes {
			fmt.Fprintf(&b, "<line class=\"lane\" x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"%d\"/>", x(i), x(i), y)
		}
		for _, o := range bands {
			if o.from >= first+len(rows) || o.to >= 0 && o.to < first {
				continue
			}
			from, to := 0, y
			if o.from >= first {
				from = tops[o.from-first]
			}
			if o.to >= 0 && o.to < first+len(rows) {
				to = tops[o.to-first]
			}
			at := x(p.lane(o.host)) - 5 + 12*slices.Index(objects[o.host], o.object)
			fmt.Fprintf(&b, "\n<rect class=\"band %s\" data-from=\"%d\" data-to=\"%d\" x=\"%d\" y=\"%d\" width=\"10\" height=\"%d\"><title>%s: %s is %s</title></rect>", stateClass(o.state), o.from, o.to,
				at, from, max(0, to-from), html.EscapeString(o.host), html.EscapeString(o.object), html.EscapeString(o.state))
		}
		b.WriteByte('\n')
		b.WriteString(body.String())
		b.WriteString("</svg></td></tr>\n")
	}
	b.WriteString("</tbody></table>\n")
	return b.String()
}

// bands are the states of all hosts in the order in which they began.
func (p *Page) bands() (out []*band) {
	open := map[string]*band{}
	for i, r := range p.rows {
		for _, e := range r.states {
			key := e.Host + "\x00" + e.Object
			if o := open[key]; o != nil {
				o.to = i
			}
			open[key] = &band{e.Host, e.Object, e.State, i, -1}
			out = append(out, open[key])
		}
	}
	return out
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// row draws a frame: its time, its arrow, its sentence; y is the height of the arrow, gap the time since the row before.
func (p *Page) row(b *strings.Builder, r *pageRow, x func(int) int, y, textAt int, lines []string, begin time.Time, gap time.Duration) {
	class := "frame"
	if r.no == 0 {
		class = "event"
	}
	high := 8 + len(lines)*lineHigh
	at := r.at.Sub(begin).Seconds()
	fmt.Fprintf(b, "<g class=\"%s k-%s\" data-no=\"%d\" data-t=\"%.6f\" data-h=\"%d\" transform=\"translate(0,%d)\"%s>", class, r.kind, r.no, at, high, y, ifElse(r.no > 0, " tabindex=\"0\"", ""))
	if silence(gap) == gapHigh {
		fmt.Fprintf(b, "<g class=\"gap\"><line x1=\"%d\" y1=\"-24\" x2=\"%d\" y2=\"-24\"/><text x=\"12\" y=\"-20\">%s later</text></g>", laneLeft-10, textAt-20, span(gap))
	}
	fmt.Fprintf(b, "<rect class=\"hit\" x=\"0\" y=\"-%d\" width=\"%d\" height=\"%d\"/>", rowMiddle, textAt+textChars*8, high)
	fmt.Fprintf(b, "<text class=\"time\" x=\"12\" y=\"4\">%.6f</text>", at)
	if r.no > 0 {
		from := x(p.lane(r.src))
		arrow := func(class string, to int) {
			fmt.Fprintf(b, "<line class=\"%s\" x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"0\" marker-end=\"url(#tip)\"/>", class, from, to)
		}
		if r.dst != "" && r.dst != r.src {
			arrow("arrow", x(p.lane(r.dst)))
		} else { // to a group: to both sides
			if lo := x(0); lo < from {
				arrow("arrow group", lo)
			}
			if hi := x(len(p.lanes) - 1); hi > from {
				arrow("arrow group", hi)
			}
		}
		fmt.Fprintf(b, "<circle cx=\"%d\" cy=\"0\" r=\"4\"/>", from)
		fmt.Fprintf(b, "<text class=\"proto\" x=\"%d\" y=\"4\">%s</text>", laneLeft-14, html.EscapeString(r.proto))
	}
	fmt.Fprintf(b, "<text class=\"say\" x=\"%d\" y=\"4\">", textAt)
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
