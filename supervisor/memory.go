package supervisor

import "runtime/debug"

// large is the number of lines from which on what the reading of a configuration leaves behind is worth a collection.
const large = 5000

// giveBack returns what a configuration of so many lines left behind to the system. It works beside everything else.
func giveBack(lines int) {
	if lines >= large {
		go debug.FreeOSMemory()
	}
}
