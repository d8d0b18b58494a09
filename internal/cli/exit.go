// Package cli holds the commands of clew. A command is built by a function that
// takes what it depends on, so that main stays a list of parts.
package cli

import "errors"

// ErrFindings is returned by a command that ran and found something: problems
// of rules, failing tests. Everything is printed already.
var ErrFindings = errors.New("findings")

// ErrUnreadable is returned by a command some of whose input could not be
// read. Everything is printed already.
var ErrUnreadable = errors.New("unreadable input")

// The exit codes of clew.
const (
	ExitOK       = 0
	ExitFindings = 1
	ExitUsage    = 2 // usage, or input that cannot be read
)

// ExitCode returns the exit code for what a command returned.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrFindings):
		return ExitFindings
	default:
		return ExitUsage
	}
}
