package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/eventhub"
	"github.com/clew-sec/clew/internal/source/push"
	sqssource "github.com/clew-sec/clew/internal/source/sqs"
	"github.com/clew-sec/clew/internal/source/tail"
)

// maxInFlight bounds the bytes of posts in memory.
const maxInFlight = 512 << 20

// sources are the ways in that the configuration names.
type sources struct {
	sink   source.Sink
	pos    tail.Positions
	budget *push.Budget

	meters  map[string]*source.Meter
	order   []string
	posts   map[string]http.Handler // by name, of those that are posted to
	pullers []func(context.Context) // those that fetch; each ends with its context
}

func newSources(sink source.Sink, pos tail.Positions) *sources {
	return &sources{sink: sink, pos: pos, budget: push.NewBudget(maxInFlight), meters: map[string]*source.Meter{}, posts: map[string]http.Handler{}}
}

// add makes a source ready. Nothing is received before run.
func (s *sources) add(ctx context.Context, c config.Source) error {
	m := source.NewMeter(c.Name, c.Kind, c.Cluster)
	s.meters[c.Name] = m
	s.order = append(s.order, c.Name)
	if h := s.handler(c, m); h != nil {
		s.posts[c.Name] = h
		return nil
	}
	switch c.Kind {
	case "file":
		return s.addFiles(c, m)
	case "eventhub":
		return s.addEventHub(c, m)
	case "sqs":
		return s.addSQS(ctx, c, m)
	}
	return fmt.Errorf("source %q has a kind that is not known: %q", c.Name, c.Kind)
}

// handler returns what takes the posts of a source, nil when it is not posted to.
func (s *sources) handler(c config.Source, m *source.Meter) http.Handler {
	cfg := push.Config{Name: c.Name, Cluster: c.Cluster, Sink: s.sink, Meter: m, Budget: s.budget, MaxBody: int64(c.MaxBody)}
	switch c.Kind {
	case "k8s-webhook":
		return push.Webhook(cfg)
	case "firehose":
		return push.Firehose(cfg)
	case "pubsub":
		return push.PubSub(cfg)
	case "ndjson":
		return push.Records(cfg)
	}
	return nil
}

// longestPost is how many bytes the server lets through to its sources: as many as
// the one that takes the longest posts; each has its own bound behind it.
func longestPost(list []config.Source) int64 {
	longest := int64(push.DefaultMaxBody)
	for _, c := range list {
		longest = max(longest, int64(c.MaxBody))
	}
	return longest
}

// addFiles follows each file that the patterns match. A pattern that matches none
// yet is followed as it stands: the file may come.
func (s *sources) addFiles(c config.Source, m *source.Meter) error {
	for _, pattern := range c.Paths {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("source %q: pattern %q: %w", c.Name, pattern, err)
		}
		if len(paths) == 0 {
			paths = []string{pattern}
		}
		for _, path := range paths {
			t := tail.New(tail.Config{
				Name: c.Name, Cluster: c.Cluster, Path: path, Sink: s.sink, Meter: m, Positions: fileOf{s.pos, path}, FromEnd: c.From == "end",
			})
			s.pullers = append(s.pullers, func(ctx context.Context) { retry(ctx, m, t.Run) })
		}
	}
	return nil
}

// fileOf keeps the positions of one of the files of a source under names of its own.
type fileOf struct {
	tail.Positions
	path string
}

// Load implements tail.Positions.
func (f fileOf) Load(ctx context.Context, name string) (tail.Position, bool, error) {
	return f.Positions.Load(ctx, name+"/"+f.key())
}

// Save implements tail.Positions.
func (f fileOf) Save(ctx context.Context, name string, p tail.Position) error {
	return f.Positions.Save(ctx, name+"/"+f.key(), p)
}

func (f fileOf) key() string { return "file:" + f.path }

func (s *sources) addEventHub(c config.Source, m *source.Meter) error {
	secret, err := c.ConnectionString.Read()
	if err != nil {
		return fmt.Errorf("source %q: %w", c.Name, err)
	}
	roots, err := authorities(c.CAFile)
	if err != nil {
		return fmt.Errorf("source %q: %w", c.Name, err)
	}
	group := c.Group
	if group == "" {
		group = "$Default"
	}
	hub, err := eventhub.New(eventhub.Config{
		Name: c.Name, Cluster: c.Cluster, Brokers: c.Brokers, Hub: c.Topic, Group: group, ConnectionString: secret,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, Sink: s.sink, Meter: m,
	})
	if err != nil {
		return fmt.Errorf("source %q: %w", c.Name, err)
	}
	s.pullers = append(s.pullers, hub.Run)
	return nil
}

// authorities reads a PEM file; nil, the system's, when there is none.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading authorities: no certificate in %q", file)
	}
	return pool, nil
}

func (s *sources) addSQS(ctx context.Context, c config.Source, m *source.Meter) error {
	aws, err := awsOf(ctx, c.Region, c.Endpoint, c.AccessKeyID, c.SecretAccessKey)
	if err != nil {
		return fmt.Errorf("source %q: %w", c.Name, err)
	}
	r := sqssource.New(sqssource.Config{
		Name: c.Name, Cluster: c.Cluster, QueueURL: c.QueueURL, Queue: sqs.NewFromConfig(aws), Objects: s3Of(aws), Sink: s.sink, Meter: m,
	})
	s.pullers = append(s.pullers, r.Run)
	return nil
}

// retry runs f until ctx ends, with a pause when it failed.
func retry(ctx context.Context, m *source.Meter, f func(context.Context) error) {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil {
			m.Failed(err, time.Now())
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// ServeHTTP hands a post to the source in its path.
func (s *sources) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, ok := s.posts[r.PathValue("source")]
	if !ok {
		http.Error(w, "there is no such source", http.StatusNotFound)
		return
	}
	h.ServeHTTP(w, r)
}

// meter returns the meter of a source, nil when it is not known.
func (s *sources) meter(name string) *source.Meter { return s.meters[name] }

// statuses returns how the sources are doing, in the order of the configuration.
func (s *sources) statuses() []source.Status {
	out := make([]source.Status, 0, len(s.order))
	for _, name := range s.order {
		out = append(out, s.meters[name].Status())
	}
	return out
}

// foreign takes the tokens that Google signs its pushes with.
type foreign []googlePush

type googlePush struct {
	source string
	oidc   *push.OIDC
}

func newForeign(ctx context.Context, list []config.Source) (auth.Verifier, error) {
	var f foreign
	for _, c := range list {
		if c.Kind != "pubsub" || c.Audience == "" {
			continue
		}
		o, err := push.NewOIDC(ctx, push.OIDCConfig{Audience: c.Audience, Email: c.ServiceAccount})
		if err != nil {
			return nil, fmt.Errorf("source %q: %w", c.Name, err)
		}
		f = append(f, googlePush{c.Name, o})
	}
	if f == nil {
		return nil, nil
	}
	return f, nil
}

// Verify implements auth.Verifier.
func (f foreign) Verify(ctx context.Context, token string) (auth.Principal, error) {
	var errs []error
	for _, g := range f {
		err := g.oidc.Authenticate(ctx, push.Credential{Scheme: push.Bearer, Secret: token})
		if err == nil {
			return auth.Principal{Name: "Google Pub/Sub", Role: auth.Ingest, Source: g.source}, nil
		}
		errs = append(errs, err)
	}
	return auth.Principal{}, errors.Join(errs...)
}
