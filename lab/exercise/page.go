package exercise

import (
	"fmt"
	"strings"
)

// PageOf is an exercise as a page of documentation, in Markdown: goal, topology, commands, what to see, questions.
func PageOf(s *Scenario) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n", s.Name, s.Title)
	for _, g := range s.Goal {
		fmt.Fprintf(&b, "%s\n", g)
	}
	b.WriteString("\n## Run it\n\n```\n")
	fmt.Fprintf(&b, "releve lab run %s                     # as root, or as a user who may make namespaces\n", s.Name)
	fmt.Fprintf(&b, "releve lab run %s --pause             # wait before each step; look around from another terminal:\n", s.Name)
	fmt.Fprintf(&b, "releve lab shell %s %s ip addr      # a command, or a shell, on a host of the running lab\n", s.Name, s.Hosts[len(s.Hosts)-1].Name)
	fmt.Fprintf(&b, "releve lab run %s --report DIR        # report.html, and the capture with a sentence on every frame\n```\n", s.Name)
	if len(s.Needs) > 0 {
		fmt.Fprintf(&b, "\nIt needs %s.", strings.Join(s.Needs, " and "))
		for _, n := range s.Needs {
			if n == "ipvs" {
				fmt.Fprintf(&b, " Where the kernel has no IPVS, `--vm` runs it in the virtual machine of the tests.")
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n## Topology\n\n```\n")
	for _, br := range s.Bridges {
		var ports []string
		for _, h := range s.Hosts {
			for _, p := range h.Ports {
				if p.Bridge == br {
					ports = append(ports, fmt.Sprintf("%-8s %-8s %s", h.Name, p.Iface, strings.Join(p.Addrs, " ")))
				}
			}
		}
		for i, p := range ports {
			left, knot := strings.Repeat(" ", len([]rune(br))+3), "├"
			switch {
			case len(ports) == 1:
				left, knot = br+" ──", "─"
			case i == 0:
				left, knot = br+" ──", "┬"
			case i == len(ports)-1:
				knot = "└"
			}
			fmt.Fprintf(&b, "%s%s── %s\n", left, knot, p)
		}
	}
	b.WriteString("```\n\n## Steps\n")
	for i, st := range s.Steps {
		fmt.Fprintf(&b, "\n%d. **%s**\n", i+1, st.Title)
		for _, a := range st.Actions {
			switch {
			case a.Verb == "say" && !a.Expect:
				fmt.Fprintf(&b, "   %s\n", a.Args[0])
			case a.Expect:
				fmt.Fprintf(&b, "   - see: `%s`\n", strings.TrimPrefix(a.Text, "expect "))
			default:
				fmt.Fprintf(&b, "   - do: `%s`\n", strings.TrimSuffix(strings.TrimSuffix(a.Text, "<<"), " "))
			}
		}
	}
	if len(s.Questions) > 0 {
		b.WriteString("\n## Questions\n")
		for _, q := range s.Questions {
			fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n%s\n</details>\n", q.Ask, q.Answer)
		}
	}
	b.WriteString("\n## Configurations\n")
	for _, c := range s.Configs {
		path := c.Path
		if path == confPath {
			path = "keepalived.conf"
		}
		fmt.Fprintf(&b, "\n%s of %s:\n\n```\n%s\n```\n", path, c.Host, strings.TrimRight(c.Text, "\n"))
	}
	return b.String()
}
