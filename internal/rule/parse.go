package rule

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// idPattern is what an id and a list's name look like.
var idPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// maxIDBytes bounds an id: it stands in every flag and in file names.
const maxIDBytes = 80

// Parse reads one rule file. The file's name, without folders and .yaml, must be
// the rule's id. Without a catalogue (nil) techniques are not looked up. Either
// the Rule is not nil or there is at least one Problem.
func Parse(file string, text []byte, env *condition.Env, cat Catalogue) (*Rule, Problems) {
	p := &ruleParser{reader: reader{src: newSource(file, string(text))}, env: env, cat: cat}
	p.rule.File, p.rule.src = file, p.src
	if root := parseYAML(p.src); root != nil {
		p.parse(root)
	}
	if len(p.src.problems) > 0 {
		return nil, p.src.problems.sorted()
	}
	return &p.rule, nil
}

// reader takes typed values out of nodes and reports what is of another type.
type reader struct{ src *source }

func (r *reader) at(n *node) Position { return r.src.at(n.line, n.column) }

func (r *reader) errorf(n *node, format string, args ...any) {
	if n.broken {
		return // said already
	}
	r.src.errorf(r.at(n), format, args...)
}

// key is one entry of a mapping that may be there.
type key struct {
	name     string
	required bool
	read     func(*node)
}

// mapping reads the keys of a mapping: unknown ones and missing ones are
// problems.
func (r *reader) mapping(n *node, what string, keys []key) {
	if n.kind != mappingNode {
		r.errorf(n, "%s must be a mapping, it is %s", what, n.describe())
		return
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
	}
	for i, kn := range n.keys {
		if j := slices.Index(names, kn.value); j >= 0 {
			keys[j].read(n.items[i])
		} else {
			r.errorf(kn, "unknown key %q in %s%s", kn.value, what, condition.Suggest(kn.value, names))
		}
	}
	for _, k := range keys {
		if k.required && n.get(k.name) == nil {
			r.errorf(n, "%s has no key %q", what, k.name)
		}
	}
}

func (n *node) describe() string {
	switch {
	case n.kind == mappingNode:
		return "a mapping"
	case n.kind == sequenceNode:
		return "a sequence"
	case n.tag == ast.NullType:
		return "empty"
	case n.tag == ast.StringType:
		return "a string"
	case n.tag == ast.IntegerType:
		return "an integer"
	default:
		return "a " + strings.ToLower(n.tag.String())
	}
}

// text reads a string that is not blank.
func (r *reader) text(n *node, what string) (string, bool) {
	if n.kind != scalarNode || n.tag != ast.StringType {
		r.errorf(n, "%s must be a string, it is %s", what, n.describe())
		return "", false
	}
	if strings.TrimSpace(n.value) == "" {
		r.errorf(n, "%s is blank", what)
		return "", false
	}
	return n.value, true
}

// into returns a function that reads a string into dst.
func (r *reader) into(dst *string, what string) func(*node) {
	return func(n *node) { *dst, _ = r.text(n, what) }
}

// texts reads a sequence of strings.
func (r *reader) texts(n *node, what string) []string {
	if n.kind != sequenceNode {
		r.errorf(n, "%s must be a sequence of strings, it is %s", what, n.describe())
		return nil
	}
	out := make([]string, 0, len(n.items))
	for _, i := range n.items {
		if s, ok := r.text(i, "each of "+what); ok {
			out = append(out, strings.TrimSpace(s))
		}
	}
	return out
}

// choice reads one word of a closed set and returns its place in it.
func (r *reader) choice(n *node, what string, names []string) int {
	s, ok := r.text(n, what)
	if !ok {
		return -1
	}
	i := slices.Index(names, s)
	if i < 0 {
		r.errorf(n, "unknown %s %q: it must be one of %s", what, s, strings.Join(names, ", "))
	}
	return i
}

func (r *reader) duration(n *node, what string, least time.Duration) time.Duration {
	s, ok := r.text(n, what)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least {
		r.errorf(n, "%s %q must be a duration of at least %v such as 90s, 10m or 1h30m", what, s, least)
		return 0
	}
	return d
}

// ruleParser fills one Rule.
type ruleParser struct {
	reader
	env    *condition.Env
	cat    Catalogue
	rule   Rule
	tactic *node
}

func (p *ruleParser) parse(root *node) {
	r := &p.rule
	p.mapping(root, "the rule", []key{
		{"id", true, p.id},
		{"title", true, p.into(&r.Title, "title")},
		{"severity", true, p.severity},
		{"technique", true, p.techniques},
		{"tactic", false, func(n *node) { p.tactic = n }},
		{"source", true, p.source},
		{"status", false, func(n *node) { r.Status = Status(max(p.choice(n, "status", statusNames[:]), 0)) }},
		{"description", false, p.into(&r.Description, "description")},
		{"when", true, p.when},
		{"once", false, func(n *node) { r.Once = p.duration(n, "once", time.Second) }},
		{"flag", true, p.flag},
		{"falsePositives", false, func(n *node) { r.FalsePositives = p.texts(n, "falsePositives") }},
		{"response", false, p.into(&r.Response, "response")},
		{"reviewed", false, p.into(&r.Reviewed, "reviewed")},
		{"tests", false, p.tests},
	})
	if root.kind == mappingNode {
		p.setTactic()
	}
}

func (p *ruleParser) id(n *node) {
	id, ok := p.text(n, "id")
	if !ok {
		return
	}
	want := strings.TrimSuffix(path.Base(p.src.file), path.Ext(p.src.file))
	switch {
	case len(id) > maxIDBytes || !idPattern.MatchString(id):
		p.errorf(n, "id %q must be of a-z, 0-9 and single -, at most %d characters", id, maxIDBytes)
	case id != want:
		p.errorf(n, "id %q is not the file's name %q", id, want)
	}
	p.rule.ID, p.rule.position = id, p.at(n)
}

func (p *ruleParser) severity(n *node) {
	names := []string{}
	for s := event.Info; s <= event.Critical; s++ {
		names = append(names, s.String())
	}
	p.rule.Severity = event.Severity(max(p.choice(n, "severity", names), 0))
}

func (p *ruleParser) source(n *node) {
	all := []event.Source{event.SourceK8sAudit, event.SourceCloudTrail, event.SourceGCPAudit, event.SourceAzureActivity}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.String()
	}
	if i := p.choice(n, "source", names); i >= 0 {
		p.rule.Source = all[i]
	}
}

func (p *ruleParser) techniques(n *node) {
	ids := p.texts(n, "technique")
	p.rule.Techniques = ids
	if n.kind != sequenceNode {
		return
	}
	for _, i := range n.items {
		if p.cat != nil && i.kind == scalarNode && i.tag == ast.StringType && !p.cat.Has(strings.TrimSpace(i.value)) {
			p.errorf(i, "unknown technique %q: it is neither in the threat matrix nor in the ATT&CK list", i.value)
		}
	}
	if !slices.ContainsFunc(ids, isMatrix) {
		p.errorf(n, "no technique of the threat matrix (MS-TA…) is named")
	}
}

func isMatrix(id string) bool { return strings.HasPrefix(id, "MS-TA") }

// setTactic takes the tactic the file names, or the first of its first matrix
// technique.
func (p *ruleParser) setTactic() {
	if p.tactic != nil {
		var names []string
		for t := range event.Tactic(event.TacticCount) {
			names = append(names, t.String())
		}
		p.rule.Tactic = event.Tactic(max(p.choice(p.tactic, "tactic", names), 0))
		return
	}
	if i := slices.IndexFunc(p.rule.Techniques, isMatrix); i >= 0 && p.cat != nil {
		p.rule.Tactic, _ = p.cat.FirstTactic(p.rule.Techniques[i])
	}
}

func (p *ruleParser) when(n *node) {
	text, ok := p.text(n, "when")
	if !ok {
		return
	}
	p.rule.When, p.rule.whenField = text, n
	_, issues := p.env.Check(text)
	for _, is := range issues {
		p.src.errorf(p.src.place(n, is.Offset), "when: %s", is.Message)
	}
}

func (p *ruleParser) flag(n *node) {
	text, ok := p.text(n, "flag")
	if !ok {
		return
	}
	p.rule.Flag, p.rule.flagField = text, n
	_, issues := ParseTemplate(text, p.env)
	for _, is := range issues {
		p.src.errorf(p.src.place(n, is.Offset), "flag: %s", is.Message)
	}
}
