package websocket

import (
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
)

// CodecForTest is the codec of rivulet.v1.json.
func CodecForTest() session.Codec {
	return newCodec(protocol.JSON{}, opText, session.SlotWebSocketJSON)
}
