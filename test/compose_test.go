package test_test

import (
	"flag"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"
)

// TestComposeStartsACluster reads the command of every service as the NATS server
// does, and checks that each is routed to all others.
func TestComposeStartsACluster(t *testing.T) {
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Command []string }
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	if len(compose.Services) != 3 {
		t.Fatalf("%d services, want 3", len(compose.Services))
	}
	for name, service := range compose.Services {
		opts, err := server.ConfigureOptions(flag.NewFlagSet(name, flag.ContinueOnError), service.Command, func() {}, func() {}, func() {})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if opts.ServerName != name || !opts.JetStream || opts.StoreDir != "/data" || opts.Cluster.Name != "rivulet" {
			t.Errorf("%s: name %q, jetstream %v, store %q, cluster %q", name, opts.ServerName, opts.JetStream, opts.StoreDir, opts.Cluster.Name)
		}
		routed := map[string]bool{name: true}
		for _, u := range opts.Routes {
			routed[u.Hostname()] = true
		}
		for other := range compose.Services {
			if !routed[other] {
				t.Errorf("%s has no route to %s", name, other)
			}
		}
		if _, ok := compose.Volumes[name]; !ok {
			t.Errorf("%s has no volume", name)
		}
	}
}
