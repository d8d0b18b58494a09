package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/clew-sec/clew/internal/config"
)

const header = "apiVersion: clew/v1\nkind: Server\n"

// full has every key.
const full = header + `dataDir: /data
cluster: prod
listen: 0.0.0.0:9443
logLevel: debug
demo: true
tls: {names: [clew.example.org, 192.0.2.1], clientCAFile: /tls/clients.pem}
auth:
  tokensFile: /etc/clew/tokens
  firstAdmin: file:/run/secrets/admin
  metricsToken: env:METRICS
log:
  urls: ["nats://a:4222", "tls://b:4222"]
  credsFile: /c
  caFile: /ca
  certFile: /crt
  keyFile: /key
  replicas: 5
  maxBytes: 20GiB
  maxAge: 1h30m
  minFree: 2147483648
  sync: 100ms
history:
  s3: {bucket: b, endpoint: "https://s3.example.org", region: eu-central-1, prefix: clew/, accessKeyID: env:A, secretAccessKey: env:B}
  maxAge: 30d
  maxBytes: 1TiB
engine: {window: 1m, snapshotInterval: 5m}
redact: {patterns: ["pw=[^ ]+"]}
sources:
  - {name: audit, kind: k8s-webhook, clientName: apiserver, maxBody: 32MiB}
  - {name: tail, kind: file, cluster: other, paths: [/var/log/*.log], from: beginning}
  - {name: fh, kind: firehose}
  - {name: ps, kind: pubsub, audience: x, serviceAccount: a@b.iam.gserviceaccount.com}
  - {name: eh, kind: eventhub, brokers: ["h:9093"], topic: t, group: g, connectionString: file:/eh, caFile: /ca}
  - {name: ct, kind: sqs, queueURL: "https://sqs.example.org/1/q", region: r, endpoint: "https://e.example.org", accessKeyID: env:A, secretAccessKey: env:B}
  - {name: any, kind: ndjson}
`

func parse(t *testing.T, text string, env ...string) (*config.Config, error) {
	t.Helper()
	return config.Parse(config.Input{File: "clew.yaml", Env: env}, []byte(text))
}

func mustParse(t *testing.T, text string, env ...string) *config.Config {
	t.Helper()
	c, err := parse(t, text, env...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEmptyFileWorks(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", header} {
		c := mustParse(t, text, "HOME=/home/u")
		if c.DataDir != "/home/u/.local/share/clew" || c.Log.Dir != "/home/u/.local/share/clew/log" ||
			c.History.Dir != "/home/u/.local/share/clew/history" || c.Listen != "127.0.0.1:8080" || c.Log.Replicas != 1 {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestEveryKey(t *testing.T) {
	c := mustParse(t, full)
	if c.Log.MinFree != 2<<30 || c.Log.MaxAge != config.Duration(90*time.Minute) || c.History.MaxAge != config.Duration(720*time.Hour) ||
		c.Sources[0].Cluster != "prod" || c.Sources[1].Cluster != "other" || c.Sources[0].MaxBody != 32<<20 || c.History.Dir != "" || c.Log.Dir != "" {
		t.Errorf("%+v", c)
	}
	for _, key := range config.Keys() {
		name := key[strings.LastIndexByte(key, '.')+1:]
		if !strings.Contains(full, name+":") && key != "log.dir" && key != "history.dir" {
			t.Errorf("the text with every key has no %s", key)
		}
	}
}

func TestEffectiveReadsBack(t *testing.T) {
	for _, text := range []string{"", full} {
		c := mustParse(t, text)
		var b strings.Builder
		if err := c.Effective(&b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, mustParse(t, b.String())); d != "" {
			t.Errorf("-before +after:\n%s\n%s", d, b.String())
		}
	}
}

func TestPrecedence(t *testing.T) {
	in := config.Input{File: "f", Env: []string{"CLEW_LOG_MAX_BYTES=2GiB", "CLEW_TLS_NAMES=a, b"}, Flags: map[string]string{"log.maxBytes": "3GiB"}}
	text := []byte(header + "log: {maxBytes: 1GiB}\n")
	c, err := config.Parse(in, text)
	if err != nil || c.Log.MaxBytes != 3<<30 || !cmp.Equal(c.TLS.Names, []string{"a", "b"}) {
		t.Errorf("flag over env over file: %+v, %v", c, err)
	}
	in.Flags = nil
	if c, err = config.Parse(in, text); err != nil || c.Log.MaxBytes != 2<<30 {
		t.Errorf("env over file: %+v, %v", c, err)
	}
	in.Env = nil
	if c, err = config.Parse(in, text); err != nil || c.Log.MaxBytes != 1<<30 {
		t.Errorf("file over default: %+v, %v", c, err)
	}
}

func TestEnvNames(t *testing.T) {
	want := map[string]string{"log.maxBytes": "CLEW_LOG_MAX_BYTES", "tls.clientCAFile": "CLEW_TLS_CLIENT_CA_FILE", "history.s3.accessKeyID": "CLEW_HISTORY_S3_ACCESS_KEY_ID", "log.urls": "CLEW_LOG_URLS", "dataDir": "CLEW_DATA_DIR"}
	seen := map[string]string{}
	for _, key := range config.Keys() {
		name := config.EnvName(key)
		if w, ok := want[key]; ok && w != name {
			t.Errorf("%s: %s, want %s", key, name, w)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s are both %s", key, other, name)
		}
		seen[name] = key
	}
}

func TestProblems(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":     {header + "log:\n  maxbytes: 1\n", "clew.yaml:4:3: unknown key \"maxbytes\" in log; there are dir, urls, credsFile, caFile, certFile, keyFile, replicas, maxBytes, maxAge, minFree, sync\n    maxbytes: 1\n    ^"},
		"unknown at top":  {header + "colour: red\n", `clew.yaml:3:1: unknown key "colour" in the file`},
		"twice":           {header + "demo: true\ndemo: false\n", "clew.yaml:4:1: "},
		"type":            {header + "log: {maxBytes: [1]}\n", "clew.yaml:3:17: log.maxBytes must be a string, it is a list"},
		"size":            {header + "log:\n  maxBytes: 10 GB\n", "clew.yaml:4:13: log.maxBytes: not a size such as 512MiB or 10GiB\n    maxBytes: 10 GB\n              ^"},
		"small":           {header + "log:\n  maxBytes: 1\n", "clew.yaml:4:13: log.maxBytes: must be 64MiB or more"},
		"no header":       {"demo: true\n", "clew.yaml:1:1: the file has no apiVersion: clew/v1"},
		"other version":   {"apiVersion: clew/v2\nkind: Server\n", "clew.yaml:1:13: apiVersion must be clew/v1"},
		"not a mapping":   {"- a\n", "the file must be a mapping, it is a list"},
		"syntax":          {header + "a: [\n", "clew.yaml:3:"},
		"second document": {header + "---\na: b\n", "a second document"},
		"alias":           {header + "cluster: &a x\nlisten: *a\n", "not allowed"},
		"half a pair":     {header + "tls: {certFile: /c}\n", "tls: certFile and keyFile go together"},
		"both":            {header + "log:\n  dir: /x\n  urls: ['nats://a']\n", "an external log has no dir"},
		"source kind":     {header + "sources:\n- name: a\n  kind: syslog\n", "clew.yaml:5:9: sources[0].kind: must be one of k8s-webhook"},
		"key of another":  {header + "sources:\n- name: a\n  kind: file\n  paths: [/x]\n  topic: t\n", "clew.yaml:7:3: a source of kind file has no key \"topic\""},
		"needed":          {header + "sources:\n- name: a\n  kind: file\n", "clew.yaml:4:3: sources[0]: a source of kind file needs paths"},
		"twins":           {header + "sources:\n- {name: a, kind: ndjson}\n- {name: a, kind: ndjson}\n", "two sources are called a"},
		"path in a name":  {header + "sources:\n- {name: ../a, kind: ndjson}\n", "sources[0].name: must be a-z"},
		"path in cluster": {header + "cluster: ../../etc\n", "cluster: must be a-z"},
		"relative path":   {header + "sources:\n- {name: a, kind: file, paths: [x.log]}\n", "sources[0].paths[0]: must be an absolute path"},
		"certificate":     {header + "sources:\n- {name: a, kind: ndjson, clientName: x}\n", "needs tls.clientCAFile"},
		"one client name": {header + "tls: {clientCAFile: /c}\nsources:\n- {name: a, kind: ndjson, clientName: x}\n- {name: b, kind: ndjson, clientName: x}\n", "clew.yaml:6:39: sources[1].clientName: the source a has the same"},
		"pushes unsigned": {header + "sources:\n- name: a\n  kind: pubsub\n", "clew.yaml:4:3: sources[0]: a source of kind pubsub needs audience and serviceAccount, or the clientName of a relay: Google cannot send"},
		"no account":      {header + "sources:\n- name: a\n  kind: pubsub\n  audience: x\n", "clew.yaml:6:13: sources[0].audience: needs serviceAccount: anyone"},
		"no audience":     {header + "sources:\n- name: a\n  kind: pubsub\n  serviceAccount: x\n", "clew.yaml:6:19: sources[0].serviceAccount: needs audience"},
		"one audience":    {header + "sources:\n- {name: a, kind: pubsub, audience: x, serviceAccount: y}\n- {name: b, kind: pubsub, audience: x, serviceAccount: y}\n", "clew.yaml:5:37: sources[1].audience: the source a has the same"},
		"pattern":         {header + "redact: {patterns: ['(']}\n", "redact.patterns[0]: "},
		"negative":        {header + "history: {maxAge: -1h}\n", "not a duration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got\n%v\nwant\n%s", err, tc.want)
			}
		})
	}
}

func TestEveryProblemIsNamed(t *testing.T) {
	_, err := parse(t, header+"a: 1\nb: 2\ndemo: x\n", "CLEW_LOG_SNYC=1s", "CLEW_LOG_MAX_AGE=soon", "CLEW_TOKEN=of-the-client")
	var ps config.Problems
	if !errors.As(err, &ps) || len(ps) != 5 {
		t.Fatalf("got %v, want 5 problems", err)
	}
	if !strings.Contains(err.Error(), "CLEW_LOG_SNYC: no key has this variable") || !strings.Contains(err.Error(), "CLEW_LOG_MAX_AGE: log.maxAge: not a duration") {
		t.Error(err)
	}
}

// TestSecretsDoNotPrint plants secrets wherever a person might put one and looks
// for them in all that the package writes.
func TestSecretsDoNotPrint(t *testing.T) {
	const planted = "hunter2"
	for _, text := range []string{
		"auth:\n  firstAdmin: " + planted + "\n",
		"auth: {firstAdmin: {value: " + planted + "}}\n",
		"history:\n  s3:\n    bucket: b\n    secretAccessKey: '" + planted + "'\n",
		"log:\n  urls: ['nats://user:" + planted + "@host']\n",
		"log:\n  urls: [\n    'nats://user:" + planted + "@host:x']\n",
		"sources:\n- {name: a, kind: eventhub, brokers: ['h:1'], topic: t, connectionString: Endpoint=x;SharedAccessKey=" + planted + "}\n",
		"auth:\n  firstAdmin: \"" + planted + "\n",
	} {
		_, err := parse(t, header+text)
		if err == nil {
			t.Errorf("%q was taken", text)
		} else if strings.Contains(err.Error(), planted) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if _, err := parse(t, "", "CLEW_AUTH_FIRST_ADMIN="+planted); err == nil || strings.Contains(err.Error(), planted) {
		t.Errorf("from the environment: %v", err)
	}
	c := config.Default(os.Getenv)
	c.Log.URLs = []string{"nats://user:" + planted + "@host"}
	var b strings.Builder
	if err := c.Effective(&b); err != nil || strings.Contains(b.String(), planted) || !strings.Contains(b.String(), "***") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if d := config.Diff(config.Default(os.Getenv), c); len(d) != 1 || strings.Contains(d[0].New, planted) {
		t.Errorf("%+v", d)
	}
}

func TestSecretRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(file, []byte(" x y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONFIG_TEST_SECRET", "z")
	for ref, want := range map[config.Secret]string{config.Secret("file:" + file): "x y", "env:CONFIG_TEST_SECRET": "z", "": ""} {
		if got, err := ref.Read(); got != want || err != nil {
			t.Errorf("%q: %q, %v", ref, got, err)
		}
	}
	for _, ref := range []config.Secret{"env:CONFIG_TEST_NONE", "file:/nowhere"} {
		if _, err := ref.Read(); err == nil {
			t.Errorf("%q: no error", ref)
		}
	}
}

func TestDiff(t *testing.T) {
	a := mustParse(t, header+"sources:\n- {name: a, kind: ndjson}\n- {name: b, kind: ndjson}\n")
	b := mustParse(t, header+"logLevel: warn\nlisten: 0.0.0.0:1\nhistory: {maxAge: 1d}\nsources:\n- {name: b, kind: firehose}\n- {name: c, kind: ndjson}\n")
	want := []config.Change{
		{Key: "listen", Old: "127.0.0.1:8080", New: "0.0.0.0:1"},
		{Key: "logLevel", Old: "info", New: "warn", Reload: true},
		{Key: "history.maxAge", Old: "90d", New: "1d", Reload: true},
		{Key: "sources.b", Old: "name: b, kind: ndjson, cluster: local", New: "name: b, kind: firehose, cluster: local"},
		{Key: "sources.c", New: "name: c, kind: ndjson, cluster: local"},
		{Key: "sources.a", Old: "name: a, kind: ndjson, cluster: local"},
	}
	if d := cmp.Diff(want, config.Diff(a, b)); d != "" {
		t.Error(d)
	}
	if got := config.Diff(a, a); got != nil {
		t.Errorf("nothing changed: %v", got)
	}
}

func TestValues(t *testing.T) {
	for _, s := range []string{"0s", "30s", "1m", "1h30m", "36h", "90d", "100ms"} {
		if d, err := config.ParseDuration(s); err != nil || d.String() != s {
			t.Errorf("%s: %s, %v", s, d, err)
		}
	}
	for _, s := range []string{"0", "1", "1023", "1KiB", "1536MiB", "8191TiB"} {
		if b, err := config.ParseBytes(s); err != nil || b.String() != s {
			t.Errorf("%s: %s, %v", s, b, err)
		}
	}
	for _, s := range []string{"", "-1", "8388608TiB", "1GB", "1.5GiB", "x"} {
		if b, err := config.ParseBytes(s); err == nil {
			t.Errorf("%q is %s", s, b)
		}
	}
	for _, s := range []string{"", "-1s", "1w", "d", "106752d", "999999999999d"} {
		if d, err := config.ParseDuration(s); err == nil {
			t.Errorf("%q is %s", s, d)
		}
	}
}

// FuzzParse holds that any file is a configuration or has problems, and that a
// configuration is read back as it was printed.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", header, full, "a: [", "? a", "- a", "--- a\n--- b", header + "sources: [{}]", header + "log: &a {}\ntls: *a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse(config.Input{File: "f"}, []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v: exactly one is wanted", c, err)
		}
		if c == nil {
			return
		}
		var b strings.Builder
		if err := c.Effective(&b); err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse(config.Input{File: "f"}, []byte(b.String()))
		if err != nil || !cmp.Equal(c, again) {
			t.Errorf("%v\n%s\n%s", err, b.String(), cmp.Diff(c, again))
		}
	})
}
