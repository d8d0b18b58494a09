package daemon

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector tells /metrics how far log, workers and history are. Labels are
// clusters, which the configuration bounds.
type collector struct{ d *daemon }

func newCollector(d *daemon) collector { return collector{d} }

var (
	perCluster     = []string{"cluster"}
	descEvents     = prometheus.NewDesc("clew_worker_events_total", "Events that the engine took in.", perCluster, nil)
	descFlags      = prometheus.NewDesc("clew_worker_flags_total", "Flags raised.", perCluster, nil)
	descLate       = prometheus.NewDesc("clew_worker_late_events_total", "Events later than the window.", perCluster, nil)
	descDuplicates = prometheus.NewDesc("clew_worker_duplicate_events_total", "Events dropped because they came before.", perCluster, nil)
	descUnreadable = prometheus.NewDesc("clew_worker_unreadable_records_total", "Records on the log that could not be decoded.", perCluster, nil)
	descBacklog    = prometheus.NewDesc("clew_worker_backlog_messages", "Messages of the log that the engine has yet to take in.", perCluster, nil)
	descEventTime  = prometheus.NewDesc("clew_worker_event_timestamp_seconds", "Time of the newest event taken in.", perCluster, nil)
	descMissed     = prometheus.NewDesc("clew_log_missed_messages_total", "Messages gone from the log, or damaged, before a reader had them.", []string{"cluster", "reader"}, nil)
	descReplaced   = prometheus.NewDesc("clew_log_replaced_timestamp_seconds", "When the log was last found to be another, or shorter, than what was read of it.", perCluster, nil)
	descLogBytes   = prometheus.NewDesc("clew_log_bytes", "Bytes on the log.", nil, nil)
	descLogWrites  = prometheus.NewDesc("clew_log_writable", "1 when the log takes batches.", nil, nil)
	descRows       = prometheus.NewDesc("clew_history_rows", "Events in the history.", nil, nil)
	descBytes      = prometheus.NewDesc("clew_history_bytes", "Bytes of the history.", nil, nil)
	descOldest     = prometheus.NewDesc("clew_history_oldest_timestamp_seconds", "Time of the oldest event in the history.", nil, nil)
	descDamaged    = prometheus.NewDesc("clew_history_damaged_segments", "Segments that could not be read and were set aside.", nil, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descEvents, descFlags, descLate, descDuplicates, descUnreadable, descBacklog, descEventTime, descMissed, descReplaced,
		descLogBytes, descLogWrites, descRows, descBytes, descOldest, descDamaged,
	} {
		ch <- d
	}
}

// collectTime bounds what is asked of the log for one scrape.
const collectTime = 2 * time.Second

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	for _, s := range (workers{c.d.live}).Status() {
		count := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, s.Cluster)
		}
		count(descEvents, float64(s.Engine.Events))
		count(descFlags, float64(s.Engine.Flags))
		count(descLate, float64(s.Engine.Late))
		count(descDuplicates, float64(s.Engine.Duplicates))
		count(descUnreadable, float64(s.Unreadable))
		if n, err := c.d.log.Backlog(ctx, s.Cluster, s.Position); err == nil {
			ch <- prometheus.MustNewConstMetric(descBacklog, prometheus.GaugeValue, float64(n), s.Cluster)
		}
		for reader, n := range map[string]uint64{"engine": s.Missed, "history": s.MissedByHistory} {
			ch <- prometheus.MustNewConstMetric(descMissed, prometheus.CounterValue, float64(n), s.Cluster, reader)
		}
		if !s.Replaced.IsZero() {
			ch <- prometheus.MustNewConstMetric(descReplaced, prometheus.GaugeValue, seconds(s.Replaced), s.Cluster)
		}
		if !s.EventTime.IsZero() {
			ch <- prometheus.MustNewConstMetric(descEventTime, prometheus.GaugeValue, seconds(s.EventTime), s.Cluster)
		}
	}
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	if _, bytes, err := c.d.log.Size(ctx); err == nil {
		gauge(descLogBytes, float64(bytes))
	}
	writable := 1.0
	if c.d.log.Writable(ctx) != nil {
		writable = 0
	}
	gauge(descLogWrites, writable)
	h := c.d.history.Status()
	gauge(descRows, float64(h.Rows)+float64(h.BufferedRows))
	gauge(descBytes, float64(h.Bytes))
	gauge(descDamaged, float64(h.DamagedSegments))
	if !h.OldestEvent.IsZero() {
		gauge(descOldest, seconds(h.OldestEvent))
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
