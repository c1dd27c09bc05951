package migrate_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"releve/confparse"
	"releve/director"
	"releve/ipvs/memory"
	"releve/migrate"
)

// TestDrainedServersGetTheirWeightBack compares the table that the daemon makes of the migrated configuration, before any check was made,
// with the rules.
func TestDrainedServersGetTheirWeightBack(t *testing.T) {
	rules := []string{
		"-A -t 10.0.0.10:80 -s wlc",
		"-a -t 10.0.0.10:80 -r 10.1.0.1:80 -m -w 0",
		"-a -t 10.0.0.10:80 -r 10.1.0.2:80 -m -w 0",
		"-A -f 7 -s rr",
		"-a -f 7 -r 10.1.0.1:0 -g -w 0",
	}
	for _, check := range []string{"", "tcp"} {
		res, err := migrate.IPVSAdm(migrate.Input{Name: "rules", Text: []byte(strings.Join(rules, "\n") + "\n")}, nil, migrate.IPVSAdmOptions{Check: check})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "keepalived.conf")
		if err := os.WriteFile(path, res.Nodes[0].Files[0].Text, 0o600); err != nil {
			t.Fatal(err)
		}
		src, diags := confparse.Load(path, confparse.LoadOptions{})
		conf, more := confparse.Check(src, confparse.CheckOptions{})
		for _, d := range append(diags, more...) {
			t.Errorf("%d:%d: %s", d.Pos.Line, d.Pos.Col, d.Message)
		}
		synctest.Test(t, func(t *testing.T) {
			plane := &memory.Plane{}
			d, err := director.New(&conf.LVS, director.Options{Plane: plane, LeaveTable: true})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- d.Run(ctx) }()
			synctest.Wait()
			table, _ := plane.Read(ctx)
			if got, want := table.String(), strings.Join(rules, "\n")+"\n"; got != want {
				t.Errorf("check %q: the table is\n%swant\n%s", check, got, want)
			}
			cancel()
			<-done
		})
	}
}
