package cli

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml"

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
		if s.Reason == "" || s.Owner == "" || len(s.AllowedKinds) == 0 {
			return nil, fmt.Errorf("reading suppressions %q: suppression %d needs fingerprint, allowedKinds, reason and owner", path, i+1)
		}
	}
	return f.Suppressions, nil
}
