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

func TestADumpReadAgainIsTheSameConfiguration(t *testing.T) {
	dir := corpusDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "files", "*.conf"))
	probes, _ := filepath.Glob(filepath.Join(dir, "probes", "*.conf"))
	if len(files) == 0 || len(probes) == 0 {
		t.Fatal("no files")
	}
	for _, f := range append(files, probes...) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := reread(t, string(text))
		dump := dumpText(t, c)
		again, _ := reread(t, dump)
		c.Global.Defaults, again.Global.Defaults = Defaults{}, Defaults{} // a dump gives every instance its own values
		if !reflect.DeepEqual(c, again) {
			if os.Getenv("SHOW") != "" {
				os.WriteFile("/tmp/c2dump_"+filepath.Base(f), []byte(dump), 0o644)
			}
			t.Errorf("%s: %s differs", filepath.Base(f), firstDifference("", reflect.ValueOf(c), reflect.ValueOf(again)))
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
