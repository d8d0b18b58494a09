package redact

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/file"
)

func redactor(t testing.TB) *Redactor {
	t.Helper()
	r, err := New([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// planted are secrets by their shape; %s of a place is where one stands.
var (
	pemKey  = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAplantedplantedplanted\nplantedplanted==\n-----END RSA PRIVATE KEY-----\n"
	planted = `planted`
	token   = "eyJhbGciOiJSUzI1NiIsImtpZCI6InBsYW50ZWQifQ.eyJpc3MiOiJwbGFudGVkIn0.cGxhbnRlZHBsYW50ZWRwbGFudGVk"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func quoted(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

const auditHead = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a","stage":"ResponseComplete","verb":"create",`

// shapes are records with the pieces of them that must not be in the output.
func shapes() map[string]struct {
	record string
	secret []string
	keep   []string
} {
	type shape = struct {
		record string
		secret []string
		keep   []string
	}
	pod := func(container string) string {
		return auditHead + `"objectRef":{"resource":"pods"},"requestObject":{"kind":"Pod","spec":{"containers":[{"name":"c",` + container + `}]}}}`
	}
	exec := func(query string) string {
		return auditHead + `"requestURI":"/api/v1/namespaces/n/pods/p/exec?` + query + `","objectRef":{"resource":"pods","subresource":"exec"}}`
	}
	applied := quoted(`{"apiVersion":"v1","kind":"Secret","data":{"password":"cGxhbnRlZDE="},"metadata":{"name":"db"}}`)
	kubeconfig := b64("apiVersion: v1\nkind: Config\nusers:\n- user:\n    client-key-data: " + b64(pemKey))
	return map[string]shape{
		"secret data":           {auditHead + `"objectRef":{"resource":"secrets","name":"db"},"requestObject":{"data":{"password":"cGxhbnRlZDE="},"kind":"Secret","metadata":{"name":"db"},"stringData":{"user":"planted2"}}}`, []string{"cGxhbnRlZDE=", "planted2"}, []string{`"password":"[redacted:`, `"user":"[redacted:`, `"name":"db"`}},
		"secret list":           {auditHead + `"objectRef":{"resource":"secrets"},"responseObject":{"kind":"SecretList","items":[{"data":{"a":"cGxhbnRlZDE="},"metadata":{"name":"x"}},{"metadata":{"name":"y"},"data":{"b":"cGxhbnRlZDI="}}]}}`, []string{"cGxhbnRlZDE=", "cGxhbnRlZDI="}, []string{`"name":"y"`}},
		"secret merge patch":    {auditHead + `"objectRef":{"resource":"secrets"},"requestObject":{"data":{"a":"cGxhbnRlZDE="}}}`, []string{"cGxhbnRlZDE="}, nil},
		"secret JSON patch":     {auditHead + `"requestObject":[{"op":"replace","value":"cGxhbnRlZDE=","path":"/data/a"}],"objectRef":{"resource":"secrets"}}`, []string{"cGxhbnRlZDE="}, []string{"/data/a"}},
		"last applied":          {auditHead + `"objectRef":{"resource":"secrets"},"requestObject":{"kind":"Secret","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":` + applied + `}}}}`, []string{"cGxhbnRlZDE="}, []string{"last-applied-configuration"}},
		"token request":         {auditHead + `"objectRef":{"resource":"serviceaccounts","subresource":"token"},"responseObject":{"kind":"TokenRequest","status":{"token":"` + token + `","expirationTimestamp":"2026-01-01T00:00:00Z"}},"annotations":{"authentication.kubernetes.io/issued-credential-id":"JTI=6c2e"}}`, []string{token, "cGxhbnRlZHBsYW50"}, []string{"JTI=6c2e", "2026-01-01"}},
		"token review":          {auditHead + `"objectRef":{"resource":"tokenreviews"},"requestObject":{"kind":"TokenReview","spec":{"token":"planted-opaque"}}}`, []string{"planted-opaque"}, nil},
		"JWT in user agent":     {auditHead + `"userAgent":"x/` + token + `"}`, []string{"cGxhbnRlZHBsYW50"}, []string{"x/[redacted:"}},
		"PEM in a config map":   {auditHead + `"objectRef":{"resource":"configmaps"},"requestObject":{"kind":"ConfigMap","data":{"tls.key":` + quoted(pemKey) + `}}}`, []string{planted}, []string{"-----BEGIN RSA PRIVATE KEY-----"}},
		"PEM in base64":         {auditHead + `"requestObject":{"spec":{"blob":"` + b64(pemKey) + `"}}}`, []string{b64(pemKey)[60:90]}, nil},
		"kubeconfig":            {`{"time":"2026-01-01T00:00:00Z","operationName":"MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/LISTCLUSTERADMINCREDENTIAL/ACTION","category":"Administrative","resourceId":"/x","properties":{"kubeconfigs":[{"name":"clusterAdmin","value":"` + kubeconfig + `"}]}}`, []string{kubeconfig[80:120]}, []string{"clusterAdmin"}},
		"AWS key in env":        {pod(`"env":[{"name":"AWS_ACCESS_KEY_ID","value":"AKIAIOSFODNN7EXAMPLE"},{"name":"AWS_SECRET_ACCESS_KEY","value":"planted/K7MDENG/bPxRfiCYEXAMPLEKEY1234567"}]`), []string{planted}, []string{"AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY"}},
		"env value before name": {pod(`"env":[{"value":"planted1","name":"DB_PASSWORD"}]`), []string{"planted1"}, []string{"DB_PASSWORD"}},
		"AWS credentials file":  {auditHead + `"requestObject":{"kind":"ConfigMap","data":{"credentials":"[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = planted/K7MDENG/bPxRfiCYEXAMPLEKEY1234567\n"}}}`, []string{planted}, []string{"aws_secret_access_key", "AKIAIOSFODNN7EXAMPLE"}},
		"URI with password":     {pod(`"env":[{"name":"DB","value":"postgres://app:planted1@db:5432/shop"}]`), []string{"planted1"}, []string{"postgres://app:", "@db:5432/shop"}},
		"command line":          {pod(`"command":["tool","--password=planted1","--api-key","planted2","--user","u"]`), []string{"planted1", "planted2"}, []string{"--password=", "--api-key"}},
		"shell line":            {pod(`"args":["-c","mysql -u root -pplanted1 < x; curl -u admin:planted2 http://h; PGPASSWORD=planted3 psql"]`), []string{"planted1", "planted2", "planted3"}, []string{"mysql -u root", "admin:", "psql"}},
		"exec":                  {exec("command=tool&command=--token&command=planted1&command=--password%3Dplanted2&container=c&stdout=true"), []string{"planted1", "planted2"}, []string{"container=c&stdout=true", "command=--token"}},
		"exec of curl":          {exec("command=curl&command=-H&command=Authorization%3A+Bearer+planted12345&command=https%3A%2F%2Fu%3Aplanted2%40h%2Fx"), []string{"planted1", "planted2"}, []string{"command=curl"}},
		"token in URL":          {auditHead + `"requestURI":"/api/v1/namespaces/n/services/x/proxy/login?access_token=planted1&user=u"}`, []string{"planted1"}, []string{"user=u"}},
		"basic authorization":   {pod(`"args":["Authorization: Basic ` + b64("user:planted") + `"]`), []string{b64("user:planted")}, nil},
		"authorization header":  {pod(`"httpHeaders":[{"name":"Authorization","value":"planted1"}]`), []string{"planted1"}, nil},
		"known prefixes":        {pod(`"args":["ghp_plantedplantedplantedplanted","xoxb-planted-12345678","glpat-plantedplanted1234"]`), []string{planted}, []string{"ghp_[redacted:"}},
		"CloudTrail":            {`{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","accessKeyId":"AKIAIOSFODNN7EXAMPLE"},"eventName":"CreateLoginProfile","requestParameters":{"userName":"bob","password":"planted1"},"responseElements":{"credentials":{"accessKeyId":"ASIAIOSFODNN7EXAMPLE","sessionToken":"planted2","secretAccessKey":"planted3"}}}`, []string{planted}, []string{"AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "bob"}},
		"GCP secret":            {`{"insertId":"i","logName":"l","protoPayload":{"methodName":"io.k8s.core.v1.secrets.create","request":{"@type":"core.k8s.io/v1.Secret","data":{"a":"cGxhbnRlZDE="}},"authenticationInfo":{"principalEmail":"a@b.c"}}}`, []string{"cGxhbnRlZDE="}, []string{"a@b.c"}},
		"AKS":                   {`{"time":"2026-01-01T00:00:00Z","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","category":"kube-audit","properties":{"log":` + quoted(auditHead+`"objectRef":{"resource":"secrets"},"responseObject":{"kind":"Secret","data":{"a":"cGxhbnRlZDE=","b\"<":"cGxhbnRlZDI="}}}`) + `}}`, []string{"cGxhbnRlZDE=", "cGxhbnRlZDI="}, []string{"kube-audit"}},
		"storage account":       {auditHead + `"requestObject":{"kind":"ConfigMap","data":{"x":"DefaultEndpointsProtocol=https;AccountName=n;AccountKey=plantedplanted+/planted==;EndpointSuffix=core.windows.net"}}}`, []string{planted}, []string{"AccountKey=[redacted:", "EndpointSuffix=core"}},
	}
}

func TestPlantedSecrets(t *testing.T) {
	r := redactor(t)
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			out := string(r.Record([]byte(c.record)))
			if !json.Valid([]byte(c.record)) || !json.Valid([]byte(out)) {
				t.Errorf("no JSON: %s", out)
			}
			for _, s := range c.secret {
				if !strings.Contains(c.record, s) && !strings.Contains(c.record, strings.ReplaceAll(s, "\n", `\n`)) {
					t.Fatalf("%q is not in the record", s)
				}
				if strings.Contains(out, s) {
					t.Errorf("%q is left in %s", s, out)
				}
			}
			for _, s := range c.keep {
				if !strings.Contains(out, s) {
					t.Errorf("%q is gone from %s", s, out)
				}
			}
			if again := string(r.Record([]byte(out))); again != out {
				t.Errorf("redacted twice it is\n%s, once\n%s", again, out)
			}
		})
	}
}

// What looks like a secret and is none stays as it is.
func TestUntouched(t *testing.T) {
	r := redactor(t)
	for _, record := range []string{
		auditHead + `"objectRef":{"resource":"serviceaccounts","name":"token-cleaner","subresource":"token"},"user":{"username":"system:serviceaccount:secret-store:token-reader","extra":{"authentication.kubernetes.io/credential-id":["JTI=6c2e"]}}}`,
		auditHead + `"annotations":{"authentication.k8s.io/legacy-token":"system:serviceaccount:a:b","authentication.k8s.io/legacy-token-manual-secret":"b-token","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"token-x\" of ClusterRole \"secret-reader\" to User \"a\""}}`,
		auditHead + `"requestObject":{"kind":"Pod","spec":{"volumes":[{"name":"t","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}}]}},{"name":"s","secret":{"secretName":"db","items":[{"key":"token","path":"password"}]}}],"containers":[{"env":[{"name":"DB_PASSWORD","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}},{"name":"TOKEN_FILE","value":"/var/run/secrets/token"}],"command":["cat","/var/run/secrets/kubernetes.io/serviceaccount/token"]}],"imagePullSecrets":[{"name":"pull"}]}}}`,
		auditHead + `"requestObject":{"kind":"Role","rules":[{"resources":["secrets","serviceaccounts/token"],"verbs":["get"]}]}}`,
		auditHead + `"requestURI":"/api/v1/namespaces/n/pods/p/exec?command=sh&command=-c&command=curl+-H+%22Authorization%3A+Bearer+%24%28cat+%2Fvar%2Frun%2Fsecrets%2Fkubernetes.io%2Fserviceaccount%2Ftoken%29%22"}`,
		auditHead + `"requestObject":{"kind":"CertificateSigningRequest","spec":{"request":"` + b64("-----BEGIN CERTIFICATE REQUEST-----\n"+strings.Repeat("MIIB", 40)) + `"}}}`,
		auditHead + `"responseStatus":{"message":"secrets \"db\" is forbidden: User \"a\" cannot get resource \"secrets\" in API group \"\" in the namespace \"n\"","code":403}}`,
	} {
		if out := string(r.Record([]byte(record))); out != record {
			t.Errorf("changed:\n%s\n%s", record, out)
		}
	}
}

func TestMark(t *testing.T) {
	a, b := redactor(t), redactor(t)
	other, err := New([]byte("another key of 16+ bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if a.mark("x") != b.mark("x") || a.mark("x") == a.mark("y") || a.mark("x") == other.mark("x") || len(a.mark("x")) != len("[redacted:12345678]") {
		t.Errorf("marks %s %s %s %s", a.mark("x"), b.mark("x"), a.mark("y"), other.mark("x"))
	}
	if _, err := New([]byte("short")); err == nil {
		t.Error("a short key is accepted")
	}
}

type keep struct {
	batch source.Batch
	err   error
}

func (k *keep) Accept(_ context.Context, b source.Batch) error {
	k.batch = b
	return k.err
}

func TestSink(t *testing.T) {
	k := &keep{err: errors.New("?")}
	plain, secret := []byte(`{"a":1}`), []byte(`{"password":"planted"}`)
	in := source.Batch{Source: "s", Records: []file.Record{{Raw: plain}, {Raw: secret}}}
	if err := redactor(t).Sink(k).Accept(t.Context(), in); !errors.Is(err, k.err) {
		t.Error(err)
	}
	if got := k.batch.Records; &got[0].Raw[0] != &plain[0] || bytes.Contains(got[1].Raw, []byte("planted")) || k.batch.Source != "s" {
		t.Errorf("%s", got[1].Raw)
	}
	if string(in.Records[1].Raw) != `{"password":"planted"}` {
		t.Error("the caller's batch was changed")
	}
}

// Needles that share a slot but not their beginning would hide each other.
func TestNeedlesDoNotCollide(t *testing.T) {
	n := 0
	for first, of := range needlesOf {
		if firsts[slot(first)] != first {
			t.Errorf("%q lost its slot", of[0].text)
		}
		for _, x := range of {
			n++
			for _, b := range []string{string(x.text), "xx" + string(x.text) + "xx", strings.Repeat("x", 17) + strings.ToUpper(string(x.text))} {
				if classes([]byte(b))&x.class == 0 {
					t.Errorf("%q is not found in %q", x.text, b)
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d needles", n)
	}
}

// recorded returns the records of all recordings.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	err := filepath.WalkDir("../../../test/recordings", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, ".json") {
			return err
		}
		r, err := file.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				out = append(out, rec.Raw)
			} else if _, bad := errors.AsType[*file.RecordError](err); !bad {
				return nil // golden results
			}
		}
	})
	if err != nil || len(out) < 1000 {
		t.Fatalf("%d records: %v", len(out), err)
	}
	return out
}

func BenchmarkRecord(b *testing.B) {
	r := redactor(b)
	records := recorded(b)
	var quiet, hot [][]byte
	for _, rec := range records {
		if triggered(rec) {
			hot = append(hot, rec)
		} else {
			quiet = append(quiet, rec)
		}
	}
	for name, set := range map[string][][]byte{"all": records, "without trigger": quiet, "with trigger": hot} {
		b.Run(name, func(b *testing.B) {
			size, i := 0, 0
			for b.Loop() {
				rec := set[i%len(set)]
				size += len(rec)
				r.Record(rec)
				i++
			}
			b.ReportMetric(float64(size)/float64(b.N), "B/record")
			b.ReportMetric(100*float64(len(set))/float64(len(records)), "%records")
		})
	}
}

func FuzzRecord(f *testing.F) {
	for _, c := range shapes() {
		f.Add([]byte(c.record))
	}
	f.Add([]byte(`{"password":`))
	f.Add([]byte(`[{"a":"{\"token\":\"x\"}"}] x`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := redactor(t)
		before := string(raw)
		out := r.Record(raw)
		if string(raw) != before {
			t.Fatal("the input was changed")
		}
		if json.Valid(raw) && !json.Valid(out) {
			t.Errorf("%q became %q", raw, out)
		}
		if !triggered(raw) {
			if slow := r.document(raw, hitsOf(raw), false, 0); json.Valid(raw) && !bytes.Equal(slow, raw) {
				t.Errorf("no trigger, but %q became %q", raw, slow)
			}
		}
	})
}

func FuzzHits(f *testing.F) {
	f.Add([]byte("xx TOKEN yy"))
	f.Add([]byte(`"authorization" passwd=1 github_pat_ kubeconfig`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var want []int
		for i, c := next(b, 0); c != 0; i, c = next(b, i+1) {
			want = append(want, i)
		}
		if got := hitsOf(b).at; !slices.Equal(got, want) {
			t.Errorf("%q: %v, looking everywhere finds %v", b, got, want)
		}
	})
}

func TestEveryNeedleIsFoundEverywhere(t *testing.T) {
	for _, of := range needlesOf {
		for _, n := range of {
			for before := range 20 {
				for after := range 20 {
					b := []byte(strings.Repeat("#", before) + strings.ToUpper(string(n.text)) + strings.Repeat("#", after))
					if at := hitsOf(b).at; len(at) == 0 || at[0] != before {
						t.Fatalf("%q is found at %d, want %d", b, at, before)
					}
				}
			}
		}
	}
}
