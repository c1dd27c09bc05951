package exercise

import "testing"

func TestAnOrdinaryUserHasNoScriptSecurity(t *testing.T) {
	const conf = "global_defs {\n    script_user root\n\tenable_script_security \n}\n# enable_script_security is for root\n"
	const want = "global_defs {\n    script_user root\n\t# enable_script_security needs the real root\n}\n# enable_script_security is for root\n"
	if got := insecure(conf); got != want {
		t.Errorf("%s", got)
	}
}
