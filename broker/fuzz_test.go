package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// FuzzPublication stores whatever a publisher may send and reads it back.
func FuzzPublication(f *testing.F) {
	cfg := config(f)
	b := open(f, cfg)
	h := started(f, b)
	f.Add("key", "user", "client", "k", "v", []byte("1"))
	f.Add(" a\r\n", "%", "ü ", "k\r\nNats-Rollup: all", " v ", []byte("\r\n"))
	f.Add("", "", "", "", "", []byte{})
	n := 0
	f.Fuzz(func(t *testing.T, key, user, client, hk, hv string, data []byte) {
		n++
		p := &fanout.Publication{
			Channel: channel(t, fmt.Sprintf("t:f.%d", n)), Key: key, User: user, Client: client,
			Headers: map[string]string{hk: hv}, Data: data, Binary: true,
		}
		r, err := b.Publish(t.Context(), p)
		if _, bad := errors.AsType[*fanout.InputError](err); bad || errors.Is(err, fanout.ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		live := h.wait(t, "the message", func(e []event) bool {
			return len(messages(e)) > 0 && messages(e)[len(messages(e))-1].Position == r.Position
		})
		batch := read(t, b, fanout.Query{Source: source(t, b, p.Channel.String()), Limit: 2})
		if len(batch.Messages) != 1 {
			t.Fatalf("%d messages", len(batch.Messages))
		}
		for _, m := range []*fanout.Message{batch.Messages[0], live[len(live)-1].msg} {
			if m.Position != r.Position || m.ID != key || m.User != user || m.Client != client || m.Headers[hk] != hv ||
				len(m.Headers) != 1 || string(m.Data) != string(data) || !m.Binary || m.Kind != fanout.KindData {
				t.Fatalf("sent %+v, got %+v", p, m)
			}
		}
	})
}

// FuzzStored decodes whatever someone else wrote into a stream.
func FuzzStored(f *testing.F) {
	b := open(f, config(f))
	f.Add("c.t.1.0.a", "purge", "5", "%41", "{}")
	f.Add("c.t.1.0.=2A", "deleted", "x", "%", "[]")
	f.Add("c.t.1.0.", "", "", "", "{")
	f.Fuzz(func(t *testing.T, subject, kind, target, id, headers string) {
		m := b.DecodeStored(subject, kind, target, id, headers)
		if m != nil && (m.Channel.IsZero() || m.Channel.IsPattern() || m.Channel.Namespace() != namespace) {
			t.Fatalf("%q is of %q", subject, m.Channel)
		}
	})
}

func FuzzAck(f *testing.F) {
	for _, s := range []string{
		`{"stream":"CH_a_1_0", "seq":12}`, `{"stream":"x","seq":1,"duplicate":true}`, `{"error":{"code":503,"err_code":10077},"stream":"","seq":0}`,
		`{"stream":"x","seq":9,"batch":"b","count":3}`, `{"stream":"\"seq\":7}`, ``, `{}`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		seq, duplicate, refused, err := broker.ParseAck(data)
		if err == nil && !refused && seq == 0 {
			t.Fatalf("%q is an acknowledgement of nothing (duplicate %v)", data, duplicate)
		}
		var want struct {
			Seq       uint64          `json:"seq"`
			Duplicate bool            `json:"duplicate"`
			Error     json.RawMessage `json:"error"`
		}
		// What the short cut accepts means the same to the JSON decoder, if it is JSON.
		if json.Unmarshal(data, &want) == nil && err == nil && !refused && (seq != want.Seq || duplicate != want.Duplicate) {
			t.Fatalf("%q: %d %v, want %+v", data, seq, duplicate, want)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a", " a ", "%", "%41", "ü\r\n", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := broker.Escape(s)
		for i := range len(e) {
			if e[i] <= ' ' || e[i] >= 0x7f {
				t.Fatalf("%q has byte %x", e, e[i])
			}
		}
		if back, ok := broker.Unescape(e); !ok || back != s {
			t.Fatalf("%q became %q and then %q", s, e, back)
		}
		_, _ = broker.Unescape(s) // whatever it holds
	})
}
