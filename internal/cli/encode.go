package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
)

// encode writes v as JSON or YAML, as -o says.
func (c *ruleCommand) encode(w io.Writer, v any) error {
	if c.output == "yaml" {
		if err := yaml.NewEncoder(w).Encode(v); err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

func readFile(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading rule: %w", err)
	}
	return text, nil
}
