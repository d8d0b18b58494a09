package pipeline

import (
	"fmt"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/internal/source/file"
)

// RuleEngine runs the records of rule tests through the whole engine, so that
// tests see facts and lineage as a replay does. It implements ruletest.Engine.
type RuleEngine struct {
	rules   *detect.Set
	decoder *Decoder
}

// NewRuleEngine returns a RuleEngine for the rules of pack.
func NewRuleEngine(pack *rule.Pack) (*RuleEngine, error) {
	set, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		return nil, fmt.Errorf("compiling rules: %w", err)
	}
	return &RuleEngine{rules: set, decoder: NewDecoder()}, nil
}

var testFormats = map[rule.Format]file.Format{
	rule.Audit: file.K8sAudit, rule.CloudTrail: file.CloudTrail, rule.GCP: file.GCPAudit, rule.Azure: file.AzureRecord,
}

// Replay implements ruletest.Engine with a fresh engine. Matches that `once`
// would fold into an earlier flag count as matches.
func (r *RuleEngine) Replay(records []ruletest.Record) ([][]string, error) {
	sink := &matches{rules: r.rules, byRecord: make([][]string, len(records))}
	eng := engine.New(engine.Config{FlagRepeats: true}, r.rules, sink)
	for i, rec := range records {
		e := &event.Event{}
		e.Reset()
		if err := r.decoder.Decode(file.Record{Raw: rec.Raw, Pos: event.Position{Record: i}, Format: testFormats[rec.Format]}, e); err != nil {
			return nil, fmt.Errorf("decoding record %d: %w", i+1, err)
		}
		eng.Push(e)
	}
	eng.Flush()
	return sink.byRecord, nil
}

// matches notes which rules matched which record.
type matches struct {
	rules    *detect.Set
	byRecord [][]string
}

// Flag implements engine.Sink.
func (m *matches) Flag(f engine.Flag) uint64 {
	i := f.Event.Pos.Record
	m.byRecord[i] = append(m.byRecord[i], m.rules.Rule(f.Rule).ID)
	return 0
}

// Done implements engine.Sink.
func (m *matches) Done(*event.Event) {}
