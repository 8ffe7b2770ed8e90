package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// bucketBytes is what the log needs of the disk budget beside the namespaces: for
	// its records, durable sessions and scheduled messages.
	bucketBytes Bytes = 120 << 20
	// plainBytes is what there is of that beside the events of webhooks and the ledger of
	// who is subscribed.
	plainBytes Bytes = 88 << 20
	// otherBytes is what is reserved of that in a log that is new.
	otherBytes Bytes = 97 << 20
	// newEventBytes is what there is of that for the events of webhooks.
	newEventBytes Bytes = 8 << 20
	// mostBudget is what a disk budget that is not set can be.
	mostBudget Bytes = 16 << 30
)

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
	more := c.besideNamespaces()
	if sum < 0 || sum+more > budget {
		return []error{fmt.Errorf("broker.disk_budget: is %s; the max_bytes of the namespaces add up to %v, and %v more are needed; "+
			"raise it, or lower namespaces.*.max_bytes", text, sum, more)}
	}
	return nil
}

// besideNamespaces is what the log needs of the disk budget for all but the namespaces.
func (c Config) besideNamespaces() Bytes {
	if len(c.Webhooks) == 0 {
		return bucketBytes
	}
	ledger := Bytes(migrations.OccupancyBytes(int64(c.Events.MaxBytes)))
	return c.Events.MaxBytes + max(bucketBytes, plainBytes+ledger)
}

// shares is how the disk budget is taken up, by what is in the data folder and by what the
// configuration makes of it.
type shares struct {
	budget   Bytes
	reserved Bytes // now
	kept     Bytes // for which the log has room, whatever the budget
	least    Bytes // that the budget must be for all that is there and is configured
	strange  Bytes // of reserved, by namespaces that are not configured
	names    []string
}

// shares looks at the data folder. ok is false where there is none to look at, or it cannot
// be read: to start on it fails with the reason.
func (c Config) shares() (s shares, ok bool) {
	if c.Broker.NATSURL != "" || c.Broker.Data == "" || c.Broker.DiskBudget < 0 {
		return s, false
	}
	budget, err := broker.DiskBudget(c.Broker.Data, int64(c.Broker.DiskBudget))
	if err != nil {
		return s, false
	}
	have, err := broker.ReadReserved(c.Broker.Data)
	if err != nil {
		return s, false
	}
	s = shares{
		budget: Bytes(budget), reserved: Bytes(have.Total()), kept: Bytes(have.Floor()),
		least: max(Bytes(have.Other), otherBytes),
	}
	if len(c.Webhooks) > 0 { // what there is of who is subscribed may stay smaller
		s.least = max(Bytes(have.Other), otherBytes-newEventBytes+c.Events.MaxBytes)
	}
	for _, spec := range c.specs() {
		s.least += Bytes(spec.WithDefaults().MaxBytes)
		delete(have.Namespaces, spec.Name)
	}
	for name, n := range have.Namespaces {
		s.strange += Bytes(n)
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	s.least += s.strange
	return s, true
}

// shareProblems: a node does not start where its namespaces need more than there is beside
// those of earlier configurations, which keep their room.
func (c Config) shareProblems() []error {
	if c.brokerProblems() != nil || c.namespaceProblems() != nil {
		return nil // the sums would mean nothing
	}
	s, ok := c.shares()
	if !ok || s.least <= max(s.budget, s.kept) {
		return nil
	}
	is := "is " + s.budget.String()
	if c.Broker.DiskBudget == 0 {
		is = "is not set, and so " + wholeMiB(s.budget).String() + ", half of the free disk"
	}
	if s.strange > 0 {
		is += fmt.Sprintf("; %v of it are reserved in %s by namespaces that are not configured (%s)",
			wholeMiB(s.strange), c.Broker.Data, strings.Join(s.names[:min(len(s.names), 10)], ", "))
	}
	return []error{fmt.Errorf("broker.disk_budget: %s; with what is configured %v are needed: raise it to that (--disk-budget), lower namespaces.*.max_bytes, or take another broker.data",
		is, wholeMiB(s.least))}
}

// budgetWarnings say which namespaces will be refused, although the node starts.
func (c Config) budgetWarnings() []string {
	s, ok := c.shares()
	another := Bytes(0) // that would be made at its first use
	if c.Dev {
		another = Bytes(broker.OpenBytes(int64(s.budget)))
	}
	switch {
	case !ok:
		return nil
	case s.reserved > s.budget:
		return []string{fmt.Sprintf("broker.disk_budget: is %v, and %v are reserved in %s: what is there keeps that, and the log may take it, but no namespace can be added; raise it to %v or more",
			s.budget, wholeMiB(s.reserved), c.Broker.Data, wholeMiB(s.reserved+another))}
	case c.Dev && s.least+another > s.budget:
		return []string{fmt.Sprintf("broker.disk_budget: of %v all but %v is reserved: no namespace can be made at its first use; raise it to %v or more",
			wholeMiB(s.budget), wholeMiB(max(s.budget-s.least, 0)), wholeMiB(s.least+another))}
	}
	return nil
}

// budgetSummary is what the log may take.
func (c Config) budgetSummary() string {
	s, ok := c.shares()
	switch {
	case !ok && c.Broker.DiskBudget == 0:
		return "half of the free disk, at most " + mostBudget.String()
	case !ok:
		return c.Broker.DiskBudget.String()
	}
	text := s.budget.String()
	if c.Broker.DiskBudget == 0 {
		text = wholeMiB(s.budget).String() + " (half of the free disk, at most " + mostBudget.String() + ")"
	}
	if s.reserved > 0 {
		text += fmt.Sprintf(", %v reserved", wholeMiB(s.reserved))
	}
	return text
}

// wholeMiB rounds up, for people to read.
func wholeMiB(n Bytes) Bytes { return (n + 1<<20 - 1) >> 20 << 20 }
