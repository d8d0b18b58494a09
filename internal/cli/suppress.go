package cli

import (
	"bytes"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

// suppressionFile is the form in which people keep suppressions: shapes of
// traces they have looked at and called benign.
type suppressionFile struct {
	APIVersion   string              `yaml:"apiVersion"` // clew/v1
	Kind         string              `yaml:"kind"`       // Suppressions
	Suppressions []trace.Suppression `yaml:"suppressions"`
}

// readSuppressions reads a suppression file strictly: an unknown key, another
// type or a suppression without a reason or owner is an error with its place.
func readSuppressions(path string) ([]trace.Suppression, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading suppressions: %w", err)
	}
	var f suppressionFile
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading suppressions %q: %w", path, err)
	}
	if f.APIVersion != "clew/v1" || f.Kind != "Suppressions" {
		return nil, fmt.Errorf("reading suppressions %q: it is %q %q, want apiVersion clew/v1 and kind Suppressions", path, f.APIVersion, f.Kind)
	}
	for i, s := range f.Suppressions {
		if missing := missing(s); missing != "" {
			return nil, fmt.Errorf("reading suppressions: %s:%d: suppression %d has no %s", path, lineOf(text, i), i+1, missing)
		}
	}
	return f.Suppressions, nil
}

// missing names what a suppression must have and has not, "" when nothing.
func missing(s trace.Suppression) string {
	switch {
	case s.Fingerprint == (event.ID{}):
		return "fingerprint"
	case len(s.AllowedKinds) == 0:
		return "allowedKinds"
	case s.Reason == "":
		return "reason"
	case s.Owner == "":
		return "owner"
	}
	return ""
}

// lineOf returns the line the i-th suppression begins at, 0 when that cannot be
// told.
func lineOf(text []byte, i int) int {
	path, err := yaml.PathString(fmt.Sprintf("$.suppressions[%d]", i))
	if err != nil {
		return 0
	}
	node, err := path.ReadNode(bytes.NewReader(text))
	if err != nil || node.GetToken() == nil {
		return 0
	}
	return node.GetToken().Position.Line
}
