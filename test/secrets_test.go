package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clew-sec/clew/internal/cli"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/rules"
)

// Values that must not come out again. Each is planted under its own number.
const planted = "hunter2-planted-value"

// loudRule flags every event of a source.
const loudRule = `id: %[1]s
title: Everything
severity: critical
technique: [MS-TA9006]
source: %[2]s
description: d
when: "true"
flag: "%[3]s"
falsePositives: [f]
response: r
tests:
  fires: [{name: a, events: [{audit: {verb: get, user: {username: a}}}]}, {name: b, events: [{audit: {verb: get, user: {username: a}}}]}]
  silent: [{name: a, events: [{audit: {verb: get, user: {username: a}}}]}, {name: b, events: [{audit: {verb: get, user: {username: a}}}]}]
`

// plant replaces each PLANT in text by a planted value of its own.
func plant(text string) string {
	for n := 0; strings.Contains(text, "PLANT"); n++ {
		text = strings.Replace(text, "PLANT", fmt.Sprintf("%s-%d", planted, n), 1)
	}
	return text
}

// secretRecords returns records of every source with values to hide.
func secretRecords() []string {
	n := 0
	auditOf := func(verb, resource, sub, uri, body string) string {
		n++
		return auditRecord(n, verb, resource, sub, uri, body)
	}
	return []string{
		auditOf("create", "secrets", "", "/api/v1/namespaces/shop/secrets", `{"kind":"Secret","metadata":{"name":"db","namespace":"shop","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"password\":\"PLANT\"}}"}},"data":{"password":"PLANT"},"stringData":{"token":"PLANT"}}`),
		auditOf("patch", "secrets", "", "/api/v1/namespaces/shop/secrets/db", `[{"op":"replace","path":"/data/password","value":"PLANT"}]`),
		auditOf("create", "configmaps", "", "/api/v1/namespaces/shop/configmaps", `{"kind":"ConfigMap","metadata":{"name":"db","namespace":"shop"},"data":{"password":"PLANT","aws-auth":"PLANT"}}`),
		auditOf("create", "pods", "", "/api/v1/namespaces/shop/pods", `{"kind":"Pod","metadata":{"name":"web","namespace":"shop","uid":"u-1","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"env\":\"PLANT\"}"}},"spec":{"serviceAccountName":"web","containers":[{"name":"app","image":"i","env":[{"name":"DB_PASSWORD","value":"PLANT"},{"name":"AWS_SECRET_ACCESS_KEY","value":"PLANT"}],"securityContext":{"privileged":true}}]}}`),
		auditOf("update", "deployments", "", "/apis/apps/v1/namespaces/shop/deployments/web", `{"kind":"Deployment","metadata":{"name":"web","namespace":"shop","uid":"u-2"},"spec":{"template":{"spec":{"containers":[{"name":"app","image":"evil","env":[{"name":"TOKEN","value":"PLANT"}]}]}}}}`),
		auditOf("create", "serviceaccounts", "token", "/api/v1/namespaces/shop/serviceaccounts/web/token", `{"kind":"TokenRequest","spec":{"audiences":["a"]},"status":{"token":"PLANT"}}`),
		auditOf("create", "tokenreviews", "", "/apis/authentication.k8s.io/v1/tokenreviews", `{"kind":"TokenReview","spec":{"token":"PLANT"}}`),
		auditOf("create", "certificatesigningrequests", "", "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{"kind":"CertificateSigningRequest","metadata":{"name":"c"},"spec":{"request":"PLANT"},"status":{"certificate":"PLANT"}}`),
		auditOf("create", "mutatingwebhookconfigurations", "", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", `{"kind":"MutatingWebhookConfiguration","metadata":{"name":"w"},"webhooks":[{"name":"w.x","clientConfig":{"url":"https://x.example/?k=v","caBundle":"PLANT"}}]}`),
		auditOf("get", "pods", "proxy", "/api/v1/namespaces/shop/pods/web/proxy/admin?access_token=PLANT&Authorization=Bearer%20PLANT", ""),
		auditOf("get", "services", "proxy", "/api/v1/namespaces/shop/services/web/proxy/?token=PLANT", ""),
		auditOf("get", "", "", "/healthz?token=PLANT", ""),
		auditOf("get", "nodes", "proxy", "/api/v1/nodes/node-1/proxy/metrics?token=PLANT", ""),
		`{"eventVersion":"1.11","eventTime":"2026-01-15T10:00:30Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","awsRegion":"eu-central-1","eventType":"AwsApiCall","eventID":"e-1","recipientAccountId":"1","sourceIPAddress":"203.0.113.9","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/bob","accessKeyId":"AKIA1"},"requestParameters":{"roleArn":"arn:aws:iam::1:role/r","externalId":"x","webIdentityToken":"PLANT"},"responseElements":{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"PLANT","sessionToken":"PLANT"}}}`,
		`{"eventVersion":"1.11","eventTime":"2026-01-15T10:00:31Z","eventSource":"iam.amazonaws.com","eventName":"CreateAccessKey","awsRegion":"eu-central-1","eventType":"AwsApiCall","eventID":"e-2","recipientAccountId":"1","sourceIPAddress":"203.0.113.9","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/bob","accessKeyId":"AKIA1"},"requestParameters":{"userName":"x","password":"PLANT"},"responseElements":{"accessKey":{"accessKeyId":"AKIA2","secretAccessKey":"PLANT"}}}`,
		`{"eventVersion":"1.11","eventTime":"2026-01-15T10:00:32Z","eventSource":"secretsmanager.amazonaws.com","eventName":"PutSecretValue","awsRegion":"eu-central-1","eventType":"AwsApiCall","eventID":"e-3","recipientAccountId":"1","sourceIPAddress":"203.0.113.9","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::1:user/bob","accessKeyId":"AKIA1"},"requestParameters":{"secretId":"db","secretString":"PLANT"}}`,
		`{"insertId":"i1","logName":"projects/p/logs/cloudaudit.googleapis.com%2Factivity","timestamp":"2026-01-15T10:00:33Z","protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","serviceName":"iam.googleapis.com","methodName":"google.iam.admin.v1.CreateServiceAccountKey","authenticationInfo":{"principalEmail":"a@example.com"},"requestMetadata":{"callerIp":"203.0.113.9"},"response":{"name":"projects/p/serviceAccounts/s/keys/k1","privateKeyData":"PLANT","private_key":"PLANT"}}}`,
		`{"time":"2026-01-15T10:00:34Z","operationName":"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/LISTCLUSTERADMINCREDENTIAL/ACTION","category":"Administrative","resultType":"Success","resourceId":"/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/C","callerIpAddress":"203.0.113.9","identity":{"claims":{"upn":"a@example.com"}},"properties":{"responseBody":"{\"kubeconfigs\":[{\"value\":\"PLANT\"}],\"password\":\"PLANT\"}"}}`,
		// Records that cannot be read.
		`{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":"get","requestURI":"/x?token=PLANT","requestObject":{"data":{"password":"PLANT"}},"stageTimestamp":"2026-01-15T10:00:40Z","user":}`,
		`{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":"get","requestURI":"/x?token=PLANT","requestObject":{"data":{"password":"PLANT"}},"stageTimestamp":"never"}`,
	}
}

func auditRecord(n int, verb, resource, sub, uri, body string) string {
	bodies := ""
	if body != "" {
		bodies = fmt.Sprintf(`,"requestObject":%s,"responseObject":%s`, body, body)
	}
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a-%d","stage":"ResponseComplete","requestURI":%q,"verb":%q,"user":{"username":"mallory","groups":["system:authenticated"]},"sourceIPs":["203.0.113.9"],"userAgent":"curl/8","objectRef":{"resource":%q,"subresource":%q,"namespace":"shop","name":"web","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-15T10:00:%02dZ","stageTimestamp":"2026-01-15T10:00:%02dZ"%s}`,
		n, uri, verb, resource, sub, n, n, bodies)
}

// TestNoSecretComesOut: values of secrets and tokens in records are in no output,
// with the shipped rules and with ones that flag every event.
func TestNoSecretComesOut(t *testing.T) {
	dir := t.TempDir()
	for source, flag := range map[string]string{
		"k8s-audit": "{user.name} {k8s.verb} {k8s.resource} {k8s.name}", "cloudtrail": "{user.name} {cloud.action}",
		"gcp-audit": "{user.name} {cloud.action}", "azure-activity": "{user.name} {cloud.action}",
	} {
		id := "loud-" + source
		writeFile(t, dir, id+".yaml", fmt.Appendf(nil, loudRule, id, source, flag))
	}
	in := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(in, []byte(plant(strings.Join(secretRecords(), "\n"))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"table", "json", "jsonl"} {
		cmd := cli.NewReplayCommand(cli.ReplayDeps{Content: cli.Content{Rules: rules.FS, Catalogue: matrix.Load()}, Now: time.Now})
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs([]string{in, "--add-rules", dir, "-o", format, "--stats"})
		if err := cmd.Execute(); err != nil && !errors.Is(err, cli.ErrFindings) {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.Contains(out.String(), "mallory") || !strings.Contains(out.String(), "record ") {
			t.Errorf("-o %s: the input did not arrive:\n%s", format, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if i := strings.Index(line, planted); i >= 0 {
				t.Errorf("-o %s prints a planted value: …%s", format, line[max(0, i-150):min(len(line), i+60)])
			}
		}
	}
}
