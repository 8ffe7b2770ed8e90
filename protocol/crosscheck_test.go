package protocol_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/protocol"
)

// These tests hold the hand-written codec against the schema and Google's
// implementation, which reads what ours writes and writes what ours reads.

// schema parses rivulet.proto.
func schema(tb testing.TB) protoreflect.FileDescriptor {
	tb.Helper()
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := compiler.Compile(tb.Context(), "rivulet.proto")
	if err != nil {
		tb.Fatal(err)
	}
	return files[0]
}

// failer is what a testing.T and a rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// read decodes a frame by the schema.
func read(t failer, file protoreflect.FileDescriptor, name protoreflect.Name, frame []byte) protoreflect.Message {
	t.Helper()
	m := dynamicpb.NewMessage(file.Messages().ByName(name))
	if err := proto.Unmarshal(frame, m); err != nil {
		t.Fatalf("%x: %v", frame, err)
	}
	return m
}

func write(t failer, m protoreflect.Message) []byte {
	t.Helper()
	frame, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		t.Fatalf("%v: %v", m, err)
	}
	return frame
}

// plain is a message as maps, slices and scalars, without what is absent. A field
// that the schema does not know fails the test.
func plain(t failer, m protoreflect.Message) map[string]any {
	t.Helper()
	if u := m.GetUnknown(); len(u) > 0 {
		t.Fatalf("%s has fields that the schema does not know: %x", m.Descriptor().Name(), []byte(u))
	}
	out := map[string]any{}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch name := string(f.Name()); {
		case f.IsMap():
			entries := map[string]any{}
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				entries[k.String()] = v.String()
				return true
			})
			out[name] = entries
		case f.IsList():
			list := []any{}
			for i := range v.List().Len() {
				list = append(list, scalar(t, f, v.List().Get(i)))
			}
			out[name] = list
		default:
			out[name] = scalar(t, f, v)
		}
		return true
	})
	return out
}

func scalar(t failer, f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	t.Helper()
	switch x := v.Interface().(type) {
	case protoreflect.Message:
		return plain(t, x)
	case int32:
		return int64(x)
	case uint32:
		return uint64(x)
	case []byte:
		return string(x)
	case bool, int64, uint64, string:
		return x
	default:
		t.Fatalf("%s is a %T", f.FullName(), x)
		return nil
	}
}

// wanted is a struct of ours in the same form.
func wanted(t failer, v reflect.Value) map[string]any {
	t.Helper()
	out := map[string]any{}
	for field, f := range v.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Name == "Bytes" {
			name = "data_binary"
		}
		if f.IsZero() {
			continue
		}
		switch x := f.Interface().(type) {
		case json.RawMessage:
			out[name] = string(x)
		case []byte:
			out[name] = string(x)
		case []string:
			list := []any{}
			for _, s := range x {
				list = append(list, s)
			}
			out[name] = list
		case map[string]string:
			entries := map[string]any{}
			for k, s := range x {
				entries[k] = s
			}
			out[name] = entries
		case []protocol.MessageEvent:
			list := []any{}
			for _, m := range x {
				list = append(list, wanted(t, reflect.ValueOf(m)))
			}
			out[name] = list
		case []protocol.Member:
			list := []any{}
			for _, m := range x {
				list = append(list, wanted(t, reflect.ValueOf(m)))
			}
			out[name] = list
		default:
			out[name] = wantedScalar(t, f)
		}
	}
	return out
}

func wantedScalar(t failer, f reflect.Value) any {
	t.Helper()
	switch f.Kind() {
	case reflect.Int, reflect.Int64:
		return f.Int()
	case reflect.Uint16, reflect.Uint64:
		return f.Uint()
	case reflect.String, reflect.Bool:
		return f.Interface()
	case reflect.Pointer:
		if f.Elem().Kind() == reflect.Struct {
			return wanted(t, f.Elem())
		}
		return wantedScalar(t, f.Elem())
	default:
	}
	t.Fatalf("no form for %s", f.Type())
	return nil
}

// crossCommand checks a command against the schema, in both directions.
func crossCommand(t failer, file protoreflect.FileDescriptor, c *protocol.Command) {
	t.Helper()
	frame := protocol.Protobuf{}.AppendCommand(nil, c)
	m := read(t, file, "Command", frame)
	if got, want := plain(t, m), wanted(t, reflect.ValueOf(*c)); !reflect.DeepEqual(got, want) {
		t.Fatalf("%x\nread    %v\nwritten %v", frame, got, want)
	}
	theirs := write(t, m)
	if !bytes.Equal(theirs, frame) {
		t.Fatalf("ours   %x\ntheirs %x", frame, theirs)
	}
	if got, err := (protocol.Protobuf{}).DecodeCommand(theirs); err != nil || !reflect.DeepEqual(got, *c) {
		t.Fatalf("%x: %v\ngot  %+v\nwant %+v", theirs, err, got, *c)
	}
}

func crossEvent(t failer, file protoreflect.FileDescriptor, e *protocol.Event) {
	t.Helper()
	frame := protocol.Protobuf{}.AppendEvent(nil, e)
	m := read(t, file, "Event", frame)
	if got, want := plain(t, m), wanted(t, reflect.ValueOf(*e)); !reflect.DeepEqual(got, want) {
		t.Fatalf("%x\nread    %v\nwritten %v", frame, got, want)
	}
	theirs := write(t, m)
	if !bytes.Equal(theirs, frame) {
		t.Fatalf("ours   %x\ntheirs %x", frame, theirs)
	}
	if got, err := (protocol.Protobuf{}).DecodeEvent(theirs); err != nil || !reflect.DeepEqual(got, *e) {
		t.Fatalf("%x: %v\ngot  %+v\nwant %+v", theirs, err, got, *e)
	}
}

func TestSchemaReadsEveryCommand(t *testing.T) {
	file := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommand(t, binaryFields)
		crossCommand(t, file, &c)
	})
}

func TestSchemaReadsEveryEvent(t *testing.T) {
	file := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t, binaryFields)
		crossEvent(t, file, &e)
	})
}

// Vectors that only decode are read by the schema too, with what it does not know.
func TestSchemaReadsTheVectors(t *testing.T) {
	file := schema(t)
	for _, name := range []string{"commands", "events"} {
		for _, v := range shownIn(t, name) {
			if v.codec != (protocol.Protobuf{}) {
				continue
			}
			t.Run(v.name, func(t *testing.T) {
				if v.Direction == "command" {
					crossCommandFrame(t, file, v.frame)
				} else {
					crossEventFrame(t, file, v.frame)
				}
			})
		}
	}
}

// crossCommandFrame checks that the schema reads the same of a frame as we do.
func crossCommandFrame(t *testing.T, file protoreflect.FileDescriptor, frame []byte) {
	t.Helper()
	c, err := protocol.Protobuf{}.DecodeCommand(frame)
	if err != nil {
		t.Fatal(err)
	}
	crossCommand(t, file, &c)
	theirs, err := protocol.Protobuf{}.DecodeCommand(write(t, read(t, file, "Command", frame)))
	if err != nil || !reflect.DeepEqual(theirs, c) {
		t.Errorf("the schema reads %+v (%v), want %+v", theirs, err, c)
	}
}

func crossEventFrame(t *testing.T, file protoreflect.FileDescriptor, frame []byte) {
	t.Helper()
	e, err := protocol.Protobuf{}.DecodeEvent(frame)
	if err != nil {
		t.Fatal(err)
	}
	crossEvent(t, file, &e)
	theirs, err := protocol.Protobuf{}.DecodeEvent(write(t, read(t, file, "Event", frame)))
	if err != nil || !reflect.DeepEqual(theirs, e) {
		t.Errorf("the schema reads %+v (%v), want %+v", theirs, err, e)
	}
}

// TestSchemaHasTheFieldsOfTheTypes: neither side has one that the other lacks, and
// presence is marked where the types tell it.
func TestSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	file := schema(t)
	seen := map[string]bool{}
	var compare func(typ reflect.Type)
	compare = func(typ reflect.Type) {
		if seen[typ.Name()] {
			return
		}
		seen[typ.Name()] = true
		message := file.Messages().ByName(protoreflect.Name(typ.Name()))
		if message == nil {
			t.Errorf("the schema lacks %s", typ.Name())
			return
		}
		fields := 0
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Name == "DataBase64":
				continue
			case f.Name == "Bytes":
				name = "data_binary"
			case f.Type == reflect.TypeFor[*uint64]():
				if d := message.Fields().ByName(protoreflect.Name(name)); d != nil && !d.HasPresence() {
					t.Errorf("%s.%s of the schema is not optional", typ.Name(), name)
				}
			case f.Type.Kind() == reflect.Pointer, f.Type == reflect.TypeFor[[]protocol.MessageEvent](),
				f.Type == reflect.TypeFor[[]protocol.Member]():
				compare(f.Type.Elem())
			}
			if message.Fields().ByName(protoreflect.Name(name)) == nil {
				t.Errorf("%s of the schema lacks %s", typ.Name(), name)
			}
			fields++
		}
		if n := message.Fields().Len(); n != fields {
			t.Errorf("%s of the schema has %d fields, the type %d", typ.Name(), n, fields)
		}
	}
	compare(reflect.TypeFor[protocol.Command]())
	compare(reflect.TypeFor[protocol.Event]())
	if n := file.Messages().Len(); n != len(seen) {
		t.Errorf("the schema has %d messages, of which %d are used", n, len(seen))
	}
}
