package confparse

import (
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// jsonPlace is a place in the JSON form. Columns count bytes from 1.
type jsonPlace struct {
	File   string `json:"file"`
	Line   int32  `json:"line"`
	Column int32  `json:"column"`
	Param  string `json:"parameter,omitempty"`
}

type jsonDiagnostic struct {
	File     string      `json:"file,omitempty"`
	Line     int32       `json:"line,omitempty"`
	Column   int32       `json:"column,omitempty"`
	Severity string      `json:"severity"`
	Code     Code        `json:"code"`
	Message  string      `json:"message"`
	Suggest  string      `json:"suggestion,omitempty"`
	Exit     Exit        `json:"exit"`
	Host     bool        `json:"host,omitempty"`
	Opened   *jsonPlace  `json:"opened,omitempty"`
	Other    *jsonPlace  `json:"other,omitempty"`
	Chain    []jsonPlace `json:"chain,omitempty"`
}

// WriteJSON writes the diagnostics as one object: `exit`, the status of the configuration test, and `diagnostics`. `chain` is how
// the text came in, the nearest step first: an include, or the use of a parameter.
func WriteJSON(w io.Writer, reports ...Report) error {
	out := struct {
		Exit        int              `json:"exit"`
		Diagnostics []jsonDiagnostic `json:"diagnostics"`
	}{Diagnostics: []jsonDiagnostic{}}
	var all Diagnostics
	for _, r := range reports {
		all = append(all, r.Diagnostics...)
		place := func(p Pos) jsonPlace { return jsonPlace{File: r.Source.Name(p), Line: p.Line, Column: p.Col} }
		for _, d := range r.Diagnostics {
			j := jsonDiagnostic{Severity: d.Severity.String(), Code: d.Code, Message: d.Message, Suggest: d.Suggest, Exit: d.Exit, Host: d.Host}
			if name := r.Source.Name(d.Pos); name != "" {
				j.File, j.Line, j.Column = name, d.Pos.Line, d.Pos.Col
			}
			if r.Source.Name(d.Opened) != "" {
				o := place(d.Opened)
				j.Opened = &o
			}
			if r.Source.Name(d.Other) != "" {
				o := place(d.Other)
				j.Other = &o
			}
			for _, l := range r.Source.Chain(d.Pos) {
				c := place(l.Pos)
				c.Param = l.Param
				j.Chain = append(j.Chain, c)
			}
			out.Diagnostics = append(out.Diagnostics, j)
		}
	}
	out.Exit = all.ExitCode()
	return encode(w, out)
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// The part of SARIF 2.1.0 that code hosts read.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
		Related   []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifLocation struct {
		ID       int           `json:"id,omitempty"`
		Message  *sarifText    `json:"message,omitempty"`
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int32 `json:"startLine"`
		StartColumn int   `json:"startColumn"`
	}
)

// WriteSARIF writes the diagnostics in the Static Analysis Results Interchange Format 2.1.0.
func WriteSARIF(w io.Writer, reports ...Report) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}, Tool: sarifTool{Driver: sarifDriver{Name: "releve", Rules: []sarifRule{}}}}
	rules := map[Code]int{}
	for _, r := range reports {
		p := printer{src: r.Source, lines: map[int32][]string{}}
		for _, d := range r.Diagnostics {
			n, ok := rules[d.Code]
			if !ok {
				n = len(run.Tool.Driver.Rules)
				rules[d.Code] = n
				run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: string(d.Code)})
			}
			res := sarifResult{RuleID: string(d.Code), RuleIndex: n, Level: d.Severity.String(), Message: sarifText{d.text()}}
			if r.Source.Name(d.Pos) != "" {
				res.Locations = []sarifLocation{p.sarif(d.Pos)}
			}
			related := func(pos Pos, why string) {
				loc := p.sarif(pos)
				loc.ID, loc.Message = len(res.Related)+1, &sarifText{why}
				res.Related = append(res.Related, loc)
			}
			if r.Source.Name(d.Opened) != "" {
				related(d.Opened, "the block was opened here")
			}
			if r.Source.Name(d.Other) != "" {
				related(d.Other, "it does not go with this")
			}
			for _, l := range r.Source.Chain(d.Pos) {
				if l.Param != "" {
					related(l.Pos, "$"+l.Param+" is used here")
				} else {
					related(l.Pos, "included from here")
				}
			}
			run.Results = append(run.Results, res)
		}
	}
	return encode(w, sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

// sarif is a place in SARIF, which counts characters.
func (p *printer) sarif(pos Pos) sarifLocation {
	col := int(pos.Col)
	if s, ok := p.line(pos); ok {
		col = utf8.RuneCountInString(s[:min(col-1, len(s))]) + 1
	}
	uri := strings.NewReplacer("%", "%25", " ", "%20", "#", "%23", "?", "%3F").Replace(p.src.Name(pos))
	return sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{URI: uri}, Region: sarifRegion{StartLine: pos.Line, StartColumn: col}}}
}
