package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
)

// flushed is the end of an empty stored block, which RFC 7692 leaves out at the
// end of a message. What follows it is an empty last block, so that the reader ends.
const flushed, last = "\x00\x00\xff\xff", "\x01\x00\x00\xff\xff"

// Deflate compresses one message on its own, as level says, or into blocks that
// are not compressed with flate.NoCompression.
func Deflate(payload []byte, level int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		panic(err) // a level that does not exist
	}
	_, err = w.Write(payload)
	if err = errors.Join(err, w.Flush()); err != nil {
		panic(err) // a buffer takes everything
	}
	return bytes.TrimSuffix(b.Bytes(), []byte(flushed))
}

// window is how far back compressed data may refer.
const window = 32 << 10

// Inflate is the reverse of Deflate; it fails if there is more than limit. A block that
// says it is the last is not the message's (RFC 7692 section 7.2.3.4).
func Inflate(compressed []byte, limit int) ([]byte, error) {
	in := bytes.NewReader(append(bytes.Clone(compressed), flushed+last...))
	var payload bytes.Buffer
	for {
		before := payload.Bytes()
		r := flate.NewReaderDict(in, before[max(0, len(before)-window):])
		_, err := payload.ReadFrom(io.LimitReader(r, int64(limit-payload.Len())+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: inflate: %w", ErrViolation, err)
		case payload.Len() > limit:
			return nil, fmt.Errorf("%w: over %d bytes when inflated", ErrViolation, limit)
		case in.Len() <= len(flushed+last): // the message's own bytes are used up
			return payload.Bytes(), nil
		}
	}
}
