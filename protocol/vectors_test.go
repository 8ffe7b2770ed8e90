package protocol_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// vectorFile is one file of testdata/vectors.
type vectorFile[V any] struct {
	About   string `json:"about"`
	Vectors []V    `json:"vectors"`
}

// frameVector is one frame, in the codecs that can show it.
type frameVector struct {
	Name       string          `json:"name"`
	Clause     string          `json:"clause"`
	Direction  string          `json:"direction"`
	JSON       *string         `json:"json"`
	Hex        *string         `json:"hex"`      // a JSON frame that is no text
	Protobuf   *string         `json:"protobuf"` // in hexadecimal
	Value      json.RawMessage `json:"value"`
	DecodeOnly bool            `json:"decode_only"`
	ID         uint64          `json:"id"`
	Field      string          `json:"field"`
	Problem    string          `json:"problem"`
}

// codec is what the vectors are held against.
type codec interface {
	DecodeCommand(frame []byte) (protocol.Command, error)
	DecodeEvent(frame []byte) (protocol.Event, error)
	AppendCommand(dst []byte, c *protocol.Command) []byte
	AppendEvent(dst []byte, e *protocol.Event) []byte
}

// codecs are those that a vector may have a frame of, by its field.
var codecs = map[string]codec{"json": protocol.JSON{}, "protobuf": protocol.Protobuf{}}

func readVectors[V any](tb testing.TB, name string) []V {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "vectors", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	var f vectorFile[V]
	if err := json.Unmarshal(raw, &f); err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	if len(f.Vectors) == 0 || f.About == "" {
		tb.Fatalf("%s: no vectors or no about", name)
	}
	return f.Vectors
}

// frames returns the vector's frame in each codec that it has one of.
func (v *frameVector) frames(tb testing.TB) map[string][]byte {
	tb.Helper()
	frames := map[string][]byte{}
	if v.JSON != nil {
		frames["json"] = []byte(*v.JSON)
	}
	for name, digits := range map[string]*string{"json": v.Hex, "protobuf": v.Protobuf} {
		if digits == nil {
			continue
		}
		b, err := hex.DecodeString(*digits)
		if err != nil {
			tb.Fatalf("%s: %v", v.Name, err)
		}
		frames[name] = b
	}
	return frames
}

// shown is a vector in one codec.
type shown struct {
	frameVector
	name  string
	codec codec
	frame []byte
}

// shownIn returns the vectors of a file in every codec that they have a frame of.
func shownIn(tb testing.TB, file string) []shown {
	tb.Helper()
	var list []shown
	for _, v := range readVectors[frameVector](tb, file) {
		frames := v.frames(tb)
		if len(frames) == 0 {
			tb.Errorf("%s: %q has no frame", file, v.Name)
		}
		for name, frame := range frames {
			list = append(list, shown{v, v.Name + "/" + name, codecs[name], frame})
		}
	}
	return list
}

// unmarshal reads a vector's value by encoding/json, the judge of the codec's decoders.
func unmarshal[T any](tb testing.TB, raw []byte) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		tb.Fatalf("%s: %v", raw, err)
	}
	return v
}

// compactRaw makes data of vectors, which may be written with space, comparable.
func compactRaw(tb testing.TB, raw *json.RawMessage) {
	tb.Helper()
	if *raw == nil {
		return
	}
	var v any
	if err := json.Unmarshal(*raw, &v); err != nil {
		tb.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	*raw = out
}

// spelled returns what a vector's value is when decoded from Protobuf, where bytes
// are not in base64.
func spelled(tb testing.TB, c codec, data *json.RawMessage, b64 **string, b *[]byte) {
	tb.Helper()
	compactRaw(tb, data)
	if _, binary := c.(protocol.Protobuf); !binary || *b64 == nil {
		return
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(**b64)
	if err != nil {
		tb.Fatal(err)
	}
	*b64, *b = nil, append([]byte{}, raw...)
}

func TestCommandVectors(t *testing.T) {
	for _, v := range shownIn(t, "commands") {
		t.Run(v.name, func(t *testing.T) {
			got, err := v.codec.DecodeCommand(v.frame)
			if err != nil {
				t.Fatal(err)
			}
			if enc := v.codec.AppendCommand(nil, &got); !bytes.Equal(enc, v.frame) && !v.DecodeOnly {
				t.Errorf("encoded\n%q, want\n%q", enc, v.frame)
			}
			want := unmarshal[protocol.Command](t, v.Value)
			if p := want.Publish; p != nil {
				spelled(t, v.codec, &p.Data, &p.DataBase64, &p.Bytes)
				compactRaw(t, &got.Publish.Data)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%+v, want\n%+v", got, want)
			}
		})
	}
}

func TestEventVectors(t *testing.T) {
	for _, v := range shownIn(t, "events") {
		t.Run(v.name, func(t *testing.T) {
			got, err := v.codec.DecodeEvent(v.frame)
			if err != nil {
				t.Fatal(err)
			}
			if enc := v.codec.AppendEvent(nil, &got); !bytes.Equal(enc, v.frame) && !v.DecodeOnly {
				t.Errorf("encoded\n%q, want\n%q", enc, v.frame)
			}
			want := unmarshal[protocol.Event](t, v.Value)
			for _, m := range messagesOf(&want) {
				spelled(t, v.codec, &m.Data, &m.DataBase64, &m.Bytes)
			}
			for _, m := range messagesOf(&got) {
				compactRaw(t, &m.Data)
			}
			for _, m := range append(membersOf(&got), membersOf(&want)...) {
				compactRaw(t, &m.Info)
			}
			if got.History != nil && len(want.History.Messages) == 0 {
				want.History.Messages = nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%+v, want\n%+v", got, want)
			}
		})
	}
}

func messagesOf(e *protocol.Event) []*protocol.MessageEvent {
	var list []*protocol.MessageEvent
	if e.Message != nil {
		list = append(list, e.Message)
	}
	if e.History != nil {
		for i := range e.History.Messages {
			list = append(list, &e.History.Messages[i])
		}
	}
	return list
}

func membersOf(e *protocol.Event) []*protocol.Member {
	var members []*protocol.Member
	if p := e.Presence; p != nil {
		for _, list := range [][]protocol.Member{p.Members, p.Joined, p.Left} {
			for i := range list {
				members = append(members, &list[i])
			}
		}
	}
	return members
}

func TestInvalidVectors(t *testing.T) {
	for _, v := range shownIn(t, "invalid") {
		t.Run(v.name, func(t *testing.T) {
			var id uint64
			var err error
			if v.Direction == "event" {
				_, err = v.codec.DecodeEvent(v.frame)
			} else {
				var c protocol.Command
				c, err = v.codec.DecodeCommand(v.frame)
				id = c.ID
			}
			var de *protocol.DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("error %v, want a DecodeError", err)
			}
			if de.Field != v.Field || !strings.Contains(de.Problem, v.Problem) {
				t.Errorf("error %q %q, want field %q and a problem with %q", de.Field, de.Problem, v.Field, v.Problem)
			}
			if id != v.ID {
				t.Errorf("id %d, want %d", id, v.ID)
			}
		})
	}
}

func TestDataVectors(t *testing.T) {
	type vector struct {
		Name, Clause, Input, Compact, Problem string
	}
	for _, v := range readVectors[vector](t, "data") {
		t.Run(v.Name, func(t *testing.T) {
			check := func(got []byte, err error) {
				t.Helper()
				if v.Problem == "" {
					if err != nil || string(got) != v.Compact {
						t.Fatalf("got %s, %v; want %s", got, err, v.Compact)
					}
					return
				}
				var de *protocol.DecodeError
				if !errors.As(err, &de) || de.Field != "data" || !strings.Contains(de.Problem, v.Problem) {
					t.Fatalf("got %s, %v; want a problem of data with %q", got, err, v.Problem)
				}
			}
			check(protocol.CompactData([]byte(v.Input)))
			if v.Input == "" {
				return // which the encoder does not write as data
			}
			// What a publisher sends in Protobuf must not reach a reader of JSON otherwise.
			frame := protocol.Protobuf{}.AppendCommand(nil, &protocol.Command{ID: 1, Publish: &protocol.PublishCommand{Data: []byte(v.Input)}})
			c, err := protocol.Protobuf{}.DecodeCommand(frame)
			if c.Publish == nil {
				c.Publish = new(protocol.PublishCommand)
			}
			check(c.Publish.Data, err)
		})
	}
}

func TestCodeVectors(t *testing.T) {
	type vector struct {
		Code                              protocol.Code
		Reconnect, Temporary, Resubscribe bool
	}
	for _, v := range readVectors[vector](t, "codes") {
		t.Run(v.Code.String(), func(t *testing.T) {
			got := vector{v.Code, v.Code.Reconnect(), v.Code.Temporary(), v.Code.Resubscribe()}
			if got != v {
				t.Errorf("got %+v, want %+v", got, v)
			}
		})
	}
}

func TestPositionVectors(t *testing.T) {
	type vector struct {
		Name, Position, Stream string
		Offset                 *uint64
	}
	for _, v := range readVectors[vector](t, "positions") {
		t.Run(v.Name, func(t *testing.T) {
			if got := protocol.StreamKey(v.Position); got != v.Stream {
				t.Errorf("StreamKey(%q) = %q, want %q", v.Position, got, v.Stream)
			}
			got, ok := protocol.PositionOffset(v.Position)
			if ok != (v.Offset != nil) || ok && got != *v.Offset {
				t.Errorf("PositionOffset(%q) = %d, %v", v.Position, got, ok)
			}
		})
	}
}

// Every vector must name a clause that PROTOCOL.md has, and every clause of the
// specification a number of its own.
func TestVectorsNameClauses(t *testing.T) {
	spec, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	clauses := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^- \*\*(P-\d+\.\d+)\*\*`).FindAllStringSubmatch(string(spec), -1) {
		if clauses[m[1]] {
			t.Errorf("PROTOCOL.md has %s twice", m[1])
		}
		clauses[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`P-\d+\.\d+`).FindAllString(string(spec), -1) {
		if !clauses[m] {
			t.Errorf("PROTOCOL.md refers to %s, which it does not have", m)
		}
	}
	names := map[string]bool{}
	for _, file := range []string{"commands", "events", "invalid", "data", "codes", "positions"} {
		for _, v := range readVectors[struct{ Name, Clause string }](t, file) {
			if !clauses[v.Clause] {
				t.Errorf("%s: %q names %q, which PROTOCOL.md does not have", file, v.Name, v.Clause)
			}
			if key := file + v.Name; v.Name != "" && names[key] {
				t.Errorf("%s: two vectors %q", file, v.Name)
			} else {
				names[key] = true
			}
		}
	}
}
