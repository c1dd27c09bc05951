package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Each of the daemon's processes pays for what is linked into the program before its first line runs.
func TestNothingThatIsSlowToInitialiseIsLinkedIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, heavy := range []string{
		"github.com/google/gopacket/layers", // 5 to 12 ms: tables of protocol numbers
		"net/http",                          // tables of HTTP/2, and checkers must not need it
	} {
		if slices.Contains(deps, heavy) {
			t.Errorf("%s is linked in: go list -deps ./cmd/releve", heavy)
		}
	}
}
