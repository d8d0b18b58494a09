// Package config reads the server's configuration: one strict YAML file, over it
// the environment, over that the flags. The zero file is a working one.
//
// A key is the path of names from the top, as in log.maxBytes. Its environment
// variable is CLEW_ and the key in capitals with underscores: CLEW_LOG_MAX_BYTES.
// Lists are separated by commas there. Sources stand in the file only.
//
// The fields carry their own rules in tags: yaml is the name; reload says that a
// running server takes a change; kinds lists the kinds of source that have the key,
// with a ! behind those that need it.
package config

import (
	"path/filepath"
	"time"
)

// APIVersion and Kind are the header that a file begins with.
const (
	APIVersion = "clew/v1"
	Kind       = "Server"
)

// Config is the configuration of `clew up` and `clew serve`.
type Config struct {
	// DataDir holds everything the server writes and is not told otherwise about.
	// The default is $XDG_DATA_HOME/clew, or ~/.local/share/clew, or /var/lib/clew.
	DataDir string `yaml:"dataDir"`
	// Cluster is the name of the cluster whose events sources carry that name none.
	// The default is "local".
	Cluster string `yaml:"cluster"`
	// Listen is the address of the HTTPS server, host:port. The default is
	// 127.0.0.1:8080: who wants the network says so.
	Listen string `yaml:"listen"`
	// LogLevel is debug, info, warn or error; the default is info.
	LogLevel string `yaml:"logLevel" reload:"true"`
	// Demo plays the recordings that come with clew.
	Demo bool `yaml:"demo"`

	TLS     TLS      `yaml:"tls"`
	Auth    Auth     `yaml:"auth"`
	Log     Log      `yaml:"log"`
	History History  `yaml:"history"`
	Engine  Engine   `yaml:"engine"`
	Redact  Redact   `yaml:"redact"`
	Sources []Source `yaml:"sources"`
}

// TLS is the certificate the server shows and those it believes. Files are read
// again when they change.
type TLS struct {
	// CertFile and KeyFile are PEM; without them the server has an authority and a
	// certificate of its own in the data folder.
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	// Names are host names and addresses that the server's own certificate has
	// beside localhost and the machine's name.
	Names []string `yaml:"names"`
	// ClientCAFile holds the authorities, PEM, of client certificates. A sender
	// that shows one of them needs no token where its source has that clientName.
	ClientCAFile string `yaml:"clientCAFile"`
}

// Auth says who may in beyond those that administrators let in at run time.
type Auth struct {
	// TokensFile lists principals with hashed tokens, one a line; see auth.ReadFile.
	TokensFile string `yaml:"tokensFile" reload:"true"`
	// FirstAdmin is the token of the first administrator, clew_<id>_<secret>; it
	// takes the place of the set-up token.
	FirstAdmin Secret `yaml:"firstAdmin"`
	// MetricsToken is a token that may read /metrics and nothing else.
	MetricsToken Secret `yaml:"metricsToken" reload:"true"`
}

// Log is where accepted records are kept until engine and history have them:
// a NATS JetStream server within the process, or an external one.
type Log struct {
	// Dir is the folder of the log within the process; the default is log in the
	// data folder. It may not stand together with URLs.
	Dir string `yaml:"dir"`
	// URLs are addresses of an external NATS cluster, nats:// or tls://, without
	// credentials.
	URLs []string `yaml:"urls"`
	// CredsFile holds the credentials for it, CAFile the authority of its
	// certificates, CertFile and KeyFile a client certificate.
	CredsFile string `yaml:"credsFile"`
	CAFile    string `yaml:"caFile"`
	CertFile  string `yaml:"certFile"`
	KeyFile   string `yaml:"keyFile"`
	// Replicas of the external log, 1 to 5; the default is 1 in the process and 3
	// outside.
	Replicas int `yaml:"replicas"`
	// MaxBytes bounds the log; a full one takes nothing more. The default is 10 GiB.
	MaxBytes Bytes `yaml:"maxBytes"`
	// MaxAge drops what is older, whether it was read or not. The default is 0: what
	// engine and history have is taken off anyway, and nothing else is.
	MaxAge Duration `yaml:"maxAge"`
	// MinFree is the space that the log leaves on its disk; the default is 1 GiB.
	MinFree Bytes `yaml:"minFree"`
	// Sync is how long the disk may lag behind an acknowledgement; 0 writes each
	// through before it is given, which only a power cut makes necessary. The
	// default is 0.
	Sync Duration `yaml:"sync"`
}

// History is where events stay that people search.
type History struct {
	// Dir is the folder of the segments; the default is history in the data folder.
	// It may not stand together with S3.
	Dir string `yaml:"dir"`
	S3  S3     `yaml:"s3"`
	// MaxAge and MaxBytes bound what is kept, evidence of traces aside. The
	// defaults are 90 d and 100 GiB.
	MaxAge   Duration `yaml:"maxAge" reload:"true"`
	MaxBytes Bytes    `yaml:"maxBytes" reload:"true"`
}

// S3 is a bucket of any server that speaks S3. Without the two keys the AWS
// libraries look for credentials where they always do.
type S3 struct {
	Bucket          string `yaml:"bucket"`
	Endpoint        string `yaml:"endpoint"`
	Region          string `yaml:"region"`
	Prefix          string `yaml:"prefix"`
	AccessKeyID     Secret `yaml:"accessKeyID"`
	SecretAccessKey Secret `yaml:"secretAccessKey"`
}

// Engine bounds the engine.
type Engine struct {
	// Window is how much later than a younger event an event may arrive and still
	// be put in its place. Every alert waits that long. The default is 500 ms: an API
	// server in blocking mode posts in order; in batch mode links still hold when events
	// come later, only what counts within seconds may differ.
	Window Duration `yaml:"window"`
	// SnapshotInterval is how much is worked again after a crash; the default is
	// 1 min.
	SnapshotInterval Duration `yaml:"snapshotInterval"`
}

// Redact says what is taken out of records beside what always is.
type Redact struct {
	// Patterns are regular expressions (RE2); what matches in a string of a record is
	// replaced by a hash.
	Patterns []string `yaml:"patterns"`
}

// Source is one way in. Each kind has its own keys beside name, kind and cluster.
type Source struct {
	// Name is the source's own, [a-z0-9-], 63 characters at most. It stands in the
	// paths that senders post to.
	Name string `yaml:"name"`
	// Kind is one of k8s-webhook, file, firehose, pubsub, eventhub, sqs, ndjson.
	Kind string `yaml:"kind"`
	// Cluster is the cluster whose events it carries; the default is Config.Cluster.
	Cluster string `yaml:"cluster"`

	// ClientName is the common name of the client certificate with which a sender
	// may post without a token.
	ClientName string `yaml:"clientName" kinds:"k8s-webhook firehose pubsub ndjson"`
	// MaxBody bounds one post before decompression; 0 is the source's own default.
	MaxBody Bytes `yaml:"maxBody" kinds:"k8s-webhook firehose pubsub ndjson"`

	// Audience and ServiceAccount are those of the tokens that Google signs a push
	// with. A pubsub source has both, or a ClientName.
	Audience       string `yaml:"audience" kinds:"pubsub"`
	ServiceAccount string `yaml:"serviceAccount" kinds:"pubsub"`

	// Paths are files or patterns of them; From is beginning or end (default) and
	// says where a file is begun that was never read.
	Paths []string `yaml:"paths" kinds:"file!"`
	From  string   `yaml:"from" kinds:"file"`

	// Brokers are host:port; Topic is the event hub; Group the consumer group,
	// $Default when empty. CAFile is for brokers with an authority of their own.
	Brokers          []string `yaml:"brokers" kinds:"eventhub!"`
	Topic            string   `yaml:"topic" kinds:"eventhub!"`
	Group            string   `yaml:"group" kinds:"eventhub"`
	ConnectionString Secret   `yaml:"connectionString" kinds:"eventhub"`
	CAFile           string   `yaml:"caFile" kinds:"eventhub"`

	// QueueURL is the queue that is told of new objects in the bucket.
	QueueURL        string `yaml:"queueURL" kinds:"sqs!"`
	Region          string `yaml:"region" kinds:"sqs"`
	Endpoint        string `yaml:"endpoint" kinds:"sqs"`
	AccessKeyID     Secret `yaml:"accessKeyID" kinds:"sqs"`
	SecretAccessKey Secret `yaml:"secretAccessKey" kinds:"sqs"`
}

// Kinds are the kinds of source.
var Kinds = [...]string{"k8s-webhook", "file", "firehose", "pubsub", "eventhub", "sqs", "ndjson"}

// Default returns the configuration of an empty file. getenv looks up the
// environment, which says where a person's data belongs.
func Default(getenv func(string) string) *Config {
	return &Config{
		DataDir: dataDir(getenv), Cluster: "local", Listen: "127.0.0.1:8080", LogLevel: "info",
		Log:     Log{MaxBytes: 10 << 30, MinFree: 1 << 30},
		History: History{MaxAge: Duration(90 * 24 * time.Hour), MaxBytes: 100 << 30},
		Engine:  Engine{Window: Duration(500 * time.Millisecond), SnapshotInterval: Duration(time.Minute)},
	}
}

func dataDir(getenv func(string) string) string {
	if d := getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "clew")
	}
	if h := getenv("HOME"); h != "" && h != "/" {
		return filepath.Join(h, ".local", "share", "clew")
	}
	return "/var/lib/clew"
}

// derive fills in what other keys decide.
func (c *Config) derive() {
	external := len(c.Log.URLs) > 0
	if c.Log.Dir == "" && !external {
		c.Log.Dir = filepath.Join(c.DataDir, "log")
	}
	if c.Log.Replicas == 0 {
		c.Log.Replicas = 1
		if external {
			c.Log.Replicas = 3
		}
	}
	if c.History.Dir == "" && c.History.S3.Bucket == "" {
		c.History.Dir = filepath.Join(c.DataDir, "history")
	}
	for i := range c.Sources {
		s := &c.Sources[i]
		if s.Cluster == "" {
			s.Cluster = c.Cluster
		}
		if s.Kind == "file" && s.From == "" {
			s.From = "end"
		}
	}
}
