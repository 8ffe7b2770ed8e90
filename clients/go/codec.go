package rivulet

import (
	"fmt"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Codec is how a Client and a node write to each other. It changes nothing of what
// they say.
type Codec uint8

const (
	// CodecJSON writes text, which every tool can show.
	CodecJSON Codec = iota
	// CodecProtobuf writes shorter frames that are quicker to read, and bytes as they
	// are. A node that does not speak it is spoken to in JSON, so that a client outlives
	// nodes of several versions.
	CodecProtobuf
)

// subprotocols are those that a client offers; nil if there is no such codec.
func (c Codec) subprotocols() []string {
	switch c {
	case CodecJSON:
		return []string{protocol.SubprotocolJSON}
	case CodecProtobuf:
		return []string{protocol.SubprotocolProtobuf, protocol.SubprotocolJSON}
	}
	return nil
}

// wireCodec is a codec of protocol.
type wireCodec interface {
	AppendCommand(dst []byte, c *protocol.Command) []byte
	DecodeEvent(frame []byte) (protocol.Event, error)
}

// frames are what a link carries: the codec that both sides agreed on, and the kind of
// WebSocket message that it uses.
type frames struct {
	codec wireCodec
	kind  int
}

// agreed returns what the node chose of the subprotocols offered; one that chooses
// none speaks JSON (clause P-1.1).
func agreed(offered []string, chosen string) (frames, error) {
	switch {
	case chosen == "", chosen == protocol.SubprotocolJSON:
		return frames{protocol.JSON{}, websocket.TextMessage}, nil
	case chosen == protocol.SubprotocolProtobuf && slices.Contains(offered, chosen):
		return frames{protocol.Protobuf{}, websocket.BinaryMessage}, nil
	}
	return frames{}, &lossError{err: fmt.Errorf("rivulet: the node chose the subprotocol %q, which was not offered", chosen), ours: true}
}
