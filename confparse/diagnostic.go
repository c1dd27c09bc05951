package confparse

// Severity ranks diagnostics.
type Severity uint8

// Severities. Notes never change an exit code.
const (
	Note Severity = iota
	Warning
	Error
)

// Code is a stable name of a kind of diagnostic: "unknown-keyword", "number-out-of-range", ... It can be silenced by `releve
// check` and is what tests compare.
type Code string

// Exit is what a diagnostic does to the status of a configuration test.
type Exit uint8

// Exits of the reference (the manual's numbers are one too low): 4 < 5 < 6, and 2 stops everything.
const (
	ExitNone     Exit = 0
	ExitStop     Exit = 2
	ExitFatal    Exit = 4
	ExitConfig   Exit = 5
	ExitSecurity Exit = 6
)

// Diagnostic is one complaint.
type Diagnostic struct {
	Pos      Pos
	Severity Severity
	Code     Code
	Exit     Exit
	// Message says what was found and what was expected, without position.
	Message string
	// Suggest is the nearest valid word, empty without one.
	Suggest string
	// Opened is where the enclosing block was opened, if that helps.
	Opened Pos
	// Other is the line that this one does not go with: what defined it first, or says the contrary.
	Other Pos
	// Host says that the complaint is about this machine (interfaces, scripts, users), not about the text.
	Host bool
	// Secret says that the word at Pos must not be shown, nor what stands behind it on its line.
	Secret bool
	// FatalAtStart says that a start with this file ends with status 2 and that a reload must be refused.
	FatalAtStart bool
}

// OnlyVRRP says that nobody but the VRRP part ends over a complaint with FatalAtStart: a daemon without that part runs.
func (d *Diagnostic) OnlyVRRP() bool {
	switch d.Code {
	case "interface-missing", "track-interface-missing", "no-interface", "vrid-missing", "duplicate-vrid", "no-vip", "strict-mode":
		return true
	}
	return false
}

// Diagnostics is what one run found, in the order of the text.
type Diagnostics []Diagnostic

// ExitCode is the status of a configuration test: 0 for nothing that counts, else the highest of 4, 5 and 6; a 2 stops the reading
// and so beats them all.
func (d Diagnostics) ExitCode() int {
	code := ExitNone
	for i := range d {
		if d[i].Exit == ExitStop {
			return int(ExitStop)
		}
		code = max(code, d[i].Exit)
	}
	return int(code)
}
