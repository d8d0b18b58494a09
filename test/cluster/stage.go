package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Script is something that people, programs or thieves do on a cluster. Each has
// names of its own, so that several can run on one.
type Script struct {
	Name    string
	About   string // one sentence or two
	Attack  bool
	Suspect string // a user of whom the alert must speak; attacks only
	Setup   func(*Stage)
	Steps   []Step
}

// Step is one thing that is done, by one hand.
type Step struct {
	Techniques string // of the Threat Matrix, with commas; "" for what is ordinary
	Text       string
	Do         func(*Stage)
}

// Stage is where a script plays. After an error its hands do nothing more.
type Stage struct {
	*Cluster
	ctx context.Context
	err error
	// ops is an administrator at the ops desk.
	ops *hand
	// keep holds what one step leaves for another.
	keep map[string]string
	// known are the credentials that a script made.
	known map[string]who
}

// Play runs the script's set-up, then ready, then its steps. ready may be nil; done is
// called after each step with the time it began.
func (s *Script) Play(ctx context.Context, c *Cluster, ready func() error, done func(Step, time.Time)) error {
	st := &Stage{Cluster: c, ctx: ctx, keep: map[string]string{}, known: map[string]who{}}
	st.ops = st.person("ops-"+s.Name, "platform-admins").from(opsDesk, kubectl)
	s.Setup(st)
	if st.err == nil && ready != nil {
		st.err = ready()
	}
	for _, step := range s.Steps {
		began := time.Now()
		if step.Do(st); st.err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, step.Text, st.err)
		}
		done(step, began)
	}
	if st.err != nil {
		return fmt.Errorf("%s: set-up: %w", s.Name, st.err)
	}
	return nil
}

// Found gives the cluster the group of administrators that the scripts expect.
func (c *Cluster) Found(ctx context.Context) error {
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	st := &Stage{Cluster: c, ctx: ctx}
	h := &hand{stage: st, k: admin}
	h.create(binding("", "platform-admins", "cluster-admin", "Group/platform-admins"))
	return st.err
}

// who is somebody with a credential.
type who struct {
	stage *Stage
	Credential
}

func (s *Stage) person(user string, groups ...string) who {
	c, err := s.Person(user, groups...)
	s.fail(err)
	return who{s, c}
}

// once makes a credential the first time, and returns the same later.
func (s *Stage) once(name string, make func() who) who {
	w, ok := s.known[name]
	if !ok {
		w = make()
		s.known[name] = w
	}
	return w
}

func (s *Stage) bearer(token string) who { return who{s, s.Bearer(token)} }

func (s *Stage) fail(err error) { s.err = errors.Join(s.err, err) }

// from is the hand of who at an address, with a program that calls itself agent.
func (w who) from(address, agent string) *hand {
	return w.as(address, agent, rest.ImpersonationConfig{})
}

// as is the hand of who acting as somebody else.
func (w who) as(address, agent string, other rest.ImpersonationConfig) *hand {
	cfg := w.Config(address, agent)
	cfg.Impersonate = other
	k, err := kubernetes.NewForConfig(cfg)
	w.stage.fail(err)
	return &hand{stage: w.stage, k: k}
}

// hand works with one credential from one place.
type hand struct {
	stage *Stage
	k     kubernetes.Interface
}

// do makes one request and returns the body of the answer, whose status must be want.
func (h *hand) do(want int, verb, path, kind string, body []byte) []byte {
	s := h.stage
	if s.err != nil {
		return nil
	}
	path, query, _ := strings.Cut(path, "?")
	r := h.k.CoreV1().RESTClient().Verb(verb).AbsPath(path)
	for _, p := range strings.Split(query, "&") {
		if k, v, ok := strings.Cut(p, "="); ok {
			r.Param(k, v)
		}
	}
	if body != nil {
		r.SetHeader("Content-Type", kind).Body(body)
	}
	code := 0
	out := r.Do(s.ctx).StatusCode(&code)
	answer, err := out.Raw()
	if api := apierrors.APIStatus(nil); errors.As(err, &api) {
		code = int(api.Status().Code)
	}
	if code != want {
		s.fail(fmt.Errorf("%s %s gives %d, want %d: %w", verb, path, code, want, err))
	}
	return answer
}

func (h *hand) get(paths ...string) {
	for _, p := range paths {
		h.do(http.StatusOK, http.MethodGet, p, "", nil)
	}
}

func (h *hand) refused(paths ...string) {
	for _, p := range paths {
		h.do(http.StatusForbidden, http.MethodGet, p, "", nil)
	}
}

func (h *hand) delete(paths ...string) {
	for _, p := range paths {
		h.do(http.StatusOK, http.MethodDelete, p, "", nil)
	}
}

func (h *hand) patch(path, merge string) {
	h.do(http.StatusOK, http.MethodPatch, path, string(types.MergePatchType), []byte(merge))
}

// rules asks what it may do itself, as `kubectl auth can-i --list` does.
func (h *hand) rules() {
	h.create("apiVersion: authorization.k8s.io/v1\nkind: SelfSubjectRulesReview\nspec: {namespace: default}")
}

// create creates the objects of a YAML stream.
func (h *hand) create(manifests string) { h.createWant(http.StatusCreated, manifests) }

func (h *hand) createWant(want int, manifests string) {
	for _, m := range strings.Split(manifests, "\n---\n") {
		body, err := yaml.YAMLToJSON([]byte(m))
		var o struct {
			Kind     string
			Metadata struct{ Namespace string }
		}
		if err = errors.Join(err, json.Unmarshal(body, &o)); err != nil {
			h.stage.fail(err)
			return
		}
		path, ok := collections[o.Kind]
		if !ok {
			h.stage.fail(fmt.Errorf("it is not known where objects of kind %q are created", o.Kind))
			return
		}
		h.do(want, http.MethodPost, strings.ReplaceAll(path, "*", o.Metadata.Namespace), "application/json", body)
	}
}

// collections are where objects are created, * the namespace.
var collections = map[string]string{
	"Namespace":                      "/api/v1/namespaces",
	"Node":                           "/api/v1/nodes",
	"PersistentVolumeClaim":          "/api/v1/namespaces/*/persistentvolumeclaims",
	"Pod":                            "/api/v1/namespaces/*/pods",
	"Secret":                         "/api/v1/namespaces/*/secrets",
	"ConfigMap":                      "/api/v1/namespaces/*/configmaps",
	"Service":                        "/api/v1/namespaces/*/services",
	"ServiceAccount":                 "/api/v1/namespaces/*/serviceaccounts",
	"ResourceQuota":                  "/api/v1/namespaces/*/resourcequotas",
	"Deployment":                     "/apis/apps/v1/namespaces/*/deployments",
	"DaemonSet":                      "/apis/apps/v1/namespaces/*/daemonsets",
	"CronJob":                        "/apis/batch/v1/namespaces/*/cronjobs",
	"Job":                            "/apis/batch/v1/namespaces/*/jobs",
	"Role":                           "/apis/rbac.authorization.k8s.io/v1/namespaces/*/roles",
	"RoleBinding":                    "/apis/rbac.authorization.k8s.io/v1/namespaces/*/rolebindings",
	"ClusterRole":                    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
	"ClusterRoleBinding":             "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
	"NetworkPolicy":                  "/apis/networking.k8s.io/v1/namespaces/*/networkpolicies",
	"CustomResourceDefinition":       "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
	"SelfSubjectRulesReview":         "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
	"CertificateSigningRequest":      "/apis/certificates.k8s.io/v1/certificatesigningrequests",
	"MutatingWebhookConfiguration":   "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
	"ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
}

// mint asks for a token of a service account; pod is the pod it is bound to, as
// name/uid, or "".
func (h *hand) mint(namespace, account, pod string) string {
	bound := ""
	if name, uid, ok := strings.Cut(pod, "/"); ok {
		bound = fmt.Sprintf(`,"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":%q,"uid":%q}`, name, uid)
	}
	body := fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600,"audiences":[]%s}}`, bound)
	answer := h.do(http.StatusCreated, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+account+"/token", "application/json", []byte(body))
	var t struct{ Status struct{ Token string } }
	h.read(answer, &t)
	return t.Status.Token
}

func (h *hand) read(answer []byte, v any) {
	if h.stage.err == nil {
		h.stage.fail(json.Unmarshal(answer, v))
	}
}

// wait asks for an object until f, given the answer, is content.
func (h *hand) wait(path string, f func(answer []byte) bool) {
	for range 100 {
		if answer := h.do(http.StatusOK, http.MethodGet, path, "", nil); h.stage.err != nil || f(answer) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.stage.fail(fmt.Errorf("%s did not become what it should", path))
}

// retry does f again until the API server's caches have what it needs.
func (h *hand) retry(f func()) {
	for range 50 {
		if f(); h.stage.err == nil {
			return
		}
		h.stage.err = nil
		time.Sleep(100 * time.Millisecond)
	}
	f()
}
