package inventory

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/event"
)

func rule(groups, resources, verbs string) event.PolicyRule {
	return event.PolicyRule{Groups: []string{groups}, Resources: []string{resources}, Verbs: []string{verbs}}
}

func roleBody(rules ...event.PolicyRule) event.Body {
	return event.Body{Kind: "ClusterRole", Rules: rules}
}

func bindingBody(role string, subjects ...event.Subject) event.Body {
	return event.Body{Kind: "ClusterRoleBinding", RoleKind: "ClusterRole", RoleName: role, Subjects: subjects}
}

func TestPowers(t *testing.T) {
	every := slices.Clone(powerNames[:])
	tests := []struct {
		name string
		rule event.PolicyRule
		want []string
	}{
		{"all", rule("*", "*", "*"), every},
		{"secrets", rule("", "secrets", "list"), []string{"secrets-read"}},
		{"secrets everywhere", rule("*", "secrets", "watch"), []string{"secrets-read"}},
		{"named secret", event.PolicyRule{Groups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}, Names: []string{"tls"}}, nil},
		{"exec by get", rule("", "pods/exec", "get"), []string{"pods-exec"}},
		{"exec by subresource", rule("", "*/exec", "create"), []string{"pods-exec"}},
		{"debug", rule("", "pods/ephemeralcontainers", "patch"), []string{"pods-exec"}},
		{"own group", rule("shop.example", "*", "*"), nil},
		{"read everything", rule("*", "*", "get"), []string{"secrets-read", "pods-exec", "nodes-proxy", "wildcard"}},
		{"bind one role", event.PolicyRule{Groups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"clusterroles"}, Verbs: []string{"bind"}, Names: []string{"cluster-admin"}}, []string{"bind"}},
		{"impersonate", rule("", "users", "impersonate:user-info"), []string{"impersonate"}},
		{"approve", rule("certificates.k8s.io", "certificatesigningrequests/approval", "update"), []string{"csr-approve"}},
		{"pod logs", rule("", "pods/log", "get"), nil},
		{"path", event.PolicyRule{URLs: []string{"*"}, Verbs: []string{"*"}}, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, powersOf(&tt.rule).names(nil)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestDefaultRoles(t *testing.T) {
	inv := New(Config{})
	for name, want := range map[string][]string{
		"cluster-admin": powerNames[:],
		"view":          nil,
		"edit":          {"secrets-read", "secrets-write", "pods-exec", "pods-create", "workloads-write", "impersonate", "token-create"},
		"admin":         {"secrets-read", "secrets-write", "pods-exec", "pods-create", "workloads-write", "impersonate", "token-create", "rbac-write"}, // its verbs are listed, so neither bind nor escalate
	} {
		r := inv.role("", name)
		if r == nil {
			t.Errorf("%s is not known", name)
			continue
		}
		got := inv.rolePowers(r).names(nil)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestGrantFacts(t *testing.T) {
	helm := person("helm", "10.1.2.3")
	sa := event.Subject{Kind: "ServiceAccount", Namespace: "op", Name: "op"}
	l := newLog(t)
	l.see(fact(helm, made("serviceaccounts", "op", "op", "s1", event.Body{})))
	role := l.see(fact(helm, made(rbacGroup+"clusterroles", "", "op", "r1", roleBody(rule("", "secrets", "list"))))).Facts.Grants
	if diff := cmp.Diff([]any{[]string{"secrets-read"}, []string{"secrets-read"}, true}, []any{role.Powers, role.NewPowers, role.ClusterWide}); diff != "" {
		t.Error(diff)
	}
	install := l.see(fact(helm, made(rbacGroup+"clusterrolebindings", "", "op", "b1", bindingBody("op", sa)))).Facts.Grants
	if !install.SubjectNew || install.SubjectSelf || len(install.NewPowers) != 1 {
		t.Errorf("installation: %+v", install)
	}
	again := l.see(fact(helm, made(rbacGroup+"clusterrolebindings", "", "op2", "b2", bindingBody("op", sa)))).Facts.Grants
	if len(again.Powers) != 1 || len(again.NewPowers) != 0 {
		t.Errorf("what the subject had already is new: %+v", again)
	}
	update := req("update", rbacGroup+"clusterroles", "", "op")
	update.Object = body(roleBody(rule("", "secrets", "list"), rule("", "nodes/proxy", "get")))
	edit := l.see(fact(podToken("op", "op", "u1", "n1", "10.244.0.3"), update)).Facts.Grants
	if diff := cmp.Diff([]any{[]string{"nodes-proxy"}, true}, []any{edit.NewPowers, edit.SubjectSelf}); diff != "" {
		t.Errorf("edit of the own role: %s", diff)
	}
	for name, s := range map[string]event.Subject{
		"user": {Kind: "User", Name: "eve"}, "group": {Kind: "Group", Name: "system:authenticated"},
	} {
		g := newLog(t).see(fact(person("eve", "10.1.2.9"), made(rbacGroup+"clusterrolebindings", "", "me-"+name, "m-"+name, bindingBody("cluster-admin", s)))).Facts.Grants
		if !g.SubjectSelf || g.SubjectNew || !slices.Contains(g.NewPowers, "all") {
			t.Errorf("%s: %+v", name, g)
		}
	}
	unknown := l.see(fact(helm, made(rbacGroup+"clusterrolebindings", "", "u", "u1", bindingBody("nobody-knows", sa)))).Facts.Grants
	if len(unknown.Powers) != 0 {
		t.Errorf("powers of an unknown role: %+v", unknown)
	}
}

// TestSubjectSelfWhenActing: who takes a group to grant something is still the
// one who gets it.
func TestSubjectSelfWhenActing(t *testing.T) {
	bot := person("sup-bot", "10.1.2.9")
	bot.Groups = []string{"support", "system:authenticated"}
	as := func(a event.Actor, user string, groups ...string) event.Actor {
		a.Impersonated, a.ImpersonatedGroups = user, append(groups, "system:authenticated")
		return a
	}
	robot := account("op", "op", "10.1.2.9")
	user := func(name string) event.Subject { return event.Subject{Kind: "User", Name: name} }
	group := func(name string) event.Subject { return event.Subject{Kind: "Group", Name: name} }
	tests := []struct {
		name string
		a    event.Actor
		s    event.Subject
		want bool
	}{
		{"own name with a group", as(bot, "sup-bot", "system:masters"), user("sup-bot"), true},
		{"own name as another", as(bot, "admin", "admins"), user("sup-bot"), true},
		{"own group as another", as(bot, "admin", "admins"), group("support"), true},
		{"the one acted as", as(bot, "admin", "admins"), user("admin"), true},
		{"a group acted as", as(bot, "admin", "admins"), group("admins"), true},
		{"own service account as another", as(robot, "admin"), event.Subject{Kind: "ServiceAccount", Namespace: "op", Name: "op"}, true},
		{"service account acted as", as(bot, robot.Name), event.Subject{Kind: "ServiceAccount", Namespace: "op", Name: "op"}, true},
		{"everyone", as(bot, "admin", "admins"), group("system:authenticated"), false},
		{"a third person", as(bot, "admin", "admins"), user("carl"), false},
		{"another service account", as(robot, "admin"), event.Subject{Kind: "ServiceAccount", Namespace: "op", Name: "web"}, false},
		{"a group of neither", as(bot, "admin", "admins"), group("other"), false},
		{"nameless", bot, user(""), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			bind := fact(tt.a, made(rbacGroup+"clusterrolebindings", "", "b", "b1", bindingBody("cluster-admin", tt.s)))
			if got := l.see(bind).Facts.Grants.SubjectSelf; got != tt.want {
				t.Errorf("binding: SubjectSelf = %v, want %v", got, tt.want)
			}
			l = newLog(t)
			l.see(fact(person("root", "10.1.2.3"), made(rbacGroup+"clusterrolebindings", "", "b", "b1", bindingBody("ops", tt.s))))
			edit := req("update", rbacGroup+"clusterroles", "", "ops")
			edit.Object = body(roleBody(rule("", "secrets", "list")))
			if got := l.see(fact(tt.a, edit)).Facts.Grants.SubjectSelf; got != tt.want {
				t.Errorf("edit of the bound role: SubjectSelf = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWebhookFacts(t *testing.T) {
	helm := person("helm", "10.1.2.3")
	hook := event.Body{Webhooks: []event.Webhook{{Name: "h", ServiceNamespace: "cm", ServiceName: "hook"}}}
	l := newLog(t)
	l.see(fact(helm, made("namespaces", "", "cm", "n1", event.Body{})))
	l.see(fact(helm, made("services", "cm", "hook", "s1", event.Body{})))
	l.wait(time.Minute)
	config := made("admissionregistration.k8s.io/validatingwebhookconfigurations", "", "cm", "w1", hook)
	for user, chart := range map[string]bool{"helm": true, "eve": false} {
		g := l.see(fact(person(user, "10.1.2.3"), config)).Facts.Grants
		if g.WebhookAgeS < 61 || g.WebhookChart != chart {
			t.Errorf("%s: %+v", user, g)
		}
	}
	hook.Webhooks[0].URL, hook.Webhooks[0].ServiceName = "https://x.example", ""
	if g := l.see(fact(helm, made("admissionregistration.k8s.io/validatingwebhookconfigurations", "", "x", "w2", hook))).Facts.Grants; g.WebhookAgeS != -1 || g.WebhookChart {
		t.Errorf("outside: %+v", g)
	}
}

func TestWebhookChart(t *testing.T) {
	helm, eve := person("helm", "10.1.2.3"), person("eve", "10.1.2.9")
	namespace, service := made("namespaces", "", "cm", "n1", event.Body{}), made("services", "cm", "hook", "s1", event.Body{})
	exists := namespace
	exists.Code, exists.Response = 409, event.Body{}
	hook := event.Webhook{Name: "h", ServiceNamespace: "cm", ServiceName: "hook"}
	elsewhere := event.Webhook{Name: "u", URL: "https://x.example"}
	tests := []struct {
		name   string
		before []*event.Event
		hooks  []event.Webhook
		want   bool
	}{
		{"both", []*event.Event{fact(helm, namespace), fact(helm, service)}, []event.Webhook{hook}, true},
		{"namespace was there", []*event.Event{fact(helm, exists), fact(helm, service)}, []event.Webhook{hook}, true},
		{"namespace of another", []*event.Event{fact(eve, namespace), fact(helm, service)}, []event.Webhook{hook}, true},
		{"own namespace, made again", []*event.Event{fact(helm, namespace), fact(helm, exists)}, []event.Webhook{hook}, true},
		{"service only tried", []*event.Event{fact(helm, exists), fact(helm, func() event.Request {
			r := service
			r.Code = 409
			return r
		}())}, []event.Webhook{hook}, false},
		{"nothing", nil, []event.Webhook{hook}, false},
		{"all of another", []*event.Event{fact(eve, namespace), fact(eve, service)}, []event.Webhook{hook}, false},
		{"one hook elsewhere", []*event.Event{fact(helm, namespace), fact(helm, service)}, []event.Webhook{hook, elsewhere}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, e := range tt.before {
				l.see(e)
			}
			config := made("admissionregistration.k8s.io/mutatingwebhookconfigurations", "", "cm", "w1", event.Body{Webhooks: tt.hooks})
			if got := l.see(fact(helm, config)).Facts.Grants.WebhookChart; got != tt.want {
				t.Errorf("WebhookChart = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNeededGrant(t *testing.T) {
	admin, bob := person("admin", "10.1.2.3"), person("bob", "10.1.2.4")
	secrets := func(reason string) event.Request {
		r := req("list", "secrets", "shop", "")
		r.Reason = reason
		if reason != "" {
			r.Decision = "allow"
		}
		return r
	}
	toBob := event.Subject{Kind: "User", Name: "bob"}
	bind := fact(admin, made(rbacGroup+"clusterrolebindings", "", "new", "b1", bindingBody("cluster-admin", toBob)))
	credited := `RBAC: allowed by ClusterRoleBinding "new" of ClusterRole "cluster-admin" to User "bob"`
	older := `RBAC: allowed by RoleBinding "old/shop" of Role "reader" to User "bob"`
	masters := secrets("")
	masters.Decision = "allow"
	patched := req("patch", rbacGroup+"clusterroles", "", "view")
	patched.Object = body(event.Body{Rules: []event.PolicyRule{rule("", "secrets", "list")}, Patch: []string{"add /rules/-"}})
	tests := []struct {
		name   string
		before []*event.Event
		ask    event.Request
		want   string
	}{
		{"no grant in this log", nil, secrets(older), ""},
		{"credited", []*event.Event{bind}, secrets(credited), "ClusterRoleBinding/new"},
		{"log without reasons", []*event.Event{bind}, secrets(""), "ClusterRoleBinding/new"},
		{"an older one was credited", []*event.Event{bind}, secrets(older), ""},
		{"an older one was credited before", []*event.Event{fact(bob, secrets(older)), bind}, secrets(credited), ""},
		{"an older one for another resource", []*event.Event{fact(bob, func() event.Request {
			r := req("list", "pods", "shop", "")
			r.Reason = older
			return r
		}()), bind}, secrets(credited), "ClusterRoleBinding/new"},
		{"RBAC did not decide", []*event.Event{bind}, masters, ""},
		{"the grant was taken back", []*event.Event{bind, fact(admin, req("delete", rbacGroup+"clusterrolebindings", "", "new"))}, secrets(""), ""},
		{"everyone may", []*event.Event{bind}, func() event.Request {
			r := req("create", "authorization.k8s.io/selfsubjectaccessreviews", "", "")
			r.Code = 201
			return r
		}(), ""},
		{"role change", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("view", toBob))),
			fact(admin, patched),
		}, secrets(""), "ClusterRole/view"},
		{"aggregated role", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("view", toBob))),
			fact(admin, made(rbacGroup+"clusterroles", "", "extra", "x1", event.Body{Rules: []event.PolicyRule{rule("", "secrets", "list")}, Labels: []string{"rbac.authorization.k8s.io/aggregate-to-view=true"}})),
		}, secrets(""), "ClusterRole/extra"},
		{"label put on a role the log does not show, copied by the controller", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("view", toBob))),
			fact(admin, labelled("backup", "rbac.authorization.k8s.io/aggregate-to-view=true")),
			fact(aggregation("10.9.0.1"), rulesOfRole("view", rule("", "pods", "list"), rule("", "secrets", "list"))),
		}, secrets(""), "ClusterRole/view"},
		{"label put on a default role", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("view", toBob))),
			fact(admin, labelled("cluster-admin", "rbac.authorization.k8s.io/aggregate-to-view=true")),
		}, secrets(""), "ClusterRole/cluster-admin"},
		{"selector that takes in a default role", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterroles", "", "monitoring", "m1", event.Body{AggregateFrom: []string{"part=monitoring"}})),
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("monitoring", toBob))),
			fact(admin, selecting("monitoring", "rbac.authorization.k8s.io/aggregate-to-edit=true")),
		}, secrets(""), "ClusterRole/system:aggregate-to-edit"},
		{"role widened behind a binding older than the log", []*event.Event{
			fact(admin, labelled("cluster-admin", "rbac.authorization.k8s.io/aggregate-to-view=true")),
		}, secrets(`RBAC: allowed by RoleBinding "old/shop" of ClusterRole "view" to User "bob"`), "ClusterRole/cluster-admin"},
		{"role that allowed it always, behind a binding older than the log", []*event.Event{
			fact(admin, labelled("cluster-admin", "rbac.authorization.k8s.io/aggregate-to-edit=true")),
		}, secrets(`RBAC: allowed by RoleBinding "old/shop" of ClusterRole "edit" to User "bob"`), ""},
		{"own aggregation rule", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterroles", "", "monitoring", "m1", event.Body{AggregateFrom: []string{"part=monitoring,stage=a|b"}})),
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("monitoring", toBob))),
			fact(admin, made(rbacGroup+"clusterroles", "", "extra", "x1", event.Body{Rules: []event.PolicyRule{rule("", "secrets", "list")}, Labels: []string{"part=monitoring", "stage=b"}})),
			fact(aggregation("10.9.0.1"), rulesOfRole("monitoring", rule("", "secrets", "list"))),
		}, secrets(""), "ClusterRole/extra"},
		{"labels that the aggregation rule does not select", []*event.Event{
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterroles", "", "monitoring", "m1", event.Body{AggregateFrom: []string{"part=monitoring,!stage=b"}})),
			fact(manager("10.9.0.1"), made(rbacGroup+"clusterrolebindings", "", "viewers", "v1", bindingBody("monitoring", toBob))),
			fact(admin, made(rbacGroup+"clusterroles", "", "extra", "x1", event.Body{Rules: []event.PolicyRule{rule("", "secrets", "list")}, Labels: []string{"part=monitoring", "stage=b"}})),
		}, secrets(""), ""},
		{"refused", []*event.Event{bind}, func() event.Request {
			r := secrets("")
			r.Code = 403
			return r
		}(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t)
			for _, e := range tt.before {
				c := *e
				l.see(&c)
			}
			g, ok := l.inv.NeededGrant(l.see(fact(bob, tt.ask)))
			got := ""
			if ok {
				got = g.String()
			}
			if got != tt.want {
				t.Errorf("NeededGrant = %q, want %q", got, tt.want)
			}
			if ok && (g.Origin.User != "admin" || g.Credited != (tt.ask.Reason == credited || strings.Contains(tt.ask.Reason, "of ClusterRole \"view\""))) {
				t.Errorf("grant %+v", g)
			}
		})
	}
}

func TestPatchOfAnUnknownRole(t *testing.T) {
	patch := req("patch", rbacGroup+"roles", "shop", "reader")
	added := roleBody(rule("", "secrets", "list"))
	added.Patch = []string{"add /rules/-"}
	patch.Object = body(added)
	patch.Response = body(roleBody(rule("", "pods", "create"), rule("", "secrets", "list")))
	l := newLog(t)
	g := l.see(fact(person("eve", "10.1.2.9"), patch)).Facts.Grants
	if diff := cmp.Diff([][]string{{"secrets-read", "pods-create"}, {"secrets-read"}}, [][]string{g.Powers, g.NewPowers}); diff != "" {
		t.Error(diff)
	}
	rules := l.inv.role("shop", "reader").Rules
	if len(rules) != 2 || rules[0].Origin.Seen() || !rules[1].Origin.Seen() {
		t.Errorf("origins of the rules: %+v", rules)
	}
}

func TestGrantDoesNotJustifyItself(t *testing.T) {
	l := newLog(t)
	e := l.see(fact(person("eve", "10.1.2.9"), made(rbacGroup+"clusterrolebindings", "", "me", "m1", bindingBody("cluster-admin", event.Subject{Kind: "User", Name: "eve"}))))
	if g, ok := l.inv.NeededGrant(e); ok {
		t.Errorf("a binding allowed its own creation: %v", g)
	}
}

// labelled is a patch that puts labels on a role.
func labelled(role string, labels ...string) event.Request {
	r := req("patch", rbacGroup+"clusterroles", "", role)
	r.Object = body(event.Body{Labels: labels})
	return r
}

// selecting is a patch of a role's aggregation rule.
func selecting(role string, selectors ...string) event.Request {
	r := req("patch", rbacGroup+"clusterroles", "", role)
	r.Object = body(event.Body{AggregateFrom: selectors})
	return r
}

// rulesOfRole is the aggregation controller's patch of a role.
func rulesOfRole(role string, rules ...event.PolicyRule) event.Request {
	r := req("patch", rbacGroup+"clusterroles", "", role)
	r.Object = body(event.Body{Rules: rules})
	r.Response = body(event.Body{Kind: "ClusterRole", Rules: rules})
	return r
}

// aggregation is the clusterrole-aggregation-controller.
func aggregation(ip string) event.Actor {
	return event.Actor{
		Kind: event.ActorServiceAccount, Name: "system:serviceaccount:kube-system:" + aggregator, Namespace: "kube-system", ServiceAccount: aggregator,
		IP: ip, Agent: "kube-controller-manager/v1.36.3",
	}
}

func TestAggregationIsDescribed(t *testing.T) {
	l := newLog(t)
	mallory := person("mallory", "10.1.2.9")
	l.see(fact(person("admin", "10.1.2.3"), made(rbacGroup+"rolebindings", "shop", "m", "r1", bindingBody("view", event.Subject{Kind: "User", Name: "mallory"}))))
	tests := []struct {
		name           string
		ask            event.Request
		widens, powers []string
		bound          bool
	}{
		{"label on a default role", labelled("system:kubelet-api-admin", "rbac.authorization.k8s.io/aggregate-to-view=true"), []string{"admin", "edit", "view"}, []string{"nodes-proxy"}, true},
		{"label that feeds nothing", labelled("system:kubelet-api-admin", "team=a"), nil, nil, false},
		{"a role the log does not show", made(rbacGroup+"clusterroles", "", "x", "x1", event.Body{Rules: []event.PolicyRule{rule("", "secrets", "list")}, Labels: []string{"acme.example/aggregate-to-ops=true"}}),
			[]string{"ops"}, []string{"secrets-read"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := l.see(fact(mallory, tt.ask)).Facts.Grants
			slices.Sort(g.Widens)
			if !slices.Equal(g.Widens, tt.widens) || !slices.Equal(g.AggregatedPowers, tt.powers) || g.SubjectSelf != tt.bound {
				t.Errorf("widens %v by %v, self %v", g.Widens, g.AggregatedPowers, g.SubjectSelf)
			}
		})
	}
}
