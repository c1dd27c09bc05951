// Package healthcheck checks real servers. Each checker decides by itself when to try and what the answer means, in a goroutine of its own
// that exists while it tries, and tells its owner only when the verdict changes.
package healthcheck

import (
	"net/netip"
	"time"

	"releve/script"
)

// Type is the kind of a checker.
type Type uint8

// The checkers of keepalived.conf(5).
const (
	TypeTCP Type = iota + 1
	TypeHTTP
	TypeSSL
	TypeSMTP
	TypeMisc
	TypeDNS
	TypeUDP
	TypePing
	TypeFile
	TypeBFD
)

// Config is one configured checker. Values are resolved: inheritance from virtual server and real server and the defaults of
// the reference have been applied by whoever built it.
type Config struct {
	Type Type
	// ID names the checker in logs and status: "[VIP]:tcp:80 -> [RIP]:tcp:80 TCP_CHECK #1" or alike; unique in a process.
	ID string
	// Server and Virtual are the names of the real and the virtual server in the log, as "[10.1.0.1]:tcp:80"; without them the ID is used.
	Server, Virtual string

	Connect
	// DelayLoop is the time from the end of a check to the start of the next, default 60 s.
	DelayLoop time.Duration
	// Retry is how many more failures in a row are needed before an up server is down. Default 1, MISC 0, DNS 3.
	Retry int
	// DelayBeforeRetry is the pause before a retry. Default 1 s, HTTP and SSL 3 s, DNS DelayLoop.
	DelayBeforeRetry time.Duration
	// Warmup is the longest random delay before the first check (on top of 1 s). Default DelayLoop; zero: none.
	Warmup time.Duration
	// Alpha: the checker starts down and its first success brings it up.
	Alpha bool
	// LogAllFailures logs the failures of a checker that is up, not only the change of state.
	LogAllFailures bool

	HTTP *HTTPConfig // TypeHTTP, TypeSSL
	SMTP *SMTPConfig
	Misc *MiscConfig
	DNS  *DNSConfig
	UDP  *UDPConfig
	File *FileConfig
	BFD  string // name of the bfd_instance
}

// Connect says whom to reach and how.
type Connect struct {
	// Addr is connect_ip and connect_port, by default the real server's.
	Addr netip.AddrPort
	// BindAddr and BindPort are the source; invalid and zero leave it to the kernel.
	BindAddr netip.Addr
	BindPort uint16
	BindIf   string
	FWMark   uint32
	// Timeout bounds the connect and every wait for data, default 5 s.
	Timeout time.Duration
}

// HTTPConfig is HTTP_GET or SSL_GET.
type HTTPConfig struct {
	URLs []URL
	// Version is the request line's protocol: "1.0", "1.0c", "1.1", "1.0k", "1.1k" as http_protocol has them; default "1.0".
	Protocol     string
	VirtualHost  string // checker level, already inherited from the real and virtual server; a URL's own wins
	EnableSNI    bool
	SNIName      string
	FastRecovery bool
	TLSCompliant bool
	SSL          *SSLConfig // nil without an SSL block
}

// SSLConfig is the SSL block: what the director shows to a server that asks.
type SSLConfig struct {
	CAFile, CertFile, KeyFile, Password string
}

// URL is one page to ask for.
type URL struct {
	Path string // default "/"
	// Digest is the wanted MD5 of the body, 32 hex digits in lower case; empty: not compared.
	Digest string
	// Status is the set of good codes; empty: 200 to 299.
	Status      []StatusRange
	VirtualHost string
	Regex       *Regex
}

// StatusRange is inclusive, 100..599.
type StatusRange struct{ From, To uint16 }

// Regex is the regex sub-block of a url.
type Regex struct {
	Pattern              string
	Options              []string // PCRE2 names as in keepalived.conf(5): caseless, multiline, ...
	Stack                [2]int   // regex_stack start, max
	MinOffset, MaxOffset int
	NoMatch              bool
}

// SMTPConfig is SMTP_CHECK.
type SMTPConfig struct {
	HeloName string // default smtpchecker.keepalived.org as the reference
	Hosts    []Connect
}

// MiscConfig is MISC_CHECK.
type MiscConfig struct {
	Command script.Command // Timeout is misc_timeout, default the virtual server's delay_loop
	Dynamic bool
}

// DNSConfig is DNS_CHECK.
type DNSConfig struct {
	Name string // default "."
	Type uint16 // RR type, default SOA (6)
}

// UDPConfig is UDP_CHECK.
type UDPConfig struct {
	Payload      []byte // nil: the reference's 32 bytes
	RequireReply bool
	Reply        []byte // compared over the shorter of both where Mask is 0xff; nil: any reply
	Mask         []byte
	MinLen       int // zero: 0
	MaxLen       int // zero: 255
}

// FileConfig is FILE_CHECK.
type FileConfig struct {
	Name, Path string
	Weight     int
	Reverse    bool
}
