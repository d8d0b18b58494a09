package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// namePattern is what names of sources and clusters look like: they stand in
// paths, subjects and file names.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidName reports whether s may be the name of a source or a cluster.
func ValidName(s string) bool { return namePattern.MatchString(s) }

const nameForm = "must be a-z, 0-9 and -, 63 characters at most"

// validate reports values that contradict each other or mean nothing.
func (r *report) validate(c *Config) {
	if c.DataDir == "" {
		r.invalid("dataDir", "must not be empty")
	}
	if !ValidName(c.Cluster) {
		r.invalid("cluster", nameForm)
	}
	r.address("listen", c.Listen)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		r.invalid("logLevel", "must be debug, info, warn or error")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		r.invalid("tls", "certFile and keyFile go together")
	}
	if c.TLS.CertFile != "" && len(c.TLS.Names) > 0 {
		r.invalid("tls.names", "is for the server's own certificate, not for certFile")
	}
	if c.Engine.Window <= 0 || c.Engine.SnapshotInterval <= 0 {
		r.invalid("engine", "window and snapshotInterval must be above 0")
	}
	r.log(&c.Log)
	r.history(&c.History)
	for i, p := range c.Redact.Patterns {
		if _, err := regexp.Compile(p); err != nil {
			r.invalid(fmt.Sprintf("redact.patterns[%d]", i), "%v", err)
		}
	}
	r.sources(c)
}

func (r *report) address(key, s string) {
	_, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 0 || n > 65535 {
		r.invalid(key, "must be host:port, such as 0.0.0.0:8080")
	}
}

func (r *report) log(l *Log) {
	if l.Dir != "" && len(l.URLs) > 0 {
		r.invalid("log.urls", "an external log has no dir")
	}
	if len(l.URLs) == 0 && l.CredsFile+l.CAFile+l.CertFile+l.KeyFile != "" {
		r.invalid("log", "credsFile, caFile, certFile and keyFile are for an external log: there are no urls")
	}
	if (l.CertFile == "") != (l.KeyFile == "") {
		r.invalid("log", "certFile and keyFile go together")
	}
	for i, u := range l.URLs {
		r.url(fmt.Sprintf("log.urls[%d]", i), u, "nats", "tls")
	}
	if l.Replicas < 1 || l.Replicas > 5 || l.Replicas > 1 && len(l.URLs) == 0 {
		r.invalid("log.replicas", "must be 1 within the process, 1 to 5 outside")
	}
	if l.MaxBytes < 64<<20 {
		r.invalid("log.maxBytes", "must be 64MiB or more")
	}
	if l.MaxAge < 0 {
		r.invalid("log.maxAge", "must be above 0")
	}
}

func (r *report) history(h *History) {
	if h.S3.Bucket == "" && h.S3 != (S3{}) {
		r.invalid("history.s3", "has no bucket")
	}
	if h.Dir != "" && h.S3.Bucket != "" {
		r.invalid("history.dir", "there is a bucket: one of the two")
	}
	if h.MaxAge <= 0 || h.MaxBytes <= 0 {
		r.invalid("history", "maxAge and maxBytes must be above 0")
	}
	r.keys("history.s3", h.S3.AccessKeyID, h.S3.SecretAccessKey)
	if h.S3.Endpoint != "" {
		r.url("history.s3.endpoint", h.S3.Endpoint, "http", "https")
	}
}

func (r *report) keys(key string, id, secret Secret) {
	if (id == "") != (secret == "") {
		r.invalid(key, "accessKeyID and secretAccessKey go together")
	}
}

// url checks an address. It does not quote one: there may be a password in it.
func (r *report) url(key, s string, schemes ...string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme):
		r.invalid(key, "must be a URL that begins with %s://", strings.Join(schemes, ":// or "))
	case u.User != nil:
		r.invalid(key, "credentials do not stand in a URL")
	}
}

func (r *report) sources(c *Config) {
	seen := map[string]bool{}
	owner := map[string]string{} // what a sender shows → the source that it is for
	for i := range c.Sources {
		s, key := &c.Sources[i], fmt.Sprintf("sources[%d]", i)
		switch {
		case !ValidName(s.Name):
			r.invalid(key+".name", nameForm)
		case seen[s.Name]:
			r.invalid(key+".name", "two sources are called %s", s.Name)
		}
		seen[s.Name] = true
		if !ValidName(s.Cluster) {
			r.invalid(key+".cluster", nameForm)
		}
		if !slices.Contains(Kinds[:], s.Kind) {
			r.invalid(key+".kind", "must be one of %s", strings.Join(Kinds[:], ", "))
			continue
		}
		r.needed(s, key)
		r.source(c, s, key)
		r.senders(s, key, owner)
	}
}

// senders reports sources that nobody could post to, or whose senders could not be
// told from another's.
func (r *report) senders(s *Source, key string, owner map[string]string) {
	claim := func(field, shown string) {
		if other, taken := owner[shown]; taken {
			r.invalid(key+"."+field, "the source %s has the same: whose post it is could not be told", other)
			return
		}
		owner[shown] = s.Name
	}
	if s.ClientName != "" {
		claim("clientName", "certificate "+s.ClientName)
	}
	switch {
	case s.Kind != "pubsub":
	case s.Audience != "" && s.ServiceAccount == "":
		r.invalid(key+".audience", "needs serviceAccount: anyone can have Google sign a token for this audience")
	case s.Audience == "" && s.ServiceAccount != "":
		r.invalid(key+".serviceAccount", "needs audience: a token for another service would pass")
	case s.Audience == "" && s.ClientName == "":
		r.invalid(key, "a source of kind pubsub needs audience and serviceAccount, or the clientName of a relay: Google cannot send a token of clew's")
	case s.Audience != "":
		claim("audience", "token "+s.Audience+" "+s.ServiceAccount)
	}
}

// needed reports the keys that a source of this kind cannot do without.
func (r *report) needed(s *Source, key string) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if slices.Contains(strings.Fields(tag.Get("kinds")), s.Kind+"!") && v.Field(i).IsZero() {
			r.invalid(key, "a source of kind %s needs %s", s.Kind, tag.Get("yaml"))
		}
	}
}

func (r *report) source(c *Config, s *Source, key string) {
	if s.ClientName != "" && c.TLS.ClientCAFile == "" {
		r.invalid(key+".clientName", "needs tls.clientCAFile")
	}
	for i, p := range s.Paths {
		if _, err := filepath.Match(p, ""); err != nil || !filepath.IsAbs(p) {
			r.invalid(fmt.Sprintf("%s.paths[%d]", key, i), "must be an absolute path or a pattern of such")
		}
	}
	if s.From != "" && s.From != "beginning" && s.From != "end" {
		r.invalid(key+".from", "must be beginning or end")
	}
	for i, b := range s.Brokers {
		r.address(fmt.Sprintf("%s.brokers[%d]", key, i), b)
	}
	if s.QueueURL != "" {
		r.url(key+".queueURL", s.QueueURL, "https", "http")
	}
	if s.Endpoint != "" {
		r.url(key+".endpoint", s.Endpoint, "https", "http")
	}
	r.keys(key, s.AccessKeyID, s.SecretAccessKey)
}
