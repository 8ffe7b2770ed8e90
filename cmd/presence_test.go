package cmd_test

import (
	"strings"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

func TestPresenceCommand(t *testing.T) {
	n := startNode(t, devConfig(t))
	run(t, "", at(n), "presence", "chat:x").check(t, 0, "0 connections of 0 users")
	client, err := rivulet.New(n.URL(), rivulet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Subscribe(testContext(t), "chat:x", rivulet.SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	r := run(t, "", at(n), "presence", "chat:x").check(t, 0, "1 connection of 0 users")
	if lines := decodeLines(t, r.out); len(lines) != 1 || len(lines[0]["client"].(string)) != 16 || lines[0]["since"] == nil {
		t.Errorf("printed %s", r.out)
	}
	if r = run(t, "", at(n), "presence", "chat:x", "--counts").check(t, 0); r.out != `{"clients":1,"users":0,"partial":false}`+"\n" {
		t.Errorf("printed %s", r.out)
	}
	run(t, "", at(n), "presence", "chat:>").check(t, 2, "patterns")
	run(t, "", at(n), "presence").check(t, 2, "a channel")
	run(t, "", []string{"RIVULET_URL=http://127.0.0.1:1"}, "presence", "chat:x").check(t, 1, "127.0.0.1:1")
}

func TestConnectionsCommand(t *testing.T) {
	n := startNode(t, devConfig(t))
	for _, args := range [][]string{{"connections", "ann/b"}, {"connections", "ann", "--disconnect", "--reason", "a b", "--code", "4006"}} {
		if r := run(t, "", at(n), args...).check(t, 0, "0 connections"); r.out != "" {
			t.Errorf("printed %s", r.out)
		}
	}
	run(t, "", at(n), "connections", "ann", "--code", "4006").check(t, 2, "--disconnect")
	run(t, "", at(n), "connections", "ann", "--disconnect", "--code", "4000").check(t, 1, "4003")
	run(t, "", at(n), "connections", strings.Repeat("a", 256)).check(t, 1, "user")
}
