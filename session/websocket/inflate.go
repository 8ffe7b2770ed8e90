package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
)

// inflater decompresses messages. gorilla would, but it takes the end of a DEFLATE
// stream for that of the message: a client that has no other way to flush ends a
// stream with each flush (RFC 7692 section 7.2.3.4), and all after the first was lost.
type inflater struct {
	in     bytes.Reader
	stream io.ReadCloser // also a flate.Resetter; nil before its first use
}

const (
	// streamEnd is what RFC 7692 leaves out at a message's end, and an empty last block,
	// so that the reader ends.
	streamEnd = "\x00\x00\xff\xff" + "\x01\x00\x00\xff\xff"
	// maxStreams bounds the streams of one message: each begins with a copy of the
	// window, for as little as two bytes.
	maxStreams = 128
	window     = 32 << 10 // bytes that a stream may refer back to
)

var errStreams = errors.New("too many final blocks in a message")

// inflate appends to dst what message is when inflated, up to one byte more than limit.
// It changes message.
func (z *inflater) inflate(dst, message *bytes.Buffer, limit int64) error {
	message.WriteString(streamEnd)
	z.in.Reset(message.Bytes())
	defer z.in.Reset(nil)
	for range maxStreams {
		z.reset(dst.Bytes())
		if _, err := dst.ReadFrom(io.LimitReader(z.stream, limit+1-int64(dst.Len()))); err != nil {
			return err
		}
		// Of a stream that the message's last byte ends, nothing was left out.
		if int64(dst.Len()) > limit || z.in.Len() <= len(streamEnd) {
			return nil
		}
	}
	return errStreams
}

// reset begins a stream, which may refer to what came before.
func (z *inflater) reset(before []byte) {
	before = before[max(0, len(before)-window):]
	if z.stream == nil {
		z.stream = flate.NewReaderDict(&z.in, before)
		return
	}
	_ = z.stream.(flate.Resetter).Reset(&z.in, before) //nolint:forcetypeassert // documented, and it never fails
}
