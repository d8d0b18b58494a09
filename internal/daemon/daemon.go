// Package daemon starts what a configuration names, in the order of the data, and
// stops it the other way round: what sends first, what stores last.
package daemon

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clew-sec/clew/internal/auditpolicy"
	"github.com/clew-sec/clew/internal/bus"
	"github.com/clew-sec/clew/internal/config"
	"github.com/clew-sec/clew/internal/detect"
	"github.com/clew-sec/clew/internal/engine"
	"github.com/clew-sec/clew/internal/matrix"
	"github.com/clew-sec/clew/internal/pipeline"
	"github.com/clew-sec/clew/internal/server"
	"github.com/clew-sec/clew/internal/server/api"
	"github.com/clew-sec/clew/internal/server/auth"
	"github.com/clew-sec/clew/internal/server/cert"
	"github.com/clew-sec/clew/internal/source"
	"github.com/clew-sec/clew/internal/source/redact"
	"github.com/clew-sec/clew/internal/store/blob"
	"github.com/clew-sec/clew/internal/store/parquet"
	"github.com/clew-sec/clew/internal/store/state"
	"github.com/clew-sec/clew/internal/trace"
)

// Options is what a server runs with. All but Announce and Play must be set.
type Options struct {
	Config            *config.Config
	Rules             *detect.Set
	Matrix            *matrix.Matrix
	Version, Revision string
	Log               *slog.Logger
	// Announce is told once where the server listens.
	Announce func(Announcement)
	// Reload gives configurations that take the place of Config, as far as a running
	// server takes changes; nil for never.
	Reload <-chan *config.Config
	// Lint says which rules see nothing, or not all, under the policy that levels
	// observed in the log speak of, by rule id; nil for never.
	Lint func([]auditpolicy.Observed) (map[string]string, error)
	// Play sends recordings when the configuration asks for the demonstration.
	Play func(ctx context.Context, sink source.Sink, cluster string) error
}

// Announcement is what a person needs to connect.
type Announcement struct {
	Address     string // host:port
	Fingerprint string // of the authority, or of the given certificate: "sha256:…"
	CAFile      string // "" with a given certificate
	SetupToken  string // for the first administrator; "" when there is one
	LocalToken  string // an administrator's, for who may read the data folder; ends with the server
}

// daemon is a server that is being started, runs, or is being stopped.
type daemon struct {
	Options
	stops []func(context.Context) error // run from the last to the first

	log      *bus.Log
	state    *state.Store
	history  *parquet.Store
	live     *pipeline.Live
	evidence *bus.Objects
	sources  *sources
	auth     *auth.Authenticator
	trail    trail
	cert     *cert.Keeper
	server   *server.Server
	signing  ed25519.PrivateKey
	started  time.Time

	suppressions chan []trace.Suppression // the latest, for suppress
	blind        atomic.Pointer[map[string]string]
}

// maintainEvery is how often the history looks after itself.
const maintainEvery = 5 * time.Second

// What the history may take of memory: rows that are in no segment yet, and indexes of
// segments. A server of 1 GiB has room for both.
const (
	historyMemory  = 192 << 20
	historyIndexes = 64 << 20
)

// stopTime bounds how long stopping may take.
const stopTime = 30 * time.Second

// Run serves until ctx ends, then stops in order. The error says what could not be
// started, or stopped.
func Run(ctx context.Context, o Options) (err error) {
	d := &daemon{Options: o, started: time.Now(), suppressions: make(chan []trace.Suppression, 1)}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		for _, stop := range slices.Backward(d.stops) {
			err = errors.Join(err, stop(last))
		}
	}()
	for _, start := range []func(context.Context) error{
		d.openFolder, d.openLog, d.openState, d.openHistory, d.openLive, d.openSources, d.openAuth, d.openServer,
	} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	return d.serve(ctx)
}

func (d *daemon) onStop(f func(context.Context) error) { d.stops = append(d.stops, f) }

// background runs f until the server stops, and waits for its end then.
func (d *daemon) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	d.onStop(func(context.Context) error {
		cancel()
		wg.Wait()
		return nil
	})
}

func (d *daemon) openFolder(context.Context) error {
	if err := os.MkdirAll(d.Config.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	seed, err := secretFile(filepath.Join(d.Config.DataDir, "keys", "signing"), ed25519.SeedSize)
	if err != nil {
		return err
	}
	d.signing = ed25519.NewKeyFromSeed(seed)
	return nil
}

func (d *daemon) openLog(ctx context.Context) error {
	c := &d.Config.Log
	cfg := bus.Config{
		Dir: c.Dir, URLs: c.URLs, CredsFile: c.CredsFile, TLS: bus.TLS{CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile},
		MaxBytes: int64(c.MaxBytes), MaxAge: time.Duration(c.MaxAge), MinFreeBytes: int64(c.MinFree), Replicas: c.Replicas,
		SyncInterval: time.Duration(c.Sync), SyncAlways: c.Sync == 0 && len(c.URLs) == 0,
	}
	var err error
	if d.log, err = bus.Open(ctx, cfg, d.Log); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	d.onStop(d.log.Close)
	return nil
}

func (d *daemon) openState(ctx context.Context) error {
	kv, err := d.log.KV(ctx, "state")
	if err != nil {
		return err
	}
	d.state = state.New(state.Config{KV: stateKV{kv}, Now: time.Now, Log: d.Log, Suppressed: d.suppressed})
	ready := make(chan struct{})
	var once sync.Once
	d.background(func(ctx context.Context) {
		for ctx.Err() == nil {
			if err := d.state.Run(ctx, func() { once.Do(func() { close(ready) }) }); err != nil {
				d.Log.Error("following the state", "error", err)
				time.Sleep(time.Second)
			}
		}
	})
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reading the state: %w", ctx.Err())
	}
}

// suppressed notes suppressions for suppress, the latest ones if it is behind. It
// does not wait: the state calls it in the midst of a change.
func (d *daemon) suppressed(list []trace.Suppression) {
	for {
		select {
		case d.suppressions <- list:
			return
		case <-d.suppressions:
		}
	}
}

// suppress hands suppressions to the workers.
func (d *daemon) suppress(ctx context.Context) {
	for {
		select {
		case list := <-d.suppressions:
			if err := d.live.SetSuppressions(ctx, list); err != nil && ctx.Err() == nil {
				d.Log.Error("setting suppressions", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (d *daemon) openHistory(ctx context.Context) error {
	blobs, err := d.blobs(ctx)
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	c := &d.Config.History
	d.history, err = parquet.Open(ctx, parquet.Config{Blobs: blobs, MemoryBytes: historyMemory, IndexBytes: historyIndexes, MaxAge: time.Duration(c.MaxAge), MaxBytes: int64(c.MaxBytes), Log: d.Log})
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	d.onStop(d.history.Close)
	d.background(func(ctx context.Context) {
		t := time.NewTicker(maintainEvery)
		defer t.Stop()
		for {
			select {
			case now := <-t.C:
				if err := d.history.Maintain(ctx, now); err != nil && ctx.Err() == nil {
					d.Log.Error("maintaining the history", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

func (d *daemon) blobs(ctx context.Context) (parquet.Blobs, error) {
	c := &d.Config.History.S3
	if c.Bucket == "" {
		return blob.NewFolder(d.Config.History.Dir)
	}
	aws, err := awsOf(ctx, c.Region, c.Endpoint, c.AccessKeyID, c.SecretAccessKey)
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(s3Of(aws), c.Bucket, c.Prefix), nil
}

func (d *daemon) openLive(ctx context.Context) error {
	objects, err := d.log.Objects(ctx, "snapshots")
	if err != nil {
		return err
	}
	marks, err := d.log.KV(ctx, "positions")
	if err != nil {
		return err
	}
	if d.evidence, err = d.log.Objects(ctx, "evidence"); err != nil {
		return err
	}
	d.live, err = pipeline.StartLive(ctx, pipeline.LiveConfig{
		Log: d.log, Rules: d.Rules, Engine: engine.Config{Window: time.Duration(d.Config.Engine.Window)},
		Traces: api.Publisher{Traces: d.state}, Snapshots: snapshots{objects}, SnapshotEvery: time.Duration(d.Config.Engine.SnapshotInterval),
		Archive: func(ctx context.Context, cluster string) (pipeline.Archive, error) {
			return d.history.Writer(ctx, cluster)
		},
		Marks: positions{marks},
		Meter: func(name string) *source.Meter {
			if d.sources == nil {
				return nil
			}
			return d.sources.meter(name)
		},
		Logger: d.Log,
	}, d.clusters())
	if err != nil {
		return err
	}
	d.onStop(func(context.Context) error { d.live.Stop(); return nil })
	d.background(d.suppress)
	if d.Lint != nil {
		d.background(d.watchLevels)
	}
	return nil
}

// clusters are those that the configuration names.
func (d *daemon) clusters() []string {
	out := []string{d.Config.Cluster}
	for _, s := range d.Config.Sources {
		out = append(out, s.Cluster)
	}
	return out
}

func (d *daemon) openSources(ctx context.Context) error {
	key, err := secretFile(filepath.Join(d.Config.DataDir, "keys", "redaction"), 32)
	if err != nil {
		return err
	}
	redactor, err := redact.New(key, d.Config.Redact.Patterns...)
	if err != nil {
		return err
	}
	kv, err := d.log.KV(ctx, "positions")
	if err != nil {
		return err
	}
	all := newSources(redactor.Sink(d.live), positions{kv})
	for _, c := range d.Config.Sources {
		if err := all.add(ctx, c); err != nil {
			return err
		}
	}
	d.sources = all
	return nil
}

func (d *daemon) openAuth(ctx context.Context) error {
	kv, err := d.log.KV(ctx, "tokens")
	if err != nil {
		return err
	}
	actions, err := d.log.KV(ctx, "trail")
	if err != nil {
		return err
	}
	d.trail = trail{actions}
	if err := d.trail.cut(ctx, d.started); err != nil {
		return fmt.Errorf("cutting the trail: %w", err)
	}
	names := map[string]string{}
	for _, s := range d.Config.Sources {
		if s.ClientName != "" {
			names[s.ClientName] = s.Name
		}
	}
	google, err := newForeign(ctx, d.Config.Sources)
	if err != nil {
		return err
	}
	d.auth = auth.New(auth.Config{KV: tokens{kv}, Now: time.Now, ClientNames: names, Foreign: google})
	records, err := staticTokens(&d.Config.Auth)
	if err != nil {
		return err
	}
	d.auth.SetStatic(records)
	return nil
}

// staticTokens are the tokens of the configuration.
func staticTokens(c *config.Auth) ([]auth.Record, error) {
	var out []auth.Record
	if c.TokensFile != "" {
		records, err := auth.ReadFile(c.TokensFile)
		if err != nil {
			return nil, err
		}
		out = records
	}
	for _, t := range []struct {
		secret config.Secret
		name   string
		role   auth.Role
	}{{c.FirstAdmin, "first administrator", auth.Admin}, {c.MetricsToken, "metrics", auth.Metrics}} {
		text, err := t.secret.Read()
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		r, err := auth.RecordOf(text, t.name, t.role, "")
		if err != nil {
			return nil, fmt.Errorf("the token of the %s: %w", t.name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// certNames are the names of the server's own certificate: those of the
// configuration, and the address that it listens on when that is one.
func certNames(c *config.Config) []string {
	host, _, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return c.TLS.Names
	}
	return append(slices.Clone(c.TLS.Names), host)
}

func (d *daemon) openServer(context.Context) error {
	var err error
	t := &d.Config.TLS
	d.cert, err = cert.Open(cert.Config{
		Dir: filepath.Join(d.Config.DataDir, "tls"), Names: certNames(d.Config), CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCAFile: t.ClientCAFile,
	}, time.Now, d.Log)
	if err != nil {
		return err
	}
	d.server = server.New(server.Config{
		Auth: d.auth, Trail: d.trail, TLS: d.cert.TLS(), Log: d.Log, Version: d.Version, Revision: d.Revision,
		Limits:  server.Limits{PostBody: longestPost(d.Config.Sources)},
		Ready:   map[string]func(context.Context) error{"log": d.log.Writable, "workers": d.workersReady},
		Sources: d.sources.statuses,
	})
	d.server.Mount("POST /v1/sources/{source}", auth.Ingest, d.sources)
	d.server.Mount("GET /api/openapi.json", auth.Public, api.OpenAPI())
	cfg := d.apiConfig()
	d.background(func(ctx context.Context) {
		if err := api.KeepEvidence(ctx, cfg); err != nil {
			d.Log.Error("the evidence of traces is not kept", "error", err)
		}
	})
	for _, r := range api.New(cfg) {
		d.server.Mount(r.Procedure, roleOf(r.Role), r.Handler)
	}
	d.server.Metrics().MustRegister(newCollector(d))
	return nil
}

func (d *daemon) apiConfig() api.Config {
	kind, most := "embedded", uint64(d.Config.Log.MaxBytes)
	if len(d.Config.Log.URLs) > 0 {
		kind = "nats"
	}
	return api.Config{
		Version: d.Version, Started: d.started, Now: time.Now, Log: d.Log,
		Traces: d.state, Evidence: evidence{d.evidence}, Workers: workers{d.live}, History: history{d.history}, Queue: queue{d.log, kind, most},
		Sources: d.sources.statuses, Rules: d.Rules, Matrix: d.Matrix, Tokens: tokenDesk{d.auth}, Trail: actions{d.trail},
		Key: d.signing, Blind: d.blindTo,
		Who: func(ctx context.Context) string {
			p, _ := auth.FromContext(ctx)
			return p.Name
		},
		Note: auth.Note, Stopping: d.server.Stopping(),
	}
}

// workersReady is an error when a worker does not get on.
func (d *daemon) workersReady(context.Context) error {
	for _, s := range (workers{d.live}).Status() {
		if s.Err != "" {
			return fmt.Errorf("cluster %q: %s", s.Cluster, s.Err)
		}
	}
	return nil
}

// serve listens, tells where, lets the sources begin, and waits for the end.
func (d *daemon) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", d.Config.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", d.Config.Listen, err)
	}
	setup, err := d.auth.Begin(ctx)
	if err != nil {
		return errors.Join(fmt.Errorf("making the set-up token: %w", err), l.Close())
	}
	for _, p := range d.sources.pullers {
		d.background(p)
	}
	if d.Config.Demo && d.Play != nil {
		d.background(func(ctx context.Context) {
			if err := d.Play(ctx, d.sources.sink, d.Config.Cluster); err != nil && ctx.Err() == nil {
				d.Log.Error("playing the demonstration", "error", err)
			}
		})
	}
	failed := make(chan error, 1)
	go func() { failed <- d.server.Serve(l) }()
	d.onStop(func(ctx context.Context) error {
		err := d.server.Stop(ctx)
		return errors.Join(err, <-failed)
	})
	if d.Announce != nil {
		d.Announce(Announcement{Address: l.Addr().String(), Fingerprint: d.cert.Fingerprint(), CAFile: d.cert.CAFile(), SetupToken: setup, LocalToken: d.auth.Local()})
	}
	for {
		select {
		case <-ctx.Done():
			d.Log.Info("stopping")
			return nil
		case next := <-d.Reload:
			d.reload(next)
		case err := <-failed:
			failed <- nil // for the stop, which waits for it
			return err
		}
	}
}

// reload takes what can change in a running server and says what cannot.
func (d *daemon) reload(next *config.Config) {
	for _, c := range config.Diff(d.Config, next) {
		if !c.Reload {
			d.Log.Warn("this change takes a restart", "key", c.Key)
			continue
		}
		d.Log.Info("configuration changed", "key", c.Key, "value", c.New)
	}
	records, err := staticTokens(&next.Auth)
	if err != nil {
		d.Log.Error("the tokens stay as they are", "error", err)
	} else {
		d.auth.SetStatic(records)
		d.Config.Auth = next.Auth
	}
	d.history.SetRetention(time.Duration(next.History.MaxAge), int64(next.History.MaxBytes))
	d.Config.History.MaxAge, d.Config.History.MaxBytes, d.Config.LogLevel = next.History.MaxAge, next.History.MaxBytes, next.LogLevel
}
