package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// The JSON form: one object per column, one per cell.
type jsonReport struct {
	Matrix     string       `json:"matrix"`
	Rules      int          `json:"rules"`
	Techniques jsonCount    `json:"techniques"`
	Cells      jsonCount    `json:"cells"`
	Columns    []jsonColumn `json:"columns"`
	Attack     []jsonCell   `json:"attack"`
}

type jsonCount struct {
	Covered int `json:"covered"`
	Total   int `json:"total"`
}

type jsonColumn struct {
	Tactic event.Tactic `json:"tactic"`
	Cells  []jsonCell   `json:"cells"`
}

type jsonCell struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	State   State      `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Sources *Coverage  `json:"sources,omitempty"`
	Rules   []jsonRule `json:"rules"`
}

type jsonRule struct {
	ID       string         `json:"id"`
	Severity event.Severity `json:"severity"`
}

// WriteJSON writes the matrix as one JSON object: the columns with their cells,
// and under "attack" every ATT&CK technique that a rule names.
func (r *Report) WriteJSON(w io.Writer) error {
	out := jsonReport{Matrix: r.matrix.name, Rules: r.rules, Columns: []jsonColumn{}, Attack: []jsonCell{}}
	out.Cells.Covered, out.Cells.Total = r.Count()
	out.Techniques.Covered, out.Techniques.Total = r.CountTechniques()
	for t := range event.Tactic(event.TacticCount) {
		col := jsonColumn{Tactic: t}
		for _, id := range r.matrix.columns[t] {
			col.Cells = append(col.Cells, r.jsonCell(id))
		}
		out.Columns = append(out.Columns, col)
	}
	for i := range r.matrix.techniques {
		if t := &r.matrix.techniques[i]; !t.Microsoft() && len(r.byID[t.ID]) > 0 {
			out.Attack = append(out.Attack, r.jsonCell(t.ID))
		}
	}
	return writeIndented(w, out)
}

func (r *Report) jsonCell(id string) jsonCell {
	c, _ := r.Technique(id)
	cell := jsonCell{ID: id, Name: c.Technique.Name, State: c.State, Reason: c.Reason, Rules: []jsonRule{}}
	if c.Technique.Microsoft() {
		cell.Sources = &c.Technique.Coverage
	}
	for _, rule := range c.Rules {
		cell.Rules = append(cell.Rules, jsonRule{ID: rule.ID, Severity: rule.Severity})
	}
	return cell
}

func writeIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing the matrix: %w", err)
	}
	return nil
}

// WriteMarkdown writes the matrix as a Markdown table of ten columns, and below
// it one line per technique with its rules and the sources that can show it.
func (r *Report) WriteMarkdown(w io.Writer) error {
	b := &bytes.Buffer{}
	r.writeMarkdownGrid(b)
	b.WriteString("\n| id | technique | agent | Kubernetes audit | cloud audit | rules |\n|---|---|---|---|---|---|\n")
	for i := range r.matrix.techniques {
		if t := &r.matrix.techniques[i]; t.Microsoft() {
			c, _ := r.Technique(t.ID)
			v := t.Coverage
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", t.ID, t.Name, v.Agent, v.K8sAudit, v.CloudAudit, markdownRules(&c))
		}
	}
	return writeText(w, b.Bytes())
}

func (r *Report) writeMarkdownGrid(b *bytes.Buffer) {
	for t := range event.Tactic(event.TacticCount) {
		fmt.Fprintf(b, "| %s ", t)
	}
	b.WriteString("|\n" + strings.Repeat("|---", event.TacticCount) + "|\n")
	for row := range r.rows() {
		for _, ids := range r.matrix.columns {
			text := ""
			if row < len(ids) {
				c, _ := r.Technique(ids[row])
				text = fmt.Sprintf("%s (%s)", c.Technique.Name, mark(&c))
			}
			fmt.Fprintf(b, "| %s ", text)
		}
		b.WriteString("|\n")
	}
}

func markdownRules(c *Covered) string {
	if len(c.Rules) == 0 {
		return c.Reason
	}
	return strings.Join(ruleIDs(c.Rules), ", ")
}

func ruleIDs(rules []Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.ID
	}
	return out
}

// The ATT&CK Navigator layer, format version 4.5.
type layer struct {
	Name        string           `json:"name"`
	Versions    layerVersions    `json:"versions"`
	Domain      string           `json:"domain"`
	Description string           `json:"description"`
	Filters     layerFilters     `json:"filters"`
	Sorting     int              `json:"sorting"`
	Layout      layerLayout      `json:"layout"`
	HideDisable bool             `json:"hideDisabled"`
	Techniques  []layerTechnique `json:"techniques"`
	Gradient    layerGradient    `json:"gradient"`
	Legend      []layerLegend    `json:"legendItems"`
}

type layerVersions struct {
	Attack    string `json:"attack"`
	Navigator string `json:"navigator"`
	Layer     string `json:"layer"`
}

type layerFilters struct {
	Platforms []string `json:"platforms"`
}

type layerLayout struct {
	Layout   string `json:"layout"`
	ShowID   bool   `json:"showID"`
	ShowName bool   `json:"showName"`
}

type layerTechnique struct {
	ID            string `json:"techniqueID"`
	Tactic        string `json:"tactic"`
	Score         int    `json:"score"`
	Comment       string `json:"comment"`
	Enabled       bool   `json:"enabled"`
	ShowSubtechns bool   `json:"showSubtechniques"`
}

type layerGradient struct {
	Colors   []string `json:"colors"`
	MinValue int      `json:"minValue"`
	MaxValue int      `json:"maxValue"`
}

type layerLegend struct {
	Label string `json:"label"`
	Color string `json:"color"`
}

// WriteNavigator writes an ATT&CK Navigator layer (format 4.5): per ATT&CK
// technique and tactic the number of rules as score and their ids as comment.
func (r *Report) WriteNavigator(w io.Writer) error {
	rules := r.attackRules()
	l := layer{
		Name:        "clew",
		Versions:    layerVersions{Attack: "18", Navigator: "5.1.0", Layer: "4.5"},
		Domain:      "enterprise-attack",
		Description: fmt.Sprintf("Techniques that %d clew rules detect; score = number of rules", r.rules),
		Filters:     layerFilters{Platforms: []string{"Containers", "IaaS", "Identity Provider", "Linux"}},
		Layout:      layerLayout{Layout: "side", ShowName: true},
		Techniques:  []layerTechnique{},
		Gradient:    layerGradient{Colors: []string{"#ffffff", "#9ecae1", "#08519c"}},
		Legend:      []layerLegend{{Label: "few rules", Color: "#9ecae1"}, {Label: "many rules", Color: "#08519c"}},
	}
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		l.Techniques = append(l.Techniques, r.layerEntries(id, rules)...)
		l.Gradient.MaxValue = max(l.Gradient.MaxValue, len(rules[id]))
	}
	return writeIndented(w, l)
}

// layerEntries returns one entry per tactic. A technique whose sub-techniques
// have rules is shown unfolded, or they would not be seen.
func (r *Report) layerEntries(id string, rules map[string][]Rule) []layerTechnique {
	t, _ := r.matrix.Technique(id)
	unfold := false
	for other := range rules {
		unfold = unfold || strings.HasPrefix(other, id+".")
	}
	var out []layerTechnique
	for _, tactic := range t.AttackTactics {
		out = append(out, layerTechnique{ID: id, Tactic: tactic, Score: len(rules[id]), Enabled: true,
			Comment: strings.Join(ruleIDs(rules[id]), "\n"), ShowSubtechns: unfold})
	}
	return out
}
