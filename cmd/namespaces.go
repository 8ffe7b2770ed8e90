package cmd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// bucketBytes is what the log needs of the disk budget beside the namespaces.
	bucketBytes Bytes = 64 << 20
	// mostBudget is what a disk budget that is not set can be.
	mostBudget Bytes = 16 << 30
)

// leastSessionTTL lets a node that is busy say in time that its sessions are there.
const leastSessionTTL = Duration(10 * time.Second)

func (c Config) namespaceProblems() []error {
	var errs []error
	for _, name := range sortedKeys(c.Namespaces) {
		n := c.Namespaces[name]
		for _, problem := range append(n.problems(name, c.Broker.NATSURL != ""), n.undeliveredProblems(c.Session.FlushInterval)...) {
			errs = append(errs, fmt.Errorf("namespaces.%s: %w", name, problem))
		}
	}
	return append(errs, c.budgetProblems()...)
}

func (n NamespaceConfig) problems(name string, cluster bool) []error {
	var errs []error
	if validReplicas(n.Replicas) && n.Replicas > 1 && !cluster {
		errs = append(errs, fmt.Errorf("replicas is %d and needs a NATS cluster; set broker.nats_url", n.Replicas))
	}
	spec := n.spec(name).WithDefaults()
	if n.MaxAge > 0 && n.DuplicateWindow > n.MaxAge || n.MaxAge == 0 && time.Duration(n.DuplicateWindow) > spec.MaxAge {
		// The default of it is cut down to max_age; what somebody asked for is not.
		spec.DuplicateWindow = migrations.DefaultDuplicateWindow
		errs = append(errs, fmt.Errorf("duplicate_window is %v, must not be above max_age (%v)", n.DuplicateWindow, Duration(spec.MaxAge)))
	}
	if n.MaxAge < 0 && n.MaxAge != Unlimited {
		errs = append(errs, fmt.Errorf("max_age is %v, must be at least 1s, or unlimited", time.Duration(n.MaxAge)))
	}
	errs = append(errs, n.sessionPolicy().Validate()...)
	if n.SessionTTL > 0 && n.SessionTTL < leastSessionTTL {
		errs = append(errs, fmt.Errorf("session_ttl is %v, must be at least %v", n.SessionTTL, leastSessionTTL))
	}
	for _, err := range parts(spec.Validate()) {
		text := strings.TrimPrefix(err.Error(), fmt.Sprintf("%v %q: ", migrations.ErrInvalidSpec, name))
		errs = append(errs, errors.New(text))
	}
	return errs
}

// parts are the errors that errors.Join made into one.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// budgetProblems: what namespaces reserve must fit, or the node would not start. A
// budget that depends on the free disk is compared with the most that it can be.
func (c Config) budgetProblems() []error {
	if c.Broker.NATSURL != "" {
		return nil
	}
	budget, text := c.Broker.DiskBudget, c.Broker.DiskBudget.String()
	switch {
	case budget < 0:
		return nil // is reported as such
	case budget == 0:
		budget, text = mostBudget, "not set, and so at most "+mostBudget.String()
	}
	var sum Bytes
	for _, spec := range c.specs() {
		sum += Bytes(max(spec.WithDefaults().MaxBytes, 0))
	}
	more := bucketBytes
	if len(c.Webhooks) > 0 {
		more += c.Events.MaxBytes
	}
	if sum < 0 || sum+more > budget {
		return []error{fmt.Errorf("broker.disk_budget: is %s; the max_bytes of the namespaces add up to %v, and %v more are needed; "+
			"raise it, or lower namespaces.*.max_bytes", text, sum, more)}
	}
	return nil
}
