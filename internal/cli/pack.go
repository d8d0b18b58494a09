package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/rule"
)

// Content is the detection content a command works with.
type Content struct {
	Rules     fs.FS          // the built-in pack
	Catalogue rule.Catalogue // nil: techniques are not looked up
}

// Packs are the rule folders a user chose with --rules and --add-rules.
type Packs struct {
	replace []string
	add     []string
}

func (p *Packs) register(f *pflag.FlagSet) {
	f.StringArrayVar(&p.replace, "rules", nil, "use the rules of this `DIR` instead of the built-in ones (repeatable)")
	f.StringArrayVar(&p.add, "add-rules", nil, "use the rules of this `DIR` too; same ids replace (repeatable)")
}

// layers returns the folders the rules come from, the built-in one first.
func (p *Packs) layers(builtin fs.FS) ([]fs.FS, error) {
	var out []fs.FS
	if len(p.replace) == 0 {
		out = append(out, builtin)
	}
	for _, dir := range append(append([]string(nil), p.replace...), p.add...) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("opening rules: %w", err)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("opening rules: %q is not a folder", dir)
		}
		out = append(out, rule.Prefixed(os.DirFS(dir), filepath.ToSlash(dir)))
	}
	return out, nil
}

// load reads the pack. The error is rule.Problems when files are wrong, and
// then the pack holds what parsed.
func (p *Packs) load(c Content) (*rule.Pack, error) {
	layers, err := p.layers(c.Rules)
	if err != nil {
		return nil, err
	}
	return rule.Load(c.Catalogue, layers...)
}

// PackRules returns what MatrixDeps.Rules needs, from the content given. Rules
// that are deprecated are left out.
func PackRules(c Content) func(Packs) ([]matrix.Rule, error) {
	return func(p Packs) ([]matrix.Rule, error) {
		pack, err := p.load(c)
		if err != nil {
			return nil, err
		}
		var out []matrix.Rule
		for i := range pack.Rules {
			if r := &pack.Rules[i]; r.Status != rule.Deprecated {
				out = append(out, matrix.Rule{ID: r.ID, Severity: r.Severity, Techniques: r.Techniques})
			}
		}
		return out, nil
	}
}
