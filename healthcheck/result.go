package healthcheck

import "time"

// Result is what a checker tells its owner after an attempt that changed something: the verdict or the dynamic weight. Owners get it
// by a callback that must not block. The first verdict of a checker is told too, even if it changes nothing (First).
//
// What the owner makes of a first verdict is the reference's: a success without alpha notifies nobody; a failure under alpha (the
// server was never up) runs notify_down for TCP, UDP, PING, SMTP and DNS checks but not for HTTP, SSL and MISC.
type Result struct {
	ID   string
	Type Type
	Up   bool
	// Weight is what MISC_CHECK (misc_dynamic) and FILE_CHECK say about the server's weight; it counts if HasWeight is set. With
	// Absolute it is the weight itself, 0 to 253 (a script's exit status less 2), else a difference to the configured
	// weight (a file's value; 0 for a script that wants the configured weight).
	Weight    int
	HasWeight bool
	Absolute  bool
	// Reason is one line in words: "connect: connection refused", "HTTP status code 503, wanted 200-299". Empty for a plain success.
	Reason  string
	At      time.Time     // end of the attempt
	Latency time.Duration // how long it took
	// First is set for the first verdict since the checker was made.
	First bool
}

// Status is a checker as it is now.
type Status struct {
	ID   string
	Type Type
	// Up is the verdict; Tried says whether there was an attempt at all (else Up is what the checker starts with).
	Up, Tried bool
	// Fails counts failures in a row that are still being retried.
	Fails     int
	Suspended bool
	Weight    int
	HasWeight bool
	Absolute  bool
	Reason    string        // of the last attempt
	Latency   time.Duration // of the last attempt
	Last      time.Time     // start of the last attempt; zero: none
	Next      time.Time     // the next attempt is due then; zero: no timer (FILE_CHECK, BFD_CHECK)
	Late      time.Duration // how much later than due the last attempt began: waiting for a slot, or for the processor
	Since     time.Time     // of the verdict; zero: since the start
	Attempts  uint64
	Failures  uint64
}

// String is the keyword of keepalived.conf(5).
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "UNKNOWN_CHECK"
}

var typeNames = [...]string{TypeTCP: "TCP_CHECK", TypeHTTP: "HTTP_GET", TypeSSL: "SSL_GET", TypeSMTP: "SMTP_CHECK", TypeMisc: "MISC_CHECK",
	TypeDNS: "DNS_CHECK", TypeUDP: "UDP_CHECK", TypePing: "PING_CHECK", TypeFile: "FILE_CHECK", TypeBFD: "BFD_CHECK"}
