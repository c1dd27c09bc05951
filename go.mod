module releve

go 1.26.0

// Health checks talk to servers that OpenSSL talks to: old keys, very long ones, certificates with a negative number.
godebug (
	rsa1024min=0
	tlsmaxrsasize=16384
	x509negativeserial=1
)

require (
	github.com/alecthomas/participle/v2 v2.1.4
	github.com/google/gopacket v1.1.19
	github.com/google/nftables v0.3.0
	github.com/moby/ipvs v1.1.0
	github.com/sirupsen/logrus v1.9.0
	github.com/spf13/pflag v1.0.10
	github.com/vishvananda/netlink v1.3.1
	github.com/vishvananda/netns v0.0.5
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/google/go-cmp v0.6.0 // indirect
	github.com/mdlayher/netlink v1.7.3-0.20250113171957-fbb4dce95f42 // indirect
	github.com/mdlayher/socket v0.5.0 // indirect
	golang.org/x/sync v0.6.0 // indirect
)
