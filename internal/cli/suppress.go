package cli

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/trace"
)

// suppressionFile is the form in which people keep suppressions: shapes of
// traces they have looked at and called benign.
type suppressionFile struct {
	APIVersion   string        `yaml:"apiVersion"` // clew/v1
	Kind         string        `yaml:"kind"`       // Suppressions
	Suppressions []suppression `yaml:"suppressions"`
}

// suppression is trace.Suppression as people write it. The date is read here:
// the YAML package takes one it cannot read for none, which would be for ever.
type suppression struct {
	Fingerprint  event.ID `yaml:"fingerprint"`
	AllowedKinds []string `yaml:"allowedKinds"`
	Users        []string `yaml:"users"`
	Reason       string   `yaml:"reason"`
	Owner        string   `yaml:"owner"`
	Expires      string   `yaml:"expires"` // RFC 3339 or a date, which ends at its first moment; "" is never
}

func (s *suppression) check() (trace.Suppression, error) {
	out := trace.Suppression{Fingerprint: s.Fingerprint, AllowedKinds: s.AllowedKinds, Users: s.Users, Reason: s.Reason, Owner: s.Owner}
	if missing := s.missing(); missing != "" {
		return out, fmt.Errorf("has no %s", missing)
	}
	if s.Expires == "" {
		return out, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, s.Expires); err == nil {
			out.Expires = at
			return out, nil
		}
	}
	return out, fmt.Errorf("expires %q, which is neither a date (2006-01-02) nor a time (2006-01-02T15:04:05Z)", s.Expires)
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
	out := make([]trace.Suppression, 0, len(f.Suppressions))
	for i := range f.Suppressions {
		s, err := f.Suppressions[i].check()
		if err != nil {
			return nil, fmt.Errorf("reading suppressions: %s:%d: suppression %d %w", path, lineOf(text, i), i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// missing names what a suppression must have and has not, "" when nothing.
func (s *suppression) missing() string {
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
