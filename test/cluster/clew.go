package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	clewAddress = controlPlane + ":8443"
	// source is the one that `clew up` has without being told.
	source = "k8s-audit"
)

// Clew is a running `clew up`.
type Clew struct {
	process *process
	http    *http.Client
	token   string
	ca      []byte
}

// StartClew runs the server on the control plane's machine with its data in dir,
// and returns when it answers. Stop must be called.
func StartClew(ctx context.Context, dir string) (*Clew, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	c := &Clew{token: "clew_test_" + strings.ToLower(rand.Text()+rand.Text())}
	var err error
	c.process, err = start(context.Background(), dir, "clew", os.Getenv(clewVar),
		[]string{"CLEW_AUTH_FIRST_ADMIN=env:FIRST_ADMIN", "FIRST_ADMIN=" + c.token},
		"up", "--data", filepath.Join(dir, "data"), "--listen", clewAddress, "--cluster", "real", "--tls-names", controlPlane)
	if err != nil {
		return nil, err
	}
	if err := c.process.until(ctx, func(ctx context.Context) error { return c.ready(ctx, filepath.Join(dir, "data", "tls", "ca.crt")) }); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends the server in order.
func (c *Clew) Stop() { c.process.end() }

func (c *Clew) ready(ctx context.Context, ca string) error {
	if c.http == nil {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return errors.New("the authority is not written yet")
		}
		c.ca = pem
		c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+clewAddress+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only its status is wanted
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("clew answers %s", answer.Status)
	}
	return nil
}

// call asks a procedure of the API in JSON, as curl would.
func (c *Clew) call(ctx context.Context, procedure string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+clewAddress+"/clew.v1."+procedure, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", procedure, answer.Status, text)
	}
	return json.Unmarshal(text, out)
}

// Webhook makes a token with which an API server may post, and nothing else.
func (c *Clew) Webhook(ctx context.Context) (Webhook, error) {
	var made struct{ Secret string }
	ask := map[string]any{"name": "kube-apiserver", "role": "ROLE_INGEST", "source": source}
	err := c.call(ctx, "SystemService/CreateToken", ask, &made)
	return Webhook{URL: "https://" + clewAddress + "/v1/sources/" + source, CA: c.ca, Token: made.Secret}, err
}

// Trace is what the scripts look at in a trace.
type Trace struct {
	ID     string
	Score  float64
	Alert  bool
	Actors []string
	Last   time.Time // of its latest flag, by the API server's clock
	Flags  []struct {
		Rule         string
		Message      string
		Contribution float64
		First        time.Time // the event's, by the API server's clock
		Event        struct{ User string }
	}
}

// Has reports whether user raised a flag of the trace, as far as flags were asked
// for, or is among its first actors.
func (t *Trace) Has(user string) bool {
	for i := range t.Flags {
		if t.Flags[i].Event.User == user {
			return true
		}
	}
	for _, a := range t.Actors {
		if a == user {
			return true
		}
	}
	return false
}

// String tells the story of the trace.
func (t *Trace) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s score %.1f alert %v of %s", t.ID, t.Score, t.Alert, strings.Join(t.Actors, ", "))
	for _, f := range t.Flags {
		fmt.Fprintf(&b, "\n\t%5.1f %s: %s", f.Contribution, f.Rule, f.Message)
	}
	return b.String()
}

// Traces returns the traces there are, with their flags; only alerts when told so.
func (c *Clew) Traces(ctx context.Context, alerts bool) ([]Trace, error) {
	return c.list(ctx, map[string]any{"alertsOnly": alerts})
}

// Search returns the traces that have text in a message, a user, an entity or a rule,
// with their flags.
func (c *Clew) Search(ctx context.Context, text string) ([]Trace, error) {
	return c.list(ctx, map[string]any{"text": text})
}

func (c *Clew) list(ctx context.Context, filter map[string]any) ([]Trace, error) {
	var list struct{ Traces []Trace }
	ask := map[string]any{"pageSize": 500, "filter": filter}
	if err := c.call(ctx, "TraceService/ListTraces", ask, &list); err != nil {
		return nil, err
	}
	for i := range list.Traces {
		var one struct{ Trace Trace }
		if err := c.call(ctx, "TraceService/GetTrace", map[string]any{"id": list.Traces[i].ID}, &one); err != nil {
			return nil, err
		}
		list.Traces[i] = one.Trace
	}
	return list.Traces, nil
}

// Progress is how far the server is with what was posted.
type Progress struct {
	Accepted uint64 // records of the source
	Worked   uint64 // events that the engine took in
	Problems []string
}

// Progress asks for the state of the server.
func (c *Clew) Progress(ctx context.Context) (Progress, error) {
	var s struct {
		Problems []string
		Sources  []struct {
			Name    string
			Records uint64 `json:",string"`
		}
		Workers []struct {
			Cluster string
			Events  uint64 `json:",string"`
		}
	}
	if err := c.call(ctx, "SystemService/GetStatus", struct{}{}, &s); err != nil {
		return Progress{}, err
	}
	p := Progress{Problems: s.Problems}
	for _, v := range s.Sources {
		if v.Name == source {
			p.Accepted = v.Records
		}
	}
	for _, v := range s.Workers {
		p.Worked += v.Events
	}
	return p, nil
}
