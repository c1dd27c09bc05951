package confparse

import (
	"strings"

	"releve/vrrp/vip"
)

const (
	routeItem = "[blackhole|unreachable|prohibit|throw] [to] PREFIX|default [via ADDRESS] [dev INTERFACE] [src ADDRESS] [table TABLE] [metric N] [scope SCOPE] ..."
	ruleItem  = "[from PREFIX] [to PREFIX] [iif INTERFACE] [oif INTERFACE] [fwmark N/M] [priority N] table TABLE ..."
)

var virtualRoutesTable = &Table{Name: "virtual_routes", Item: routeItem, item: func(p *interp, s *Statement) {
	p.vi.routes = append(p.vi.routes, rawRoute{r: vip.Route{Text: joined(s)}, pos: s.Pos()})
}}

var virtualRulesTable = &Table{Name: "virtual_rules", Item: ruleItem, item: func(p *interp, s *Statement) {
	p.vi.rules = append(p.vi.rules, rawRule{r: vip.Rule{Text: joined(s)}, pos: s.Pos()})
}}

var staticRoutesTable = &Table{Name: "static_routes", Item: routeItem, item: func(p *interp, s *Statement) {
	p.raw.staticRoutes = append(p.raw.staticRoutes, rawRoute{r: vip.Route{Text: joined(s)}, pos: s.Pos()})
}}

var staticRulesTable = &Table{Name: "static_rules", Item: ruleItem, item: func(p *interp, s *Statement) {
	p.raw.staticRules = append(p.raw.staticRules, rawRule{r: vip.Rule{Text: joined(s)}, pos: s.Pos()})
}}

func joined(s *Statement) string {
	w := make([]string, len(s.Words))
	for i := range s.Words {
		w[i] = s.Words[i].Text
	}
	return strings.Join(w, " ")
}

// names are the names of tables, scopes, protocols and so on.
type names struct{}

func (p *interp) names() names { return names{} }

func (names) scope(s string) (uint8, bool) {
	switch s {
	case "global", "universe":
		return 0, true
	case "site":
		return 200, true
	case "link":
		return 253, true
	case "host":
		return 254, true
	case "nowhere":
		return 255, true
	}
	n, err := parseNumber(s)
	if err != nil || n < 0 || n > 255 || s == "" {
		return 0, false
	}
	return uint8(n), true
}
