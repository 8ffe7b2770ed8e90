package webhook_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/broker/webhook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// The inboxes of TestUndelivered are filled with real commits; more of them are in the
// file of which the default is a sample.
var (
	commitsFile  = flag.String("commits", "../../test/testdata/commits-sample.ndjson.gz", "gzipped `file` of commits, one JSON object with an author per line")
	inboxCommits = flag.Int("undelivered.messages", 500, "messages of TestUndelivered")
)

// acked is who has acknowledged how far, by channel.
type acked struct {
	complete chan struct{} // closed when everything is acknowledged that will be

	mu      sync.Mutex // guards the following
	through map[string]fanout.Position
	fail    int // so often
}

func (a *acked) Acknowledged(ctx context.Context, user string, c fanout.Channel) ([]webhook.Span, bool, error) {
	select {
	case <-a.complete:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail > 0 {
		a.fail--
		return nil, false, fanout.ErrUnavailable
	}
	if user != c.Name() {
		return nil, false, fmt.Errorf("user %q of %s", user, c)
	}
	p, ok := a.through[c.String()]
	return []webhook.Span{{Through: p}}, ok, nil
}

func undelivered(h webhook.Hook, after time.Duration) webhook.Config {
	cfg := quick(h)
	cfg.Undelivered = map[string]time.Duration{"user": after}
	return cfg
}

// The undelivered hook is told of real messages to inboxes: of exactly those that their
// users have not acknowledged, also where the node restarts in between, once each.
func TestUndelivered(t *testing.T) {
	rcv := receive(t, nil)
	acks := &acked{complete: make(chan struct{}), through: map[string]fanout.Position{}, fail: 2}
	bcfg := brokerConfig(t)
	const after = time.Second
	cfg := undelivered(hook(t, "a", rcv.URL, webhook.MessageUndelivered), after)
	with := func(s *webhook.Services) { s.Acknowledged = acks }
	n := run(t, bcfg, cfg, with)
	start := time.Now()
	want := map[string]bool{}
	list := inboxMessages(t, *inboxCommits)
	for i, o := range n.broker.PublishAll(t.Context(), list) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		// Of three users one is offline, one reads half of it, one everything.
		c := list[i].Channel
		switch c.Name()[len(c.Name())-1] % 3 {
		case 0:
			want[list[i].Key] = true
		case 1:
			if i < len(list)/2 {
				acks.set(c, o.Receipt.Position)
			} else {
				want[list[i].Key] = true
			}
		default:
			acks.set(c, o.Receipt.Position)
		}
	}
	close(acks.complete)
	n.stop()
	n = run(t, bcfg, cfg, with)
	got := rcv.await(len(want))
	if first := time.UnixMilli(got[0].Time); first.Sub(start) < after {
		t.Errorf("told after %v", first.Sub(start))
	}
	// Everything else has been looked at when this one is told.
	n.publish(t, "user:last", 0, 1)
	got = rcv.await(len(want) + 1)
	var keys []string
	once := map[string]bool{}
	for _, e := range got {
		if once[e.ID] { // sent again
			continue
		}
		once[e.ID] = true
		if e.Type != webhook.MessageUndelivered || e.User == "" || e.Channel != "user:"+e.User || e.HasSession == nil {
			t.Fatalf("event %+v", e)
		}
		if e.User == "last" {
			continue
		}
		if _, has := acks.through[e.Channel]; has != *e.HasSession {
			t.Fatalf("%s: has a session: %v", e.Channel, *e.HasSession)
		}
		keys = append(keys, e.Message.ID)
		if !want[e.Message.ID] {
			t.Fatalf("%s was told, and is acknowledged", e.Message.ID)
		}
	}
	slices.Sort(keys)
	if len(keys) != len(want) || len(slices.Compact(keys)) != len(want) {
		t.Errorf("%d events, %d different ones, want %d", len(keys), len(slices.Compact(keys)), len(want))
	}
}

func (a *acked) set(c fanout.Channel, p fanout.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.through[c.String()] = p
}

// inboxMessages are commits, each as a message to its author.
func inboxMessages(tb testing.TB, n int) []*fanout.Publication {
	tb.Helper()
	var list []*fanout.Publication
	add := func(i int, author string, data []byte) {
		list = append(list, &fanout.Publication{Channel: patterns(tb, "user:"+author)[0], Data: data, Key: fmt.Sprint("k", i)})
	}
	f, err := os.Open(*commitsFile)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() && len(list) < n {
		var commit struct{ Author, Subject, Body string }
		if err := json.Unmarshal(lines.Bytes(), &commit); err != nil {
			tb.Fatal(err)
		}
		data, err := json.Marshal(commit)
		if err != nil {
			tb.Fatal(err)
		}
		add(len(list), commit.Author, data)
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return list
}

// With real durable sessions: what one of the user's sessions acknowledged is delivered.
func TestUndeliveredWithSessions(t *testing.T) {
	for _, store := range []string{"kv", "consumer"} {
		t.Run(store, func(t *testing.T) {
			rcv := receive(t, nil)
			bcfg := brokerConfig(t)
			bcfg.Sessions.Default.Store = broker.SessionStore(store)
			n := run(t, bcfg, undelivered(hook(t, "a", rcv.URL, webhook.MessageUndelivered), time.Second))
			sessions := n.broker.Sessions()
			at := func(user, session string, began, p fanout.Position) {
				t.Helper()
				rec, _, err := sessions.Take(t.Context(), fanout.SessionID{User: user, Name: session}, "c1")
				if err != nil {
					t.Fatal(err)
				}
				place := fanout.SessionChannel{Channel: patterns(t, "user:"+user)[0], Position: began}
				if err := sessions.Save(t.Context(), rec, fanout.SessionChange{Added: []fanout.SessionChannel{place}}); err != nil {
					t.Fatal(err)
				}
				if place.Position = p; p == began {
					return
				}
				if err := sessions.Save(t.Context(), rec, fanout.SessionChange{Moved: []fanout.SessionChannel{place}}); err != nil {
					t.Fatal(err)
				}
			}
			before := func(p fanout.Position) fanout.Position {
				p.Offset--
				return p
			}
			send := func(user string) fanout.Position {
				t.Helper()
				r, err := n.broker.Publish(t.Context(), &fanout.Publication{Channel: patterns(t, "user:"+user)[0], Data: []byte(`"` + user + `"`)})
				if err != nil {
					t.Fatal(err)
				}
				return r.Position
			}
			annOld := send("ann")
			ann := send("ann")
			at("ann", "phone", before(annOld), annOld)
			at("ann", "laptop", before(annOld), ann)
			bob := send("bob")
			at("bob", "phone", before(bob), bob)
			send("bob") // he has not read the second
			cat := send("cat")
			at("cat", "phone", cat, cat) // begins behind it
			send("eve")                  // has no session
			got := map[string]bool{}
			for _, e := range rcv.await(3) {
				got[e.User] = *e.HasSession
			}
			if want := map[string]bool{"bob": true, "cat": true, "eve": false}; !maps.Equal(got, want) {
				t.Errorf("told of %v", got)
			}
		})
	}
}

// aheadLog has messages that seem to have been stored by a clock that was ahead.
type aheadLog struct{ webhook.Log }

type aheadReader struct{ webhook.Reader }

func (l aheadLog) ReadMessages(ctx context.Context, id fanout.StreamID, filter fanout.Channel, name string) (webhook.Reader, error) {
	r, err := l.Log.ReadMessages(ctx, id, filter, name)
	return aheadReader{r}, err
}

func (r aheadReader) Fetch(ctx context.Context, most int) ([]webhook.Item, error) {
	items, err := r.Reader.Fetch(ctx, most)
	for i := range items {
		items[i].Time += int64(time.Hour)
	}
	return items, err
}

// A clock that was ahead holds nothing up for longer than a message may wait anyway, all
// of a batch together.
func TestUndeliveredFromTheFuture(t *testing.T) {
	rcv := receive(t, nil)
	const after = time.Second
	acks := &acked{complete: make(chan struct{}), through: map[string]fanout.Position{}}
	close(acks.complete)
	n := run(t, brokerConfig(t), undelivered(hook(t, "a", rcv.URL, webhook.MessageUndelivered), after), func(s *webhook.Services) {
		s.Acknowledged, s.Log = acks, aheadLog{s.Log}
	})
	n.publish(t, "user:ann", 0, 100)
	start := time.Now()
	if rcv.await(100); time.Since(start) < after || time.Since(start) > 20*after {
		t.Errorf("told after %v", time.Since(start))
	}
}
