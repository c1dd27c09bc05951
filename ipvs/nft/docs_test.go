package nft_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"releve/ipvs/nft"
)

var update = flag.Bool("update", false, "write docs/nftables.md anew")

const page = "../../docs/nftables.md"

// head and tail enclose the table in the page.
const (
	head = "<!-- generated from ipvs/nft/capability.go: go test ./ipvs/nft -run Documentation -update -->\n"
	tail = "<!-- end of the generated table -->\n"
)

func table() string {
	var b strings.Builder
	b.WriteString("\n| in keepalived.conf | with nftables | how |\n|---|---|---|\n")
	for _, c := range nft.Capabilities {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Setting, c.Support, c.Text)
	}
	b.WriteString("\n")
	return b.String()
}

func TestDocumentationShowsTheCapabilityTable(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), head)
	_, after, ok2 := strings.Cut(rest, tail)
	if !ok || !ok2 {
		t.Fatalf("%s has no generated table", page)
	}
	want := before + head + table() + tail + after
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table in the code: go test ./ipvs/nft -run Documentation -update", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
