//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// Bounds of what is read of a file with events.
const (
	maxEvents     = 4096
	maxEventLine  = maxPayload
	maxEventBytes = 64 << 20
)

// data returns what messages are made of: each begins with room for a stamp.
func (o *Options) data() ([][]byte, error) {
	if o.Events == "" {
		return [][]byte{o.text()}, nil
	}
	f, err := os.Open(o.Events)
	if err != nil {
		return nil, wrong("--events: %w", err)
	}
	defer f.Close()
	list, err := readEvents(f)
	if err != nil {
		return nil, wrong("--events %s: %w", o.Events, err)
	}
	return list, nil
}

// text is data of a size, of letters that do not compress well.
func (o *Options) text() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := append(stamp(), `"text":"`...)
	for len(b) < o.Payload-len(`"}`) {
		b = append(b, letters[rand.IntN(len(letters))])
	}
	return append(b, `"}`...)
}

func stamp() []byte {
	b := make([]byte, raw.StampSize)
	raw.Stamp(b, 0, 1_700_000_000_000_000_000)
	return b
}

// readEvents reads lines of JSON, zipped or not.
func readEvents(r io.Reader) ([][]byte, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unzip: %w", err)
		}
		in = bufio.NewReader(unzipped)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxEventLine)
	var list [][]byte
	number, size := 0, 0
	for lines.Scan() && len(list) < maxEvents && size < maxEventBytes {
		number++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		data, err := event(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w; each line must be one JSON value", number, err)
		}
		list, size = append(list, data), size+len(data)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: is over %d bytes", number+1, maxEventLine)
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if len(list) == 0 {
		return nil, errors.New("no line in it is a message; write a JSON value per line")
	}
	return list, nil
}

// event is data made of a line: the fields of an object follow the stamp.
func event(line []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, line); err != nil {
		return nil, err
	}
	text := b.Bytes()
	if text[0] == '{' && len(text) > len(`{}`) {
		return append(stamp(), text[1:]...), nil
	}
	data := append(stamp(), `"event":`...)
	return append(append(data, text...), '}'), nil
}
