//go:build linux

package scenario

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

const (
	// dataSize is how many bytes of data every message has.
	dataSize = 250
	// maxEvents bounds how many different ones there are.
	maxEvents = 512
)

// loadEvents makes data for messages from real events: a stamp, what the event
// says, and of its body as much as there is room for.
func loadEvents(file string) ([][]byte, error) {
	f, err := os.Open(file) //nolint:gosec // whoever runs the load names it
	if err != nil {
		return nil, fmt.Errorf("scenario: events: %w", err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("scenario: events in %s: %w", file, err)
	}
	var list [][]byte
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && len(list) < maxEvents {
		var ev struct {
			ID      string `json:"id"`
			Author  string `json:"author"`
			Subject string `json:"subject"`
			Body    string `json:"body"`
		}
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			return nil, fmt.Errorf("scenario: events in %s: %w", file, err)
		}
		data, ok := makeData(ev.ID, ev.Author, ev.Subject+"\n\n"+ev.Body)
		if ok {
			list = append(list, data)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("scenario: events in %s: %w", file, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("scenario: events in %s: none is long enough for %d bytes: %w", file, dataSize, io.ErrUnexpectedEOF)
	}
	return list, nil
}

var errTooShort = errors.New("scenario: text too short")

// makeData returns data of dataSize bytes, if the text is long enough.
func makeData(id, author, text string) ([]byte, bool) {
	rest, err := json.Marshal(struct {
		ID     string `json:"id"`
		Author string `json:"author"`
		Text   string `json:"text"`
	}{id, author, ""})
	if err != nil {
		return nil, false
	}
	data := make([]byte, raw.StampSize, dataSize)
	raw.Stamp(data, 0, 1_700_000_000_000_000_000)
	data = append(data, rest[1:len(rest)-len(`"}`)]...)
	fitted, err := fit(text, dataSize-len(data)-len(`"}`))
	if err != nil {
		return nil, false
	}
	data = append(append(data, fitted...), `"}`...)
	return data, len(data) == dataSize && json.Valid(data)
}

// fit cuts text so that it takes exactly size bytes as the inside of a JSON string.
func fit(text string, size int) ([]byte, error) {
	var out []byte
	for _, r := range text {
		if len(out) == size {
			break
		}
		quoted, err := json.Marshal(string(r))
		if err != nil {
			return nil, fmt.Errorf("scenario: quote %q: %w", r, err)
		}
		inside := quoted[1 : len(quoted)-1]
		if r == utf8.RuneError || len(out)+len(inside) > size {
			inside = []byte{' '}
		}
		out = append(out, inside...)
	}
	if len(out) != size || !bytes.Contains(out, []byte{' '}) {
		return nil, errTooShort
	}
	return out, nil
}
