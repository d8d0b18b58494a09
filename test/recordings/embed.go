// Package recordings holds recorded attacks and benign hours, for tests and for the
// demonstration of the server.
package recordings

import "embed"

// FS is the recordings that the demonstration plays.
//
//go:embed attack/*/*.gz benign/*/*.gz
var FS embed.FS
