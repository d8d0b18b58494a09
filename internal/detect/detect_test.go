package detect_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule"
	"github.com/clew-sec/clew/internal/rule/condition"
	"github.com/clew-sec/clew/rules"
)

// setUnderTest is a Set with what is needed to make events for its rules.
type setUnderTest struct {
	*detect.Set
	rules    []rule.Rule
	literals []literals
	needs    []condition.Requirements
}

func compileFor(tb testing.TB, rs []rule.Rule, sample []*event.Event) *setUnderTest {
	tb.Helper()
	set, err := detect.CompileFor(rs, lists, sample)
	if err != nil {
		tb.Fatal(err)
	}
	return describe(tb, set, rs, lists)
}

func describe(tb testing.TB, set *detect.Set, rs []rule.Rule, lists map[string][]string) *setUnderTest {
	tb.Helper()
	env, err := condition.New(lists)
	if err != nil {
		tb.Fatal(err)
	}
	s := &setUnderTest{Set: set, rules: rs}
	for i := range rs {
		x := set.Explain(i)
		s.literals = append(s.literals, literalsOf(env, x.Checked))
		s.needs = append(s.needs, x.Required)
	}
	return s
}

// eventFor makes a random event with rule i in mind.
func (s *setUnderTest) eventFor(g *generator, i int) *event.Event {
	return g.event(s.rules[i].Kind(), s.rules[i].Source, s.literals[i], s.needs[i])
}

// want is what Eval must append, by cel-go alone.
func (s *setUnderTest) want(e *event.Event) []int32 {
	var out []int32
	for i := range s.rules {
		if ok, err := s.EvalCEL(i, e); ok && err == nil && s.Applies(i, e) {
			out = append(out, int32(i))
		}
	}
	return out
}

// TestEvalAgreesWithCEL is the differential test: index and closures against
// cel-go on every rule, for events made for each rule in turn.
func TestEvalAgreesWithCEL(t *testing.T) {
	pack, err := rule.Load(nil, rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	builtin, err := detect.Compile(pack.Rules, pack.ListValues())
	if err != nil {
		t.Fatal(err)
	}
	sets := map[string]*setUnderTest{
		"operators": compile(t, operatorRules()),
		"synthetic": compile(t, syntheticRules(130)),
		"builtin":   describe(t, builtin, pack.Rules, pack.ListValues()),
	}
	for name, set := range sets {
		t.Run(name, func(t *testing.T) {
			g := newGenerator(7)
			perRule := max(4000/(set.Len()*set.Len()/40+1), 12)
			matched := map[int32]bool{}
			for i := range set.rules {
				for range perRule {
					e := set.eventFor(g, i)
					got, want := set.Eval(e, nil), set.want(e)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("rules that match (-cel-go +Eval), event for %q:\n%s", set.rules[i].When, diff)
					}
					for _, h := range got {
						matched[h] = true
					}
				}
			}
			t.Logf("%d of %d rules matched some event", len(matched), set.Len())
			if len(matched)*3 < set.Len() {
				t.Errorf("only %d of %d rules matched any event: the generator does not reach them", len(matched), set.Len())
			}
		})
	}
}

// TestEveryOperatorIsCompiledAndReached holds that the language's everyday part
// needs no cel-go, and that the differential test saw both outcomes of it.
func TestEveryOperatorIsCompiledAndReached(t *testing.T) {
	set := compile(t, operatorRules())
	g := newGenerator(11)
	never := map[string]bool{`true`: true, `k8s.verb == "create" && k8s.verb == "delete"`: true}
	for i, w := range operators {
		if fb := set.Explain(i).Fallback; len(fb) > 0 {
			t.Errorf("%s: falls back: %v", w, fb)
		}
		hit, miss := 0, 0
		for range 1000 {
			e := set.eventFor(g, i)
			got, _ := set.EvalClosure(i, e)
			if want, err := set.EvalCEL(i, e); err != nil || got != want {
				t.Fatalf("%s: closure %v, cel-go %v, %v", w, got, want, err)
			}
			if got {
				hit++
			} else {
				miss++
			}
		}
		if !never[w] && (hit == 0 || miss == 0) {
			t.Errorf("%s: %d hits, %d misses", w, hit, miss)
		}
	}
	for i := range beyond {
		if x := set.Explain(len(operators) + i); len(x.Fallback) == 0 {
			t.Errorf("%s: compiled, expected cel-go", beyond[i])
		}
	}
}

func TestSampleChangesNothing(t *testing.T) {
	rs := operatorRules()
	plain, g := compile(t, rs), newGenerator(3)
	var sample []*event.Event
	for i := range rs {
		sample = append(sample, plain.eventFor(g, i))
	}
	tuned := compileFor(t, rs, sample).Clone()
	for _, e := range sample {
		if diff := cmp.Diff(plain.Eval(e, nil), tuned.Eval(e, nil)); diff != "" {
			t.Errorf("with a sample (-without +with):\n%s", diff)
		}
	}
}

func TestDeprecatedRulesAreSilent(t *testing.T) {
	r := ruleOf(0, event.SourceK8sAudit, `true`)
	r.Status = rule.Deprecated
	if got := compile(t, []rule.Rule{r}).Eval(blank(), nil); got != nil {
		t.Errorf("got %v, want no match", got)
	}
}

func TestUnknownKindMatchesNothing(t *testing.T) {
	set := compile(t, []rule.Rule{ruleOf(0, event.SourceK8sAudit, `true`)})
	if got := set.Eval(&event.Event{}, nil); got != nil {
		t.Errorf("got %v, want no match", got)
	}
}

func TestEvalAppends(t *testing.T) {
	set := compile(t, []rule.Rule{ruleOf(0, event.SourceK8sAudit, `true`)})
	if got := set.Eval(blank(), []int32{9}); !slices.Equal(got, []int32{9, 0}) {
		t.Errorf("got %v, want [9 0]", got)
	}
}

func TestCompileReportsTheRule(t *testing.T) {
	for _, when := range []string{"", "k8s.verbs == 1", "k8s.verb", `k8s.name.matches("[")`, `inCIDR(source.ip, ["x"])`} {
		if _, err := detect.Compile([]rule.Rule{ruleOf(1, event.SourceK8sAudit, when)}, lists); err == nil {
			t.Errorf("%q: compiled", when)
		}
	}
}

func TestAppendMessage(t *testing.T) {
	r := ruleOf(0, event.SourceK8sAudit, `true`)
	r.Flag = "{user.name} did {k8s.verb} {{{k8s.code}}} {exec.tty} [{exec.command}]"
	set := compile(t, []rule.Rule{r})
	e := blank()
	e.Actor.Name, e.K8s.Verb, e.K8s.Code, e.K8s.Command = "bob\x1b[31m\u202e\xff", "get", 101, []string{"sh", "-c\n"}
	got := string(set.AppendMessage(nil, 0, e))
	want := `bob\x1b[31m\u202e\xff did get {101} false [sh, -c\x0a]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEvalDoesNotAllocate holds the hot path: compiled conditions over fields
// that are loads.
func TestEvalDoesNotAllocate(t *testing.T) {
	set := compile(t, syntheticRules(240))
	for i := range set.rules {
		if fb := set.Explain(i).Fallback; len(fb) > 0 {
			t.Fatalf("%s: falls back: %v", set.rules[i].When, fb)
		}
	}
	events := apiEvents()
	hits := make([]int32, 0, 16)
	n := testing.AllocsPerRun(200, func() {
		for _, e := range events {
			hits = set.Eval(e, hits[:0])
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for %d events, want 0", n, len(events))
	}
}
