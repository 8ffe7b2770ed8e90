package protocol_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/protocol"
)

// addFrames seeds with the frames of one codec.
func addFrames(f *testing.F, codec string, files ...string) {
	f.Helper()
	for _, file := range files {
		for _, v := range readVectors[frameVector](f, file) {
			if frame, ok := v.frames(f)[codec]; ok {
				f.Add(frame)
			}
		}
	}
}

// wellFormed is what scan accepts, told by the standard library.
func wellFormed(b []byte) bool {
	return json.Valid(b) && utf8.Valid(b)
}

func FuzzDecodeCommand(f *testing.F) {
	addFrames(f, "json", "commands", "invalid")
	codec := protocol.JSON{}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		c, err := codec.DecodeCommand(frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("DecodeCommand changed its input")
		}
		if err != nil {
			if c.ID != 0 && !wellFormed(frame) {
				t.Fatalf("id %d from a frame that is not JSON", c.ID)
			}
			return
		}
		if !wellFormed(frame) {
			t.Fatalf("accepted what is not JSON: %q", frame)
		}
		encoded := codec.AppendCommand(nil, &c)
		again, err := codec.DecodeCommand(encoded)
		if err != nil {
			t.Fatalf("%s -> %s: %v", frame, encoded, err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%s -> %+v -> %s -> %+v", frame, c, encoded, again)
		}
	})
}

func FuzzDecodeEvent(f *testing.F) {
	addFrames(f, "json", "events", "invalid")
	codec := protocol.JSON{}
	f.Fuzz(func(t *testing.T, frame []byte) {
		e, err := codec.DecodeEvent(frame)
		if err != nil {
			return
		}
		if !wellFormed(frame) {
			t.Fatalf("accepted what is not JSON: %q", frame)
		}
		encoded := codec.AppendEvent(nil, &e)
		again, err := codec.DecodeEvent(encoded)
		if err != nil {
			t.Fatalf("%s -> %s: %v", frame, encoded, err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%s -> %+v -> %s -> %+v", frame, e, encoded, again)
		}
	})
}

// FuzzCompactData holds CompactData against encoding/json, which knows neither
// depth nor lone surrogates.
func FuzzCompactData(f *testing.F) {
	for _, v := range readVectors[struct{ Input string }](f, "data") {
		if len(v.Input) < 1000 {
			f.Add([]byte(v.Input))
		}
	}
	f.Add([]byte("\"\xff\""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := protocol.CompactData(raw)
		if err == nil {
			var want bytes.Buffer
			if e := json.Compact(&want, raw); e != nil || !utf8.Valid(raw) {
				t.Fatalf("accepted %q: %v", raw, e)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Fatalf("compact of %q is %q, want %q", raw, got, want.Bytes())
			}
			return
		}
		own := strings.Contains(err.Error(), "surrogate") || strings.Contains(err.Error(), "levels deep")
		if wellFormed(raw) && !own {
			t.Fatalf("refused %q: %v", raw, err)
		}
	})
}

// FuzzAppendMessage holds the hand-written encoder against encoding/json.
func FuzzAppendMessage(f *testing.F) {
	f.Add("chat:lobby", uint64(1), "p", int64(2), "id", "ann", "c1", "h", "v", []byte(`{"a":"<b>\u2028"}`), "AA==", false)
	f.Add("chat:lobby", uint64(0), "key\"", int64(3), "t0k3n", "", "", "", "", []byte(`1`), "", false)
	f.Add("\u2028\u2029\x00\x1f\x7f\"\\/<>&", uint64(1<<63), "", int64(-1), "\xff\xfe", "\b\f\n\r\t", "\ufffd", "\xe2\x82", "", []byte(`null`), "", true)
	f.Fuzz(func(t *testing.T, channel string, offset uint64, position string, at int64, id, user, client, hk, hv string, data []byte, b64 string, binary bool) {
		m := protocol.MessageEvent{Channel: channel, Offset: offset, Position: position, Time: at, ID: id, User: user, Client: client}
		if hk == "" { // a message of a group, with what else few have
			m.ConflationKey, m.Updates, m.Group, m.Attempt, m.AckToken = position, offset, channel, int(int32(at)), id
		}
		if hk != "" && utf8.ValidString(hk) {
			m.Headers = map[string]string{hk: hv, hk + "2": user, "a": client}
		}
		if binary {
			m.DataBase64 = &b64
		} else if compact, err := protocol.CompactData(data); err == nil {
			m.Data = compact
		}
		got := protocol.AppendMessage([]byte("prefix"), &m)
		want := marshal(t, &m)
		if string(got) != "prefix"+want {
			t.Fatalf("got  %s\nwant %s", got[len("prefix"):], want)
		}
	})
}

// marshal is encoding/json without the escaping for HTML.
func marshal(t interface {
	Helper()
	Fatal(args ...any)
}, v any,
) string {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(buf.String(), "\n")
}
