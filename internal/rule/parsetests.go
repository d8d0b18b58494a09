package rule

import "time"

// maxTestEvents bounds one test.
const maxTestEvents = 500

func (p *ruleParser) tests(n *node) {
	t := &p.rule.Tests
	p.mapping(n, "tests", []key{
		{"fires", false, func(n *node) { t.Fires = p.testList(n, "tests.fires") }},
		{"silent", false, func(n *node) { t.Silent = p.testList(n, "tests.silent") }},
	})
}

func (p *ruleParser) testList(n *node, what string) []Test {
	if n.kind != sequenceNode {
		p.errorf(n, "%s must be a sequence of tests, it is %s", what, n.describe())
		return nil
	}
	out := make([]Test, 0, len(n.items))
	names := map[string]bool{}
	for _, i := range n.items {
		t := p.test(i)
		if names[t.Name] && t.Name != "" {
			p.errorf(i, "a second test named %q", t.Name)
		}
		names[t.Name] = true
		out = append(out, t)
	}
	return out
}

func (p *ruleParser) test(n *node) Test {
	t := Test{Position: p.at(n)}
	p.mapping(n, "the test", []key{
		{"name", true, p.into(&t.Name, "name")},
		{"events", true, func(n *node) { t.Events = p.testEvents(n) }},
	})
	return t
}

func (p *ruleParser) testEvents(n *node) []TestEvent {
	if n.kind != sequenceNode || len(n.items) == 0 {
		p.errorf(n, "events must be a sequence of at least one event")
		return nil
	}
	if len(n.items) > maxTestEvents {
		p.errorf(n, "%d events, the limit is %d", len(n.items), maxTestEvents)
		return nil
	}
	out := make([]TestEvent, 0, len(n.items))
	last := time.Duration(0)
	for i, item := range n.items {
		e := p.testEvent(item)
		if e.HasAt && e.At < last {
			p.errorf(item, "at %v is before the previous event (%v)", e.At, last)
		}
		switch {
		case e.HasAt:
			last = e.At
		case i > 0:
			last += time.Second
		}
		e.At = last
		out = append(out, e)
	}
	return out
}

func (p *ruleParser) testEvent(n *node) TestEvent {
	e := TestEvent{Position: p.at(n)}
	keys := []key{{"at", false, func(n *node) { e.At, e.HasAt = p.duration(n, "at", 0), true }}}
	for _, f := range Formats() {
		keys = append(keys, key{string(f), false, func(n *node) { p.record(n, f, &e) }})
	}
	p.mapping(n, "the event", keys)
	if e.Format == "" && n.kind == mappingNode {
		p.errorf(n, "the event has no record: one of audit, cloudtrail, gcp, azure")
	}
	return e
}

func (p *ruleParser) record(n *node, f Format, e *TestEvent) {
	if n.kind != mappingNode {
		p.errorf(n, "%s must be a mapping, it is %s", f, n.describe())
	} else if e.Format != "" {
		p.errorf(n, "a second record in one event")
	}
	if f == Audit && n.kind == mappingNode {
		if u := n.get("user"); u == nil || u.kind != mappingNode || u.get("username") == nil {
			p.errorf(n, "audit has no user.username")
		}
	}
	e.Format, e.Record = f, n.appendJSON(nil)
}
