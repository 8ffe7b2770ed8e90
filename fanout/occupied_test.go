package fanout_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// occupy starts a hub with n channels, room:a and others that begin so.
func occupy(t testing.TB, n int) (*fanout.Hub, *fanout.Presence) {
	t.Helper()
	cfg := fanout.DefaultHubConfig()
	log := calm(0, 1)
	hub := fanout.NewHub(cfg, log, log.newFeed(true), log, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	pcfg := fanout.DefaultPresenceConfig()
	pcfg.Node, pcfg.Enabled = "a", func(string) bool { return true }
	presence := hub.StartPresence(pcfg, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(func() {
		hub.Vacate() // nothing was opened
		if err := hub.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	channels := []fanout.Channel{mustChannel(t, "room:a")}
	for i := range n - 1 {
		channels = append(channels, mustChannel(t, fmt.Sprintf("room:a%07d", i)))
	}
	hub.Occupy(channels...)
	return hub, presence
}

// TestClientsOfOneChannel: how many there are of one channel costs the same whatever
// other channels there are.
func TestClientsOfOneChannel(t *testing.T) {
	cost := func(channels int) float64 {
		_, p := occupy(t, channels)
		c, none := mustChannel(t, "room:a"), mustChannel(t, "room:b")
		return testing.AllocsPerRun(20, func() {
			if n, partial, err := p.Clients(t.Context(), c); n != 1 || partial || err != nil {
				t.Errorf("%d %v %v", n, partial, err)
			}
			if n, partial, err := p.Clients(t.Context(), none); n != 0 || partial || err != nil {
				t.Errorf("of a channel without: %d %v %v", n, partial, err)
			}
		})
	}
	if few, many := cost(1), cost(20_000); many > few {
		t.Errorf("%v allocations among 20,000 channels, %v alone", many, few)
	}
}

// TestListingLetsGo: who lists the channels does not keep others from subscribing.
func TestListingLetsGo(t *testing.T) {
	const n = 10 * fanout.OccupiedSlice
	hub, p := occupy(t, n)
	var got []string
	calls := 0
	hub.EachOccupied(func(names []string) {
		if len(names) > fanout.OccupiedSlice {
			t.Errorf("%d at once", len(names))
		}
		hub.Occupy(mustChannel(t, fmt.Sprintf("other:%d", calls))) // waits for the lock
		calls++
		got = append(got, names...)
	})
	slices.Sort(got)
	got = slices.Compact(slices.DeleteFunc(got, func(name string) bool { return name[0] == 'o' }))
	if len(got) != n || calls < 10 {
		t.Errorf("%d of %d channels in %d calls", len(got), n, calls)
	}
	page, err := p.Channels(t.Context(), fanout.ChannelsQuery{Prefix: "room:", After: "room:a0000003", Limit: 3})
	want := []fanout.Occupancy{{Channel: "room:a0000004", Clients: 1}, {Channel: "room:a0000005", Clients: 1}, {Channel: "room:a0000006", Clients: 1}}
	if err != nil || !page.More || !slices.Equal(page.Channels, want) {
		t.Errorf("%+v, %v", page, err)
	}
}

func BenchmarkClientsOfOneChannel(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			_, p := occupy(b, n)
			c := mustChannel(b, "room:a")
			for b.Loop() {
				if n, _, err := p.Clients(b.Context(), c); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkListing tells the time of a page of 100, which holds the lock for 512 channels
// at a time.
func BenchmarkListing(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			_, p := occupy(b, n)
			for b.Loop() {
				if page, err := p.Channels(b.Context(), fanout.ChannelsQuery{Limit: 100}); err != nil || len(page.Channels) != 100 {
					b.Fatal(len(page.Channels), err)
				}
			}
		})
	}
}
