package server

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/clew-sec/clew/internal/source"
)

// metrics are the server's own. Labels have few values: patterns of routes, codes
// of answers, fixed words, and names of configured sources.
type metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	denied      *prometheus.CounterVec
	turnedAway  *prometheus.CounterVec
	panics      prometheus.Counter
	untrailed   prometheus.Counter
	inflight    prometheus.Gauge
	connections prometheus.Gauge
}

func newMetrics(cfg *Config) *metrics {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		requests:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clew_http_requests_total", Help: "Requests answered."}, []string{"route", "code"}),
		denied:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clew_http_denied_total", Help: "Requests refused: token (none or not valid), role, attempts (too many failed), store (tokens could not be checked)."}, []string{"reason"}),
		turnedAway:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "clew_http_connections_refused_total", Help: "Connections closed at once: total or address, by the limit that was reached."}, []string{"reason"}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "clew_http_panics_total", Help: "Handlers that panicked."}),
		untrailed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "clew_trail_failures_total", Help: "Entries of the trail that could only be logged."}),
		inflight:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "clew_http_requests_in_flight", Help: "Requests at work."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "clew_http_connections", Help: "Open connections."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "clew_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "revision": cfg.Revision, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.denied, m.turnedAway, m.panics, m.untrailed, m.inflight, m.connections, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.Sources != nil {
		m.registry.MustRegister(sourceCollector{cfg.Sources})
	}
	return m
}

// count counts an answer. Codes that are not HTTP's are counted together.
func (m *metrics) count(route string, code int) {
	text := "other"
	if code >= 100 && code < 600 {
		text = strconv.Itoa(code)
	}
	m.requests.WithLabelValues(route, text).Inc()
}

// sourceCollector makes metrics of what the sources say.
type sourceCollector struct{ status func() []source.Status }

func sourceDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("clew_source_"+name, help, append([]string{"source"}, labels...), nil)
}

var (
	sourceRecords   = sourceDesc("records_total", "Records accepted: the log has them.")
	sourceBytes     = sourceDesc("bytes_total", "Bytes of accepted records.")
	sourceRequests  = sourceDesc("requests_total", "Posts, messages or reads that carried them.")
	sourceRejected  = sourceDesc("rejected_total", "Requests refused, which the sender tries again.", "reason")
	sourceDropped   = sourceDesc("dropped_total", "Records that could not be read.", "reason")
	sourceGaps      = sourceDesc("gaps_total", "Places where something is known to be missing.")
	sourceLag       = sourceDesc("lag_seconds", "How much older the newest event was than its receipt.")
	sourceReceived  = sourceDesc("last_received_timestamp_seconds", "When the last accepted batch was received.")
	sourceLastEvent = sourceDesc("last_event_timestamp_seconds", "Time of the newest event.")
	sourceDescs     = [...]*prometheus.Desc{sourceRecords, sourceBytes, sourceRequests, sourceRejected, sourceDropped, sourceGaps, sourceLag, sourceReceived, sourceLastEvent}
)

// Describe implements prometheus.Collector.
func (sourceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range sourceDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c sourceCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.status() {
		counter := func(d *prometheus.Desc, v uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{s.Name}, labels...)...)
		}
		counter(sourceRecords, s.Accepted)
		counter(sourceBytes, s.AcceptedBytes)
		counter(sourceRequests, s.Requests)
		counter(sourceGaps, s.Gaps)
		byReason(s.Rejected, func(reason string, n uint64) { counter(sourceRejected, n, reason) })
		byReason(s.Dropped, func(reason string, n uint64) { counter(sourceDropped, n, reason) })
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.Name)
		}
		if !s.LastReceived.IsZero() {
			gauge(sourceReceived, seconds(s.LastReceived))
		}
		if !s.LastEvent.IsZero() { // without an event there is no number to show
			gauge(sourceLastEvent, seconds(s.LastEvent))
			gauge(sourceLag, max(s.LastReceived.Sub(s.LastEvent).Seconds(), 0))
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// maxReasons bounds the series of one source, should a reason be no fixed word.
const maxReasons = 16

// byReason tells the counts in the order of their reasons, the last ones together.
func byReason(counts map[string]uint64, tell func(string, uint64)) {
	var others uint64
	for i, reason := range slices.Sorted(maps.Keys(counts)) {
		if i >= maxReasons-1 {
			others += counts[reason]
			continue
		}
		tell(reason, counts[reason])
	}
	if others > 0 {
		tell("others", others)
	}
}
