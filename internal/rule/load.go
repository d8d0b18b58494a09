package rule

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/rule/condition"
)

// listsDir holds the list files of a pack.
const listsDir = "lists"

// Pack is the content of one folder: rules below it, lists in lists/.
type Pack struct {
	Rules []Rule // by id
	Lists []List // by name
	Env   *condition.Env
}

// ListValues returns the lists by name, as package detect takes them.
func (p *Pack) ListValues() map[string][]string {
	out := make(map[string][]string, len(p.Lists))
	for _, l := range p.Lists {
		out[l.Name] = l.Values
	}
	return out
}

// Rule returns the rule of that id, nil when there is none.
func (p *Pack) Rule(id string) *Rule {
	i, ok := slices.BinarySearchFunc(p.Rules, id, func(r Rule, id string) int { return strings.Compare(r.ID, id) })
	if !ok {
		return nil
	}
	return &p.Rules[i]
}

// Load reads every .yaml file of the layers as one pack, lists first: a rule or
// list of a later layer replaces that of the same id or name in an earlier one.
// Files and folders whose name begins with "." or "_" are left out. The error is
// Problems when files are wrong, and then the Pack holds what parsed; otherwise it
// says what could not be read and the Pack is nil.
func Load(cat Catalogue, layers ...fs.FS) (*Pack, error) {
	l := &packLoader{cat: cat, rules: map[string]Rule{}, lists: map[string]List{}}
	for _, fsys := range layers {
		if err := l.readLists(fsys); err != nil {
			return nil, err
		}
	}
	if err := l.buildEnv(); err != nil {
		return nil, err
	}
	for _, fsys := range layers {
		if err := l.readRules(fsys); err != nil {
			return nil, err
		}
	}
	return l.pack(), l.problems.sorted().err()
}

type packLoader struct {
	cat      Catalogue
	env      *condition.Env
	rules    map[string]Rule
	lists    map[string]List
	problems Problems
}

func (l *packLoader) pack() *Pack {
	p := &Pack{Env: l.env}
	for _, r := range l.rules {
		p.Rules = append(p.Rules, r)
	}
	for _, li := range l.lists {
		p.Lists = append(p.Lists, li)
	}
	slices.SortFunc(p.Rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(p.Lists, func(a, b List) int { return strings.Compare(a.Name, b.Name) })
	return p
}

func (l *packLoader) buildEnv() error {
	values := make(map[string][]string, len(l.lists))
	for name, li := range l.lists {
		values[name] = li.Values
	}
	env, err := condition.New(values)
	l.env = env
	return err
}

func (l *packLoader) readLists(fsys fs.FS) error {
	if _, err := fs.Stat(fsys, listsDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return eachFile(fsys, listsDir, func(name string, text []byte) {
		li, problems := ParseList(shown(fsys, name), text)
		l.problems = append(l.problems, problems...)
		if li != nil {
			l.lists[li.Name] = *li
		}
	})
}

func (l *packLoader) readRules(fsys fs.FS) error {
	here := map[string]string{}
	return eachFile(fsys, ".", func(name string, text []byte) {
		if strings.HasPrefix(name, listsDir+"/") {
			return
		}
		r, problems := Parse(shown(fsys, name), text, l.env, l.cat)
		if r != nil {
			if other, ok := here[r.ID]; ok {
				r.src.errorf(r.position, "id %q is also that of %s", r.ID, other)
				problems = r.src.problems
			}
			here[r.ID], l.rules[r.ID] = r.File, *r
		}
		l.problems = append(l.problems, problems...)
	})
}

// eachFile calls f for every YAML file below dir, in the order of their paths.
func eachFile(fsys fs.FS, dir string, f func(name string, text []byte)) error {
	return fs.WalkDir(fsys, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("reading rules: %w", err)
		}
		hidden := name != "." && strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")
		if d.IsDir() && hidden {
			return fs.SkipDir
		}
		if ext := path.Ext(name); d.IsDir() || hidden || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("reading rules: %w", err)
		}
		f(name, text)
		return nil
	})
}

// ParseList reads one list file. Either the List is not nil or there is at
// least one Problem.
func ParseList(file string, text []byte) (*List, Problems) {
	r := &reader{src: newSource(file, string(text))}
	li := &List{File: file}
	if root := parseYAML(r.src); root != nil {
		r.mapping(root, "the list", []key{
			{"name", true, func(n *node) { r.listName(n, li) }},
			{"description", true, r.into(&li.Description, "description")},
			{"source", true, r.into(&li.Source, "source")},
			{"values", true, func(n *node) { r.listValues(n, li) }},
		})
	}
	if len(r.src.problems) > 0 {
		return nil, r.src.problems.sorted()
	}
	return li, nil
}

// listNameHelp says what names CEL can read.
const listNameHelp = "a letter, then letters and digits (list.<name> in a condition)"

func (r *reader) listName(n *node, li *List) {
	name, ok := r.text(n, "name")
	if !ok {
		return
	}
	want := strings.TrimSuffix(path.Base(r.src.file), path.Ext(r.src.file))
	switch {
	case !isIdentifier(name):
		r.errorf(n, "name %q must be %s", name, listNameHelp)
	case name != want:
		r.errorf(n, "name %q is not the file's name %q", name, want)
	}
	li.Name = name
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxIDBytes
}

func (r *reader) listValues(n *node, li *List) {
	li.Values = r.texts(n, "values")
	if n.kind != sequenceNode {
		return
	}
	if len(n.items) == 0 {
		r.errorf(n, "values is empty")
	}
	seen := map[string]bool{}
	for _, i := range n.items {
		if seen[i.value] {
			r.errorf(i, "value %q stands here twice", i.value)
		}
		seen[i.value] = true
	}
}

// Prefixed returns fsys with file names that problems print with dir before
// them, so that a person can open the file named.
func Prefixed(fsys fs.FS, dir string) fs.FS { return prefixed{fsys, dir} }

type prefixed struct {
	fs.FS
	dir string
}

// shown returns the name of a file as problems print it.
func shown(fsys fs.FS, name string) string {
	if p, ok := fsys.(prefixed); ok {
		return path.Join(p.dir, name)
	}
	return name
}

// With returns a pack in which r stands too, or instead of the rule with its id.
func (p *Pack) With(r Rule) *Pack {
	out := &Pack{Lists: p.Lists, Env: p.Env}
	out.Rules = slices.DeleteFunc(slices.Clone(p.Rules), func(o Rule) bool { return o.ID == r.ID })
	i, _ := slices.BinarySearchFunc(out.Rules, r.ID, func(o Rule, id string) int { return strings.Compare(o.ID, id) })
	out.Rules = slices.Insert(out.Rules, i, r)
	return out
}
