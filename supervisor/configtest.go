package supervisor

import (
	"fmt"
	"io"
	"os"

	"releve/confparse"
)

// Test is -t: it reads and checks the configuration as a start would, says what there is to complain about, and touches nothing.
func Test(o Options, stderr io.Writer) int {
	out := stderr
	if o.TestFile != "" {
		f, err := os.OpenFile(o.TestFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			fmt.Fprintf(stderr, "%s: file for complaints: %v\n", o.Name(), err)
			return exitFatal
		}
		defer f.Close()
		out = f
	}
	o.once = true
	src, diags := o.source()
	_, checked := confparse.Check(src, confparse.CheckOptions{Test: true})
	diags = append(diags, checked...).Sorted(src)
	if err := confparse.WriteText(out, confparse.Report{Source: src, Diagnostics: diags}); err != nil {
		fmt.Fprintf(stderr, "%s: write complaints: %v\n", o.Name(), err)
		return exitFatal
	}
	return diags.ExitCode()
}
