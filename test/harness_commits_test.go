package test_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

// commitsFile has real events: commits of 13 open projects, one channel each.
var commitsFile = flag.String("commits", "testdata/commits-sample.ndjson.gz", "gzipped `file` of commits, one JSON object with a channel per line")

// commit is one event, as it is published.
type commit struct {
	Channel string `json:"channel"`
}

// loadCommits returns the events by channel, in their order.
func loadCommits(t *testing.T) (channels map[string][]json.RawMessage, total int) {
	t.Helper()
	f, err := os.Open(*commitsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	channels = map[string][]json.RawMessage{}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c commit
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("line %d: %v", total+1, err)
		}
		channels[c.Channel] = append(channels[c.Channel], append(json.RawMessage(nil), lines.Bytes()...))
		total++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return channels, total
}
