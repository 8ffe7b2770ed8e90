package migrations

import "errors"

// What applying and reconciling can answer, wrapped with what was attempted.
var (
	// ErrNewerTopology: the log was set up by a later version of this program.
	ErrNewerTopology = errors.New("migrations: the topology is newer than this program")
	// ErrPartitionsFixed: the partitions of an existing namespace cannot be changed.
	// It comes together with a usable namespace, which keeps its partitions.
	ErrPartitionsFixed = errors.New("migrations: the number of partitions of an existing namespace is fixed")
	// ErrInvalidSpec: a namespace's specification is out of bounds.
	ErrInvalidSpec = errors.New("migrations: invalid namespace")
	// ErrNoRoom: the streams of a namespace do not fit into the disk budget.
	ErrNoRoom = errors.New("migrations: the namespace does not fit into the disk budget")
	// ErrSubject: a subject is not one that this package makes.
	ErrSubject = errors.New("migrations: not a channel's subject")
	// ErrNoEpoch: a stream has no recorded epoch.
	ErrNoEpoch = errors.New("migrations: no epoch is recorded")
	// ErrLocked: another node held the lease for longer than the caller waited.
	ErrLocked = errors.New("migrations: another node is changing the topology")
)
