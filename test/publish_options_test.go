package test_test

import (
	"context"
	"errors"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// TestPublishOptionsOfTheClient: a node understands what the client makes of its options,
// over a connection and over HTTP.
func TestPublishOptionsOfTheClient(t *testing.T) {
	n := serve(t, t.TempDir(), "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ids := make(chan string, 8)
	c, err := rivulet.New(n.url(), rivulet.Options{OnState: func(s rivulet.StateChange) {
		if s.State == rivulet.StateConnected {
			ids <- s.Client
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	self := <-ids
	p, err := rivulet.NewPublisher(n.url(), rivulet.PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for channel, publish := range map[string]func(context.Context, string, any, rivulet.PublishOptions) (rivulet.Published, error){
		"over:ws": c.Publish, "over:http": p.Publish,
	} {
		first, err := publish(ctx, channel, 1, rivulet.PublishOptions{ExpectedOffset: new(uint64(0)), TTL: time.Hour, ConflationKey: "k"})
		if err != nil {
			t.Fatalf("%s: %v", channel, err)
		}
		_, err = publish(ctx, channel, 2, rivulet.PublishOptions{ExpectedOffset: new(uint64(0))})
		if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorConflict || e.Field != "expected_offset" {
			t.Errorf("%s: a second into an empty channel: %v", channel, err)
		}
		s, err := c.Subscribe(ctx, channel, rivulet.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := publish(ctx, channel, 3, rivulet.PublishOptions{Exclude: self}); err != nil {
			t.Errorf("%s: %v", channel, err)
		}
		version, err := publish(ctx, channel, 4, rivulet.PublishOptions{Updates: first.Offset})
		if err != nil {
			t.Fatalf("%s: %v", channel, err)
		}
		for m, err := range s.Messages(ctx) { // without the one that it is excluded from
			if err != nil || m.Offset != version.Offset {
				t.Errorf("%s: got %+v, %v; want %d", channel, m, err, version.Offset)
			}
			break
		}
		at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		later, err := publish(ctx, channel, 5, rivulet.PublishOptions{DeliverAt: at})
		if err != nil || later.Schedule == "" || !later.DeliverAt.Equal(at) || later.Offset != 0 {
			t.Errorf("%s: scheduled: %+v, %v", channel, later, err)
		}
		if soon, err := publish(ctx, channel, 6, rivulet.PublishOptions{Delay: 50 * time.Millisecond}); err != nil || soon.Schedule == "" {
			t.Errorf("%s: delayed: %+v, %v", channel, soon, err)
		}
		for m, err := range s.Messages(ctx) {
			if err != nil || string(m.Data) != "6" {
				t.Errorf("%s: after the delay: %+v, %v", channel, m, err)
			}
			break
		}
	}
}
