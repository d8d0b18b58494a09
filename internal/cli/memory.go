package cli

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// What the commands ask the garbage collector to stay within, in bytes. The collector
// would let the live heap double before it looks. Where what is alive comes near,
// collecting costs more, and memory grows beyond the goal.
const (
	// replayMemory: state and events took up to 230 MiB in the replays measured
	// (docs/performance.md).
	replayMemory = 384 << 20
	// serverMemory: a server at its full rate holds some 350 MiB, half of it rows of
	// the history that are in no segment yet.
	serverMemory = 768 << 20
)

// limitMemory asks for goal, or for nine tenths of what the container may have when
// that is less, and returns what takes it back. A limit that the user set stays.
func limitMemory(goal int64) (restore func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	if all, err := memlimit.FromCgroup(); err == nil { // else there is no limit to heed
		goal = min(goal, int64(all/10*9))
	}
	before := debug.SetMemoryLimit(goal)
	return func() { debug.SetMemoryLimit(before) }
}
