package detect_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/ast"

	"github.com/clew-sec/clew/internal/event"
	"github.com/clew-sec/clew/internal/rule/condition"
)

// generator makes random events that conditions have a chance to match: it
// fills every part of an Event from the constants of a condition, and puts the
// constants a condition requires where its fields read them. Where that is, it
// finds out by trying every leaf of the struct.
type generator struct {
	rand   *rand.Rand
	leaves map[string][]int // field name → path of the leaf it reads
	csrs   []string
}

func newGenerator(seed uint64) *generator {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 1)), leaves: map[string][]int{}, csrs: signingRequests()}
	g.probe(reflect.TypeFor[event.Event](), nil)
	return g
}

// probe sets each scalar leaf alone and looks which field shows it.
func (g *generator) probe(t reflect.Type, path []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		p := append(slices.Clone(path), i)
		if f.Type.Kind() == reflect.Struct {
			g.probe(f.Type, p)
			continue
		}
		e := blank()
		v := reflect.ValueOf(e).Elem().FieldByIndex(p)
		switch f.Type.Kind() {
		case reflect.String:
			v.SetString("sentinel")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(7919)
		default:
			continue
		}
		for _, fd := range event.Fields() {
			if shows(fd, e) && !shows(fd, blank()) {
				g.leaves[fd.Name] = p
			}
		}
	}
}

func shows(f event.Field, e *event.Event) bool {
	switch f.Type {
	case event.String:
		return f.String(e) == "sentinel"
	case event.Int:
		return f.Int(e) == 7919
	case event.Bool:
		return f.Bool(e)
	default:
		return false
	}
}

func blank() *event.Event {
	e := &event.Event{}
	e.Reset()
	e.Kind, e.Source = event.KindAPIRequest, event.SourceK8sAudit
	return e
}

// literals are the constants of a condition.
type literals struct {
	strs []string
	ints []int64
}

func literalsOf(env *condition.Env, c *condition.Checked) literals {
	l := literals{strs: []string{"x"}, ints: []int64{0, 1, -1}}
	condition.Walk(c.Root(), func(e ast.Expr) {
		if s, ok := condition.StringConst(e); ok {
			l.strs = append(l.strs, s)
		}
		if n, ok := condition.IntConst(e); ok {
			l.ints = append(l.ints, n, n+1, n-1)
		}
	})
	for _, name := range c.Lists {
		vs, _ := env.List(name)
		l.strs = append(l.strs, vs...)
	}
	return l
}

// event makes one event for a rule's group.
func (g *generator) event(kind event.Kind, source event.Source, l literals, needs condition.Requirements) *event.Event {
	e := blank()
	g.fill(reflect.ValueOf(e).Elem(), l, 0)
	e.Kind, e.Source = kind, source
	for _, name := range slices.Sorted(keysOf(needs)) {
		v := needs[name]
		path, ok := g.leaves[name]
		if !ok || !v.Finite() || len(v.Each) == 0 || g.rand.IntN(12) == 0 {
			continue
		}
		set(reflect.ValueOf(e).Elem().FieldByIndex(path), v.Each[g.rand.IntN(len(v.Each))])
	}
	if _, named := needs["k8s.code"]; !named && g.rand.IntN(2) == 0 {
		e.K8s.Code, e.K8s.DryRun = []int{101, 200, 201, 401, 403}[g.rand.IntN(5)], false
	}
	if v, ok := needs["k8s.succeeded"]; ok && v.Has(condition.Const{Int: 1}) {
		e.K8s.Code, e.K8s.DryRun = 201, false
	}
	e.K8s.Object.CSRRequest = g.csr()
	return e
}

// csr is a certificate signing request, now and then.
func (g *generator) csr() string {
	if g.rand.IntN(4) > 0 {
		return ""
	}
	return g.csrs[g.rand.IntN(len(g.csrs))]
}

// signingRequests returns requests for a harmless and a powerful certificate.
func signingRequests() []string {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	var out []string
	for _, s := range []pkix.Name{{CommonName: "bob"}, {CommonName: "system:node:n1", Organization: []string{"system:masters"}}} {
		der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: s}, key)
		if err != nil {
			panic(err) // the input is constant
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		out = append(out, base64.StdEncoding.EncodeToString(text))
	}
	return out
}

func keysOf(m condition.Requirements) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func set(v reflect.Value, c condition.Const) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(c.Str)
	case reflect.Bool:
		v.SetBool(c.Int != 0)
	default:
		v.SetInt(c.Int)
	}
}

func (g *generator) fill(v reflect.Value, l literals, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			g.fill(field, l, depth)
		}
	case reflect.String:
		v.SetString(g.text(l))
	case reflect.Bool:
		v.SetBool(g.rand.IntN(3) == 0)
	case reflect.Int, reflect.Int64, reflect.Int8:
		v.SetInt(int64(int8(l.ints[g.rand.IntN(len(l.ints))])))
		if v.Kind() != reflect.Int8 {
			v.SetInt(l.ints[g.rand.IntN(len(l.ints))])
		}
	case reflect.Uint8:
		v.SetUint(uint64(g.rand.IntN(5)))
	case reflect.Slice:
		if depth > 3 {
			return
		}
		n := g.rand.IntN(3)
		s := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			g.fill(s.Index(i), l, depth+1)
		}
		v.Set(s)
	}
}

// text returns a constant of the condition, whole or with something around it,
// or nothing, or what no condition expects.
func (g *generator) text(l literals) string {
	s := l.strs[g.rand.IntN(len(l.strs))]
	switch g.rand.IntN(10) {
	case 0, 1:
		return ""
	case 2:
		return s + "-é"
	case 3:
		return []string{"/a b" + s, s + "/1.2 (linux)", "203.0.113.9"}[g.rand.IntN(3)]
	case 4:
		return fmt.Sprintf("10.%d.0.%d", g.rand.IntN(3), g.rand.IntN(300))
	case 5:
		return "\xff" + s
	default:
		return s
	}
}

// reseed returns a generator with another sequence.
func (g *generator) reseed(seed uint64) *generator {
	c := *g
	c.rand = rand.New(rand.NewPCG(seed, 1))
	return &c
}
