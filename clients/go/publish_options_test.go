package rivulet_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// Every option goes out, over either way, in the units of the protocol.
func TestPublishOptions(t *testing.T) {
	at := time.UnixMilli(1900000000123)
	for name, tt := range map[string]struct {
		opts  rivulet.PublishOptions
		want  string // of the command, without what all have
		field string // where it is refused
	}{
		"all for now": {
			opts: rivulet.PublishOptions{TTL: time.Hour, ExpectedOffset: new(uint64(0)), Exclude: "00000000000000ab", ConflationKey: "k", Updates: 7},
			want: `{"ttl":3600,"expected_offset":0,"exclude":"00000000000000ab","conflation_key":"k","updates":7}`,
		},
		"a time":     {opts: rivulet.PublishOptions{DeliverAt: at}, want: `{"deliver_at":1900000000123}`},
		"a delay":    {opts: rivulet.PublishOptions{Delay: 1500 * time.Millisecond}, want: `{"delay":1500}`},
		"nothing":    {want: `{}`},
		"ttl":        {opts: rivulet.PublishOptions{TTL: 1500 * time.Millisecond}, field: "ttl"},
		"below":      {opts: rivulet.PublishOptions{TTL: -time.Second}, field: "ttl"},
		"too fine":   {opts: rivulet.PublishOptions{Delay: time.Microsecond}, field: "delay"},
		"both":       {opts: rivulet.PublishOptions{DeliverAt: at, Delay: time.Second}, field: "deliver_at"},
		"of old":     {opts: rivulet.PublishOptions{DeliverAt: time.Unix(-5, 0)}, field: "deliver_at"},
		"in seconds": {opts: rivulet.PublishOptions{DeliverAt: time.UnixMilli(1795443363)}, field: "deliver_at"},
		"no compare": {opts: rivulet.PublishOptions{Delay: time.Second, ExpectedOffset: new(uint64(1))}, field: "expected_offset"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan map[string]json.RawMessage, 1)
			note := func(raw []byte) {
				var m map[string]json.RawMessage
				if err := json.Unmarshal(raw, &m); err != nil {
					t.Error(err)
				}
				for _, same := range []string{"channel", "data", "idempotency_key"} {
					delete(m, same)
				}
				asked <- m
			}
			check := func(way string, got rivulet.Published, err error) {
				if tt.field != "" {
					if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Field != tt.field {
						t.Errorf("%s: %v, want an error of %s", way, err, tt.field)
					}
					return
				}
				if err != nil || got.Schedule != "s1" || !got.DeliverAt.Equal(at) || !got.Time.IsZero() {
					t.Errorf("%s: %+v, %v", way, got, err)
					return
				}
				if sent, err := json.Marshal(await(t, asked)); err != nil || !sameJSON(t, string(sent), tt.want) {
					t.Errorf("%s: sent %s, want %s", way, sent, tt.want)
				}
			}
			c := open(t, scripted(t, func(p *peer) {
				p.greet()
				for {
					cmd := p.receive()
					raw, _ := json.Marshal(cmd.Publish)
					note(raw)
					p.send(protocol.Event{ID: cmd.ID, Published: &protocol.PublishedEvent{Channel: "a:b", Schedule: "s1", DeliverAt: at.UnixMilli()}})
				}
			}), quick())
			got, err := c.Publish(limit(t), "a:b", 1, tt.opts)
			check("client", got, err)
			p, err := rivulet.NewPublisher(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				note(raw)
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"code":201,"message":"scheduled","data":{"channel":"a:b","schedule":"s1","deliver_at":1900000000123,"duplicate":false}}`)
			})), rivulet.PublisherOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err = p.Publish(limit(t), "a:b", 1, tt.opts)
			check("publisher", got, err)
		})
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y map[string]any
	if err := errors.Join(json.Unmarshal([]byte(a), &x), json.Unmarshal([]byte(b), &y)); err != nil {
		t.Error(err)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}
