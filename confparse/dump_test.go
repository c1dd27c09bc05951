package confparse

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// reread gives the Config of a text, with a machine where everything is there.
func reread(t *testing.T, text string) (*Config, Diagnostics) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s, d := Load(path, LoadOptions{ConfigID: "host"})
	c, more := Check(s, CheckOptions{Test: true, NoHost: true})
	return c, append(d, more...)
}

func dumpText(t *testing.T, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := Dump(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// firstDifference names the first field in which two values differ.
func firstDifference(path string, a, b reflect.Value) string {
	if a.Kind() != b.Kind() || a.Type() != b.Type() {
		return path
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return path
			}
			return ""
		}
		return firstDifference(path, a.Elem(), b.Elem())
	case reflect.Struct:
		if strings.HasPrefix(a.Type().String(), "netip.") {
			break
		}
		for i := range a.NumField() {
			if d := firstDifference(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if a.Len() != b.Len() {
			return path + ".len"
		}
		for i := range a.Len() {
			if d := firstDifference(path+"[]", a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
		return ""
	}
	if a.CanInterface() && !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return path
	}
	return ""
}

// sameAgain fails the test if the dump of a text is not read as the configuration that was dumped.
func sameAgain(t *testing.T, name, text string) {
	t.Helper()
	c, _ := reread(t, text)
	dump := dumpText(t, c)
	again, _ := reread(t, dump)
	c.Global.Defaults, again.Global.Defaults = Defaults{}, Defaults{} // a dump gives every instance its own values
	if !reflect.DeepEqual(c, again) {
		t.Errorf("%s: %s differs", name, firstDifference("", reflect.ValueOf(c), reflect.ValueOf(again)))
		if testing.Verbose() {
			t.Log(dump)
		}
	}
}

// sameAgainFiles is sameAgain for every file of a pattern, of which there must be some.
func sameAgainFiles(t *testing.T, pattern string) {
	t.Helper()
	files, _ := filepath.Glob(pattern)
	if len(files) == 0 {
		t.Fatalf("no files %s", pattern)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sameAgain(t, filepath.Base(f), string(text))
	}
}

func TestADumpReadAgainIsTheSameConfiguration(t *testing.T) {
	sameAgainFiles(t, "../director/testdata/tables/*.conf")
	sameAgainFiles(t, "../supervisor/testdata/effects/*.conf")
	sameAgainFiles(t, "../testdata/demo/*.conf")
}

func TestADumpOfTheCorpusReadAgainIsTheSameConfiguration(t *testing.T) {
	dir := corpusDir(t)
	sameAgainFiles(t, filepath.Join(dir, "files", "*.conf"))
	sameAgainFiles(t, filepath.Join(dir, "probes", "*.conf"))
}

// A switch that may be on, off or left out keeps all three through a dump, whichever of the two levels it was written on.
func TestADumpKeepsSwitchesOfThreePositions(t *testing.T) {
	for _, global := range []string{"", "vrrp_higher_prio_send_advert on", "vrrp_higher_prio_send_advert off", "vrrp_strict"} {
		for _, own := range []string{"", "higher_prio_send_advert on", "higher_prio_send_advert off", "strict_mode on", "strict_mode off"} {
			sameAgain(t, global+" / "+own, "global_defs {\n"+global+"\n}\nvrrp_instance V {\ninterface eth0\nvirtual_router_id 1\n"+own+"\nvirtual_ipaddress {\n192.0.2.1\n}\n}\n")
		}
	}
}

func TestJSONMasksSecretsUnlessAsked(t *testing.T) {
	c, _ := reread(t, `vrrp_instance V {
	interface eth0
	virtual_router_id 1
	authentication {
		auth_type PASS
		auth_pass s3cr3t
	}
	virtual_ipaddress {
		192.0.2.1/24
	}
}
vrrp_instance H {
	interface eth0
	virtual_router_id 2
	auth_hmac {
		key 1 0123456789abcdef0123456789abcdef
	}
	virtual_ipaddress {
		192.0.2.2/24
	}
}
`)
	var masked, open bytes.Buffer
	if err := DumpJSON(&masked, c, false); err != nil {
		t.Fatal(err)
	}
	if err := DumpJSON(&open, c, true); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cr3t", "30313233343536373839616263646566"} {
		if strings.Contains(masked.String(), secret) {
			t.Errorf("%s stands in the JSON", secret)
		}
		if !strings.Contains(open.String(), secret) {
			t.Errorf("%s is not in the JSON with secrets", secret)
		}
	}
	if !strings.Contains(masked.String(), mask) {
		t.Error("nothing is masked")
	}
}
