// Package auditpolicy writes audit policies for Kubernetes API servers and says
// which rules and techniques a policy loses. It judges a request with the evaluator
// of the API server itself, and takes the requests from the tests that rules carry,
// so that there is no table to keep up to date.
package auditpolicy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// maxBytes bounds a policy file: the largest known are under 20 KB, and the YAML
// parser takes quadratic time on long mappings.
const maxBytes = 256 << 10

// Policy is an audit policy that an API server would accept. It does not change
// and may be shared.
type Policy struct {
	file  string
	whole audit.PolicyRuleEvaluator
	rules []audit.PolicyRuleEvaluator // each alone, to say which one decided
	lines []int                       // of the rules, 1-based
}

// Parse reads the text of a policy strictly: an unknown key, a wrong type or a value
// that the API server would refuse is an error with file and line.
func Parse(file string, text []byte) (*Policy, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d", file, len(text), maxBytes)
	}
	asJSON, err := strict(file, text)
	if err != nil {
		return nil, err
	}
	p := &auditinternal.Policy{}
	decoder := serializer.NewCodecFactory(audit.Scheme, serializer.EnableStrict).UniversalDecoder()
	if _, _, err := decoder.Decode(asJSON, nil, p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(p.Rules) == 0 {
		return nil, fmt.Errorf("%s: the policy has no rules, the API server refuses it", file)
	}
	if errs := validation.ValidatePolicy(p); len(errs) > 0 {
		return nil, placed(file, text, errs)
	}
	return build(file, text, p), nil
}

// strict checks keys, types and the kind, and returns the policy as JSON.
func strict(file string, text []byte) ([]byte, error) {
	var kind struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return nil, yamlError(file, err)
	}
	if want := auditv1.SchemeGroupVersion.String(); kind.APIVersion != want || kind.Kind != "Policy" {
		return nil, fmt.Errorf("%s:1: it is apiVersion %q and kind %q, want %s and Policy", file, kind.APIVersion, kind.Kind, want)
	}
	var p auditv1.Policy
	if err := yaml.UnmarshalWithOptions(text, &p, yaml.Strict()); err != nil {
		return nil, yamlError(file, err)
	}
	out, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, yamlError(file, err)
	}
	return out, nil
}

func yamlError(file string, err error) error {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		at := e.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, at.Line, at.Column, e.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}

// placed puts file and line before what the API server finds wrong.
func placed(file string, text []byte, errs field.ErrorList) error {
	out := make([]error, len(errs))
	for i, e := range errs {
		out[i] = fmt.Errorf("%s:%d: %w", file, lineOf(text, e.Field), e)
	}
	return errors.Join(out...)
}

// lineOf returns the line of a field, or of the nearest thing around it that is
// there.
func lineOf(text []byte, path string) int {
	for path != "" {
		if p, err := yaml.PathString("$." + path); err == nil {
			if n, err := p.ReadNode(bytes.NewReader(text)); err == nil && n.GetToken() != nil {
				return n.GetToken().Position.Line
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

func build(file string, text []byte, p *auditinternal.Policy) *Policy {
	out := &Policy{file: file}
	for i, r := range p.Rules {
		out.lines = append(out.lines, lineOf(text, fmt.Sprintf("rules[%d]", i)))
		r.Level = auditinternal.LevelMetadata // anything but None, which is also the answer of no match
		out.rules = append(out.rules, policy.NewPolicyRuleEvaluator(&auditinternal.Policy{Rules: []auditinternal.PolicyRule{r}}))
	}
	out.whole = policy.NewPolicyRuleEvaluator(p)
	return out
}

// decider names the rule of the policy that decides over a request.
func (p *Policy) decider(a authorizer.Attributes) string {
	for i, r := range p.rules {
		if r.EvaluatePolicyRule(a).Level != auditinternal.LevelNone {
			return fmt.Sprintf("%s:%d", p.file, p.lines[i])
		}
	}
	return p.file + ", no rule"
}
