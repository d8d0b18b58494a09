package cluster

import (
	"fmt"
	"net/http"
	"strings"
)

// podAddress is that of the pods that runPod runs.
const podAddress = "10.244.1.4"

const kubelet = "kubelet/" + kubernetesRelease + " (linux/amd64) kubernetes/3b1c0f2"

// runPod says to the API server what a node's kubelet says when it runs the pod of a
// Deployment, and returns the token that the kubelet asks for it. No container runs.
func (s *Stage) runPod(node, namespace, app string) string {
	k := s.once(node, func() who { return s.person("system:node:"+node, "system:nodes") }).from(kubelets, kubelet)
	k.create(fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {kubernetes.io/hostname: %s}}", node, node))
	k.patch("/api/v1/nodes/"+node+"/status", fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":%q},{"type":"Hostname","address":%q}],
		"capacity":{"cpu":"4","memory":"8Gi","pods":"110"},"allocatable":{"cpu":"4","memory":"8Gi","pods":"110"},
		"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, kubelets, node))
	pods := "/api/v1/namespaces/" + namespace + "/pods"
	var list struct {
		Items []struct {
			Metadata struct{ Name, UID string }
			Spec     struct{ NodeName string }
		}
	}
	k.wait("/api/v1/pods?fieldSelector=spec.nodeName="+node, func(answer []byte) bool {
		k.read(answer, &list)
		for _, p := range list.Items {
			if strings.HasPrefix(p.Metadata.Name, app+"-") {
				list.Items[0] = p
				return true
			}
		}
		return false
	})
	if s.err != nil {
		return ""
	}
	p := list.Items[0].Metadata
	k.do(http.StatusOK, http.MethodGet, pods+"/"+p.Name, "", nil)
	token := k.mint(namespace, app, p.Name+"/"+p.UID)
	k.patch(pods+"/"+p.Name+"/status", fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"hostIP":%q,"conditions":[{"type":"Ready","status":"True"}]}}`, podAddress, podAddress, kubelets))
	return token
}
