// Package ruletest runs the tests that rules carry: it completes their partial
// records, lets an engine see them and compares which rules matched.
package ruletest

import "github.com/clew-sec/clew/internal/rule"

// Record is one complete native record.
type Record struct {
	Format rule.Format
	Raw    []byte
}

// Engine runs records through everything that comes before a flag.
type Engine interface {
	// Replay forgets what it saw before, takes the records in their order and
	// returns, for each, the ids of the rules that matched it.
	Replay(records []Record) ([][]string, error)
}
