package inventory

import (
	"bufio"
	"bytes"
	_ "embed" // the data files below
	"encoding/json"
	"strings"
	"sync"

	"github.com/clew-sec/clew/internal/event"
)

//go:embed data/bootstrap-rbac.jsonl
var bootstrapRBAC []byte

//go:embed data/controllers.txt
var controllersFile []byte

//go:embed data/components.txt
var componentsFile []byte

//go:embed data/platform.txt
var platformFile []byte

// defaults are the data files, read once and never changed.
type defaults struct {
	controllers   map[string]bool // service accounts in kube-system
	components    map[string]bool // users; true when they run on the control plane only
	platform      map[string]bool // workloads of kube-system
	platformNames []string        // the same, in the file's order
	roles         []*role
	bindings      []*binding
}

// defaultAggregation begins the labels by which default roles are aggregated.
const defaultAggregation = "rbac.authorization.k8s.io/aggregate-to-"

// defaultObject is a role or binding that every cluster begins with.
type defaultObject struct {
	Kind        string             `json:"kind"`
	Namespace   string             `json:"namespace"`
	Name        string             `json:"name"`
	AggregateTo []string           `json:"aggregateTo"`
	Aggregates  bool               `json:"aggregates"`
	Rules       []event.PolicyRule `json:"rules"`
	Role        string             `json:"role"` // Kind/name
	Subjects    []event.Subject    `json:"subjects"`
}

// bootstrap returns the data files. They are part of the program, so one that does
// not parse is a bug that the first test run shows.
var bootstrap = sync.OnceValue(func() *defaults {
	d := &defaults{controllers: map[string]bool{}, components: map[string]bool{}, platform: map[string]bool{}}
	for _, l := range lines(controllersFile) {
		d.controllers[l] = true
	}
	for _, l := range lines(componentsFile) {
		name, _, teaches := strings.Cut(l, " ")
		d.components[name] = teaches
	}
	for _, l := range lines(platformFile) {
		d.platform[l] = true
		d.platformNames = append(d.platformNames, l)
	}
	for _, l := range lines(bootstrapRBAC) {
		var o defaultObject
		if err := json.Unmarshal([]byte(l), &o); err != nil {
			panic("inventory: reading embedded default roles: " + err.Error())
		}
		d.add(&o)
	}
	return d
})

func (d *defaults) add(o *defaultObject) {
	kind, name, isBinding := strings.Cut(o.Role, "/")
	if isBinding {
		b := &binding{Namespace: o.Namespace, Name: o.Name, RoleKind: kind, RoleName: name}
		for _, s := range o.Subjects {
			b.Subjects = append(b.Subjects, grantedSubject{Subject: s})
		}
		d.bindings = append(d.bindings, b)
		return
	}
	r := &role{Namespace: o.Namespace, Name: o.Name, Default: true}
	for _, name := range o.AggregateTo {
		r.Labels = append(r.Labels, defaultAggregation+name+"=true")
	}
	if o.Aggregates {
		r.From = []string{defaultAggregation + o.Name + "=true"}
	}
	for _, p := range o.Rules {
		r.Rules = append(r.Rules, grantedRule{Rule: p, Powers: powersOf(&p)})
	}
	d.roles = append(d.roles, r)
}

// lines returns the lines that are neither empty nor comments.
func lines(file []byte) []string {
	var out []string
	sc := bufio.NewScanner(bytes.NewReader(file))
	sc.Buffer(nil, len(file)+1)
	for sc.Scan() {
		if l := strings.TrimSpace(sc.Text()); l != "" && l[0] != '#' {
			out = append(out, l)
		}
	}
	return out
}
