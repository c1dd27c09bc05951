package confparse

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"
)

// TestAConfigKeepsNothingOfTheTextThatItWasReadFrom: a string that were a part of it would keep all of it in memory.
func TestAConfigKeepsNothingOfTheTextThatItWasReadFrom(t *testing.T) {
	var cases []*caseFile
	for _, dir := range []string{"cases", "mistakes"} {
		cases = append(cases, caseFiles(t, dir, 1)...)
	}
	kept := map[string]bool{}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "keepalived.conf")
		if err := os.WriteFile(path, []byte(c.config), 0o644); err != nil {
			t.Fatal(err)
		}
		src, _ := Load(path, LoadOptions{ConfigID: "host"})
		b, err := src.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if src, err = UnmarshalSource(b); err != nil {
			t.Fatal(err)
		}
		cfg, _ := Check(src, CheckOptions{Machine: caseMachine()})
		var low, high uintptr
		for i := range src.lines {
			if s := src.lines[i].text; s != "" {
				at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
				if low == 0 {
					low = at
				}
				low, high = min(low, at), max(high, at+uintptr(len(s)))
			}
		}
		seen := map[uintptr]bool{}
		var walk func(v reflect.Value, name string)
		walk = func(v reflect.Value, name string) {
			switch v.Kind() {
			case reflect.String:
				s := v.String()
				if at := uintptr(unsafe.Pointer(unsafe.StringData(s))); s != "" && at >= low && at < high {
					if !kept[name] {
						t.Errorf("%s: %s is a part of the text: %q", filepath.Base(c.path), name, s)
					}
					kept[name] = true
				}
			case reflect.Pointer, reflect.Interface:
				if v.IsNil() {
					return
				}
				if v.Kind() == reflect.Pointer {
					if seen[v.Pointer()] {
						return
					}
					seen[v.Pointer()] = true
				}
				walk(v.Elem(), name)
			case reflect.Struct:
				for i := range v.NumField() {
					walk(v.Field(i), name+"."+v.Type().Field(i).Name)
				}
			case reflect.Slice, reflect.Array:
				if v.Type().Elem().Kind() == reflect.Uint8 {
					return
				}
				for i := range v.Len() {
					walk(v.Index(i), name+"[]")
				}
			case reflect.Map:
				for it := v.MapRange(); it.Next(); {
					walk(it.Key(), name+"[key]")
					walk(it.Value(), name+"[]")
				}
			}
		}
		walk(reflect.ValueOf(cfg), "Config")
	}
}
