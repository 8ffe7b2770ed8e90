package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// storeCase is one way to keep durable sessions, that every test of the suite is run on.
type storeCase struct {
	store  broker.SessionStore
	remote bool // two nodes on a server of their own, else one with the server in it
}

func (c storeCase) String() string {
	if c.remote {
		return string(c.store) + "/remote"
	}
	return string(c.store) + "/embedded"
}

// storeCases are those that a test of the conformance suite is run on.
func storeCases(remoteOnly bool) []storeCase {
	list := []storeCase{{broker.SessionsInConsumers, true}, {broker.SessionsInKV, true}}
	if !remoteOnly {
		list = append(list, storeCase{broker.SessionsInConsumers, false}, storeCase{broker.SessionsInKV, false})
	}
	return list
}

// node is a broker with its durable sessions.
type node struct {
	*broker.Broker
	sessions *broker.Sessions
	yields   *yields
	expired  *expired
	losses   *losses
}

// nodes opens one node, or two on one remote server.
func nodes(t *testing.T, c storeCase, policy broker.SessionPolicy) []*node {
	t.Helper()
	policy.Store = c.store
	base := config(t, func(cfg *broker.Config) { cfg.Sessions.Default = policy })
	count := 1
	if c.remote {
		srv := startRemote(t, remoteOptions(t, "n"))
		base.Data, base.NATSURL, count = "", srv.srv.ClientURL(), 2
	}
	gone := &expired{}
	var list []*node
	for i := range count {
		cfg := base
		cfg.Node = fmt.Sprintf("node-%d", i)
		list = append(list, openNode(t, cfg, gone))
	}
	return list
}

func openNode(t *testing.T, cfg broker.Config, gone *expired) *node {
	t.Helper()
	n := &node{Broker: open(t, cfg), yields: &yields{}, expired: gone, losses: &losses{}}
	n.sessions = n.Sessions()
	n.sessions.LoseAnswers(n.losses.lose)
	if err := n.sessions.Serve(n.yields, gone); err != nil {
		t.Fatal(err)
	}
	return n
}

// losses decides which answers a node does not hear.
type losses struct {
	mu     sync.Mutex // guards the following
	decide func(what string) bool
	count  int
}

func (l *losses) lose(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.decide != nil && l.decide(what)
	if lost {
		l.count++
	}
	return lost
}

func (l *losses) set(decide func(what string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decide = decide
}

// next loses the next answer to a write of a kind, and calls then.
func (l *losses) next(kind string, then func()) {
	done := false
	l.set(func(what string) bool {
		if done || what != kind {
			return false
		}
		done = true
		if then != nil {
			then()
		}
		return true
	})
}

func (l *losses) lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// other is the second node, or the same where there is one alone.
func other(list []*node) *node { return list[len(list)-1] }

// yields is what a node was asked to give up.
type yields struct {
	mu   sync.Mutex // guards the following
	list []fanout.YieldReason
	do   func(ctx context.Context, id fanout.SessionID, client string)
}

func (y *yields) Yield(ctx context.Context, id fanout.SessionID, client string, why fanout.YieldReason) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.list = append(y.list, why)
	if y.do != nil {
		y.do(ctx, id, client)
	}
}

func (y *yields) asked() []fanout.YieldReason {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Clone(y.list)
}

// expired is what the observer was told, by all nodes of a test.
type expired struct {
	mu   sync.Mutex // guards the following
	list []string
	fail int // so often
}

func (e *expired) SessionExpired(_ context.Context, r *fanout.SessionRecord) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail > 0 {
		e.fail--
		return errors.New("not now")
	}
	e.list = append(e.list, fmt.Sprint(r.ID.User, "/", r.ID.Name, " ", r.Names()))
	return nil
}

func (e *expired) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fail == 0
}

func (e *expired) told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

var alice = fanout.SessionID{User: "alice", Name: "phone-1"}

func take(t *testing.T, n *node, id fanout.SessionID, client string, resumed bool) *fanout.SessionRecord {
	t.Helper()
	rec, was, err := n.sessions.Take(t.Context(), id, client)
	if err != nil {
		t.Fatalf("take %v: %v", id, err)
	}
	if was != resumed {
		t.Fatalf("take %v: resumed is %v, want %v", id, was, resumed)
	}
	return rec
}

func save(t *testing.T, n *node, rec *fanout.SessionRecord, change fanout.SessionChange) {
	t.Helper()
	if err := n.sessions.Save(t.Context(), rec, change); err != nil {
		t.Fatalf("save %+v: %v", change, err)
	}
}

func places(t *testing.T, ch string, p fanout.Position) []fanout.SessionChannel {
	t.Helper()
	return []fanout.SessionChannel{{Channel: channel(t, ch), Position: p}}
}

func wantAt(t *testing.T, rec *fanout.SessionRecord, ch string, p fanout.Position) {
	t.Helper()
	k := rec.Find(channel(t, ch))
	if k == nil || k.Position != p {
		t.Fatalf("%s is at %+v, want %v", ch, k, p)
	}
}

// consumers is how many consumers the test's stream has.
func consumers(t *testing.T, n *node) int {
	t.Helper()
	s, err := n.JetStream().Stream(t.Context(), "CH_t_1_0")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Consumers
}

// kept is how many consumers a store needs for so many places.
func (c storeCase) kept(places int) int {
	if c.store == broker.SessionsInConsumers {
		return places
	}
	return 0
}

func TestSessionKeepsItsPositions(t *testing.T) {
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{})
			a := list[0]
			at := publishMany(t, a.Broker, "t:a", 0, 5)
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:b", at[4])})
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[2])})
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[3]), Release: true})

			again := take(t, other(list), alice, "c2", true)
			wantAt(t, again, "t:a", at[3])
			wantAt(t, again, "t:b", at[4])
			if again.Names()[0] != channel(t, "t:a") || again.Client != "c2" {
				t.Errorf("taken: %+v", again)
			}
			if n := consumers(t, a); n != c.kept(2) {
				t.Errorf("%d consumers, want %d", n, c.kept(2))
			}
			save(t, other(list), again, fanout.SessionChange{Removed: []fanout.Channel{channel(t, "t:a")}})
			if again.Find(channel(t, "t:a")) != nil || consumers(t, a) != c.kept(1) {
				t.Errorf("after the removal: %+v, %d consumers", again, consumers(t, a))
			}
			if got, err := a.sessions.Get(t.Context(), alice); err != nil || got.Find(channel(t, "t:a")) != nil {
				t.Errorf("stored after the removal: %+v, %v", got, err)
			}
		})
	}
}

func TestSessionSurvivesRestart(t *testing.T) {
	for _, store := range []broker.SessionStore{broker.SessionsInConsumers, broker.SessionsInKV} {
		t.Run(string(store), func(t *testing.T) {
			cfg := config(t, func(cfg *broker.Config) { cfg.Sessions.Default.Store = store })
			n := openNode(t, cfg, &expired{})
			at := publishMany(t, n.Broker, "t:a", 0, 5)
			rec := take(t, n, alice, "c1", false)
			save(t, n, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			save(t, n, rec, fanout.SessionChange{Moved: places(t, "t:a", at[2])})
			closeNow(t, n.Broker) // without having released

			cfg.Node = "later"
			n = openNode(t, cfg, &expired{})
			wantAt(t, take(t, n, alice, "c2", true), "t:a", at[2])
		})
	}
}

// A paused node, or one that was cut off, knows nothing of the newer owner: what it
// writes must not count, neither backwards nor forwards.
func TestSessionIsFenced(t *testing.T) {
	for _, c := range storeCases(true) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{})
			a, b := list[0], list[1]
			at := publishMany(t, a.Broker, "t:a", 0, 9)
			old := take(t, a, alice, "c1", false)
			save(t, a, old, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			save(t, a, old, fanout.SessionChange{Moved: places(t, "t:a", at[1])})

			rec := take(t, b, alice, "c2", true) // a was asked, and does nothing
			if got := a.yields.asked(); !slices.Equal(got, []fanout.YieldReason{fanout.YieldTaken}) {
				t.Errorf("a was asked %v", got)
			}
			save(t, b, rec, fanout.SessionChange{Moved: places(t, "t:a", at[4])})
			for _, change := range []fanout.SessionChange{
				{Moved: places(t, "t:a", at[2])},
				{Moved: places(t, "t:a", at[8])},
				{Added: places(t, "t:z", at[8])},
				{Removed: []fanout.Channel{channel(t, "t:a")}},
				{},
				{Release: true},
				{Moved: places(t, "t:a", at[8]), Release: true},
			} {
				if err := a.sessions.Save(t.Context(), old, change); !errors.Is(err, fanout.ErrSuperseded) {
					t.Errorf("the old owner saved %+v: %v", change, err)
				}
			}
			got, err := b.sessions.Get(t.Context(), alice)
			if err != nil {
				t.Fatal(err)
			}
			wantAt(t, got, "t:a", at[4])
			if got.Client != "c2" || consumers(t, b) != c.kept(1) {
				t.Errorf("stored: %+v, %d consumers", got, consumers(t, b))
			}
			save(t, b, rec, fanout.SessionChange{Moved: places(t, "t:a", at[5])})
		})
	}
}

func TestSessionIsYielded(t *testing.T) {
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{})
			a := list[0]
			at := publishMany(t, a.Broker, "t:a", 0, 9)
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			a.yields.do = func(ctx context.Context, id fanout.SessionID, client string) {
				if id != alice || client != "c1" {
					t.Errorf("asked to yield %v of %s", id, client)
				}
				if err := a.sessions.Save(ctx, rec, fanout.SessionChange{Moved: places(t, "t:a", at[6]), Release: true}); err != nil {
					t.Errorf("release: %v", err)
				}
			}
			wantAt(t, take(t, other(list), alice, "c2", true), "t:a", at[6])
		})
	}
}

func TestSessionExpires(t *testing.T) {
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{TTL: time.Second})
			a := list[0]
			a.expired.fail = 1
			at := publishMany(t, a.Broker, "t:a", 0, 3)
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			kept := take(t, a, fanout.SessionID{User: "bob", Name: "x"}, "c2", false)
			save(t, a, kept, fanout.SessionChange{Added: places(t, "t:a", at[0])})

			acks := 0
			busy := func() {
				acks++
				save(t, a, kept, fanout.SessionChange{Moved: places(t, "t:a", at[acks%3])})
			}
			begin := time.Now()
			eventually(t, "expiry", func() bool {
				busy() // a connection keeps its session, also one that is never still
				_, err := a.sessions.Get(t.Context(), alice)
				return errors.Is(err, fanout.ErrNoSession)
			})
			if took := time.Since(begin); took < 900*time.Millisecond {
				t.Errorf("expired after %v", took)
			}
			eventually(t, "the end of the session", func() bool {
				busy()
				return a.expired.failed() && consumers(t, a) == c.kept(1)
			})
			eventually(t, "twice the time to live", func() bool {
				busy()
				return time.Since(begin) > 2*time.Second
			})
			if _, err := a.sessions.Get(t.Context(), kept.ID); err != nil {
				t.Errorf("a session whose client was there all the time: %v", err)
			}
			if err := a.sessions.Save(t.Context(), rec, fanout.SessionChange{Moved: places(t, "t:a", at[1])}); !errors.Is(err, fanout.ErrSuperseded) {
				t.Errorf("save of an expired session: %v", err)
			}
			// The observer failed at first; then it is told once, whichever nodes look.
			for _, n := range append(list, list...) {
				n.sessions.ExpireEnding(t)
			}
			got := a.expired.told()
			slices.Sort(got)
			if !slices.Equal(got, []string{"alice/phone-1 [t:a]", "bob/x [t:a]"}) {
				t.Errorf("told: %q", got)
			}
			take(t, other(list), alice, "c3", false)
		})
	}
}

func TestSessionLimits(t *testing.T) {
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			a := nodes(t, c, broker.SessionPolicy{MaxSessions: 2, MaxChannels: 2})[0]
			add := func(rec *fanout.SessionRecord, ch string) error {
				return a.sessions.Save(t.Context(), rec, fanout.SessionChange{Added: places(t, ch, fanout.Nowhere())})
			}
			limit := func(err error, field string) {
				t.Helper()
				if e, ok := errors.AsType[*fanout.LimitError](err); !ok || e.Field != field {
					t.Errorf("got %v, want a limit of %s", err, field)
				}
			}
			first := take(t, a, alice, "c1", false)
			for i := range 2 {
				if err := add(first, fmt.Sprintf("t:%d", i)); err != nil {
					t.Fatal(err)
				}
			}
			limit(add(first, "t:3"), "channel")
			second := take(t, a, fanout.SessionID{User: "bob", Name: "x"}, "c2", false)
			if err := add(second, "t:1"); err != nil {
				t.Fatal(err)
			}
			third := take(t, a, fanout.SessionID{User: "bob", Name: "y"}, "c3", false)
			limit(add(third, "t:1"), "session")
			if len(third.Channels) != 0 || consumers(t, a) != c.kept(3) {
				t.Errorf("what was refused is kept: %+v, %d consumers", third, consumers(t, a))
			}
			if err := add(second, "nowhere:1"); !errors.Is(err, fanout.ErrUnknownNamespace) {
				t.Errorf("unknown namespace: %v", err)
			}
		})
	}
}

func TestSessionsOff(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsOff}, broker.SessionPolicy{})[0]
	rec := take(t, a, alice, "c1", false)
	err := a.sessions.Save(t.Context(), rec, fanout.SessionChange{Added: places(t, "t:a", fanout.Nowhere())})
	if !errors.Is(err, fanout.ErrSessionsOff) {
		t.Errorf("got %v", err)
	}
}

func TestSessionOfUserLimit(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	for i := range broker.UserSessions {
		take(t, a, fanout.SessionID{User: "alice", Name: fmt.Sprint(i)}, "c", false)
		take(t, a, fanout.SessionID{User: "-", Name: fmt.Sprint(i)}, "c", false)
	}
	_, _, err := a.sessions.Take(t.Context(), alice, "c")
	if e, ok := errors.AsType[*fanout.LimitError](err); !ok || e.Field != "session" {
		t.Errorf("one more: %v", err)
	}
	take(t, a, fanout.SessionID{User: "-", Name: "x"}, "c", false)
	take(t, a, fanout.SessionID{User: "alice", Name: "1"}, "d", true)
}
