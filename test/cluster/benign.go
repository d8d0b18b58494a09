package cluster

import "net/http"

// Benign are the twins of the attacks: the same calls by those whose work they are.
func Benign() []Script {
	return []Script{ciDeploy(), operatorInstall(), teamNamespace(), cleanUp(), colleagueCertificate()}
}

func ciDeploy() Script {
	ci := func(s *Stage) *hand { return s.bearer(s.keep["ci"]).from(runner, kubectl) }
	short := func(s *Stage) *hand { return s.bearer(s.keep["short"]).from(runner, kubectl) }
	const ns = "/api/v1/namespaces/store"
	return Script{
		Name:  "ci-deploy",
		About: "A CI ServiceAccount deploys from its usual address: a short token of its own, migration job, secret, deployment, smoke test.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("pipelines"), namespace("store"), account("pipelines", "deployer"), binding("store", "deployer", "edit", "pipelines:deployer"),
				"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: self-token, namespace: pipelines}\nrules: [{apiGroups: [\"\"], resources: [serviceaccounts/token], resourceNames: [deployer], verbs: [create]}]",
				binding("pipelines", "self-token", "Role/self-token", "pipelines:deployer")))
			s.keep["ci"] = s.ops.mint("pipelines", "deployer", "")
		},
		Steps: []Step{
			{"", "the pipeline mints a short token for its own ServiceAccount", func(s *Stage) { s.keep["short"] = ci(s).mint("pipelines", "deployer", "") }},
			{"", "database migration job", func(s *Stage) {
				h := short(s)
				h.create("apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, namespace: store}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: \"registry.example.com/store/migrate:2.0\"}]}}}")
				h.get("/apis/batch/v1/namespaces/store/jobs/migrate")
			}},
			{"", "configuration, secret, service, deployment", func(s *Stage) {
				h := short(s)
				h.create(stream(configMap("store", "web"), secret("store", "web"), service("store", "web"), deployment("store", "web", "default", "registry.example.com/store/web:2.0")))
				h.get("/apis/apps/v1/namespaces/store/deployments/web", ns+"/pods", ns+"/secrets/web")
			}},
			{"", "the next release: image, restart; a refusal because it asks for nodes", func(s *Stage) {
				h := ci(s)
				h.patch("/apis/apps/v1/namespaces/store/deployments/web", `{"metadata":{"annotations":{"build":"18"}},"spec":{"template":{"metadata":{"annotations":{"build":"18"}}}}}`)
				h.refused("/api/v1/nodes")
			}},
			{"", "smoke test pod, deleted again", func(s *Stage) {
				h := ci(s)
				h.create(pod("store", "smoke", "registry.example.com/store/smoke:2.0"))
				h.get(ns + "/pods/smoke")
				h.delete(ns+"/pods/smoke", ns+"/configmaps/web")
			}},
		},
	}
}

func operatorInstall() Script {
	operator := func(s *Stage) *hand { return s.bearer(s.keep["operator"]).from(podAddress, "certs/1.15") }
	const group = "certs.example.com"
	return Script{
		Name:  "operator-install",
		About: "An operator like cert-manager is installed by an admin and starts to work: rights to secrets, a webhook within the cluster, its caBundle patched by itself.",
		Setup: func(*Stage) {},
		Steps: []Step{
			{"", "namespace, CRD, ServiceAccount, rights, deployment, service", func(s *Stage) {
				s.ops.create(stream(namespace("certs"), customResource(group), account("certs", "certs"),
					role("", "certs", "- secrets get,list,watch,create,update,patch", group+" certificates get,list,watch,update", "admissionregistration.k8s.io mutatingwebhookconfigurations get,list,watch,update,patch"),
					binding("", "certs", "certs", "certs:certs"), service("certs", "certs"), deployment("certs", "certs", "certs", "registry.example.com/certs/controller:1.15")))
			}},
			{"", "the webhook of the chart, its server within the cluster", func(s *Stage) { s.ops.create(chartWebhook(group)) }},
			{"", "the operator starts: its pod's token, secrets, webhook configurations", func(s *Stage) {
				s.keep["operator"] = s.runPod("node2", "certs", "certs")
				operator(s).get("/api/v1/secrets", "/apis/"+group+"/v1/certificates", hooks)
			}},
			{"", "it writes its authority into its own webhook and a secret for it", func(s *Stage) {
				h := operator(s)
				h.create(secret("certs", "certs-ca"))
				h.get(hooks + "/certs-webhook")
				h.patch(hooks+"/certs-webhook", `{"metadata":{"annotations":{"ca-of":"certs/certs-ca"}}}`)
			}},
			{"", "the admin looks", func(s *Stage) { s.ops.get("/api/v1/namespaces/certs/pods", "/apis/"+group+"/v1/certificates") }},
		},
	}
}

func customResource(group string) string {
	return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.` + group + `}
spec:
  group: ` + group + `
  scope: Namespaced
  names: {plural: certificates, singular: certificate, kind: Certificate}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]`
}

func chartWebhook(group string) string {
	return `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: certs-webhook}
webhooks:
- name: webhook.` + group + `
  clientConfig: {service: {namespace: certs, name: certs, path: /mutate}}
  rules: [{apiGroups: [` + group + `], apiVersions: [v1], resources: [certificates], operations: [CREATE]}]
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail`
}

func teamNamespace() Script {
	kim := func(s *Stage) *hand {
		return s.once("kim", func() who { return s.person("kim", "team-red") }).from(office, kubectl)
	}
	return Script{
		Name:  "team-namespace",
		About: "An admin makes a namespace for a new team with quota, rights and default network policy; a member starts to work in it.",
		Setup: func(*Stage) {},
		Steps: []Step{
			{"", "namespace, quota, network policy, rights of the team", func(s *Stage) {
				s.ops.create(stream(namespace("team-red"),
					"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: team, namespace: team-red}\nspec: {hard: {pods: \"20\"}}",
					"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: default-deny, namespace: team-red}\nspec: {podSelector: {}, policyTypes: [Ingress]}",
					binding("team-red", "team", "edit", "Group/team-red")))
			}},
			{"", "the first member deploys and looks", func(s *Stage) {
				h := kim(s)
				h.create(stream(secret("team-red", "app"), configMap("team-red", "app"), service("team-red", "app"), deployment("team-red", "app", "default", "registry.example.com/red/app:0.1")))
				h.get("/api/v1/namespaces/team-red/pods", "/apis/apps/v1/namespaces/team-red/deployments", "/api/v1/namespaces/team-red/secrets/app")
			}},
			{"", "she tries what she may not", func(s *Stage) { kim(s).refused("/api/v1/nodes") }},
		},
	}
}

func cleanUp() Script {
	preview := func(s *Stage) *hand { return s.bearer(s.keep["preview"]).from(runner, kubectl) }
	return Script{
		Name:  "clean-up",
		About: "Preview environments come and go: one CI ServiceAccount deletes secrets, claims, deployments and whole namespaces it made itself.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("previews"), account("previews", "preview"),
				role("", "preview-environments", "- namespaces,secrets,persistentvolumeclaims,services,pods get,list,create,delete", "apps deployments get,list,create,delete"),
				binding("", "preview-environments", "preview-environments", "previews:preview")))
			s.keep["preview"] = s.ops.mint("previews", "preview", "")
		},
		Steps: []Step{
			{"", "CI makes three preview environments", func(s *Stage) {
				for _, ns := range []string{"preview-101", "preview-102", "preview-103"} {
					preview(s).create(stream(namespace(ns), secret(ns, "db"), claim(ns, "db"), service(ns, "web"), deployment(ns, "web", "default", "registry.example.com/store/web:2.1")))
				}
			}},
			{"", "their branches are merged: CI deletes what is in the first, then all three namespaces", func(s *Stage) {
				h := preview(s)
				h.delete("/apis/apps/v1/namespaces/preview-101/deployments/web", "/api/v1/namespaces/preview-101/persistentvolumeclaims/db", "/api/v1/namespaces/preview-101/secrets/db",
					"/api/v1/namespaces/preview-101", "/api/v1/namespaces/preview-102", "/api/v1/namespaces/preview-103")
			}},
		},
	}
}

func colleagueCertificate() Script {
	lena := func(s *Stage) *hand {
		return s.once("lena", func() who { return s.person("lena", "platform-admins") }).from(opsDesk, kubectl)
	}
	nils := func(s *Stage) *hand {
		return s.once("nils", func() who { return who{s, s.certificate(pair{[]byte(s.keep["crt"]), []byte(s.keep["key"])})} }).from(office, kubectl)
	}
	return Script{
		Name:  "colleague-certificate",
		About: "A new colleague asks for a client certificate through an admin, who approves it, gives the colleague's group its rights, and looks after a backup CronJob.",
		Setup: func(s *Stage) { s.ops.create(stream(namespace("docs"), secret("docs", "site"))) },
		Steps: []Step{
			{"", "the admin creates and approves the request", func(s *Stage) {
				h := lena(s)
				h.create(s.signingRequest("nils", "nils", "docs-devs"))
				approve(h, "nils")
				h.wait(requests+"/nils", func(answer []byte) bool {
					var o struct{ Status struct{ Certificate []byte } }
					h.read(answer, &o)
					s.keep["crt"] = string(o.Status.Certificate)
					return s.keep["crt"] != ""
				})
				h.create(binding("docs", "devs", "edit", "Group/docs-devs"))
			}},
			{"", "the colleague works", func(s *Stage) {
				h := nils(s)
				h.rules()
				h.create(deployment("docs", "site", "default", "registry.example.com/docs/site:1"))
				h.get("/api/v1/namespaces/docs/pods")
				h.do(http.StatusForbidden, http.MethodGet, "/api/v1/secrets", "", nil)
			}},
			{"", "the admin rotates a secret and schedules a backup", func(s *Stage) {
				h := lena(s)
				h.get("/api/v1/namespaces/docs/secrets/site")
				h.delete("/api/v1/namespaces/docs/secrets/site")
				h.create(stream(secret("docs", "site"), `apiVersion: batch/v1
kind: CronJob
metadata: {name: backup, namespace: docs}
spec: {schedule: "0 3 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "registry.example.com/tools/backup:3"}]}}}}}`))
			}},
		},
	}
}
