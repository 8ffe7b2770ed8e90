package rivulet

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// SubscribeOptions say where a subscription starts and how it is consumed. With
// none of Position, Positions, Last and Since it is live from now; at most one
// may be set.
type SubscribeOptions struct {
	// Position to go on from, for a channel: everything after it, then live.
	Position string
	// Positions to go on from, for a pattern: the latest of each stream.
	Positions []string
	// Last starts with the newest Last messages, 1 to 1,000.
	Last int
	// Since starts with the first message stored at or after it.
	Since time.Time
	// Durable has the node keep how far the application is: delivery goes on at the first
	// message that was not acknowledged, also after a restart of this process. It needs
	// Options.Session, and a channel, not a pattern. The start is for a session that is
	// new to the channel. The application sees each message once while this process
	// lives; after its crash, again those that it had not acknowledged.
	Durable bool
	// ManualAck leaves acknowledging to Subscription.Ack. Otherwise a message is
	// acknowledged when the next is asked for, or its callback has returned.
	ManualAck bool
	// Presence asks for KindPresence: first all members, then who came and who left, at
	// most once a second or so. A Roster puts them together. It is for channels, in
	// namespaces that have presence, and needs that action.
	Presence bool
	// Filter, an expression in CEL over headers, user and client, leaves out the messages
	// for which it is not true: headers.kind == 'alert' && user != 'bob'. At most 1,024 bytes.
	Filter string
	// Conflate leaves out what a newer message outdates before it was sent: ConflateKey
	// or ConflateLast. A subscription without a start then begins with the newest message
	// of each key. MaxRate, 1 to 1,000, bounds the messages a second from then on; 0 is as
	// fast as they are taken.
	Conflate string
	MaxRate  int
	// TokenFunc gives the token of this subscription alone, where the client's own does
	// not allow it: whenever it is subscribed to, again when that token has expired. An
	// error is retried, unless it is an *Error that is not Temporary.
	TokenFunc func(ctx context.Context, channel string) (string, error)
	// Buffer is how many updates wait for the application at most; 0 is 256. It is
	// bounded to about 1 MiB as well. KindSubscribed and KindCaughtUp do not count.
	Buffer int
	// OnMessage is called for every message and OnEvent for everything else. If
	// either is set, the subscription is consumed by callbacks. The callbacks of a
	// client's subscriptions run in one goroutine, one at a time: a slow one holds up
	// the others. They may call any method but Client.Close.
	OnMessage func(*Message)
	OnEvent   func(Update)
}

// What SubscribeOptions.Conflate goes by: the newest message of each conflation key, or
// the newest of the channel.
const (
	ConflateKey  = protocol.ConflateKey
	ConflateLast = protocol.ConflateLast
)

func (o *SubscribeOptions) callbacks() bool { return o.OnMessage != nil || o.OnEvent != nil }

// asksHistory reports whether what was stored before comes first.
func (o *SubscribeOptions) asksHistory() bool {
	return o.starts() > 0 || o.Durable || o.Conflate != ""
}

// starts counts the places given to start from.
func (o *SubscribeOptions) starts() (n int) {
	for _, set := range []bool{o.Position != "", len(o.Positions) > 0, o.Last != 0, !o.Since.IsZero()} {
		if set {
			n++
		}
	}
	return n
}

func (o *SubscribeOptions) validate(pattern bool) error {
	switch {
	case o.starts() > 1:
		return invalid("position", "at most one of Position, Positions, Last and Since may be set")
	case o.Last < 0 || o.Last > protocol.MaxLast:
		return invalid("last", fmt.Sprintf("%d is not from 1 to %d", o.Last, protocol.MaxLast))
	case pattern && o.Durable:
		return invalid("durable", "only a subscription to a channel can be durable, not one to a pattern")
	case o.ManualAck && !o.Durable:
		return invalid("manual_ack", "needs Durable")
	case len(o.Filter) > protocol.MaxFilterBytes:
		return invalid("filter", fmt.Sprintf("has %d bytes, at most %d are allowed", len(o.Filter), protocol.MaxFilterBytes))
	case o.Conflate != "" && o.Conflate != ConflateKey && o.Conflate != ConflateLast:
		return invalid("conflate", fmt.Sprintf("%.16q is not %s or %s", o.Conflate, ConflateKey, ConflateLast))
	case o.MaxRate < 0 || o.MaxRate > protocol.MaxRate:
		return invalid("max_rate", fmt.Sprintf("%d is not from 1 to %d", o.MaxRate, protocol.MaxRate))
	case o.MaxRate > 0 && o.Conflate == "":
		return invalid("max_rate", "needs Conflate")
	case pattern && o.Position != "":
		return invalid("position", "a pattern resumes from Positions, one of each stream")
	case pattern && o.Presence:
		return invalid("presence", "is for one channel; a pattern's subscribers are members of none")
	case !pattern && len(o.Positions) > 1:
		return invalid("positions", "a channel resumes from one Position")
	}
	return nil
}

func invalid(field, problem string) *Error {
	return &Error{Code: protocol.ErrorBadRequest, Field: field, Message: problem}
}

// phase of a subscription at the node.
type phase uint8

const (
	phaseIdle      phase = iota // to be asked for as soon as there is a link
	phaseRequested              // subscribe sent
	phaseLive                   // the node delivers
	phasePaused                 // let go of for want of room; taken up again when there is
	phaseEnded
)

// Subscription is a cursor on a channel or on the channels of a pattern.
type Subscription struct {
	// Static.
	client  *Client
	channel string // canonical
	pattern bool
	opts    SubscribeOptions
	began   chan struct{} // closed at the first `subscribed`
	done    chan struct{} // closed at the end
	removed chan struct{} // closed when the client has forgotten it, and the node too
	avail   chan struct{} // size 1: there is something to take
	room    chan struct{} // size 1: something was taken

	// Owned by the read loop.
	here  starts // where it began on the link
	lives lives  // of a pattern
	whole bool   // it has had the history that it asked for: what follows is new to all

	mu       sync.Mutex // guards the following
	phase    phase
	link     *link  // phaseRequested, phaseLive: where
	request  uint64 // counts subscribes, so that a late reply is told from the current one's
	held     *hold  // phasePaused: with whom
	released bool   // phasePaused: the node has confirmed
	started  bool   // a `subscribed` has come
	cleared  *link  // where what overlaps was let go of, for it to get what it asks for; nil once it has begun
	failures int    // subscribes refused for now, in a row
	received places // of what is in the buffer: to resume from
	taken    places // of what the application has
	seen     suppressor
	buffer   buffer
	acks     acks
	behind   *link // where messages of a durable subscription were let go
	err      error // phaseEnded: why; nil after Unsubscribe

	listed bool // guarded by the dispatcher's lock: waits there for its callbacks
}

func newSubscription(c *Client, channel string, opts SubscribeOptions) *Subscription {
	pattern := isPattern(channel)
	if opts.Buffer <= 0 {
		opts.Buffer = 256
	}
	s := &Subscription{
		client: c, channel: channel, pattern: pattern, opts: opts,
		began: make(chan struct{}), done: make(chan struct{}), removed: make(chan struct{}),
		avail: make(chan struct{}, 1), room: make(chan struct{}, 1),
		received: places{pattern: pattern}, taken: places{pattern: pattern},
		buffer: buffer{most: opts.Buffer},
	}
	for _, p := range append([]string{opts.Position}, opts.Positions...) {
		s.taken.set(p)
	}
	return s
}

// Channel is the full name of the channel or pattern subscribed to.
func (s *Subscription) Channel() string { return s.channel }

// Position to resume a channel after what the application has taken so far, also
// in another process. It is "" for a pattern: see Positions.
func (s *Subscription) Position() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.one
}

// Positions to resume after what the application has taken so far: one of each
// stream for a pattern, one for a channel.
func (s *Subscription) Positions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.list()
}

// Done is closed when the subscription has ended.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err says why the subscription ended: nil while it has not and after Unsubscribe,
// ErrClosed after Client.Close, else an *Error.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Messages ranges over the messages, waiting for new ones. It ends when ctx does
// or the subscription has ended, with an error last unless by Unsubscribe. A
// *GapError does not end it: it stands between the messages where some are gone.
// Breaking out of the loop leaves the subscription as it is; it may be ranged
// over again.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for u, err := range s.Updates(ctx) {
			switch gap := u.Gap(); {
			case err != nil:
				yield(nil, err)
				return
			case gap != nil:
				if !yield(nil, gap) {
					return
				}
			case u.Message != nil:
				if !yield(u.Message, nil) {
					return
				}
			}
		}
	}
}

// Updates ranges over messages and everything else the subscription has to tell,
// in order. It ends as Messages does; a gap is an update, not an error.
func (s *Subscription) Updates(ctx context.Context) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		if s.opts.callbacks() {
			yield(Update{}, ErrHasCallbacks)
			return
		}
		for {
			u, ok, err := s.next(ctx)
			if err != nil {
				yield(Update{}, err)
				return
			}
			if !ok || !yield(u, nil) {
				return
			}
		}
	}
}

// next waits for an update; ok is false after Unsubscribe.
func (s *Subscription) next(ctx context.Context) (u Update, ok bool, err error) {
	for ctx.Err() == nil {
		if u, ok = s.take(); ok {
			return u, true, nil
		}
		select {
		case <-s.avail:
		case <-ctx.Done():
		case <-s.done:
			if u, ok = s.take(); ok { // what came before the end
				return u, true, nil
			}
			return Update{}, false, s.Err()
		}
	}
	return Update{}, false, ctx.Err()
}

// take removes the next update, if there is one. The only way out of the buffer,
// for iterators and callbacks alike.
func (s *Subscription) take() (Update, bool) {
	s.asksForMore()
	s.mu.Lock()
	if s.buffer.n == 0 {
		s.mu.Unlock()
		return Update{}, false
	}
	u := s.buffer.pop()
	s.taken.apply(&u)
	if u.life == s.acks.life && (u.Kind != KindSubscribed || u.Gap() != nil) {
		s.acks.handed = s.taken.one
	}
	more, held := s.buffer.n > 0, s.held
	s.mu.Unlock()
	notify(s.room)
	if more {
		notify(s.avail) // for another goroutine that ranges
	}
	held.resume(s.client)
	s.catchUp()
	return u, true
}

// notify sets a signal of size 1.
func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// Unsubscribe ends the subscription. Ranges over it end, and what they have not
// taken is dropped: Position is after what they have. It returns when the node
// has confirmed or the connection is gone, or with an error that says why not: ctx's, or
// that there was no answer in Options.ReplyTimeout. Then the client goes on trying, and
// until it has done it, the channel cannot be subscribed to again. A durable session
// forgets the channel; to keep its place, close the client instead.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	if l := s.end(nil, true); l != nil {
		s.letGo(l)
	}
	timer := time.NewTimer(s.client.opts.ReplyTimeout)
	defer timer.Stop()
	err := errNoAnswer
	select {
	case <-s.removed:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return doing(err, "unsubscribe %s", s.channel)
}
