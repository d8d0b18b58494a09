//go:build !unix

package cli

// peakMemory returns the largest resident size so far in bytes, 0 unknown.
func peakMemory() int64 { return 0 }
