// Package releve_test holds the lines that the map in docs/architecture.md draws.
package releve_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the map's column "may import", by room, for our own packages. A room that is not listed here is not on the map.
var mayImport = map[string][]string{
	"bench/failover":      {},
	"bfd":                 {},
	"capture":             {"vrrp/wire", "bfd"},
	"confparse":           {"vrrp", "vrrp/vip", "director", "healthcheck", "bfd", "ipvs", "script", "internal/nearest"},
	"director":            {"healthcheck", "ipvs", "script"},
	"healthcheck":         {"script", "healthcheck/pcre"},
	"healthcheck/pcre":    {},
	"internal/nearest":    {},
	"internal/realserver": {"internal/testneed"},
	"internal/testneed":   {},
	"ipvs":                {},
	"ipvs/kernel":         {"ipvs"},
	"ipvs/memory":         {"ipvs"},
	"ipvs/mark":           {"ipvs"},
	"ipvs/nft":            {"ipvs"},
	"lab":                 {"capture", "ipvs", "ipvs/kernel", "ipvs/nft", "vrrp/wire"},
	"lab/demo":            {"lab", "ipvs", "ipvs/kernel", "ipvs/nft", "vrrp/wire"},
	"lab/exercise":        {"lab", "capture", "ipvs", "ipvs/kernel", "ipvs/nft", "internal/nearest"},
	"logging":             {},
	"migrate":             {"internal/nearest"},
	"notify":              {"script"},
	"script":              {},
	"packaging":           {},
	"status":              {"vrrp", "vrrp/vip", "director", "healthcheck", "ipvs", "script", "confparse", "bfd"},
	"vrrp":                {"script", "vrrp/wire", "vrrp/machine", "vrrp/track", "vrrp/vip", "vrrp/batch"},
	"vrrp/batch":          {},
	"vrrp/machine":        {},
	"vrrp/track":          {"script"},
	"vrrp/vip":            {"vrrp/wire", "vrrp/batch"},
	"vrrp/wire":           {},
}

// pure rooms take an event and a time and return actions: they may not know sockets, processes, logs or netlink.
var pure = []string{"vrrp/machine"}

var impure = []string{"net", "os/exec", "log/slog", "log", "syscall", "golang.org/x/sys/unix", "github.com/vishvananda/netlink"}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestRoomsImportDownwardOnly(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	seen := 0
	for dec := json.NewDecoder(out); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room := strings.TrimPrefix(p.ImportPath, "releve/")
		if room == "releve" || strings.HasPrefix(room, "cmd/") || room == "supervisor" || strings.HasPrefix(room, "bench") {
			continue
		}
		seen++
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("room %s is not on the map: add it to docs/architecture.md and to this test", room)
			continue
		}
		for _, imp := range p.Imports {
			ours, is := strings.CutPrefix(imp, "releve/")
			if is && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the map does not allow", room, ours)
			}
			if slices.Contains(pure, room) && slices.Contains(impure, imp) {
				t.Errorf("%s is pure and must not import %s", room, imp)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("looked at %d rooms only", seen)
	}
}
