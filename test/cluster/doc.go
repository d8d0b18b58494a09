// Package cluster runs a real Kubernetes control plane, lets people and thieves
// work on it, and sends what its API server logs to a running clew.
//
// It needs Linux with user namespaces, no root: [Inside] moves the process into
// namespaces of its own, where every address of the scripts is one of its own
// and where nothing outlives it.
package cluster
