package cli

import (
	"os"
	"runtime/debug"
)

// memoryGoal is what a replay asks the garbage collector to stay within, in
// bytes. The state of the largest cluster fits in half of it; the collector
// would let it take twice its size before it looks. Only where the state itself
// comes near does collecting cost more, and memory grows beyond it then.
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
