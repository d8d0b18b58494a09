package k8saudit

import "github.com/clew-sec/clew/internal/event"

// reads says which parts of an object are worth reading. Name, UID, owners and
// the like are always read. Fields of different kinds share names (type, data,
// selector, expirationSeconds), so a field counts only where its kind does.
type reads uint32

const (
	readLabels    reads = 1 << iota // labels and annotations
	readPod                         // spec is a pod spec
	readTemplate                    // spec.template may hold a pod template
	readWorkload                    // and does so for sure
	readReplicas                    // spec.replicas, schedule, suspend
	readRBAC                        // rules, roleRef, subjects
	readWebhooks                    // webhooks
	readPolicy                      // admission policies and their bindings
	readCSR                         // certificate signing requests
	readToken                       // token requests
	readService                     // services
	readData                        // keys of secrets and config maps
	readReview                      // access and token reviews
	readVolume                      // persistent volumes
	readNode                        // node spec
	readStatus                      // status: addresses, conditions, certificate, user
	readBinding                     // target
	readDelete                      // DeleteOptions, alone or in an Eviction
	readAutomount                   // automountServiceAccountToken of a service account
	readAnything  = (1<<iota - 1) &^ readWorkload
)

const workload = readLabels | readTemplate | readWorkload | readReplicas

// resourceReads says what to read of an object of a resource. Objects of
// unknown resources may carry a pod template, as many operators' do.
func resourceReads(group, resource string) reads {
	switch resource {
	case "pods":
		return readLabels | readPod | readStatus
	case "deployments", "daemonsets", "statefulsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "podtemplates":
		return workload
	case "roles", "clusterroles", "rolebindings", "clusterrolebindings":
		return readLabels | readRBAC
	case "mutatingwebhookconfigurations", "validatingwebhookconfigurations":
		return readLabels | readWebhooks
	case "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings":
		return readLabels | readPolicy
	case "certificatesigningrequests":
		return readLabels | readCSR | readStatus
	case "nodes":
		return readLabels | readNode | readStatus
	case "serviceaccounts":
		return readLabels | readAutomount
	case "namespaces":
		return readLabels
	case "secrets", "configmaps":
		return readLabels | readData
	case "persistentvolumes":
		return readLabels | readVolume
	case "bindings":
		return readLabels | readBinding
	case "tokenreviews", "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews":
		return readLabels | readReview | readStatus
	case "events", "leases", "endpoints", "endpointslices", "controllerrevisions":
		return 0
	case "services":
		if group == "" {
			return readLabels | readService
		}
	}
	return readLabels | readTemplate | readReplicas
}

// requestReads says what to read of a request's body. The server ignores the
// spec in what is sent to a status subresource, and so must the decoder.
func requestReads(r *event.Request) reads {
	if r.Verb == "delete" || r.Verb == "deletecollection" {
		return readDelete
	}
	switch r.Subresource {
	case "", "ephemeralcontainers", "resize":
		return resourceReads(r.Group, r.Resource)
	case "status", "approval":
		return statusReads(r)
	case "binding":
		return readLabels | readBinding
	case "eviction":
		return readDelete
	case "token":
		return readToken
	case "scale":
		return readReplicas
	}
	return 0
}

func statusReads(r *event.Request) reads {
	switch r.Resource {
	case "pods", "nodes":
		return readStatus
	case "certificatesigningrequests":
		return readCSR | readStatus
	}
	return 0
}

// responseReads says what to read of a response: the stored object where
// admission or the server may have changed what matters, else its identity.
func responseReads(r *event.Request) reads {
	if r.Code >= 400 || r.Verb == "delete" || r.Verb == "deletecollection" {
		return 0
	}
	switch r.Resource {
	case "pods", "deployments", "daemonsets", "statefulsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "podtemplates",
		"roles", "clusterroles", "rolebindings", "clusterrolebindings",
		"mutatingwebhookconfigurations", "validatingwebhookconfigurations",
		"validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
		"certificatesigningrequests", "nodes", "serviceaccounts", "namespaces", "tokenreviews":
	default:
		return 0
	}
	switch r.Subresource {
	case "", "ephemeralcontainers", "resize", "status", "approval":
		return requestReads(r)
	}
	return 0
}

// resourceOf returns the resource of the kinds whose objects are read in a way
// of their own, "" for others.
func resourceOf(kind string) string {
	switch kind {
	case "Pod":
		return "pods"
	case "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "PodTemplate":
		return "deployments" // all workloads are read alike
	case "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
		return "roles"
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		return "mutatingwebhookconfigurations"
	case "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding":
		return "validatingadmissionpolicies"
	case "CertificateSigningRequest":
		return "certificatesigningrequests"
	case "Node":
		return "nodes"
	case "ServiceAccount":
		return "serviceaccounts"
	case "Namespace":
		return "namespaces"
	case "Secret", "ConfigMap":
		return "secrets"
	case "PersistentVolume":
		return "persistentvolumes"
	case "Service":
		return "services"
	case "Binding":
		return "bindings"
	case "TokenReview", "SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SelfSubjectReview":
		return "subjectaccessreviews"
	case "Event", "Lease", "Endpoints", "EndpointSlice", "ControllerRevision":
		return "events"
	}
	return ""
}

// kindReads says what to read of an object that only its kind describes.
func kindReads(kind string) reads {
	switch kind {
	case "":
		return readAnything
	case "TokenRequest":
		return readToken
	case "DeleteOptions", "Eviction":
		return readDelete
	case "Scale":
		return readReplicas
	}
	return resourceReads("", resourceOf(kind))
}
