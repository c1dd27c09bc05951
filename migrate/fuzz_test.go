package migrate_test

import (
	"strings"
	"testing"

	"releve/confparse"
	"releve/migrate"
)

// Whatever the source says, what comes out has balanced blocks, ends every comment with its line and can be parsed.
func sound(t *testing.T, res *migrate.Result) {
	t.Helper()
	for _, n := range res.Nodes {
		text := string(n.Files[0].Text)
		depth := 0
		for line := range strings.SplitSeq(text, "\n") {
			code, _, _ := strings.Cut(line, "#")
			code = strings.TrimSpace(code)
			if strings.HasSuffix(code, "{") {
				depth++
			}
			if code == "}" {
				depth--
			}
			for _, r := range line {
				if r < ' ' || r == 0x7f {
					t.Fatalf("a control character in %q", line)
				}
			}
		}
		if depth != 0 {
			t.Fatalf("%d blocks are open at the end:\n%s", depth, text)
		}
		confparse.Format(n.Files[0].Text)
	}
	_ = res.Report()
}

func FuzzHeartbeat(f *testing.F) {
	f.Add("keepalive 1\nbcast eth0\nnode a b\nping 10.0.0.1\nrespawn x ipfail\n", "a IPaddr::10.0.0.1/24/eth0 x::y\n", "auth 1\n1 md5 x\n")
	f.Fuzz(func(t *testing.T, ha, res, keys string) {
		in := migrate.HeartbeatInput{HaCF: migrate.Input{Name: "ha.cf", Text: []byte(ha)}, Resources: migrate.Input{Name: "haresources", Text: []byte(res)},
			AuthKeys: &migrate.Input{Name: "authkeys", Text: []byte(keys), Mode: 0o600}}
		if out, err := migrate.Heartbeat(in, migrate.HeartbeatOptions{}); err == nil {
			sound(t, out)
		}
	})
}

func FuzzIPVSAdm(f *testing.F) {
	f.Add("-A -t 10.0.0.1:80 -s rr -p 30 -M 255.255.255.0\n-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue --tun-port 1\n", "AUTO=true\nDAEMON=both\n")
	f.Fuzz(func(t *testing.T, rules, defaults string) {
		d := migrate.Input{Name: "default", Text: []byte(defaults)}
		if out, err := migrate.IPVSAdm(migrate.Input{Name: "rules", Text: []byte(rules)}, &d, migrate.IPVSAdmOptions{Check: "tcp"}); err == nil {
			sound(t, out)
		}
	})
}

func FuzzLdirectord(f *testing.F) {
	f.Add("checktimeout=3\nvirtual=10.0.0.1:80\n\treal=10.0.0.2->10.0.0.4:80 gate 3 \"a\", \"b\" l:3\n\tservice=http\n\tvirtualhost=\"x\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if out, err := migrate.Ldirectord(migrate.Input{Name: "ldirectord.cf", Text: []byte(text)}, migrate.LdirectordOptions{}); err == nil {
			sound(t, out)
		}
	})
}
