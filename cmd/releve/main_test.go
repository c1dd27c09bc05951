package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"releve/internal/testneed"
	"releve/supervisor"
)

func TestOptionsAreReadAsGetoptReadsThem(t *testing.T) {
	const facility = 3
	tests := []struct {
		name string
		args string
		want supervisor.Options
		rest string
	}{
		{"bundled short options with a value at the end", "-nld -p /run/keepalived.pid", supervisor.Options{Foreground: true, LogConsole: true, DumpConf: true, PidFile: "/run/keepalived.pid"}, ""},
		{"a value glued to its bundle", "-nlDf/etc/x", supervisor.Options{Foreground: true, LogConsole: true, LogDetail: 1, ConfigFile: "/etc/x"}, ""},
		{"-f FILE", "-f a", supervisor.Options{ConfigFile: "a"}, ""},
		{"--use-file=FILE", "--use-file=a", supervisor.Options{ConfigFile: "a"}, ""},
		{"--use-file FILE", "--use-file a", supervisor.Options{ConfigFile: "a"}, ""},
		{"an abbreviation that fits one option only", "--use a --dont-f", supervisor.Options{ConfigFile: "a", Foreground: true}, ""},
		{"an exact name that is also the start of another", "--pid a", supervisor.Options{PidFile: "a"}, ""},
		{"underscores in long names", "-l -D -f F --pid=P --vrrp_pid=V --checkers_pid=C --bfd_pid B", supervisor.Options{LogConsole: true, LogDetail: 1, ConfigFile: "F", PidFile: "P", VRRPPidFile: "V", CheckersPidFile: "C", BFDPidFile: "B"}, ""},
		{"the last of repeated options wins", "-f a -f b --use-file=c", supervisor.Options{ConfigFile: "c"}, ""},
		{"options behind other words", "x -n y -f a", supervisor.Options{Foreground: true, ConfigFile: "a"}, "x y"},
		{"nothing behind -- is an option", "-n -- -D", supervisor.Options{Foreground: true}, "-D"},
		{"a single dash is a word", "-", supervisor.Options{}, "-"},
		{"-t alone", "-t", supervisor.Options{Test: true}, ""},
		{"-t with its file glued", "-t/tmp/log", supervisor.Options{Test: true, TestFile: "/tmp/log"}, ""},
		{"-t does not take the next word", "-t /tmp/log", supervisor.Options{Test: true}, "/tmp/log"},
		{"--config-test", "--config-test -f a", supervisor.Options{Test: true, ConfigFile: "a"}, ""},
		{"--config-test=FILE", "--config-test=a", supervisor.Options{Test: true, TestFile: "a"}, ""},
		{"-M alone is the pattern core", "-M", supervisor.Options{CoreDump: true, CorePattern: "core"}, ""},
		{"-M with its pattern glued", "-M/tmp/core.%p", supervisor.Options{CoreDump: true, CorePattern: "/tmp/core.%p"}, ""},
		{"-D twice", "-DD", supervisor.Options{LogDetail: 2}, ""},
		{"a facility by number", "-S 3", supervisor.Options{Facility: 19}, ""},
		{"a facility by name", "--log-facility=local5", supervisor.Options{Facility: 21}, ""},
		{"a facility that is no local one", "-S user", supervisor.Options{Facility: 1}, ""},
		{"a facility that does not exist is left alone", "-S bogus", supervisor.Options{}, ""},
		{"umask in octal", "-u 022", supervisor.Options{Umask: 0o22, HasUmask: true}, ""},
		{"umask in hexadecimal", "-u 0x1f", supervisor.Options{Umask: 0x1f, HasUmask: true}, ""},
		{"umask in decimal", "-u 63", supervisor.Options{Umask: 63, HasUmask: true}, ""},
		{"a umask that is none is left alone", "-u x", supervisor.Options{}, ""},
		{"what neutron uses", "-P -f /c -p /p -r /p-vrrp -D", supervisor.Options{NoChecker: true, ConfigFile: "/c", PidFile: "/p", VRRPPidFile: "/p-vrrp", LogDetail: 1}, ""},
		{"what octavia uses", "--log-facility=1 -f F -p P -r R -c C", supervisor.Options{Facility: 17, ConfigFile: "F", PidFile: "P", VRRPPidFile: "R", CheckersPidFile: "C"}, ""},
		{"what k0s uses", "--dont-fork --use-file F --no-syslog --log-console --log-detail --dump-conf", supervisor.Options{Foreground: true, ConfigFile: "F", NoSyslog: true, LogConsole: true, LogDetail: 1, DumpConf: true}, ""},
		{"what vyos uses", "--use-file F --pid P --dont-fork --snmp", supervisor.Options{ConfigFile: "F", PidFile: "P", Foreground: true, SNMP: true}, ""},
		{"all the switches", "-C -B --all -G -X -V -I -R -a -s NS -m -e -i ID --ignore-sigint", supervisor.Options{NoVRRP: true, NoBFD: true, All: true, NoSyslog: true, ReleaseVIPs: true, DontReleaseVRRP: true, DontReleaseIPVS: true, DontRespawn: true, AddressMonitoring: true, Namespace: "NS", CoreDump: true, AllConfig: true, ConfigID: "ID", IgnoreSigint: true}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			argv := append([]string{"keepalived"}, strings.Fields(tt.args)...)
			c, rest, err := parse(argv, argv[1:])
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Argv = argv
			if want.Facility == 0 {
				want.Facility = facility
			}
			if !reflect.DeepEqual(c.Options, want) {
				t.Errorf("%s\ngot  %+v\nwant %+v", tt.args, c.Options, want)
			}
			if got := strings.Join(rest, " "); got != tt.rest {
				t.Errorf("other words: got %q, want %q", got, tt.rest)
			}
		})
	}
}

// wrong are command lines that end with status 1 and a line on standard error that holds the word.
var wrong = []struct{ name, args, word string }{
	{"an unknown long option", "--bogus", "--bogus"},
	{"an unknown short option", "-Z", "-Z"},
	{"an unknown short option in a bundle", "-nZ", "-Z"},
	{"a missing value", "-f", "-f"},
	{"a missing value of a long option", "--use-file", ""},
	{"an empty value", "--use-file=", "use-file"},
	{"a value for a switch", "--vrrp=3", "--vrrp"},
	{"an abbreviation of two options", "--dont", "--dont"},
	{"an unknown signal", "--signum=FOO", "FOO"},
}

func TestC3WrongOptionsEndWithOneLineAndStatus1(t *testing.T) {
	for _, tt := range wrong {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := run(append([]string{"keepalived"}, strings.Fields(tt.args)...), &out, &errs)
			if status != 1 || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), tt.word) {
				t.Errorf("status %d, stdout %q, stderr %q", status, &out, &errs)
			}
		})
	}
}

func TestC3TheReferenceRefusesTheSameOptions(t *testing.T) {
	testneed.Need(t, "keepalived")
	for _, tt := range wrong {
		cmd := exec.Command("keepalived", strings.Fields(tt.args)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte(tt.word)) {
			t.Errorf("%s: %v %q", tt.name, err, out)
		}
	}
}

// versionLine is what Puppet and Ansible look for, and what exporters split at blanks.
var versionLine = regexp.MustCompile(`^Keepalived v(\d+\.\d+\.\d+) \(\d\d/\d\d,\d{4}\)`)

func TestC1VersionIsOnStandardErrorInTheReferencesShape(t *testing.T) {
	for _, arg := range []string{"-v", "--version"} {
		for _, face := range []string{"keepalived", "/usr/bin/releve"} {
			var out, errs bytes.Buffer
			if status := run([]string{face, arg}, &out, &errs); status != 0 || out.Len() != 0 {
				t.Errorf("%s %s: status %d, stdout %q", face, arg, status, &out)
			}
			m := versionLine.FindStringSubmatch(errs.String())
			if m == nil || m[1] != "2.4.3" {
				t.Errorf("%s %s: first line %q", face, arg, strings.SplitN(errs.String(), "\n", 2)[0])
			}
			for _, word := range []string{"--enable-json", "releve " + supervisor.Build} {
				if !strings.Contains(errs.String(), word) {
					t.Errorf("%s %s: no %q in %q", face, arg, word, &errs)
				}
			}
		}
	}
}

func TestC1TheReferenceHasTheSameShape(t *testing.T) {
	testneed.Need(t, "keepalived")
	var out, errs bytes.Buffer
	cmd := exec.Command("keepalived", "--version")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || out.Len() > 0 || !versionLine.MatchString(errs.String()) || !strings.Contains(errs.String(), "--enable-json") {
		t.Errorf("%v, stdout %q, stderr %q", err, &out, &errs)
	}
}

func TestC2SignumPrintsABareNumber(t *testing.T) {
	want := map[string]string{"STOP": "15\n", "RELOAD": "1\n", "DATA": "10\n", "STATS": "12\n", "STATS_CLEAR": "63\n", "JSON": "36\n"}
	judge, _ := exec.LookPath("keepalived")
	for name, number := range want {
		for _, args := range [][]string{{"--signum=" + name}, {"--signum", name}} {
			var out, errs bytes.Buffer
			if status := run(append([]string{"keepalived"}, args...), &out, &errs); status != 0 || out.String() != number || errs.Len() > 0 {
				t.Errorf("%v: status %d, stdout %q, stderr %q", args, status, &out, &errs)
			}
		}
		if judge == "" || name == "STATS_CLEAR" { // the Debian build has no JSON signal number of its own to fear, only another RTMAX
			continue
		}
		if out, err := exec.Command(judge, "--signum="+name).Output(); err != nil || string(out) != number {
			t.Errorf("the reference says %q (%v) for %s", out, err, name)
		}
	}
}

func TestHelpIsOnStandardErrorAndNamesEveryOption(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run([]string{"keepalived", "-h"}, &out, &errs); status != 0 || out.Len() > 0 {
		t.Errorf("status %d, stdout %q", status, &out)
	}
	for _, o := range options {
		if !strings.Contains(errs.String(), "--"+o.long) {
			t.Errorf("no --%s in the usage text", o.long)
		}
	}
}

func TestUnexpectedWordsAreListedOnStandardOutput(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(conf, []byte("global_defs {\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := run([]string{"keepalived", "-t", "extra", "words", "-f", conf}, &out, &errs)
	if status != 0 || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "extra words") {
		t.Errorf("status %d, stdout %q, stderr %q", status, &out, &errs)
	}
}

func TestABadFacilityIsSaidAndCountsInAConfigurationTest(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(conf, []byte("global_defs {\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if status := run([]string{"keepalived", "-S", "bogus", "-t", "-f", conf}, &out, &errs); status != 5 || !strings.Contains(errs.String(), "bogus") {
		t.Errorf("status %d, stderr %q", status, &errs)
	}
}

func TestEveryOptionIsInTheTableOnce(t *testing.T) {
	short, long := map[byte]bool{}, map[string]bool{}
	for _, o := range options {
		if o.short != 0 && short[o.short] || long[o.long] {
			t.Errorf("-%c --%s twice", o.short, o.long)
		}
		short[o.short], long[o.long] = true, true
	}
}
