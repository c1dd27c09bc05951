//go:build race

package supervisor_test

// raceDetector says that the tests run with -race: the daemon is built with it too.
const raceDetector = true
