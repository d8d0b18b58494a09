package auditpolicy_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/ruletest"
	"github.com/clew-sec/clew/rules"
)

// builtin is the shipped pack with its engine, built once.
var builtin = sync.OnceValues(func() (*rule.Pack, ruletest.Engine) {
	pack, err := rule.Load(matrix.Load(), rules.FS)
	if err != nil {
		panic(err)
	}
	engine, err := pipeline.NewRuleEngine(pack)
	if err != nil {
		panic(err)
	}
	return pack, engine
})

// check returns what a policy leaves, rules and techniques by id.
func check(t *testing.T, text string) (map[string]auditpolicy.RuleResult, map[string]auditpolicy.State) {
	t.Helper()
	p, err := auditpolicy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	pack, engine := builtin()
	rep, err := p.Check(engine, matrix.Load(), pack.Rules)
	if err != nil {
		t.Fatal(err)
	}
	byRule, byTechnique := map[string]auditpolicy.RuleResult{}, map[string]auditpolicy.State{}
	lost := 0
	for _, r := range rep.Rules {
		byRule[r.ID] = r
	}
	for _, x := range rep.Techniques {
		byTechnique[x.ID] = x.State
		if x.State == auditpolicy.Lost {
			lost++
		}
	}
	if lost != rep.Lost() {
		t.Errorf("Lost() is %d, %d techniques are", rep.Lost(), lost)
	}
	return byRule, byTechnique
}

func policyOf(level string) string {
	return "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: " + level + "\n"
}

func generate(t *testing.T, name string) string {
	t.Helper()
	text, err := auditpolicy.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// damaged names the rules that are not kept.
func damaged(byRule map[string]auditpolicy.RuleResult) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(byRule)) {
		if byRule[id].State != auditpolicy.Kept {
			out = append(out, id)
		}
	}
	return out
}

// TestOwnPolicyLosesNothingItClaims holds that the policy which clew prints loses
// only the two rules that would need the values of secrets written down.
func TestOwnPolicyLosesNothingItClaims(t *testing.T) {
	text := generate(t, "kubeadm")
	byRule, byTechnique := check(t, text)
	if diff := cmp.Diff([]string{"k8s-credential-in-configmap", "k8s-token-secret-created"}, damaged(byRule)); diff != "" {
		t.Errorf("rules that lose something (-want +got):\n%s", diff)
	}
	for id, s := range byTechnique {
		if s == auditpolicy.Lost {
			t.Errorf("%s is lost", id)
		}
	}
	_, policy, _ := strings.Cut(text, "apiVersion:")
	for _, name := range []string{"k3s", "rke2"} {
		if !strings.HasSuffix(generate(t, name), policy) {
			t.Errorf("%s has another policy", name)
		}
	}
}

func TestEverythingLoggedLosesNothing(t *testing.T) {
	byRule, byTechnique := check(t, policyOf("RequestResponse"))
	if got := damaged(byRule); len(got) > 0 {
		t.Errorf("lost: %v", got)
	}
	if len(byRule) < 200 || len(byTechnique) < 35 {
		t.Errorf("only %d rules of %d techniques were tried", len(byRule), len(byTechnique))
	}
}

func TestNoneLosesAll(t *testing.T) {
	byRule, byTechnique := check(t, policyOf("None"))
	for id, r := range byRule {
		if r.State != auditpolicy.Lost || len(r.Reasons) == 0 {
			t.Errorf("%s: %s, reasons %q", id, r.State, r.Reasons)
		}
	}
	for id, s := range byTechnique {
		if s != auditpolicy.Lost {
			t.Errorf("%s is %s", id, s)
		}
	}
}

func TestMetadataLosesWhatBodiesShow(t *testing.T) {
	byRule, byTechnique := check(t, policyOf("Metadata"))
	for id, want := range map[string]auditpolicy.State{
		"k8s-token-for-cloud": auditpolicy.Lost, "k8s-persistentvolume-hostpath": auditpolicy.Lost, // bodies
		"k8s-event-deleted": auditpolicy.Kept, "k8s-events-deleted": auditpolicy.Kept, // the verb is enough
	} {
		if got := byRule[id].State; got != want {
			t.Errorf("%s is %q, want %s", id, got, want)
		}
	}
	if got := byTechnique["MS-TA9014"]; got != auditpolicy.Lost {
		t.Errorf("CronJobs are %s without bodies", got)
	}
	want := []string{"create persistentvolumes is logged at level Metadata (policy.yaml:4)"}
	if diff := cmp.Diff(want, byRule["k8s-persistentvolume-hostpath"].Reasons); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// TestManagedPolicyIsBlindForDeletedEvents holds what is known of EKS and GKE.
func TestManagedPolicyIsBlindForDeletedEvents(t *testing.T) {
	byRule, byTechnique := check(t, generate(t, "eks"))
	if got := byTechnique["MS-TA9022"]; got != auditpolicy.Lost {
		t.Errorf("deleted events are %s", got)
	}
	if r := byRule["k8s-event-deleted"]; len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "delete events is not logged") {
		t.Errorf("reasons %q", r.Reasons)
	}
	if got := byRule["k8s-dns-poisoned"].State; got != auditpolicy.Lost {
		t.Errorf("edits of the DNS ConfigMap are %s", got)
	}
}

// TestOmittedStage holds that an omitted stage counts as not logged, and that the
// first rule which matches is the one named.
func TestOmittedStage(t *testing.T) {
	byRule, _ := check(t, `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  users: [nobody-of-this-name]
- level: RequestResponse
  omitStages: [ResponseComplete]
`)
	r := byRule["k8s-event-deleted"]
	want := []string{"delete events is not logged at stage ResponseComplete (policy.yaml:6)"}
	if diff := cmp.Diff(want, r.Reasons); r.State != auditpolicy.Lost || diff != "" {
		t.Errorf("%s, reasons (-want +got):\n%s", r.State, diff)
	}
}

func TestParseErrors(t *testing.T) {
	head := "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	tests := []struct{ name, text, want string }{
		{"empty", "", `p.yaml:1: it is apiVersion "" and kind ""`},
		{"other kind", "apiVersion: v1\nkind: Pod\n", `p.yaml:1: it is apiVersion "v1" and kind "Pod"`},
		{"old version", "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\n", "want audit.k8s.io/v1 and Policy"},
		{"no rules", head, "p.yaml: the policy has no rules"},
		{"unknown key", head + "rules:\n- level: None\n  verb: [get]\n", `p.yaml:5:3: unknown field "verb"`},
		{"type", head + "rules:\n- level: None\n  verbs: {a: b}\n", "p.yaml:5:"},
		{"level", head + "rules:\n- level: None\n- level: Everything\n", `p.yaml:5: rules[1].level: Unsupported value: "Everything"`},
		{"no level", head + "rules:\n- verbs: [get]\n", "p.yaml:4: rules[0].level: Required value"},
		{"stage", head + "omitStages: [Later]\nrules:\n- level: None\n", "p.yaml:3: omitStages[0]: Invalid value"},
		{"mixed", head + "rules:\n- level: None\n  nonResourceURLs: [/a]\n  namespaces: [b]\n", "cannot apply to both"},
		{"syntax", head + "rules: [\n", "p.yaml:"},
		{"twice", head + "rules:\n- level: None\n  level: Request\n", "p.yaml:5:"},
		{"long", head + strings.Repeat("#", 300<<10), "the limit is 262144"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auditpolicy.Parse("p.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGenerate(t *testing.T) {
	for _, name := range auditpolicy.Distributions() {
		text := generate(t, name)
		if !strings.HasPrefix(text, "# ") {
			t.Errorf("%s does not begin with what to do", name)
		}
		if managed := name == "eks" || name == "gke" || name == "aks"; managed && !strings.Contains(text, "cannot be changed") {
			t.Errorf("%s does not say what cannot be changed", name)
		}
	}
	if _, err := auditpolicy.Generate("minikube"); err == nil || !strings.Contains(err.Error(), "kubeadm, k3s") {
		t.Errorf("error %v does not list what is known", err)
	}
}
