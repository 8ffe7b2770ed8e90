package cmd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestHistoryCommand(t *testing.T) {
	n := startNode(t, devConfig(t))
	var in strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&in, "%d\n", i)
	}
	run(t, in.String(), at(n), "publish", "chat:x").check(t, 0)
	all := decodeLines(t, run(t, "", at(n), "history", "chat:x").check(t, 0).out)
	if len(all) != 1500 || all[0]["data"] != 0.0 || all[1499]["data"] != 1499.0 {
		t.Errorf("%d messages", len(all))
	}
	last := decodeLines(t, run(t, "", at(n), "history", "chat:x", "--last", "1200").check(t, 0).out)
	if len(last) != 1200 || last[0]["data"] != 300.0 || last[1199]["data"] != 1499.0 {
		t.Errorf("the last: %d messages, from %v", len(last), last[0]["data"])
	}
	between := decodeLines(t, run(t, "", at(n), "history", "chat:x", "--after", fmt.Sprint(all[9]["position"]), "--before", fmt.Sprint(all[12]["position"])).check(t, 0).out)
	if len(between) != 2 || between[0]["data"] != 10.0 {
		t.Errorf("between: %v", between)
	}
	if recent := decodeLines(t, run(t, "", at(n), "history", "chat:x", "--since", "1h", "--last", "3").check(t, 0).out); len(recent) != 3 {
		t.Errorf("since: %v", recent)
	}
	run(t, "", at(n), "history", "chat:*").check(t, 2, "pattern")
	run(t, "", at(n), "history", "chat:x", "--last", "-1").check(t, 2, "--last -1")
	run(t, "", at(n), "history", "chat:x", "--since", "yesterday").check(t, 2, "7d")
	run(t, "", at(n), "history", "chat:x", "--after", "nonsense").check(t, 1, "400", "after")
	run(t, "", []string{"RIVULET_URL=http://127.0.0.1:1"}, "history", "chat:x").check(t, 1, "cannot be reached")
}

func TestPublishOptions(t *testing.T) {
	n := startNode(t, devConfig(t))
	since := fmt.Sprint(time.Now().Add(-time.Minute).UnixMilli())
	offset := fmt.Sprint(decodeLines(t, run(t, "", at(n), "publish", "chat:x", "1", "--expected-offset", "0").check(t, 0).out)[0]["offset"])
	run(t, "", at(n), "publish", "chat:x", "1", "--expected-offset", "0").check(t, 1, "409", "has the offset "+offset)
	run(t, "", at(n), "publish", "chat:x", "2", "--updates", "4711").check(t, 1, "404")
	run(t, "", at(n), "publish", "chat:x", "2", "--updates", offset, "--conflation-key", "k", "--exclude", "0123456789abcdef").check(t, 0)
	for _, args := range [][]string{{"history", "chat:x", "--since", since}, {"subscribe", "chat:x", "--since", since, "--count", "2"}} {
		got := decodeLines(t, run(t, "", at(n), args...).check(t, 0).out)
		if len(got) != 2 || got[0]["updates"] != nil || fmt.Sprint(got[1]["updates"]) != offset || got[1]["conflation_key"] != "k" {
			t.Errorf("%v printed %v", args, got)
		}
	}
}

func TestDeleteCommand(t *testing.T) {
	n := startNode(t, devConfig(t))
	stored := decodeLines(t, run(t, "", at(n), "publish", "chat:x", "1").check(t, 0).out)[0]
	offset := fmt.Sprint(stored["offset"])
	marker := decodeLines(t, run(t, "", at(n), "delete", "chat:x", offset).check(t, 0).out)[0]
	if marker["channel"] != "chat:x" || marker["duplicate"] != false {
		t.Errorf("printed %v", marker)
	}
	if left := run(t, "", at(n), "history", "chat:x").check(t, 0).out; left != "" {
		t.Errorf("left %s", left)
	}
	run(t, "", at(n), "delete", "chat:x", "4711").check(t, 1, "404", "no message at that offset")
	run(t, "", at(n), "delete", "chat:x", "latest").check(t, 2, "not an offset")
	run(t, "", at(n), "delete", "chat:*", "1").check(t, 2, "pattern")
}

func TestScheduleCommand(t *testing.T) {
	n := startNode(t, devConfig(t))
	later := decodeLines(t, run(t, "", at(n), "publish", "chat:x", `{"a":1}`, "--delay", "1h", "--ttl", "1m", "--key", "k", "--header", "h=v").check(t, 0).out)[0]
	again := decodeLines(t, run(t, "", at(n), "publish", "chat:x", `{"a":1}`, "--delay", "2h", "--ttl", "1m", "--key", "k", "--header", "h=v").check(t, 0).out)[0]
	id := fmt.Sprint(later["schedule"])
	if id == "" || again["schedule"] != id || again["duplicate"] != true || again["deliver_at"] != later["deliver_at"] {
		t.Errorf("printed %v, then %v", later, again)
	}
	run(t, "", at(n), "publish", "chat:y", "2", "--delay", "1h").check(t, 0)
	for flags, want := range map[string]int{"": 2, "--channel chat:x": 1, "--prefix chat:": 2, "--prefix chat:z": 0} {
		args := append([]string{"schedule", "list"}, strings.Fields(flags)...)
		if list := decodeLines(t, run(t, "", at(n), args...).check(t, 0).out); len(list) != want {
			t.Errorf("%q: %v", flags, list)
		}
	}
	shown := decodeLines(t, run(t, "", at(n), "schedule", "show", id).check(t, 0).out)[0]
	if fmt.Sprint(shown["data"]) != "map[a:1]" || shown["ttl"] != 60.0 || shown["idempotency_key"] != "k" {
		t.Errorf("shown %v", shown)
	}
	run(t, "", at(n), "schedule", "cancel", id).check(t, 0)
	run(t, "", at(n), "schedule", "cancel", id).check(t, 1, "404")
	run(t, "", at(n), "schedule", "list", "--channel", "chat:*").check(t, 2, "pattern")
	run(t, "", at(n), "publish", "chat:x", "1", "--delay", "-1s").check(t, 2, "--delay")
	run(t, "", at(n), "publish", "chat:x", "1", "--ttl", "1500ms").check(t, 2, "whole seconds")
	run(t, "1\n", at(n), "publish", "chat:x", "--delay", "1s").check(t, 2, "one message")
	run(t, "", at(n), "publish", "chat:x", "1", "--delay", "400d").check(t, 1, "a year")
	// Nobody is subscribed; what is due is stored all the same.
	run(t, "", at(n), "publish", "chat:z", "3", "--delay", "50ms").check(t, 0)
	deadline := time.Now().Add(20 * time.Second)
	for run(t, "", at(n), "history", "chat:z").check(t, 0).out == "" {
		if time.Now().After(deadline) {
			t.Fatal("what is due was not stored")
		}
	}
}
