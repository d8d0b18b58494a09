// Package rules holds clew's detection content: one YAML file a rule, in a
// folder per source, and the lists their conditions name. See package rule for
// the format.
package rules

import "embed"

// FS is the content as it stands beside this file.
//
//go:embed */*.yaml
var FS embed.FS
