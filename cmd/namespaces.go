package cmd

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rivulet-rt/rivulet/migrations"
	"github.com/rivulet-rt/rivulet/session"
)

// leastSessionTTL lets a node that is busy say in time that its sessions are there.
const leastSessionTTL = Duration(10 * time.Second)

// flushesInSessionTTL: a node looks every session.flush_interval whether a session must be
// written to stay, which it must after a quarter of its time to live.
const flushesInSessionTTL = 4

// sessionProblems: a session that is connected must be written before it expires.
func (n NamespaceConfig) sessionProblems(flush Duration) []error {
	switch {
	case n.SessionTTL <= 0:
		return nil // the default is far above
	case n.SessionTTL < leastSessionTTL:
		return []error{fmt.Errorf("session_ttl: %v must be at least %v", n.SessionTTL, leastSessionTTL)}
	case n.SessionTTL < flushesInSessionTTL*flush:
		return []error{fmt.Errorf("session_ttl: %v must be at least %v, four times session.flush_interval, or sessions expire that are connected",
			n.SessionTTL, flushesInSessionTTL*flush)}
	}
	return nil
}

func (c Config) namespaceProblems() []error {
	var errs []error
	for _, name := range sortedKeys(c.Namespaces) {
		n := c.Namespaces[name]
		errs = append(errs, n.problems(name, c.Broker.NATSURL != "")...)
		for _, problem := range slices.Concat(n.undeliveredProblems(c.Session.FlushInterval), n.sessionProblems(c.Session.FlushInterval)) {
			errs = append(errs, fmt.Errorf("namespaces.%s.%w", name, problem))
		}
	}
	return append(errs, c.budgetProblems()...)
}

func (n NamespaceConfig) problems(name string, cluster bool) []error {
	var errs []error
	fail := func(field, problem string, args ...any) {
		errs = append(errs, fmt.Errorf("namespaces.%s.%s: %s", name, field, fmt.Sprintf(problem, args...)))
	}
	if validReplicas(n.Replicas) && n.Replicas > 1 && !cluster {
		fail("replicas", "%d needs a NATS cluster; set broker.nats_url", n.Replicas)
	}
	spec := n.spec(name).WithDefaults()
	if n.MaxAge > 0 && n.DuplicateWindow > n.MaxAge || n.MaxAge == 0 && time.Duration(n.DuplicateWindow) > spec.MaxAge {
		// The default of it is cut down to max_age; what somebody asked for is not.
		spec.DuplicateWindow = migrations.DefaultDuplicateWindow
		fail("duplicate_window", "%v must not be above max_age (%v)", n.DuplicateWindow, Duration(spec.MaxAge))
	}
	if n.MaxAge < 0 && n.MaxAge != Unlimited {
		fail("max_age", "%v must be at least 1s, or unlimited", n.MaxAge)
	}
	for _, problem := range slices.Concat(n.groups().Problems(), n.sessionPolicy().Validate()) {
		errs = append(errs, fmt.Errorf("namespaces.%s.%w", name, problem))
	}
	if _, err := n.conflation(); err != nil {
		ev := session.ErrorEvent(err)
		fail(ev.Field, "%s", ev.Message)
	}
	for _, err := range parts(spec.Validate()) {
		switch field, ok := errors.AsType[*migrations.FieldError](err); {
		case !ok:
			errs = append(errs, err)
		case field.Field == "name": // is no key of its own
			errs = append(errs, fmt.Errorf("namespaces.%s: the name %s", name, field.Problem))
		default:
			fail(field.Field, "%s", field.Problem)
		}
	}
	return errs
}

// parts are the errors that errors.Join made into one.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, part := range joined.Unwrap() {
		all = append(all, parts(part)...)
	}
	return all
}
