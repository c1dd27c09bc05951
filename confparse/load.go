package confparse

// LoadOptions steer the source stage.
type LoadOptions struct {
	// ConfigID is -i: which `@id` lines count. Empty: the host name up to its first dot.
	ConfigID string
	// AllConfig is -e: a missing include is a failure.
	AllConfig bool
}

// CheckOptions steer the checks.
type CheckOptions struct {
	// NoHost leaves out complaints about this machine (interfaces, scripts, users).
	NoHost bool
	// Test is -t: everything is looked at, nothing is prepared for running.
	Test bool
}
