package event

import "strings"

// ServiceAccountPrefix begins the Kubernetes user name of every service account.
const ServiceAccountPrefix = "system:serviceaccount:"

// ServiceAccountUser returns the user name of a service account.
func ServiceAccountUser(namespace, name string) string {
	return ServiceAccountPrefix + namespace + ":" + name
}

// SplitServiceAccount returns the service account that a user name stands for;
// ok is false, and the names are empty, when it is no service account's.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, ServiceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, _ = strings.Cut(rest, ":")
	if namespace == "" || name == "" {
		return "", "", false
	}
	return namespace, name, true
}
