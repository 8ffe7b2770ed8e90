package protocol_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Given by go test ./protocol -run Vectors -update.
var update = flag.Bool("update", false, "write the Protobuf frames of the vectors that have a JSON frame and are not decode_only")

// writtenVector is a vector as it is written: nothing of it is lost, in this order.
type writtenVector struct {
	Name       string          `json:"name"`
	Clause     string          `json:"clause"`
	Direction  string          `json:"direction"`
	JSON       json.RawMessage `json:"json,omitempty"`
	Protobuf   *string         `json:"protobuf,omitempty"`
	Value      json.RawMessage `json:"value"`
	DecodeOnly bool            `json:"decode_only,omitempty"`
	Note       json.RawMessage `json:"note,omitempty"`
}

// TestVectorsAreGenerated: each vector's Protobuf frame is its JSON frame, decoded and
// encoded again. What -update writes is for a person to look through.
func TestVectorsAreGenerated(t *testing.T) {
	for _, file := range []string{"commands", "events"} {
		path := filepath.Join("testdata", "vectors", file+".json")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := unmarshal[vectorFile[writtenVector]](t, raw)
		for i := range f.Vectors {
			if v := &f.Vectors[i]; v.JSON != nil && !v.DecodeOnly {
				v.Protobuf = new(hex.EncodeToString(inProtobuf(t, v)))
			}
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(f); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(out.Bytes(), raw) {
			continue
		}
		if !*update {
			t.Errorf("%s is not what -update writes", path)
			continue
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func inProtobuf(t *testing.T, v *writtenVector) []byte {
	t.Helper()
	frame := []byte(unmarshal[string](t, v.JSON))
	if v.Direction == "command" {
		c, err := protocol.JSON{}.DecodeCommand(frame)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		return protocol.Protobuf{}.AppendCommand(nil, &c)
	}
	e, err := protocol.JSON{}.DecodeEvent(frame)
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return protocol.Protobuf{}.AppendEvent(nil, &e)
}
