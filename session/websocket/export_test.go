package websocket

import "github.com/rivulet-rt/rivulet/session"

// CodecForTest is the codec of rivulet.v1.json.
func CodecForTest() session.Codec { return jsonCodec{} }
