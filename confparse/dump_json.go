package confparse

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"releve/healthcheck"
	"releve/ipvs"
	"releve/vrrp"
	"releve/vrrp/vip"
)

// mask stands in for passwords and keys.
const mask = "********"

// DumpJSON writes a configuration as one JSON object: blocks and keywords in lower case with underscores, times in seconds. What
// is empty is left out. Passwords and keys are masked unless secrets is set.
func DumpJSON(w io.Writer, c *Config, secrets bool) error {
	v := jsonValue(reflect.ValueOf(c), secrets)
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("dump configuration: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fmt.Errorf("dump configuration: %w", err)
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// secretFields are masked wherever they stand.
var secretFields = map[string]bool{"AuthPass": true, "Secret": true, "Password": true}

// jsonValue makes what encoding/json can write; nil is left out by the caller.
func jsonValue(v reflect.Value, secrets bool) any {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x == vip.Forever {
			return "forever"
		}
		return json.Number(seconds(x))
	case netip.Addr:
		if !x.IsValid() {
			return nil
		}
		return x.String()
	case netip.AddrPort:
		if !x.IsValid() {
			return nil
		}
		return x.String()
	case netip.Prefix:
		if !x.IsValid() {
			return nil
		}
		return x.String()
	case [6]byte:
		if x == [6]byte{} {
			return nil
		}
		return net.HardwareAddr(x[:]).String()
	case [8]byte:
		return strings.TrimRight(string(x[:]), "\x00")
	case []byte:
		if x == nil {
			return nil
		}
		return hex.EncodeToString(x)
	case ipvs.Forward:
		return forwardName(x)
	case ipvs.Protocol:
		return protoName(x)
	case ipvs.Family:
		switch x {
		case ipvs.IPv4:
			return "inet"
		case ipvs.IPv6:
			return "inet6"
		}
		return nil
	case healthcheck.Type:
		return checkerNames()[x]
	case vrrp.AuthType:
		return []string{"none", "PASS", "AH"}[x]
	case vrrp.HMACMode:
		return []string{"enforce", "permissive", "receive-only"}[x]
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return jsonValue(v.Elem(), secrets)
	case reflect.Struct:
		return jsonStruct(v, secrets)
	case reflect.Slice, reflect.Array:
		if v.Len() == 0 {
			return nil
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = jsonValue(v.Index(i), secrets)
		}
		return out
	case reflect.Map:
		if v.Len() == 0 {
			return nil
		}
		keys := make([]string, 0, v.Len())
		for _, k := range v.MapKeys() {
			keys = append(keys, k.String())
		}
		slices.Sort(keys)
		var o object
		for _, k := range keys {
			o = append(o, member{k, jsonValue(v.MapIndex(reflect.ValueOf(k)), secrets)})
		}
		return o
	case reflect.String:
		if v.Len() == 0 {
			return nil
		}
	}
	return v.Interface()
}

func jsonStruct(v reflect.Value, secrets bool) any {
	var o object
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		x := jsonValue(v.Field(i), secrets)
		if f.Anonymous {
			if in, ok := x.(object); ok {
				o = append(o, in...)
			}
			continue
		}
		if x == nil {
			continue
		}
		if secretFields[f.Name] && !secrets {
			if v.Field(i).IsZero() {
				continue
			}
			x = mask
		}
		if in, ok := x.(object); ok && len(in) == 0 {
			continue
		}
		o = append(o, member{snake(f.Name), x})
	}
	return o
}

// snake writes a Go name as keywords are written: DelayLoop is delay_loop, RXBufs rx_bufs.
func snake(s string) string {
	var b strings.Builder
	r := []rune(s)
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (unicode.IsLower(r[i-1]) || unicode.IsDigit(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
