package supervisor

import "fmt"

// newBFDPart makes the BFD part.
func newBFDPart(env *environment) (part, error) {
	if n := len(env.cfg.BFD); n > 0 {
		env.log.Warn(fmt.Sprintf("%d bfd_instance blocks have no effect: this build speaks no BFD", n))
	}
	return idlePart{}, nil
}
