package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// What packages allocate before main is zeroed, filled and paid for by each process. It was 320 KB when tables were made in advance.
func TestLittleIsAllocatedBeforeMain(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "releve")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := exec.Command(bin, "-v")
	c.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for line := range bytes.Lines(out) { // init PACKAGE @TIME ms, TIME ms clock, BYTES bytes, COUNT allocs
		if f := strings.Fields(string(line)); len(f) > 8 && f[0] == "init" {
			n := 0
			fmt.Sscan(f[7], &n)
			total += n
		}
	}
	if total == 0 || total > 160_000 {
		t.Errorf("%d bytes, want at most 160000:\n%s", total, out)
	}
}
