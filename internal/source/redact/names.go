package redact

import (
	"bytes"
	"slices"
	"strings"
)

var (
	// secretWords make a name say secret wherever they stand in it.
	secretWords = []string{
		"password", "passwd", "passphrase", "secret", "token", "privatekey", "private_key", "private-key", "userdata", "user_data", "user-data",
		"sharedaccesskey", "shared_access_key", "connectionstring", "connection_string", "connection-string", "apikey", "api_key", "api-key",
		"kubeconfig", "kube_config", "kube-config", "samlassertion", "saml_assertion", "accountkey", "account_key", "account-key",
		"startupscript", "startup_script", "startup-script", "keydata", "key_data", "key-data",
	}
	// openEnds end names that say something about a secret and hold none.
	openEnds = []string{
		"id", "ids", "arn", "name", "names", "namespace", "type", "version", "issuer", "expiration", "expiry", "seconds", "status", "count",
		"ttl", "uri", "url", "endpoint", "identifier", "ref", "refs", "file", "path", "dir", "audience", "audiences", "provider", "class",
		"enabled", "policy", "scope", "time", "date", "at",
	}
)

// secretName reports whether a member, variable or option of this name holds a
// secret.
func secretName(name string) bool {
	if strings.EqualFold(name, "authorization") || strings.EqualFold(name, "proxy-authorization") {
		return true
	}
	if len(name) > 128 || !named.in(name) || wellKnown(name) {
		return false
	}
	k := strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(k, w) }) &&
		k != "secrets" && // lists names, in service accounts and rules
		k != "subjectfromwebidentitytoken" && // what CloudTrail says of a token: whose it was
		!slices.ContainsFunc(openEnds, func(e string) bool { return strings.HasSuffix(k, e) })
}

// in reports whether a needle of c is in name.
func (c class) in(name string) bool {
	b := []byte(name)
	for i, got := next(b, 0); i >= 0; i, got = next(b, i+1) {
		if got&c != 0 {
			return true
		}
	}
	return false
}

// wellKnown reports whether name is a key of Kubernetes' own, whose values are no
// secrets although names say so: authentication.k8s.io/legacy-token.
func wellKnown(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && (strings.HasSuffix(domain, "k8s.io") || strings.HasSuffix(domain, "kubernetes.io"))
}

// dataMember reports whether a member of this name holds a Secret's values.
func dataMember(name string) bool {
	return name == "data" || name == "stringData" || name == "binaryData"
}

// dataPath reports whether a JSON patch at path changes a Secret's values.
func dataPath(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return dataMember(first)
}

// aboutSecrets reports whether raw is about objects of kind Secret: it names the
// kind, the resource or a path to it. In such a record every "data" is a Secret's.
func aboutSecrets(raw []byte) bool {
	for at := 0; ; {
		n := bytes.Index(raw[at:], []byte("ecret"))
		if n < 0 {
			return false
		}
		i := at + n
		at = i + len("ecret")
		if i == 0 {
			continue
		}
		capital := raw[i-1] == 'S'
		rest, plural := bytes.CutPrefix(raw[at:], []byte("s"))
		rest, list := bytes.CutPrefix(rest, []byte("List"))
		if (capital || plural || list) && len(rest) > 0 && strings.IndexByte(`"\/.?&`, rest[0]) >= 0 {
			return true
		}
	}
}

// references are beginnings of values that say where a secret is.
var references = []string{"$(", "${", "`", "<", "{{", "@/", "/var/", "/etc/", "/run/", "/tmp/", "/proc/", "/home/", "/root/", "/mnt/", "/opt/", "/dev/", "/usr/"}

// reference reports whether a value on a command line names a place, not a secret.
func reference(v string) bool {
	return slices.ContainsFunc(references, func(p string) bool { return strings.HasPrefix(v, p) }) || len(v) > 1 && v[0] == '$' && v[1] >= 'A' && v[1] <= 'Z'
}

// telling are beginnings of secrets that say what was there. They stay before the
// mark: that a key lies in a ConfigMap is worth a flag.
var telling = []string{
	"-----BEGIN RSA PRIVATE KEY", "-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY", "-----BEGIN OPENSSH PRIVATE KEY",
	"aws_secret_access_key", "AKIA", "private_key_id", "AccountKey=", "ghp_",
}

// tell returns what stays of a secret.
func tell(secret string) string {
	for _, t := range telling {
		if strings.Contains(secret, t) {
			return t
		}
	}
	return ""
}
