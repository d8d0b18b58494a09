package cli

import (
	"os"
	"runtime/debug"
)

// memoryGoal is what a replay asks the garbage collector to stay within, in
// bytes: state and events took up to 230 MiB in the replays measured
// (docs/performance.md), and the collector would let that double before it
// looks. Where the state itself comes near, collecting costs more, and memory
// grows beyond the goal.
const memoryGoal = 384 << 20

// limitMemory sets memoryGoal unless the user set a limit, and returns what takes
// it back.
func limitMemory() (restore func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(memoryGoal)
	return func() { debug.SetMemoryLimit(before) }
}
