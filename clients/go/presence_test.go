package rivulet_test

import (
	"fmt"
	"strings"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// people makes members of "client:user".
func people(list ...string) (members []rivulet.Member) {
	for _, one := range list {
		client, user, _ := strings.Cut(one, ":")
		members = append(members, rivulet.Member{Client: client, User: user})
	}
	return members
}

func TestRoster(t *testing.T) {
	var r rivulet.Roster
	for i, step := range []struct {
		update rivulet.Presence
		want   string // came, left, known members
	}{
		{rivulet.Presence{Joined: people("9:eve"), Clients: 200}, "[] [] false []"}, // of a list that is not known
		{rivulet.Presence{Members: people("2:bob", "1:ann", "3:ann", "4:"), Clients: 4}, "[ann bob] [] true [1 2 3 4]"},
		{rivulet.Presence{Left: people("1:ann"), Clients: 3}, "[] [] true [2 3 4]"}, // ann has another connection
		{rivulet.Presence{Left: people("3:ann"), Joined: people("5:bob", "6:eve"), Clients: 4}, "[eve] [ann] true [2 4 5 6]"},
		{rivulet.Presence{Left: people("2:bob"), Joined: people("7:bob"), Clients: 4}, "[] [] true [4 5 6 7]"},
		{rivulet.Presence{Clients: 500, Users: 3}, "[] [] false []"},
		{rivulet.Presence{Members: people("8:ann"), Clients: 1}, "[ann] [] true [8]"},
	} {
		came, left := r.Apply(&step.update)
		clients := []string{}
		for _, m := range r.Members() {
			clients = append(clients, m.Client)
		}
		if got := fmt.Sprint(came, left, r.Known, clients); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
		if r.Clients != step.update.Clients || r.Users != step.update.Users {
			t.Errorf("step %d: %d clients, %d users", i, r.Clients, r.Users)
		}
	}
}
