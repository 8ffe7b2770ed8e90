package protocol_test

import (
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

type frameVector struct {
	Name       string          `json:"name"`
	Clause     string          `json:"clause"`
	Direction  string          `json:"direction"`
	JSON       string          `json:"json"`
	Hex        string          `json:"hex"`
	Value      json.RawMessage `json:"value"`
	DecodeOnly bool            `json:"decode_only"`
	ID         uint64          `json:"id"`
	Field      string          `json:"field"`
	Problem    string          `json:"problem"`
}

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

func (v *frameVector) frame(tb testing.TB) []byte {
	tb.Helper()
	if v.Hex == "" {
		return []byte(v.JSON)
	}
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		tb.Fatal(err)
	}
	return b
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

func TestCommandVectors(t *testing.T) {
	for _, v := range readVectors[frameVector](t, "commands") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := protocol.JSON{}.DecodeCommand([]byte(v.JSON))
			if err != nil {
				t.Fatal(err)
			}
			if enc := string(protocol.JSON{}.AppendCommand(nil, &got)); enc != v.JSON && !v.DecodeOnly {
				t.Errorf("encoded\n%s, want\n%s", enc, v.JSON)
			}
			want := unmarshal[protocol.Command](t, v.Value)
			if got.Publish != nil {
				compactRaw(t, &got.Publish.Data)
				compactRaw(t, &want.Publish.Data)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded\n%+v, want\n%+v", got, want)
			}
		})
	}
}

func TestEventVectors(t *testing.T) {
	for _, v := range readVectors[frameVector](t, "events") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := protocol.JSON{}.DecodeEvent([]byte(v.JSON))
			if err != nil {
				t.Fatal(err)
			}
			if enc := string(protocol.JSON{}.AppendEvent(nil, &got)); enc != v.JSON && !v.DecodeOnly {
				t.Errorf("encoded\n%s, want\n%s", enc, v.JSON)
			}
			want := unmarshal[protocol.Event](t, v.Value)
			if got.Message != nil {
				compactRaw(t, &got.Message.Data)
				compactRaw(t, &want.Message.Data)
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

func TestInvalidVectors(t *testing.T) {
	for _, v := range readVectors[frameVector](t, "invalid") {
		t.Run(v.Name, func(t *testing.T) {
			var id uint64
			var err error
			if v.Direction == "event" {
				_, err = protocol.JSON{}.DecodeEvent(v.frame(t))
			} else {
				var c protocol.Command
				c, err = protocol.JSON{}.DecodeCommand(v.frame(t))
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
			got, err := protocol.CompactData([]byte(v.Input))
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
