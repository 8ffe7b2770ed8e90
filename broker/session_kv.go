package broker

import (
	"context"

	"github.com/rivulet-rt/rivulet/fanout"
)

// shelf is where the positions of a namespace's durable sessions lie. The session's
// record names the channels, and the fence of each place: a new fence keeps those away
// that hold the old one.
type shelf interface {
	// keep begins to keep k.Position, in a place with a fence of its own, which it returns.
	keep(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive) (fanout.SessionChannel, error)
	// load fills in the position; it is zero where the place is lost.
	load(ctx context.Context, id fanout.SessionID, k *fanout.SessionChannel) error
	// move writes the position, and where alive also that the place is in use. The error
	// wraps errConflict where the fence is another's.
	move(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive, alive bool) error
	// drop gives the place up.
	drop(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel) error
}

// recordShelf keeps positions in the session's record itself, whose revision is the
// fence: with the record everything is done.
type recordShelf struct{}

var (
	_ shelf = recordShelf{}
	_ shelf = (*consumerShelf)(nil)
)

func (recordShelf) keep(_ context.Context, _ fanout.SessionID, k fanout.SessionChannel, _ timeToLive) (fanout.SessionChannel, error) {
	k.Fence = ""
	return k, nil
}

func (recordShelf) load(context.Context, fanout.SessionID, *fanout.SessionChannel) error { return nil }

func (recordShelf) move(context.Context, fanout.SessionID, fanout.SessionChannel, timeToLive, bool) error {
	return nil
}

func (recordShelf) drop(context.Context, fanout.SessionID, fanout.SessionChannel) error { return nil }
