package k8saudit

import (
	"slices"
	"strings"

	"github.com/clew-sec/clew/internal/event"
)

// aggregationRule reads which other roles' rules a ClusterRole takes over.
func (d *Decoder) aggregationRule(b *event.Body) {
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		if string(s.Key()) != "clusterRoleSelectors" {
			s.Skip()
			continue
		}
		b.AggregateFrom = restart(d, b.AggregateFrom)
		for more := s.Array(); more; more = s.NextElem() {
			b.AggregateFrom = append(b.AggregateFrom, strings.Join(d.selector(), ","))
		}
	}
}

// selector reads a label selector as the requirements of Body.AggregateFrom.
func (d *Decoder) selector() []string {
	var labels, expressions []string
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "matchLabels":
			labels = d.pairs(nil)
			slices.Sort(labels)
		case "matchExpressions":
			expressions = nil
			for more := s.Array(); more; more = s.NextElem() {
				expressions = append(expressions, d.requirement())
			}
		default:
			s.Skip()
		}
	}
	return append(labels, expressions...)
}

// requirement reads one element of matchExpressions.
func (d *Decoder) requirement() string {
	var key, operator string
	var values []string
	s := &d.scan
	for more := s.Object(); more; more = s.NextKey() {
		switch string(s.Key()) {
		case "key":
			s.Str(&key)
		case "operator":
			s.Str(&operator)
		case "values":
			values = s.Strs(values[:0])
		default:
			s.Skip()
		}
	}
	if operator == "NotIn" || operator == "DoesNotExist" {
		key = "!" + key
	}
	if len(values) == 0 {
		return key
	}
	return key + "=" + strings.Join(values, "|")
}
