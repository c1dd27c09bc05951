//go:build !race

package supervisor_test

// raceDetector says that the tests run with -race: with RELEVE_RACE_DAEMON set the daemon is built with it too.
const raceDetector = false
